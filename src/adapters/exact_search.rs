//! Exact search over items in memory: what every store's answers are measured
//! by.

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

/// Items looked at in one call from which on it takes milliseconds.
const LONG_SCAN: usize = 10_000;

/// Runs work that looks at so many items. A long scan leaves this thread's
/// other tasks to another one.
pub(super) fn scan<T>(looks: usize, work: impl FnOnce() -> T) -> T {
    if looks > LONG_SCAN {
        blocking::in_place(work)
    } else {
        work()
    }
}

/// A place in a search's order: smaller comes first.
type Place<'a> = (f64, &'a Arc<CatalogueItem>);

/// Looks at every item: the first of those that the search allows, in its order.
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

    let places: Vec<Place<'_>> = match &search.order {
        SearchOrder::NearestTo(vector) => placed(candidates, |item| Some(-cosine(item, vector)?)),
        SearchOrder::FarthestFrom(vector) => placed(candidates, |item| cosine(item, vector)),
        SearchOrder::TagOverlap(weights) => {
            let weights: HashMap<_, _> =
                weights.iter().map(|(tag, weight)| (tag, *weight)).collect();
            placed(candidates, |item| {
                let sum = overlap(item, |tag| weights.get(tag).copied().unwrap_or(0.0));
                (sum > 0.0).then_some(-sum)
            })
        }
        SearchOrder::ClosestTo(point) => {
            placed(candidates, |item| nearest_m(*point, &item.item().locations))
        }
        SearchOrder::Sample { seed, .. } => {
            // Each seed shuffles the ids in its own way: the first ones of
            // that order are a uniform sample.
            let mut keyed: Vec<(u64, &Arc<CatalogueItem>)> = candidates
                .map(|item| (sample_key(item.id(), *seed), item))
                .collect();
            return first(&mut keyed, search.limit, |a, b| {
                a.0.cmp(&b.0).then_with(|| a.1.id().cmp(b.1.id()))
            });
        }
    };
    let mut places = places;
    first(&mut places, search.limit, |a, b| {
        a.0.total_cmp(&b.0).then_with(|| a.1.id().cmp(b.1.id()))
    })
}

fn placed<'a>(
    candidates: impl Iterator<Item = &'a Arc<CatalogueItem>>,
    place: impl Fn(&CatalogueItem) -> Option<f64>,
) -> Vec<Place<'a>> {
    candidates
        .filter_map(|item| Some((place(item)?, item)))
        .collect()
}

/// The first ones in an order, without sorting what is behind them.
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

/// Where a seed puts an item among the others of a sample: smaller comes first.
pub(super) fn sample_key(id: &ContentId, seed: u64) -> u64 {
    xxh3_64_with_seed(id.as_str().as_bytes(), seed)
}
