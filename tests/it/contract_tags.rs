//! Searches by tags find the same items by the sparse vector, by payload and in memory.

use std::collections::HashSet;

use qdrant_client::{
    Payload,
    qdrant::{PointStruct, UpsertPoints, Vectors, points_client::PointsClient},
};
use recsys::{
    adapters::{
        memory::MemoryItemStore,
        qdrant::{PutOutcome, TagVectors},
    },
    domain::{
        ids::ContentId,
        item::Item,
        item_update::{AttributeMask, ItemField, ItemMask, ItemUpdate},
        restriction::Restriction,
        tags::{Canonicalizer, TagKey},
    },
    ports::{Deadline, Found, ItemStore, Search, SearchOrder},
};
use serde_json::json;

use crate::support::{
    catalogue::{self, TestCollection, TestStore},
    items::item,
};

fn tag(key: &str) -> TagKey {
    Canonicalizer::default().key(key)
}

/// Numbers from 0 up to 1 that look random.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1_u64 << 24) as f64
    }
}

/// Items with three to six of 200 tags, the first ones the most frequent.
fn tagged(count: usize) -> Vec<Item> {
    let mut numbers = Numbers(7);
    let items = (0..count).map(|number| {
        let mut built = item(&number.to_string()).of_type(["film", "book"][number % 2]);
        for _ in 0..3 + number % 4 {
            let place = (numbers.next() * numbers.next() * 200.0) as usize;
            built = built.tag("t", &place.to_string(), 0.01 + numbers.next());
        }
        built.build()
    });
    items.collect()
}

fn weights() -> Vec<(TagKey, f64)> {
    let mut numbers = Numbers(11);
    let weights = (0..20).map(|place| (tag(&format!("t:{}", place * 3)), numbers.next()));
    let mut weights: Vec<_> = weights.collect();
    weights.sort_by(|a, b| b.1.total_cmp(&a.1));
    weights
}

async fn fill(store: &dyn ItemStore, items: &[Item]) {
    for chunk in items.chunks(1_000) {
        for stored in store.upsert(chunk.to_vec()).await.unwrap() {
            stored.unwrap();
        }
    }
}

/// Which items a search must not find.
#[derive(Default)]
struct Excluded {
    by_query: HashSet<ContentId>,
    afterwards: HashSet<ContentId>,
}

async fn found(
    store: &dyn ItemStore,
    weights: &[(TagKey, f64)],
    restriction: &Restriction,
    excluded: &Excluded,
    limit: usize,
) -> Vec<String> {
    let search = Search {
        order: SearchOrder::TagOverlap(weights.to_vec()),
        restriction,
        exclude: &excluded.by_query,
        exclude_afterwards: &excluded.afterwards,
        limit,
    };
    let found = store.search(&[search], Deadline::NONE).await.unwrap();
    match &found[..] {
        [Found::Items(items)] => items.iter().map(|item| item.id().to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

async fn first(store: &dyn ItemStore, key: &str, limit: usize) -> Vec<String> {
    let open = Restriction::default();
    found(
        store,
        &[(tag(key), 1.0)],
        &open,
        &Excluded::default(),
        limit,
    )
    .await
}

fn memory() -> TestStore {
    let memory = MemoryItemStore::new(Canonicalizer::default(), 64 << 20);
    TestStore::without_collection(memory)
}

#[tokio::test]
async fn the_sparse_vector_gives_the_exact_overlaps_of_a_large_catalogue() {
    let items = tagged(4_000);
    let memory = memory();
    fill(&*memory, &items).await;
    let weights = weights();
    let open = Restriction::default();
    let best = found(&*memory, &weights, &open, &Excluded::default(), 1_500).await;
    let ids = |ids: &[String]| ids.iter().map(|id| ContentId::from(id.as_str())).collect();
    let seen = |by_query: usize, afterwards: usize| Excluded {
        by_query: ids(&best[..by_query]),
        afterwards: ids(&best[by_query..by_query + afterwards]),
    };
    for url in catalogue::urls().await {
        let store = TestStore::create(&url, Canonicalizer::default(), 2).await;
        fill(&*store, &items).await;
        for restriction in [
            open.clone(),
            Restriction {
                content_types: vec!["film".to_owned()],
                ..Restriction::default()
            },
            Restriction {
                must: vec![tag("t:0")],
                must_not: vec![tag("t:3")],
                ..Restriction::default()
            },
        ] {
            for excluded in [seen(0, 0), seen(50, 0), seen(600, 0), seen(100, 900)] {
                for limit in [1, 30, 200] {
                    let expected = found(&*memory, &weights, &restriction, &excluded, limit).await;
                    let found = found(&*store, &weights, &restriction, &excluded, limit).await;
                    assert_eq!(
                        found,
                        expected,
                        "{limit} without {} and {}, {restriction:?}",
                        excluded.by_query.len(),
                        excluded.afterwards.len()
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn lists_are_equal_with_and_without_the_sparse_vector() {
    let items = tagged(150);
    let memory = memory();
    fill(&*memory, &items).await;
    for url in catalogue::urls().await {
        let canonical = Canonicalizer::default;
        for store in [
            TestStore::create(&url, canonical(), 2).await,
            TestStore::create_without_tag_vector(&url, canonical(), 2).await,
        ] {
            fill(&*store, &items).await;
            let open = Restriction::default();
            for limit in [5, 30, 150] {
                let nothing = Excluded::default();
                assert_eq!(
                    found(&*store, &weights(), &open, &nothing, limit).await,
                    found(&*memory, &weights(), &open, &nothing, limit).await,
                );
            }
        }
    }
}

/// Writes points as a program does that knows nothing of the vector of tags.
async fn insert(collection: &TestCollection, points: impl IntoIterator<Item = (u64, &str, f64)>) {
    let points = points.into_iter().map(|(id, label, weight)| PointStruct {
        id: Some(id.into()),
        payload: Payload::try_from(json!({
            "title": format!("T{id}"),
            "tags": [{"facet": "t", "label": label, "weight": weight}],
            "tag_labels": [format!("t:{label}")],
        }))
        .unwrap()
        .into(),
        vectors: Some(Vectors::from(vec![1.0, 0.0])),
    });
    let upsert = UpsertPoints {
        collection_name: collection.settings.collection_name.clone(),
        wait: Some(true),
        points: points.collect(),
        ..UpsertPoints::default()
    };
    let mut client = PointsClient::new(collection.channel().await);
    client.upsert(upsert).await.unwrap();
}

#[tokio::test]
async fn an_existing_collection_gets_the_vector_at_all_its_points() {
    for url in catalogue::urls().await {
        let collection = TestCollection::without_tag_vector(&url, 2).await;
        insert(&collection, (0..1_200).map(|id| (id, "x", 1.0))).await;
        insert(&collection, [(5_000, "y", 0.3), (5_001, "y", 0.6)]).await;
        let store = collection.store();
        store.prepare(Some(2)).await.unwrap();
        fill(
            &store,
            &[item("5002").tag("t", "y", 0.9).vector(&[0.0, 1.0]).build()],
        )
        .await;
        let added = store.add_tag_vectors().await.unwrap();
        assert!(
            matches!(added, TagVectors::Complete { added: 1_203 }),
            "{added:?}"
        );
        let again = store.add_tag_vectors().await.unwrap();
        assert!(matches!(again, TagVectors::Complete { added: 0 }));
        for store in [&store, &collection.store()] {
            assert_eq!(first(store, "t:y", 10).await, ["5002", "5001", "5000"]);
            assert_eq!(first(store, "t:x", 10).await.len(), 10);
            // The items' own vectors are as they were.
            let read = store
                .get(&["5002".into(), "7".into()], Deadline::NONE)
                .await;
            let vectors: Vec<_> = read
                .unwrap()
                .into_iter()
                .map(|item| {
                    let item = item.expect("an item");
                    item.vector().expect("a vector").to_vec()
                })
                .collect();
            assert_eq!(vectors, [[0.0, 1.0], [1.0, 0.0]]);
        }
    }
}

#[tokio::test]
async fn writes_keep_the_vector_of_tags_current() {
    for url in catalogue::urls().await {
        let collection = TestCollection::new(&url);
        let store = collection.store();
        store.prepare(Some(2)).await.unwrap();
        let with = |label: &str, weight| item("a").tag("t", label, weight).build();
        let put = async |item: Item| store.put(vec![item]).await.unwrap().remove(0).unwrap();
        assert_eq!(put(with("x", 1.0)).await, PutOutcome::Written);
        assert_eq!(put(with("x", 1.0)).await, PutOutcome::Unchanged);
        assert_eq!(first(&store, "t:x", 5).await, ["a"]);
        assert_eq!(put(with("y", 0.5)).await, PutOutcome::Written);
        assert!(first(&store, "t:x", 5).await.is_empty());
        assert_eq!(first(&store, "t:y", 5).await, ["a"]);
        put(item("a").build()).await;
        assert!(first(&store, "t:y", 5).await.is_empty());
        let mask = ItemMask {
            fields: [ItemField::Tags].into(),
            attributes: AttributeMask::Paths(Vec::new()),
        };
        let update = ItemUpdate::new(with("v", 1.0), mask);
        assert_eq!(store.update(vec![update]).await.unwrap(), [Ok(true)]);
        assert_eq!(first(&store, "t:v", 5).await, ["a"]);
        put(with("z", 2.0)).await;
        store.delete(&["a".into()]).await.unwrap();
        assert!(first(&store, "t:z", 5).await.is_empty());
    }
}

#[tokio::test]
async fn points_that_other_programs_wrote_without_the_vector_are_found() {
    for url in catalogue::urls().await {
        for lacking in [3, 150, 400] {
            let collection = TestCollection::new(&url);
            let own = collection.store();
            own.prepare(Some(2)).await.unwrap();
            fill(&own, &[item("9001").tag("t", "x", 0.5).build()]).await;
            fill(&own, &[item("9002").tag("t", "x", 0.7).build()]).await;
            insert(&collection, (0..lacking).map(|id| (id, "y", 1.0))).await;
            insert(&collection, [(8_000, "x", 0.6), (8_001, "z", 0.6)]).await;
            // One that replaces what recsys wrote.
            insert(&collection, [(9_001, "x", 0.4)]).await;
            let store = collection.store();
            assert_eq!(first(&store, "t:x", 5).await, ["9002", "8000", "9001"]);
            let tags = [(tag("t:x"), 1.0), (tag("t:y"), 0.1)];
            let restriction = Restriction {
                must_not: vec![tag("t:y")],
                ..Restriction::default()
            };
            let excluded = Excluded {
                by_query: HashSet::from(["8000".into()]),
                ..Excluded::default()
            };
            let found = found(&store, &tags, &restriction, &excluded, 5).await;
            assert_eq!(found, ["9002", "9001"], "{lacking}");
        }
    }
}

/// These two have the same dimension.
const SAME_DIMENSION: [&str; 2] = ["49373", "72233"];

#[tokio::test]
async fn tags_that_share_a_dimension_do_not_hide_each_other() {
    let [wanted, other] = SAME_DIMENSION;
    for url in catalogue::urls().await {
        let collection = TestCollection::new(&url);
        let store = collection.store();
        store.prepare(Some(2)).await.unwrap();
        let others = (0..500).map(|id| item(&id.to_string()).tag("t", other, 1.0).build());
        let others: Vec<_> = others.collect();
        fill(&store, &others).await;
        let both = item("9000").tag("t", wanted, 0.2).tag("t", other, 0.2);
        let items = [
            both.build(),
            item("9001").tag("t", wanted, 0.5).build(),
            item("9002").tag("t", wanted, 0.4).build(),
        ];
        fill(&store, &items).await;
        for store in [&store, &collection.store()] {
            let key = format!("t:{wanted}");
            assert_eq!(first(store, &key, 10).await, ["9001", "9002", "9000"]);
            assert_eq!(first(store, &key, 1).await, ["9001"]);
            assert_eq!(first(store, &format!("t:{other}"), 10).await.len(), 10);
        }
    }
}
