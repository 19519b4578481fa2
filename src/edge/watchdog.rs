//! Whether the process still does its work: a task of the runtime beats, and
//! someone outside of that runtime listens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const BEAT_EVERY: Duration = Duration::from_millis(100);

/// When the runtime last ran a task.
pub(crate) struct Pulse {
    started: Instant,
    last_beat_ms: AtomicU64,
}

impl Pulse {
    /// Begins to beat on this runtime.
    pub(crate) fn start() -> Arc<Self> {
        let pulse = Arc::new(Self {
            started: Instant::now(),
            last_beat_ms: AtomicU64::new(0),
        });
        let beating = Arc::downgrade(&pulse);
        tokio::spawn(async move {
            let mut beats = tokio::time::interval(BEAT_EVERY);
            beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            while let Some(pulse) = beating.upgrade() {
                let now = pulse.now_ms();
                pulse.last_beat_ms.store(now, Ordering::Relaxed);
                drop(pulse);
                beats.tick().await;
            }
        });
        pulse
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long ago the last beat was.
    pub(crate) fn silence(&self) -> Duration {
        let last = self.last_beat_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.now_ms().saturating_sub(last))
    }
}
