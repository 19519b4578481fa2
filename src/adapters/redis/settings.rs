//! How to talk to Redis.

use std::{path::PathBuf, time::Duration};

use clap::builder::{OsStringValueParser, TypedValueParser as _};

use crate::parsers::{Secret, parse_duration};

/// What kind of Redis the URL leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RedisMode {
    /// Asks the first node that answers
    #[default]
    Auto,
    /// One server
    Single,
    /// Sentinels, which know where the master is
    Sentinel,
    /// A Redis Cluster
    Cluster,
}

/// Settings of the connections to Redis.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisSettings {
    /// What the nodes of REDIS_URL are
    #[arg(
        long,
        global = true,
        env = "REDIS_MODE",
        value_name = "MODE",
        default_value = "auto"
    )]
    pub redis_mode: RedisMode,
    /// Name under which the sentinels know the master
    #[arg(
        long,
        global = true,
        env = "REDIS_SENTINEL_MASTER",
        value_name = "NAME",
        default_value = "mymaster"
    )]
    pub redis_sentinel_master: String,
    /// User for the sentinels, if they ask for one
    #[arg(
        long,
        global = true,
        env = "REDIS_SENTINEL_USERNAME",
        value_name = "NAME"
    )]
    pub redis_sentinel_username: Option<String>,
    /// Password for the sentinels, if they ask for one; that of REDIS_URL is
    /// the master's
    #[arg(
        long,
        global = true,
        env = "REDIS_SENTINEL_PASSWORD",
        value_name = "TEXT",
        hide_env_values = true
    )]
    pub redis_sentinel_password: Option<Secret>,
    /// Certificates (PEM) of those who may vouch for Redis, with rediss://;
    /// unset = the system's
    #[arg(long, global = true, env = "REDIS_TLS_CA_FILE", value_name = "FILE",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub redis_tls_ca_file: Option<PathBuf>,
    /// Certificate (PEM) to show to Redis, if it asks for one
    #[arg(long, global = true, env = "REDIS_TLS_CERT_FILE", value_name = "FILE",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub redis_tls_cert_file: Option<PathBuf>,
    /// Key (PEM) of that certificate
    #[arg(long, global = true, env = "REDIS_TLS_KEY_FILE", value_name = "FILE",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub redis_tls_key_file: Option<PathBuf>,
    /// Text before every key
    #[arg(
        long,
        global = true,
        env = "REDIS_KEY_PREFIX",
        value_name = "TEXT",
        default_value = ""
    )]
    pub redis_key_prefix: String,
    /// Most connections; each is shared by many calls, except while one waits
    /// for replicas
    #[arg(long, global = true, env = "REDIS_POOL_SIZE", value_name = "N",
          value_parser = crate::parsers::connections, default_value = "4")]
    pub redis_pool_size: usize,
    /// Longest to wait for a connection to be made
    #[arg(long, global = true, env = "REDIS_CONNECT_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "500ms")]
    pub redis_connect_timeout: Duration,
    /// Longest to wait for a connection of the pool
    #[arg(long, global = true, env = "REDIS_WAIT_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "200ms")]
    pub redis_wait_timeout: Duration,
    /// Longest to wait for an answer
    #[arg(long, global = true, env = "REDIS_COMMAND_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "500ms")]
    pub redis_command_timeout: Duration,
    /// Age at which a connection is given up, so that a name that points
    /// elsewhere is noticed
    #[arg(long, global = true, env = "REDIS_MAX_CONNECTION_AGE", value_name = "DURATION",
          value_parser = parse_duration, default_value = "10m")]
    pub redis_max_connection_age: Duration,
    /// Replicas that must have an event before it is acknowledged
    #[arg(
        long,
        global = true,
        env = "REDIS_WAIT_REPLICAS",
        value_name = "N",
        default_value_t = 0
    )]
    pub redis_wait_replicas: usize,
    /// Most memory for buffers that this process knows already, and so need
    /// not be read again when the next event comes, in bytes
    #[arg(long, global = true, env = "BUFFER_CACHE_MAX_BYTES", value_name = "BYTES",
          default_value_t = 64 << 20)]
    pub buffer_cache_max_bytes: u64,
    /// Most memory for user models that this process knows already, and so
    /// need not be read whole if they have not changed, in bytes
    #[arg(long, global = true, env = "MODEL_CACHE_MAX_BYTES", value_name = "BYTES",
          default_value_t = 64 << 20)]
    pub model_cache_max_bytes: u64,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            redis_mode: RedisMode::Auto,
            redis_sentinel_master: "mymaster".to_owned(),
            redis_sentinel_username: None,
            redis_sentinel_password: None,
            redis_tls_ca_file: None,
            redis_tls_cert_file: None,
            redis_tls_key_file: None,
            redis_key_prefix: String::new(),
            redis_pool_size: 4,
            redis_connect_timeout: Duration::from_millis(500),
            redis_wait_timeout: Duration::from_millis(200),
            redis_command_timeout: Duration::from_millis(500),
            redis_max_connection_age: Duration::from_secs(600),
            redis_wait_replicas: 0,
            buffer_cache_max_bytes: 64 << 20,
            model_cache_max_bytes: 64 << 20,
        }
    }
}
