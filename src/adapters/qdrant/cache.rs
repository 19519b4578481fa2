//! Items that this process has read lately: contents and vectors, bounded in
//! bytes and in time. Absent items are remembered, too.

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
    adapters::memory_size::item_bytes,
    domain::{ids::ContentId, item::CatalogueItem},
    telemetry::meters::{self, Level},
};

/// Counters of writes: enough that points rarely share one.
const SHARES: usize = 256;
/// Items under keys of others whose places are kept.
const MAX_HOMES: usize = 100_000;
/// What an entry takes besides its item.
const ENTRY_BYTES: u64 = 150;
/// What an item is expected to take, for the size of the cache's table.
const EXPECTED_BYTES: u64 = 4 << 10;

/// An item, or that there is none.
pub(super) type Known = Option<Arc<CatalogueItem>>;

#[derive(Clone)]
struct Entry {
    item: Known,
    read_at: Instant,
}

fn share(key: PointKey) -> usize {
    let bits = match key {
        PointKey::Number(number) => number,
        PointKey::Uuid(uuid) => uuid.as_u64_pair().0 ^ uuid.as_u64_pair().1,
    };
    (bits % SHARES as u64) as usize
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<PointKey, Entry> for ByBytes {
    fn weight(&self, _: &PointKey, entry: &Entry) -> u64 {
        let item = entry
            .item
            .as_ref()
            .map_or(0, |item| item_bytes(item.item()));
        ENTRY_BYTES + item as u64
    }
}

/// How often this process had written when a read began.
pub(super) struct Writes([u64; SHARES]);

pub(super) struct ItemCache {
    cache: Arc<Cache<PointKey, Entry, ByBytes>>,
    /// Where items are that another program put under a key of its own.
    homes: Cache<ContentId, PointKey>,
    ttl: Duration,
    /// Each rises with what makes reads under way stale: writes of this process
    /// to the points that share it.
    writes: [AtomicU64; SHARES],
}

impl ItemCache {
    pub(super) fn new(max_bytes: u64, ttl: Duration) -> Self {
        let expected = usize::try_from(max_bytes / EXPECTED_BYTES).unwrap_or(usize::MAX);
        let cache = Cache::with_weighter(expected.max(1), max_bytes, ByBytes);
        let cache = Arc::new(cache);
        meters::watch(&cache, |cache, levels| {
            levels.add(Level::ItemBytes, cache.weight());
            levels.add(Level::ItemEntries, cache.len() as u64);
        });
        Self {
            cache,
            homes: Cache::new(MAX_HOMES),
            ttl,
            writes: [const { AtomicU64::new(0) }; SHARES],
        }
    }

    /// To be asked before a read, and told to [`ItemCache::keep`] after it.
    pub(super) fn writes(&self) -> Writes {
        let of_share = |share: usize| self.writes[share].load(Ordering::SeqCst);
        Writes(std::array::from_fn(of_share))
    }

    fn is_written_since(&self, key: PointKey, before: &Writes) -> bool {
        let share = share(key);
        self.writes[share].load(Ordering::SeqCst) != before.0[share]
    }

    /// Where an item is, if another program chose its point's key.
    pub(super) fn home(&self, id: &ContentId) -> Option<PointKey> {
        self.homes.get(id)
    }

    pub(super) fn set_home(&self, id: ContentId, key: PointKey) {
        self.homes.insert(id, key);
    }

    /// What is known of a point; `None` if it must be read.
    pub(super) fn get(&self, key: PointKey) -> Option<Known> {
        let entry = self.cache.get(&key)?;
        (entry.read_at.elapsed() < self.ttl).then_some(entry.item)
    }

    /// Keeps what was read, unless something was written meanwhile: it may be
    /// what was there before.
    pub(super) fn keep(&self, key: PointKey, item: Known, before: &Writes) {
        if self.is_written_since(key, before) {
            return;
        }
        let entry = Entry {
            item,
            read_at: Instant::now(),
        };
        self.cache.insert(key, entry);
        // A write may have come in between.
        if self.is_written_since(key, before) {
            self.cache.remove(&key);
        }
    }

    /// Forgets items that this process has written or deleted.
    pub(super) fn forget(&self, keys: &[PointKey]) {
        for key in keys {
            self.writes[share(*key)].fetch_add(1, Ordering::SeqCst);
            self.cache.remove(key);
        }
    }

    /// Forgets everything: the collection is another than it was.
    pub(super) fn forget_all(&self) {
        for share in &self.writes {
            share.fetch_add(1, Ordering::SeqCst);
        }
        self.cache.clear();
        self.homes.clear();
    }

    /// What was last known of a point, however old.
    pub(super) fn cached(&self, key: PointKey) -> Known {
        self.cache.get(&key)?.item
    }

    /// How many points are known, absent ones too.
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    /// All items, however old: for when there is nothing better.
    pub(super) fn items(&self) -> Vec<Arc<CatalogueItem>> {
        self.cache
            .iter()
            .filter_map(|(_, entry)| entry.item)
            .collect()
    }
}
