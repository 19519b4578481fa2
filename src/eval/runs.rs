//! Several rankers through one log, each on a thread of its own.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    baselines::{CoOccurrence, Popular, RandomItems},
    engine_ranker::{EngineOptions, EngineRanker},
    log::ReplayLog,
    plan::{ListRules, PlannedList},
    ranker::{ListRanker, RankerError},
    replay::{Keep, ReplayOutcome, replay},
};
use crate::domain::ranking_config::RankingConfig;

/// A ranker that takes part in a run.
#[derive(Clone, Debug)]
pub enum RankerSpec {
    /// The engine with a ranking file.
    Engine {
        /// Its name in reports.
        name: String,
        /// The ranking file.
        config: Box<RankingConfig>,
    },
    /// A random sample.
    Random,
    /// The most popular items, recent likes counting more.
    Popular,
    /// What users of the last item also liked.
    CoOccurrence,
}

impl RankerSpec {
    /// The baselines, in the order of reports.
    pub const BASELINES: [Self; 3] = [Self::Random, Self::Popular, Self::CoOccurrence];

    /// Its name in reports.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Engine { name, .. } => name,
            Self::Random => "random",
            Self::Popular => "most popular",
            Self::CoOccurrence => "co-occurrence",
        }
    }

    /// Whether it is one of the baselines.
    #[must_use]
    pub fn is_baseline(&self) -> bool {
        !matches!(self, Self::Engine { .. })
    }

    fn ranker(
        &self,
        log: &ReplayLog,
        rules: &ListRules,
        options: &EngineOptions,
    ) -> Result<Box<dyn ListRanker>, RankerError> {
        Ok(match self {
            Self::Engine { name, config } => Box::new(EngineRanker::new(
                name,
                log,
                (**config).clone(),
                options,
                rules.seed,
            )?),
            Self::Random => Box::new(RandomItems),
            Self::Popular => Box::new(Popular::default()),
            Self::CoOccurrence => Box::new(CoOccurrence::default()),
        })
    }
}

/// What is common to all rankers of a run.
#[derive(Clone, Copy, Debug)]
pub struct RunSettings<'a> {
    /// The rules of lists.
    pub rules: &'a ListRules,
    /// What engines are set to.
    pub engine: &'a EngineOptions,
    /// How many rankers run at the same time, at least 1.
    pub threads: usize,
    /// What engines' replays keep.
    pub keep: Keep,
}

/// Replays a log for each ranker. The outcomes are in the rankers' order,
/// independent of which finishes first. `progress` counts events of all rankers.
///
/// # Errors
/// That of the first ranker, in their order, that failed.
pub fn run(
    log: &ReplayLog,
    plan: &[PlannedList],
    specs: &[RankerSpec],
    settings: RunSettings<'_>,
    progress: &AtomicU64,
) -> Result<Vec<ReplayOutcome>, RankerError> {
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<Option<Result<ReplayOutcome, RankerError>>>> =
        Mutex::new(specs.iter().map(|_| None).collect());
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(spec) = specs.get(index) else {
                return;
            };
            let outcome =
                spec.ranker(log, settings.rules, settings.engine)
                    .and_then(|mut ranker| {
                        replay(
                            log,
                            settings.rules,
                            plan,
                            ranker.as_mut(),
                            settings.keep,
                            progress,
                        )
                    });
            let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            outcomes[index] = Some(outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 0..settings.threads.clamp(1, specs.len().max(1)) {
            scope.spawn(work);
        }
    });
    let outcomes = outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    outcomes
        .into_iter()
        .zip(specs)
        .map(|(outcome, spec)| {
            outcome.unwrap_or_else(|| {
                Err(RankerError {
                    ranker: spec.name().to_owned(),
                    reason: "its thread ended early".to_owned(),
                })
            })
        })
        .collect()
}
