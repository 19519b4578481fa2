//! The engine over embedded stores, with a clock that the events move.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

use super::{
    log::{ReplayEvent, ReplayLog},
    plan::SeenItems,
    ranker::{ListQuery, ListRanker, ListedItems, RankerError},
    rng::mixed,
};
use crate::{
    adapters::memory::{
        Budget, MemoryAssociationStore, MemoryEventBuffer, MemoryItemStore, MemoryModelStore,
    },
    domain::{
        answers::max_answers,
        ranking::{ItemRole, RankedItem, interest::SeenPolicy, scorers::Scorer},
        ranking_config::RankingConfig,
        time::Timestamp,
    },
    engine::{Deadlines, Engine, EngineSettings, ListRequest, Ports, Recommendation, Strategy},
    ports::{Clock, Deadline, Randomness},
};

/// Settings of a replayed engine other than its ranking file.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How long events count.
    pub window: Duration,
    /// Maximum number of events per user.
    pub max_events_per_user: usize,
    /// The engine's own settings.
    pub engine: EngineSettings,
}

/// The time of the event that is replayed.
#[derive(Debug, Default)]
struct ReplayClock(AtomicI64);

impl Clock for ReplayClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Numbers that repeat from run to run.
#[derive(Debug)]
struct ReplayRandomness {
    seed: u64,
    drawn: AtomicU64,
}

impl Randomness for ReplayRandomness {
    fn next_u64(&self) -> u64 {
        mixed(self.seed, self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

/// An engine with its stores in memory.
pub struct EngineRanker {
    name: String,
    runtime: Runtime,
    engine: Engine,
    clock: Arc<ReplayClock>,
    latest: Option<Recommendation>,
}

impl EngineRanker {
    /// An engine that ranks by `config`, over the log's catalogue.
    ///
    /// # Errors
    /// [`RankerError`] if an item cannot be stored, such as one whose vector has
    /// another size than the others.
    pub fn new(
        name: &str,
        log: &ReplayLog,
        config: RankingConfig,
        options: &EngineOptions,
        seed: u64,
    ) -> Result<Self, RankerError> {
        let failed = |reason: String| RankerError {
            ranker: name.to_owned(),
            reason,
        };
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| failed(error.to_string()))?;
        let clock = Arc::new(ReplayClock::default());
        // The log, which is in memory already, bounds it.
        let budget = Arc::new(Budget::new(usize::MAX));
        let items = MemoryItemStore::new(config.canonicalizer(), usize::MAX);
        for item in &log.catalogue {
            let put = items.put(item.clone());
            put.map_err(|refusal| failed(format!("item {}: {refusal}", item.id)))?;
        }
        let EngineOptions {
            window,
            max_events_per_user,
            engine,
        } = options;
        let max_events = *max_events_per_user;
        let events =
            MemoryEventBuffer::new(clock.clone(), *window, max_events, Arc::clone(&budget))
                .with_max_answers(max_answers(config.preset));
        let ports = Ports {
            events: Arc::new(events),
            models: Arc::new(MemoryModelStore::new(
                clock.clone(),
                *window,
                Arc::clone(&budget),
            )),
            associations: Arc::new(MemoryAssociationStore::new(clock.clone(), *window, budget)),
            items: Arc::new(items),
            randomness: Arc::new(ReplayRandomness {
                seed,
                drawn: AtomicU64::new(0),
            }),
        };
        // Rankings are compared as they are: each user gets the same.
        let config = config.without_experiments();
        // Models are saved at once, and rows are refreshed on the clock of the events.
        let mut engine = engine.clone();
        engine.model_save_interval = Duration::ZERO;
        engine.associations.background = false;
        Ok(Self {
            name: name.to_owned(),
            runtime,
            engine: Engine::new(ports, config, engine),
            clock,
            latest: None,
        })
    }

    fn failed(&self, reason: &dyn std::error::Error) -> RankerError {
        RankerError {
            ranker: self.name.clone(),
            reason: reason.to_string(),
        }
    }

    fn set_time(&self, time: Timestamp) {
        self.clock.0.store(time.as_micros(), Ordering::Relaxed);
    }
}

impl ListRanker for EngineRanker {
    fn list(&mut self, query: &ListQuery<'_>) -> Result<ListedItems, RankerError> {
        let (log, rules) = (query.log, query.rules);
        self.set_time(query.event.time);
        let excluded = query.history.latest(rules.exclude_last).iter();
        let user = log.users[query.event.user as usize].clone();
        let request = ListRequest {
            exclude: excluded
                .map(|item| log.items[*item as usize].clone())
                .collect(),
            seen: match rules.seen {
                SeenItems::Hide => SeenPolicy::Hide,
                SeenItems::Allow => SeenPolicy::Allow,
            },
            seed: Some(mixed(rules.seed, u64::from(query.position)) as u32),
            ..ListRequest::for_user(user, rules.k)
        };
        let list = self.engine.list(&request, Deadlines::UNLIMITED);
        let list = self
            .runtime
            .block_on(list)
            .map_err(|error| self.failed(&error))?;
        let items = list
            .items
            .iter()
            .filter_map(|ranked| log.position(ranked.scored.item.id()));
        let listed = ListedItems {
            items: items.collect(),
            cold: Some(matches!(list.strategy, Strategy::Cold(_))),
        };
        self.latest = Some(list);
        Ok(listed)
    }

    fn learn(&mut self, log: &ReplayLog, event: &ReplayEvent) -> Result<(), RankerError> {
        self.set_time(event.time);
        let stored = log.stored(event).map_err(|error| self.failed(&error))?;
        let received = self.engine.receive(stored, Deadline::NONE);
        self.runtime
            .block_on(received)
            .map_err(|error| self.failed(&error))?;
        Ok(())
    }

    fn refresh(&mut self, now: Timestamp) -> Result<(), RankerError> {
        self.set_time(now);
        let refreshed = self.engine.refresh_associations();
        self.runtime
            .block_on(refreshed)
            .map_err(|error| self.failed(&error))?;
        Ok(())
    }

    fn reasons(&self) -> Vec<String> {
        let Some(list) = &self.latest else {
            return Vec::new();
        };
        list.items.iter().map(reason).collect()
    }
}

/// The main reason for an item, as a part of a sentence.
fn reason(ranked: &RankedItem) -> String {
    if ranked.role == ItemRole::Exploration {
        return "exploration".to_owned();
    }
    let strongest = ranked
        .scored
        .breakdown
        .parts()
        .filter(|(_, part)| *part > 0.0)
        .max_by(|(_, a), (_, b)| a.total_cmp(b));
    let Some((part, _)) = strongest else {
        return "no signal".to_owned();
    };
    match (part, ranked.matched_tags.first(), &ranked.scored.similar_to) {
        (Scorer::Tag, Some(tag), _) => format!("liked tag {}", tag.label()),
        (Scorer::Affinity, _, Some(liked)) => format!("similar to {liked}"),
        (part, _, _) => part.name().to_owned(),
    }
}
