//! Metrics, in Prometheus's text format.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use crate::telemetry::meters;

/// How often what was measured is condensed. Without it, histograms that
/// nobody reads would grow.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

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
        let own = |name: &str| Matcher::Full(name.to_owned());
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(seconds, &meters::BUCKETS_SECONDS)?
            .set_buckets_for_metric(own(meters::MODEL_BYTES), &meters::BUCKETS_MODEL_BYTES)?
            .set_buckets_for_metric(own(meters::CANDIDATES), &meters::BUCKETS_CANDIDATES)?
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

    /// All of it, with what is measured only now.
    #[must_use]
    pub fn render(&self) -> String {
        meters::measure();
        self.process.collect();
        self.handle.render()
    }
}
