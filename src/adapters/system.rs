//! The machine's clock and randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{
    domain::time::Timestamp,
    ports::{Clock, Randomness},
};

/// The wall clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Randomness from the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn next_u64(&self) -> u64 {
        // All but six bits of a v4 UUID are random. The fixed bits of the two
        // halves are at different positions, so each bit is XORed with a random
        // one.
        uuid::Uuid::new_v4().as_u64_pair().0 ^ uuid::Uuid::new_v4().as_u64_pair().1
    }
}
