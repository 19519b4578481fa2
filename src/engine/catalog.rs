//! Writing and reading the catalogue.

use std::{collections::HashSet, sync::Arc};

use super::{error::EngineError, handle::Engine};
use crate::{
    domain::{
        ids::ContentId,
        item::{CatalogueItem, Item},
        item_update::ItemUpdate,
        restriction::Restriction,
    },
    ports::{Deadline, Found, ItemPage, ItemRefusal, PageRequest, Search, SearchOrder},
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

    /// Changes fields of items that exist, in order; for each, whether the item existed.
    ///
    /// # Errors
    /// [`EngineError`]; then any of them may have been applied.
    pub async fn update_items(
        &self,
        updates: Vec<ItemUpdate>,
    ) -> Result<Vec<Result<bool, ItemRefusal>>, EngineError> {
        let store = Arc::clone(&self.inner.ports.items);
        let tasks = &self.inner.tasks;
        tasks
            .spawn_to_completion("update items", async move { store.update(updates).await })
            .await?
            .map_err(EngineError::catalogue)
    }

    /// A page of the list of all items; `None` if the position is not one of the
    /// catalogue's store.
    ///
    /// # Errors
    /// [`EngineError`] if the catalogue cannot be read before the deadline.
    pub async fn list_items(
        &self,
        page: PageRequest<'_>,
        deadline: Deadline,
    ) -> Result<Option<ItemPage>, EngineError> {
        let read = self.inner.ports.items.list(page, deadline).await;
        read.map_err(EngineError::catalogue_within(deadline))
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

    /// A random sample of the items, all of them if there are at most `limit`.
    ///
    /// # Errors
    /// [`EngineError`] if the catalogue cannot be read before the deadline.
    pub async fn sample_items(
        &self,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Arc<CatalogueItem>>, EngineError> {
        let search = Search {
            order: SearchOrder::Sample {
                seed: 0,
                pinned: false,
            },
            restriction: &Restriction::default(),
            exclude: &HashSet::new(),
            exclude_afterwards: &HashSet::new(),
            limit,
        };
        let found = self.inner.ports.items.search(&[search], deadline).await;
        let found = found.map_err(EngineError::catalogue_within(deadline))?;
        Ok(found
            .into_iter()
            .flat_map(|found| match found {
                Found::Items(items) | Found::Cached(items) => items,
                Found::NoIndex => Vec::new(),
            })
            .collect())
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
