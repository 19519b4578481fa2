//! A search index of a catalogue. Finds what `exact_search::run` finds, faster.
//!
//! Items have slots. Vectors are scanned as bytes, with exact cosines only for
//! those that may be among the results; an inverted index has the items of each
//! tag; and the exclusions of a call's searches are evaluated once.

mod allowed;
mod candidates;
mod cosine;
mod id_head;
mod products;
mod recent_scans;
mod sample;
mod size;
mod slot_map;
mod tags;
mod top_k;
mod vectors;

use std::{cmp::Ordering, collections::BTreeSet, ops::Bound, sync::Arc};

use crate::{
    adapters::exact_search::sample_key,
    domain::{
        geo::nearest_m, ids::ContentId, item::CatalogueItem, restriction::Restriction,
        tags::TagKey, vector::UnitVector,
    },
    ports::{Search, SearchOrder},
};
use allowed::{Allowed, AllowedSlots};
use candidates::CandidateRows;
pub(super) use cosine::CosineCall;
use cosine::{CosineGroup, CosineSearch, allow_the_same, cosine_order, cosine_searches};
pub(super) use recent_scans::RecentScans;
use recent_scans::{RecentScansOfCatalogue, SlotsOfSearches};
pub(super) use size::index_bytes;
use tags::TagIndex;
use top_k::TopK;
use vectors::VectorIndex;

/// If a search allows fewer than one in this many items, their exact cosines are
/// faster than a scan of all.
const SPARSE: usize = 8;
/// Items that a scan passes in the time of visiting one.
const SCANNED_PER_VISIT: usize = 16;

/// The items of a catalogue, by id, vector and tag.
pub(super) struct Index {
    slots: Vec<Option<Arc<CatalogueItem>>>,
    /// The head of each item's id.
    id_heads: Vec<u128>,
    free: Vec<u32>,
    slot_of_id: foldhash::HashMap<ContentId, u32>,
    /// In the order of lists of all items.
    ids: BTreeSet<ContentId>,
    vectors: VectorIndex,
    tags: TagIndex,
    /// Changes with each change of an item.
    version: u64,
    recent_scans: RecentScansOfCatalogue,
}

/// A group whose searches need a scan.
struct ScannedGroup<'a> {
    /// Its place among the groups.
    index: usize,
    group: &'a CosineGroup<'a>,
    /// The key under which others find what the scan found.
    key: u128,
    /// Of each search.
    candidates: Vec<CandidateRows>,
}

impl Index {
    /// An empty index.
    pub(super) fn new(recent_scans: Arc<RecentScans>) -> Self {
        Self {
            slots: Vec::new(),
            id_heads: Vec::new(),
            free: Vec::new(),
            slot_of_id: foldhash::HashMap::default(),
            ids: BTreeSet::new(),
            vectors: VectorIndex::default(),
            tags: TagIndex::default(),
            version: 0,
            recent_scans: RecentScansOfCatalogue::new(recent_scans),
        }
    }

    /// The number of items.
    pub(super) fn len(&self) -> usize {
        self.slot_of_id.len()
    }

    /// The number of items with a vector.
    pub(super) fn vectors(&self) -> usize {
        self.vectors.len()
    }

    /// Length of the vectors; `None` if there are none.
    pub(super) fn vector_size(&self) -> Option<usize> {
        self.vectors.size()
    }

    /// The key of a tag in the memory that the index holds, if an item has it.
    pub(super) fn shared_key(&self, key: &TagKey) -> Option<TagKey> {
        self.tags.shared(key)
    }

    /// The ids of all items, in no order.
    pub(super) fn ids(&self) -> impl Iterator<Item = &ContentId> {
        self.slot_of_id.keys()
    }

    pub(super) fn get(&self, id: &ContentId) -> Option<&Arc<CatalogueItem>> {
        self.slots[*self.slot_of_id.get(id)? as usize].as_ref()
    }

    /// Adds an item. Its id must not be in the index, and its vector, if any, must
    /// have the size of the others.
    pub(super) fn insert(&mut self, item: Arc<CatalogueItem>) {
        self.version += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.id_heads.push(0);
            (self.slots.len() - 1) as u32
        });
        self.id_heads[slot as usize] = id_head::head(item.id().as_str());
        self.slot_of_id.insert(item.id().clone(), slot);
        self.ids.insert(item.id().clone());
        self.tags.insert(slot, &item);
        if let Some(vector) = item.vector() {
            self.vectors.insert(slot, vector);
        }
        self.slots[slot as usize] = Some(item);
    }

    /// Adds an item, or replaces the one of its id. What did not change is not indexed
    /// again. The vector, if any, must have the size of the others.
    pub(super) fn put(&mut self, item: Arc<CatalogueItem>) {
        let Some(slot) = self.slot_of_id.get(item.id()).copied() else {
            return self.insert(item);
        };
        self.version += 1;
        let before = self.slots[slot as usize].replace(Arc::clone(&item));
        let before = before.as_deref();
        if before.is_none_or(|before| !before.canonical_tags().eq(item.canonical_tags())) {
            if let Some(before) = before {
                self.tags.remove(slot, before);
            }
            self.tags.insert(slot, &item);
        }
        if before.and_then(CatalogueItem::vector) != item.vector() {
            self.vectors.remove(slot);
            if let Some(vector) = item.vector() {
                self.vectors.insert(slot, vector);
            }
        }
    }

    /// Removes an item.
    pub(super) fn remove(&mut self, id: &ContentId) -> Option<Arc<CatalogueItem>> {
        let slot = self.slot_of_id.remove(id)?;
        self.version += 1;
        self.ids.remove(id);
        let item = self.slots[slot as usize].take()?;
        self.free.push(slot);
        self.tags.remove(slot, &item);
        self.vectors.remove(slot);
        Some(item)
    }

    /// The items whose ids come after this one, ordered by id.
    pub(super) fn after(
        &self,
        id: Option<&ContentId>,
    ) -> impl Iterator<Item = &Arc<CatalogueItem>> {
        let begin = id.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.ids.range::<ContentId, _>((begin, Bound::Unbounded));
        ids.filter_map(|id| self.get(id))
    }

    /// The bytes that a search by cosine reads.
    pub(super) fn scanned_bytes(&self) -> usize {
        self.vectors.scanned_bytes()
    }

    /// Cost of a call's searches, in visits of single items.
    pub(super) fn visits(&self, searches: &[Search<'_>]) -> usize {
        let all = self.len();
        let restricted = searches
            .iter()
            .any(|search| !search.restriction.admits_all_before_filter());
        let visits = searches.iter().map(|search| match &search.order {
            SearchOrder::ClosestTo(_) | SearchOrder::Sample { pinned: true, .. } => all,
            SearchOrder::Sample { pinned: false, .. }
            | SearchOrder::NearestTo(_)
            | SearchOrder::FarthestFrom(_)
            | SearchOrder::TagOverlap(_)
            | SearchOrder::ByIds(_) => all / SCANNED_PER_VISIT,
        });
        visits.sum::<usize>() + if restricted { all } else { 0 }
    }

    /// Runs a call's searches; one result each, in order.
    pub(super) fn search(&self, searches: &[Search<'_>]) -> Vec<Vec<Arc<CatalogueItem>>> {
        let mut found: Vec<Option<Vec<_>>> = vec![None; searches.len()];
        let mut last: Option<(&Search<'_>, AllowedSlots<'_>)> = None;
        for (index, search) in searches.iter().enumerate() {
            if found[index].is_some() {
                continue;
            }
            let allowed = match last.take() {
                Some((before, allowed)) if allow_the_same(before, search) => allowed,
                Some(_) | None => self.allowed(search),
            };
            if let Some((vector, _)) = cosine_order(&search.order) {
                let together = cosine_searches(searches, index, vector);
                let group = CosineGroup {
                    vector,
                    searches: together.iter().map(|(_, search)| *search).collect(),
                    restriction: search.restriction,
                    allowed: &allowed,
                };
                for results in self.by_cosine(&[group]) {
                    for ((index, _), slots) in together.iter().zip(&*results) {
                        found[*index] = Some(self.items(slots));
                    }
                }
            } else {
                found[index] = Some(self.items(&self.first(search, &allowed)));
            }
            last = Some((search, allowed));
        }
        found.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// The first slots of a search that is not by cosine.
    fn first(&self, search: &Search<'_>, allowed: &AllowedSlots<'_>) -> Vec<u32> {
        let limit = search.limit;
        match &search.order {
            SearchOrder::NearestTo(_) | SearchOrder::FarthestFrom(_) => Vec::new(),
            SearchOrder::ByIds(ids) => {
                let slots = ids.iter().filter_map(|id| self.slot_of_id.get(id));
                let allowed = slots.filter(|slot| allowed.contains(**slot));
                allowed.take(limit).copied().collect()
            }
            SearchOrder::TagOverlap(weights) => {
                let mut top = TopK::new(limit, self.by_key());
                let mut least = 0.0;
                self.tags.overlaps(weights, self.slots.len(), |slot, sum| {
                    if sum >= least && allowed.contains(slot) {
                        top.offer((-sum, slot));
                        least = top.bound().map_or(least, |(key, _)| -key);
                    }
                });
                slots(top.sorted())
            }
            SearchOrder::ClosestTo(point) => {
                let mut top = TopK::new(limit, self.by_key());
                for slot in allowed.iter() {
                    let locations = self.item(slot).map(|item| item.locations());
                    if let Some(distance) = locations.and_then(|all| nearest_m(*point, all)) {
                        top.offer((distance, slot));
                    }
                }
                slots(top.sorted())
            }
            SearchOrder::Sample {
                seed,
                pinned: false,
            } => allowed.sample(limit, *seed),
            SearchOrder::Sample { seed, pinned: true } => {
                let mut top = TopK::new(limit, |a: &(u64, u32), b: &(u64, u32)| {
                    a.0.cmp(&b.0).then_with(|| self.by_id(a.1, b.1))
                });
                for slot in allowed.iter() {
                    if let Some(item) = self.item(slot) {
                        top.offer((sample_key(item.id(), *seed), slot));
                    }
                }
                slots(top.sorted())
            }
        }
    }

    /// Runs searches of several calls, which one scan answers together: of an index that
    /// is larger than the processor's cache, reading it takes most of the time. Returns
    /// what each search of each call found.
    pub(super) fn search_together(
        &self,
        calls: &[CosineCall],
    ) -> Vec<Vec<Vec<Arc<CatalogueItem>>>> {
        let allowed: Vec<AllowedSlots<'_>> = calls
            .iter()
            .map(|call| self.allowed_by(&call.restriction, self.slots_of(&call.excluded)))
            .collect();
        let groups = calls.iter().zip(&allowed);
        let groups: Vec<CosineGroup<'_>> = groups
            .map(|(call, allowed)| call.allowing(allowed))
            .collect();
        let found = self.by_cosine(&groups).into_iter();
        found
            .map(|slots| slots.iter().map(|slots| self.items(slots)).collect())
            .collect()
    }

    /// The first slots of each search of each group.
    fn by_cosine(&self, groups: &[CosineGroup<'_>]) -> Vec<SlotsOfSearches> {
        let mut found: Vec<SlotsOfSearches> = Vec::with_capacity(groups.len());
        let mut scanned: Vec<ScannedGroup<'_>> = Vec::new();
        for (index, group) in groups.iter().enumerate() {
            let searches = group.searches.iter();
            if self.vectors.size() != Some(group.vector.size()) {
                found.push(Arc::new(vec![Vec::new(); group.searches.len()]));
            } else if let Some(rows) = self.few_rows(group) {
                let cosines = self.cosines(&rows, group.vector);
                let slots = searches.map(|search| self.first_by_cosine(&cosines, *search));
                found.push(Arc::new(slots.collect()));
            } else {
                let excluded = group.allowed.excluded();
                let key =
                    self.recent_key(group.vector, &group.searches, group.restriction, excluded);
                found.push(self.recent_scans.get(key).unwrap_or_else(|| {
                    let candidates = searches.map(|search| CandidateRows::new(*search));
                    scanned.push(ScannedGroup {
                        index,
                        group,
                        key,
                        candidates: candidates.collect(),
                    });
                    Arc::default()
                }));
            }
        }
        let queries: Vec<&UnitVector> =
            scanned.iter().map(|scanned| scanned.group.vector).collect();
        self.vectors.scan(&queries, |query, bounds| {
            let scanned = &mut scanned[query];
            for candidates in &mut scanned.candidates {
                candidates.add(&bounds, |slot| scanned.group.allowed.contains(slot));
            }
        });
        for scanned in scanned {
            let group = scanned.group;
            let candidates = scanned.candidates.into_iter().zip(&group.searches);
            let slots = candidates.map(|(candidates, search)| {
                let cosines = self.cosines(&candidates.rows(), group.vector);
                self.first_by_cosine(&cosines, *search)
            });
            let slots = Arc::new(slots.collect());
            self.recent_scans.insert(scanned.key, Arc::clone(&slots));
            found[scanned.index] = slots;
        }
        found
    }

    /// The key of what a recent scan found.
    fn recent_key(
        &self,
        vector: &UnitVector,
        searches: &[CosineSearch],
        restriction: &Restriction,
        excluded: &foldhash::HashSet<u32>,
    ) -> u128 {
        let version = if restriction.is_open() {
            self.vectors.version()
        } else {
            self.version
        };
        self.recent_scans
            .key(version, vector, searches, restriction, excluded)
    }

    /// Whether a call needs no scan.
    pub(super) fn has_recent(&self, call: &CosineCall) -> bool {
        let excluded = self.slots_of(&call.excluded);
        let key = self.recent_key(&call.vector, &call.searches, &call.restriction, &excluded);
        self.recent_scans.get(key).is_some()
    }

    /// The rows that a group allows, if they are so few that their exact cosines are
    /// faster than a scan.
    fn few_rows(&self, group: &CosineGroup<'_>) -> Option<Vec<u32>> {
        let limits = group.searches.iter().map(|search| search.limit);
        let max_limit = limits.max().unwrap_or(0);
        let few = (self.vectors.len() / SPARSE).max(max_limit.saturating_mul(2));
        (group.allowed.count() <= few).then(|| {
            let slots = group.allowed.iter();
            slots.filter_map(|slot| self.vectors.row(slot)).collect()
        })
    }

    fn cosines(&self, rows: &[u32], query: &UnitVector) -> Vec<(f64, u32)> {
        let vector = |slot| self.item(slot).and_then(|item| item.vector());
        self.vectors.cosines(rows, query, vector)
    }

    fn first_by_cosine(&self, cosines: &[(f64, u32)], search: CosineSearch) -> Vec<u32> {
        let mut top = TopK::new(search.limit, self.by_key());
        for (cosine, slot) in cosines {
            top.offer((search.order.sort_key(*cosine), *slot));
        }
        slots(top.sorted())
    }

    /// The order of slots by sort key, ties by id.
    fn by_key(&self) -> impl Fn(&(f64, u32), &(f64, u32)) -> Ordering {
        |a, b| a.0.total_cmp(&b.0).then_with(|| self.by_id(a.1, b.1))
    }

    fn by_id(&self, a: u32, b: u32) -> Ordering {
        let head = |slot: u32| self.id_heads[slot as usize];
        let id = |slot| self.item(slot).map(|item| item.id());
        head(a).cmp(&head(b)).then_with(|| id(a).cmp(&id(b)))
    }

    fn allowed<'a>(&'a self, search: &Search<'a>) -> AllowedSlots<'a> {
        let excluded = self.slots_of(search.exclude.iter().chain(search.exclude_afterwards));
        self.allowed_by(search.restriction, excluded)
    }

    fn allowed_by<'a>(
        &'a self,
        restriction: &'a Restriction,
        excluded: foldhash::HashSet<u32>,
    ) -> AllowedSlots<'a> {
        if restriction.is_open() {
            return AllowedSlots::all_but(&self.slots, excluded);
        }
        if restriction.admits_all_before_filter() {
            return AllowedSlots::passing(&self.slots, excluded, restriction);
        }
        let matching = self.matching(restriction);
        AllowedSlots::matching(&self.slots, matching, excluded, restriction)
    }

    fn slots_of<'i>(&self, ids: impl IntoIterator<Item = &'i ContentId>) -> foldhash::HashSet<u32> {
        let slots = ids.into_iter().filter_map(|id| self.slot_of_id.get(id));
        slots.copied().collect()
    }

    fn matching(&self, restriction: &Restriction) -> Vec<Allowed> {
        let admitted = match &restriction.filter {
            Some(_) => Allowed::Perhaps,
            None => Allowed::Yes,
        };
        let matches = |item: &Option<Arc<CatalogueItem>>| {
            let admits = |item: &Arc<CatalogueItem>| restriction.admits_before_filter(item);
            if item.as_ref().is_some_and(admits) {
                admitted
            } else {
                Allowed::No
            }
        };
        let Some(superset) = self.tags.superset(restriction, self.len()) else {
            return self.slots.iter().map(matches).collect();
        };
        let mut matching = vec![Allowed::No; self.slots.len()];
        for slot in superset.into_iter().flatten() {
            matching[*slot as usize] = matches(&self.slots[*slot as usize]);
        }
        matching
    }

    fn item(&self, slot: u32) -> Option<&Arc<CatalogueItem>> {
        self.slots[slot as usize].as_ref()
    }

    fn items(&self, slots: &[u32]) -> Vec<Arc<CatalogueItem>> {
        let items = slots.iter().filter_map(|slot| self.item(*slot));
        items.cloned().collect()
    }
}

fn slots<K>(keyed: Vec<(K, u32)>) -> Vec<u32> {
    keyed.into_iter().map(|(_, slot)| slot).collect()
}

#[cfg(test)]
mod scan_equivalence;
