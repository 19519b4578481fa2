//! One ranker through one log.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{
    log::ReplayLog,
    plan::{History, ListRules, PlannedList, UserHistory},
    ranker::{ListQuery, ListRanker, ListedItems, RankerError},
    rng::mixed,
};
use crate::domain::time::Timestamp;

/// Lists with a hit, and without one, that become examples.
const HIT_EXAMPLES: usize = 5;
const MISS_EXAMPLES: usize = 2;
/// How many of a user's latest items an example shows.
const EXAMPLE_HISTORY: usize = 5;
/// Event time between two background refreshes, as of a service.
const REFRESH_INTERVAL_MICROS: i64 = 30_000_000;
/// Events between two reports of progress.
const PROGRESS_STEP: u64 = 64;

/// What a ranker did in a replay.
#[derive(Debug, Default)]
pub struct ReplayOutcome {
    /// Of each planned list, the rank of its target from 1, or 0.
    pub ranks: Vec<u8>,
    /// How often each item of the catalogue was shown.
    pub shown: Vec<u32>,
    /// Lists by history, with those that were empty and those of users unknown
    /// to the ranker.
    pub counts: BTreeMap<History, ListCounts>,
    /// Whether the ranker reports unknown users.
    pub knows_cold: bool,
    /// How long each list took.
    pub latencies: Vec<Duration>,
    /// All lists, if [`Keep::lists`] is set.
    pub lists: Vec<Vec<u32>>,
    /// Some of the lists.
    pub examples: Vec<ExampleList>,
}

/// Lists that were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListCounts {
    /// All.
    pub lists: usize,
    /// Those of users unknown to the ranker.
    pub cold: usize,
    /// Those without any item.
    pub empty: usize,
}

/// A list that shows what the numbers mean.
#[derive(Clone, Debug)]
pub struct ExampleList {
    /// The planned list's position.
    pub planned: usize,
    /// What the user had seen last, the latest first.
    pub recent: Vec<u32>,
    /// The list.
    pub items: Vec<u32>,
    /// The main reason for each item, if the ranker has one.
    pub reasons: Vec<String>,
}

/// What a replay keeps in addition to the ranks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// All lists.
    pub lists: bool,
    /// Some lists as examples.
    pub examples: bool,
}

/// Replays a log for one ranker: requests every planned list, in order, and passes
/// every event to the ranker. `progress` counts events.
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
    let mut refreshes = Refreshes::default();
    for (position, event) in (0..).zip(&log.events) {
        if open.peek().is_none() {
            // No further list is requested.
            unreported += log.events.len() as u64 - u64::from(position);
            break;
        }
        refreshes.advance(event.time, ranker)?;
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

/// The background refreshes of a ranker, on the clock of the events.
#[derive(Debug, Default)]
struct Refreshes {
    /// The next refresh; `None` before the first event.
    next: Option<Timestamp>,
}

impl Refreshes {
    /// Advances to the time of the next event. Without events in between, one refresh
    /// stands for several: the later ones would find nothing to do.
    fn advance(&mut self, now: Timestamp, ranker: &mut dyn ListRanker) -> Result<(), RankerError> {
        if let Some(due) = self.next.filter(|due| now >= *due) {
            ranker.refresh(due)?;
        }
        let intervals = now.as_micros().div_euclid(REFRESH_INTERVAL_MICROS) + 1;
        self.next = Some(Timestamp::from_micros(intervals * REFRESH_INTERVAL_MICROS));
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::{Keep, replay};
    use crate::{
        domain::{
            event::InteractionEvent, ids::UserId, ranking_config::RankingConfig, time::Timestamp,
        },
        eval::{
            likes::LikeRule,
            log::{LogBuilder, LogPart, ReplayEvent, ReplayLog},
            plan::{ListRules, planned_lists},
            ranker::{ListQuery, ListRanker, ListedItems, RankerError},
        },
    };

    /// Records the calls, with seconds of event time.
    #[derive(Default)]
    struct Recorder(Vec<(&'static str, i64)>);

    impl ListRanker for Recorder {
        fn list(&mut self, query: &ListQuery<'_>) -> Result<ListedItems, RankerError> {
            let seconds = query.event.time.as_micros() / 1_000_000;
            self.0.push(("list", seconds));
            Ok(ListedItems::default())
        }

        fn learn(&mut self, _: &ReplayLog, event: &ReplayEvent) -> Result<(), RankerError> {
            self.0.push(("learn", event.time.as_micros() / 1_000_000));
            Ok(())
        }

        fn refresh(&mut self, now: Timestamp) -> Result<(), RankerError> {
            self.0.push(("refresh", now.as_micros() / 1_000_000));
            Ok(())
        }
    }

    #[test]
    fn refreshes_come_every_30_seconds_of_event_time_with_events() {
        let mut log = LogBuilder::new(LikeRule::new(&RankingConfig::default()));
        for (seconds, event_type) in [(5, "open"), (31, "buy"), (59, "x"), (60, "x"), (301, "buy")]
        {
            let user = UserId::parse("u").unwrap();
            let time = Timestamp::from_micros(seconds * 1_000_000);
            let mut event = InteractionEvent::new(user, event_type, time);
            event.content_id = Some("i".into());
            log.add(event, LogPart::Evaluation).unwrap();
        }
        let log = log.finish(None);
        let rules = ListRules::default();
        let plan = planned_lists(&log, &rules);
        let mut recorder = Recorder::default();
        let progress = Default::default();
        replay(
            &log,
            &rules,
            &plan,
            &mut recorder,
            Keep::default(),
            &progress,
        )
        .unwrap();
        assert_eq!(
            recorder.0,
            [
                ("list", 5),
                ("learn", 5),
                ("refresh", 30),
                ("list", 31),
                ("learn", 31),
                ("learn", 59),
                ("refresh", 60),
                ("learn", 60),
                ("refresh", 90),
                ("list", 301),
                ("learn", 301),
            ]
        );
    }
}
