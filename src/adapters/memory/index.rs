//! A catalogue laid out for search: what [`exact_search::run`] finds, sooner.
//!
//! Items have slots. Vectors are scanned as bytes, with exact cosines for those
//! alone that can be among the first; tags know their items; and what the
//! searches of a call must leave out is looked up once for all of them.

#[cfg(test)]
mod against_a_scan;
mod draw;
mod first;
mod tags;
mod vectors;

use std::{collections::HashSet, sync::Arc};

use crate::{
    adapters::exact_search::sample_key,
    domain::{
        geo::nearest_m,
        ids::ContentId,
        item::{CatalogueItem, Item},
        restriction::Restriction,
        vector::{UnitVector, wide},
    },
    ports::{Search, SearchOrder},
};
use draw::draw;
use first::{First, total_order};
use tags::Tags;
use vectors::{Bounds, Vectors};

/// Of how many items a search may give no more than one, so that looking at
/// those alone is quicker than a scan of all.
const SPARSE: usize = 8;
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
    by_id: foldhash::HashMap<ContentId, u32>,
    vectors: Vectors,
    tags: Tags,
}

/// A slot with its place in an order: smaller comes first, equals by id.
type Placed = (u64, u32);

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

/// Bounds by the query that they are for.
type Scanned<'s> = Option<(&'s UnitVector, Bounds)>;

/// Which end of an order by cosine comes first.
#[derive(Clone, Copy)]
enum End {
    Nearest,
    Farthest,
}

impl End {
    /// Smaller comes first.
    fn place(self, cosine: f64) -> f64 {
        match self {
            Self::Nearest => -cosine,
            Self::Farthest => cosine,
        }
    }
}

impl Index {
    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
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
        self.slots[*self.by_id.get(id)? as usize].as_ref()
    }

    /// Takes an item in whose id is not here, and whose vector, if any, is of
    /// the size of the others.
    pub(super) fn insert(&mut self, item: Arc<CatalogueItem>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.by_id.insert(item.id().clone(), slot);
        self.tags.insert(slot, &item);
        if let Some(vector) = item.vector() {
            self.vectors.insert(slot, vector);
        }
        self.slots[slot as usize] = Some(item);
    }

    /// Takes an item out.
    pub(super) fn remove(&mut self, id: &ContentId) -> Option<Arc<CatalogueItem>> {
        let slot = self.by_id.remove(id)?;
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
        let looks = searches.iter().map(|search| {
            let restricted = if search.restriction.is_open() { 0 } else { all };
            restricted
                + match &search.order {
                    SearchOrder::ClosestTo(_) | SearchOrder::Sample { pinned: true, .. } => all,
                    SearchOrder::Sample { pinned: false, .. }
                    | SearchOrder::NearestTo(_)
                    | SearchOrder::FarthestFrom(_)
                    | SearchOrder::TagOverlap(_) => all / PASSED_PER_LOOK,
                }
        });
        looks.sum()
    }

    /// Runs the searches of a call; one result each, in order.
    pub(super) fn search(&self, searches: &[Search<'_>]) -> Vec<Vec<Arc<CatalogueItem>>> {
        let mut last: Option<(&Search<'_>, Allowed)> = None;
        let mut scanned = None;
        let mut found = Vec::with_capacity(searches.len());
        for search in searches {
            let allowed = match last.take() {
                Some((before, allowed)) if leave_out_the_same(before, search) => allowed,
                Some(_) | None => self.allowed(search),
            };
            let first = self.first(search, &allowed, &mut scanned);
            let items = first.into_iter().filter_map(|(_, slot)| self.item(slot));
            found.push(items.cloned().collect());
            last = Some((search, allowed));
        }
        found
    }

    /// The first ones of a search, in order.
    fn first<'s>(
        &self,
        search: &'s Search<'s>,
        allowed: &Allowed,
        scanned: &mut Scanned<'s>,
    ) -> Vec<Placed> {
        let limit = search.limit;
        let mut first = First::new(limit, |a: &Placed, b: &Placed| {
            a.0.cmp(&b.0).then_with(|| self.id(a.1).cmp(&self.id(b.1)))
        });
        match &search.order {
            SearchOrder::NearestTo(vector) => {
                for placed in self.by_cosine(vector, End::Nearest, limit, allowed, scanned) {
                    first.offer(placed);
                }
            }
            SearchOrder::FarthestFrom(vector) => {
                for placed in self.by_cosine(vector, End::Farthest, limit, allowed, scanned) {
                    first.offer(placed);
                }
            }
            SearchOrder::TagOverlap(weights) => {
                let sums = self.tags.overlaps(weights, self.slots.len());
                for (sum, slot) in sums.into_iter().zip(0..) {
                    if sum > 0.0 && allowed.holds(slot) {
                        first.offer((total_order(-sum), slot));
                    }
                }
            }
            SearchOrder::ClosestTo(point) => {
                for slot in allowed.iter() {
                    let places = self.item(slot).map(|item| &item.item().locations);
                    if let Some(distance) = places.and_then(|places| nearest_m(*point, places)) {
                        first.offer((total_order(distance), slot));
                    }
                }
            }
            SearchOrder::Sample {
                seed,
                pinned: false,
            } => {
                let drawn = draw(allowed.iter().collect(), limit, *seed);
                return (0..).zip(drawn).collect();
            }
            SearchOrder::Sample { seed, pinned: true } => {
                for slot in allowed.iter() {
                    if let Some(item) = self.item(slot) {
                        first.offer((sample_key(item.id(), *seed), slot));
                    }
                }
            }
        }
        first.sorted()
    }

    /// The items that a search may give, each with its place: all of them that
    /// can be among the first `limit`, and maybe more.
    fn by_cosine<'s>(
        &self,
        query: &'s UnitVector,
        end: End,
        limit: usize,
        allowed: &Allowed,
        scanned: &mut Scanned<'s>,
    ) -> Vec<Placed> {
        if limit == 0 || self.vectors.size() != Some(query.size()) {
            return Vec::new();
        }
        let possible: Vec<u32> = if allowed.count <= (self.vectors.len() / SPARSE).max(2 * limit) {
            allowed.iter().collect()
        } else {
            let bounds = match scanned.take() {
                Some((before, bounds)) if before == query => bounds,
                Some(_) | None => self.vectors.bounds(query),
            };
            let possible = possible_by_bounds(&bounds, end, limit, allowed);
            *scanned = Some((query, bounds));
            possible
        };
        let mut placed = Vec::with_capacity(possible.len());
        wide(
            #[inline(always)]
            || {
                for slot in possible {
                    if let Some(item) = &self.slots[slot as usize]
                        && let Some(vector) = item.vector()
                        && let Some(cosine) = vector.cosine(query)
                    {
                        placed.push((total_order(end.place(cosine)), slot));
                    }
                }
            },
        );
        placed
    }

    fn allowed(&self, search: &Search<'_>) -> Allowed {
        let mut slots = self.matching(search.restriction);
        for id in search.exclude.iter().chain(search.exclude_afterwards) {
            if let Some(slot) = self.by_id.get(id) {
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
        let fewest = restriction
            .must
            .iter()
            .map(|tag| self.tags.carriers(tag))
            .min_by_key(|carriers| carriers.len());
        let Some(fewest) = fewest else {
            return self.slots.iter().map(matches).collect();
        };
        let mut matching = vec![false; self.slots.len()];
        for slot in fewest {
            matching[*slot as usize] = matches(&self.slots[*slot as usize]);
        }
        matching
    }

    fn item(&self, slot: u32) -> Option<&Arc<CatalogueItem>> {
        self.slots[slot as usize].as_ref()
    }

    fn id(&self, slot: u32) -> Option<&ContentId> {
        self.item(slot).map(|item| item.id())
    }
}

/// Whether two searches of a call may give the same items.
fn leave_out_the_same(a: &Search<'_>, b: &Search<'_>) -> bool {
    let same_ids = |a: &HashSet<ContentId>, b: &HashSet<ContentId>| std::ptr::eq(a, b);
    std::ptr::eq(a.restriction, b.restriction)
        && same_ids(a.exclude, b.exclude)
        && same_ids(a.exclude_afterwards, b.exclude_afterwards)
}

/// The slots whose cosine can be among the first `limit`, by their bounds: those
/// that are not certainly behind `limit` others.
fn possible_by_bounds(bounds: &Bounds, end: End, limit: usize, allowed: &Allowed) -> Vec<u32> {
    // Places at best and at worst, of which smaller comes first.
    let (best, worst, sign) = match end {
        End::Nearest => (&bounds.high, &bounds.low, -1.0),
        End::Farthest => (&bounds.low, &bounds.high, 1.0),
    };
    let mut certain = First::new(limit, f32::total_cmp);
    let mut bound = f32::INFINITY;
    for (worst, slot) in worst.iter().zip(&bounds.slots) {
        let worst = sign * worst;
        if worst <= bound && allowed.holds(*slot) {
            certain.offer(worst);
            bound = certain.bound().unwrap_or(bound);
        }
    }
    // A cosine is cut to what a cosine can be, so those beyond are equals.
    let last = certain.last().unwrap_or(f32::INFINITY).max(-1.0);
    let possible = best
        .iter()
        .zip(&bounds.slots)
        .filter(|(best, slot)| (sign * **best).min(1.0) <= last && allowed.holds(**slot));
    possible.map(|(_, slot)| *slot).collect()
}
