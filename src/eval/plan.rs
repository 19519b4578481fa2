//! Which events lists are made for, and what the user had seen by then.

use std::collections::HashSet;

use serde::Serialize;

use super::log::{LogPart, ReplayEvent, ReplayLog};
use crate::domain::time::Timestamp;

/// Whether lists may hold items that the user has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SeenItems {
    /// They are in no list.
    Hide,
    /// They may be in lists.
    Allow,
}

/// From where on lists are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FirstList {
    /// From an event on, from 1.
    Event(usize),
    /// From a moment on.
    Time(Timestamp),
    /// After a share of the events.
    Share(f64),
}

/// Which lists are made, and how.
#[derive(Clone, Copy, Debug)]
pub struct ListRules {
    /// Items in a list, at least 1.
    pub k: usize,
    /// Whether lists may hold items that the user has seen.
    pub seen: SeenItems,
    /// How many of the user's latest items are left out of a list.
    pub exclude_last: usize,
    /// From where on lists are made.
    pub first: FirstList,
    /// How many earlier events a user needs.
    pub min_history: usize,
    /// Seeds all that is random.
    pub seed: u64,
}

impl Default for ListRules {
    fn default() -> Self {
        Self {
            k: 10,
            seen: SeenItems::Hide,
            exclude_last: 0,
            first: FirstList::Event(1),
            min_history: 0,
            seed: 0,
        }
    }
}

/// Why no list can hold an item, however good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The catalogue lacks it.
    NotInCatalogue,
    /// The user has seen it, and such items are hidden.
    Seen,
    /// It is one of the user's latest, which are left out.
    Excluded,
}

/// How much had happened before a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum History {
    /// The user is new.
    None,
    /// 1 to 4 events.
    Few,
    /// 5 events or more.
    Many,
}

impl History {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Few, Self::Many];

    /// By a number of events.
    #[must_use]
    pub fn of(events: u32) -> Self {
        match events {
            0 => Self::None,
            1..=4 => Self::Few,
            5.. => Self::Many,
        }
    }

    /// As reports write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Few => "1-4",
            Self::Many => "5+",
        }
    }
}

/// A list that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedList {
    /// The event before which it is made.
    pub event: u32,
    /// The item that the event likes.
    pub target: u32,
    /// How many events the user had before.
    pub earlier: u32,
    /// Why no list can hold the target.
    pub obstacle: Option<Obstacle>,
}

/// What a user has seen.
#[derive(Clone, Debug, Default)]
pub struct UserHistory {
    /// Events so far.
    pub events: u32,
    /// Each item once, the latest last.
    items: Vec<u32>,
    seen: HashSet<u32>,
}

impl UserHistory {
    /// Adds an event.
    pub fn add(&mut self, event: &ReplayEvent) {
        self.events += 1;
        let Some(item) = event.item else { return };
        if !self.seen.insert(item)
            && let Some(place) = self.items.iter().rposition(|known| *known == item)
        {
            self.items.remove(place);
        }
        self.items.push(item);
    }

    /// Whether the user has seen an item.
    #[must_use]
    pub fn has_seen(&self, item: u32) -> bool {
        self.seen.contains(&item)
    }

    /// The latest items, each once, the latest last.
    #[must_use]
    pub fn latest(&self, count: usize) -> &[u32] {
        &self.items[self.items.len().saturating_sub(count)..]
    }

    /// How many items the user has seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the user has seen nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// The lists that are made of a log, in order.
#[must_use]
pub fn planned_lists(log: &ReplayLog, rules: &ListRules) -> Vec<PlannedList> {
    let evaluated = log.events.len() - log.facts.training_events;
    let skipped = match rules.first {
        FirstList::Event(number) => number.saturating_sub(1),
        FirstList::Share(share) => (share * evaluated as f64).round() as usize,
        FirstList::Time(_) => 0,
    };
    let not_before = match rules.first {
        FirstList::Time(time) => Some(time),
        FirstList::Event(_) | FirstList::Share(_) => None,
    };
    let mut histories = vec![UserHistory::default(); log.users.len()];
    let mut lists = Vec::new();
    let mut number = 0;
    for (position, event) in (0..).zip(&log.events) {
        let history = &mut histories[event.user as usize];
        let is_evaluated = event.part == LogPart::Evaluation;
        number += usize::from(is_evaluated);
        if let Some(target) = event.item.filter(|_| event.is_like)
            && is_evaluated
            && number > skipped
            && not_before.is_none_or(|time| event.time >= time)
            && history.events as usize >= rules.min_history
        {
            lists.push(PlannedList {
                event: position,
                target,
                earlier: history.events,
                obstacle: obstacle(log, rules, history, target),
            });
        }
        history.add(event);
    }
    lists
}

fn obstacle(
    log: &ReplayLog,
    rules: &ListRules,
    history: &UserHistory,
    target: u32,
) -> Option<Obstacle> {
    if !log.is_in_catalogue(target) {
        return Some(Obstacle::NotInCatalogue);
    }
    if rules.seen == SeenItems::Hide && history.has_seen(target) {
        return Some(Obstacle::Seen);
    }
    let excluded = history.latest(rules.exclude_last).contains(&target);
    excluded.then_some(Obstacle::Excluded)
}
