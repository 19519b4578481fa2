//! Settings of the server.

use std::time::Duration;

use crate::{
    edge::browser::BrowserSettings,
    parsers::{at_least_one, defaults, parse_delay, parse_duration, parse_share},
};

/// Timeouts and caps of calls and connections, and the shutdown.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ServerSettings {
    /// Longest duration of a call; a client's own deadline may be shorter
    #[arg(long, global = true, env = "RECSYS_REQUEST_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "10s")]
    pub request_timeout: Duration,
    /// Time after SIGTERM during which health is NOT_SERVING and new calls are still
    /// served, so that load balancers notice; Ctrl-C skips it
    #[arg(long, global = true, env = "RECSYS_DRAIN_DELAY", value_name = "DURATION",
          value_parser = parse_delay, default_value = "5s")]
    pub drain_delay: Duration,
    /// Time after that for calls in flight to finish
    #[arg(long, global = true, env = "RECSYS_DRAIN_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "10s")]
    pub drain_timeout: Duration,
    /// Calls in flight; further calls are RESOURCE_EXHAUSTED
    #[arg(long, global = true, env = "RECSYS_MAX_CALLS", value_name = "N",
          value_parser = at_least_one, default_value = "512")]
    pub max_calls: usize,
    /// Bytes of requests and replies in flight; further calls are RESOURCE_EXHAUSTED
    #[arg(long, global = true, env = "RECSYS_MAX_BUFFERED_BYTES", value_name = "BYTES",
          value_parser = at_least_one, default_value = "268435456")]
    pub max_buffered_bytes: usize,
    /// Open connections; beyond that, those idle for longest are closed
    #[arg(long, global = true, env = "RECSYS_MAX_CONNECTIONS", value_name = "N",
          value_parser = at_least_one, default_value = "16384")]
    pub max_connections: usize,
    /// Age, plus or minus a tenth, at which a client is asked to reconnect, so that
    /// clients spread over new instances. Fixed.
    #[arg(skip = Duration::from_secs(600))]
    pub max_connection_age: Duration,
    /// Whether server reflection is served
    #[arg(long, global = true, env = "RECSYS_REFLECTION", value_name = "BOOL",
          action = clap::ArgAction::Set, default_value = "true")]
    pub reflection: bool,
    /// Timeout for a client's first bytes and for its reading of a reply; then its
    /// connection is closed
    #[arg(long, global = true, env = "RECSYS_SLOW_CLIENT_TIMEOUT", value_name = "DURATION",
          value_parser = parse_duration, default_value = "30s")]
    pub slow_client_timeout: Duration,
    /// Share (0 to 1) of OK calls that are logged; failed calls are logged up to a
    /// fixed rate
    #[arg(long, global = true, env = "RECSYS_LOG_OK_CALLS", value_name = "SHARE",
          value_parser = parse_share, default_value = "0.01")]
    pub log_ok_calls: f64,
    /// Calls from browser pages.
    #[command(flatten)]
    pub browser: BrowserSettings,
}

impl Default for ServerSettings {
    fn default() -> Self {
        defaults()
    }
}
