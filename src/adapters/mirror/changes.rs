//! Changes by other processes, which announce them in a stream, and what this process
//! could not do at once.

use std::{collections::HashSet, sync::atomic::Ordering};

use tracing::{info, warn};

use super::{
    pass::IDS_PER_READ,
    state::{CatalogMirror, Following},
};
use crate::{
    adapters::redis::ItemChanges,
    domain::ids::ContentId,
    ports::StoreError,
    telemetry::meters::{self, MirrorChange},
};

impl CatalogMirror {
    /// Announces what could not be announced at once, and reads from Qdrant what other
    /// processes have announced. Called at intervals. What fails is tried again by the next
    /// call.
    pub async fn follow(&self) {
        let mut following = self.following.lock().await;
        if let Some(changes) = &self.changes {
            let announced = self.announce_pending(changes).await;
            let read = match announced {
                Ok(()) => self.read_stream(changes, &mut following).await,
                Err(error) => Err(error),
            };
            if let Err(error) = read {
                if !std::mem::replace(&mut following.lost, true) {
                    let error = &error as &dyn std::error::Error;
                    warn!(
                        error,
                        "changes of items by other processes are not known while redis does not \
                         answer"
                    );
                }
            } else if std::mem::take(&mut following.lost) {
                info!("changes of items by other processes are followed again");
            }
        }
        self.read_dirty().await;
    }

    /// Marks the stream before the first item is read.
    pub(super) async fn mark_stream(&self) {
        let mut following = self.following.lock().await;
        if let (Some(changes), None) = (&self.changes, &following.cursor) {
            // A failure is logged by the next read of the stream.
            following.cursor = changes.mark().await.ok();
        }
    }

    async fn announce_pending(&self, changes: &ItemChanges) -> Result<(), StoreError> {
        let (ids, all) = self.pending(|pending| {
            let all = std::mem::take(&mut pending.all_unannounced);
            (std::mem::take(&mut pending.unannounced), all)
        });
        let ids: Vec<ContentId> = ids.into_iter().collect();
        let announced = async {
            if all {
                changes.announce_all().await?;
            }
            changes.announce(&ids).await
        };
        let announced = announced.await;
        if announced.is_err() {
            self.pending(|pending| {
                pending.all_unannounced |= all;
                pending.announce_later(&ids);
            });
        }
        announced
    }

    /// Collects the items that other processes have announced. After a gap in the stream,
    /// or an outage of Redis that may have caused one, everything is compared.
    async fn read_stream(
        &self,
        changes: &ItemChanges,
        following: &mut Following,
    ) -> Result<(), StoreError> {
        loop {
            let page = match &following.cursor {
                None => None,
                Some(cursor) => changes.after(cursor).await?,
            };
            let Some(page) = page else {
                if following.cursor.is_some() {
                    warn!("changes of items were lost in redis: comparing all items with qdrant");
                }
                // Changes that are announced before the mark are found by the comparison,
                // which begins after it.
                following.cursor = Some(changes.mark().await?);
                self.want_comparison();
                return Ok(());
            };
            if page.all || following.lost {
                self.want_comparison();
            }
            if !page.ids.is_empty() {
                if let Some(lag) = page.lag {
                    meters::mirror_lag(lag);
                }
                self.pending(|pending| pending.dirty.extend(page.ids));
            }
            following.cursor = Some(page.cursor);
            if !page.is_full {
                return Ok(());
            }
        }
    }

    /// Reads items again that may have changed.
    async fn read_dirty(&self) {
        let dirty: HashSet<ContentId> = self.pending(|pending| std::mem::take(&mut pending.dirty));
        let Some(items) = self.items() else {
            // The first fill begins later and reads them.
            self.contact.reread_failed.store(false, Ordering::SeqCst);
            return;
        };
        let dirty: Vec<ContentId> = dirty.into_iter().collect();
        let mut chunks = dirty.chunks(IDS_PER_READ);
        while let Some(ids) = chunks.next() {
            if !self.read_again(&items, ids, MirrorChange::Announced).await {
                let rest = chunks.flatten().cloned();
                self.pending(|pending| pending.dirty.extend(rest));
                return;
            }
        }
        self.contact.reread_failed.store(false, Ordering::SeqCst);
    }
}
