//! Writing and reading the catalogue.

use std::sync::Arc;

use super::{error::EngineError, handle::Engine};
use crate::{
    domain::{
        ids::ContentId,
        item::{CatalogueItem, Item},
    },
    ports::{Deadline, ItemRefusal},
};

impl Engine {
    /// Adds or replaces items; one result each, in order.
    ///
    /// # Errors
    /// [`EngineError`]; then any of them may have been stored.
    pub async fn upsert_items(
        &self,
        items: Vec<Item>,
    ) -> Result<Vec<Result<(), ItemRefusal>>, EngineError> {
        let store = Arc::clone(&self.inner.ports.items);
        let tasks = &self.inner.tasks;
        tasks
            .spawn_to_completion("upsert items", async move { store.upsert(items).await })
            .await?
            .map_err(EngineError::catalogue)
    }

    /// Reads items by id; `None` for an id without item.
    ///
    /// # Errors
    /// [`EngineError`] if the catalogue cannot be read before the deadline.
    pub async fn get_items(
        &self,
        ids: &[ContentId],
        deadline: Deadline,
    ) -> Result<Vec<Option<Arc<CatalogueItem>>>, EngineError> {
        self.inner
            .ports
            .items
            .get(ids, deadline)
            .await
            .map_err(EngineError::catalogue_within(deadline))
    }

    /// Removes items; for each, whether it existed.
    ///
    /// # Errors
    /// [`EngineError`]; then any of them may have been removed.
    pub async fn delete_items(&self, ids: Vec<ContentId>) -> Result<Vec<bool>, EngineError> {
        let store = Arc::clone(&self.inner.ports.items);
        let tasks = &self.inner.tasks;
        tasks
            .spawn_to_completion("delete items", async move { store.delete(&ids).await })
            .await?
            .map_err(EngineError::catalogue)
    }
}
