//! The stores that the settings name, and engines over places in them.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::warn;

use super::{error::StartError, files::read, plaintext::is_public_plaintext};
use crate::{
    adapters::{
        memory::{
            Budget, MemoryEventBuffer, MemoryItemStore, MemoryModelStore, parse_catalogue,
            sample_catalogue,
        },
        qdrant::QdrantItemStore,
        redis::{RedisEventBuffer, RedisModelStore, RedisPool, advise},
        system::{SystemClock, SystemRandomness},
    },
    config::Settings,
    domain::{item::Item, ranking_config::RankingConfig, tags::Canonicalizer},
    engine::{Engine, EngineSettings, Ports},
    ports::{EventBuffer, ItemStore, ModelStore},
};

/// The stores, connected to once however many engines work on them.
pub(super) struct Stores {
    settings: Settings,
    redis: Option<RedisPool>,
    qdrant: Option<QdrantItemStore>,
    /// Of all users' state in memory.
    budget: Arc<Budget>,
    /// Users' state in memory, by what its keys would begin with: it outlives
    /// the engines that work on it.
    in_memory: Mutex<HashMap<String, UserState>>,
}

/// Where in the stores the data of one engine is.
pub(super) struct Place<'a> {
    /// What keys begin with, after the settings' prefix.
    pub(super) key_prefix: &'a str,
    /// The collection of items.
    pub(super) collection: &'a str,
    /// How many engines share the memory that is for caches.
    pub(super) share_of: u64,
}

impl Stores {
    /// The stores of the settings; in memory if they name none.
    pub(super) fn open(settings: &Settings) -> Result<Self, StartError> {
        let redis = match &settings.redis_url {
            Some(url) => {
                let pool = RedisPool::new(url.expose(), &settings.redis)?;
                if is_public_plaintext(url.expose()) {
                    warn!(
                        "REDIS_URL leads out of private networks without TLS: users' events and \
                         models, and the password, are sent in clear; begin it with rediss://"
                    );
                }
                tokio::spawn(advise(pool.clone()));
                Some(pool)
            }
            None => {
                warn!("REDIS_URL is not set: users' state is in memory and ends with this process");
                None
            }
        };
        Ok(Self {
            redis,
            qdrant: qdrant(settings, Canonicalizer::default())?,
            budget: Arc::new(Budget::new(settings.embedded_state_max_bytes)),
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
        let (events, models) = match &self.redis {
            Some(pool) => self.redis_state(pool, place),
            None => self.memory_state(place),
        };
        let items: Arc<dyn ItemStore> = match &self.qdrant {
            Some(qdrant) => Arc::new(qdrant.beside(
                place.collection,
                settings.qdrant.item_cache_max_bytes / place.share_of,
                settings.qdrant.item_cache_ttl,
                config.canonicalizer(),
            )),
            None => Arc::new(memory_catalogue(settings, &config)?),
        };
        let ports = Ports {
            events,
            models,
            items,
            randomness: Arc::new(SystemRandomness),
        };
        let engine_settings = EngineSettings {
            model_max_age: settings.model_max_age,
            ..EngineSettings::default()
        };
        Ok(Engine::new(ports, config, engine_settings))
    }

    fn redis_state(&self, pool: &RedisPool, place: &Place<'_>) -> UserState {
        let settings = &self.settings;
        let prefix = format!("{}{}", settings.redis.redis_key_prefix, place.key_prefix);
        let events = RedisEventBuffer::new(
            pool.clone(),
            &prefix,
            settings.event_window,
            settings.max_events_per_user,
        )
        .knowing(settings.redis.buffer_cache_max_bytes / place.share_of);
        let models = RedisModelStore::new(pool.clone(), &prefix, settings.model_ttl)
            .knowing(settings.redis.model_cache_max_bytes / place.share_of);
        (Arc::new(events), Arc::new(models))
    }

    fn memory_state(&self, place: &Place<'_>) -> UserState {
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
        );
        let models = MemoryModelStore::new(clock, settings.model_ttl, Arc::clone(&self.budget));
        let state: UserState = (Arc::new(events), Arc::new(models));
        states.insert(place.key_prefix.to_owned(), state.clone());
        state
    }
}

type UserState = (Arc<dyn EventBuffer>, Arc<dyn ModelStore>);

/// The ranking of a file, checked against the settings; without one, the
/// default.
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
pub(super) fn qdrant(
    settings: &Settings,
    canonical: Canonicalizer,
) -> Result<Option<QdrantItemStore>, StartError> {
    let Some(url) = &settings.qdrant_api_url else {
        return Ok(None);
    };
    let store = QdrantItemStore::new(url.expose(), &settings.qdrant, canonical)?;
    if is_public_plaintext(url.expose()) {
        warn!(
            "QDRANT_API_URL leads out of private networks without TLS: items, what users like and \
             have seen (in searches), and QDRANT_API_KEY, are sent in clear; begin it with https://"
        );
    }
    Ok(Some(store))
}

/// How many items the memory takes of the catalogue that the settings name.
///
/// # Errors
/// [`StartError`] if it is refused, or does not fit.
pub fn catalogue_in_memory(
    settings: &Settings,
    config: &RankingConfig,
) -> Result<usize, StartError> {
    memory_catalogue(settings, config).map(|store| store.len())
}

fn memory_catalogue(
    settings: &Settings,
    config: &RankingConfig,
) -> Result<MemoryItemStore, StartError> {
    let (name, items) = catalogue_items(settings)?;
    let store = MemoryItemStore::new(config.canonicalizer(), settings.embedded_catalog_max_bytes);
    for item in items {
        let id = item.id.to_string();
        store
            .put(item)
            .map_err(|source| StartError::CatalogueItem {
                name: name.clone(),
                id,
                source,
            })?;
    }
    warn!(
        catalogue = name,
        items = store.len(),
        "QDRANT_API_URL is not set: items are in memory, and changes end with this process"
    );
    Ok(store)
}

fn catalogue_items(settings: &Settings) -> Result<(String, Vec<Item>), StartError> {
    let (name, parsed) = match &settings.catalog_path {
        Some(path) => (path.display().to_string(), parse_catalogue(&read(path)?)),
        None => ("sample".to_owned(), sample_catalogue()),
    };
    match parsed {
        Ok(items) => Ok((name, items)),
        Err(source) => Err(StartError::Catalogue { name, source }),
    }
}
