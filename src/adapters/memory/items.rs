//! A catalogue in memory, with exact search.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use async_trait::async_trait;
use tokio::runtime::{Handle, RuntimeFlavor};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    adapters::footprint::json_bytes,
    domain::{
        geo::nearest_m,
        ids::ContentId,
        item::{CatalogueItem, Item},
        ranking::scorers::overlap,
        tags::Canonicalizer,
        vector::UnitVector,
    },
    ports::{Found, ItemRefusal, ItemStore, Search, SearchOrder, StoreError},
};

/// What an item takes besides its texts, tags and vector.
const ITEM_OVERHEAD_BYTES: usize = 600;
/// What a tag takes besides its texts, which are held three times.
const TAG_OVERHEAD_BYTES: usize = 200;
/// Items looked at in one call from which on it takes milliseconds.
const LONG_SCAN: usize = 10_000;

/// A catalogue in this process's memory. A search looks at every item: exact,
/// and quick enough for some 10,000 of them.
pub struct MemoryItemStore {
    canonical: Canonicalizer,
    max_bytes: usize,
    catalogue: RwLock<Catalogue>,
}

#[derive(Default)]
struct Catalogue {
    items: BTreeMap<ContentId, Arc<CatalogueItem>>,
    /// How many items have a vector, and how many numbers each.
    vectors: usize,
    vector_size: usize,
    bytes: usize,
}

impl Catalogue {
    fn remove(&mut self, id: &ContentId) -> Option<Arc<CatalogueItem>> {
        let item = self.items.remove(id)?;
        self.bytes -= item_bytes(item.item());
        self.vectors -= usize::from(item.vector().is_some());
        Some(item)
    }

    fn insert(&mut self, item: CatalogueItem) {
        self.bytes += item_bytes(item.item());
        if let Some(vector) = item.vector() {
            self.vectors += 1;
            self.vector_size = vector.size();
        }
        self.items.insert(item.id().clone(), Arc::new(item));
    }
}

impl MemoryItemStore {
    /// An empty catalogue of at most `max_bytes`, estimated.
    #[must_use]
    pub fn new(canonical: Canonicalizer, max_bytes: usize) -> Self {
        Self {
            canonical,
            max_bytes,
            catalogue: RwLock::default(),
        }
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds or replaces one item; attributes that it does not name are kept.
    ///
    /// # Errors
    /// [`ItemRefusal`]; then nothing has changed.
    pub fn put(&self, mut item: Item) -> Result<(), ItemRefusal> {
        let mut catalogue = self.write();
        let known = catalogue.items.get(&item.id).cloned();
        if let Some(vector) = &item.vector {
            let others = catalogue.vectors
                - usize::from(known.as_ref().is_some_and(|known| known.vector().is_some()));
            if others > 0 && vector.size() != catalogue.vector_size {
                return Err(ItemRefusal::VectorSize {
                    expected: catalogue.vector_size,
                    given: vector.size(),
                });
            }
        }
        if let Some(known) = &known {
            for (name, value) in &known.item().attributes {
                item.attributes
                    .entry(name.clone())
                    .or_insert_with(|| value.clone());
            }
        }
        let freed = known.as_ref().map_or(0, |known| item_bytes(known.item()));
        if catalogue.bytes - freed + item_bytes(&item) > self.max_bytes {
            return Err(ItemRefusal::Full);
        }
        catalogue.remove(&item.id);
        catalogue.insert(CatalogueItem::new(item, &self.canonical));
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
    async fn search(&self, searches: &[Search<'_>]) -> Result<Vec<Found>, StoreError> {
        let scan = || {
            let catalogue = self.read();
            searches
                .iter()
                .map(|search| Found::Items(run(&catalogue, search)))
                .collect()
        };
        // A long scan leaves this thread's other tasks to another one.
        let long = self.len() * searches.len() > LONG_SCAN;
        let others_can = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        Ok(if long && others_can {
            tokio::task::block_in_place(scan)
        } else {
            scan()
        })
    }

    async fn get(&self, ids: &[ContentId]) -> Result<Vec<Option<Arc<CatalogueItem>>>, StoreError> {
        let catalogue = self.read();
        Ok(ids
            .iter()
            .map(|id| catalogue.items.get(id).cloned())
            .collect())
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
        let catalogue = self.read();
        (catalogue.vectors > 0).then_some(catalogue.vector_size)
    }
}

/// A place in a search's order: smaller comes first.
type Place<'a> = (f64, &'a Arc<CatalogueItem>);

fn run(catalogue: &Catalogue, search: &Search<'_>) -> Vec<Arc<CatalogueItem>> {
    let candidates = catalogue
        .items
        .values()
        .filter(|item| !search.exclude.contains(item.id()) && search.restriction.admits(item));
    let cosine = |item: &CatalogueItem, to: &UnitVector| item.vector()?.cosine(to);

    let places: Vec<Place<'_>> = match &search.order {
        SearchOrder::NearestTo(vector) => placed(candidates, |item| Some(-cosine(item, vector)?)),
        SearchOrder::FarthestFrom(vector) => placed(candidates, |item| cosine(item, vector)),
        SearchOrder::TagOverlap(weights) => {
            let weights: HashMap<_, _> =
                weights.iter().map(|(tag, weight)| (tag, *weight)).collect();
            placed(candidates, |item| {
                let sum = overlap(item, |tag| weights.get(tag).copied().unwrap_or(0.0));
                (sum > 0.0).then_some(-sum)
            })
        }
        SearchOrder::ClosestTo(point) => {
            placed(candidates, |item| nearest_m(*point, &item.item().locations))
        }
        SearchOrder::Sample { seed } => {
            // Each seed shuffles the ids in its own way: the first ones of
            // that order are a uniform sample.
            let mut keyed: Vec<(u64, &Arc<CatalogueItem>)> = candidates
                .map(|item| {
                    (
                        xxh3_64_with_seed(item.id().as_str().as_bytes(), *seed),
                        item,
                    )
                })
                .collect();
            return page(&mut keyed, search, |a, b| {
                a.0.cmp(&b.0).then_with(|| a.1.id().cmp(b.1.id()))
            });
        }
    };
    let mut places = places;
    page(&mut places, search, |a, b| {
        a.0.total_cmp(&b.0).then_with(|| a.1.id().cmp(b.1.id()))
    })
}

fn placed<'a>(
    candidates: impl Iterator<Item = &'a Arc<CatalogueItem>>,
    place: impl Fn(&CatalogueItem) -> Option<f64>,
) -> Vec<Place<'a>> {
    candidates
        .filter_map(|item| Some((place(item)?, item)))
        .collect()
}

/// The asked-for page of the order, without sorting what is behind it.
fn page<K>(
    keyed: &mut Vec<(K, &Arc<CatalogueItem>)>,
    search: &Search<'_>,
    order: impl Fn(&(K, &Arc<CatalogueItem>), &(K, &Arc<CatalogueItem>)) -> Ordering,
) -> Vec<Arc<CatalogueItem>> {
    let end = search.offset.saturating_add(search.limit);
    if (1..keyed.len()).contains(&end) {
        keyed.select_nth_unstable_by(end, &order);
        keyed.truncate(end);
    }
    keyed.sort_unstable_by(&order);
    keyed
        .iter()
        .skip(search.offset)
        .take(search.limit)
        .map(|(_, item)| Arc::clone(item))
        .collect()
}

fn item_bytes(item: &Item) -> usize {
    let texts = [
        item.id.as_str(),
        &item.content_type,
        &item.title,
        &item.text,
        &item.image_url,
        &item.public_url,
    ];
    let tags = item
        .tags
        .iter()
        .map(|tag| TAG_OVERHEAD_BYTES + 3 * (tag.facet.len() + tag.label.len()));
    ITEM_OVERHEAD_BYTES
        + texts.iter().map(|text| text.len()).sum::<usize>()
        + tags.sum::<usize>()
        + item.vector.as_ref().map_or(0, |vector| 4 * vector.size())
        + size_of_val(&*item.years)
        + size_of_val(&*item.locations)
        + json_bytes(&item.attributes)
}
