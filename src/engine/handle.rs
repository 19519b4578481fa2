//! The engine: what all use cases share.

use std::{sync::Arc, time::Duration};

use super::{
    activity::{Activity, ActivityReport},
    associations::{AssociationSettings, Associations},
    error::{Dependency, EngineError},
    experiments::{ArmResult, Experiments},
    item_reader::ItemReader,
    models::{ModelAges, Models},
    tasks::Tasks,
};
use crate::{
    domain::{
        experiments::RequestIdKeys, ranking_config::RankingConfig, tags::Canonicalizer,
        time::Timestamp,
    },
    ports::{AssociationStore, EventBuffer, ItemStore, ModelStore, Randomness},
};

/// How long a stream of events waits for the id of the data that takes them.
const DATA_ID_TIMEOUT: Duration = Duration::from_secs(1);

/// The stores that an engine works on.
#[derive(Clone)]
pub struct Ports {
    /// Event buffers.
    pub events: Arc<dyn EventBuffer>,
    /// User models.
    pub models: Arc<dyn ModelStore>,
    /// What other users did.
    pub associations: Arc<dyn AssociationStore>,
    /// The catalogue.
    pub items: Arc<dyn ItemStore>,
    /// Random numbers.
    pub randomness: Arc<dyn Randomness>,
}

/// Settings of the engine that are not in the ranking file.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Age at which a model is rebuilt even without new events, so that it
    /// follows changes of the catalogue.
    pub model_max_age: Duration,
    /// Time between two saves of a user's model behind the acknowledgement of its
    /// events; 0 saves it before.
    pub model_save_interval: Duration,
    /// Maximum number of seen items that a search query excludes. The others are
    /// removed from its results.
    pub max_excluded_ids: usize,
    /// How associations are refreshed.
    pub associations: AssociationSettings,
    /// The keys that sign ids of lists; without them, no event is attributed.
    pub request_id_keys: Option<RequestIdKeys>,
}

impl Default for EngineSettings {
    /// Those of the command line, but models are saved at once, so that what was
    /// ingested is complete when the call returns.
    fn default() -> Self {
        Self {
            model_max_age: Duration::from_secs(3_600),
            model_save_interval: Duration::ZERO,
            max_excluded_ids: 2_000,
            associations: AssociationSettings::default(),
            request_id_keys: None,
        }
    }
}

/// The use cases over one set of stores. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Engine {
    pub(super) inner: Arc<EngineState>,
}

pub(super) struct EngineState {
    pub(super) ports: Ports,
    pub(super) settings: EngineSettings,
    pub(super) config: Arc<RankingConfig>,
    pub(super) canonical: Canonicalizer,
    pub(super) items: ItemReader,
    pub(super) models: Models,
    pub(super) associations: Associations,
    pub(super) experiments: Experiments,
    pub(super) tasks: Tasks,
    pub(super) activity: Activity,
}

impl Engine {
    /// An engine over these stores, with a checked ranking file.
    #[must_use]
    pub fn new(ports: Ports, config: RankingConfig, settings: EngineSettings) -> Self {
        let config = Arc::new(config);
        let items = ItemReader::new(Arc::clone(&ports.items));
        let tasks = Tasks::default();
        let associations = Associations::new(
            Arc::clone(&ports.associations),
            Arc::clone(&ports.events),
            config.associations.clone(),
            settings.associations.clone(),
            tasks.clone(),
        );
        let models = Models::new(
            Arc::clone(&ports.events),
            Arc::clone(&ports.models),
            items.clone(),
            Arc::clone(&config),
            associations.clone(),
            ModelAges {
                max_age: settings.model_max_age,
                save_interval: settings.model_save_interval,
            },
            &tasks,
        );
        Self {
            inner: Arc::new(EngineState {
                canonical: config.canonicalizer(),
                experiments: Experiments::new(&config, settings.request_id_keys.clone()),
                ports,
                settings,
                config,
                items,
                models,
                associations,
                tasks,
                activity: Activity::default(),
            }),
        }
    }

    /// Converts tags to canonical form.
    #[must_use]
    pub fn canonicalizer(&self) -> &Canonicalizer {
        &self.inner.canonical
    }

    /// Number of items in a list if the request has no limit.
    #[must_use]
    pub fn default_limit(&self) -> usize {
        self.inner.config.default_limit
    }

    /// The names that a request's placement may have, in the order of the ranking file.
    pub fn placements(&self) -> impl Iterator<Item = &Arc<str>> {
        self.inner.experiments.placements()
    }

    /// What was counted of each placement and variant since this engine was made: in this
    /// process, and since the ranking file changed. In the order of the ranking file.
    #[must_use]
    pub fn placement_results(&self) -> Vec<ArmResult> {
        self.inner.experiments.results()
    }

    /// Whether events are attributed to lists: there are keys that sign ids of lists.
    #[must_use]
    pub fn attributes_events(&self) -> bool {
        self.inner.experiments.attributes()
    }

    /// Starts counting what arrives and what is served.
    pub fn count_activity(&self) {
        self.inner.activity.enable();
    }

    /// What was counted since [`Engine::count_activity`].
    #[must_use]
    pub fn activity(&self) -> ActivityReport {
        self.inner.activity.report()
    }

    /// The ranking file.
    #[must_use]
    pub fn ranking(&self) -> &RankingConfig {
        &self.inner.config
    }

    /// The current time of the store of users' state.
    ///
    /// # Errors
    /// [`EngineError`] if that time is not known yet and the store does not answer.
    pub async fn now(&self) -> Result<Timestamp, EngineError> {
        let now = self.inner.ports.events.now().await;
        now.map_err(EngineError::user_state)
    }

    /// Identifies the users' data; `None` if its store does not answer in time. A store
    /// that lost its data has another id from then on.
    pub async fn data_id(&self) -> Option<String> {
        let id = self.inner.ports.events.data_id();
        tokio::time::timeout(DATA_ID_TIMEOUT, id).await.ok()?.ok()
    }

    /// Checks that the store of users' state answers. Does not log a failure:
    /// callers check often and log changes only.
    ///
    /// # Errors
    /// [`EngineError`] if it does not answer.
    pub async fn check_user_state(&self) -> Result<(), EngineError> {
        let checked = self.inner.ports.events.check().await;
        checked.map_err(|source| EngineError::store(Dependency::UserState, source))
    }

    /// Checks that the catalogue answers. Does not log a failure.
    ///
    /// # Errors
    /// [`EngineError`] if it does not answer.
    pub async fn check_catalogue(&self) -> Result<(), EngineError> {
        let checked = self.inner.ports.items.check().await;
        checked.map_err(|source| EngineError::store(Dependency::Catalogue, source))
    }

    /// Whether no task is running.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.inner.tasks.is_idle()
    }

    /// Saves all models that wait for it, and waits until all running tasks have
    /// ended. New ones can still be started.
    pub async fn finish(&self) {
        let _flushing = self.inner.models.flush();
        self.inner.tasks.finish().await;
    }
}
