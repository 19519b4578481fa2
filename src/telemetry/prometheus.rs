//! The metrics in Prometheus' text format.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use crate::telemetry::meters;

/// Interval at which recorded values are merged into histograms. Without it,
/// histograms that nobody scrapes would grow without bound.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Records the metrics, and renders them for a scrape.
#[derive(Clone)]
pub struct PrometheusExporter {
    handle: PrometheusHandle,
    process: Collector,
}

impl PrometheusExporter {
    /// Starts recording. Once per process, within a tokio runtime.
    ///
    /// # Errors
    /// [`BuildError`] if it was started before.
    pub fn start() -> Result<Self, BuildError> {
        let full = |name: &str| Matcher::Full(name.to_owned());
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(seconds, &meters::BUCKETS_SECONDS)?
            .set_buckets_for_metric(full(meters::MODEL_LAG), &meters::BUCKETS_MODEL_LAG)?
            .set_buckets_for_metric(full(meters::MODEL_BYTES), &meters::BUCKETS_MODEL_BYTES)?
            .set_buckets_for_metric(full(meters::CANDIDATES), &meters::BUCKETS_CANDIDATES)?
            .set_buckets_for_metric(full(meters::ROW_LAG), &meters::BUCKETS_ROW_LAG)?
            .set_buckets_for_metric(full(meters::ROW_AGE), &meters::BUCKETS_ROW_AGE)?
            .set_buckets_for_metric(full(meters::AUDIENCE_SIZE), &meters::BUCKETS_CANDIDATES)?
            .install_recorder()?;
        meters::describe();
        let process = Collector::default();
        process.describe();
        let upkeep = handle.clone();
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
            loop {
                ticks.tick().await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self { handle, process })
    }

    /// All metrics, with the gauges as of now.
    #[must_use]
    pub fn render(&self) -> String {
        meters::measure();
        self.process.collect();
        self.handle.render()
    }
}
