//! What users do.

use std::{cmp::Ordering, sync::Arc};

use serde_json::{Map, Value};

use super::{
    ids::{ContentId, UserId},
    time::Timestamp,
};

/// Event types that the user model treats specially.
pub mod event_types {
    /// A view of an item started.
    pub const VIEW_STARTED: &str = "CONTENT_VIEW_STARTED";
    /// A view of an item ended.
    pub const VIEW_ENDED: &str = "CONTENT_VIEW_ENDED";
    /// A user was identified; the traits are answers.
    pub const IDENTIFY: &str = "IDENTIFY";
    /// Types whose answers can seed the profile.
    pub const PROFILE: [&str; 3] = ["SURVEY_SUBMITTED", "SURVEY_ANSWERED", IDENTIFY];
}

/// Why a view of an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The user went on to the next item.
    NextButton,
    /// The user followed a link out of the item.
    Link,
    /// The user closed the item.
    CloseButton,
    /// The user abandoned the item.
    Abandon,
}

impl EndReason {
    /// Its stored form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NextButton => "next_button",
            Self::Link => "link",
            Self::CloseButton => "close_button",
            Self::Abandon => "abandon",
        }
    }

    /// Parses the stored form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::NextButton,
            Self::Link,
            Self::CloseButton,
            Self::Abandon,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == text)
    }
}

/// One action of a user.
#[derive(Clone, Debug, PartialEq)]
pub struct InteractionEvent {
    /// The user.
    pub user_id: UserId,
    /// The kind of action.
    pub event_type: String,
    /// When it happened.
    pub time: Timestamp,
    /// The sender's id of the event.
    pub event_id: Option<String>,
    /// The session it belongs to.
    pub session_id: Option<String>,
    /// The id of the list that led to it.
    pub request_id: Option<String>,
    /// The item it is about.
    pub content_id: Option<ContentId>,
    /// Time that the user spent on the item, in seconds.
    pub dwell_seconds: Option<f64>,
    /// Why the view ended.
    pub end_reason: Option<EndReason>,
    /// The search query.
    pub query_text: Option<String>,
    /// The search result that was opened.
    pub clicked_id: Option<String>,
    /// The displayed items.
    pub impressions: Vec<ContentId>,
    /// Answers by question.
    pub survey_answers: Map<String, Value>,
    /// Whether its sender knew the user by an id of a browser or device only, and
    /// users may be merged by senders like it.
    pub anonymous: bool,
}

impl InteractionEvent {
    /// An event with the required fields only.
    #[must_use]
    pub fn new(user_id: UserId, event_type: impl Into<String>, time: Timestamp) -> Self {
        Self {
            user_id,
            event_type: event_type.into(),
            time,
            event_id: None,
            session_id: None,
            request_id: None,
            content_id: None,
            dwell_seconds: None,
            end_reason: None,
            query_text: None,
            clicked_id: None,
            impressions: Vec::new(),
            survey_answers: Map::new(),
            anonymous: false,
        }
    }

    /// The rating of its item, 0 to 5. Other values, which other programs may
    /// have stored under this key, are ignored.
    #[must_use]
    pub fn rating(&self) -> Option<f64> {
        self.survey_answers
            .get("rating")
            .and_then(Value::as_f64)
            .filter(|rating| (0.0..=5.0).contains(rating))
    }
}

/// An event with its stored form. Two events are the same if and only if their
/// stored forms are equal.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// The event.
    pub event: InteractionEvent,
    /// The member of the sorted set `evt:<user_id>` (see
    /// [`event_member`](super::event_member)).
    pub member: Box<str>,
}

impl StoredEvent {
    /// The order of the buffer: by time, then by member bytes.
    #[must_use]
    pub fn buffer_order(&self, other: &Self) -> Ordering {
        self.event
            .time
            .cmp(&other.event.time)
            .then_with(|| self.member.as_bytes().cmp(other.member.as_bytes()))
    }
}

/// A user's events in buffer order, each once. It does not depend on the order,
/// repetition or batching of deliveries.
#[derive(Clone, Debug, Default)]
pub struct EventLog(Vec<Arc<StoredEvent>>);

impl EventLog {
    /// Sorts the events and drops duplicates.
    #[must_use]
    pub fn new(mut events: Vec<Arc<StoredEvent>>) -> Self {
        if !events.is_sorted_by(|a, b| a.buffer_order(b) == Ordering::Less) {
            events.sort_by(|a, b| a.buffer_order(b));
            events.dedup_by(|a, b| a.buffer_order(b) == Ordering::Equal);
        }
        Self(events)
    }

    /// The events, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &InteractionEvent> + ExactSizeIterator {
        self.0.iter().map(|stored| &stored.event)
    }

    /// The events, oldest first.
    #[must_use]
    pub fn into_events(self) -> Vec<Arc<StoredEvent>> {
        self.0
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no events.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
