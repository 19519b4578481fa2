//! Errors of start-up.

use std::{net::SocketAddr, path::PathBuf};

use metrics_exporter_prometheus::BuildError;

use crate::{
    adapters::{qdrant::QdrantSetupError, redis::RedisSetupError},
    domain::{
        experiments::{InvalidKeys, MAX_SIGNED_ID_BYTES},
        ranking_config::RankingConfigError,
    },
    edge::{tenants::TenantsFileError, tls::TlsError},
    ports::ItemRefusal,
    tables::{CatalogueFileError, InvalidMapping},
};

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The ranking file is refused.
    #[error("ranking file {path} is refused: {source}")]
    Ranking {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: RankingConfigError,
    },
    /// The file of the keys that sign ids of lists is refused.
    #[error("RECSYS_REQUEST_ID_KEY_FILE {path} {source}")]
    RequestIdKeys {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: InvalidKeys,
    },
    /// Every user of the machine may open that file.
    #[error(
        "RECSYS_REQUEST_ID_KEY_FILE {path} is open to every user of this machine (mode {mode:o}); \
         run: chmod o= {path}"
    )]
    RequestIdKeysOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Events could not send signed ids back.
    #[error(
        "RECSYS_REQUEST_ID_KEY_FILE makes ids of up to {MAX_SIGNED_ID_BYTES} bytes, and \
         RECSYS_LIMITS refuses ids above {max_id_bytes}: raise id_bytes"
    )]
    RequestIdLimit {
        /// Longest id of an event.
        max_id_bytes: usize,
    },
    /// The ranking file's default list is longer than the limit of lists.
    #[error("default_limit {default_limit} is above the largest limit {max_limit}")]
    DefaultLimit {
        /// Items of a list by default.
        default_limit: usize,
        /// The limit of a list's items.
        max_limit: usize,
    },
    /// The catalogue file is refused.
    #[error("catalogue {name} is refused:\n{source}")]
    Catalogue {
        /// The file.
        name: String,
        /// The lines that are refused.
        source: CatalogueFileError,
    },
    /// The mapping of the catalogue file's columns is refused.
    #[error(transparent)]
    CatalogueMapping(#[from] InvalidMapping),
    /// An item of the catalogue is refused.
    #[error("catalogue {name}, item {id}: {source}")]
    CatalogueItem {
        /// The file.
        name: String,
        /// The item.
        id: String,
        /// The cause.
        source: ItemRefusal,
    },
    /// Redis cannot be set up as configured.
    #[error(transparent)]
    Redis(#[from] RedisSetupError),
    /// Qdrant cannot be set up as configured.
    #[error(transparent)]
    Qdrant(#[from] QdrantSetupError),
    /// The tenants file is refused.
    #[error("tenants file {path} is refused: {source}")]
    Tenants {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: TenantsFileError,
    },
    /// Everyone who reaches the address could read and erase all users.
    #[error(
        "{address} can be reached from other machines, and without a tenants file everyone who \
         reaches it may read, change and erase everything. Set RECSYS_TENANTS_PATH (make keys with: \
         recsys keys new TENANT --role ROLE), listen on a loopback address, or, if a proxy in \
         front of it authenticates callers, pass --insecure-allow-unauthenticated"
    )]
    Unauthenticated {
        /// The address.
        address: SocketAddr,
    },
    /// Everyone who reaches the webhook could deliver events.
    #[error(
        "{address} can be reached from other machines, and everyone who reaches it may deliver \
         events of any user. Set RECSYS_TENANTS_PATH or RECSYS_WEBHOOK_SECRET, listen on a \
         loopback address, or, if a proxy in front of it authenticates senders, pass \
         --insecure-allow-unauthenticated"
    )]
    OpenWebhook {
        /// The address.
        address: SocketAddr,
    },
    /// Everyone who reaches the console could look at all users.
    #[error(
        "RECSYS_CONSOLE_ADDR {address} can be reached from other machines, and the console shows \
         any user. Set RECSYS_TENANTS_PATH, RECSYS_TLS_CERT_FILE and RECSYS_TLS_KEY_FILE, or \
         listen on a loopback address"
    )]
    OpenConsole {
        /// The address.
        address: SocketAddr,
    },
    /// The secret names no tenant.
    #[error(
        "RECSYS_WEBHOOK_SECRET is for a server without a tenants file: with RECSYS_TENANTS_PATH \
         a delivery carries a key with the role ingest"
    )]
    SecretBesideKeys,
    /// The secret can be guessed.
    #[error(
        "RECSYS_WEBHOOK_SECRET has fewer than {min} bytes; make one with: openssl rand -hex 32"
    )]
    ShortSecret {
        /// The least number of bytes.
        min: usize,
    },
    /// The changed tenants file is the beginning of the one in use.
    #[error(
        "tenants file {path} looks cut: it is the beginning of the one in use, and a tenant is \
         missing. To remove the last tenant, write another last line, such as the comment: # end"
    )]
    TenantsCut {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up as configured.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The metrics exporter cannot be set up.
    #[error("metrics cannot be set up")]
    Metrics(#[from] BuildError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with {setting}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting that names it.
        setting: &'static str,
        /// The cause.
        source: std::io::Error,
    },
}

impl StartError {
    /// Whether a setting or file must be fixed before the next try.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        !matches!(self, Self::Listen { .. } | Self::Metrics(_))
    }
}
