//! The background work of a mirror. It ends when the mirror is dropped.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use super::{
    state::{CatalogMirror, MirrorPhase},
    upkeep::{Upkeep, UpkeepStep},
};
use crate::telemetry::meters::{self, Level};

/// How often the stream of changes is read.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// How long the first fill waits for the stream.
const FIRST_MARK: Duration = Duration::from_secs(2);
/// Qdrant is checked if the health check has not done so for this long.
const CHECK_EVERY: Duration = Duration::from_secs(2);

impl CatalogMirror {
    /// Fills the mirror and keeps it current in the background. `jitter`, from 0 to 1, moves
    /// its comparisons, so that processes do not compare together. Called within a tokio
    /// runtime.
    pub fn start(self: &Arc<Self>, jitter: f64) {
        self.watch();
        let mirror = Arc::downgrade(self);
        tokio::spawn(async move {
            if let Some(mirror) = mirror.upgrade() {
                // Marks the stream before the first page is read, so that no change is lost
                // between them.
                let _ = tokio::time::timeout(FIRST_MARK, mirror.mark_stream()).await;
            }
            tokio::spawn(follow(mirror.clone()));
            keep(mirror, jitter / 10.0).await;
        });
    }

    fn watch(self: &Arc<Self>) {
        meters::watch(self, |mirror, levels| {
            let state = match mirror.phase() {
                MirrorPhase::Empty | MirrorPhase::Filling(_) => Level::MirrorsFilling,
                MirrorPhase::Full(_) => Level::MirrorsFull,
                MirrorPhase::TooLarge { .. } => Level::MirrorsTooLarge,
            };
            levels.add(state, 1);
            if let Some(items) = mirror.items() {
                levels.add(Level::MirrorItems, items.memory.len() as u64);
                levels.add(Level::MirrorBytes, items.memory.bytes() as u64);
            }
            let last = *mirror
                .comparison
                .last
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(last) = last {
                levels.raise(Level::MirrorComparisonAge, last.elapsed().as_secs());
            }
        });
    }
}

async fn follow(mirror: Weak<CatalogMirror>) {
    loop {
        tokio::time::sleep(FOLLOW_EVERY).await;
        let Some(mirror) = mirror.upgrade() else {
            return;
        };
        mirror.follow().await;
        mirror.check_if_older_than(CHECK_EVERY).await;
    }
}

async fn keep(mirror: Weak<CatalogMirror>, jitter: f64) {
    let mut upkeep = Upkeep::new(jitter);
    loop {
        let Some(mirror) = mirror.upgrade() else {
            return;
        };
        let pause = match upkeep.step(&mirror).await {
            UpkeepStep::Read(pause) | UpkeepStep::Failed(_, pause) | UpkeepStep::Idle(pause) => {
                pause
            }
            UpkeepStep::Ended(_) => Duration::ZERO,
        };
        let wake = Arc::clone(&mirror.comparison.wake);
        drop(mirror);
        if !pause.is_zero() {
            let _ = tokio::time::timeout(pause, wake.notified()).await;
        }
    }
}
