//! Items that this process has read lately: contents and vectors, bounded in
//! bytes and in time. Missing items are cached, too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use quick_cache::{Weighter, sync::Cache};

use super::ids::PointKey;
use crate::{
    adapters::memory_size::lone_item_bytes,
    domain::{ids::ContentId, item::CatalogueItem},
    telemetry::meters::{self, Level},
};

/// Counters of writes: enough that two points rarely share one.
const WRITE_COUNTERS: usize = 256;
/// Items under keys of other programs that are remembered.
const MAX_FOREIGN_KEYS: usize = 100_000;
/// Overhead of an entry besides its item.
const ENTRY_BYTES: u64 = 150;
/// Expected size of an item, from which the cache's table is sized.
const EXPECTED_BYTES: u64 = 4 << 10;

/// The item of a point; `None` if there is no such point.
pub(super) type CachedItem = Option<Arc<CatalogueItem>>;

#[derive(Clone)]
struct ItemEntry {
    item: CachedItem,
    read_at: Instant,
}

/// Which counter counts the writes to a point.
fn counter(key: PointKey) -> usize {
    let bits = match key {
        PointKey::Number(number) => number,
        PointKey::Uuid(uuid) => uuid.as_u64_pair().0 ^ uuid.as_u64_pair().1,
    };
    (bits % WRITE_COUNTERS as u64) as usize
}

#[derive(Clone)]
struct ItemWeighter;

impl Weighter<PointKey, ItemEntry> for ItemWeighter {
    fn weight(&self, _: &PointKey, entry: &ItemEntry) -> u64 {
        let item = entry.item.as_ref();
        let item = item.map_or(0, |item| lone_item_bytes(item));
        ENTRY_BYTES + item as u64
    }
}

/// How often this process had written when a read began.
pub(super) struct WriteCounts([u64; WRITE_COUNTERS]);

/// Items by point.
pub(super) struct ItemCache {
    cache: Arc<Cache<PointKey, ItemEntry, ItemWeighter>>,
    /// Keys of points that another program has chosen, by item.
    foreign_keys: Cache<ContentId, PointKey>,
    ttl: Duration,
    /// Each rises with this process's writes to its points, which make reads in
    /// flight stale.
    writes: [AtomicU64; WRITE_COUNTERS],
}

impl ItemCache {
    pub(super) fn new(max_bytes: u64, ttl: Duration) -> Self {
        let expected = usize::try_from(max_bytes / EXPECTED_BYTES).unwrap_or(usize::MAX);
        let cache = Cache::with_weighter(expected.max(1), max_bytes, ItemWeighter);
        let cache = Arc::new(cache);
        meters::watch(&cache, |cache, levels| {
            levels.add(Level::ItemBytes, cache.weight());
            levels.add(Level::ItemEntries, cache.len() as u64);
        });
        Self {
            cache,
            foreign_keys: Cache::new(MAX_FOREIGN_KEYS),
            ttl,
            writes: [const { AtomicU64::new(0) }; WRITE_COUNTERS],
        }
    }

    /// The writes so far. Take them before a read, and pass them to
    /// [`ItemCache::insert`] after.
    pub(super) fn writes(&self) -> WriteCounts {
        let count = |counter: usize| self.writes[counter].load(Ordering::SeqCst);
        WriteCounts(std::array::from_fn(count))
    }

    fn is_written_since(&self, key: PointKey, before: &WriteCounts) -> bool {
        let counter = counter(key);
        self.writes[counter].load(Ordering::SeqCst) != before.0[counter]
    }

    /// The key of an item's point, if another program is known to have chosen
    /// it.
    pub(super) fn foreign_key(&self, id: &ContentId) -> Option<PointKey> {
        self.foreign_keys.get(id)
    }

    pub(super) fn set_foreign_key(&self, id: ContentId, key: PointKey) {
        self.foreign_keys.insert(id, key);
    }

    /// The item of a point; `None` if it must be read.
    pub(super) fn get(&self, key: PointKey) -> Option<CachedItem> {
        let entry = self.cache.get(&key)?;
        (entry.read_at.elapsed() < self.ttl).then_some(entry.item)
    }

    /// Caches what was read, unless this process wrote to the point since the
    /// read began.
    pub(super) fn insert(&self, key: PointKey, item: CachedItem, before: &WriteCounts) {
        if self.is_written_since(key, before) {
            return;
        }
        let entry = ItemEntry {
            item,
            read_at: Instant::now(),
        };
        self.cache.insert(key, entry);
        // A write between the check and the insertion.
        if self.is_written_since(key, before) {
            self.cache.remove(&key);
        }
    }

    /// Removes points that this process has written or deleted.
    pub(super) fn invalidate(&self, keys: &[PointKey]) {
        for key in keys {
            self.writes[counter(*key)].fetch_add(1, Ordering::SeqCst);
            self.cache.remove(key);
        }
    }

    /// Removes everything: the collection was recreated.
    pub(super) fn clear(&self) {
        for counter in &self.writes {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        self.cache.clear();
        self.foreign_keys.clear();
    }

    /// The item of a point as last read, however old.
    pub(super) fn get_stale(&self, key: PointKey) -> CachedItem {
        self.cache.get(&key)?.item
    }

    /// How many points are cached, missing ones included.
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    /// All items, however old.
    pub(super) fn stale_items(&self) -> Vec<Arc<CatalogueItem>> {
        self.cache
            .iter()
            .filter_map(|(_, entry)| entry.item)
            .collect()
    }
}
