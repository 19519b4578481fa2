//! What other users did, kept in step with the user models.
//!
//! [`Associations::record`] is called when a model is built: it adds the user to the
//! audiences of the items that changed and saves the user's interest list. Rows whose
//! audiences changed enough are refreshed in every interval, within a share of a core.
//! Lists read rows and popularity from this process's memory.

mod caches;
mod changes;
mod erase;
mod read;
mod rebuild;
mod record;
mod refresh;
mod schedule;
mod settings;
mod signals;
mod state;

use std::sync::Arc;

use tracing::debug;

use super::{error::EngineError, tasks::Tasks};
use crate::{
    domain::{
        associations::{AssociationsConfig, NeighborRow, PopularItems},
        ids::{ContentId, UserId},
        time::Timestamp,
    },
    ports::{AssociationStore, Deadline, EventBuffer, Version},
};
use caches::CachedPopularity;
use read::Rows;
use state::{AssociationState, failed};

pub(super) use erase::Departure;
pub(super) use record::RecordRequest;
pub use {settings::AssociationSettings, signals::ItemSignals};

/// What a list uses of other users' behavior.
#[derive(Default)]
pub(super) struct OtherUsers {
    /// The rows of the query's items; `None` for an item without one.
    pub(super) rows: Vec<Option<Arc<NeighborRow>>>,
    /// Items by popularity; `None` if there are none.
    pub(super) popular: Option<Arc<PopularItems>>,
    /// The same over the time of trends.
    pub(super) trending: Option<Arc<PopularItems>>,
    /// Whether something could not be read, and is missing or as it was last read.
    pub(super) is_incomplete: bool,
}

impl OtherUsers {
    fn new(rows: Rows, popularity: CachedPopularity, is_incomplete: bool) -> Self {
        Self {
            rows,
            popular: Some(popularity.popular).filter(|items| !items.is_empty()),
            trending: Some(popularity.trending).filter(|items| !items.is_empty()),
            is_incomplete,
        }
    }
}

/// The associations of all items and users. Clones share everything.
#[derive(Clone)]
pub(super) struct Associations(Arc<AssociationState>);

impl Associations {
    pub(super) fn new(
        store: Arc<dyn AssociationStore>,
        events: Arc<dyn EventBuffer>,
        config: AssociationsConfig,
        settings: AssociationSettings,
        tasks: Tasks,
    ) -> Self {
        Self(Arc::new(AssociationState::new(
            store, events, config, settings, tasks,
        )))
    }

    pub(super) fn config(&self) -> &AssociationsConfig {
        &self.0.config
    }

    /// Records an interest list, before its model is saved. A failure is logged: the
    /// next build records the list again.
    pub(super) async fn record(&self, request: RecordRequest<'_>) -> Result<(), EngineError> {
        if !self.0.config.enabled {
            return Ok(());
        }
        self.0.start();
        let recorded = self.0.record(request).await;
        recorded.map_err(|error| {
            debug!("associations are behind until the user's next model");
            failed(error)
        })
    }

    /// The rows of a query's items, and popularity, read before a deadline. What does not
    /// come in time is used as it was last read.
    pub(super) async fn for_list(&self, query: &[ContentId], deadline: Deadline) -> OtherUsers {
        if !self.0.config.enabled {
            return OtherUsers::default();
        }
        self.0.start();
        let read = async {
            let (rows, popularity) = tokio::join!(self.0.rows(query), self.0.popularity());
            let is_incomplete = rows.is_err() || popularity.is_err();
            let rows = rows.unwrap_or_else(|(error, rows)| {
                let _ = failed(error);
                rows
            });
            let popularity = popularity.unwrap_or_else(|(error, popularity)| {
                let _ = failed(error);
                popularity
            });
            OtherUsers::new(rows, popularity, is_incomplete)
        };
        match tokio::time::timeout(deadline.remaining(), read).await {
            Ok(read) => read,
            Err(_) => {
                let (rows, popularity) = self.0.last_read(query).await;
                OtherUsers::new(rows, popularity, true)
            }
        }
    }

    /// Whether an item has enough users that its neighbours identify none of them.
    /// `None` if that cannot be read before the deadline.
    pub(super) async fn has_enough_users(
        &self,
        item: &ContentId,
        deadline: Deadline,
    ) -> Option<bool> {
        if !self.0.config.enabled {
            return Some(false);
        }
        let enough = self.0.has_enough_users(item);
        let enough = tokio::time::timeout(deadline.remaining(), enough).await;
        enough.ok()?.map_err(failed).ok()
    }

    /// Takes a user out of all audiences, before the user's buffer is deleted. Also if
    /// this process keeps no associations: others may. `None` if the erasure's first
    /// read, at `read_at`, is too long ago.
    pub(super) async fn begin_erasure(
        &self,
        user: &UserId,
        read_at: Timestamp,
    ) -> Result<Option<Departure>, EngineError> {
        let begun = self.0.begin_erasure(user, read_at).await;
        begun.map_err(failed)
    }

    /// Erases a user's list, after the user's buffer was deleted. `version` is at least
    /// as high as any that the buffer had. Returns whether there was a list;
    /// `None` as above.
    pub(super) async fn end_erasure(
        &self,
        user: &UserId,
        departure: Departure,
        version: Version,
    ) -> Result<Option<bool>, EngineError> {
        let erased = self.0.end_erasure(user, departure, version).await;
        erased.map_err(failed)
    }

    /// Removes the list of a user whose events were copied to another one and removed,
    /// with their marker's version. Returns whether it was done.
    pub(super) async fn end_merge(
        &self,
        user: &UserId,
        departure: &Departure,
        version: Version,
    ) -> Result<bool, EngineError> {
        let removed = self.0.end_merge(user, departure, version).await;
        removed.map_err(failed)
    }

    /// What is known of an item; nothing if associations are not kept.
    pub(super) async fn item_signals(
        &self,
        item: &ContentId,
        limit: usize,
    ) -> Result<ItemSignals, EngineError> {
        if !self.0.config.enabled {
            return Ok(ItemSignals::default());
        }
        self.0.item_signals(item, limit).await.map_err(failed)
    }

    /// Refreshes items, whatever changed. All audiences are corrected first: rows
    /// depend on the sizes of each other's audiences.
    pub(super) async fn rebuild(&self, items: &[ContentId]) -> Result<(), EngineError> {
        self.settle_all(items).await?;
        self.refresh_items(items).await
    }

    /// Corrects the audiences of items.
    pub(super) async fn settle_all(&self, items: &[ContentId]) -> Result<(), EngineError> {
        self.0.settle_all(items).await
    }

    /// Builds the rows and popularity of items, whatever changed.
    pub(super) async fn refresh_items(&self, items: &[ContentId]) -> Result<(), EngineError> {
        self.0.refresh_items(items).await
    }

    /// Refreshes all rows that are due, without a budget. Returns how many.
    pub(super) async fn refresh_all(&self) -> Result<usize, EngineError> {
        self.0.refresh_all().await
    }
}
