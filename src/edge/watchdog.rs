//! Detects a stuck runtime: a task of the runtime updates a timestamp, and a thread
//! outside that runtime reads it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const UPDATE_INTERVAL: Duration = Duration::from_millis(100);

/// When the runtime last ran a task.
pub(crate) struct Watchdog {
    started: Instant,
    last_update_ms: AtomicU64,
}

impl Watchdog {
    /// Watches the current runtime for as long as the result is held.
    pub(crate) fn start() -> Arc<Self> {
        let watchdog = Arc::new(Self {
            started: Instant::now(),
            last_update_ms: AtomicU64::new(0),
        });
        let updated = Arc::downgrade(&watchdog);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(UPDATE_INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            while let Some(watchdog) = updated.upgrade() {
                let now = watchdog.now_ms();
                watchdog.last_update_ms.store(now, Ordering::Relaxed);
                drop(watchdog);
                ticks.tick().await;
            }
        });
        watchdog
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long ago the runtime last ran a task.
    pub(crate) fn silence(&self) -> Duration {
        let last = self.last_update_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.now_ms().saturating_sub(last))
    }
}
