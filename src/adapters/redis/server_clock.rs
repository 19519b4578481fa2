//! The Redis server's time, as well as this process can tell: never its own
//! wall clock, which may be hours off.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::domain::time::Timestamp;

/// Told the server's time with every append and every second by the health
/// check; counts on from there without looking at the wall clock, which may be
/// set meanwhile.
#[derive(Clone, Default)]
pub(super) struct ServerClock {
    told: Arc<Mutex<Option<(Timestamp, Instant)>>>,
}

impl ServerClock {
    pub(super) fn tell(&self, now: Timestamp) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Some((now, Instant::now()));
    }

    /// `None` until the server has been heard of.
    pub(super) fn now(&self) -> Option<Timestamp> {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.map(|(then, at)| then.plus(at.elapsed()))
    }
}
