//! What the events of a file are about.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::{BuildHasher as _, Hash},
};

use foldhash::fast::RandomState;

use crate::domain::{
    event::InteractionEvent,
    ids::{ContentId, UserId},
    time::Timestamp,
};

/// Distinct ids are counted up to this number, so that memory stays bounded.
const MAX_DISTINCT: usize = 1_000_000;
/// Distinct items that are compared with the catalogue: the first of the file.
const MAX_COMPARED: usize = 2_000;

/// What the events of a file are about: users, items and times.
#[derive(Default)]
pub(super) struct FileSummary {
    events: u64,
    users: DistinctIds,
    items: DistinctIds,
    /// Some of the items, in the order of the file, with their numbers of events.
    compared: HashMap<ContentId, u64>,
    compared_order: Vec<ContentId>,
    span: Option<(Timestamp, Timestamp)>,
}

impl FileSummary {
    /// Counts an event.
    pub(super) fn add(&mut self, event: &InteractionEvent) {
        self.events += 1;
        self.users.add::<UserId>(&event.user_id);
        let time = event.time;
        self.span = Some(match self.span {
            None => (time, time),
            Some((oldest, newest)) => (oldest.min(time), newest.max(time)),
        });
        let Some(item) = &event.content_id else {
            return;
        };
        self.items.add(item);
        if let Some(events) = self.compared.get_mut(item) {
            *events += 1;
        } else if self.compared.len() < MAX_COMPARED {
            self.compared.insert(item.clone(), 1);
            self.compared_order.push(item.clone());
        }
    }

    /// Items to compare with the catalogue: all of them, or the first ones.
    pub(super) fn compared(&self) -> &[ContentId] {
        &self.compared_order
    }

    /// The time of the oldest event.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.span.map(|(oldest, _)| oldest)
    }

    /// A warning about items that the catalogue lacks; `None` if it lacks none.
    pub(super) fn missing(&self, missing: &[ContentId]) -> Option<String> {
        let (compared, count) = (self.compared_order.len(), missing.len());
        if count == 0 {
            return None;
        }
        let example = missing.first().map_or("", |id| id.as_str());
        let of_them = if self.items.count() > compared {
            format!("of the first {compared} items")
        } else {
            format!("of {compared} items")
        };
        let text = if count == compared {
            "WARNING: the catalogue has none of the items that the events name, such as"
        } else {
            "the catalogue lacks items that the events name, such as"
        };
        let effect = "they cannot be recommended, and say nothing of what a user likes";
        Some(format!("{count} {of_them}: {text} {example:?}: {effect}"))
    }
}

/// `2000 events of 50 users and 12 items, FIRST to LAST`; empty without events.
impl fmt::Display for FileSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((oldest, newest)) = self.span else {
            return Ok(());
        };
        write!(
            f,
            "{} events of {} users and {} items, {oldest} to {newest}",
            self.events, self.users, self.items
        )
    }
}

/// A number of distinct ids.
#[derive(Default)]
struct DistinctIds {
    hashes: HashSet<u64>,
    hasher: RandomState,
}

impl DistinctIds {
    fn add<T: Hash>(&mut self, id: &T) {
        if self.hashes.len() < MAX_DISTINCT {
            self.hashes.insert(self.hasher.hash_one(id));
        }
    }

    fn count(&self) -> usize {
        self.hashes.len()
    }
}

impl fmt::Display for DistinctIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            MAX_DISTINCT => write!(f, "at least {MAX_DISTINCT}"),
            count => write!(f, "{count}"),
        }
    }
}
