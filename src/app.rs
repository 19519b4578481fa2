//! The composition root: settings -> adapters -> engine -> server.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use metrics_exporter_prometheus::BuildError;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    adapters::{
        memory::{
            Budget, CatalogueFileError, MemoryEventBuffer, MemoryItemStore, MemoryModelStore,
            parse_catalogue, sample_catalogue,
        },
        qdrant::{QdrantItemStore, QdrantSetupError},
        redis::{RedisEventBuffer, RedisModelStore, RedisPool, RedisSetupError, advise},
        system::{SystemClock, SystemRandomness},
    },
    config::Settings,
    domain::{
        item::Item,
        ranking_config::{RankingConfig, RankingConfigError},
    },
    engine::{Engine, EngineSettings, Ports},
    grpc::{
        self, Admin, Port, ServeError, ServerSettings, Stop,
        tls::{Tls, TlsError},
    },
    parsers::Secret,
    ports::{EventBuffer, ItemRefusal, ItemStore, ModelStore},
    telemetry::Metrics,
};

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The ranking file is wrong.
    #[error("ranking file {path} is refused: {source}")]
    Ranking {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: RankingConfigError,
    },
    /// The ranking file's default list is longer than the limit on lists.
    #[error("default_limit {default_limit} is above the largest limit {max_limit}")]
    DefaultLimit {
        /// Items in a list by default.
        default_limit: usize,
        /// Items in a list at the most.
        max_limit: usize,
    },
    /// The catalogue file is wrong.
    #[error("catalogue {name} is refused:\n{source}")]
    Catalogue {
        /// Which file.
        name: String,
        /// Which lines.
        source: CatalogueFileError,
    },
    /// The catalogue does not fit.
    #[error("catalogue {name}, item {id}: {source}")]
    CatalogueItem {
        /// Which file.
        name: String,
        /// Which item.
        id: String,
        /// Why it was refused.
        source: ItemRefusal,
    },
    /// Redis cannot be set up as configured.
    #[error(transparent)]
    Redis(#[from] RedisSetupError),
    /// Qdrant cannot be set up as configured.
    #[error(transparent)]
    Qdrant(#[from] QdrantSetupError),
    /// TLS cannot be set up as configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nothing can be measured.
    #[error("metrics cannot be set up")]
    Metrics(#[from] BuildError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with {setting}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting that names it.
        setting: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl StartError {
    /// Whether the settings or files must be mended before a new try.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        !matches!(self, Self::Listen { .. } | Self::Metrics(_))
    }
}

/// Listens on the API's address, with TLS if the settings name a certificate.
///
/// # Errors
/// [`StartError::Tls`], [`StartError::Listen`].
pub async fn listen(settings: &Settings) -> Result<Port, StartError> {
    let tls = Tls::read(&settings.tls)?;
    let listener = bind(settings.listen_addr, "RECSYS_LISTEN_ADDR").await?;
    Ok(Port { listener, tls })
}

/// Listens on the admin address and starts measuring, if there is one.
///
/// # Errors
/// [`StartError::Listen`], [`StartError::Metrics`].
pub async fn admin(settings: &Settings) -> Result<Option<Admin>, StartError> {
    let Some(address) = settings.admin_addr else {
        return Ok(None);
    };
    let listener = bind(address, "RECSYS_ADMIN_ADDR").await?;
    let metrics = Metrics::start()?;
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving metrics and health");
    }
    Ok(Some(Admin {
        listener,
        metrics: Arc::new(move || metrics.render()),
    }))
}

async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen {
            address,
            setting,
            source,
        })
}

/// Builds the engine over the stores that the settings name. Called within a
/// tokio runtime.
///
/// # Errors
/// [`StartError`] if a file is refused or a store cannot be used.
pub fn engine(settings: &Settings) -> Result<Engine, StartError> {
    let config = ranking(settings)?;
    let clock = Arc::new(SystemClock);
    let (events, models) = match &settings.redis_url {
        Some(url) => redis_state(url, settings)?,
        None => {
            warn!("REDIS_URL is not set: users' state is in memory and ends with this process");
            memory_state(settings, clock)
        }
    };
    let items: Arc<dyn ItemStore> = match &settings.qdrant_api_url {
        Some(url) => Arc::new(qdrant_catalogue(url, settings, &config)?),
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
        max_excluded_ids: settings.max_excluded_ids,
    };
    Ok(Engine::new(ports, config, engine_settings))
}

/// Descriptors that are kept for all but the API's connections: stores, files,
/// the admin port.
const OTHER_DESCRIPTORS: u64 = 512;

/// Serves until it is told to stop.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    settings: &Settings,
    engine: Engine,
    port: Port,
    admin: Option<Admin>,
    stop: Stop,
) -> Result<(), ServeError> {
    if let Ok(address) = port.listener.local_addr() {
        info!(%address, tls = port.tls.is_some(), "serving gRPC");
    }
    grpc::serve(
        engine,
        settings.limits.clone(),
        within_descriptors(&settings.server),
        port,
        admin,
        stop,
    )
    .await
}

/// As many connections as there are descriptors for: without one left, no store
/// could be reached and no connection closed. Asks the system for as many as
/// are needed.
fn within_descriptors(settings: &ServerSettings) -> ServerSettings {
    let wanted = settings.max_connections as u64 + OTHER_DESCRIPTORS;
    let given = rlimit::increase_nofile_limit(wanted).unwrap_or(wanted);
    if given >= wanted {
        return settings.clone();
    }
    let max_connections = given - OTHER_DESCRIPTORS.min(given / 2);
    warn!(
        descriptors = given,
        max_connections,
        "too few file descriptors for RECSYS_MAX_CONNECTIONS: there will be fewer connections; \
         raise the limit (ulimit -n)"
    );
    ServerSettings {
        max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
        ..settings.clone()
    }
}

fn ranking(settings: &Settings) -> Result<RankingConfig, StartError> {
    let config = match &settings.ranking_path {
        None => RankingConfig::default(),
        Some(path) => {
            RankingConfig::from_toml(&read(path)?).map_err(|source| StartError::Ranking {
                path: path.clone(),
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

type UserState = (Arc<dyn EventBuffer>, Arc<dyn ModelStore>);

fn redis_state(url: &Secret, settings: &Settings) -> Result<UserState, StartError> {
    let pool = RedisPool::new(url.expose(), &settings.redis)?;
    tokio::spawn(advise(pool.clone()));
    let prefix = &settings.redis.redis_key_prefix;
    let events = RedisEventBuffer::new(
        pool.clone(),
        prefix,
        settings.event_window,
        settings.max_events_per_user,
    );
    let models = RedisModelStore::new(pool, prefix, settings.model_ttl);
    Ok((Arc::new(events), Arc::new(models)))
}

fn memory_state(settings: &Settings, clock: Arc<SystemClock>) -> UserState {
    let budget = Arc::new(Budget::new(settings.embedded_state_max_bytes));
    let events = MemoryEventBuffer::new(
        clock.clone(),
        settings.event_window,
        settings.max_events_per_user,
        Arc::clone(&budget),
    );
    let models = MemoryModelStore::new(clock, settings.model_ttl, budget);
    (Arc::new(events), Arc::new(models))
}

fn qdrant_catalogue(
    url: &Secret,
    settings: &Settings,
    config: &RankingConfig,
) -> Result<QdrantItemStore, StartError> {
    let canonical = config.canonicalizer();
    Ok(QdrantItemStore::new(
        url.expose(),
        &settings.qdrant,
        canonical,
    )?)
}

/// The catalogue in Qdrant, if the settings name one.
///
/// # Errors
/// [`StartError`] if a file is refused or Qdrant cannot be used.
pub fn qdrant_items(settings: &Settings) -> Result<Option<QdrantItemStore>, StartError> {
    let config = ranking(settings)?;
    let url = settings.qdrant_api_url.as_ref();
    url.map(|url| qdrant_catalogue(url, settings, &config))
        .transpose()
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

fn read(path: &PathBuf) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|source| StartError::File {
        path: path.clone(),
        source,
    })
}
