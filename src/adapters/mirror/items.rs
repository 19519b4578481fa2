//! The items of a mirror, and the order of the reads that they come from.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    adapters::{
        memory::{CatalogueBudget, MemoryItemStore},
        qdrant::{PointItem, PointKey, VectorShape},
    },
    domain::{ids::ContentId, tags::Canonicalizer},
    ports::ItemRefusal,
};

/// The items of a collection, as last read.
pub(super) struct MirroredItems {
    pub(super) memory: MemoryItemStore,
    /// The collection's vectors when the first item was read.
    pub(super) vectors: VectorShape,
    reads: Mutex<Reads>,
}

#[derive(Default)]
struct Reads {
    last: u64,
    /// Those that have begun and not ended.
    open: BTreeSet<u64>,
    /// The last read that was applied to an item. Only items to which an earlier, open one
    /// might still be applied.
    applied: foldhash::HashMap<ContentId, u64>,
    /// The points of items that another program has given another key than recsys would.
    foreign: foldhash::HashMap<ContentId, PointKey>,
}

/// A read of items from Qdrant that has begun. It ends when it is dropped.
pub(super) struct OpenRead<'a> {
    items: &'a MirroredItems,
    number: u64,
}

impl Drop for OpenRead<'_> {
    fn drop(&mut self) {
        let mut reads = self.items.lock();
        reads.open.remove(&self.number);
        match reads.open.first().copied() {
            None => reads.applied = foldhash::HashMap::default(),
            Some(first) => reads.applied.retain(|_, number| *number > first),
        }
    }
}

impl MirroredItems {
    pub(super) fn new(
        vectors: VectorShape,
        canonicalizer: Canonicalizer,
        budget: Arc<CatalogueBudget>,
    ) -> Self {
        Self {
            memory: MemoryItemStore::sharing(canonicalizer, budget),
            vectors,
            reads: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Reads> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a read. Called before its request is sent.
    pub(super) fn begin_read(&self) -> OpenRead<'_> {
        let mut reads = self.lock();
        reads.last += 1;
        let number = reads.last;
        reads.open.insert(number);
        OpenRead {
            items: self,
            number,
        }
    }

    /// The ids with the keys of their points, as far as these are another program's.
    pub(super) fn with_keys(&self, ids: &[ContentId]) -> Vec<(ContentId, Option<PointKey>)> {
        let reads = self.lock();
        let key = |id: &ContentId| reads.foreign.get(id).copied();
        ids.iter().map(|id| (id.clone(), key(id))).collect()
    }
}

impl OpenRead<'_> {
    /// Applies what was read for an id. Returns whether that changed an item.
    ///
    /// # Errors
    /// [`ItemRefusal`] if the item does not fit.
    pub(super) fn apply(
        &self,
        id: &ContentId,
        found: Option<PointItem>,
    ) -> Result<bool, ItemRefusal> {
        let mut reads = self.items.lock();
        self.apply_to(&mut reads, id, found)
    }

    /// Applies a point of a page. `None` if the item of its id is that of another point:
    /// first recsys's own, then the one with the least key.
    ///
    /// # Errors
    /// [`ItemRefusal`] if the item does not fit.
    pub(super) fn apply_point(&self, point: PointItem) -> Result<Option<bool>, ItemRefusal> {
        let id = point.item.id.clone();
        let mut reads = self.items.lock();
        let is_own = PointKey::of(&id) == point.key;
        if !is_own && self.items.memory.item(&id).is_some() {
            let held = reads.foreign.get(&id);
            if held.is_none_or(|held| *held < point.key) {
                return Ok(None);
            }
        }
        self.apply_to(&mut reads, &id, Some(point)).map(Some)
    }

    fn apply_to(
        &self,
        reads: &mut Reads,
        id: &ContentId,
        found: Option<PointItem>,
    ) -> Result<bool, ItemRefusal> {
        if reads
            .applied
            .get(id)
            .is_some_and(|last| *last > self.number)
        {
            return Ok(false);
        }
        if reads.open.first().is_some_and(|first| *first < self.number) {
            reads.applied.insert(id.clone(), self.number);
        }
        let memory = &self.items.memory;
        let Some(PointItem { key, item }) = found else {
            reads.foreign.remove(id);
            return Ok(memory.remove(id));
        };
        if PointKey::of(id) == key {
            reads.foreign.remove(id);
        } else {
            reads.foreign.insert(id.clone(), key);
        }
        if memory
            .item(id)
            .is_some_and(|held| held.is_described_by(&item))
        {
            return Ok(false);
        }
        memory.replace(item).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::{CatalogueBudget, MirroredItems, PointItem, PointKey};
    use crate::{
        domain::{ids::ContentId, item::Item},
        ports::ItemRefusal,
    };

    fn items(max_items: usize) -> MirroredItems {
        let budget = CatalogueBudget::with_max_items(1 << 20, max_items);
        MirroredItems::new(Default::default(), Default::default(), budget)
    }

    fn point(key: PointKey, id: &str, title: &str) -> PointItem {
        let mut item = Item::new(id);
        item.title = title.to_owned();
        PointItem { key, item }
    }

    fn titled(title: &str) -> Option<PointItem> {
        Some(point(PointKey::Number(1), "1", title))
    }

    fn title(items: &MirroredItems, id: &str) -> Option<String> {
        let item = items.memory.item(&id.into())?;
        Some(item.title().to_owned())
    }

    #[test]
    fn a_read_that_began_earlier_does_not_replace_a_later_one() {
        let (items, id) = (items(10), ContentId::from("1"));
        let (early, late) = (items.begin_read(), items.begin_read());
        assert_eq!(late.apply(&id, titled("new")), Ok(true));
        assert_eq!(early.apply(&id, titled("old")), Ok(false));
        assert_eq!(title(&items, "1").as_deref(), Some("new"));
        assert_eq!(late.apply(&id, None), Ok(true));
        drop(late);
        assert_eq!(early.apply(&id, titled("old")), Ok(false));
        assert_eq!(title(&items, "1"), None, "a removal lasts, too");
        drop(early);
        assert!(
            items.lock().applied.is_empty(),
            "nothing is kept after the reads"
        );
        assert_eq!(items.begin_read().apply(&id, titled("again")), Ok(true));
        assert_eq!(items.begin_read().apply(&id, titled("again")), Ok(false));
    }

    #[test]
    fn of_several_points_with_one_id_recsys_takes_its_own_or_else_the_first() {
        let items = items(10);
        let read = items.begin_read();
        let foreign = |number| point(PointKey::Number(number), "a", &number.to_string());
        assert_eq!(read.apply_point(foreign(5)), Ok(Some(true)));
        assert_eq!(read.apply_point(foreign(7)), Ok(None));
        assert_eq!(title(&items, "a").as_deref(), Some("5"));
        assert_eq!(
            items.with_keys(&["a".into(), "b".into()]),
            [("a".into(), Some(PointKey::Number(5))), ("b".into(), None)]
        );
        let own = PointKey::of(&"a".into());
        assert_eq!(read.apply_point(point(own, "a", "own")), Ok(Some(true)));
        assert_eq!(read.apply_point(foreign(5)), Ok(None));
        assert_eq!(title(&items, "a").as_deref(), Some("own"));
        assert_eq!(items.with_keys(&["a".into()]), [("a".into(), None)]);
    }

    #[test]
    fn an_item_beyond_the_limit_is_refused_and_a_removal_makes_room() {
        let items = items(1);
        let read = items.begin_read();
        assert_eq!(read.apply(&"1".into(), titled("one")), Ok(true));
        let second = || Some(point(PointKey::Number(2), "2", "two"));
        assert_eq!(read.apply(&"2".into(), second()), Err(ItemRefusal::Full));
        assert_eq!(read.apply(&"1".into(), titled("other")), Ok(true));
        assert_eq!(read.apply(&"1".into(), None), Ok(true));
        assert_eq!(read.apply(&"2".into(), second()), Ok(true));
    }
}
