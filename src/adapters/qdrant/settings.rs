//! Settings of the connections to Qdrant.

use std::{path::PathBuf, time::Duration};

use crate::parsers::{Secret, defaults, parse_duration, port, whole_number};

/// Whether this process mirrors the catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CatalogMirrorMode {
    /// Up to the limits
    #[default]
    On,
    /// Never
    Off,
}

impl CatalogMirrorMode {
    /// Whether catalogues are mirrored.
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Settings of the catalogue in Qdrant.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Qdrant")]
pub struct QdrantSettings {
    /// API key for a Qdrant that requires one
    #[arg(
        long,
        global = true,
        env = "QDRANT_API_KEY",
        value_name = "TEXT",
        hide_env_values = true
    )]
    pub qdrant_api_key: Option<Secret>,
    /// Collection of the items
    #[arg(
        long,
        global = true,
        env = "COLLECTION_NAME",
        value_name = "NAME",
        default_value = "items"
    )]
    pub collection_name: String,
    /// Port of Qdrant's gRPC API; unset = the port of QDRANT_API_URL, or 6334 if the
    /// URL has no port or that of the REST API, 6333
    #[arg(long, global = true, env = "QDRANT_GRPC_PORT", value_name = "PORT",
          value_parser = port)]
    pub qdrant_grpc_port: Option<u16>,
    /// CA bundle (PEM) that verifies Qdrant, with https://; unset = the system's
    #[arg(long, global = true, env = "QDRANT_TLS_CA_FILE", value_name = "FILE")]
    pub qdrant_tls_ca_file: Option<PathBuf>,
    /// Timeout for opening a connection. Fixed.
    #[arg(skip = Duration::from_millis(500))]
    pub qdrant_connect_timeout: Duration,
    /// Timeout for a reply
    #[arg(long, global = true, env = "QDRANT_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "2s")]
    pub qdrant_timeout: Duration,
    /// Whether items are also held in this process's memory, which answers searches: on
    /// or off
    #[arg(
        long,
        global = true,
        env = "CATALOG_MIRROR",
        value_name = "on|off",
        default_value = "on",
        hide_possible_values = true
    )]
    pub catalog_mirror: CatalogMirrorMode,
    /// Largest number of items of all tenants that are held so; a larger catalogue is
    /// searched in Qdrant
    #[arg(long, global = true, env = "CATALOG_MIRROR_MAX_ITEMS", value_name = "N",
          value_parser = whole_number::<usize>, default_value_t = 200_000)]
    pub catalog_mirror_max_items: usize,
    /// Memory limit of the cache of items, in bytes
    #[arg(long, global = true, env = "ITEM_CACHE_MAX_BYTES", value_name = "BYTES",
          value_parser = whole_number::<u64>, default_value_t = 256 << 20)]
    pub item_cache_max_bytes: u64,
    /// Time for which a cached item is used, and time between two comparisons of the
    /// mirror with Qdrant: after it, changes by other programs are seen
    #[arg(long, global = true, env = "ITEM_CACHE_TTL", value_name = "DURATION",
          value_parser = parse_duration, default_value = "5m")]
    pub item_cache_ttl: Duration,
}

impl QdrantSettings {
    /// Connections; each carries many calls.
    pub(super) const CONNECTIONS: usize = 3;
}

impl Default for QdrantSettings {
    fn default() -> Self {
        defaults()
    }
}
