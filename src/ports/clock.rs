//! Time, deadlines and randomness.

use std::time::{Duration, Instant};

use crate::domain::time::Timestamp;

/// By when an answer is of use to whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// However long the store's own time-outs allow.
    pub const NONE: Self = Self(None);

    /// By this moment.
    #[must_use]
    pub fn at(moment: Instant) -> Self {
        Self(Some(moment))
    }

    /// How much time is left: 0 once the moment has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.map_or(Duration::MAX, |moment| {
            moment.saturating_duration_since(Instant::now())
        })
    }
}

/// The time, and only the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Random numbers.
pub trait Randomness: Send + Sync {
    /// 64 uniform random bits.
    fn next_u64(&self) -> u64;
}
