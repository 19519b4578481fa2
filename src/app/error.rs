//! Why the service does not start.

use std::{net::SocketAddr, path::PathBuf};

use metrics_exporter_prometheus::BuildError;

use crate::{
    adapters::{memory::CatalogueFileError, qdrant::QdrantSetupError, redis::RedisSetupError},
    domain::ranking_config::RankingConfigError,
    edge::{tenants::TenantsFileError, tls::TlsError},
    ports::ItemRefusal,
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
    /// The tenants file is wrong.
    #[error("tenants file {path} is refused: {source}")]
    Tenants {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: TenantsFileError,
    },
    /// Everyone who reaches the address could read and erase all users.
    #[error(
        "{address} can be reached from other machines, and without a tenants file everyone who \
         reaches it may read, change and erase everything. Give RECSYS_TENANTS_PATH (keys are made \
         with: recsys keys new TENANT --role ROLE), listen on a loopback address, or, if something \
         in front of it asks for credentials, say --insecure-allow-unauthenticated"
    )]
    Unauthenticated {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// Everyone who reaches the webhook could make up events.
    #[error(
        "{address} can be reached from other machines, and everyone who reaches it may deliver \
         events of any user. Give RECSYS_TENANTS_PATH or RECSYS_WEBHOOK_SECRET, listen on a \
         loopback address, or, if something in front of it asks for credentials, say \
         --insecure-allow-unauthenticated"
    )]
    OpenWebhook {
        /// Where it would listen.
        address: SocketAddr,
    },
    /// It could not be told whose events come with the secret.
    #[error(
        "RECSYS_WEBHOOK_SECRET is for a server without a tenants file: with RECSYS_TENANTS_PATH \
         a delivery carries a key with the role ingest"
    )]
    SecretBesideKeys,
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
