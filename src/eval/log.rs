//! A log of events, ready to be replayed.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::likes::LikeRule;
use crate::domain::{
    event::{InteractionEvent, StoredEvent},
    event_member::{self, UnreadableMember},
    ids::{ContentId, UserId},
    item::Item,
    time::Timestamp,
};

/// To which part of a log an event belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogPart {
    /// It is only learned from.
    Training,
    /// Lists may be made before it.
    Evaluation,
}

/// An event of a log. Users and items are positions in the log's tables.
#[derive(Clone, Debug)]
pub struct ReplayEvent {
    /// When it happened.
    pub time: Timestamp,
    /// Who did it.
    pub user: u32,
    /// The item that it names.
    pub item: Option<u32>,
    /// Whether it counts as a like of that item.
    pub is_like: bool,
    /// Where it comes from.
    pub part: LogPart,
    /// Its stored form, which takes less memory than its fields.
    member: Box<str>,
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LogFacts {
    /// Events, training included, without duplicates.
    pub events: usize,
    /// Those of them that are only learned from.
    pub training_events: usize,
    /// Events that count as likes.
    pub likes: usize,
    /// Likes of items that the catalogue lacks.
    pub likes_of_unknown_items: usize,
    /// Users.
    pub users: usize,
    /// Items of the catalogue.
    pub items: usize,
    /// Items of the catalogue that some event names.
    pub items_with_events: usize,
    /// Events that repeat an earlier one and were left out.
    pub duplicates: usize,
    /// Events that stand after a later one in their file.
    pub out_of_order: usize,
    /// The first event's time.
    pub first: Option<String>,
    /// The last event's time.
    pub last: Option<String>,
}

/// A log of events, in the order of time, with the catalogue.
#[derive(Debug)]
pub struct ReplayLog {
    /// The users.
    pub users: Vec<UserId>,
    /// The items: those of the catalogue in bytewise order, then those that only
    /// events name.
    pub items: Vec<ContentId>,
    /// What is known of the first items, one each.
    pub catalogue: Vec<Item>,
    /// The events.
    pub events: Vec<ReplayEvent>,
    /// What the log holds.
    pub facts: LogFacts,
    positions: HashMap<ContentId, u32>,
}

impl ReplayLog {
    /// Whether an item is in the catalogue.
    #[must_use]
    pub fn is_in_catalogue(&self, item: u32) -> bool {
        (item as usize) < self.catalogue.len()
    }

    /// The position of an item.
    #[must_use]
    pub fn position(&self, id: &ContentId) -> Option<u32> {
        self.positions.get(id).copied()
    }

    /// An event as a store takes it.
    ///
    /// # Errors
    /// Never for an event of this log.
    pub fn stored(&self, event: &ReplayEvent) -> Result<StoredEvent, UnreadableMember> {
        event_member::decode(&self.users[event.user as usize], &event.member, event.time)
    }

    /// Days from the first to the last event.
    #[must_use]
    pub fn span_days(&self) -> f64 {
        match (self.events.first(), self.events.last()) {
            (Some(first), Some(last)) => last.time.days_since(first.time),
            _ => 0.0,
        }
    }

    /// Each item's rank by the number of its likes in the whole log, 1 for the
    /// most liked one; equal ones by their ids.
    #[must_use]
    pub fn popularity_ranks(&self) -> Vec<u32> {
        let mut likes = vec![0_u32; self.items.len()];
        let liked = self.events.iter().filter(|event| event.is_like);
        for item in liked.filter_map(|event| event.item) {
            likes[item as usize] += 1;
        }
        let mut order: Vec<u32> = (0..self.items.len() as u32).collect();
        order.sort_by_key(|item| (std::cmp::Reverse(likes[*item as usize]), *item));
        let mut ranks = vec![0; order.len()];
        for (rank, item) in (1..).zip(order) {
            ranks[item as usize] = rank;
        }
        ranks
    }
}

/// Collects a log.
#[derive(Debug)]
pub struct LogBuilder {
    rule: LikeRule,
    users: Interned<UserId>,
    items: Interned<ContentId>,
    /// With a hash that repeats share.
    events: Vec<(ReplayEvent, u64)>,
    out_of_order: usize,
    /// The latest time in the file so far, of each part.
    latest: [Option<Timestamp>; 2],
    event_types: HashMap<String, usize>,
}

#[derive(Debug)]
struct Interned<T> {
    values: Vec<T>,
    positions: HashMap<T, u32>,
}

impl<T: Clone + Eq + std::hash::Hash> Interned<T> {
    fn new() -> Self {
        Self {
            values: Vec::new(),
            positions: HashMap::new(),
        }
    }

    fn position(&mut self, value: &T) -> u32 {
        if let Some(position) = self.positions.get(value) {
            return *position;
        }
        let position = self.values.len() as u32;
        self.values.push(value.clone());
        self.positions.insert(value.clone(), position);
        position
    }
}

impl LogBuilder {
    /// An empty log, in which `rule` decides what counts as a like.
    #[must_use]
    pub fn new(rule: LikeRule) -> Self {
        Self {
            rule,
            users: Interned::new(),
            items: Interned::new(),
            events: Vec::new(),
            out_of_order: 0,
            latest: [None; 2],
            event_types: HashMap::new(),
        }
    }

    /// Adds the next event of a file.
    ///
    /// # Errors
    /// Only if its answers nest deeper than JSON can be written.
    pub fn add(&mut self, event: InteractionEvent, part: LogPart) -> Result<(), serde_json::Error> {
        let is_like = self.rule.is_like(&event);
        match self.event_types.get_mut(&event.event_type) {
            Some(count) => *count += 1,
            None => {
                self.event_types.insert(event.event_type.clone(), 1);
            }
        }
        let StoredEvent { event, member } = event_member::encode(event)?;
        // As the stores see it: an id repeats, or without one all of the event.
        let identity = match &event.event_id {
            Some(id) => xxh3_64(id.as_bytes()) ^ 1,
            None => xxh3_64(member.as_bytes()),
        };
        let latest = &mut self.latest[part as usize];
        if latest.is_some_and(|latest| event.time < latest) {
            self.out_of_order += 1;
        }
        *latest = (*latest).max(Some(event.time));
        let event = ReplayEvent {
            time: event.time,
            user: self.users.position(&event.user_id),
            item: event.content_id.as_ref().map(|id| self.items.position(id)),
            is_like,
            part,
            member,
        };
        self.events.push((event, identity));
        Ok(())
    }

    /// The event types so far with how often each came, the most frequent first.
    #[must_use]
    pub fn event_types(&self) -> Vec<(String, usize)> {
        let types = self.event_types.iter();
        let mut types: Vec<(String, usize)> =
            types.map(|(name, count)| (name.clone(), *count)).collect();
        types.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
        types
    }

    /// The log with a catalogue; without one, the events' items are the
    /// catalogue, and nothing is known of them.
    #[must_use]
    pub fn finish(self, catalogue: Option<Vec<Item>>) -> ReplayLog {
        let Self {
            users,
            items: named,
            mut events,
            out_of_order,
            ..
        } = self;
        let mut catalogue =
            catalogue.unwrap_or_else(|| named.values.iter().cloned().map(Item::new).collect());
        catalogue.sort_by(|a, b| a.id.cmp(&b.id));
        catalogue.dedup_by(|a, b| a.id == b.id);
        let mut items: Vec<ContentId> = catalogue.iter().map(|item| item.id.clone()).collect();
        let mut positions: HashMap<ContentId, u32> = items.iter().cloned().zip(0..).collect();
        let mut unknown: Vec<&ContentId> = named
            .values
            .iter()
            .filter(|id| !positions.contains_key(*id))
            .collect();
        unknown.sort();
        for id in unknown {
            positions.insert(id.clone(), items.len() as u32);
            items.push(id.clone());
        }
        let moved: Vec<u32> = named.values.iter().map(|id| positions[id]).collect();

        // Stable: events of one moment keep the order of their file.
        events.sort_by_key(|(event, _)| event.time);
        let before = events.len();
        let mut identities = HashSet::with_capacity(before);
        events.retain(|(event, identity)| identities.insert((event.user, *identity)));
        drop(identities);
        let duplicates = before - events.len();
        let events: Vec<ReplayEvent> = events
            .into_iter()
            .map(|(event, _)| ReplayEvent {
                item: event.item.map(|item| moved[item as usize]),
                ..event
            })
            .collect();

        let facts = LogFacts {
            duplicates,
            out_of_order,
            users: users.values.len(),
            items: catalogue.len(),
            ..facts(&events, catalogue.len())
        };
        ReplayLog {
            users: users.values,
            items,
            catalogue,
            events,
            facts,
            positions,
        }
    }
}

fn facts(events: &[ReplayEvent], items: usize) -> LogFacts {
    let mut facts = LogFacts {
        events: events.len(),
        first: events.first().map(|event| event.time.to_string()),
        last: events.last().map(|event| event.time.to_string()),
        ..LogFacts::default()
    };
    let mut has_events = vec![false; items];
    for event in events {
        facts.training_events += usize::from(event.part == LogPart::Training);
        facts.likes += usize::from(event.is_like);
        let Some(item) = event.item else { continue };
        match has_events.get_mut(item as usize) {
            Some(has_events) => *has_events = true,
            None => facts.likes_of_unknown_items += usize::from(event.is_like),
        }
    }
    facts.items_with_events = has_events.iter().filter(|has| **has).count();
    facts
}

#[cfg(test)]
mod tests {
    use super::{LogBuilder, LogPart};
    use crate::{
        domain::{
            event::InteractionEvent, ids::UserId, item::Item, ranking_config::RankingConfig,
            time::Timestamp,
        },
        eval::likes::LikeRule,
    };

    fn event(user: &str, item: &str, seconds: i64, id: Option<&str>) -> InteractionEvent {
        let user = UserId::parse(user).unwrap();
        let time = Timestamp::from_micros(seconds * 1_000_000);
        let mut event = InteractionEvent::new(user, "purchase", time);
        event.content_id = Some(item.into());
        event.event_id = id.map(str::to_owned);
        event
    }

    fn builder(events: &[(&str, &str, i64, Option<&str>)]) -> LogBuilder {
        let mut log = LogBuilder::new(LikeRule::new(&RankingConfig::default()));
        for (user, item, seconds, id) in events {
            let part = if *seconds < 10 {
                LogPart::Training
            } else {
                LogPart::Evaluation
            };
            log.add(event(user, item, *seconds, *id), part).unwrap();
        }
        log
    }

    #[test]
    fn events_are_sorted_stably_and_repeats_left_out() {
        let log = builder(&[
            ("u", "b", 20, Some("e1")),
            ("u", "c", 10, None),
            ("v", "a", 10, Some("e1")),
            ("u", "c", 10, None),
            ("u", "x", 30, Some("e1")),
            ("u", "c", 9, None),
        ])
        .finish(None);
        let order: Vec<(&str, &str)> = log
            .events
            .iter()
            .map(|event| {
                let item = event.item.unwrap() as usize;
                (
                    log.users[event.user as usize].as_str(),
                    log.items[item].as_str(),
                )
            })
            .collect();
        assert_eq!(order, [("u", "c"), ("u", "c"), ("v", "a"), ("u", "b")]);
        assert_eq!((log.facts.duplicates, log.facts.out_of_order), (2, 3));
        assert_eq!((log.facts.events, log.facts.training_events), (4, 1));
        assert_eq!(log.facts.items, 4);
        let stored = log.stored(&log.events[3]).unwrap();
        assert_eq!(stored.event, event("u", "b", 20, Some("e1")));
    }

    #[test]
    fn items_of_the_catalogue_come_first_in_the_order_of_ids() {
        let catalogue = ["c", "a", "c", "d"].map(Item::new).to_vec();
        let log = builder(&[
            ("u", "z", 10, None),
            ("u", "c", 11, None),
            ("u", "b", 12, None),
        ])
        .finish(Some(catalogue));
        let ids: Vec<&str> = log.items.iter().map(|id| id.as_str()).collect();
        assert_eq!(ids, ["a", "c", "d", "b", "z"]);
        assert!(log.is_in_catalogue(2) && !log.is_in_catalogue(3));
        assert_eq!(log.events[0].item, Some(4));
        let facts = &log.facts;
        assert_eq!((facts.likes, facts.likes_of_unknown_items), (3, 2));
        assert_eq!((facts.items, facts.items_with_events), (3, 1));
        assert_eq!(log.popularity_ranks(), [4, 1, 5, 2, 3]);
    }
}
