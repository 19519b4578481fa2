//! Latencies of calls, counted in this process for the console.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bound of the first bucket, in seconds.
const FIRST_SECONDS: f64 = 0.000_05;
/// Each bucket's upper bound is this multiple of the one before: the last is 64 s.
const GROWTH: f64 = 1.25;
const BUCKETS: usize = 64;

/// The calls of a method and how long they took.
pub(crate) struct Latencies {
    buckets: [AtomicU64; BUCKETS],
    errors: AtomicU64,
}

/// What was counted of a method since the process started.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MethodLatencies {
    pub(crate) method: String,
    pub(crate) calls: u64,
    /// Calls that ended with another code than OK.
    pub(crate) errors: u64,
    /// In seconds.
    pub(crate) median: f64,
    /// The 99th percentile, in seconds.
    pub(crate) p99: f64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            errors: AtomicU64::new(0),
        }
    }

    pub(crate) fn record(&self, took: Duration, is_error: bool) {
        let position = (took.as_secs_f64() / FIRST_SECONDS).ln() / GROWTH.ln();
        // Saturates: the first bucket has all shorter calls, the last one all longer ones.
        let index = (position.ceil() as usize).min(BUCKETS - 1);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.errors
            .fetch_add(u64::from(is_error), Ordering::Relaxed);
    }

    /// `None` if there was no call.
    pub(crate) fn of_method(&self, method: &str) -> Option<MethodLatencies> {
        let counts = self.buckets.each_ref();
        let counts = counts.map(|bucket| bucket.load(Ordering::Relaxed));
        let calls = counts.iter().sum();
        (calls > 0).then(|| MethodLatencies {
            method: method.to_owned(),
            calls,
            errors: self.errors.load(Ordering::Relaxed).min(calls),
            median: quantile(&counts, calls, 0.5),
            p99: quantile(&counts, calls, 0.99),
        })
    }
}

/// A quantile in seconds, interpolated linearly within its bucket. Source: Prometheus'
/// `histogram_quantile`.
fn quantile(counts: &[u64; BUCKETS], calls: u64, quantile: f64) -> f64 {
    let rank = quantile * calls as f64;
    let (mut low, mut before) = (0.0, 0.0);
    let mut high = FIRST_SECONDS;
    for count in counts {
        let count = *count as f64;
        if before + count >= rank && count > 0.0 {
            return low + (high - low) * (rank - before) / count;
        }
        before += count;
        (low, high) = (high, high * GROWTH);
    }
    low
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Latencies;

    #[test]
    fn quantiles_are_within_a_bucket_of_the_truth() {
        let latencies = Latencies::new();
        assert_eq!(latencies.of_method("m"), None);
        for ms in 1..=1_000_u64 {
            latencies.record(Duration::from_millis(ms), ms % 10 == 0);
        }
        let counted = latencies.of_method("m").unwrap();
        assert_eq!((counted.calls, counted.errors), (1_000, 100));
        for (given, expected) in [(counted.median, 0.5), (counted.p99, 0.99)] {
            let ratio = given / expected;
            assert!((0.8..1.25).contains(&ratio), "{given} for {expected}");
        }
    }

    #[test]
    fn every_duration_has_a_bucket() {
        let latencies = Latencies::new();
        for took in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            latencies.record(took, false);
        }
        let counted = latencies.of_method("m").unwrap();
        assert_eq!(counted.calls, 3);
        assert!(
            counted.median < 0.000_1 && counted.p99 > 50.0,
            "{counted:?}"
        );
    }
}
