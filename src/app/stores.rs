//! The stores that the settings name: memory, Redis or Qdrant, and engines over
//! them.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::warn;

use super::{
    error::StartError, files::read, plaintext::is_public_plaintext,
    request_id_keys::request_id_keys,
};
use crate::{
    adapters::{
        memory::{
            Budget, CatalogueBudget, MemoryAssociationStore, MemoryEventBuffer, MemoryItemStore,
            MemoryModelStore,
        },
        mirror::{CatalogMirror, MirrorOptions},
        qdrant::{QdrantItemOptions, QdrantItemStore, QdrantPool},
        redis::{
            EventBufferOptions, ItemChanges, KeyScan, ModelStoreOptions, RedisAssociationStore,
            RedisEventBuffer, RedisModelStore, RedisPool, advise, advise_associations,
        },
        system::{SystemClock, SystemRandomness},
    },
    config::Settings,
    domain::{
        answers::max_answers,
        experiments::RequestIdKeys,
        item::Item,
        item_counts::{ItemCounts, NO_FEATURES},
        ranking_config::RankingConfig,
    },
    engine::{AssociationSettings, Engine, EngineSettings, Ports},
    ports::{AssociationStore, EventBuffer, ItemStore, ModelStore, Randomness as _, StoreError},
    tables::{
        CatalogueFileError, Mapping, MappingOption, TableError, read_catalogue, sample_catalogue,
    },
};

type UserState = (
    Arc<dyn EventBuffer>,
    Arc<dyn ModelStore>,
    Arc<dyn AssociationStore>,
);

/// The stores. All engines share their connections.
pub(super) struct Stores {
    settings: Settings,
    /// `None` keeps users' state in memory.
    redis: Option<RedisPool>,
    /// `None` keeps the catalogue in memory.
    qdrant: Option<QdrantPool>,
    /// The keys that sign ids of lists, if the settings name a file.
    request_id_keys: Option<RequestIdKeys>,
    /// For all users' state in memory.
    budget: Arc<Budget>,
    /// For all catalogues in memory, also mirrored ones.
    catalogue_budget: Arc<CatalogueBudget>,
    /// Users' state in memory by key prefix. It outlives the engines that use
    /// it.
    in_memory: Mutex<HashMap<String, UserState>>,
}

/// Where in the stores the data of one engine is.
pub(super) struct Place<'a> {
    /// The start of its keys, after the settings' prefix.
    pub(super) key_prefix: &'a str,
    /// The collection of its items.
    pub(super) collection: &'a str,
    /// How many engines share the memory for caches.
    pub(super) share_of: u64,
    /// Whether the engine refreshes associations in the background.
    pub(super) refreshes: bool,
    /// Whether the engine's catalogue may be mirrored in memory.
    pub(super) mirrors: bool,
}

impl<'a> Place<'a> {
    /// The place of the only engine, without tenants.
    pub(super) fn of_all(settings: &'a Settings) -> Self {
        Self {
            key_prefix: "",
            collection: &settings.qdrant.collection_name,
            share_of: 1,
            refreshes: true,
            mirrors: false,
        }
    }
}

impl Stores {
    /// Opens the stores of the settings. Called within a tokio runtime.
    pub(super) fn open(settings: &Settings) -> Result<Self, StartError> {
        let redis = match &settings.redis_url {
            Some(url) => {
                let pool = redis(url.expose(), settings)?;
                tokio::spawn(advise(pool.clone()));
                Some(pool)
            }
            None => {
                warn!("REDIS_URL is not set: users' state is in memory and ends with this process");
                None
            }
        };
        warn_of_unused_catalogue(settings);
        Ok(Self {
            redis,
            qdrant: qdrant(settings)?,
            request_id_keys: request_id_keys(settings)?,
            budget: Arc::new(Budget::new(settings.embedded_state_max_bytes)),
            catalogue_budget: match settings.qdrant_api_url {
                None => CatalogueBudget::new(settings.embedded_catalog_max_bytes),
                Some(_) => CatalogueBudget::with_max_items(
                    settings.embedded_catalog_max_bytes,
                    settings.qdrant.catalog_mirror_max_items,
                ),
            },
            in_memory: Mutex::default(),
            settings: settings.clone(),
        })
    }

    /// An engine over a place in the stores.
    pub(super) fn engine(
        &self,
        place: &Place<'_>,
        config: RankingConfig,
    ) -> Result<Engine, StartError> {
        let settings = &self.settings;
        let (events, models, associations) = match &self.redis {
            Some(pool) => {
                let prefix = key_prefix(settings, place);
                tokio::spawn(advise_associations(pool.clone(), prefix));
                redis_state(pool, settings, place, &config)
            }
            None => self.memory_state(place, &config),
        };
        let items: Arc<dyn ItemStore> = match &self.qdrant {
            Some(pool) => {
                let store = Arc::new(qdrant_catalogue(pool, settings, place, &config));
                if place.mirrors && settings.qdrant.catalog_mirror.is_on() {
                    self.mirror(store, place, &config)
                } else {
                    store
                }
            }
            None => {
                let (catalogue, _) = memory_catalogue(settings, &config, &self.catalogue_budget)?;
                Arc::new(catalogue)
            }
        };
        let ports = Ports {
            events,
            models,
            associations,
            items,
            randomness: Arc::new(SystemRandomness),
        };
        let engine_settings = EngineSettings {
            model_max_age: settings.model_max_age,
            model_save_interval: settings.model_save_interval,
            max_excluded_ids: settings.max_excluded_ids,
            associations: AssociationSettings {
                interval: settings.associations_interval,
                cpu: settings.associations_cpu,
                replicas: settings.associations_replicas,
                cache_max_bytes: settings.associations_cache_max_bytes / place.share_of,
                background: place.refreshes,
            },
            // An id of one tenant's list is not valid for another.
            request_id_keys: self
                .request_id_keys
                .as_ref()
                .map(|keys| keys.in_scope(place.key_prefix)),
        };
        Ok(Engine::new(ports, config, engine_settings))
    }

    /// A mirror of a catalogue, which is filled in the background.
    fn mirror(
        &self,
        store: Arc<QdrantItemStore>,
        place: &Place<'_>,
        config: &RankingConfig,
    ) -> Arc<CatalogMirror> {
        let options = MirrorOptions {
            budget: Arc::clone(&self.catalogue_budget),
            canonicalizer: config.canonicalizer(),
            compare_every: self.settings.qdrant.item_cache_ttl,
        };
        let changes = self.redis.as_ref().map(|pool| {
            let prefix = &self.settings.redis.redis_key_prefix;
            ItemChanges::new(pool.clone(), prefix, place.collection)
        });
        let mirror = Arc::new(CatalogMirror::new(store, changes, options));
        mirror.start(SystemRandomness.next_u64() as f64 / u64::MAX as f64);
        mirror
    }

    /// Scans the keys of a place; `None` if users' state is in memory.
    pub(super) fn key_scan(&self, place: &Place<'_>) -> Option<KeyScan> {
        let prefix = key_prefix(&self.settings, place);
        let pool = self.redis.clone()?;
        Some(KeyScan::new(pool, &prefix))
    }

    fn memory_state(&self, place: &Place<'_>, config: &RankingConfig) -> UserState {
        let mut states = self
            .in_memory
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get(place.key_prefix) {
            return state.clone();
        }
        let (settings, clock) = (&self.settings, Arc::new(SystemClock));
        let events = MemoryEventBuffer::new(
            clock.clone(),
            settings.event_window,
            settings.max_events_per_user,
            Arc::clone(&self.budget),
        )
        .with_max_user_bytes(settings.max_user_bytes)
        .with_max_answers(max_answers(config.preset));
        let models =
            MemoryModelStore::new(clock.clone(), settings.model_ttl, Arc::clone(&self.budget));
        let associations =
            MemoryAssociationStore::new(clock, settings.event_window, Arc::clone(&self.budget));
        let state: UserState = (Arc::new(events), Arc::new(models), Arc::new(associations));
        states.insert(place.key_prefix.to_owned(), state.clone());
        state
    }
}

/// Connections to Redis.
fn redis(url: &str, settings: &Settings) -> Result<RedisPool, StartError> {
    let pool = RedisPool::new(url, &settings.redis)?;
    if is_public_plaintext(url) {
        warn!(
            "REDIS_URL leads out of private networks without TLS: users' events and models, and \
             the password, are sent in clear; begin it with rediss://"
        );
    }
    Ok(pool)
}

fn key_prefix(settings: &Settings, place: &Place<'_>) -> String {
    format!("{}{}", settings.redis.redis_key_prefix, place.key_prefix)
}

fn redis_state(
    pool: &RedisPool,
    settings: &Settings,
    place: &Place<'_>,
    config: &RankingConfig,
) -> UserState {
    let redis = &settings.redis;
    let key_prefix = key_prefix(settings, place);
    let events = EventBufferOptions {
        key_prefix: key_prefix.clone(),
        window: settings.event_window,
        max_events: settings.max_events_per_user,
        max_user_bytes: settings.max_user_bytes,
        max_answers: max_answers(config.preset),
        cache_max_bytes: redis.buffer_cache_max_bytes / place.share_of,
    };
    let associations = RedisAssociationStore::new(pool.clone(), &key_prefix, settings.event_window);
    let models = ModelStoreOptions {
        key_prefix,
        ttl: settings.model_ttl,
        cache_max_bytes: redis.model_cache_max_bytes / place.share_of,
    };
    (
        Arc::new(RedisEventBuffer::new(pool.clone(), events)),
        Arc::new(RedisModelStore::new(pool.clone(), models)),
        Arc::new(associations),
    )
}

/// Connections to Qdrant, if the settings name one.
fn qdrant(settings: &Settings) -> Result<Option<QdrantPool>, StartError> {
    let Some(url) = &settings.qdrant_api_url else {
        return Ok(None);
    };
    let pool = QdrantPool::new(url.expose(), &settings.qdrant)?;
    if is_public_plaintext(url.expose()) {
        warn!(
            "QDRANT_API_URL leads out of private networks without TLS: items, what users like and \
             have seen (in searches), and QDRANT_API_KEY, are sent in clear; begin it with https://"
        );
    }
    Ok(Some(pool))
}

fn qdrant_catalogue(
    pool: &QdrantPool,
    settings: &Settings,
    place: &Place<'_>,
    config: &RankingConfig,
) -> QdrantItemStore {
    let options = QdrantItemOptions {
        collection: place.collection.to_owned(),
        cache_max_bytes: settings.qdrant.item_cache_max_bytes / place.share_of,
        cache_ttl: settings.qdrant.item_cache_ttl,
        canonicalizer: config.canonicalizer(),
    };
    QdrantItemStore::new(pool.clone(), options)
}

/// The ranking of a file, checked against the settings; the default without a
/// file.
///
/// # Errors
/// [`StartError`] if the file is refused.
pub fn ranking(settings: &Settings, path: Option<&Path>) -> Result<RankingConfig, StartError> {
    let config = match path {
        None => RankingConfig::default(),
        Some(path) => {
            RankingConfig::from_toml(&read(path)?).map_err(|source| StartError::Ranking {
                path: path.to_owned(),
                source,
            })?
        }
    };
    let max_limit = settings.limits.max_limit;
    if config.default_limit > max_limit {
        return Err(StartError::DefaultLimit {
            default_limit: config.default_limit,
            max_limit,
        });
    }
    Ok(config)
}

/// The catalogue in Qdrant, if the settings name one.
///
/// # Errors
/// [`StartError`] if a file is refused or Qdrant cannot be used.
pub fn qdrant_items(settings: &Settings) -> Result<Option<QdrantItemStore>, StartError> {
    let config = ranking(settings, settings.ranking_path.as_deref())?;
    let place = Place::of_all(settings);
    let pool = qdrant(settings)?;
    Ok(pool.map(|pool| qdrant_catalogue(&pool, settings, &place, &config)))
}

/// Announces to running processes that any item may have changed, if the settings name the
/// Redis that they share.
///
/// # Errors
/// [`StartError`] if Redis cannot be used as configured; the inner error if it does not
/// answer.
pub async fn announce_all_items(settings: &Settings) -> Result<Result<(), StoreError>, StartError> {
    let Some(url) = &settings.redis_url else {
        return Ok(Ok(()));
    };
    let pool = RedisPool::new(url.expose(), &settings.redis)?;
    let prefix = &settings.redis.redis_key_prefix;
    let changes = ItemChanges::new(pool, prefix, &settings.qdrant.collection_name);
    Ok(changes.announce_all().await)
}

/// Loads the settings' catalogue into memory, and returns what its items have.
///
/// # Errors
/// [`StartError`] if it is refused or does not fit.
pub fn catalogue_in_memory(
    settings: &Settings,
    config: &RankingConfig,
) -> Result<ItemCounts, StartError> {
    let budget = CatalogueBudget::new(settings.embedded_catalog_max_bytes);
    memory_catalogue(settings, config, &budget).map(|(_, counts)| counts)
}

fn memory_catalogue(
    settings: &Settings,
    config: &RankingConfig,
    budget: &Arc<CatalogueBudget>,
) -> Result<(MemoryItemStore, ItemCounts), StartError> {
    let store = MemoryItemStore::sharing(config.canonicalizer(), Arc::clone(budget));
    let mut counts = ItemCounts::default();
    let mut refused = None;
    // The lines after a refused item are read as well: wrong ones are all listed.
    let name = read_items(settings, |item| {
        if refused.is_none() {
            counts.add(&item);
            let id = item.id.clone();
            refused = store.put(item).err().map(|source| (id, source));
        }
    })?;
    if let Some((id, source)) = refused {
        let id = id.to_string();
        return Err(StartError::CatalogueItem { name, id, source });
    }
    warn!(
        catalogue = name,
        items = store.len(),
        with_title = counts.with_title,
        with_tags = counts.with_tags,
        with_vector = counts.with_vector,
        with_picture = counts.with_picture,
        "QDRANT_API_URL is not set: items are in memory, and changes end with this process"
    );
    if counts.lack_features() {
        let option = MappingOption::CatalogPathMap.with("tags=COLUMN");
        warn!(
            catalogue = name,
            "{NO_FEATURES}. Name the column that has them, for example {option}"
        );
    }
    Ok((store, counts))
}

/// Warns of settings of the catalogue file that have no effect.
fn warn_of_unused_catalogue(settings: &Settings) {
    let is_path_set = settings.catalog_path.is_some();
    if is_path_set && settings.qdrant_api_url.is_some() {
        warn!(
            "CATALOG_PATH has no effect, since QDRANT_API_URL is set: import the file with recsys \
             catalog import"
        );
    } else if settings.catalog_path_map.is_some() && !is_path_set {
        warn!("CATALOG_PATH_MAP has no effect, since CATALOG_PATH is not set");
    }
}

/// Passes the items of the settings' catalogue to `take`. Returns its name.
fn read_items(settings: &Settings, take: impl FnMut(Item)) -> Result<String, StartError> {
    let Some(path) = &settings.catalog_path else {
        let name = "sample".to_owned();
        return match sample_catalogue(take) {
            Ok(()) => Ok(name),
            Err(source) => Err(StartError::Catalogue { name, source }),
        };
    };
    let name = path.display().to_string();
    let map = settings.catalog_path_map.as_deref();
    let mapping = Mapping::parse(MappingOption::CatalogPathMap, map)?;
    match read_catalogue(path, &mapping, take) {
        Ok(warnings) => {
            for warning in warnings {
                warn!(catalogue = name, "{warning}");
            }
            Ok(name)
        }
        Err(CatalogueFileError::Table(TableError::Io { path, source })) => {
            Err(StartError::File { path, source })
        }
        Err(source) => Err(StartError::Catalogue { name, source }),
    }
}
