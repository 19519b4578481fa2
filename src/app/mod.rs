//! The composition root: settings -> adapters -> engine -> server.

mod error;
mod files;
mod outbound;
pub mod server;
mod stores;
mod tenants;

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    app::server::{Port, ServeError, Stop},
    config::Settings,
    edge::{access::Access, settings::ServerSettings, tenants::SharedSecret, tls::Tls},
    engine::{Engine, start_metrics},
    http::{
        admin::Admin,
        webhook::{MAX_CONNECTIONS as MAX_WEBHOOK_CONNECTIONS, Webhook},
    },
    telemetry::{LogFilter, Metrics},
};
use stores::{Place, Stores};

pub use crate::telemetry::{TraceError, check_traces};
pub use error::StartError;
pub use outbound::leaves_in_clear;
pub use stores::{catalogue_in_memory, qdrant_items, ranking};
pub use tenants::{ranking_path, tenants_file};

/// Listens on the API's address, with TLS if the settings name a certificate.
///
/// # Errors
/// [`StartError::Unauthenticated`], [`StartError::Tls`], [`StartError::Listen`].
pub async fn listen(settings: &Settings) -> Result<Port, StartError> {
    if !is_guarded(settings)? {
        warn!(
            address = %settings.listen_addr,
            "no tenants file: everyone who reaches this address may read, change and erase everything"
        );
    }
    let browser = &settings.server.browser;
    if browser.cors_allow_origins.is_some() && !browser.grpc_web {
        warn!("RECSYS_CORS_ALLOW_ORIGINS has no effect: pages cannot call without RECSYS_GRPC_WEB");
    }
    let tls = Tls::read(&settings.tls)?;
    let listener = bind(settings.listen_addr, "RECSYS_LISTEN_ADDR").await?;
    Ok(Port { listener, tls })
}

/// Whether it takes a key, or this machine, to call. If not, that must have been
/// asked for.
///
/// # Errors
/// [`StartError::Unauthenticated`] if it was not.
pub fn is_guarded(settings: &Settings) -> Result<bool, StartError> {
    let address = settings.listen_addr;
    if settings.tenants_path.is_some() || address.ip().is_loopback() {
        return Ok(true);
    }
    if settings.insecure_allow_unauthenticated {
        return Ok(false);
    }
    Err(StartError::Unauthenticated { address })
}

/// Whether the webhook may be served as the settings say. Nothing is listened on.
///
/// # Errors
/// [`StartError::SecretBesideKeys`], [`StartError::OpenWebhook`].
pub fn check_webhook(settings: &Settings) -> Result<(), StartError> {
    let Some(address) = settings.webhook.webhook_addr else {
        return Ok(());
    };
    if settings.tenants_path.is_some() && settings.webhook.webhook_secret.is_some() {
        return Err(StartError::SecretBesideKeys);
    }
    if is_open(settings, address) && !settings.insecure_allow_unauthenticated {
        return Err(StartError::OpenWebhook { address });
    }
    Ok(())
}

/// Whether everyone who reaches the webhook may deliver, from other machines, too.
fn is_open(settings: &Settings, webhook: SocketAddr) -> bool {
    let asks = settings.tenants_path.is_some() || settings.webhook.webhook_secret.is_some();
    !asks && !webhook.ip().is_loopback()
}

/// Listens on the webhook's address, if there is one, with TLS if the API's port
/// has it.
///
/// # Errors
/// [`StartError::SecretBesideKeys`], [`StartError::OpenWebhook`],
/// [`StartError::Listen`].
pub async fn webhook(settings: &Settings, api: &Port) -> Result<Option<Webhook>, StartError> {
    check_webhook(settings)?;
    let Some(address) = settings.webhook.webhook_addr else {
        return Ok(None);
    };
    if is_open(settings, address) {
        warn!(
            %address,
            "no tenants file and no secret: everyone who reaches this address may deliver events"
        );
    }
    let listener = bind(address, "RECSYS_WEBHOOK_ADDR").await?;
    if let Ok(address) = listener.local_addr() {
        info!(%address, tls = api.tls.is_some(), "taking deliveries");
    }
    Ok(Some(Webhook {
        listener,
        tls: api.tls.clone(),
        secret: settings
            .webhook
            .webhook_secret
            .as_ref()
            .map(|secret| SharedSecret::new(secret.expose())),
    }))
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
    start_metrics();
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving metrics and health");
    }
    Ok(Some(Admin {
        listener,
        metrics: Arc::new(move || metrics.render()),
        log: Some(log),
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
    Stores::open(settings)?.engine(&Place::of_all(settings), config)
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

/// Descriptors that are kept for all but the connections of the API and of the
/// webhook: stores, files, the admin port.
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
    webhook: Option<Webhook>,
    admin: Option<Admin>,
    stop: Stop,
) -> Result<(), ServeError> {
    if let Ok(address) = port.listener.local_addr() {
        info!(%address, tls = port.tls.is_some(), "serving gRPC");
    }
    server::serve(
        access,
        settings.limits.clone(),
        within_descriptors(&settings.server, webhook.is_some()),
        port,
        webhook,
        admin,
        stop,
    )
    .await
}

/// How many file descriptors a server needs for all its connections.
#[must_use]
pub fn descriptors_wanted(settings: &ServerSettings, with_webhook: bool) -> u64 {
    let most = settings.max_connections as u64;
    most + most / LEAVING_SHARE + other_descriptors(settings, with_webhook)
}

/// All but those of the API's connections.
fn other_descriptors(settings: &ServerSettings, with_webhook: bool) -> u64 {
    if !with_webhook {
        return OTHER_DESCRIPTORS;
    }
    let of_webhook = MAX_WEBHOOK_CONNECTIONS.min(settings.max_connections) as u64;
    OTHER_DESCRIPTORS + of_webhook + of_webhook / LEAVING_SHARE
}

/// As many connections as there are descriptors for: without one left, no store
/// could be reached and no connection closed. Asks the system for as many as
/// are needed.
fn within_descriptors(settings: &ServerSettings, with_webhook: bool) -> ServerSettings {
    let wanted = descriptors_wanted(settings, with_webhook);
    let given = rlimit::increase_nofile_limit(wanted).unwrap_or(wanted);
    if given >= wanted {
        return settings.clone();
    }
    let others = other_descriptors(settings, with_webhook);
    let for_connections = given - others.min(given / 2);
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
