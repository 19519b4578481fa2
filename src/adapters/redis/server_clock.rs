//! The Redis server's time, as last reported. This process's wall clock is never
//! used: it may be hours off.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::domain::time::Timestamp;

/// Set with every append, every new connection and every health check, which
/// runs once a second. Advances by the monotonic clock in between.
#[derive(Clone, Default)]
pub(super) struct ServerClock {
    last: Arc<Mutex<Option<(Timestamp, Instant)>>>,
}

impl ServerClock {
    pub(super) fn set(&self, now: Timestamp) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((now, Instant::now()));
    }

    /// `None` until the server has answered once.
    pub(super) fn now(&self) -> Option<Timestamp> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|(time, received)| time.plus(received.elapsed()))
    }
}
