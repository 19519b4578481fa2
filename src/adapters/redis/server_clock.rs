//! The Redis server's time, as well as this process can tell: never its own
//! clock, which may be hours off.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::{domain::time::Timestamp, ports::Clock};

/// Told the server's time when a connection is made; counts on from there
/// without looking at the wall clock, which may be set meanwhile.
#[derive(Clone)]
pub(super) struct ServerClock {
    told: Arc<Mutex<Option<(Timestamp, Instant)>>>,
    /// Until the server has been heard of.
    own: Arc<dyn Clock>,
}

impl ServerClock {
    pub(super) fn new(own: Arc<dyn Clock>) -> Self {
        Self {
            told: Arc::default(),
            own,
        }
    }

    pub(super) fn tell(&self, now: Timestamp) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Some((now, Instant::now()));
    }

    pub(super) fn now(&self) -> Timestamp {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match told {
            Some((then, at)) => then.plus(at.elapsed()),
            None => self.own.now(),
        }
    }
}
