//! A catalogue laid out for search: what `exact_search::run` finds, sooner.
//!
//! Items have slots. Vectors are scanned as bytes, with exact cosines for those
//! alone that can be among the first; tags know their items; and what the
//! searches of a call must leave out is looked up once for all of them.

#[cfg(test)]
mod against_a_scan;
mod draw;
mod first;
mod nearest;
mod tags;
mod vectors;

use std::{cmp::Ordering, collections::HashSet, sync::Arc};

use crate::{
    adapters::exact_search::sample_key,
    domain::{
        geo::nearest_m,
        ids::ContentId,
        item::{CatalogueItem, Item},
        restriction::Restriction,
        vector::UnitVector,
    },
    ports::{Search, SearchOrder},
};
use draw::draw;
use first::First;
use nearest::{End, Possible};
use tags::Tags;
use vectors::Vectors;

/// Of how many items a search may give no more than one, so that looking at
/// those alone is quicker than a scan of all.
const SPARSE: usize = 8;
/// How many sums are passed at once if none of them is among the first.
const AT_ONCE: usize = 16;
/// How many items a scan or a walk passes in the time that it takes to look at
/// one.
const PASSED_PER_LOOK: usize = 16;
/// What an item takes here besides its tags and vector.
const SLOT_BYTES: usize = 48;

/// What an item takes in the index.
pub(super) fn index_bytes(item: &Item) -> usize {
    let vector = item.vector.as_ref();
    SLOT_BYTES
        + vector.map_or(0, |vector| Vectors::bytes(vector.size()))
        + Tags::BYTES_EACH * item.tags.len()
}

/// The items of a catalogue, by id and by what they are searched for.
#[derive(Default)]
pub(super) struct Index {
    slots: Vec<Option<Arc<CatalogueItem>>>,
    free: Vec<u32>,
    slot_of_id: foldhash::HashMap<ContentId, u32>,
    vectors: Vectors,
    tags: Tags,
}

/// The slots that a search may give.
struct Allowed {
    slots: Vec<bool>,
    count: usize,
}

impl Allowed {
    fn holds(&self, slot: u32) -> bool {
        self.slots[slot as usize]
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        let slots = self.slots.iter().zip(0..);
        slots.filter_map(|(allowed, slot)| allowed.then_some(slot))
    }
}

/// One of the searches of a call that go by cosine to the same vector.
struct Asked {
    at: usize,
    end: End,
    limit: usize,
}

impl Index {
    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.slot_of_id.len()
    }

    /// How many items have a vector.
    pub(super) fn vectors(&self) -> usize {
        self.vectors.len()
    }

    /// How many numbers each vector has; `None` if there are none.
    pub(super) fn vector_size(&self) -> Option<usize> {
        self.vectors.size()
    }

    pub(super) fn get(&self, id: &ContentId) -> Option<&Arc<CatalogueItem>> {
        self.slots[*self.slot_of_id.get(id)? as usize].as_ref()
    }

    /// Takes an item in whose id is not here, and whose vector, if any, is of
    /// the size of the others.
    pub(super) fn insert(&mut self, item: Arc<CatalogueItem>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.slot_of_id.insert(item.id().clone(), slot);
        self.tags.insert(slot, &item);
        if let Some(vector) = item.vector() {
            self.vectors.insert(slot, vector);
        }
        self.slots[slot as usize] = Some(item);
    }

    /// Takes an item out.
    pub(super) fn remove(&mut self, id: &ContentId) -> Option<Arc<CatalogueItem>> {
        let slot = self.slot_of_id.remove(id)?;
        let item = self.slots[slot as usize].take()?;
        self.free.push(slot);
        self.tags.remove(slot, &item);
        self.vectors.remove(slot);
        Some(item)
    }

    /// As how many items the searches of a call are to look at, one by one: what
    /// they take.
    pub(super) fn looks(&self, searches: &[Search<'_>]) -> usize {
        let all = self.len();
        let restricted = searches.iter().any(|search| !search.restriction.is_open());
        let looks = searches.iter().map(|search| match &search.order {
            SearchOrder::ClosestTo(_) | SearchOrder::Sample { pinned: true, .. } => all,
            SearchOrder::Sample { pinned: false, .. }
            | SearchOrder::NearestTo(_)
            | SearchOrder::FarthestFrom(_)
            | SearchOrder::TagOverlap(_) => all / PASSED_PER_LOOK,
        });
        looks.sum::<usize>() + if restricted { all } else { 0 }
    }

    /// Runs the searches of a call; one result each, in order.
    pub(super) fn search(&self, searches: &[Search<'_>]) -> Vec<Vec<Arc<CatalogueItem>>> {
        let mut found: Vec<Option<Vec<_>>> = vec![None; searches.len()];
        let mut last: Option<(&Search<'_>, Allowed)> = None;
        for (at, search) in searches.iter().enumerate() {
            if found[at].is_some() {
                continue;
            }
            let allowed = match last.take() {
                Some((before, allowed)) if leave_out_the_same(before, search) => allowed,
                Some(_) | None => self.allowed(search),
            };
            if let Some((query, _)) = query(&search.order) {
                let alike = alike(searches, at, query);
                for (asked, slots) in alike.iter().zip(self.by_cosine(query, &alike, &allowed)) {
                    found[asked.at] = Some(self.items(slots));
                }
            } else {
                found[at] = Some(self.items(self.first(search, &allowed)));
            }
            last = Some((search, allowed));
        }
        found.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// The first ones of a search that does not go by cosine.
    fn first(&self, search: &Search<'_>, allowed: &Allowed) -> Vec<u32> {
        let limit = search.limit;
        match &search.order {
            SearchOrder::NearestTo(_) | SearchOrder::FarthestFrom(_) => Vec::new(),
            SearchOrder::TagOverlap(weights) => {
                let slots = self.slots.len();
                self.tags
                    .with_overlaps(weights, slots, |sums| self.by_sum(sums, limit, allowed))
            }
            SearchOrder::ClosestTo(point) => {
                let mut first = First::new(limit, self.by_place());
                for slot in allowed.iter() {
                    let places = self.item(slot).map(|item| &item.item().locations);
                    if let Some(distance) = places.and_then(|places| nearest_m(*point, places)) {
                        first.offer((distance, slot));
                    }
                }
                slots(first.sorted())
            }
            SearchOrder::Sample {
                seed,
                pinned: false,
            } => draw(allowed.iter().collect(), limit, *seed),
            SearchOrder::Sample { seed, pinned: true } => {
                let mut first = First::new(limit, |a: &(u64, u32), b: &(u64, u32)| {
                    a.0.cmp(&b.0).then_with(|| self.by_id(a.1, b.1))
                });
                for slot in allowed.iter() {
                    if let Some(item) = self.item(slot) {
                        first.offer((sample_key(item.id(), *seed), slot));
                    }
                }
                slots(first.sorted())
            }
        }
    }

    /// The slots with the largest sums above 0.
    fn by_sum(&self, sums: &[f64], limit: usize, allowed: &Allowed) -> Vec<u32> {
        let mut first = First::new(limit, self.by_place());
        let mut least = 0.0_f64;
        for (chunk, begin) in sums.chunks(AT_ONCE).zip((0..).step_by(AT_ONCE)) {
            let may_come = |sum: f64, least| (sum > 0.0) & (sum >= least);
            if !chunk
                .iter()
                .fold(false, |any, sum| any | may_come(*sum, least))
            {
                continue;
            }
            for (sum, slot) in chunk.iter().zip(begin..) {
                if may_come(*sum, least) && allowed.holds(slot) {
                    first.offer((-sum, slot));
                }
            }
            least = first.bound().map_or(least, |(place, _)| -place);
        }
        slots(first.sorted())
    }

    /// The first slots of each of the searches by cosine to a vector.
    fn by_cosine(&self, query: &UnitVector, asked: &[Asked], allowed: &Allowed) -> Vec<Vec<u32>> {
        if self.vectors.size() != Some(query.size()) {
            return asked.iter().map(|_| Vec::new()).collect();
        }
        let most = asked.iter().map(|asked| asked.limit).max().unwrap_or(0);
        let few = (self.vectors.len() / SPARSE).max(most.saturating_mul(2));
        if allowed.count <= few {
            let rows: Vec<u32> = allowed
                .iter()
                .filter_map(|slot| self.vectors.row(slot))
                .collect();
            let cosines = self.vectors.cosines(&rows, query);
            return asked
                .iter()
                .map(|asked| self.first_by_cosine(&cosines, asked))
                .collect();
        }
        let mut possible: Vec<Possible> = asked
            .iter()
            .map(|asked| Possible::new(asked.end, asked.limit))
            .collect();
        self.vectors.scan(query, |bounds| {
            for possible in &mut possible {
                possible.take(&bounds, |slot| allowed.holds(slot));
            }
        });
        let possible = possible.into_iter().zip(asked);
        possible
            .map(|(possible, asked)| {
                let cosines = self.vectors.cosines(&possible.rows(), query);
                self.first_by_cosine(&cosines, asked)
            })
            .collect()
    }

    fn first_by_cosine(&self, cosines: &[(f64, u32)], asked: &Asked) -> Vec<u32> {
        let mut first = First::new(asked.limit, self.by_place());
        for (cosine, slot) in cosines {
            first.offer((asked.end.place(*cosine), *slot));
        }
        slots(first.sorted())
    }

    /// The order of slots by place, of which smaller comes first, and by id.
    fn by_place(&self) -> impl Fn(&(f64, u32), &(f64, u32)) -> Ordering {
        |a, b| a.0.total_cmp(&b.0).then_with(|| self.by_id(a.1, b.1))
    }

    fn by_id(&self, a: u32, b: u32) -> Ordering {
        let id = |slot| self.item(slot).map(|item| item.id());
        id(a).cmp(&id(b))
    }

    fn allowed(&self, search: &Search<'_>) -> Allowed {
        let mut slots = self.matching(search.restriction);
        for id in search.exclude.iter().chain(search.exclude_afterwards) {
            if let Some(slot) = self.slot_of_id.get(id) {
                slots[*slot as usize] = false;
            }
        }
        Allowed {
            count: slots.iter().filter(|allowed| **allowed).count(),
            slots,
        }
    }

    fn matching(&self, restriction: &Restriction) -> Vec<bool> {
        if restriction.is_open() {
            return self.slots.iter().map(Option::is_some).collect();
        }
        let matches = |item: &Option<Arc<CatalogueItem>>| {
            item.as_ref().is_some_and(|item| restriction.admits(item))
        };
        let carriers = self.tags.carriers_of_all(restriction, self.len());
        let Some(carriers) = carriers else {
            return self.slots.iter().map(matches).collect();
        };
        let mut matching = vec![false; self.slots.len()];
        for slot in carriers.into_iter().flatten() {
            matching[*slot as usize] = matches(&self.slots[*slot as usize]);
        }
        matching
    }

    fn item(&self, slot: u32) -> Option<&Arc<CatalogueItem>> {
        self.slots[slot as usize].as_ref()
    }

    fn items(&self, slots: Vec<u32>) -> Vec<Arc<CatalogueItem>> {
        let items = slots.into_iter().filter_map(|slot| self.item(slot));
        items.cloned().collect()
    }
}

fn slots<K>(placed: Vec<(K, u32)>) -> Vec<u32> {
    placed.into_iter().map(|(_, slot)| slot).collect()
}

/// The vector whose cosine an order goes by, if it does.
fn query(order: &SearchOrder) -> Option<(&UnitVector, End)> {
    match order {
        SearchOrder::NearestTo(vector) => Some((vector, End::Nearest)),
        SearchOrder::FarthestFrom(vector) => Some((vector, End::Farthest)),
        SearchOrder::TagOverlap(_) | SearchOrder::ClosestTo(_) | SearchOrder::Sample { .. } => None,
    }
}

/// The searches from one on that go by cosine to a vector, and may give the
/// same items: one scan does for them.
fn alike(searches: &[Search<'_>], from: usize, vector: &UnitVector) -> Vec<Asked> {
    let others = searches.iter().enumerate().skip(from);
    others
        .filter(|(_, other)| other.limit > 0 && leave_out_the_same(&searches[from], other))
        .filter_map(|(at, other)| {
            let (other_vector, end) = query(&other.order)?;
            (other_vector == vector).then_some(Asked {
                at,
                end,
                limit: other.limit,
            })
        })
        .collect()
}

/// Whether two searches of a call may give the same items.
fn leave_out_the_same(a: &Search<'_>, b: &Search<'_>) -> bool {
    let same_ids = |a: &HashSet<ContentId>, b: &HashSet<ContentId>| std::ptr::eq(a, b);
    std::ptr::eq(a.restriction, b.restriction)
        && same_ids(a.exclude, b.exclude)
        && same_ids(a.exclude_afterwards, b.exclude_afterwards)
}
