//! How much of the exact result searches in Qdrant find.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use recsys::{
    adapters::qdrant::QdrantSettings,
    domain::{
        item::CatalogueItem,
        restriction::Restriction,
        tags::{Canonicalizer, TagKey},
        vector::UnitVector,
    },
    ports::{Deadline, Found, ItemStore, Search, SearchOrder},
};

use super::{
    fill::{EVENTS, item},
    random::Random,
    support::catalogue,
};

const USERS: usize = 20;
const LIMIT: usize = 30;
const TAGS: usize = 20;

/// What a search asks for, and the exact best items with their scores.
struct Wanted {
    order: SearchOrder,
    best: Vec<(f64, usize)>,
}

impl Wanted {
    fn add(&mut self, score: f64, number: usize) {
        let order = |a: &(f64, usize), b: &(f64, usize)| -> Ordering {
            b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
        };
        let place = self
            .best
            .partition_point(|other| order(other, &(score, number)).is_lt());
        if place < LIMIT {
            self.best.insert(place, (score, number));
            self.best.truncate(LIMIT);
        }
    }
}

pub struct Recall {
    /// The share of the exact nearest items that are found.
    pub nearest: f64,
    pub nearest_ms: f64,
    /// The weight of the items found by tags, as a share of that of the exact best.
    pub tags: f64,
    pub tags_ms: f64,
}

/// Searches a collection of this many items, of the catalogue of [`item`], as users do
/// whose taste is that of random items.
pub async fn measure(url: &str, collection: &str, items: usize) -> Recall {
    let mut wanted: Vec<[Wanted; 2]> = (0..USERS as u64).map(|user| user_of(user, items)).collect();
    for number in 1..=items {
        let item = item(number);
        let vector = UnitVector::new(&item.vector);
        for [nearest, by_tags] in &mut wanted {
            if let (SearchOrder::NearestTo(taste), Some(vector)) = (&nearest.order, &vector) {
                let cosine = vector.cosine(taste).expect("one size");
                nearest.add(cosine, number);
            }
            let SearchOrder::TagOverlap(weights) = &by_tags.order else {
                continue;
            };
            // The last weight of a tag counts.
            let own: BTreeMap<TagKey, f64> = item
                .tags
                .iter()
                .map(|tag| (key(&tag.label), tag.weight.unwrap_or(1.0)))
                .collect();
            let overlap = weights
                .iter()
                .map(|(tag, weight)| own.get(tag).map_or(0.0, |own| own * weight));
            by_tags.add(overlap.sum(), number);
        }
    }
    let settings = QdrantSettings {
        collection_name: collection.to_owned(),
        qdrant_timeout: Duration::from_secs(30),
        ..QdrantSettings::default()
    };
    let store = catalogue::store(url, &settings);
    let mut recall = Recall {
        nearest: 0.0,
        nearest_ms: 0.0,
        tags: 0.0,
        tags_ms: 0.0,
    };
    for [nearest, by_tags] in &wanted {
        // The second search finds all contents in the cache.
        found(&store, nearest).await;
        let (ids, milliseconds) = found(&store, nearest).await;
        let best: HashSet<usize> = nearest.best.iter().map(|(_, number)| *number).collect();
        let hits = ids
            .iter()
            .filter(|(number, _)| best.contains(number))
            .count();
        recall.nearest += hits as f64 / LIMIT as f64 / USERS as f64;
        recall.nearest_ms += milliseconds / USERS as f64;
        found(&store, by_tags).await;
        let (ids, milliseconds) = found(&store, by_tags).await;
        let exact: f64 = by_tags.best.iter().map(|(score, _)| score).sum();
        let weight: f64 = ids.iter().map(|(_, overlap)| overlap).sum();
        recall.tags += weight / exact / USERS as f64;
        recall.tags_ms += milliseconds / USERS as f64;
    }
    recall
}

fn key(label: &str) -> TagKey {
    Canonicalizer::default().key(&format!("theme:{label}"))
}

fn user_of(user: u64, items: usize) -> [Wanted; 2] {
    let mut random = Random::new(user);
    let liked: Vec<_> = (0..EVENTS).map(|_| item(1 + random.below(items))).collect();
    let size = liked[0].vector.len();
    let sum: Vec<f32> = (0..size)
        .map(|place| liked.iter().map(|item| item.vector[place]).sum())
        .collect();
    let mut affinity: BTreeMap<TagKey, f64> = BTreeMap::new();
    for tag in liked.iter().flat_map(|item| &item.tags) {
        *affinity.entry(key(&tag.label)).or_default() += tag.weight.unwrap_or(1.0);
    }
    let mut weights: Vec<(TagKey, f64)> = affinity.into_iter().collect();
    weights.sort_by(|a, b| b.1.total_cmp(&a.1));
    weights.truncate(TAGS);
    let wanted = |order| Wanted {
        order,
        best: Vec::new(),
    };
    [
        wanted(SearchOrder::NearestTo(
            UnitVector::new(&sum).expect("a taste"),
        )),
        wanted(SearchOrder::TagOverlap(weights)),
    ]
}

/// The items that are found, by number, with their overlap; and the milliseconds.
async fn found(store: &dyn ItemStore, wanted: &Wanted) -> (Vec<(usize, f64)>, f64) {
    let (open, nothing) = (Restriction::default(), HashSet::new());
    let search = Search {
        order: wanted.order.clone(),
        restriction: &open,
        exclude: &nothing,
        exclude_afterwards: &nothing,
        limit: LIMIT,
    };
    let started = Instant::now();
    let found = store.search(&[search], Deadline::NONE).await;
    let milliseconds = started.elapsed().as_secs_f64() * 1e3;
    let Found::Items(found) = found.expect("Qdrant").remove(0) else {
        panic!("Qdrant does not answer, or lacks an index");
    };
    let overlap = |item: &CatalogueItem| -> f64 {
        let SearchOrder::TagOverlap(weights) = &wanted.order else {
            return 0.0;
        };
        let weight = |tag| weights.iter().find(|(of, _)| of == tag);
        let parts = item.canonical_tags();
        parts
            .filter_map(|(tag, own)| Some(own * weight(tag)?.1))
            .sum()
    };
    let numbered = found.iter().map(|item| {
        let number = item.id().as_str().parse().expect("a number");
        (number, overlap(item))
    });
    (numbered.collect(), milliseconds)
}
