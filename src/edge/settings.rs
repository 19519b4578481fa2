//! What can be set of the server.

use std::time::Duration;

use crate::{
    edge::browser::BrowserSettings,
    parsers::{at_least_one, parse_delay, parse_duration, parse_share},
};

/// How long calls, connections and stopping may take, and how many there may
/// be at once.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ServerSettings {
    /// Longest that a call may take; a client's own deadline may be shorter
    #[arg(long, global = true, env = "RECSYS_REQUEST_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "10s")]
    pub request_timeout: Duration,
    /// How long new calls are still served once SIGTERM came and health says
    /// NOT_SERVING, so that balancers have time to notice; Ctrl-C skips it
    #[arg(long, global = true, env = "RECSYS_DRAIN_DELAY", value_name = "DURATION",
          value_parser = parse_delay, default_value = "5s")]
    pub drain_delay: Duration,
    /// Longest that calls under way may take to finish after that
    #[arg(long, global = true, env = "RECSYS_DRAIN_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "10s")]
    pub drain_timeout: Duration,
    /// Calls that are worked on at once; further ones are RESOURCE_EXHAUSTED
    #[arg(long, global = true, env = "RECSYS_MAX_CALLS", value_name = "N",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_calls)]
    pub max_calls: usize,
    /// Bytes of requests that are coming in and replies that are going out;
    /// beyond it calls are RESOURCE_EXHAUSTED
    #[arg(long, global = true, env = "RECSYS_MAX_BUFFERED_BYTES", value_name = "BYTES",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_buffered_bytes)]
    pub max_buffered_bytes: usize,
    /// Connections; when there are more, those that were idle longest are closed
    #[arg(long, global = true, env = "RECSYS_MAX_CONNECTIONS", value_name = "N",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_connections)]
    pub max_connections: usize,
    /// Age, or up to a tenth more or less, at which a client is asked to
    /// connect anew, so that clients spread over new instances
    #[arg(long, global = true, env = "RECSYS_MAX_CONNECTION_AGE", value_name = "DURATION",
          value_parser = parse_duration, default_value = "10m")]
    pub max_connection_age: Duration,
    /// Whether reflection tells everyone what the API is like
    #[arg(long, global = true, env = "RECSYS_REFLECTION", value_name = "BOOL",
          action = clap::ArgAction::Set, default_value_t = Self::DEFAULT.reflection)]
    pub reflection: bool,
    /// Longest that a client may take to begin speaking, or to take in a reply;
    /// then its connection is ended
    #[arg(long, global = true, env = "RECSYS_SLOW_CLIENT_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "30s")]
    pub slow_client_timeout: Duration,
    /// Share of the calls that are OK, from 0 to 1, that have a line in the
    /// log; of those that failed, a few a second have one
    #[arg(long, global = true, env = "RECSYS_LOG_OK_CALLS", value_name = "SHARE",
          value_parser = parse_share, default_value_t = Self::DEFAULT.log_ok_calls)]
    pub log_ok_calls: f64,
    /// Whether browser pages may call, and whose.
    #[command(flatten)]
    pub browser: BrowserSettings,
}

impl ServerSettings {
    const DEFAULT: Self = Self {
        request_timeout: Duration::from_secs(10),
        drain_delay: Duration::from_secs(5),
        drain_timeout: Duration::from_secs(10),
        max_calls: 512,
        max_buffered_bytes: 256 << 20,
        max_connections: 16_384,
        max_connection_age: Duration::from_secs(600),
        reflection: true,
        slow_client_timeout: Duration::from_secs(30),
        browser: BrowserSettings::DEFAULT,
        log_ok_calls: 0.01,
    };
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
