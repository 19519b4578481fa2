//! The report of a delivery: the JSON of its reply.

use std::collections::BTreeMap;

use serde::Serialize;
use tonic::Code;

use crate::{
    api::error::ApiError,
    engine::{EngineError, Received},
    http::webhook::element::SkipReason,
    ports::AppendOutcome,
    telemetry::meters::{self, WebhookOutcome},
};

/// Longest `messageId` in a report, in bytes.
const MAX_MESSAGE_ID_BYTES: usize = 128;

/// What became of an element. The last one of its events and of its merge counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ElementOutcome {
    /// It says nothing that a list could use.
    NoItem,
    /// Its events are too old.
    OutsideWindow,
    /// Users are not merged here, and it has nothing else.
    MergesAreOff,
    /// It became events or a merge.
    Mapped,
    /// Its users were not merged, although users are.
    MergeRefused,
    NoUser,
    OtherType,
    /// It breaks a rule of the API.
    Invalid,
    /// Its shape is unknown.
    Unreadable,
    /// It was not stored.
    Failed,
}

impl ElementOutcome {
    fn name(self) -> &'static str {
        match self {
            Self::NoItem => "no_item",
            Self::OutsideWindow => "outside_window",
            Self::MergesAreOff | Self::MergeRefused => "merge_refused",
            Self::Mapped => "mapped",
            Self::NoUser => "no_user",
            Self::OtherType => "other_type",
            Self::Invalid | Self::Unreadable => "invalid",
            Self::Failed => "failed",
        }
    }

    fn metric(self) -> WebhookOutcome {
        match self {
            Self::Mapped | Self::OutsideWindow | Self::Invalid | Self::Failed => {
                WebhookOutcome::Mapped
            }
            Self::NoItem => WebhookOutcome::NoItem,
            Self::MergesAreOff | Self::MergeRefused => WebhookOutcome::MergeRefused,
            Self::NoUser => WebhookOutcome::NoUser,
            Self::OtherType => WebhookOutcome::OtherType,
            Self::Unreadable => WebhookOutcome::Unreadable,
        }
    }
}

/// What happened to the elements of a delivery.
#[derive(Default)]
pub(crate) struct DeliveryReport {
    accepted: usize,
    duplicate: usize,
    outside_window: usize,
    /// By index; `None` until it is known.
    elements: Vec<Option<ElementOutcome>>,
    /// The texts of the elements that were not mapped, by index.
    texts: BTreeMap<usize, ElementText>,
    /// Whether the sender should retry.
    retry: bool,
}

struct ElementText {
    message_id: Option<String>,
    reason: String,
}

/// The report as it is sent.
#[derive(Serialize)]
pub(crate) struct ReportJson {
    #[serde(flatten)]
    pub(crate) counts: ReportCounts,
    /// Whether the sender should retry.
    #[serde(skip)]
    pub(crate) retry: bool,
    not_taken: Vec<NotTaken>,
}

/// The number of elements, and of their events.
#[derive(Default, Serialize)]
pub(crate) struct ReportCounts {
    received: usize,
    mapped: usize,
    /// Events, as the next two.
    accepted: usize,
    duplicate: usize,
    outside_window: usize,
    no_item: usize,
    no_user: usize,
    other_type: usize,
    merge_refused: usize,
    invalid: usize,
    pub(crate) failed: usize,
}

/// An element that was not mapped.
#[derive(Serialize)]
struct NotTaken {
    index: usize,
    #[serde(rename = "messageId")]
    message_id: Option<String>,
    outcome: &'static str,
    reason: String,
}

/// The identity of an element in its delivery.
#[derive(Clone, Debug)]
pub(crate) struct ElementId {
    pub(crate) index: usize,
    pub(crate) message_id: Option<String>,
}

impl ElementId {
    /// An element whose id was not read.
    pub(crate) fn without_id(index: usize) -> Self {
        Self {
            index,
            message_id: None,
        }
    }
}

impl DeliveryReport {
    /// A report of a delivery with this many elements.
    pub(crate) fn new(received: usize) -> Self {
        Self {
            elements: vec![None; received],
            ..Self::default()
        }
    }

    /// Records an element that says nothing.
    pub(crate) fn skipped(&mut self, element: ElementId, reason: &SkipReason) {
        let outcome = match reason {
            SkipReason::NoUser => ElementOutcome::NoUser,
            SkipReason::OtherType => ElementOutcome::OtherType,
            SkipReason::Unreadable(_) => ElementOutcome::Unreadable,
        };
        self.note(element, outcome, reason.to_string());
    }

    /// Records an event that breaks rules.
    pub(crate) fn invalid(&mut self, element: ElementId, error: ApiError) {
        self.note(element, ElementOutcome::Invalid, error.message);
    }

    /// Records an element that was taken.
    pub(crate) fn mapped(&mut self, element: ElementId) {
        self.note(element, ElementOutcome::Mapped, String::new());
    }

    /// Records a merge where users are not merged.
    pub(crate) fn merges_are_off(&mut self, element: ElementId) {
        let reason = "would merge users: WEBHOOK_MERGE_USERS is not true";
        self.note(element, ElementOutcome::MergesAreOff, reason.to_owned());
    }

    /// Records a merge of a user who may be a person.
    pub(crate) fn merge_refused(&mut self, element: ElementId) {
        let reason = "would merge a user that has events with a userId, or from elsewhere: \
                      call MergeUsers";
        self.note(element, ElementOutcome::MergeRefused, reason.to_owned());
    }

    /// Records a merge of ids that no user has.
    pub(crate) fn merge_of_invalid_ids(&mut self, element: ElementId) {
        let reason = "an id of a user is too long, or holds control characters";
        self.note(element, ElementOutcome::Invalid, reason.to_owned());
    }

    /// Records the result of an event.
    pub(crate) fn received(&mut self, element: ElementId, result: Result<Received, EngineError>) {
        match result.map(|received| received.ingested.map(|ingested| ingested.outcome)) {
            Ok(Some(AppendOutcome::Accepted)) => {
                self.accepted += 1;
                self.mapped(element);
            }
            Ok(Some(AppendOutcome::Duplicate)) => {
                self.duplicate += 1;
                self.mapped(element);
            }
            Ok(None) => {
                let reason = "names no item, impression, answer or query: no list could use it";
                self.note(element, ElementOutcome::NoItem, reason.to_owned());
            }
            Ok(Some(AppendOutcome::OutsideWindow)) => {
                self.outside_window += 1;
                let reason = "is older than events are kept, or than the newest that are kept";
                self.note(element, ElementOutcome::OutsideWindow, reason.to_owned());
            }
            Err(error) => self.failed(element, error.into()),
        }
    }

    /// Records an element that could not be stored.
    pub(crate) fn failed(&mut self, element: ElementId, error: ApiError) {
        // An internal error would occur again.
        self.retry |= error.code != Code::Internal;
        self.note(element, ElementOutcome::Failed, error.message);
    }

    fn note(&mut self, element: ElementId, outcome: ElementOutcome, reason: String) {
        let ElementId {
            index, message_id, ..
        } = element;
        let Some(noted) = self.elements.get_mut(index) else {
            return;
        };
        if *noted >= Some(outcome) {
            return;
        }
        *noted = Some(outcome);
        if outcome == ElementOutcome::Mapped {
            self.texts.remove(&index);
            return;
        }
        let message_id = message_id.map(|mut id| {
            id.truncate(id.floor_char_boundary(MAX_MESSAGE_ID_BYTES));
            id
        });
        self.texts.insert(index, ElementText { message_id, reason });
    }

    /// The report of a delivery that is complete. Counts its elements in the metric.
    pub(crate) fn finish(self) -> ReportJson {
        let mut counts = ReportCounts {
            received: self.elements.len(),
            accepted: self.accepted,
            duplicate: self.duplicate,
            outside_window: self.outside_window,
            ..ReportCounts::default()
        };
        let outcome = |index: usize| self.elements[index].unwrap_or(ElementOutcome::NoItem);
        for index in 0..self.elements.len() {
            let outcome = outcome(index);
            meters::webhook_element(outcome.metric());
            match outcome {
                ElementOutcome::NoItem => counts.no_item += 1,
                // Its events are counted.
                ElementOutcome::OutsideWindow => {}
                ElementOutcome::Mapped => counts.mapped += 1,
                ElementOutcome::MergesAreOff | ElementOutcome::MergeRefused => {
                    counts.merge_refused += 1;
                }
                ElementOutcome::NoUser => counts.no_user += 1,
                ElementOutcome::OtherType => counts.other_type += 1,
                ElementOutcome::Invalid | ElementOutcome::Unreadable => counts.invalid += 1,
                ElementOutcome::Failed => counts.failed += 1,
            }
        }
        let not_taken = self.texts.into_iter().map(|(index, text)| NotTaken {
            index,
            message_id: text.message_id,
            outcome: self.elements[index].map_or("", ElementOutcome::name),
            reason: text.reason,
        });
        ReportJson {
            not_taken: not_taken.collect(),
            counts,
            retry: self.retry,
        }
    }
}
