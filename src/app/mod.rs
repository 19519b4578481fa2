//! The composition root: settings -> adapters -> engine -> server.

mod descriptors;
mod error;
mod files;
mod listen;
mod plaintext;
mod rebuild;
mod request_id_keys;
pub mod server;
mod shutdown;
mod stores;
mod tenants;

use std::sync::Arc;

use tracing::{info, warn};

use crate::{
    config::{Settings, is_set_variable, retired_variables, unknown_variables},
    edge::access::Access,
    engine::Engine,
    http::{admin::Admin, webhook::Webhook},
    telemetry::LogFilter,
};
use server::{OtherPorts, Port, ServeError, Stop};
use stores::{Place, Stores};

pub(crate) use crate::http::console::explanation;

pub use {
    crate::http::console::Console,
    descriptors::needed_descriptors,
    error::StartError,
    listen::{check_console, check_webhook, console, listen, requires_key_or_loopback},
    plaintext::is_public_plaintext,
    rebuild::{RebuildTarget, rebuild_target, rebuild_target_of_tenant},
    request_id_keys::request_id_keys,
    shutdown::stop_on_signal,
    stores::{announce_all_items, catalogue_in_memory, qdrant_items, ranking},
    tenants::{engine_of_tenant, ranking_path, tenants_file},
};

/// A server whose stores are open and whose addresses are listened on.
pub struct Server {
    access: Arc<Access>,
    port: Port,
    webhook: Option<Webhook>,
    console: Option<Console>,
    admin: Option<Admin>,
}

impl Server {
    /// Opens what the settings name. Called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] if a setting or file is refused, or an address is in use.
    pub async fn start(settings: &Settings, log: LogFilter) -> Result<Self, StartError> {
        if let Some(variables) = retired_variables(is_set_variable) {
            warn!("variables that are no longer read: {variables}");
        }
        if let Some(variables) = unknown_variables() {
            warn!("variables that no setting has: {variables}");
        }
        // First, so that the stores are measured from the start.
        let admin = listen::admin(settings, log).await?;
        let access = access(settings)?;
        let port = listen(settings).await?;
        let webhook = listen::webhook(settings, &port).await?;
        let console = console(settings, &port).await?;
        Ok(Self {
            access,
            port,
            webhook,
            console,
            admin,
        })
    }

    /// A server of one engine on the API's port, with a console if there is one.
    #[must_use]
    pub fn of_engine(engine: Engine, port: Port, console: Option<Console>) -> Self {
        Self {
            access: Access::open(engine),
            port,
            webhook: None,
            console,
            admin: None,
        }
    }

    /// Serves until `stop` is triggered.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn serve(self, settings: &Settings, stop: Stop) -> Result<(), ServeError> {
        if let Ok(address) = self.port.listener.local_addr() {
            info!(%address, tls = self.port.tls.is_some(), "serving gRPC");
        }
        server::serve(
            self.access,
            settings.limits.clone(),
            descriptors::within_descriptors(&settings.server, self.webhook.is_some()),
            self.port,
            OtherPorts {
                webhook: self.webhook,
                console: self.console,
                admin: self.admin,
            },
            stop,
        )
        .await
    }
}

/// Builds the engine over the stores that the settings name, for all callers.
/// Called within a tokio runtime.
///
/// # Errors
/// [`StartError`] if a file is refused or a store cannot be used.
pub fn engine(settings: &Settings) -> Result<Engine, StartError> {
    engine_at(settings, &Place::of_all(settings))
}

fn engine_at(settings: &Settings, place: &Place<'_>) -> Result<Engine, StartError> {
    let config = ranking(settings, settings.ranking_path.as_deref())?;
    Stores::open(settings)?.engine(place, config)
}

/// The callers and their engines: one engine for all, or one per tenant of the
/// tenants file, which is reloaded when it changes. Called within a tokio runtime.
///
/// # Errors
/// [`StartError`] if a file is refused or a store cannot be used.
pub fn access(settings: &Settings) -> Result<Arc<Access>, StartError> {
    match &settings.tenants_path {
        None => {
            let place = Place {
                mirrors: true,
                ..Place::of_all(settings)
            };
            Ok(Access::open(engine_at(settings, &place)?))
        }
        Some(path) => tenants::access(settings, path),
    }
}
