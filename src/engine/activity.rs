//! What arrives at an engine and what it serves, counted for the console: event types
//! with their meaning, and why lists are cold. Nothing is counted until it is enabled.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::domain::{
    event::{InteractionEvent, event_types},
    ids::ContentId,
    meaning::{EventMeaning, EventRule},
};

/// Event types that are counted by name. All later ones count as one.
const MAX_TYPES: usize = 100;
/// Latest items that are remembered of each type, to find those that the catalogue lacks.
const RECENT_ITEMS: usize = 64;

/// What was counted of one event type.
#[derive(Clone, Debug)]
pub struct TypeActivity {
    /// Events.
    pub count: u64,
    /// Events that name an item.
    pub naming_item: u64,
    /// Events by what they say, in the order of [`EventMeaning::ALL`].
    pub meanings: Vec<(EventMeaning, u64)>,
    /// The type's rule in the ranking file.
    pub rule: Option<EventRule>,
    /// Whether the user model treats the type specially.
    pub is_special: bool,
    /// The latest items that its events name.
    pub recent_items: VecDeque<ContentId>,
}

impl TypeActivity {
    /// What most of its events say.
    #[must_use]
    pub fn meaning(&self) -> EventMeaning {
        let most = self.meanings.iter().rev().max_by_key(|(_, count)| *count);
        most.map_or(EventMeaning::None, |(meaning, _)| *meaning)
    }
}

/// What was counted since it was enabled.
#[derive(Clone, Debug, Default)]
pub struct ActivityReport {
    /// Events by type.
    pub types: BTreeMap<String, TypeActivity>,
    /// Events of types beyond the first hundred.
    pub other_events: u64,
    /// Lists.
    pub lists: u64,
    /// Lists without items.
    pub empty_lists: u64,
    /// Cold lists, by the name of the reason.
    pub cold_lists: BTreeMap<&'static str, u64>,
}

/// The counts of an engine.
#[derive(Debug, Default)]
pub(super) struct Activity {
    enabled: AtomicBool,
    report: Mutex<ActivityReport>,
}

impl Activity {
    pub(super) fn enable(&self) {
        self.enabled.store(true, Ordering::Relaxed);
    }

    pub(super) fn report(&self) -> ActivityReport {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.clone()
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    fn counted(&self, count: impl FnOnce(&mut ActivityReport)) {
        if self.is_enabled() {
            count(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Counts a list; `cold_reason` is the name of the reason why it is cold.
    pub(super) fn list(&self, is_empty: bool, cold_reason: Option<&'static str>) {
        self.counted(|report| {
            report.lists += 1;
            report.empty_lists += u64::from(is_empty);
            if let Some(reason) = cold_reason {
                *report.cold_lists.entry(reason).or_default() += 1;
            }
        });
    }

    pub(super) fn event(
        &self,
        event: &InteractionEvent,
        meaning: EventMeaning,
        rule: Option<EventRule>,
    ) {
        self.counted(|report| {
            let is_full = report.types.len() >= MAX_TYPES;
            if is_full && !report.types.contains_key(&event.event_type) {
                report.other_events += 1;
                return;
            }
            let name = event.event_type.clone();
            let counts = report.types.entry(name).or_insert_with(|| TypeActivity {
                count: 0,
                naming_item: 0,
                meanings: EventMeaning::ALL.map(|meaning| (meaning, 0)).to_vec(),
                rule,
                is_special: is_special(&event.event_type),
                recent_items: VecDeque::new(),
            });
            counts.count += 1;
            for (other, count) in &mut counts.meanings {
                *count += u64::from(*other == meaning);
            }
            if let Some(item) = &event.content_id {
                counts.naming_item += 1;
                if !counts.recent_items.contains(item) {
                    if counts.recent_items.len() >= RECENT_ITEMS {
                        counts.recent_items.pop_front();
                    }
                    counts.recent_items.push_back(item.clone());
                }
            }
        });
    }
}

fn is_special(event_type: &str) -> bool {
    event_type == event_types::VIEW_STARTED
        || event_type == event_types::VIEW_ENDED
        || event_types::PROFILE.contains(&event_type)
}
