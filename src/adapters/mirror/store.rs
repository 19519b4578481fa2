//! The mirror as a store: reads from memory when it is full, and otherwise from Qdrant.

use std::sync::{Arc, atomic::Ordering};

use async_trait::async_trait;
use tracing::warn;

use super::{state::CatalogMirror, writes::Write};
use crate::{
    domain::{
        ids::ContentId,
        item::{CatalogueItem, Item},
        item_update::ItemUpdate,
    },
    ports::{
        Deadline, Found, ItemPage, ItemRefusal, ItemStore, PageRequest, Search, StoreError,
        StoreErrorKind,
    },
};

impl CatalogMirror {
    /// How far the first fill is; `None` once the service is ready.
    fn progress(&self) -> Option<StoreError> {
        if self.contact.was_ready.load(Ordering::SeqCst) {
            return None;
        }
        let read = self.items().map_or(0, |items| items.memory.len());
        let all = self.source.points_count();
        let text = format!("catalogue mirror has {read} of {all} items");
        Some(StoreError::new(StoreErrorKind::Starting, text))
    }

    /// Marks the results of searches as those of an outage.
    fn as_cached(&self, found: Vec<Found>) -> Vec<Found> {
        if let Some(suppressed) = self.outage.turn() {
            warn!(
                suppressed,
                "qdrant does not answer: recommending items of the catalogue mirror"
            );
        }
        let cached = |found| match found {
            Found::Items(items) | Found::Cached(items) => Found::Cached(items),
            Found::NoIndex => Found::NoIndex,
        };
        found.into_iter().map(cached).collect()
    }
}

#[async_trait]
impl ItemStore for CatalogMirror {
    async fn search(
        &self,
        searches: &[Search<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError> {
        let Some(items) = self.full() else {
            return self.source.search(searches, deadline).await;
        };
        let found = items.memory.search(searches, deadline).await?;
        Ok(if self.is_current() {
            found
        } else {
            self.as_cached(found)
        })
    }

    async fn get(
        &self,
        ids: &[ContentId],
        deadline: Deadline,
    ) -> Result<Vec<Option<Arc<CatalogueItem>>>, StoreError> {
        match self.full() {
            Some(items) => Ok(items.memory.cached(ids)),
            None => self.source.get(ids, deadline).await,
        }
    }

    fn cached(&self, ids: &[ContentId]) -> Vec<Option<Arc<CatalogueItem>>> {
        match self.full() {
            Some(items) => items.memory.cached(ids),
            None => self.source.cached(ids),
        }
    }

    async fn upsert(&self, items: Vec<Item>) -> Result<Vec<Result<(), ItemRefusal>>, StoreError> {
        let write = Write::of(self, items.iter().map(|item| item.id.clone()));
        let outcomes = self.source.upsert(items).await?;
        write.succeeded().await;
        Ok(outcomes)
    }

    async fn update(
        &self,
        updates: Vec<ItemUpdate>,
    ) -> Result<Vec<Result<bool, ItemRefusal>>, StoreError> {
        let write = Write::of(self, updates.iter().map(|update| update.id().clone()));
        let existed = self.source.update(updates).await?;
        write.succeeded().await;
        Ok(existed)
    }

    /// From Qdrant: its order is that of points, which memory does not have.
    async fn list(
        &self,
        page: PageRequest<'_>,
        deadline: Deadline,
    ) -> Result<Option<ItemPage>, StoreError> {
        self.source.list(page, deadline).await
    }

    async fn delete(&self, ids: &[ContentId]) -> Result<Vec<bool>, StoreError> {
        let write = Write::of(self, ids.iter().cloned());
        let existed = self.source.delete(ids).await?;
        write.removed().await;
        Ok(existed)
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.check_source().await?;
        self.progress().map_or(Ok(()), Err)
    }

    fn vector_size(&self) -> Option<usize> {
        self.source.vector_size()
    }

    async fn learn_vector_size(&self, deadline: Deadline) -> Result<(), StoreError> {
        self.source.learn_vector_size(deadline).await
    }
}
