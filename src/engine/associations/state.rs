//! What all parts of associations share.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::Notify;

use super::{
    caches::{ItemTables, PopularityCache, RowCache, WrittenLists},
    changes::Changes,
    settings::AssociationSettings,
};
use crate::{
    domain::{associations::AssociationsConfig, time::Timestamp},
    engine::{
        error::{Dependency, EngineError, log_failure},
        tasks::Tasks,
    },
    ports::{AssociationStore, EventBuffer, StoreError},
};

/// Shares of the memory for caches.
const ROWS_SHARE: u64 = 4;

pub(super) struct AssociationState {
    pub(super) store: Arc<dyn AssociationStore>,
    pub(super) events: Arc<dyn EventBuffer>,
    pub(super) config: AssociationsConfig,
    pub(super) settings: AssociationSettings,
    pub(super) tasks: Tasks,
    pub(super) changes: Changes,
    pub(super) items: ItemTables,
    pub(super) rows: RowCache,
    pub(super) written: WrittenLists,
    pub(super) popularity: PopularityCache,
    /// Wakes the refreshing task for rows that are missing.
    pub(super) wake: Arc<Notify>,
    /// Whether the refreshing task was started.
    pub(super) is_started: AtomicBool,
}

impl AssociationState {
    pub(super) fn new(
        store: Arc<dyn AssociationStore>,
        events: Arc<dyn EventBuffer>,
        config: AssociationsConfig,
        settings: AssociationSettings,
        tasks: Tasks,
    ) -> Self {
        let for_lists = settings.cache_max_bytes / ROWS_SHARE;
        Self {
            store,
            events,
            config,
            rows: RowCache::new(settings.cache_max_bytes - for_lists),
            written: WrittenLists::new(for_lists),
            settings,
            tasks,
            changes: Changes::default(),
            items: ItemTables::new(),
            popularity: PopularityCache::default(),
            wake: Arc::default(),
            is_started: AtomicBool::new(false),
        }
    }

    /// The store's time.
    pub(super) async fn now(&self) -> Result<Timestamp, StoreError> {
        self.events.now().await
    }

    /// The age from which on what is cached is read again in the background, so that
    /// what lists use often is never too old.
    pub(super) fn early_age(&self) -> Duration {
        if self.settings.background {
            self.settings.interval.mul_f64(0.6)
        } else {
            self.settings.interval
        }
    }
}

/// A failure of the store. Logs it.
pub(super) fn failed(error: StoreError) -> EngineError {
    log_failure(Dependency::UserState, &error);
    EngineError::store(Dependency::UserState, error)
}
