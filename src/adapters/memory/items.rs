//! A catalogue in memory, with exact search.

use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;

use crate::{
    adapters::{
        exact_search,
        memory::{
            index::{CosineCall, Index, RecentScans, index_bytes},
            shared_scans::SharedScans,
            vocabulary::Vocabulary,
        },
        memory_size::item_bytes,
    },
    domain::{
        ids::ContentId,
        item::{CatalogueItem, Item},
        item_update::ItemUpdate,
        tags::Canonicalizer,
    },
    ports::{
        Deadline, Found, ItemPage, ItemRefusal, ItemStore, ItemTotal, ListPosition, ListedItem,
        PageRequest, Search, StoreError,
    },
    telemetry::meters::{self, Level},
};

/// The bytes from which concurrent searches by cosine share their scans: a multiple of
/// what a processor has as its own cache.
const SHARED_FROM_BYTES: usize = 8 << 20;

/// A catalogue in this process's memory. Searches are exact, and fast enough for
/// some 100,000 items.
pub struct MemoryItemStore {
    canonicalizer: Canonicalizer,
    catalogue: Arc<RwLock<Catalogue>>,
    scans: Arc<SharedScans>,
}

struct Catalogue {
    index: Index,
    vocabulary: Vocabulary,
    bytes: usize,
    budget: Arc<CatalogueBudget>,
}

impl Catalogue {
    /// Puts an item in the place of the one that is stored under its id, if any.
    fn replace(
        &mut self,
        stored: Option<&CatalogueItem>,
        item: Item,
        canonicalizer: &Canonicalizer,
    ) -> Result<(), ItemRefusal> {
        if let (Some(vector), Some(expected)) = (&item.vector, self.index.vector_size()) {
            let own = stored.is_some_and(|item| item.vector().is_some());
            let others = self.index.vectors() - usize::from(own);
            if others > 0 && vector.size() != expected {
                return Err(ItemRefusal::VectorSize {
                    catalogue: "the catalogue".to_owned(),
                    expected,
                    given: vector.size(),
                });
            }
        }
        let before = self.vocabulary.bytes();
        let shared = |key: &_| self.index.shared_key(key);
        let item = self.vocabulary.prepare(item, canonicalizer, shared);
        let freed = stored.map_or(0, bytes);
        let added = bytes(&item) + self.vocabulary.bytes() - before;
        let is_new = usize::from(stored.is_none());
        let replaced = self.budget.replace(freed, added, is_new);
        replaced.inspect_err(|_| self.vocabulary.release(&item))?;
        self.bytes = self.bytes - freed + added;
        self.index.put(Arc::new(item));
        if let Some(stored) = stored {
            self.release_vocabulary(stored);
        }
        Ok(())
    }

    fn release_vocabulary(&mut self, item: &CatalogueItem) {
        let before = self.vocabulary.bytes();
        self.vocabulary.release(item);
        let freed = before - self.vocabulary.bytes();
        self.bytes -= freed;
        self.budget.release(freed, 0);
    }

    fn remove(&mut self, id: &ContentId) -> Option<Arc<CatalogueItem>> {
        let item = self.index.remove(id)?;
        let freed = bytes(&item);
        self.bytes -= freed;
        self.budget.release(freed, 1);
        self.release_vocabulary(&item);
        Some(item)
    }
}

impl Drop for Catalogue {
    fn drop(&mut self) {
        self.budget.release(self.bytes, self.index.len());
    }
}

/// The limits of all catalogues of a process, and what they share.
pub struct CatalogueBudget {
    max_bytes: usize,
    max_items: usize,
    used: Arc<CatalogueUse>,
    recent_scans: Arc<RecentScans>,
}

#[derive(Debug, Default)]
struct CatalogueUse {
    bytes: AtomicUsize,
    items: AtomicUsize,
}

impl CatalogueBudget {
    /// A limit of estimated memory.
    #[must_use]
    pub fn new(max_bytes: usize) -> Arc<Self> {
        Self::with_max_items(max_bytes, usize::MAX)
    }

    /// Limits of estimated memory and of the number of items.
    #[must_use]
    pub fn with_max_items(max_bytes: usize, max_items: usize) -> Arc<Self> {
        let used = Arc::new(CatalogueUse::default());
        meters::watch(&used, move |used, levels| {
            let bytes = used.bytes.load(Ordering::Relaxed);
            levels.add(Level::CatalogueBytes, bytes as u64);
            levels.add(Level::CatalogueMaxBytes, max_bytes as u64);
        });
        Arc::new(Self {
            max_bytes,
            max_items,
            used,
            recent_scans: Arc::default(),
        })
    }

    /// Whether about this many further items, of `bytes_each`, fit.
    pub(crate) fn has_room_for(&self, items: usize, bytes_each: usize) -> bool {
        let of_items = self.used.items.load(Ordering::Relaxed);
        let of_bytes = self.used.bytes.load(Ordering::Relaxed);
        items <= self.max_items.saturating_sub(of_items)
            && items.saturating_mul(bytes_each) <= self.max_bytes.saturating_sub(of_bytes)
    }

    #[cfg(test)]
    fn used_bytes(&self) -> usize {
        self.used.bytes.load(Ordering::Relaxed)
    }

    /// Replaces `old` bytes by `new` ones and adds items, if they fit.
    fn replace(&self, old: usize, new: usize, added_items: usize) -> Result<(), ItemRefusal> {
        let add = |used: &AtomicUsize, old: usize, new: usize, max: usize| {
            let added = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let sum = used.saturating_sub(old).checked_add(new)?;
                (sum <= max).then_some(sum)
            });
            added.map(|_| ()).map_err(|_| ItemRefusal::Full)
        };
        add(&self.used.items, 0, added_items, self.max_items)?;
        add(&self.used.bytes, old, new, self.max_bytes)
            .inspect_err(|_| self.release(0, added_items))
    }

    fn release(&self, bytes: usize, items: usize) {
        self.used.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.used.items.fetch_sub(items, Ordering::Relaxed);
    }
}

fn read(catalogue: &RwLock<Catalogue>) -> RwLockReadGuard<'_, Catalogue> {
    catalogue.read().unwrap_or_else(PoisonError::into_inner)
}

/// Memory of an item, in the catalogue and in the index, without the vocabulary.
fn bytes(item: &CatalogueItem) -> usize {
    item_bytes(item) + index_bytes(item)
}

impl MemoryItemStore {
    /// An empty catalogue of at most `max_bytes` of estimated memory.
    #[must_use]
    pub fn new(canonicalizer: Canonicalizer, max_bytes: usize) -> Self {
        Self::sharing(canonicalizer, CatalogueBudget::new(max_bytes))
    }

    /// An empty catalogue that shares a memory limit with others.
    #[must_use]
    pub fn sharing(canonicalizer: Canonicalizer, budget: Arc<CatalogueBudget>) -> Self {
        Self {
            canonicalizer,
            catalogue: Arc::new(RwLock::new(Catalogue {
                index: Index::new(Arc::clone(&budget.recent_scans)),
                vocabulary: Vocabulary::default(),
                bytes: 0,
                budget,
            })),
            scans: Arc::new(SharedScans::new()),
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
        if let Some(stored) = &stored {
            for (name, value) in stored.attributes() {
                if !item.attributes.contains_key(name) {
                    item.attributes.insert(name.to_owned(), value.clone());
                }
            }
        }
        catalogue.replace(stored.as_deref(), item, &self.canonicalizer)
    }

    /// Changes fields of an item. Returns whether it exists.
    fn change(&self, update: &ItemUpdate) -> Result<bool, ItemRefusal> {
        let mut catalogue = self.write();
        let Some(stored) = catalogue.index.get(update.id()).cloned() else {
            return Ok(false);
        };
        let item = update.apply(stored.to_item());
        catalogue.replace(Some(&stored), item, &self.canonicalizer)?;
        Ok(true)
    }

    /// A page of the list of all items, which is ordered by id.
    fn page(&self, page: PageRequest<'_>) -> ItemPage {
        let catalogue = self.read();
        let after = page
            .after
            .map(|position| ContentId::from(position.0.as_str()));
        let mut admitted = catalogue
            .index
            .after(after.as_ref())
            .filter(|item| page.restriction.admits(item));
        let items: Vec<ListedItem> = admitted
            .by_ref()
            .take(page.limit)
            .map(|item| ListedItem {
                position: ListPosition(item.id().to_string()),
                item: Arc::clone(item),
            })
            .collect();
        let is_last = admitted.next().is_none();
        let total = page.with_total.then(|| {
            let items = if page.restriction.is_open() {
                catalogue.index.len()
            } else {
                let all = catalogue.index.after(None);
                all.filter(|item| page.restriction.admits(item)).count()
            };
            ItemTotal {
                items: items as u64,
                is_estimate: false,
            }
        });
        let last = items.last().map(|last| last.position.clone());
        ItemPage {
            next: last.or(page.after.cloned()).filter(|_| !is_last),
            items,
            total,
        }
    }

    /// Adds an item, or replaces the one of its id as a whole.
    ///
    /// # Errors
    /// [`ItemRefusal`]; then nothing has changed.
    pub(crate) fn replace(&self, item: Item) -> Result<(), ItemRefusal> {
        let mut catalogue = self.write();
        let stored = catalogue.index.get(&item.id).cloned();
        catalogue.replace(stored.as_deref(), item, &self.canonicalizer)
    }

    /// Removes an item. Returns whether it existed.
    pub(crate) fn remove(&self, id: &ContentId) -> bool {
        self.write().remove(id).is_some()
    }

    /// The item of an id.
    pub(crate) fn item(&self, id: &ContentId) -> Option<Arc<CatalogueItem>> {
        self.read().index.get(id).cloned()
    }

    /// The ids of the items that are not in a set.
    pub(crate) fn ids_outside(&self, known: &foldhash::HashSet<ContentId>) -> Vec<ContentId> {
        let catalogue = self.read();
        let ids = catalogue.index.ids();
        ids.filter(|id| !known.contains(*id)).cloned().collect()
    }

    /// Estimated memory of the items.
    pub(crate) fn bytes(&self) -> usize {
        self.read().bytes
    }

    /// Runs searches. Those by cosine share a scan with other calls if it reads more than
    /// `shared_from` bytes.
    pub(super) async fn search_sharing(
        &self,
        searches: &[Search<'_>],
        shared_from: usize,
    ) -> Vec<Vec<Arc<CatalogueItem>>> {
        if self.read().index.scanned_bytes() <= shared_from {
            return self.search_alone(searches);
        }
        let needs_scan = |call: &CosineCall| !self.read().index.has_recent(call);
        let Some((call, shared)) = CosineCall::of(searches).filter(|(call, _)| needs_scan(call))
        else {
            return self.search_alone(searches);
        };
        let catalogue = Arc::clone(&self.catalogue);
        let scan = move |calls: &[CosineCall]| read(&catalogue).index.search_together(calls);
        let Some(found) = self.scans.run(call, scan).await else {
            return self.search_alone(searches);
        };
        let is_other = |index: &usize| !shared.contains(index);
        let others: Vec<usize> = (0..searches.len()).filter(is_other).collect();
        let left: Vec<Search<'_>> = others.iter().map(|at| searches[*at].clone()).collect();
        let found_alone = self.search_alone(&left);
        let mut all = vec![Vec::new(); searches.len()];
        let found = shared.into_iter().zip(found);
        for (index, items) in found.chain(others.into_iter().zip(found_alone)) {
            all[index] = items;
        }
        all
    }

    fn search_alone(&self, searches: &[Search<'_>]) -> Vec<Vec<Arc<CatalogueItem>>> {
        let visits = self.read().index.visits(searches);
        exact_search::scan(visits, || self.read().index.search(searches))
    }

    fn read(&self) -> RwLockReadGuard<'_, Catalogue> {
        read(&self.catalogue)
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
        let found = self.search_sharing(searches, SHARED_FROM_BYTES).await;
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

    async fn update(
        &self,
        updates: Vec<ItemUpdate>,
    ) -> Result<Vec<Result<bool, ItemRefusal>>, StoreError> {
        Ok(updates.iter().map(|update| self.change(update)).collect())
    }

    async fn list(
        &self,
        page: PageRequest<'_>,
        _: Deadline,
    ) -> Result<Option<ItemPage>, StoreError> {
        let visits = if page.restriction.is_open() {
            page.limit
        } else {
            self.len()
        };
        Ok(Some(exact_search::scan(visits, || self.page(page))))
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

#[cfg(test)]
mod tests;
