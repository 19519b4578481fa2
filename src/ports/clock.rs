//! Time, deadlines and randomness.

use std::time::{Duration, Instant};

use crate::domain::time::Timestamp;

/// The moment after which nobody waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// No deadline: only the store's own time-outs.
    pub const NONE: Self = Self(None);

    /// At this moment.
    #[must_use]
    pub fn at(moment: Instant) -> Self {
        Self(Some(moment))
    }

    /// The remaining time, 0 after the deadline.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.map_or(Duration::MAX, |moment| {
            moment.saturating_duration_since(Instant::now())
        })
    }
}

/// A clock.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// A source of random numbers.
pub trait Randomness: Send + Sync {
    /// 64 uniform random bits.
    fn next_u64(&self) -> u64;
}
