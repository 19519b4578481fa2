//! A catalogue in memory, with exact search.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;

use crate::{
    adapters::{
        exact_search,
        memory::index::{Index, index_bytes},
        memory_size::item_bytes,
    },
    domain::{
        ids::ContentId,
        item::{CatalogueItem, Item},
        tags::Canonicalizer,
    },
    ports::{Deadline, Found, ItemRefusal, ItemStore, Search, StoreError},
    telemetry::meters::{self, Level},
};

/// A catalogue in this process's memory. Searches are exact, and fast enough for
/// some 100,000 items.
pub struct MemoryItemStore {
    canonicalizer: Canonicalizer,
    max_bytes: usize,
    catalogue: Arc<RwLock<Catalogue>>,
}

#[derive(Default)]
struct Catalogue {
    index: Index,
    bytes: usize,
}

impl Catalogue {
    fn remove(&mut self, id: &ContentId) -> Option<Arc<CatalogueItem>> {
        let item = self.index.remove(id)?;
        self.bytes -= bytes(item.item());
        Some(item)
    }

    fn insert(&mut self, item: CatalogueItem) {
        self.bytes += bytes(item.item());
        self.index.insert(Arc::new(item));
    }
}

/// Memory of an item, in the catalogue and in the index.
fn bytes(item: &Item) -> usize {
    item_bytes(item) + index_bytes(item)
}

impl MemoryItemStore {
    /// An empty catalogue of at most `max_bytes` of estimated memory.
    #[must_use]
    pub fn new(canonicalizer: Canonicalizer, max_bytes: usize) -> Self {
        let catalogue = Arc::new(RwLock::<Catalogue>::default());
        meters::watch(&catalogue, move |catalogue, levels| {
            let catalogue = catalogue.read().unwrap_or_else(PoisonError::into_inner);
            levels.add(Level::CatalogueBytes, catalogue.bytes as u64);
            levels.add(Level::CatalogueMaxBytes, max_bytes as u64);
        });
        Self {
            canonicalizer,
            max_bytes,
            catalogue,
        }
    }

    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().index.len()
    }

    /// Whether there are no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds or replaces an item. Attributes that it does not name are kept.
    ///
    /// # Errors
    /// [`ItemRefusal`]; then nothing has changed.
    pub fn put(&self, mut item: Item) -> Result<(), ItemRefusal> {
        let mut catalogue = self.write();
        let stored = catalogue.index.get(&item.id).cloned();
        if let (Some(vector), Some(expected)) = (&item.vector, catalogue.index.vector_size()) {
            let others = catalogue.index.vectors()
                - usize::from(stored.as_ref().is_some_and(|item| item.vector().is_some()));
            if others > 0 && vector.size() != expected {
                return Err(ItemRefusal::VectorSize {
                    catalogue: "the catalogue".to_owned(),
                    expected,
                    given: vector.size(),
                });
            }
        }
        if let Some(stored) = &stored {
            for (name, value) in &stored.item().attributes {
                item.attributes
                    .entry(name.clone())
                    .or_insert_with(|| value.clone());
            }
        }
        let freed = stored.as_ref().map_or(0, |item| bytes(item.item()));
        if catalogue.bytes - freed + bytes(&item) > self.max_bytes {
            return Err(ItemRefusal::Full);
        }
        catalogue.remove(&item.id);
        catalogue.insert(CatalogueItem::new(item, &self.canonicalizer));
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Catalogue> {
        self.catalogue
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ItemStore for MemoryItemStore {
    async fn search(&self, searches: &[Search<'_>], _: Deadline) -> Result<Vec<Found>, StoreError> {
        let visits = self.read().index.visits(searches);
        let found = exact_search::scan(visits, || self.read().index.search(searches));
        Ok(found.into_iter().map(Found::Items).collect())
    }

    async fn get(
        &self,
        ids: &[ContentId],
        _: Deadline,
    ) -> Result<Vec<Option<Arc<CatalogueItem>>>, StoreError> {
        Ok(self.cached(ids))
    }

    fn cached(&self, ids: &[ContentId]) -> Vec<Option<Arc<CatalogueItem>>> {
        let catalogue = self.read();
        ids.iter()
            .map(|id| catalogue.index.get(id).cloned())
            .collect()
    }

    async fn upsert(&self, items: Vec<Item>) -> Result<Vec<Result<(), ItemRefusal>>, StoreError> {
        Ok(items.into_iter().map(|item| self.put(item)).collect())
    }

    async fn delete(&self, ids: &[ContentId]) -> Result<Vec<bool>, StoreError> {
        let mut catalogue = self.write();
        Ok(ids
            .iter()
            .map(|id| catalogue.remove(id).is_some())
            .collect())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn vector_size(&self) -> Option<usize> {
        self.read().index.vector_size()
    }
}
