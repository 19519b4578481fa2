//! What recent scans found.
//!
//! A user asks for several lists between two events, and the scan for the user's taste
//! then finds the same: an entry holds until a vector is added or removed (if there are
//! conditions, until any item changes), or until the user's taste, the conditions or the
//! items to leave out change.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use quick_cache::{Weighter, sync::Cache};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::cosine::{CosineOrder, CosineSearch};
use crate::domain::{restriction::Restriction, vector::UnitVector};

/// The memory of all entries of a process: those of about 40,000 users and items.
const MAX_BYTES: u64 = 16 << 20;
/// Memory of an entry besides its slots.
const ENTRY_BYTES: usize = 200;
const EXPECTED_ENTRIES: usize = 32_768;

/// The first slots of each search of a group.
pub(super) type SlotsOfSearches = Arc<Vec<Vec<u32>>>;

/// What recent scans of all catalogues of a process found.
pub(crate) struct RecentScans {
    found: Cache<u128, SlotsOfSearches, SlotBytes>,
    /// Random, so that nobody can choose vectors whose keys are equal.
    seed: u64,
    catalogues: AtomicU64,
}

/// What recent scans of one catalogue found.
pub(super) struct RecentScansOfCatalogue {
    all: Arc<RecentScans>,
    catalogue: u64,
}

#[derive(Clone)]
struct SlotBytes;

impl Weighter<u128, SlotsOfSearches> for SlotBytes {
    fn weight(&self, _: &u128, found: &SlotsOfSearches) -> u64 {
        let slots = found.iter().map(|slots| size_of_val(&**slots));
        (ENTRY_BYTES + slots.sum::<usize>()) as u64
    }
}

impl Default for RecentScans {
    fn default() -> Self {
        Self {
            found: Cache::with_weighter(EXPECTED_ENTRIES, MAX_BYTES, SlotBytes),
            seed: RandomState::new().hash_one(0),
            catalogues: AtomicU64::new(0),
        }
    }
}

impl RecentScansOfCatalogue {
    pub(super) fn new(all: Arc<RecentScans>) -> Self {
        Self {
            catalogue: all.catalogues.fetch_add(1, Ordering::Relaxed),
            all,
        }
    }

    /// The key of searches by cosine to a vector. `version` changes with each change of
    /// what the restriction depends on.
    pub(super) fn key(
        &self,
        version: u64,
        vector: &UnitVector,
        searches: &[CosineSearch],
        restriction: &Restriction,
        excluded: &foldhash::HashSet<u32>,
    ) -> u128 {
        let seed = self.all.seed;
        let mut bytes = vector.as_bytes().to_vec();
        for search in searches {
            bytes.push(match search.order {
                CosineOrder::Nearest => 0,
                CosineOrder::Farthest => 1,
            });
            bytes.extend((search.limit as u64).to_le_bytes());
        }
        // In any order.
        let slots = excluded.iter();
        let slots = slots.map(|slot| xxh3_64_with_seed(&slot.to_le_bytes(), seed));
        let slots = slots.fold(0_u64, u64::wrapping_add);
        for number in [self.catalogue, version, excluded.len() as u64, slots] {
            bytes.extend(number.to_le_bytes());
        }
        if !restriction.is_open() {
            // Derived, so that it has every field, and texts in quotes.
            bytes.extend(format!("{restriction:?}").into_bytes());
        }
        xxh3_128_with_seed(&bytes, seed)
    }

    pub(super) fn get(&self, key: u128) -> Option<SlotsOfSearches> {
        self.all.found.get(&key)
    }

    pub(super) fn insert(&self, key: u128, found: SlotsOfSearches) {
        self.all.found.insert(key, found);
    }
}
