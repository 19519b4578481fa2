//! Exact search over items in memory: the reference for every store's results.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    blocking,
    domain::{
        geo::nearest_m, ids::ContentId, item::CatalogueItem, ranking::scorers::overlap,
        vector::UnitVector,
    },
    ports::{Search, SearchOrder},
};

/// Visited items above which a search takes milliseconds.
const LONG_SCAN: usize = 10_000;

/// Runs work that visits this many items. During a long scan another thread takes
/// over this thread's other tasks.
pub(super) fn scan<T>(visits: usize, work: impl FnOnce() -> T) -> T {
    if visits > LONG_SCAN {
        blocking::in_place(work)
    } else {
        work()
    }
}

/// An item with its sort key: smaller comes first.
type Keyed<'a> = (f64, &'a Arc<CatalogueItem>);

/// The first items that a search allows, in its order. Visits every item.
pub(super) fn run<'a>(
    items: impl Iterator<Item = &'a Arc<CatalogueItem>>,
    search: &Search<'_>,
) -> Vec<Arc<CatalogueItem>> {
    let candidates = items.filter(|item| {
        !search.exclude.contains(item.id())
            && !search.exclude_afterwards.contains(item.id())
            && search.restriction.admits(item)
    });
    let cosine = |item: &CatalogueItem, to: &UnitVector| item.vector()?.cosine(to);

    let mut keyed: Vec<Keyed<'_>> = match &search.order {
        SearchOrder::NearestTo(vector) => keyed_by(candidates, |item| Some(-cosine(item, vector)?)),
        SearchOrder::FarthestFrom(vector) => keyed_by(candidates, |item| cosine(item, vector)),
        SearchOrder::TagOverlap(weights) => {
            let weights: HashMap<_, _> =
                weights.iter().map(|(tag, weight)| (tag, *weight)).collect();
            keyed_by(candidates, |item| {
                let sum = overlap(item, |tag| weights.get(tag).copied().unwrap_or(0.0));
                (sum > 0.0).then_some(-sum)
            })
        }
        SearchOrder::ClosestTo(point) => {
            keyed_by(candidates, |item| nearest_m(*point, item.locations()))
        }
        SearchOrder::ByIds(ids) => {
            let places: HashMap<&ContentId, usize> = ids.iter().zip(0..).collect();
            keyed_by(candidates, |item| Some(*places.get(item.id())? as f64))
        }
        SearchOrder::Sample { seed, .. } => {
            // Each seed orders the ids by another hash: the first ones are a
            // uniform sample.
            let mut keyed: Vec<(u64, &Arc<CatalogueItem>)> = candidates
                .map(|item| (sample_key(item.id(), *seed), item))
                .collect();
            return first(&mut keyed, search.limit, |a, b| {
                a.0.cmp(&b.0).then_with(|| a.1.id().cmp(b.1.id()))
            });
        }
    };
    first(&mut keyed, search.limit, |a, b| {
        a.0.total_cmp(&b.0).then_with(|| a.1.id().cmp(b.1.id()))
    })
}

fn keyed_by<'a>(
    candidates: impl Iterator<Item = &'a Arc<CatalogueItem>>,
    key: impl Fn(&CatalogueItem) -> Option<f64>,
) -> Vec<Keyed<'a>> {
    candidates
        .filter_map(|item| Some((key(item)?, item)))
        .collect()
}

/// The first items in an order, without sorting the others.
fn first<K>(
    keyed: &mut Vec<(K, &Arc<CatalogueItem>)>,
    limit: usize,
    order: impl Fn(&(K, &Arc<CatalogueItem>), &(K, &Arc<CatalogueItem>)) -> Ordering,
) -> Vec<Arc<CatalogueItem>> {
    if (1..keyed.len()).contains(&limit) {
        keyed.select_nth_unstable_by(limit, &order);
        keyed.truncate(limit);
    }
    keyed.sort_unstable_by(&order);
    keyed
        .iter()
        .take(limit)
        .map(|(_, item)| Arc::clone(item))
        .collect()
}

/// The sort key of an item in the sample that a seed chooses.
pub(super) fn sample_key(id: &ContentId, seed: u64) -> u64 {
    xxh3_64_with_seed(id.as_str().as_bytes(), seed)
}
