//! What this process keeps of associations: rows, popularity, the sizes of audiences
//! and the lists that it wrote.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use foldhash::fast::RandomState;
use quick_cache::{Weighter, sync::Cache};

use crate::{
    domain::{
        associations::{InterestList, NeighborRow, PopularItems},
        ids::{ContentId, UserId},
        time::Timestamp,
    },
    telemetry::meters::{self, Level},
};

/// Nothing of users is kept longer: a user who was erased by another process is gone
/// by then.
pub(super) const MAX_AGE: Duration = Duration::from_secs(600);
/// Overhead of an entry besides its row or list.
const ENTRY_BYTES: u64 = 160;
/// Overhead of an entry of a list.
const LIST_ENTRY_BYTES: u64 = 48;
/// Expected size of a row or list, from which the tables are sized.
const EXPECTED_BYTES: u64 = 4 << 10;

/// A row as it was read; `None` if there is none.
#[derive(Clone)]
pub(super) struct CachedRow {
    pub(super) row: Option<Arc<NeighborRow>>,
    pub(super) read_at: Timestamp,
}

/// A list as this process wrote it.
#[derive(Clone)]
struct WrittenList {
    list: Arc<InterestList>,
    written_at: Timestamp,
}

#[derive(Clone)]
struct ByteWeights;

impl Weighter<ContentId, CachedRow> for ByteWeights {
    fn weight(&self, item: &ContentId, cached: &CachedRow) -> u64 {
        let row = cached.row.as_ref().map_or(0, |row| row.byte_size());
        ENTRY_BYTES + (item.as_str().len() + row) as u64
    }
}

impl Weighter<UserId, WrittenList> for ByteWeights {
    fn weight(&self, user: &UserId, written: &WrittenList) -> u64 {
        let entries = written.list.iter();
        let entries = entries.map(|entry| entry.item.len() as u64 + LIST_ENTRY_BYTES);
        ENTRY_BYTES + user.as_str().len() as u64 + entries.sum::<u64>()
    }
}

fn cache<K, V>(max_bytes: u64) -> Cache<K, V, ByteWeights>
where
    K: Eq + std::hash::Hash,
    V: Clone,
    ByteWeights: Weighter<K, V>,
{
    let expected = usize::try_from(max_bytes / EXPECTED_BYTES).unwrap_or(usize::MAX);
    Cache::with_weighter(expected.max(1), max_bytes, ByteWeights)
}

/// Rows by item.
pub(super) struct RowCache(Arc<Cache<ContentId, CachedRow, ByteWeights>>);

impl RowCache {
    pub(super) fn new(max_bytes: u64) -> Self {
        let cache = Arc::new(cache::<ContentId, CachedRow>(max_bytes));
        meters::watch(&cache, |cache, levels| {
            levels.add(Level::RowBytes, cache.weight());
            levels.add(Level::RowEntries, cache.len() as u64);
        });
        Self(cache)
    }

    pub(super) fn get(&self, item: &ContentId) -> Option<CachedRow> {
        self.0.get(item)
    }

    pub(super) fn insert(
        &self,
        item: &ContentId,
        row: Option<Arc<NeighborRow>>,
        read_at: Timestamp,
    ) {
        self.0.insert(item.clone(), CachedRow { row, read_at });
    }

    /// Removes rows that are too old to be used.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.0
            .retain(|_, cached| now < cached.read_at.plus(MAX_AGE));
    }
}

/// The lists that this process wrote, by user.
pub(super) struct WrittenLists(Cache<UserId, WrittenList, ByteWeights>);

impl WrittenLists {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self(cache(max_bytes))
    }

    pub(super) fn get(&self, user: &UserId, now: Timestamp) -> Option<Arc<InterestList>> {
        let written = self.0.get(user)?;
        (now < written.written_at.plus(MAX_AGE)).then_some(written.list)
    }

    pub(super) fn insert(&self, user: &UserId, list: &InterestList, now: Timestamp) {
        let written = WrittenList {
            list: Arc::new(list.clone()),
            written_at: now,
        };
        self.0.insert(user.clone(), written);
    }

    pub(super) fn remove(&self, user: &UserId) {
        self.0.remove(user);
    }

    pub(super) fn sweep(&self, now: Timestamp) {
        self.0
            .retain(|_, written| now < written.written_at.plus(MAX_AGE));
    }
}

/// Sizes of audiences, read within one interval.
#[derive(Default)]
pub(super) struct SizeCache(Mutex<HashMap<ContentId, usize, RandomState>>);

impl SizeCache {
    /// The items among these whose sizes are not known.
    pub(super) fn unknown(&self, items: impl Iterator<Item = ContentId>) -> Vec<ContentId> {
        let sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.filter(|item| !sizes.contains_key(item)).collect()
    }

    pub(super) fn insert(&self, items: Vec<ContentId>, read: Vec<usize>) {
        let mut sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.extend(items.into_iter().zip(read));
    }

    /// Passes a function from an item to its size, 0 if it is not known.
    pub(super) fn with<T>(&self, work: impl FnOnce(&dyn Fn(&str) -> usize) -> T) -> T {
        let sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(&|item| sizes.get(item).copied().unwrap_or(0))
    }

    /// Forgets all sizes, at the start of an interval.
    pub(super) fn clear(&self) {
        let mut sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sizes.clear();
    }
}

/// Both rankings by popularity.
#[derive(Clone, Default)]
pub(super) struct CachedPopularity {
    pub(super) popular: Arc<PopularItems>,
    pub(super) trending: Arc<PopularItems>,
    pub(super) read_at: Option<Timestamp>,
}

/// The rankings as they were last read.
#[derive(Default)]
pub(super) struct PopularityCache(Mutex<CachedPopularity>);

impl PopularityCache {
    pub(super) fn get(&self) -> CachedPopularity {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached.clone()
    }

    pub(super) fn set(&self, popularity: CachedPopularity) {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *cached = popularity;
    }

    /// Sets the time of the last read, so that others do not read again; returns the
    /// time before.
    pub(super) fn touch(&self, now: Option<Timestamp>) -> Option<Timestamp> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut cached.read_at, now)
    }
}
