//! The addresses that the server listens on.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use tracing::{info, warn};

use super::{error::StartError, server::Port};
use crate::{
    config::Settings,
    edge::{tenants::SharedSecret, tls::Tls},
    engine::start_metrics,
    http::{admin::Admin, console::Console, webhook::Webhook},
    telemetry::{LogFilter, PrometheusExporter},
};

/// Listens on the API's address, with TLS if the settings name a certificate.
///
/// # Errors
/// [`StartError::Unauthenticated`], [`StartError::Tls`], [`StartError::Listen`].
pub async fn listen(settings: &Settings) -> Result<Port, StartError> {
    if !requires_key_or_loopback(settings)? {
        warn!(
            address = %settings.listen_addr,
            "no tenants file: everyone who reaches this address may read, change and erase everything"
        );
    }
    let tls = Tls::read(&settings.tls)?;
    let listener = bind(settings.listen_addr, "RECSYS_LISTEN_ADDR").await?;
    Ok(Port { listener, tls })
}

/// Whether callers need a key or are on this machine. If neither, the settings must
/// allow that explicitly.
///
/// # Errors
/// [`StartError::Unauthenticated`] if they do not.
pub fn requires_key_or_loopback(settings: &Settings) -> Result<bool, StartError> {
    let address = settings.listen_addr;
    if settings.tenants_path.is_some() || address.ip().is_loopback() {
        return Ok(true);
    }
    if settings.insecure_allow_unauthenticated {
        return Ok(false);
    }
    Err(StartError::Unauthenticated { address })
}

/// The shortest secret of the webhook, which an attacker may try to guess.
const MIN_SECRET_BYTES: usize = 16;

/// Checks the webhook's settings, without listening.
///
/// # Errors
/// [`StartError::SecretBesideKeys`], [`StartError::ShortSecret`],
/// [`StartError::OpenWebhook`].
pub fn check_webhook(settings: &Settings) -> Result<(), StartError> {
    let Some(address) = settings.webhook.webhook_addr else {
        return Ok(());
    };
    if settings.tenants_path.is_some() && settings.webhook.webhook_secret.is_some() {
        return Err(StartError::SecretBesideKeys);
    }
    let secret = settings.webhook.webhook_secret.as_ref();
    if secret.is_some_and(|secret| secret.expose().len() < MIN_SECRET_BYTES) {
        return Err(StartError::ShortSecret {
            min: MIN_SECRET_BYTES,
        });
    }
    if is_open(settings, address) && !settings.insecure_allow_unauthenticated {
        return Err(StartError::OpenWebhook { address });
    }
    Ok(())
}

/// Whether other machines may deliver to the webhook without a key or secret.
fn is_open(settings: &Settings, webhook: SocketAddr) -> bool {
    let guarded = settings.tenants_path.is_some() || settings.webhook.webhook_secret.is_some();
    !guarded && !webhook.ip().is_loopback()
}

/// Listens on the webhook's address, if there is one, with TLS if the API's port
/// has it.
///
/// # Errors
/// [`StartError::SecretBesideKeys`], [`StartError::OpenWebhook`],
/// [`StartError::Listen`].
pub(super) async fn webhook(
    settings: &Settings,
    api: &Port,
) -> Result<Option<Webhook>, StartError> {
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
    let secret = settings.webhook.webhook_secret.as_ref();
    Ok(Some(Webhook {
        listener,
        tls: api.tls.clone(),
        secret: secret.map(|secret| SharedSecret::new(secret.expose())),
        merges_users: settings.webhook.webhook_merge_users,
    }))
}

/// Checks the console's settings, without listening: other machines reach it only with
/// keys and TLS.
///
/// # Errors
/// [`StartError::OpenConsole`].
pub fn check_console(settings: &Settings) -> Result<(), StartError> {
    let Some(address) = settings.console.console_addr else {
        return Ok(());
    };
    let is_guarded = settings.tenants_path.is_some() && settings.tls.tls_cert_file.is_some();
    if address.ip().is_loopback() || is_guarded {
        return Ok(());
    }
    Err(StartError::OpenConsole { address })
}

/// Listens on the console's address, if there is one, with TLS if the API's port has it.
///
/// # Errors
/// [`StartError::OpenConsole`], [`StartError::Listen`].
pub async fn console(settings: &Settings, api: &Port) -> Result<Option<Console>, StartError> {
    check_console(settings)?;
    let Some(address) = settings.console.console_addr else {
        return Ok(None);
    };
    let listener = bind(address, "RECSYS_CONSOLE_ADDR").await?;
    if let Ok(address) = listener.local_addr() {
        info!(%address, tls = api.tls.is_some(), "serving the console");
    }
    let scheme = if api.tls.is_some() { "https" } else { "http" };
    let api_address = api.listener.local_addr().unwrap_or(settings.listen_addr);
    Ok(Some(Console {
        listener,
        tls: api.tls.clone(),
        example_users: Vec::new(),
        api_url: format!("{scheme}://{api_address}"),
    }))
}

/// Listens on the admin address and starts the metrics exporter, if there is an
/// admin address.
///
/// # Errors
/// [`StartError::Listen`], [`StartError::Metrics`].
pub(super) async fn admin(
    settings: &Settings,
    log: LogFilter,
) -> Result<Option<Admin>, StartError> {
    let Some(address) = settings.admin_addr else {
        return Ok(None);
    };
    let listener = bind(address, "RECSYS_ADMIN_ADDR").await?;
    let exporter = PrometheusExporter::start()?;
    start_metrics();
    if let Ok(address) = listener.local_addr() {
        info!(%address, "serving metrics and health");
    }
    Ok(Some(Admin {
        listener,
        metrics: Arc::new(move || exporter.render()),
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
