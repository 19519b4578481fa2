//! Better weights: searched for on the first part of a log, measured on the
//! rest.
//!
//! What a search chose on is never reported: the best of many trials looks good
//! on the data that it was chosen on, whether or not it is.

mod file;
mod tunables;

use std::sync::atomic::AtomicU64;

pub use file::ranking_file;

use super::{
    log::ReplayLog,
    measures::Measure,
    plan::{ListRules, PlannedList},
    ranker::RankerError,
    replay::{Keep, ReplayOutcome},
    rng::SeededRng,
    runs::{RankerSpec, RunSettings, run},
};
use crate::domain::ranking_config::RankingConfig;
use tunables::{Candidate, TUNABLES, Tunable};

/// Maximum number of lists that a trial is scored on. All trials use the same lists.
const MOST_LISTS: usize = 4_000;
/// Trials that run side by side, before the best one is looked at again. It must not
/// depend on the number of threads.
const BATCH: usize = 2;
/// Share of the trials that are random; the others vary the best one.
const RANDOM_SHARE: f64 = 0.5;
/// How far refinement steps at first, and at last, as a part of a tunable's range.
const STEPS: (f64, f64) = (0.4, 0.05);

/// Settings of a search.
#[derive(Clone, Copy, Debug)]
pub struct SearchSettings<'a> {
    /// The ranking file that it starts from, which is the first trial.
    pub base: &'a RankingConfig,
    /// How many ranking files are tried, the first included.
    pub trials: usize,
    /// Share of the events, from the end, that is held out for the measurement.
    pub held_out: f64,
    /// How runs are made.
    pub run: RunSettings<'a>,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct SearchResult {
    /// The best ranking file of all trials.
    pub config: RankingConfig,
    /// Whether it is another one than the search started from.
    pub is_better: bool,
    /// How many lists it was chosen on.
    pub selection: usize,
}

/// The lists of the first part of a log, of which some are chosen on, and those
/// of the rest, which are reported.
#[must_use]
pub fn split_lists(
    log: &ReplayLog,
    plan: &[PlannedList],
    held_out: f64,
) -> (Vec<PlannedList>, Vec<PlannedList>) {
    let first = ((1.0 - held_out) * log.events.len() as f64).round() as usize;
    let cut = plan.partition_point(|list| (list.event as usize) < first);
    let (selection, reported) = plan.split_at(cut);
    (spread(selection, MOST_LISTS), reported.to_vec())
}

/// Some of the lists, evenly over all of them.
fn spread(lists: &[PlannedList], most: usize) -> Vec<PlannedList> {
    if lists.len() <= most {
        return lists.to_vec();
    }
    (0..most)
        .map(|index| lists[index * lists.len() / most])
        .collect()
}

/// Searches for the ranking file with the best NDCG on `selection`: a random
/// search, then the best one without each weight, then steps from the best one that
/// grow smaller. `progress` counts
/// events of all trials.
///
/// # Errors
/// [`RankerError`] if the engine fails.
pub fn search(
    log: &ReplayLog,
    selection: &[PlannedList],
    settings: SearchSettings<'_>,
    progress: &AtomicU64,
) -> Result<SearchResult, RankerError> {
    let rules: &ListRules = settings.run.rules;
    let mut rng = SeededRng::new(rules.seed, 0x7e57);
    let trials = settings.trials.max(1);
    let random = ((trials as f64 * RANDOM_SHARE).round() as usize).max(1);
    let start = Candidate::of(settings.base);
    let mut best = (
        score(log, selection, settings, &[start], progress)?[0],
        start,
    );
    let mut made = 1;
    while made < trials {
        let count = BATCH.min(trials - made);
        let candidates: Vec<Candidate> = (made..made + count)
            .map(|trial| {
                if trial < random {
                    return Candidate::random(&start, &mut rng);
                }
                let trial = trial - random;
                if let Some(without) = best.1.without(trial) {
                    return without;
                }
                let part = trial as f64 / (trials - random).max(1) as f64;
                let step = STEPS.0 * (STEPS.1 / STEPS.0).powf(part);
                best.1.moved(&start, step, &mut rng)
            })
            .collect();
        let scores = score(log, selection, settings, &candidates, progress)?;
        for (score, candidate) in scores.into_iter().zip(candidates) {
            // Of equal ones the first stays, which differs least from the base.
            if score > best.0 {
                best = (score, candidate);
            }
        }
        made += count;
    }
    Ok(SearchResult {
        config: best.1.apply(settings.base),
        is_better: best.1 != start,
        selection: selection.len(),
    })
}

/// The mean NDCG of each candidate.
fn score(
    log: &ReplayLog,
    selection: &[PlannedList],
    settings: SearchSettings<'_>,
    candidates: &[Candidate],
    progress: &AtomicU64,
) -> Result<Vec<f64>, RankerError> {
    let specs: Vec<RankerSpec> = candidates
        .iter()
        .map(|candidate| RankerSpec::Engine {
            name: "trial".to_owned(),
            config: Box::new(candidate.apply(settings.base)),
        })
        .collect();
    let run_settings = RunSettings {
        keep: Keep::default(),
        ..settings.run
    };
    let outcomes = run(log, selection, &specs, run_settings, progress)?;
    Ok(outcomes.iter().map(mean_ndcg).collect())
}

fn mean_ndcg(outcome: &ReplayOutcome) -> f64 {
    let ranks = outcome.ranks.iter().map(|rank| usize::from(*rank));
    let sum: f64 = ranks
        .map(|rank| Measure::Ndcg.of(Some(rank).filter(|rank| *rank > 0)))
        .sum();
    sum / outcome.ranks.len().max(1) as f64
}

/// The names of what a search may change.
#[must_use]
pub fn searched_keys() -> Vec<String> {
    TUNABLES.iter().map(Tunable::key).collect()
}
