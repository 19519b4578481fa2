//! How to talk to Redis.

use std::time::Duration;

use crate::parsers::parse_duration;

/// Settings of the connections to Redis.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisSettings {
    /// Text before every key
    #[arg(
        long,
        global = true,
        env = "REDIS_KEY_PREFIX",
        value_name = "TEXT",
        default_value = ""
    )]
    pub redis_key_prefix: String,
    /// Most connections; each is shared by many calls
    #[arg(long, global = true, env = "REDIS_POOL_SIZE", value_name = "N",
          value_parser = crate::parsers::at_least_one, default_value = "4")]
    pub redis_pool_size: usize,
    /// Longest to wait for a connection to be made
    #[arg(long, global = true, env = "REDIS_CONNECT_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "1s")]
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
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            redis_key_prefix: String::new(),
            redis_pool_size: 4,
            redis_connect_timeout: Duration::from_secs(1),
            redis_wait_timeout: Duration::from_millis(200),
            redis_command_timeout: Duration::from_millis(500),
            redis_max_connection_age: Duration::from_secs(600),
        }
    }
}
