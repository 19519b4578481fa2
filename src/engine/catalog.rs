//! Keeping the catalogue.

use std::sync::Arc;

use super::{Engine, EngineError};
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
        let engine = self.clone();
        self.to_the_end("upsert items", async move {
            engine.inner.ports.items.upsert(items).await
        })
        .await?
        .map_err(EngineError::catalogue)
    }

    /// Reads items by id; `None` where there is no such item.
    ///
    /// # Errors
    /// [`EngineError`] if the catalogue cannot be read, or not in time.
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
            .map_err(EngineError::catalogue_before(deadline))
    }

    /// Removes items; for each, whether there was one.
    ///
    /// # Errors
    /// [`EngineError`]; then any of them may be gone.
    pub async fn delete_items(&self, ids: Vec<ContentId>) -> Result<Vec<bool>, EngineError> {
        let engine = self.clone();
        self.to_the_end("delete items", async move {
            engine.inner.ports.items.delete(&ids).await
        })
        .await?
        .map_err(EngineError::catalogue)
    }
}
