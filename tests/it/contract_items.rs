//! The contract of `ItemStore`, for every implementation of it.

use std::{collections::HashSet, time::Duration};

use recsys::{
    adapters::memory::MemoryItemStore,
    domain::{
        geo::{Circle, GeoPoint},
        ids::ContentId,
        item::Item,
        restriction::Restriction,
        tags::{Canonicalizer, TagKey},
        vector::UnitVector,
    },
    ports::{Deadline, Found, ItemRefusal, ItemStore, Search, SearchOrder},
};
use serde_json::json;

use crate::support::{
    catalogue::{self, TestStore},
    items::{half_circle, item},
};

async fn all() -> Vec<TestStore> {
    let memory = MemoryItemStore::new(Canonicalizer::default(), 64 << 20);
    let mut stores = vec![TestStore::without_collection(memory)];
    for url in catalogue::urls().await {
        let canonical = Canonicalizer::default;
        stores.push(TestStore::create(&url, canonical(), 2).await);
        stores.push(TestStore::create_without_tag_vector(&url, canonical(), 2).await);
        stores.push(TestStore::create_mirrored(&url, canonical(), 2).await);
    }
    stores
}

struct OwnedSearch {
    order: SearchOrder,
    restriction: Restriction,
    exclude: HashSet<ContentId>,
    exclude_afterwards: HashSet<ContentId>,
    limit: usize,
}

impl OwnedSearch {
    fn new(order: SearchOrder, limit: usize) -> Self {
        Self {
            order,
            restriction: Restriction::default(),
            exclude: HashSet::new(),
            exclude_afterwards: HashSet::new(),
            limit,
        }
    }

    async fn of(&self, store: &dyn ItemStore) -> Vec<String> {
        let search = Search {
            order: self.order.clone(),
            restriction: &self.restriction,
            exclude: &self.exclude,
            exclude_afterwards: &self.exclude_afterwards,
            limit: self.limit,
        };
        let mut found = store.search(&[search], Deadline::NONE).await.unwrap();
        assert_eq!(found.len(), 1, "one result for each search");
        match found.remove(0) {
            Found::Items(items) => items.iter().map(|item| item.id().to_string()).collect(),
            Found::NoIndex | Found::Cached(_) => {
                panic!("no index is missing and the store answers")
            }
        }
    }
}

fn direction(x: f32, y: f32) -> UnitVector {
    UnitVector::new(&[x, y]).unwrap()
}

#[tokio::test]
async fn nearest_and_farthest_are_exact_and_leave_out_items_without_vector() {
    for store in all().await {
        catalogue::fill(&*store, half_circle(100)).await;
        catalogue::fill(&*store, vec![item("bare").build()]).await;
        let nearest = OwnedSearch::new(SearchOrder::NearestTo(direction(1.0, 0.0)), 3);
        assert_eq!(nearest.of(&*store).await, ["i000", "i001", "i002"]);
        let farthest = OwnedSearch::new(SearchOrder::FarthestFrom(direction(1.0, 0.0)), 3);
        assert_eq!(farthest.of(&*store).await, ["i099", "i098", "i097"]);
        let every = OwnedSearch::new(SearchOrder::NearestTo(direction(1.0, 0.0)), 1_000);
        assert_eq!(every.of(&*store).await.len(), 100);
        let other_size = UnitVector::new(&[1.0, 0.0, 0.0]).unwrap();
        assert!(
            OwnedSearch::new(SearchOrder::NearestTo(other_size), 5)
                .of(&*store)
                .await
                .is_empty()
        );
    }
}

#[tokio::test]
async fn ties_are_ordered_by_id_whatever_the_limit() {
    for store in all().await {
        let same = |id: &str| item(id).vector(&[0.0, 1.0]).build();
        catalogue::fill(&*store, ["b", "a", "10", "9", "é", "B"].map(same).into()).await;
        let mut query = OwnedSearch::new(SearchOrder::NearestTo(direction(0.0, 1.0)), 10);
        let order = query.of(&*store).await;
        assert_eq!(order, ["10", "9", "B", "a", "b", "é"]);
        for limit in 1..6 {
            query.limit = limit;
            assert_eq!(query.of(&*store).await, order[..limit]);
        }
        query.limit = 0;
        assert!(query.of(&*store).await.is_empty());
    }
}

#[tokio::test]
async fn tag_overlap_weighs_affinity_with_item_weight_in_canonical_form() {
    for store in all().await {
        catalogue::fill(
            &*store,
            vec![
                item("half").tag("Theme", "Jazz", 0.5).build(),
                item("full").tag("theme", "JAZZ", 1.0).build(),
                item("both")
                    .tag("theme", "jazz", 0.5)
                    .tag("mood", "Très calme", 1.0)
                    .build(),
                item("none").tag("theme", "Rock", 1.0).build(),
                item("zero").tag("theme", "jazz", 0.0).build(),
            ],
        )
        .await;
        let canonical = Canonicalizer::default();
        let weights = vec![
            (canonical.key("theme:jazz"), 1.0),
            (canonical.key("mood:tres_calme"), 0.6),
        ];
        let found = OwnedSearch::new(SearchOrder::TagOverlap(weights), 10)
            .of(&*store)
            .await;
        assert_eq!(found, ["both", "full", "half"]);
    }
}

#[tokio::test]
async fn the_item_that_shares_most_is_found_among_many_that_share_something() {
    const MANY: usize = 1_200;
    let tags: Vec<String> = (0..20).map(|number| format!("tag {number}")).collect();
    let weights: Vec<(TagKey, f64)> = (tags.iter().zip(0..))
        .map(|(tag, place)| {
            let key = Canonicalizer::default().key(&format!("t:{tag}"));
            (key, 1.0 / f64::from(1 + place))
        })
        .collect();
    for store in all().await {
        let mut items: Vec<Item> = (0..MANY)
            .map(|number| {
                let tag = &tags[number % 2];
                item(&number.to_string()).tag("t", tag, 1.0).build()
            })
            .collect();
        let several = |id: &str, places: [usize; 4]| {
            let built = item(id);
            let tagged = places.into_iter().map(|place| &tags[place]);
            tagged
                .fold(built, |built, tag| built.tag("t", tag, 1.0))
                .build()
        };
        items.push(several("9001", [1, 2, 3, 4]));
        items.push(several("9002", [0, 5, 6, 7]));
        catalogue::fill(&*store, items).await;
        let found = OwnedSearch::new(SearchOrder::TagOverlap(weights.clone()), 2)
            .of(&*store)
            .await;
        assert_eq!(found, ["9002", "9001"]);
    }
}

#[tokio::test]
async fn the_closest_comes_first_and_the_nearest_of_several_locations_counts() {
    for store in all().await {
        catalogue::fill(
            &*store,
            vec![
                item("far").at(52.0, 5.0).build(),
                item("two").at(60.0, 5.0).at(50.0, 5.0).build(),
                item("mid").at(51.0, 5.0).build(),
                item("nowhere").build(),
            ],
        )
        .await;
        let here = GeoPoint::new(50.0, 5.0).unwrap();
        let found = OwnedSearch::new(SearchOrder::ClosestTo(here), 10)
            .of(&*store)
            .await;
        assert_eq!(found, ["two", "mid", "far"]);
    }
}

#[tokio::test]
async fn a_sample_is_reproducible_uniform_and_without_repeats() {
    for store in all().await {
        catalogue::fill(&*store, half_circle(50)).await;
        let sample = |seed| OwnedSearch::new(SearchOrder::Sample { seed, pinned: true }, 10);
        let mut drawn = vec![0_u32; 50];
        for seed in 0..1_000 {
            let found = sample(seed).of(&*store).await;
            assert_eq!(found.len(), 10);
            assert_eq!(found.iter().collect::<HashSet<_>>().len(), 10);
            for id in found {
                drawn[id[1..].parse::<usize>().unwrap()] += 1;
            }
        }
        // 200 expected each; the standard deviation is about 13.
        assert!(
            drawn.iter().all(|count| (130..270).contains(count)),
            "{drawn:?}"
        );
        assert_eq!(sample(3).of(&*store).await, sample(3).of(&*store).await);
        assert_ne!(sample(3).of(&*store).await, sample(4).of(&*store).await);
        let whole = OwnedSearch::new(
            SearchOrder::Sample {
                seed: 3,
                pinned: true,
            },
            50,
        )
        .of(&*store)
        .await;
        assert_eq!(
            whole[..10],
            sample(3).of(&*store).await,
            "a longer sample begins with the same items"
        );
    }
}

#[tokio::test]
async fn exclusions_and_restrictions_hold_in_every_order() {
    for store in all().await {
        let build = |id: &str, label: &str| {
            item(id)
                .vector(&[1.0, 0.0])
                .tag("t", label, 1.0)
                .at(50.0, 5.0)
                .of_type("film")
                .build()
        };
        catalogue::fill(
            &*store,
            vec![build("a", "x"), build("b", "x"), build("c", "y")],
        )
        .await;
        let canonical = Canonicalizer::default();
        let point = GeoPoint::new(50.0, 5.0).unwrap();
        let orders = [
            SearchOrder::NearestTo(direction(1.0, 0.0)),
            SearchOrder::FarthestFrom(direction(1.0, 0.0)),
            SearchOrder::TagOverlap(vec![
                (canonical.key("t:x"), 1.0),
                (canonical.key("t:y"), 1.0),
            ]),
            SearchOrder::ClosestTo(point),
            SearchOrder::Sample {
                seed: 1,
                pinned: true,
            },
        ];
        for order in orders {
            let mut query = OwnedSearch::new(order, 10);
            assert_eq!(query.of(&*store).await.len(), 3);
            query.exclude_afterwards = HashSet::from(["b".into()]);
            assert_eq!(query.of(&*store).await.len(), 2, "{:?}", query.order);
            query.exclude = HashSet::from(["a".into()]);
            assert_eq!(query.of(&*store).await, ["c"], "{:?}", query.order);
            query.exclude_afterwards.clear();
            query.restriction.label = Some("x".into());
            assert_eq!(query.of(&*store).await, ["b"], "{:?}", query.order);
            query.restriction = Restriction {
                must: vec![canonical.key("t:x")],
                content_types: vec!["film".into()],
                within: Some(Circle {
                    center: point,
                    radius_m: 1.0,
                }),
                ..Restriction::default()
            };
            assert_eq!(query.of(&*store).await, ["b"]);
            query.restriction = Restriction {
                must_not: vec![canonical.key("t:x")],
                ..Restriction::default()
            };
            assert_eq!(query.of(&*store).await, ["c"]);
        }
    }
}

#[tokio::test]
async fn a_circle_ends_where_its_radius_does_in_every_order() {
    for store in all().await {
        // A degree of latitude is 111,195 m.
        let place = |id: &str, latitude: f64| {
            let there = item(id).at(latitude, 5.0).vector(&[1.0, 0.0]);
            there.tag("t", "x", 1.0).build()
        };
        catalogue::fill(&*store, vec![place("in", 50.998), place("out", 51.002)]).await;
        let sample = |pinned| SearchOrder::Sample { seed: 1, pinned };
        let center = GeoPoint::new(50.0, 5.0).unwrap();
        for order in [
            SearchOrder::NearestTo(direction(1.0, 0.0)),
            SearchOrder::FarthestFrom(direction(1.0, 0.0)),
            SearchOrder::TagOverlap(vec![(Canonicalizer::default().key("t:x"), 1.0)]),
            SearchOrder::ClosestTo(center),
            sample(true),
            sample(false),
        ] {
            let mut query = OwnedSearch::new(order, 10);
            for (radius_m, within) in [(111_195.0, 1), (112_000.0, 2)] {
                query.restriction.within = Some(Circle { center, radius_m });
                let found = query.of(&*store).await;
                assert_eq!(found.len(), within, "{found:?}, {:?}", query.order);
                assert!(found.contains(&"in".to_owned()), "{:?}", query.order);
            }
        }
    }
}

#[tokio::test]
async fn a_pinned_sample_is_of_all_items_however_many() {
    // More than one page of a scroll.
    const ITEMS: usize = 10_001;
    for store in all().await {
        let items = (0..ITEMS).map(|index| item(&index.to_string()).build());
        catalogue::fill(&*store, items.collect()).await;
        let pinned = SearchOrder::Sample {
            seed: 1,
            pinned: true,
        };
        let every = OwnedSearch::new(pinned, 2 * ITEMS);
        // A loop without end must not block the other tests.
        let found = tokio::time::timeout(Duration::from_secs(120), every.of(&*store)).await;
        let found: HashSet<String> = found.unwrap().into_iter().collect();
        assert_eq!(found.len(), ITEMS);
    }
}

#[tokio::test]
async fn items_excluded_afterwards_are_replaced() {
    for store in all().await {
        catalogue::fill(&*store, half_circle(300)).await;
        let sixths =
            (0..6).map(|sixth| Canonicalizer::default().key(&format!("theme:sixth {sixth}")));
        let orders = [
            SearchOrder::NearestTo(direction(1.0, 0.0)),
            SearchOrder::FarthestFrom(direction(-1.0, 0.0)),
            SearchOrder::TagOverlap(sixths.map(|tag| (tag, 1.0)).collect()),
            SearchOrder::Sample {
                seed: 1,
                pinned: true,
            },
            SearchOrder::Sample {
                seed: 1,
                pinned: false,
            },
        ];
        for order in orders {
            let mut query = OwnedSearch::new(order, 10);
            query.exclude_afterwards = (0..285)
                .map(|index| ContentId::from(format!("i{index:03}").as_str()))
                .collect();
            let found = query.of(&*store).await;
            assert_eq!(found.len(), 10, "{:?}", query.order);
            assert!(found.iter().all(|id| **id >= *"i285"), "{found:?}");
            if !matches!(query.order, SearchOrder::Sample { .. }) {
                assert_eq!(
                    (&*found[0], &*found[9]),
                    ("i285", "i294"),
                    "{:?}",
                    query.order
                );
            }
        }
    }
}

#[tokio::test]
async fn an_upsert_replaces_the_fields_of_an_item_and_keeps_other_attributes() {
    for store in all().await {
        let mut first = item("a")
            .tag("t", "x", 1.0)
            .vector(&[1.0, 0.0])
            .at(50.0, 5.0)
            .build();
        first.attributes = json!({"shelf": 1, "old": true})
            .as_object()
            .unwrap()
            .clone();
        catalogue::fill(&*store, vec![first]).await;
        let mut second = item("a").build();
        second.title = "new".into();
        second.attributes = json!({"shelf": 2}).as_object().unwrap().clone();
        catalogue::fill(&*store, vec![second]).await;

        let found = store
            .get(&["a".into(), "b".into()], Deadline::NONE)
            .await
            .unwrap();
        let stored = found[0].as_ref().unwrap().to_item();
        assert_eq!(
            (
                stored.title.as_str(),
                stored.tags.len(),
                stored.locations.len()
            ),
            ("new", 0, 0)
        );
        assert!(stored.vector.is_none());
        assert_eq!(json!(stored.attributes), json!({"old": true, "shelf": 2}));
        assert!(found[1].is_none());
        assert!(
            OwnedSearch::new(SearchOrder::NearestTo(direction(1.0, 0.0)), 9)
                .of(&*store)
                .await
                .is_empty()
        );
    }
}

#[tokio::test]
async fn vectors_are_all_of_one_size() {
    for store in all().await {
        // In memory the first vector sets the size; a collection has its own.
        assert!([None, Some(2)].contains(&store.vector_size()));
        catalogue::fill(&*store, vec![item("a").vector(&[3.0, 4.0]).build()]).await;
        assert_eq!(store.vector_size(), Some(2));
        let odd = item("b").vector(&[1.0, 0.0, 0.0]).build();
        let refused = store.upsert(vec![odd, item("c").build()]).await.unwrap();
        assert!(
            matches!(
                refused[..],
                [
                    Err(ItemRefusal::VectorSize {
                        expected: 2,
                        given: 3,
                        ..
                    }),
                    Ok(())
                ]
            ),
            "{refused:?}"
        );
        assert!(store.get(&["b".into()], Deadline::NONE).await.unwrap()[0].is_none());
        let a = store.get(&["a".into()], Deadline::NONE).await.unwrap()[0]
            .clone()
            .unwrap();
        assert_eq!(a.vector().unwrap().to_vec(), [0.6, 0.8], "normalized");
    }
}

#[tokio::test]
async fn a_deleted_item_is_gone_from_every_search() {
    for store in all().await {
        catalogue::fill(&*store, half_circle(5)).await;
        let deleted = store
            .delete(&["i001".into(), "i009".into(), "i001".into()])
            .await
            .unwrap();
        assert_eq!(deleted, [true, false, false]);
        let left = OwnedSearch::new(
            SearchOrder::Sample {
                seed: 1,
                pinned: true,
            },
            9,
        )
        .of(&*store)
        .await;
        assert_eq!(left.len(), 4);
        assert!(!left.contains(&"i001".to_owned()));
    }
}

#[tokio::test]
async fn a_batch_of_searches_is_answered_in_order() {
    for store in all().await {
        catalogue::fill(&*store, half_circle(10)).await;
        let (open, nothing) = (Restriction::default(), HashSet::new());
        let search = |order| Search {
            order,
            restriction: &open,
            exclude: &nothing,
            exclude_afterwards: &nothing,
            limit: 1,
        };
        let found = store
            .search(
                &[
                    search(SearchOrder::FarthestFrom(direction(1.0, 0.0))),
                    search(SearchOrder::NearestTo(direction(1.0, 0.0))),
                ],
                Deadline::NONE,
            )
            .await
            .unwrap();
        let firsts: Vec<String> = found
            .iter()
            .map(|found| match found {
                Found::Items(items) => items[0].id().to_string(),
                Found::NoIndex | Found::Cached(_) => {
                    panic!("no index is missing and the store answers")
                }
            })
            .collect();
        assert_eq!(firsts, ["i009", "i000"]);
    }
}

#[tokio::test]
async fn a_full_catalogue_refuses_and_stays_as_it_is() {
    let store = MemoryItemStore::new(Canonicalizer::default(), 10_000);
    let mut stored = 0;
    let refusal = loop {
        match store.put(item(&stored.to_string()).build()) {
            Ok(()) => stored += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal, ItemRefusal::Full);
    assert_eq!(store.len(), stored);
    let mut grown = item("0").build();
    grown.text = "x".repeat(10_000);
    assert_eq!(store.put(grown), Err(ItemRefusal::Full));
    assert!(
        store.get(&["0".into()], Deadline::NONE).await.unwrap()[0].is_some(),
        "the old version stays"
    );
    store.delete(&["0".into()]).await.unwrap();
    store.put(item("new").build()).unwrap();
}
