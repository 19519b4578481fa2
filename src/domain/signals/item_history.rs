//! The events of each item, summarized.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::domain::{
    event::{EndReason, EventLog, InteractionEvent, event_types},
    ids::ContentId,
    meaning::{EventRule, EventTable, ExplicitStrength},
    time::Timestamp,
};

/// The events of one item.
pub(super) struct ItemHistory<'a> {
    pub(super) content_id: &'a ContentId,
    /// Number of started views, at least 1.
    pub(super) visits: usize,
    /// End reason of the latest ended view.
    pub(super) end_reason: Option<EndReason>,
    /// The latest rating, 0 to 5.
    pub(super) rating: Option<f64>,
    /// Time of the latest event.
    pub(super) last: Timestamp,
    /// What the events say explicitly; nothing if meanings are not read.
    pub(super) explicit: ExplicitStrength,
    last_position: usize,
    starts: usize,
    longest_dwell: Option<f64>,
    first_start: Option<Timestamp>,
    last_end: Option<Timestamp>,
}

impl<'a> ItemHistory<'a> {
    fn new(content_id: &'a ContentId, time: Timestamp) -> Self {
        Self {
            content_id,
            visits: 1,
            end_reason: None,
            rating: None,
            last: time,
            explicit: ExplicitStrength::default(),
            last_position: 0,
            starts: 0,
            longest_dwell: None,
            first_start: None,
            last_end: None,
        }
    }

    fn add(&mut self, position: usize, event: &InteractionEvent) {
        self.last = event.time;
        self.last_position = position;
        self.longest_dwell = match (self.longest_dwell, event.dwell_seconds) {
            (Some(longest), Some(dwell)) => Some(longest.max(dwell)),
            (longest, dwell) => longest.or(dwell),
        };
        self.rating = event.rating().or(self.rating);
        match event.event_type.as_str() {
            event_types::VIEW_STARTED => {
                self.starts += 1;
                self.visits = self.starts;
                self.first_start.get_or_insert(event.time);
            }
            event_types::VIEW_ENDED => {
                self.end_reason = event.end_reason;
                self.last_end = Some(event.time);
            }
            _ => {}
        }
    }

    /// The longest reported dwell time; without one, the time from the first
    /// start to the last end, at least 0; without both, `None`.
    pub(super) fn dwell_seconds(&self) -> Option<f64> {
        self.longest_dwell
            .or_else(|| Some(self.last_end?.seconds_since(self.first_start?).max(0.0)))
    }
}

/// The rules of the event types of a log. Most logs repeat a few types, and
/// comparing texts is cheaper than normalizing them.
struct TypeRules<'a> {
    table: &'a EventTable,
    known: HashMap<&'a str, Option<EventRule>, RandomState>,
}

impl<'a> TypeRules<'a> {
    fn new(table: &'a EventTable) -> Self {
        Self {
            table,
            known: HashMap::default(),
        }
    }

    fn of(&mut self, event_type: &'a str) -> Option<EventRule> {
        let table = self.table;
        let rule = || table.rule(event_type);
        *self.known.entry(event_type).or_insert_with(rule)
    }
}

/// Index of each item's history.
type HistoryIndex<'a> = HashMap<&'a ContentId, usize, RandomState>;

/// The histories of all items in a log.
pub(super) struct ItemHistories<'a> {
    pub(super) items: Vec<ItemHistory<'a>>,
    ignored: Vec<(&'a ContentId, Timestamp)>,
}

impl<'a> ItemHistories<'a> {
    /// Summarizes a log, with at most `max_ignored` ignored items, and reads the
    /// meanings of events if a table of event types is given.
    pub(super) fn of(log: &'a EventLog, max_ignored: usize, table: Option<&'a EventTable>) -> Self {
        let mut rules = table.map(TypeRules::new);
        let mut items: Vec<ItemHistory<'a>> = Vec::new();
        let mut index: HistoryIndex<'a> =
            HashMap::with_capacity_and_hasher(log.len(), RandomState::default());
        for (position, event) in log.iter().enumerate() {
            if let Some(id) = &event.content_id {
                let place = *index.entry(id).or_insert_with(|| {
                    items.push(ItemHistory::new(id, event.time));
                    items.len() - 1
                });
                items[place].add(position, event);
                if let Some(rules) = &mut rules {
                    items[place]
                        .explicit
                        .observe(event, rules.of(&event.event_type));
                }
            }
        }
        let ignored = ignored(log, &index, max_ignored);
        Self { items, ignored }
    }

    pub(super) fn sort_by_id(&mut self) {
        self.items
            .sort_unstable_by_key(|history| history.content_id);
    }

    pub(super) fn sort_latest_first(&mut self) {
        self.items
            .sort_unstable_by_key(|history| std::cmp::Reverse(history.last_position));
    }

    /// The ids, the item with the latest event first.
    pub(super) fn latest_first(&self) -> Vec<&'a ContentId> {
        let mut order: Vec<&ItemHistory<'a>> = self.items.iter().collect();
        order.sort_unstable_by_key(|history| std::cmp::Reverse(history.last_position));
        order
            .into_iter()
            .map(|history| history.content_id)
            .collect()
    }

    /// Items that were displayed and never engaged with, in the order of their ids, with the
    /// time of their latest impression. It has the largest weight, because weights decay.
    pub(super) fn ignored(&self) -> &[(&'a ContentId, Timestamp)] {
        &self.ignored
    }
}

/// Ignored items for which there is room at first: growing step by step costs more.
const MAX_RESERVED: usize = 1_000;

/// The newest `max` ignored items, of equal times those with the smallest ids, in the order
/// of their ids. Iterates from the newest event and
/// stops when older impressions cannot matter, so that the cost does not grow
/// with the number of impressions.
fn ignored<'a>(
    log: &'a EventLog,
    engaged: &HistoryIndex<'a>,
    max: usize,
) -> Vec<(&'a ContentId, Timestamp)> {
    let impressions: usize = log.iter().map(|event| event.impressions.len()).sum();
    let capacity = impressions.min(MAX_RESERVED);
    let mut latest: HashMap<&'a ContentId, Timestamp, RandomState> =
        HashMap::with_capacity_and_hasher(capacity, RandomState::default());
    let mut last_time = None;
    for event in log.iter().rev() {
        if latest.len() >= max && last_time != Some(event.time) {
            break;
        }
        for id in &event.impressions {
            if !engaged.contains_key(id) {
                latest.entry(id).or_insert(event.time);
            }
        }
        last_time = Some(event.time);
    }
    let mut ignored: Vec<_> = latest.into_iter().collect();
    if max < ignored.len() {
        ignored.select_nth_unstable_by(max, |a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        ignored.truncate(max);
    }
    ignored.sort_unstable_by_key(|(id, _)| *id);
    ignored
}
