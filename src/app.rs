//! The composition root: settings -> adapters -> engine -> server.

mod error;
mod outbound;
mod stores;
mod tenants;

use std::{net::SocketAddr, path::Path, sync::Arc};

use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    adapters::qdrant::QdrantItemStore,
    config::Settings,
    engine::Engine,
    grpc::{self, Access, Admin, Port, ServeError, ServerSettings, Stop, tls::Tls},
    telemetry::{LogFilter, Metrics},
};
use stores::{Place, Stores, ranking};

pub use error::StartError;

/// Listens on the API's address, with TLS if the settings name a certificate.
///
/// # Errors
/// [`StartError::Unauthenticated`], [`StartError::Tls`], [`StartError::Listen`].
pub async fn listen(settings: &Settings) -> Result<Port, StartError> {
    if settings.tenants_path.is_none() && !settings.listen_addr.ip().is_loopback() {
        let address = settings.listen_addr;
        if !settings.insecure_allow_unauthenticated {
            return Err(StartError::Unauthenticated { address });
        }
        warn!(
            %address,
            "no tenants file: everyone who reaches this address may read, change and erase everything"
        );
    }
    let tls = Tls::read(&settings.tls)?;
    let listener = bind(settings.listen_addr, "RECSYS_LISTEN_ADDR").await?;
    Ok(Port { listener, tls })
}

/// Listens on the admin address and starts measuring, if there is one.
///
/// # Errors
/// [`StartError::Listen`], [`StartError::Metrics`].
pub async fn admin(settings: &Settings, log: LogFilter) -> Result<Option<Admin>, StartError> {
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
        log: Some(grpc::LogFilter {
            show: Arc::new({
                let log = log.clone();
                move || log.current()
            }),
            change: Arc::new(move |filter| log.change(filter)),
        }),
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

/// Builds the engine over the stores that the settings name, for all callers.
/// Called within a tokio runtime.
///
/// # Errors
/// [`StartError`] if a file is refused or a store cannot be used.
pub fn engine(settings: &Settings) -> Result<Engine, StartError> {
    let config = ranking(settings, settings.ranking_path.as_deref())?;
    let place = Place {
        key_prefix: "",
        collection: &settings.qdrant.collection_name,
        share_of: 1,
    };
    Stores::open(settings)?.engine(&place, config)
}

/// Who may call, and the engines that answer: one for all, or one for each
/// tenant of the tenants file, which is read again when it changes. Called
/// within a tokio runtime.
///
/// # Errors
/// [`StartError`] if a file is refused or a store cannot be used.
pub fn access(settings: &Settings) -> Result<Arc<Access>, StartError> {
    match &settings.tenants_path {
        None => Ok(Access::open(engine(settings)?)),
        Some(path) => tenants::access(settings, path),
    }
}

/// Descriptors that are kept for all but the API's connections: stores, files,
/// the admin port.
const OTHER_DESCRIPTORS: u64 = 512;
/// Connections that are asked to end to make room, and have not ended yet: as
/// many as a sixteenth of all.
const LEAVING_SHARE: u64 = 16;

/// Serves until it is told to stop.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    settings: &Settings,
    access: Arc<Access>,
    port: Port,
    admin: Option<Admin>,
    stop: Stop,
) -> Result<(), ServeError> {
    if let Ok(address) = port.listener.local_addr() {
        info!(%address, tls = port.tls.is_some(), "serving gRPC");
    }
    grpc::serve(
        access,
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
    let most = settings.max_connections as u64;
    let wanted = most + most / LEAVING_SHARE + OTHER_DESCRIPTORS;
    let given = rlimit::increase_nofile_limit(wanted).unwrap_or(wanted);
    if given >= wanted {
        return settings.clone();
    }
    let for_connections = given - OTHER_DESCRIPTORS.min(given / 2);
    let max_connections = for_connections - for_connections / LEAVING_SHARE;
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

/// The catalogue in Qdrant, if the settings name one.
///
/// # Errors
/// [`StartError`] if a file is refused or Qdrant cannot be used.
pub fn qdrant_items(settings: &Settings) -> Result<Option<QdrantItemStore>, StartError> {
    let config = ranking(settings, settings.ranking_path.as_deref())?;
    stores::qdrant(settings, config.canonicalizer())
}

fn read(path: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })
}
