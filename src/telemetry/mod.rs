//! Logs, metrics and traces: the only room that sets them up. Logs go to
//! standard error, so that standard output is for what a command has to say.

pub mod error_chain;
mod json_line;
mod logs;
pub mod meters;
mod metrics;
mod settings;
pub mod spans;
pub mod throttle;
mod traces;

use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

pub use {
    logs::{FilterError, LogFilter},
    metrics::Metrics,
    settings::{LogFormat, Sampling, TraceSettings},
    traces::{TraceError, Traces, check as check_traces},
};

/// Neither logs nor traces could be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error("log filter {filter:?}: {source}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: FilterError,
    },
    /// Traces cannot be sent as configured.
    #[error(transparent)]
    Traces(#[from] TraceError),
}

/// What was set up.
pub struct Telemetry {
    /// Which log lines are written.
    pub log: LogFilter,
    /// What is sent to a collector, if there is one.
    pub traces: Option<Traces>,
}

/// Starts logging with a filter such as `info` or `recsys=debug,h2=warn`, and
/// tracing, if there are settings that name a collector. Once a process, within a tokio
/// runtime.
///
/// # Errors
/// [`TelemetryError`].
pub fn start(
    filter: &str,
    format: LogFormat,
    traces: Option<&TraceSettings>,
) -> Result<Telemetry, TelemetryError> {
    let (lines, log) = logs::lines(filter, format).map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let traces = traces.map(Traces::start).transpose()?.flatten();
    tracing_subscriber::registry()
        .with(lines)
        .with(traces.as_ref().map(|traces| traces.layer().boxed()))
        .init();
    Ok(Telemetry { log, traces })
}
