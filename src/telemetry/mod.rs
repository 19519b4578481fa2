//! Logs, metrics and traces. Logs go to standard error; standard output is for the
//! output of commands.
//!
//! * [`meters`]: every metric, counted in any room; [`PrometheusExporter`] renders them.
//! * [`spans`]: every span of a trace, opened in any room; [`Traces`] sends them.
//! * [`throttle`]: limits log lines; [`error_chain`]: an error with its causes.

pub mod error_chain;
mod json_line;
mod log_format;
mod logs;
pub mod meters;
mod prometheus;
pub mod spans;
pub mod throttle;
mod traces;

use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::parsers::Secret;

pub use {
    log_format::LogFormat,
    logs::{FilterError, LogFilter},
    prometheus::PrometheusExporter,
    traces::{TraceError, Traces, check as check_traces},
};

/// Logs or traces could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is invalid.
    #[error("log filter {filter:?}: {source}")]
    Filter {
        /// The filter.
        filter: String,
        /// The cause.
        source: FilterError,
    },
    /// Traces cannot be sent as configured.
    #[error(transparent)]
    Traces(#[from] TraceError),
}

/// The running logs and traces.
pub struct Telemetry {
    /// The filter of log lines.
    pub log: LogFilter,
    /// The export of traces, if there is a collector.
    pub traces: Option<Traces>,
}

/// Starts logging with a filter such as `info` or `recsys=debug,h2=warn`, and tracing
/// if there is a collector's URL. Once per process, within a tokio runtime.
///
/// # Errors
/// [`TelemetryError`].
pub fn start(
    filter: &str,
    format: LogFormat,
    collector: Option<&Secret>,
) -> Result<Telemetry, TelemetryError> {
    let (lines, log) = logs::lines(filter, format).map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let traces = collector.map(Traces::start).transpose()?;
    tracing_subscriber::registry()
        .with(lines)
        .with(traces.as_ref().map(|traces| traces.layer().boxed()))
        .init();
    Ok(Telemetry { log, traces })
}
