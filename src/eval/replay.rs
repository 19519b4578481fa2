//! One ranker through one log.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{
    dice::mixed,
    log::ReplayLog,
    plan::{History, ListRules, PlannedList, UserHistory},
    ranker::{ListQuery, ListRanker, ListedItems, RankerError},
};

/// Lists with a hit, and without one, that are kept as examples.
const HIT_EXAMPLES: usize = 5;
const MISS_EXAMPLES: usize = 2;
/// How many of a user's latest items an example shows.
const EXAMPLE_HISTORY: usize = 5;
/// Events between two reports of progress.
const PROGRESS_STEP: u64 = 64;

/// What a ranker did in a replay.
#[derive(Debug, Default)]
pub struct ReplayOutcome {
    /// Of each planned list, the rank of its target from 1, or 0.
    pub ranks: Vec<u8>,
    /// How often each item of the catalogue was shown.
    pub shown: Vec<u32>,
    /// Lists by history, with those that were empty and those of users of whom
    /// the ranker knew nothing.
    pub counts: BTreeMap<History, ListCounts>,
    /// Whether the ranker says which users it knows nothing of.
    pub knows_cold: bool,
    /// How long each list took.
    pub latencies: Vec<Duration>,
    /// All lists, if they were asked for.
    pub lists: Vec<Vec<u32>>,
    /// Some of the lists.
    pub examples: Vec<ExampleList>,
}

/// Lists that were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListCounts {
    /// All.
    pub lists: usize,
    /// Those of users of whom the ranker knew nothing.
    pub cold: usize,
    /// Those without any item.
    pub empty: usize,
}

/// A list that shows what the numbers mean.
#[derive(Clone, Debug)]
pub struct ExampleList {
    /// The planned list's position.
    pub planned: usize,
    /// What the user had met last, the latest first.
    pub recent: Vec<u32>,
    /// The list.
    pub items: Vec<u32>,
    /// Of each item what spoke for it, if the ranker says so.
    pub reasons: Vec<String>,
}

/// What is kept of a replay besides the ranks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// All lists.
    pub lists: bool,
    /// Some lists as examples.
    pub examples: bool,
}

/// Lets a ranker go through a log: asks it for every planned list, in order, and
/// lets it learn every event. `progress` counts events.
///
/// # Errors
/// The ranker's, on the first list or event that it fails on.
pub fn replay(
    log: &ReplayLog,
    rules: &ListRules,
    plan: &[PlannedList],
    ranker: &mut dyn ListRanker,
    keep: Keep,
    progress: &AtomicU64,
) -> Result<ReplayOutcome, RankerError> {
    let mut outcome = ReplayOutcome {
        ranks: Vec::with_capacity(plan.len()),
        shown: vec![0; log.catalogue.len()],
        latencies: Vec::with_capacity(plan.len()),
        ..ReplayOutcome::default()
    };
    let mut examples = Examples::default();
    let mut histories = vec![UserHistory::default(); log.users.len()];
    let mut open = plan.iter().enumerate().peekable();
    let mut unreported = 0_u64;
    for (position, event) in (0..).zip(&log.events) {
        if open.peek().is_none() {
            // Nothing is asked any more.
            unreported += log.events.len() as u64 - u64::from(position);
            break;
        }
        let history = &mut histories[event.user as usize];
        if let Some((index, planned)) = open.next_if(|(_, planned)| planned.event == position) {
            let query = ListQuery {
                log,
                event,
                position,
                rules,
                history,
            };
            let started = Instant::now();
            let listed = ranker.list(&query)?;
            outcome.latencies.push(started.elapsed());
            let place = listed.items.iter().position(|item| *item == planned.target);
            if keep.examples {
                let key = mixed(rules.seed, u64::from(position));
                examples.offer(place.is_some(), key, || ExampleList {
                    planned: index,
                    recent: history
                        .latest(EXAMPLE_HISTORY)
                        .iter()
                        .rev()
                        .copied()
                        .collect(),
                    items: listed.items.clone(),
                    reasons: ranker.reasons(),
                });
            }
            outcome.count(planned, place, listed, keep.lists);
        }
        ranker.learn(log, event)?;
        history.add(event);
        unreported += 1;
        if unreported >= PROGRESS_STEP {
            progress.fetch_add(unreported, Ordering::Relaxed);
            unreported = 0;
        }
    }
    progress.fetch_add(unreported, Ordering::Relaxed);
    outcome.examples = examples.into_lists();
    Ok(outcome)
}

impl ReplayOutcome {
    fn count(
        &mut self,
        planned: &PlannedList,
        place: Option<usize>,
        listed: ListedItems,
        keep: bool,
    ) {
        let rank = place.map_or(0, |place| u8::try_from(place + 1).unwrap_or(u8::MAX));
        self.ranks.push(rank);
        for item in &listed.items {
            if let Some(shown) = self.shown.get_mut(*item as usize) {
                *shown += 1;
            }
        }
        self.knows_cold |= listed.cold.is_some();
        let counts = self.counts.entry(History::of(planned.earlier)).or_default();
        counts.lists += 1;
        counts.cold += usize::from(listed.cold == Some(true));
        counts.empty += usize::from(listed.items.is_empty());
        if keep {
            self.lists.push(listed.items);
        }
    }
}

/// The lists whose keys are smallest: an even sample of hits and of misses that
/// does not depend on how many there are.
#[derive(Default)]
struct Examples {
    hits: BTreeMap<u64, ExampleList>,
    misses: BTreeMap<u64, ExampleList>,
}

impl Examples {
    fn offer(&mut self, is_hit: bool, key: u64, list: impl FnOnce() -> ExampleList) {
        let (kept, most) = if is_hit {
            (&mut self.hits, HIT_EXAMPLES)
        } else {
            (&mut self.misses, MISS_EXAMPLES)
        };
        let is_wanted = kept.len() < most || kept.last_key_value().is_some_and(|(k, _)| key < *k);
        if is_wanted {
            kept.insert(key, list());
            if kept.len() > most {
                kept.pop_last();
            }
        }
    }

    fn into_lists(self) -> Vec<ExampleList> {
        let hits = self.hits.into_values();
        hits.chain(self.misses.into_values()).collect()
    }
}
