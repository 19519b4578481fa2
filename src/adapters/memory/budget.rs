//! A memory limit shared by stores.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    ports::{StoreError, StoreErrorKind},
    telemetry::meters::{self, Level},
};

/// Counts bytes against a limit. The counts are estimates, equal when an entry is
/// added and when it is removed.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: Arc<AtomicUsize>,
}

impl Budget {
    /// A budget with a limit in bytes.
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

    /// Reserves `bytes`.
    ///
    /// # Errors
    /// [`StoreErrorKind::Full`] if that would exceed the limit.
    pub(super) fn reserve(&self, bytes: usize) -> Result<(), StoreError> {
        self.replace(0, bytes)
    }

    /// Releases `old` bytes and reserves `new` ones.
    ///
    /// # Errors
    /// [`StoreErrorKind::Full`] if that would exceed the limit; then nothing has
    /// changed.
    pub(super) fn replace(&self, old: usize, new: usize) -> Result<(), StoreError> {
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

    /// Releases `bytes`.
    pub(super) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}
