//! Settings of the connections to Redis.

use std::{path::PathBuf, time::Duration};

use crate::parsers::{Secret, connections, defaults, parse_duration, whole_number};

/// What the nodes of REDIS_URL are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RedisMode {
    /// Detected: the first node that answers is asked
    #[default]
    Auto,
    /// One server
    Single,
    /// Sentinels, which name the master
    Sentinel,
    /// A Redis Cluster
    Cluster,
}

/// Settings of the connections to Redis.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisSettings {
    /// Kind of Redis at REDIS_URL: single, sentinel, cluster, or auto: detected
    #[arg(
        long,
        global = true,
        env = "REDIS_MODE",
        value_name = "MODE",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub redis_mode: RedisMode,
    /// Name of the master at the sentinels
    #[arg(
        long,
        global = true,
        env = "REDIS_SENTINEL_MASTER",
        value_name = "NAME",
        default_value = "mymaster"
    )]
    pub redis_sentinel_master: String,
    /// User for sentinels that require one
    #[arg(
        long,
        global = true,
        env = "REDIS_SENTINEL_USERNAME",
        value_name = "NAME"
    )]
    pub redis_sentinel_username: Option<String>,
    /// Password for sentinels that require one; the password of REDIS_URL is the
    /// master's
    #[arg(
        long,
        global = true,
        env = "REDIS_SENTINEL_PASSWORD",
        value_name = "TEXT",
        hide_env_values = true
    )]
    pub redis_sentinel_password: Option<Secret>,
    /// CA bundle (PEM) that verifies Redis, with rediss://; unset = the system's
    #[arg(long, global = true, env = "REDIS_TLS_CA_FILE", value_name = "FILE")]
    pub redis_tls_ca_file: Option<PathBuf>,
    /// Client certificate (PEM) for a Redis that requires one
    #[arg(long, global = true, env = "REDIS_TLS_CERT_FILE", value_name = "FILE")]
    pub redis_tls_cert_file: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, global = true, env = "REDIS_TLS_KEY_FILE", value_name = "FILE")]
    pub redis_tls_key_file: Option<PathBuf>,
    /// Prefix of every key
    #[arg(
        long,
        global = true,
        env = "REDIS_KEY_PREFIX",
        value_name = "TEXT",
        default_value = ""
    )]
    pub redis_key_prefix: String,
    /// Largest number of connections; calls share a connection, except a call that
    /// waits for replicas
    #[arg(long, global = true, env = "REDIS_POOL_SIZE", value_name = "N",
          value_parser = connections, default_value = "4")]
    pub redis_pool_size: usize,
    /// Timeout for opening a connection
    #[arg(long, global = true, env = "REDIS_CONNECT_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "500ms")]
    pub redis_connect_timeout: Duration,
    /// Timeout for a free connection of the pool
    #[arg(long, global = true, env = "REDIS_WAIT_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "200ms")]
    pub redis_wait_timeout: Duration,
    /// Timeout for a reply, at most 10s
    #[arg(long, global = true, env = "REDIS_COMMAND_TIMEOUT", value_name = "DURATION",
          value_parser = command_timeout, default_value = "500ms")]
    pub redis_command_timeout: Duration,
    /// Age at which a connection is closed, so that a name that resolves to another
    /// address takes effect. Fixed.
    #[arg(skip = Duration::from_secs(600))]
    pub redis_max_connection_age: Duration,
    /// Replicas that must hold an event before it is acknowledged
    #[arg(
        long,
        global = true,
        env = "REDIS_WAIT_REPLICAS",
        value_name = "N",
        value_parser = whole_number::<usize>,
        default_value_t = 0
    )]
    pub redis_wait_replicas: usize,
    /// Memory limit of the cache of event buffers, in bytes
    #[arg(long, global = true, env = "BUFFER_CACHE_MAX_BYTES", value_name = "BYTES",
          value_parser = whole_number::<u64>, default_value_t = 64 << 20)]
    pub buffer_cache_max_bytes: u64,
    /// Memory limit of the cache of user models, in bytes
    #[arg(long, global = true, env = "MODEL_CACHE_MAX_BYTES", value_name = "BYTES",
          value_parser = whole_number::<u64>, default_value_t = 64 << 20)]
    pub model_cache_max_bytes: u64,
}

/// A write that arrives later than 30 s is refused: a reply is not waited for nearly as
/// long.
fn command_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text)?;
    if timeout > Duration::from_secs(10) {
        return Err("must be at most 10s".to_owned());
    }
    Ok(timeout)
}

impl Default for RedisSettings {
    fn default() -> Self {
        defaults()
    }
}
