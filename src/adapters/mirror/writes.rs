//! Writes through this process: read again before they return, and announced to the other
//! processes. What fails is done later.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use tracing::warn;

use super::{
    items::MirroredItems,
    pass::{PassError, reread},
    state::{CatalogMirror, ChangeBacklog, MirrorPhase},
};
use crate::{
    domain::ids::ContentId,
    telemetry::meters::{self, MirrorChange},
};

/// Ids that wait for their announcement. Above it, any item is announced as changed.
const MAX_UNANNOUNCED: usize = 10_000;

impl ChangeBacklog {
    pub(super) fn announce_later(&mut self, ids: &[ContentId]) {
        self.unannounced.extend(ids.iter().cloned());
        if self.unannounced.len() > MAX_UNANNOUNCED {
            self.unannounced = HashSet::new();
            self.all_unannounced = true;
        }
    }
}

/// A write in progress. If it fails or is cancelled, its items may have been written: they
/// are read again and announced later.
pub(super) struct Write<'a> {
    mirror: &'a CatalogMirror,
    ids: Vec<ContentId>,
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        if !self.ids.is_empty() {
            self.mirror.pending(|pending| {
                pending.dirty.extend(self.ids.iter().cloned());
                if self.mirror.changes.is_some() {
                    pending.announce_later(&self.ids);
                }
            });
        }
    }
}

impl<'a> Write<'a> {
    /// A write of these items that begins now.
    pub(super) fn of(mirror: &'a CatalogMirror, ids: impl IntoIterator<Item = ContentId>) -> Self {
        let ids: HashSet<ContentId> = ids.into_iter().collect();
        Self {
            mirror,
            ids: ids.into_iter().collect(),
        }
    }

    /// Applies it to the mirror.
    pub(super) async fn succeeded(self) {
        self.mirror.settle(&self.ids, false).await;
        self.end();
    }

    /// Removes its items from the mirror.
    pub(super) async fn removed(self) {
        self.mirror.settle(&self.ids, true).await;
        self.end();
    }

    fn end(mut self) {
        self.ids.clear();
    }
}

impl CatalogMirror {
    pub(super) fn pending<T>(&self, work: impl FnOnce(&mut ChangeBacklog) -> T) -> T {
        work(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Announces and reads items that this process has written. What fails is done later.
    /// `removed`: they were removed, so without an answer of Qdrant they are left out.
    async fn settle(&self, ids: &[ContentId], removed: bool) {
        let announce = async {
            if let Some(changes) = &self.changes
                && changes.announce(ids).await.is_err()
            {
                // Redis's failures are logged by its health check.
                self.pending(|pending| pending.announce_later(ids));
            }
        };
        let read = async {
            let Some(items) = self.items() else {
                return;
            };
            if !self.read_again(&items, ids, MirrorChange::Own).await && removed {
                let read = items.begin_read();
                for id in ids {
                    // A removal always fits.
                    let _ = read.apply(id, None);
                }
            }
        };
        tokio::join!(announce, read);
    }

    /// Reads items again and applies them. Returns whether that succeeded; otherwise they
    /// are read later.
    pub(super) async fn read_again(
        &self,
        items: &Arc<MirroredItems>,
        ids: &[ContentId],
        why: MirrorChange,
    ) -> bool {
        let error = match reread(items, &self.source, ids).await {
            Ok(changed) => {
                meters::mirror_changes(why, changed);
                return true;
            }
            Err(error) => error,
        };
        match error {
            PassError::Store(_) => {
                self.contact.reread_failed.store(true, Ordering::SeqCst);
                self.pending(|pending| pending.dirty.extend(ids.iter().cloned()));
            }
            PassError::TooLarge | PassError::OtherVectors => self.give_up(items, &error),
        }
        false
    }

    /// Drops the items after an error that a repetition does not fix. Qdrant is asked from
    /// then on.
    pub(super) fn give_up(&self, items: &Arc<MirroredItems>, error: &PassError) {
        let mut phase = self.phase.write().unwrap_or_else(PoisonError::into_inner);
        let (MirrorPhase::Filling(held) | MirrorPhase::Full(held)) = &*phase else {
            return;
        };
        if !Arc::ptr_eq(held, items) {
            return;
        }
        let (read, bytes) = (items.memory.len(), items.memory.bytes());
        match error {
            PassError::TooLarge => {
                *phase = MirrorPhase::TooLarge {
                    bytes_each: bytes / read.max(1),
                };
                self.contact.was_ready.store(true, Ordering::SeqCst);
                warn!(
                    collection = self.source.collection_name(),
                    points = self.source.points_count(),
                    items_read = read,
                    bytes_read = bytes,
                    "catalogue does not fit into the mirror: qdrant is searched; raise \
                     CATALOG_MIRROR_MAX_ITEMS or EMBEDDED_CATALOG_MAX_BYTES to hold it in memory"
                );
            }
            PassError::OtherVectors | PassError::Store(_) => *phase = MirrorPhase::Empty,
        }
        drop(phase);
        self.comparison.wake.notify_one();
    }
}
