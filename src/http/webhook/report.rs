//! The report of a delivery: the JSON of its reply.

use serde::Serialize;
use tonic::Code;

use crate::{
    api::error::ApiError,
    engine::{EngineError, Received},
    http::webhook::mapping::SkipReason,
    ports::AppendOutcome,
};

/// Longest `messageId` in a report, in bytes.
const MAX_MESSAGE_ID_BYTES: usize = 128;

/// What happened to the elements of a delivery.
#[derive(Default, Serialize)]
pub(crate) struct DeliveryReport {
    #[serde(flatten)]
    pub(crate) counts: ElementCounts,
    /// Whether the sender should retry.
    #[serde(skip)]
    pub(crate) retry: bool,
    not_taken: Vec<SkippedElement>,
}

/// The number of elements by outcome.
#[derive(Default, Serialize)]
pub(crate) struct ElementCounts {
    pub(crate) received: usize,
    accepted: usize,
    duplicate: usize,
    outside_window: usize,
    no_item: usize,
    no_user: usize,
    other_type: usize,
    invalid: usize,
    pub(crate) failed: usize,
}

/// An element that was not stored.
#[derive(Serialize)]
struct SkippedElement {
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
        let mut report = Self::default();
        report.counts.received = received;
        report
    }

    /// Records an element that is not an event.
    pub(crate) fn skipped(&mut self, element: ElementId, reason: &SkipReason) {
        let (count, outcome) = match reason {
            SkipReason::NoUser => (&mut self.counts.no_user, "no_user"),
            SkipReason::OtherType => (&mut self.counts.other_type, "other_type"),
            SkipReason::Unreadable(_) => (&mut self.counts.invalid, "invalid"),
        };
        *count += 1;
        self.not_taken(element, outcome, reason.to_string());
    }

    /// Records an event that breaks rules.
    pub(crate) fn invalid(&mut self, element: ElementId, error: ApiError) {
        self.counts.invalid += 1;
        self.not_taken(element, "invalid", error.message);
    }

    /// Records the result of an event.
    pub(crate) fn received(&mut self, element: ElementId, result: Result<Received, EngineError>) {
        let counts = &mut self.counts;
        match result.map(|received| received.ingested.map(|ingested| ingested.outcome)) {
            Ok(Some(AppendOutcome::Accepted)) => counts.accepted += 1,
            Ok(Some(AppendOutcome::Duplicate)) => counts.duplicate += 1,
            Ok(None) => {
                counts.no_item += 1;
                let reason = "names no item, impression, answer or query: no list could use it";
                self.not_taken(element, "no_item", reason.to_owned());
            }
            Ok(Some(AppendOutcome::OutsideWindow)) => {
                counts.outside_window += 1;
                let reason = "is older than events are kept, or than the newest that are kept";
                self.not_taken(element, "outside_window", reason.to_owned());
            }
            Err(error) => self.failed(element, error.into()),
        }
    }

    /// Records an element that could not be stored.
    pub(crate) fn failed(&mut self, element: ElementId, error: ApiError) {
        self.counts.failed += 1;
        // An internal error would occur again.
        self.retry |= error.code != Code::Internal;
        self.not_taken(element, "failed", error.message);
    }

    fn not_taken(&mut self, element: ElementId, outcome: &'static str, reason: String) {
        let message_id = element.message_id.map(|mut id| {
            id.truncate(id.floor_char_boundary(MAX_MESSAGE_ID_BYTES));
            id
        });
        self.not_taken.push(SkippedElement {
            index: element.index,
            message_id,
            outcome,
            reason,
        });
    }

    /// The report with its elements in the order of the delivery.
    pub(crate) fn sorted(mut self) -> Self {
        self.not_taken.sort_by_key(|element| element.index);
        self
    }
}
