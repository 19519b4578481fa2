//! The index returns what a scan of all items returns, whatever was stored and
//! deleted before.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use proptest::prelude::*;

use crate::{
    adapters::{exact_search, memory::MemoryItemStore},
    domain::{
        filter::ItemFilter,
        geo::{Circle, GeoPoint},
        ids::ContentId,
        item::{CatalogueItem, Item, Tag},
        restriction::Restriction,
        tags::{Canonicalizer, TagKey},
        vector::UnitVector,
    },
    ports::{Deadline, Found, ItemStore as _, Search, SearchOrder},
};

type ItemMap = BTreeMap<ContentId, Arc<CatalogueItem>>;

/// More than a block of rows holds, so that rows move between blocks.
const MANY: usize = 600;

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most steps are of the large variant"
)]
enum StoreStep {
    Put(Item),
    Delete(ContentId),
}

fn id(number: usize) -> ContentId {
    ContentId::from(format!("i{number}"))
}

fn key(number: usize) -> TagKey {
    Canonicalizer::default().key(&format!("f{}:t{number}", number % 2))
}

fn point(number: u8) -> GeoPoint {
    GeoPoint::new(50.0 + 0.01 * f64::from(number), 5.0).unwrap()
}

/// Few different ones, so that many cosines are equal.
fn any_vector(size: usize) -> impl Strategy<Value = Option<UnitVector>> {
    prop::collection::vec(prop::sample::select(vec![-1.0_f32, 0.0, 0.1, 1.0]), size)
        .prop_map(|values| UnitVector::new(&values))
}

fn any_item(ids: usize, size: usize) -> impl Strategy<Value = Item> {
    let vector = prop_oneof![8 => any_vector(size), 1 => any_vector(size + 1), 1 => Just(None)];
    let weight = prop::sample::select(vec![0.0, 0.1, 0.3, 0.7, 1.0]);
    let tags = prop::collection::vec((0..7_usize, weight), 0..5);
    let places = prop::collection::vec(0..4_u8, 0..3);
    (0..ids, vector, tags, places, 0..3_u8).prop_map(|(number, vector, tags, places, kind)| {
        let mut item = Item::new(id(number));
        item.vector = vector;
        item.content_type = format!("type {kind}");
        item.locations = places.into_iter().map(point).collect();
        item.tags = tags
            .into_iter()
            .map(|(number, weight)| Tag {
                facet: format!("F{}", number % 2),
                label: format!("T{number}"),
                weight,
            })
            .collect();
        item
    })
}

fn any_step(ids: usize, size: usize) -> impl Strategy<Value = StoreStep> {
    prop_oneof![
        4 => any_item(ids, size).prop_map(StoreStep::Put),
        1 => (0..ids).prop_map(|number| StoreStep::Delete(id(number))),
    ]
}

fn any_steps() -> impl Strategy<Value = (usize, Vec<StoreStep>)> {
    prop::sample::select(vec![1_usize, 2, 3, 33]).prop_flat_map(|size| {
        let steps = prop::collection::vec(any_step(40, size), 0..120);
        (Just(size), steps)
    })
}

fn filter(text: &str) -> ItemFilter {
    ItemFilter::parse(text, &Canonicalizer::default()).unwrap()
}

fn filtered(filter: ItemFilter) -> Restriction {
    Restriction {
        filter: Some(filter),
        ..Restriction::default()
    }
}

fn any_restriction() -> impl Strategy<Value = Restriction> {
    let tags = || prop::collection::vec((0..8_usize).prop_map(key), 0..2);
    let any_filter = || {
        prop::sample::select(vec![
            "tags.f:*",
            "NOT content_type = \"type 1\"",
            "word_count > 1 OR has_image = true",
            "years:*",
        ])
        .prop_map(filter)
    };
    let within = (0..4_u8).prop_map(|number| Circle {
        center: point(number),
        radius_m: 1_200.0,
    });
    let label = (0..8_usize).prop_map(|number| format!("t{number}"));
    let types = prop::sample::subsequence(vec!["type 0".to_owned(), "type 1".to_owned()], 0..2);
    let some = (
        prop::option::of(label),
        tags(),
        tags(),
        tags(),
        types,
        prop::option::of(within),
        prop::option::of(any_filter()),
    )
        .prop_map(
            |(label, must, must_not, any_of, content_types, within, filter)| Restriction {
                label,
                must,
                must_not,
                any_of,
                content_types,
                within,
                filter,
            },
        );
    let only_filter = any_filter().prop_map(filtered);
    prop_oneof![Just(Restriction::default()), only_filter, some]
}

fn any_ids() -> impl Strategy<Value = HashSet<ContentId>> {
    prop::collection::hash_set((0..45_usize).prop_map(id), 0..8)
}

fn any_weights() -> impl Strategy<Value = Vec<(TagKey, f64)>> {
    let weight = prop::sample::select(vec![-0.5, 0.0, 0.1, 0.2, 0.3, 1.0]);
    prop::collection::vec(((0..9_usize).prop_map(key), weight), 0..6)
}

fn orders(
    queries: [&Option<UnitVector>; 2],
    weights: &[(TagKey, f64)],
    seed: u64,
) -> Vec<SearchOrder> {
    let mut orders = vec![
        SearchOrder::TagOverlap(weights.to_vec()),
        SearchOrder::ClosestTo(point(1)),
        SearchOrder::Sample { seed, pinned: true },
    ];
    for query in queries.into_iter().flatten() {
        orders.push(SearchOrder::NearestTo(query.clone()));
        orders.push(SearchOrder::FarthestFrom(query.clone()));
    }
    orders
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(work)
}

/// A store and a plain map after the steps.
fn stored(steps: Vec<StoreStep>) -> (MemoryItemStore, ItemMap) {
    let store = MemoryItemStore::new(Canonicalizer::default(), usize::MAX);
    let mut items = ItemMap::new();
    apply(steps, &store, &mut items);
    (store, items)
}

/// Applies the steps to a store and to a plain map.
fn apply(steps: Vec<StoreStep>, store: &MemoryItemStore, items: &mut ItemMap) {
    let canonical = Canonicalizer::default();
    for step in steps {
        match step {
            StoreStep::Put(item) => {
                let prepared = Arc::new(CatalogueItem::new(item.clone(), &canonical));
                if store.put(item).is_ok() {
                    items.insert(prepared.id().clone(), prepared);
                }
            }
            StoreStep::Delete(id) => {
                let deleted = run(store.delete(std::slice::from_ref(&id))).unwrap();
                assert_eq!(deleted, [items.remove(&id).is_some()]);
            }
        }
    }
}

/// The ids that the searches return: from the store as one batch, with and without a
/// shared scan, and from a scan of all items.
fn both(
    store: &MemoryItemStore,
    items: &ItemMap,
    searches: &[Search<'_>],
) -> [Vec<Vec<ContentId>>; 2] {
    let ids = |found: &[Arc<CatalogueItem>]| found.iter().map(|item| item.id().clone()).collect();
    let shared = run(store.search_sharing(searches, 0));
    let given = run(store.search(searches, Deadline::NONE)).unwrap();
    for (search, (shared, given)) in searches.iter().zip(shared.into_iter().zip(&given)) {
        if !matches!(search.order, SearchOrder::Sample { pinned: false, .. }) {
            assert_eq!(*given, Found::Items(shared));
        }
    }
    let given = given.into_iter().map(|found| match found {
        Found::Items(items) => ids(&items),
        Found::NoIndex | Found::Cached(_) => panic!("items in memory are all there"),
    });
    let scanned = searches
        .iter()
        .map(|search| ids(&exact_search::run(items.values(), search)));
    [given.collect(), scanned.collect()]
}

proptest! {
    #[test]
    fn every_order_returns_what_a_scan_returns(
        (size, steps) in any_steps(),
        values in prop::collection::vec(-1.0..1.0_f32, 33),
        restrictions in [any_restriction(), any_restriction()],
        excluded in [any_ids(), any_ids()],
        weights in any_weights(),
        limits in prop::collection::vec(0..12_usize, 20),
        seed: u64,
    ) {
        let other = steps.iter().find_map(|step| match step {
            StoreStep::Put(item) => item.vector.clone(),
            StoreStep::Delete(_) => None,
        });
        let (store, items) = stored(steps);
        let query = UnitVector::new(&values[..size]);
        let sizes: HashSet<_> = items.values().filter_map(|item| item.vector()).map(UnitVector::size).collect();
        prop_assert!(sizes.len() <= 1, "{:?}", sizes);
        prop_assert_eq!(store.vector_size(), sizes.into_iter().next());
        prop_assert_eq!(store.len(), items.len());

        let mut searches = Vec::new();
        for restriction in &restrictions {
            for order in orders([&query, &other], &weights, seed) {
                let limit = limits[searches.len()];
                searches.push(Search {
                    order,
                    restriction,
                    exclude: &excluded[0],
                    exclude_afterwards: &excluded[1],
                    limit,
                });
            }
        }
        let [given, scanned] = both(&store, &items, &searches);
        prop_assert_eq!(given, scanned);
    }

    #[test]
    fn a_search_that_is_repeated_finds_what_changed_meanwhile(
        (before, between) in prop::sample::select(vec![2_usize, 33]).prop_flat_map(|size| {
            let steps = |count| prop::collection::vec(any_step(40, size), count);
            (steps(40..120), prop::collection::vec(steps(0..4), 1..6))
        }),
        restriction in any_restriction(),
        excluded in any_ids(),
        limits in prop::collection::vec(0..5_usize, 4),
    ) {
        let (store, mut items) = stored(before);
        let vectors = items.values().filter_map(|item| item.vector().cloned());
        let queries: Vec<_> = vectors.take(2).map(Some).collect();
        prop_assume!(queries.len() == 2);
        let nothing = HashSet::new();
        let orders = orders([&queries[0], &queries[1]], &[], 1).into_iter().skip(3);
        let searches: Vec<_> = orders.zip(&limits).map(|(order, limit)| Search {
            order,
            restriction: &restriction,
            exclude: &excluded,
            exclude_afterwards: &nothing,
            limit: *limit,
        }).collect();
        for steps in between {
            let [given, scanned] = both(&store, &items, &searches);
            prop_assert_eq!(given, scanned);
            apply(steps, &store, &mut items);
        }
        let [given, scanned] = both(&store, &items, &searches);
        prop_assert_eq!(given, scanned);
    }

    #[test]
    fn an_unpinned_sample_is_of_what_a_scan_returns(
        (_, steps) in any_steps(),
        restriction in any_restriction(),
        exclude in any_ids(),
        limit in 0..12_usize,
        seed: u64,
    ) {
        let (store, items) = stored(steps);
        let sample = |pinned, limit| Search {
            order: SearchOrder::Sample { seed, pinned },
            restriction: &restriction,
            exclude: &exclude,
            exclude_afterwards: &exclude,
            limit,
        };
        let [mut given, _] = both(&store, &items, &[sample(false, limit)]);
        let [_, mut all] = both(&store, &items, &[sample(true, usize::MAX)]);
        let (given, all) = (given.remove(0), all.remove(0));
        prop_assert_eq!(given.len(), limit.min(all.len()));
        let distinct: HashSet<_> = given.iter().collect();
        prop_assert_eq!(distinct.len(), given.len());
        prop_assert!(given.iter().all(|id| all.contains(id)));
    }
}

/// Pseudorandom numbers, equal in every run (SplitMix64).
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

fn direction(size: usize, next: &mut impl FnMut() -> u64) -> UnitVector {
    let values: Vec<f32> = (0..size)
        .map(|_| (next() % 20_001) as f32 / 10_000.0 - 1.0)
        .collect();
    UnitVector::new(&values).unwrap()
}

#[test]
fn many_items_added_and_removed_are_found_as_by_a_scan() {
    let mut next = numbers(1);
    for size in [5, 64, 100] {
        let mut steps: Vec<StoreStep> = Vec::new();
        for _ in 0..3 * MANY {
            let id = id((next() % MANY as u64) as usize);
            if next().is_multiple_of(5) {
                steps.push(StoreStep::Delete(id));
                continue;
            }
            let mut item = Item::new(id);
            item.vector = Some(direction(size, &mut next));
            item.word_count = (next() % 100) as u32;
            steps.push(StoreStep::Put(item));
        }
        let (store, items) = stored(steps);
        let nothing = HashSet::new();
        let restrictions = [
            Restriction::default(),
            filtered(filter("word_count >= 50")),
            filtered(filter("word_count = 7")),
        ];
        let seen: HashSet<_> = (0..MANY).step_by(7).map(id).collect();
        for limit in [1, 10, 30] {
            let query = direction(size, &mut next);
            let searches: Vec<_> = restrictions
                .iter()
                .flat_map(|restriction| [(restriction, &seen), (restriction, &nothing)])
                .flat_map(|allowed| {
                    let orders = orders([&Some(query.clone()), &None], &[], 1);
                    orders.into_iter().map(move |order| (order, allowed))
                })
                .map(|(order, (restriction, exclude))| Search {
                    order,
                    restriction,
                    exclude,
                    exclude_afterwards: &nothing,
                    limit,
                })
                .collect();
            let [given, scanned] = both(&store, &items, &searches);
            assert_eq!(given, scanned, "{size} numbers, {limit} items");
        }
    }
}

#[test]
fn calls_that_share_a_scan_find_what_each_finds_alone() {
    let mut next = numbers(2);
    let items = (0..MANY).map(|number| {
        let mut item = Item::new(id(number));
        item.vector = Some(direction(64, &mut next));
        StoreStep::Put(item)
    });
    let (store, items) = stored(items.collect());
    let store = Arc::new(store);
    let calls: Vec<(UnitVector, HashSet<ContentId>)> = (0..40)
        .map(|call| {
            let seen = (0..MANY).skip(call).step_by(5).map(id).collect();
            (direction(64, &mut next), seen)
        })
        .collect();
    let (open, nothing) = (Restriction::default(), HashSet::new());
    let searches = |query: &UnitVector| {
        let orders = [
            SearchOrder::NearestTo(query.clone()),
            SearchOrder::FarthestFrom(query.clone()),
        ];
        orders.map(|order| (order, 7))
    };
    let found = calls.iter().map(|(query, seen)| {
        let (open, nothing) = (&open, &nothing);
        let searches = searches(query).map(|(order, limit)| Search {
            order,
            restriction: open,
            exclude: seen,
            exclude_afterwards: nothing,
            limit,
        });
        let store = &store;
        async move { store.search_sharing(&searches, 0).await }
    });
    let found = run(futures_util::future::join_all(found));
    for ((query, seen), found) in calls.iter().zip(found) {
        for ((order, limit), found) in searches(query).into_iter().zip(found) {
            let search = Search {
                order,
                restriction: &open,
                exclude: seen,
                exclude_afterwards: &nothing,
                limit,
            };
            assert_eq!(found, exact_search::run(items.values(), &search));
        }
    }
}
