//! Which calls have a line in the log.

use std::sync::atomic::{AtomicU64, Ordering};

use tonic::Code;

use crate::telemetry::throttle::Throttle;

/// Names of the status codes, by number.
pub(crate) const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Log lines of failed calls per second and code.
const FAILURES_PER_SECOND: u32 = 10;
/// 2^64 divided by the golden ratio: its multiples modulo 2^64 are evenly
/// distributed.
const SAMPLING_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Samples calls for the log: a share of those that are OK, and a few failed ones
/// per second and code.
pub(crate) struct CallLog {
    /// In units of 2^-64. `None`: all.
    ok_share: Option<u64>,
    next: AtomicU64,
    failed: [Throttle; CODES.len()],
}

impl CallLog {
    /// `ok_share`, from 0 to 1, is the share of OK calls that are logged.
    pub(crate) fn new(ok_share: f64) -> Self {
        Self {
            // Rounds to 0 below 2^-64 and saturates at the largest.
            ok_share: (ok_share < 1.0).then_some((ok_share * 2_f64.powi(64)) as u64),
            next: AtomicU64::new(0),
            failed: [const { Throttle::allowing(FAILURES_PER_SECOND) }; CODES.len()],
        }
    }

    /// Whether to log a call; then, how many lines of its code were suppressed
    /// before it.
    pub(crate) fn sample(&self, code: Code) -> Option<u64> {
        if code != Code::Ok {
            return self.failed.get(code as usize)?.turn();
        }
        let sampled = match self.ok_share {
            None => true,
            Some(0) => false,
            Some(share) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                number.wrapping_mul(SAMPLING_STEP) < share
            }
        };
        sampled.then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::{CallLog, FAILURES_PER_SECOND};

    #[test]
    fn ok_calls_are_sampled_evenly() {
        for (share, max_gap) in [(0.01, 150), (0.25, 6), (1.0, 1)] {
            let log = CallLog::new(share);
            let sampled: Vec<usize> = (0..10_000)
                .filter(|_| log.sample(Code::Ok).is_some())
                .collect();
            let expected = share * 10_000.0;
            assert!((sampled.len() as f64 - expected).abs() < 3.0, "{share}");
            let gap = sampled.windows(2).map(|pair| pair[1] - pair[0]).max();
            assert!(gap <= Some(max_gap), "{share}: {gap:?}");
        }
        let log = CallLog::new(0.0);
        assert!((0..10_000).all(|_| log.sample(Code::Ok).is_none()));
    }

    #[test]
    fn failed_calls_are_limited_per_code() {
        let log = CallLog::new(0.0);
        let logged = (0..1_000)
            .filter(|_| log.sample(Code::NotFound).is_some())
            .count();
        // All within one second, or across a boundary between two.
        assert!(
            logged >= FAILURES_PER_SECOND as usize && logged < 500,
            "{logged}"
        );
        assert_eq!(log.sample(Code::Internal), Some(0), "another code");
    }
}
