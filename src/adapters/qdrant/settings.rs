//! How to talk to Qdrant.

use std::{path::PathBuf, time::Duration};

use clap::builder::{OsStringValueParser, TypedValueParser as _};

use crate::parsers::{Secret, connections, parse_duration};

/// Settings of the catalogue in Qdrant.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Qdrant")]
pub struct QdrantSettings {
    /// Key that Qdrant asks for, if it does
    #[arg(
        long,
        global = true,
        env = "QDRANT_API_KEY",
        value_name = "TEXT",
        hide_env_values = true
    )]
    pub qdrant_api_key: Option<Secret>,
    /// Collection that holds the items
    #[arg(
        long,
        global = true,
        env = "COLLECTION_NAME",
        value_name = "NAME",
        default_value = "items"
    )]
    pub collection_name: String,
    /// Port of Qdrant's gRPC API; unset = that of QDRANT_API_URL, or 6334 if
    /// the URL has none or that of the REST API, 6333
    #[arg(
        long,
        global = true,
        env = "QDRANT_GRPC_PORT",
        value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub qdrant_grpc_port: Option<u16>,
    /// Certificates (PEM) of those who may vouch for Qdrant, with https://;
    /// unset = the system's
    #[arg(long, global = true, env = "QDRANT_TLS_CA_FILE", value_name = "FILE",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub qdrant_tls_ca_file: Option<PathBuf>,
    /// Connections; each carries many calls
    #[arg(long, global = true, env = "QDRANT_CONNECTIONS", value_name = "N",
          value_parser = connections, default_value = "3")]
    pub qdrant_connections: usize,
    /// Longest to wait for a connection to be made
    #[arg(long, global = true, env = "QDRANT_CONNECT_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "500ms")]
    pub qdrant_connect_timeout: Duration,
    /// Longest to wait for an answer
    #[arg(long, global = true, env = "QDRANT_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "2s")]
    pub qdrant_timeout: Duration,
    /// Most memory for contents and vectors of items kept in this process, in
    /// bytes
    #[arg(long, global = true, env = "ITEM_CACHE_MAX_BYTES", value_name = "BYTES",
          default_value_t = 256 << 20)]
    pub item_cache_max_bytes: u64,
    /// How long an item's contents are taken from there; what another process
    /// changes is noticed by then
    #[arg(long, global = true, env = "ITEM_CACHE_TTL", value_name = "DURATION",
          value_parser = parse_duration, default_value = "5m")]
    pub item_cache_ttl: Duration,
}

impl Default for QdrantSettings {
    fn default() -> Self {
        Self {
            qdrant_api_key: None,
            collection_name: "items".to_owned(),
            qdrant_grpc_port: None,
            qdrant_tls_ca_file: None,
            qdrant_connections: 3,
            qdrant_connect_timeout: Duration::from_millis(500),
            qdrant_timeout: Duration::from_secs(2),
            item_cache_max_bytes: 256 << 20,
            item_cache_ttl: Duration::from_secs(300),
        }
    }
}
