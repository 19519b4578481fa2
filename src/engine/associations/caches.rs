//! What this process keeps of associations: rows, popularity, the sizes of audiences
//! and the lists that it wrote.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    ports::Rank,
    telemetry::meters::{self, Level},
};

/// Nothing of users is kept longer: a user who was erased by another process is gone
/// by then.
pub(super) const MAX_AGE: Duration = Duration::from_secs(600);
/// Overhead of an entry besides its row or list.
const ENTRY_BYTES: u64 = 160;
/// Overhead of an entry of a list.
const LIST_ENTRY_BYTES: u64 = 52;
/// Expected size of a row or list, from which the tables are sized.
const EXPECTED_BYTES: u64 = 4 << 10;

/// A row as it was read; `None` if there is none.
#[derive(Clone)]
pub(super) struct CachedRow {
    pub(super) row: Option<Arc<NeighborRow>>,
    pub(super) read_at: Timestamp,
}

/// A list as this process wrote it.
pub(super) struct WrittenList {
    pub(super) list: InterestList,
    /// The rank of its model.
    rank: Rank,
    written_at: Timestamp,
    /// The numbers of its items, with the id of their table.
    numbers: Mutex<Option<(u64, Arc<[u32]>)>>,
}

impl WrittenList {
    /// The numbers of the list's items in a table.
    pub(super) fn numbers(&self, table: &ItemTable) -> Arc<[u32]> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        match &*numbers {
            Some((id, numbers)) if *id == table.id => Arc::clone(numbers),
            Some(_) | None => {
                let new: Arc<[u32]> = table.numbers(self.list.iter().map(|entry| entry.item));
                *numbers = Some((table.id, Arc::clone(&new)));
                new
            }
        }
    }
}

#[derive(Clone)]
struct ByteWeights;

impl Weighter<ContentId, CachedRow> for ByteWeights {
    fn weight(&self, item: &ContentId, cached: &CachedRow) -> u64 {
        let row = cached.row.as_ref().map_or(0, |row| row.byte_size());
        ENTRY_BYTES + (item.as_str().len() + row) as u64
    }
}

impl Weighter<UserId, Arc<WrittenList>> for ByteWeights {
    fn weight(&self, user: &UserId, written: &Arc<WrittenList>) -> u64 {
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
pub(super) struct WrittenLists(Cache<UserId, Arc<WrittenList>, ByteWeights>);

impl WrittenLists {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self(cache(max_bytes))
    }

    /// The list, if it is the one that is stored with this rank.
    pub(super) fn of_rank(&self, user: &UserId, rank: Rank) -> Option<Arc<WrittenList>> {
        self.0.get(user).filter(|written| written.rank == rank)
    }

    pub(super) fn insert(&self, user: &UserId, list: &InterestList, rank: Rank, now: Timestamp) {
        let written = WrittenList {
            list: list.clone(),
            rank,
            written_at: now,
            numbers: Mutex::default(),
        };
        self.0.insert(user.clone(), Arc::new(written));
    }

    pub(super) fn remove(&self, user: &UserId) {
        self.0.remove(user);
    }

    pub(super) fn sweep(&self, now: Timestamp) {
        self.0
            .retain(|_, written| now < written.written_at.plus(MAX_AGE));
    }
}

/// The items of a refresh, numbered: sums over many lists are taken by number. Also
/// the sizes of their audiences, read within one interval.
pub(super) struct ItemTable {
    id: u64,
    items: Mutex<NumberedItems>,
}

#[derive(Default)]
struct NumberedItems {
    numbers: HashMap<ContentId, u32, RandomState>,
    /// By number.
    ids: Vec<ContentId>,
    /// By number; `None` if it is not known.
    sizes: Vec<Option<usize>>,
}

impl NumberedItems {
    fn number(&mut self, item: &str) -> u32 {
        if let Some(number) = self.numbers.get(item) {
            return *number;
        }
        // At most one interval's items beyond the bound: far from the end of u32.
        let number = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        let id = ContentId::from(item);
        self.ids.push(id.clone());
        self.sizes.push(None);
        self.numbers.insert(id, number);
        number
    }

    fn index(number: u32) -> usize {
        usize::try_from(number).unwrap_or(usize::MAX)
    }
}

impl ItemTable {
    /// Items from which on a table is replaced by an empty one.
    const MAX_ITEMS: usize = 200_000;

    fn lock(&self) -> MutexGuard<'_, NumberedItems> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn number(&self, item: &str) -> u32 {
        self.lock().number(item)
    }

    /// The numbers of items, in order.
    pub(super) fn numbers<'a>(&self, items: impl Iterator<Item = &'a str>) -> Arc<[u32]> {
        let mut table = self.lock();
        items.map(|item| table.number(item)).collect()
    }

    /// The items among these, each given once, whose sizes are not known.
    pub(super) fn unknown_sizes(&self, numbers: impl Iterator<Item = u32>) -> Vec<ContentId> {
        let table = self.lock();
        let unknown = numbers.map(NumberedItems::index);
        let unknown = unknown.filter(|index| matches!(table.sizes.get(*index), Some(None)));
        unknown
            .filter_map(|index| table.ids.get(index).cloned())
            .collect()
    }

    pub(super) fn set_sizes(&self, items: &[ContentId], sizes: &[usize]) {
        let mut table = self.lock();
        for (item, size) in items.iter().zip(sizes) {
            let index = NumberedItems::index(table.number(item.as_str()));
            if let Some(known) = table.sizes.get_mut(index) {
                *known = Some(*size);
            }
        }
    }

    /// The table to read from; no other use of it until then.
    pub(super) fn read(&self) -> ItemTableReader<'_> {
        ItemTableReader(self.lock())
    }
}

/// A table of items that is being read.
pub(super) struct ItemTableReader<'a>(MutexGuard<'a, NumberedItems>);

impl ItemTableReader<'_> {
    /// The item's id; empty if the table lacks it.
    pub(super) fn id(&self, number: u32) -> &str {
        let id = self.0.ids.get(NumberedItems::index(number));
        id.map_or("", ContentId::as_str)
    }

    /// The size of the item's audience, 0 if it is not known.
    pub(super) fn size(&self, number: u32) -> usize {
        let size = self.0.sizes.get(NumberedItems::index(number));
        size.copied().flatten().unwrap_or(0)
    }
}

/// The table of items in use.
pub(super) struct ItemTables(Mutex<Arc<ItemTable>>);

impl ItemTables {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Self::empty(0)))
    }

    fn empty(id: u64) -> Arc<ItemTable> {
        Arc::new(ItemTable {
            id,
            items: Mutex::default(),
        })
    }

    /// The table, whose numbers hold as long as it is kept.
    pub(super) fn current(&self) -> Arc<ItemTable> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&table)
    }

    /// Forgets all sizes, at the start of an interval.
    pub(super) fn forget_sizes(&self) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = {
            let mut table = current.lock();
            table.sizes.fill(None);
            table.ids.len() > ItemTable::MAX_ITEMS
        };
        if is_full {
            *current = Self::empty(current.id + 1);
        }
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
