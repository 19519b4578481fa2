//! The use cases: ingest, read signals, recommend, keep the catalogue.
//!
//! Knows the domain and the ports, nothing of Redis, Qdrant or gRPC. Work that
//! must not be cut in two when a caller goes away (an append and its refresh)
//! runs as a task of its own; [`Engine::finish`] waits for them.

mod catalog;
mod ingest;
mod lists;
mod models;

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::Map};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error, warn};

use crate::{
    domain::{
        ids::ContentId, item::CatalogueItem, ranking_config::RankingConfig, signals::Items,
        tags::Canonicalizer, time::Timestamp,
    },
    ports::{Deadline, EventBuffer, ItemStore, ModelStore, Randomness, StoreError, StoreErrorKind},
    telemetry::{meters, spans, throttle::Throttle},
};

pub use ingest::Ingested;
pub use lists::{Deadlines, EmptyReason, RecommendRequest, Recommendation, Strategy};
pub use models::signals::{Source, UserExport};

/// What the engine works on.
#[derive(Clone)]
pub struct Ports {
    /// The event buffers.
    pub events: Arc<dyn EventBuffer>,
    /// The user models.
    pub models: Arc<dyn ModelStore>,
    /// The catalogue.
    pub items: Arc<dyn ItemStore>,
    /// Random numbers.
    pub randomness: Arc<dyn Randomness>,
}

/// What can be set of the engine, apart from the ranking file.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Age at which a model is rebuilt even if no event came, so that changes
    /// of the catalogue reach it.
    pub model_max_age: Duration,
    /// How many seen items a search excludes itself; the rest are taken out
    /// of what it found.
    pub max_excluded_ids: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            model_max_age: Duration::from_secs(3_600),
            max_excluded_ids: 2_000,
        }
    }
}

/// Which store an engine error comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// Event buffers and user models.
    UserState,
    /// Items.
    Catalogue,
}

/// A use case failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// A store failed.
    #[error("{dependency:?} store failed")]
    Store {
        /// Which one.
        dependency: Dependency,
        /// How.
        source: Arc<StoreError>,
    },
    /// It took longer than its caller waits. What was begun goes on.
    #[error("no answer in time")]
    TimedOut,
    /// A task of the engine panicked: a bug.
    #[error("a task panicked")]
    Panicked,
}

impl EngineError {
    fn user_state(source: StoreError) -> Self {
        tell(Dependency::UserState, &source);
        Self::of(Dependency::UserState, source)
    }

    fn catalogue(source: StoreError) -> Self {
        tell(Dependency::Catalogue, &source);
        Self::of(Dependency::Catalogue, source)
    }

    /// Of a read that had to be answered by a moment: once that has passed, the
    /// caller's time is up, which says nothing of the catalogue.
    fn catalogue_before(deadline: Deadline) -> impl Fn(StoreError) -> Self {
        move |source| {
            let late =
                source.kind() == StoreErrorKind::Unavailable && deadline.remaining().is_zero();
            if late {
                Self::TimedOut
            } else {
                Self::catalogue(source)
            }
        }
    }

    /// Without a word in the log.
    fn of(dependency: Dependency, source: StoreError) -> Self {
        Self::Store {
            dependency,
            source: Arc::new(source),
        }
    }
}

/// Writes a failure of a call with its whole chain to the log, here and nowhere
/// else.
///
/// At most once a second for each store and kind of failure: an outage fails every
/// call, and must hide no other failure.
fn tell(dependency: Dependency, source: &StoreError) {
    static TOLD: [[Throttle; StoreErrorKind::COUNT]; 2] =
        [const { [const { Throttle::new() }; StoreErrorKind::COUNT] }; 2];
    let throttle = &TOLD[dependency as usize][source.kind() as usize];
    let Some(untold) = throttle.turn() else {
        return;
    };
    let cause = source as &dyn std::error::Error;
    match source.kind() {
        StoreErrorKind::Unavailable | StoreErrorKind::Full => {
            warn!(?dependency, untold, error = cause, "store failed");
        }
        StoreErrorKind::Misconfigured => {
            error!(
                ?dependency,
                untold,
                error = cause,
                "settings of store are wrong"
            );
        }
        StoreErrorKind::Unprepared => {
            error!(?dependency, untold, error = cause, "store is not set up");
        }
        StoreErrorKind::Corrupt => error!(?dependency, untold, error = cause, "store is corrupt"),
    }
}

/// The use cases over one set of stores. Cheap to clone; clones share all.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    ports: Ports,
    settings: EngineSettings,
    config: RankingConfig,
    canonical: Canonicalizer,
    fingerprint: u64,
    lanes: models::refresh::Lanes,
    tasks: TaskTracker,
}

impl Engine {
    /// An engine over these stores, with a checked ranking file.
    #[must_use]
    pub fn new(ports: Ports, config: RankingConfig, settings: EngineSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                ports,
                settings,
                canonical: config.canonicalizer(),
                fingerprint: config.fingerprint(),
                config,
                lanes: models::refresh::Lanes::default(),
                tasks: TaskTracker::new(),
            }),
        }
    }

    /// Brings tags into the form in which they are compared.
    #[must_use]
    pub fn canonicalizer(&self) -> &Canonicalizer {
        &self.inner.canonical
    }

    /// How many items a list has if the request does not say.
    #[must_use]
    pub fn default_limit(&self) -> usize {
        self.inner.config.default_limit
    }

    /// The engine's time: that of the store of users' state.
    ///
    /// # Errors
    /// [`EngineError`] if that has not told it yet and does not answer.
    pub async fn now(&self) -> Result<Timestamp, EngineError> {
        let now = self.inner.ports.events.now().await;
        now.map_err(EngineError::user_state)
    }

    /// Asks whether the store of users' state answers. A failure is left for
    /// the caller to log: who asks every second tells only of changes.
    ///
    /// # Errors
    /// [`EngineError`] if it does not.
    pub async fn check_user_state(&self) -> Result<(), EngineError> {
        let checked = self.inner.ports.events.check().await;
        checked.map_err(|source| EngineError::of(Dependency::UserState, source))
    }

    /// Asks whether the catalogue answers, likewise.
    ///
    /// # Errors
    /// [`EngineError`] if it does not.
    pub async fn check_catalogue(&self) -> Result<(), EngineError> {
        let checked = self.inner.ports.items.check().await;
        checked.map_err(|source| EngineError::of(Dependency::Catalogue, source))
    }

    /// Whether no work is under way that its callers may have left.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.inner.tasks.is_empty()
    }

    /// Waits until all work begun is done. New work may still begin.
    pub async fn finish(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Runs work to its end, even if the caller goes away.
    fn to_the_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Begun<T> {
        let span = spans::apart(name, &spans::Cause::current());
        let begun = self.inner.tasks.spawn(work.instrument(span));
        begun.map(|done| done.map_err(|failed| panicked(&failed)))
    }

    /// Reads items by id; those that do not exist are left out.
    async fn items(&self, ids: &[ContentId], deadline: Deadline) -> Result<Items, EngineError> {
        if ids.is_empty() {
            return Ok(Items::new());
        }
        let found = self
            .inner
            .ports
            .items
            .get(ids, deadline)
            .await
            .map_err(EngineError::catalogue_before(deadline))?;
        Ok(by_id(ids, found))
    }

    /// Those of the items that this process has without asking.
    fn cached_items(&self, ids: &[ContentId]) -> Items {
        by_id(ids, self.inner.ports.items.cached(ids))
    }
}

/// Waits for work that goes on without it.
type Begun<T> = Map<JoinHandle<T>, fn(Result<T, JoinError>) -> Result<T, EngineError>>;

/// A task has panicked.
fn panicked(failed: &(dyn std::error::Error + 'static)) -> EngineError {
    meters::panicked();
    error!(error = failed, "task failed");
    EngineError::Panicked
}

fn by_id(ids: &[ContentId], found: Vec<Option<Arc<CatalogueItem>>>) -> Items {
    ids.iter()
        .zip(found)
        .filter_map(|(id, item)| Some((id.clone(), item?)))
        .collect()
}
