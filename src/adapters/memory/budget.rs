//! A bound on memory, shared by stores.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    ports::{StoreError, StoreErrorKind},
    telemetry::meters::{self, Level},
};

/// Counts bytes against a limit. The counts are estimates of what entries
/// take, made the same way when they come and when they go.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: Arc<AtomicUsize>,
}

impl Budget {
    /// With a limit in bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let used = Arc::new(AtomicUsize::new(0));
        meters::watch(&used, move |used, levels| {
            levels.add(Level::StateBytes, used.load(Ordering::Relaxed) as u64);
            levels.add(Level::StateMaxBytes, limit as u64);
        });
        Self { limit, used }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes `bytes`, unless that would pass the limit.
    pub(super) fn take(&self, bytes: usize) -> Result<(), StoreError> {
        self.exchange(0, bytes)
    }

    /// Gives `old` bytes back and takes `new` ones, unless that would pass the
    /// limit; then nothing has changed.
    pub(super) fn exchange(&self, old: usize, new: usize) -> Result<(), StoreError> {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let sum = used.saturating_sub(old).checked_add(new)?;
                (sum <= self.limit || new <= old).then_some(sum)
            })
            .map(|_| ())
            .map_err(|used| {
                StoreError::new(
                    StoreErrorKind::Full,
                    format!(
                        "embedded store is full: {used} of {} bytes in use",
                        self.limit
                    ),
                )
            })
    }

    /// Gives `bytes` back.
    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}
