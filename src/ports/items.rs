//! The catalogue.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;

use super::{clock::Deadline, error::StoreError};
use crate::domain::{
    geo::GeoPoint,
    ids::ContentId,
    item::{CatalogueItem, Item},
    item_update::ItemUpdate,
    restriction::Restriction,
    tags::TagKey,
    vector::UnitVector,
};

/// The order in which a search finds items. Ties go to the bytewise smaller id.
#[derive(Clone, Debug, PartialEq)]
pub enum SearchOrder {
    /// By cosine to a vector, largest first. Items without a vector of this
    /// size are left out.
    NearestTo(UnitVector),
    /// By cosine to a vector, smallest first. Items without a vector of this size
    /// are left out.
    FarthestFrom(UnitVector),
    /// By `Σ weight · item weight` over these tags, largest first. Items whose
    /// sum is 0 are left out.
    TagOverlap(Vec<(TagKey, f64)>),
    /// By distance from a point to the item's nearest place. Items without a
    /// place are left out.
    ClosestTo(GeoPoint),
    /// These items, in this order.
    ByIds(Vec<ContentId>),
    /// A uniform random sample.
    Sample {
        /// Seed of the sample.
        seed: u64,
        /// Whether the same seed and items must give the same sample in the same
        /// order. Otherwise any sample is valid, which some stores draw at a lower
        /// cost.
        pinned: bool,
    },
}

/// One search for candidates.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// The order of its results.
    pub order: SearchOrder,
    /// Conditions on its results.
    pub restriction: &'a Restriction,
    /// Items that must not be found.
    pub exclude: &'a HashSet<ContentId>,
    /// More such items, too many for a query: a store removes them from its results
    /// before it reads their contents.
    pub exclude_afterwards: &'a HashSet<ContentId>,
    /// Maximum number of results.
    pub limit: usize,
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The items, in the search's order, each once.
    Items(Vec<Arc<CatalogueItem>>),
    /// The store lacks the index that this search needs.
    NoIndex,
    /// The store does not answer in time: items that are cached in this process,
    /// in the search's order.
    Cached(Vec<Arc<CatalogueItem>>),
}

/// A position in the list of all items, in a form that only the store that made it
/// understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPosition(pub String);

/// What a page of the list of all items has.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a> {
    /// Conditions on its items.
    pub restriction: &'a Restriction,
    /// Where it begins; `None` is the beginning of the list.
    pub after: Option<&'a ListPosition>,
    /// Maximum number of items.
    pub limit: usize,
    /// Whether items have their vectors. Otherwise they can have them.
    pub with_vectors: bool,
    /// Whether all items that meet the conditions are counted, also those before and
    /// after the page.
    pub with_total: bool,
}

/// An item of the list of all items.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedItem {
    /// The item.
    pub item: Arc<CatalogueItem>,
    /// The position after it.
    pub position: ListPosition,
}

/// How many items there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemTotal {
    /// The number.
    pub items: u64,
    /// Whether it is an estimate.
    pub is_estimate: bool,
}

/// A page of the list of all items.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemPage {
    /// Its items, in the order of the list. There can be fewer than the limit, also
    /// none, before the end of the list.
    pub items: Vec<ListedItem>,
    /// Where the next page begins; `None` at the end of the list.
    pub next: Option<ListPosition>,
    /// The number of items, if it was requested.
    pub total: Option<ItemTotal>,
}

/// Why an item was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemRefusal {
    /// Its vector does not have the size of the catalogue's vectors.
    #[error("vector has {given} numbers, those of {catalogue} have {expected}")]
    VectorSize {
        /// Description of the catalogue.
        catalogue: String,
        /// Size of the catalogue's vectors.
        expected: usize,
        /// Size of the item's vector.
        given: usize,
    },
    /// The catalogue is full.
    #[error("the catalogue is full")]
    Full,
}

/// The catalogue.
///
/// Every later call to the same store sees a write. Vectors are L2-normalized and
/// have one size: the store's own, or that of the first vector.
///
/// A read ends at its deadline, or earlier by the store's own time-outs.
#[async_trait]
pub trait ItemStore: Send + Sync {
    /// Runs searches as one batch; one result each, in order.
    ///
    /// # Errors
    /// [`StoreError`] if items cannot be read before the deadline.
    async fn search(
        &self,
        searches: &[Search<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError>;

    /// Reads items by id; one result each, in order, `None` for an id without
    /// item.
    ///
    /// # Errors
    /// [`StoreError`] if any of them cannot be read before the deadline.
    async fn get(
        &self,
        ids: &[ContentId],
        deadline: Deadline,
    ) -> Result<Vec<Option<Arc<CatalogueItem>>>, StoreError>;

    /// Items that are cached in this process, of any age; one for each id, in
    /// order. For use when [`ItemStore::get`] fails.
    fn cached(&self, ids: &[ContentId]) -> Vec<Option<Arc<CatalogueItem>>>;

    /// Adds or replaces items, in order; one result each. Stored attributes that
    /// an item does not have are kept.
    ///
    /// # Errors
    /// [`StoreError`]; then any of them may have been stored.
    async fn upsert(&self, items: Vec<Item>) -> Result<Vec<Result<(), ItemRefusal>>, StoreError>;

    /// Changes fields of items that exist, in order; for each, whether the item
    /// existed. Only what an update names is written, so that updates of different
    /// fields at the same time, also by other processes, are all kept. No update adds
    /// an item, also not one that is deleted at the same time.
    ///
    /// These are written as one: [`ItemField::Location`] and
    /// [`ItemField::OtherLocations`]; [`ItemField::HasImage`] with an image URL. An
    /// update of all attributes removes those that the store had when it began. A
    /// read at the same time may see a part of an update, but not of one attribute.
    ///
    /// [`ItemField::Location`]: crate::domain::item_update::ItemField::Location
    /// [`ItemField::OtherLocations`]: crate::domain::item_update::ItemField::OtherLocations
    /// [`ItemField::HasImage`]: crate::domain::item_update::ItemField::HasImage
    ///
    /// # Errors
    /// [`StoreError`]; then any of them may have been applied.
    async fn update(
        &self,
        updates: Vec<ItemUpdate>,
    ) -> Result<Vec<Result<bool, ItemRefusal>>, StoreError>;

    /// A page of the list of all items. The list has one order that never changes: an
    /// item that exists, and meets the conditions, while all pages are read one after
    /// the other is in exactly one of them, whatever is written meanwhile. `None` if
    /// the position is not one of this store.
    ///
    /// # Errors
    /// [`StoreError`] if the page cannot be read before the deadline.
    async fn list(
        &self,
        page: PageRequest<'_>,
        deadline: Deadline,
    ) -> Result<Option<ItemPage>, StoreError>;

    /// Removes items; for each, whether it existed.
    ///
    /// # Errors
    /// [`StoreError`]; then any of them may have been removed.
    async fn delete(&self, ids: &[ContentId]) -> Result<Vec<bool>, StoreError>;

    /// Checks that the store answers.
    ///
    /// # Errors
    /// [`StoreError`] if it does not.
    async fn check(&self) -> Result<(), StoreError>;

    /// Size of the vectors; `None` while it is unknown or there are no vectors.
    fn vector_size(&self) -> Option<usize>;

    /// Makes [`ItemStore::vector_size`] known. If it is already known, nothing is
    /// read. If this fails, searches fail as well.
    ///
    /// # Errors
    /// [`StoreError`] if the size cannot be read before the deadline.
    async fn learn_vector_size(&self, deadline: Deadline) -> Result<(), StoreError> {
        let _ = deadline;
        Ok(())
    }
}
