//! An element of a delivery, as it was read.

use std::fmt::Write as _;

use crate::api::parse::UncheckedEvent;

/// An element that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// Its `messageId`, if it has one.
    pub message_id: Option<String>,
    /// What it says, or why it says nothing.
    pub(crate) mapped: Result<MappedElement, SkipReason>,
}

/// What an element says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MappedElement {
    /// Its event, or what its events have in common.
    pub(crate) event: Option<UncheckedEvent>,
    /// The items that have an event each. Empty: there is one event, as it is.
    pub(crate) items: Vec<String>,
    /// The users that it says are one.
    pub(crate) merge: Option<MergeIds>,
}

/// Two ids of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MergeIds {
    /// The id of a browser or a device.
    pub(crate) from: String,
    /// The id of the person.
    pub(crate) into: String,
}

/// Why an element is skipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// It names no user.
    #[error("has neither userId nor anonymousId")]
    NoUser,
    /// It is another call than track, identify or alias.
    #[error("is neither track nor identify nor alias")]
    OtherType,
    /// It has an unexpected shape.
    #[error("{0}")]
    Unreadable(String),
}

/// The reason of a value at `path` that breaks a rule.
pub(super) fn unreadable(path: &str, rule: &str) -> SkipReason {
    SkipReason::Unreadable(format!("{path} {rule}"))
}

/// Overhead of an event besides its texts.
const EVENT_BYTES: usize = 1 << 10;

impl MappedElement {
    /// One event.
    pub(super) fn of_event(event: UncheckedEvent) -> Self {
        Self {
            event: Some(event),
            ..Self::default()
        }
    }

    /// How many events it has.
    pub(crate) fn events(&self) -> usize {
        match self.event {
            Some(_) => self.items.len().max(1),
            None => 0,
        }
    }

    /// An upper bound of the memory of all its events but the first, in the forms in
    /// which an event is held until it is stored.
    pub(crate) fn copies_bytes(&self) -> usize {
        let Some(event) = &self.event else {
            return 0;
        };
        let texts = [
            &event.user_id,
            &event.event_type,
            &event.event_id,
            &event.session_id,
            &event.request_id,
        ];
        let shared: usize = texts.iter().map(|text| text.len()).sum();
        let longest = self.items.iter().map(String::len).max().unwrap_or_default();
        // As it is, and encoded.
        2 * (shared + longest + EVENT_BYTES) * self.events().saturating_sub(1)
    }

    /// Its events. All but the first have only what identifies them, their item and
    /// their session. Their ids are made from that of the element: a redelivery has the
    /// same.
    pub(crate) fn into_events(self) -> Vec<UncheckedEvent> {
        let Some(event) = self.event else {
            return Vec::new();
        };
        let is_several = self.items.len() > 1;
        let bare = UncheckedEvent {
            time: event.time,
            event_id: event.event_id.clone(),
            session_id: event.session_id.clone(),
            request_id: event.request_id.clone(),
            anonymous: event.anonymous,
            ..UncheckedEvent::new(event.user_id.clone(), event.event_type.clone())
        };
        let mut events = vec![event];
        events.resize_with(self.items.len().max(1), || bare.clone());
        for (index, (event, item)) in events.iter_mut().zip(self.items).enumerate() {
            event.content_id = item;
            if is_several && !event.event_id.is_empty() {
                // Writing to a text cannot fail.
                let _ = write!(event.event_id, "/{index}");
            }
        }
        events
    }
}
