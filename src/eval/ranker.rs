//! What is measured: anything that makes lists and learns from events.

use super::{
    log::{ReplayEvent, ReplayLog},
    plan::{ListRules, SeenItems, UserHistory},
};
use crate::domain::time::Timestamp;

/// A request for a list.
#[derive(Clone, Copy, Debug)]
pub struct ListQuery<'a> {
    /// The log that is replayed.
    pub log: &'a ReplayLog,
    /// The event before which the list is made. A ranker must not look at the
    /// item that it names, nor at anything after it.
    pub event: &'a ReplayEvent,
    /// The event's position in the log: with the seed it makes the list
    /// reproducible.
    pub position: u32,
    /// The rules of the run.
    pub rules: &'a ListRules,
    /// What the user had seen before.
    pub history: &'a UserHistory,
}

impl ListQuery<'_> {
    /// Whether the list may hold an item.
    #[must_use]
    pub fn may_show(&self, item: u32) -> bool {
        let is_hidden = match self.rules.seen {
            SeenItems::Hide => self.history.has_seen(item),
            SeenItems::Allow => false,
        };
        !is_hidden
            && self.log.is_in_catalogue(item)
            && !self.history.latest(self.rules.exclude_last).contains(&item)
    }
}

/// A list, as positions of items in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedItems {
    /// The items, best first, each once, at most `k`.
    pub items: Vec<u32>,
    /// Whether the ranker knew nothing of the user; `None` if
    /// that does not apply.
    pub cold: Option<bool>,
}

/// A ranker failed.
#[derive(Debug, thiserror::Error)]
#[error("{ranker}: {reason}")]
pub struct RankerError {
    /// Which one.
    pub ranker: String,
    /// Why.
    pub reason: String,
}

/// Makes lists and learns from events.
pub trait ListRanker {
    /// The list for a user as of now: after all events that were learned, before
    /// the query's event.
    ///
    /// # Errors
    /// [`RankerError`] if it cannot make one.
    fn list(&mut self, query: &ListQuery<'_>) -> Result<ListedItems, RankerError>;

    /// Learns the next event.
    ///
    /// # Errors
    /// [`RankerError`] if it cannot take it.
    fn learn(&mut self, log: &ReplayLog, event: &ReplayEvent) -> Result<(), RankerError>;

    /// Refreshes what the service refreshes in the background, to completion. Called
    /// at the first multiple of 30 s of event time after events, before the next event.
    ///
    /// # Errors
    /// [`RankerError`] if it fails.
    fn refresh(&mut self, _now: Timestamp) -> Result<(), RankerError> {
        Ok(())
    }

    /// Of each item of the latest list, the main reason; empty if the ranker has
    /// none.
    fn reasons(&self) -> Vec<String> {
        Vec::new()
    }
}
