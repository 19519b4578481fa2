//! Logs and metrics: the only file that sets them up. Logs go to standard
//! error, so that standard output is for what a command has to say.

use std::{io::IsTerminal as _, time::Duration};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::meters;

/// How often what was measured is condensed. Without it, histograms that
/// nobody reads would grow.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Starts logging with a filter such as `info` or `recsys=debug,h2=warn`.
///
/// # Errors
/// [`ParseError`] if it is no filter.
pub fn start(filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// What was measured since the start.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: Collector,
}

impl Metrics {
    /// Starts measuring, once a process. Called within a tokio runtime.
    ///
    /// # Errors
    /// [`BuildError`] if it was started before.
    pub fn start() -> Result<Self, BuildError> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(
                Matcher::Suffix("_seconds".to_owned()),
                &meters::BUCKETS_SECONDS,
            )?
            .set_buckets_for_metric(
                Matcher::Full(meters::MODEL_BYTES.to_owned()),
                &meters::BUCKETS_MODEL_BYTES,
            )?
            .set_buckets_for_metric(
                Matcher::Full(meters::CANDIDATES.to_owned()),
                &meters::BUCKETS_CANDIDATES,
            )?
            .install_recorder()?;
        meters::describe();
        let process = Collector::default();
        process.describe();
        let upkeep = handle.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP_EVERY);
            loop {
                ticks.tick().await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self { handle, process })
    }

    /// All of it in Prometheus's text format.
    #[must_use]
    pub fn render(&self) -> String {
        meters::measure();
        self.process.collect();
        self.handle.render()
    }
}
