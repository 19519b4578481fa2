//! The catalogue.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;

use super::{clock::Deadline, error::StoreError};
use crate::domain::{
    geo::GeoPoint,
    ids::ContentId,
    item::{CatalogueItem, Item},
    restriction::Restriction,
    tags::TagKey,
    vector::UnitVector,
};

/// In which order a search proposes items. Ties go to the bytewise smaller id.
#[derive(Clone, Debug, PartialEq)]
pub enum SearchOrder {
    /// By cosine to a vector, largest first. Items without a vector of this
    /// size are left out.
    NearestTo(UnitVector),
    /// By cosine to a vector, smallest first; likewise.
    FarthestFrom(UnitVector),
    /// By `Σ weight · item weight` over these tags, largest first. Items whose
    /// sum is 0 are left out.
    TagOverlap(Vec<(TagKey, f64)>),
    /// By distance from a point to the item's nearest place. Items without a
    /// place are left out.
    ClosestTo(GeoPoint),
    /// A uniform random sample.
    Sample {
        /// Chooses the sample.
        seed: u64,
        /// Whether the same seed on the same items must give the same sample
        /// in the same order. Otherwise any sample will do, which some stores
        /// draw more cheaply.
        pinned: bool,
    },
}

/// One search for candidates.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// What comes first.
    pub order: SearchOrder,
    /// What may come at all.
    pub restriction: &'a Restriction,
    /// Items that must not come.
    pub exclude: &'a HashSet<ContentId>,
    /// Further ones, too many to be told in a query: a store takes them out of
    /// what it found, before it reads any contents.
    pub exclude_afterwards: &'a HashSet<ContentId>,
    /// How many at the most.
    pub limit: usize,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The items, in the search's order, each once.
    Items(Vec<Arc<CatalogueItem>>),
    /// The store lacks the index that this search needs.
    NoIndex,
    /// The store does not answer, or not in time; these are what this process
    /// still has of it, in the search's order.
    Cached(Vec<Arc<CatalogueItem>>),
}

/// Why an item was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemRefusal {
    /// Its vector is not as long as the catalogue's others.
    #[error("vector has {given} numbers, those of {catalogue} have {expected}")]
    VectorSize {
        /// Which catalogue, for people.
        catalogue: String,
        /// Numbers in the catalogue's vectors.
        expected: usize,
        /// Numbers in the item's.
        given: usize,
    },
    /// The catalogue is full.
    #[error("the catalogue is full")]
    Full,
}

/// The catalogue.
///
/// A write is seen by every later call to the same store. Vectors are kept
/// L2-normalised and are all of one size: the store's own, or that of the first.
///
/// Reads end by the time that they are given: a store that asks another
/// process waits no longer than that, nor than its own time-outs allow.
#[async_trait]
pub trait ItemStore: Send + Sync {
    /// Runs searches as one batch; one result each, in order.
    ///
    /// # Errors
    /// [`StoreError`] if items cannot be read at all, or not in time.
    async fn search(
        &self,
        searches: &[Search<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError>;

    /// Reads items by id; one result each, in order, `None` where there is
    /// no such item.
    ///
    /// # Errors
    /// [`StoreError`] if any of them cannot be read, or not in time.
    async fn get(
        &self,
        ids: &[ContentId],
        deadline: Deadline,
    ) -> Result<Vec<Option<Arc<CatalogueItem>>>, StoreError>;

    /// What this process has of items without asking anyone, however old; one
    /// for each id, in order. For when [`ItemStore::get`] fails.
    fn cached(&self, ids: &[ContentId]) -> Vec<Option<Arc<CatalogueItem>>>;

    /// Adds or replaces items, in order; one result each. Attributes that an
    /// item does not name are kept.
    ///
    /// # Errors
    /// [`StoreError`]; then any of them may have been stored.
    async fn upsert(&self, items: Vec<Item>) -> Result<Vec<Result<(), ItemRefusal>>, StoreError>;

    /// Removes items; for each, whether there was one.
    ///
    /// # Errors
    /// [`StoreError`]; then any of them may be gone.
    async fn delete(&self, ids: &[ContentId]) -> Result<Vec<bool>, StoreError>;

    /// Asks whether the store answers.
    ///
    /// # Errors
    /// [`StoreError`] if it does not.
    async fn check(&self) -> Result<(), StoreError>;

    /// How many numbers the vectors have; `None` while that is not known.
    fn vector_size(&self) -> Option<usize>;
}
