//! Reads from the catalogue.

use std::sync::Arc;

use super::error::EngineError;
use crate::{
    domain::{
        ids::ContentId,
        item::{CatalogueItem, Items},
        user_signals::UserSignals,
    },
    ports::{Deadline, Found, ItemStore, Search},
};

/// Reads items, for models and for lists.
#[derive(Clone)]
pub(super) struct ItemReader(Arc<dyn ItemStore>);

impl ItemReader {
    pub(super) fn new(store: Arc<dyn ItemStore>) -> Self {
        Self(store)
    }

    /// Reads items by id. Those that do not exist are left out.
    pub(super) async fn read(
        &self,
        ids: &[ContentId],
        deadline: Deadline,
    ) -> Result<Items, EngineError> {
        if ids.is_empty() {
            return Ok(Items::new());
        }
        let found = self.0.get(ids, deadline).await;
        let found = found.map_err(EngineError::catalogue_within(deadline))?;
        Ok(by_id(ids, found))
    }

    /// The items that are cached in this process. For use when reading fails.
    pub(super) fn cached(&self, ids: &[ContentId]) -> Items {
        by_id(ids, self.0.cached(ids))
    }

    /// Runs searches as one batch; one result each, in order.
    pub(super) async fn search(
        &self,
        searches: &[Search<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Found>, EngineError> {
        let found = self.0.search(searches, deadline).await;
        found.map_err(EngineError::catalogue_within(deadline))
    }

    /// Learns the size of vectors, if it is unknown: [`ItemReader::fits`] is
    /// reliable then.
    pub(super) async fn learn_vector_size(&self, deadline: Deadline) -> Result<(), EngineError> {
        let learned = self.0.learn_vector_size(deadline).await;
        learned.map_err(EngineError::catalogue_within(deadline))
    }

    /// Whether the vectors of a model have the size of the catalogue's. True while
    /// that size is unknown.
    pub(super) fn fits(&self, signals: &UserSignals) -> bool {
        let size = self.0.vector_size();
        size.is_none_or(|size| signals.vectors().all(|vector| vector.size() == size))
    }
}

fn by_id(ids: &[ContentId], found: Vec<Option<Arc<CatalogueItem>>>) -> Items {
    ids.iter()
        .zip(found)
        .filter_map(|(id, item)| Some((id.clone(), item?)))
        .collect()
}
