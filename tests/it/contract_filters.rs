//! Filters give the same items in every store.

use std::collections::HashSet;

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};
use recsys::{
    domain::{
        filter::ItemFilter,
        item::{CatalogueItem, Item},
        restriction::Restriction,
        tags::Canonicalizer,
        vector::UnitVector,
    },
    ports::{Deadline, Found, ItemStore, Search, SearchOrder, StoreErrorKind},
};
use serde_json::{Value, json};

use crate::support::{catalogue, items::item};

fn attributes(mut item: Item, attributes: Value) -> Item {
    let Value::Object(attributes) = attributes else {
        panic!("an object");
    };
    item.attributes = attributes;
    item
}

/// The ids of all items that the filter admits, found in each of several orders.
async fn found(store: &dyn ItemStore, filter: &ItemFilter) -> Vec<Vec<String>> {
    let restriction = Restriction {
        filter: Some(filter.clone()),
        ..Restriction::default()
    };
    let nothing = HashSet::new();
    let sample = |pinned| SearchOrder::Sample { seed: 7, pinned };
    let along = UnitVector::new(&[1.0, 0.2]).unwrap();
    let orders = [sample(false), sample(true), SearchOrder::NearestTo(along)];
    let searches = orders.map(|order| Search {
        order,
        restriction: &restriction,
        exclude: &nothing,
        exclude_afterwards: &nothing,
        limit: 1_000,
    });
    let found = store.search(&searches, Deadline::NONE).await.unwrap();
    found
        .into_iter()
        .map(|found| match found {
            Found::Items(items) => {
                let mut ids: Vec<_> = items.iter().map(|item| item.id().to_string()).collect();
                ids.sort();
                ids
            }
            Found::NoIndex | Found::Cached(_) => panic!("the store answers"),
        })
        .collect()
}

fn shop() -> Vec<Item> {
    let mut typed = item("typed").tag("Brand", "Acme", 1.0).build();
    typed.content_type = "bundle".into();
    typed.title = "A clock".into();
    typed.word_count = 120;
    typed.has_image = true;
    typed.years = vec![1890, 1901];
    vec![
        attributes(
            item("cheap").tag("theme", "Clocks", 1.0).build(),
            json!({"price": 99, "in_stock": true, "since": "2026-03-01T10:00:00Z"}),
        ),
        attributes(
            item("dear").tag("theme", "Très calme", 0.5).build(),
            json!({"price": 150.5, "in_stock": false, "sizes": ["S", "M"], "stock": {"nl": 3}}),
        ),
        attributes(
            item("odd").build(),
            json!({"price": "99", "in_stock": null, "sizes": [], "stock": {"nl": "3"}}),
        ),
        attributes(
            item("7").build(),
            json!({"price": [10, 200], "sizes": [null], "since": "2025-12-31", "odd key": 1}),
        ),
        typed,
        item("bare").build(),
    ]
}

#[tokio::test]
async fn a_filter_admits_the_same_items_in_every_store() {
    let every = ["7", "bare", "cheap", "dear", "odd", "typed"];
    let cases: [(&str, &[&str]); 30] = [
        ("price <= 150", &["7", "cheap"]),
        ("price = 99", &["cheap"]),
        ("price = \"99\"", &["odd"]),
        ("price != 99", &["7", "dear", "odd"]),
        ("NOT price = 99", &["7", "bare", "dear", "odd", "typed"]),
        ("price > 150 AND price < 160", &["7", "dear"]),
        ("price:*", &["7", "cheap", "dear", "odd"]),
        ("NOT price:*", &["bare", "typed"]),
        ("in_stock = true", &["cheap"]),
        ("in_stock != true", &["dear"]),
        ("in_stock:*", &["cheap", "dear"]),
        ("sizes:\"M\"", &["dear"]),
        ("sizes:*", &["7", "dear"]),
        ("sizes != \"M\"", &["7"]),
        ("stock.nl >= 3", &["dear"]),
        ("stock.nl = \"3\"", &["odd"]),
        ("stock:*", &["dear", "odd"]),
        ("\"odd key\" = 1", &["7"]),
        ("since > 2026-01-01T00:00:00Z", &["cheap"]),
        ("since <= 2026-03-01T10:00:00Z", &["7", "cheap"]),
        ("content_type = \"bundle\"", &["typed"]),
        ("content_type != \"film\"", &["typed"]),
        ("title:*", &["typed"]),
        ("word_count < 5", &["7", "bare", "cheap", "dear", "odd"]),
        ("word_count > 5", &["typed"]),
        ("has_image = false", &["7", "bare", "cheap", "dear", "odd"]),
        ("years > 1900 AND years < 1900", &["typed"]),
        (
            "tags.theme = \"clocks\" OR tags.brand:*",
            &["cheap", "typed"],
        ),
        ("tags.theme != \"clocks\"", &["dear"]),
        ("id = \"7\" OR id = \"cheap\"", &["7", "cheap"]),
    ];
    let canonical = Canonicalizer::default();
    for store in catalogue::stores().await {
        catalogue::fill(&*store, shop()).await;
        // Items without vector are in no search by cosine.
        for (text, expected) in &cases {
            let filter = ItemFilter::parse(text, &canonical).unwrap();
            let found = found(&*store, &filter).await;
            assert_eq!(found[0], *expected, "{text}");
            assert_eq!(found[1], *expected, "{text}");
            assert!(found[2].is_empty(), "{text}");
            let inverse = ItemFilter::parse(&format!("NOT ({text})"), &canonical).unwrap();
            let rest = every.into_iter().filter(|id| !expected.contains(id));
            let rest: Vec<&str> = rest.collect();
            assert_eq!(
                self::found(&*store, &inverse).await[0],
                rest,
                "NOT ({text})"
            );
        }
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let scalar = || {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3_i64..4).prop_map(Value::from),
            prop::sample::select(vec![0.5, -1.5, 2.0]).prop_map(Value::from),
            prop::sample::select(vec![
                "",
                "a",
                "b",
                "1",
                "2026-01-02T00:00:00Z",
                "2026-01-02"
            ])
            .prop_map(Value::from),
        ]
    };
    prop_oneof![
        3 => scalar(),
        1 => prop::collection::vec(scalar(), 0..3).prop_map(Value::from),
        1 => scalar().prop_map(|value| json!({"n": value})),
    ]
}

fn any_item(number: usize) -> impl Strategy<Value = Item> {
    let keys = prop::sample::select(vec!["p", "q", "odd key"]);
    let attributes = prop::collection::btree_map(keys, any_value(), 0..3);
    let tags = prop::collection::vec(prop::sample::select(vec!["x", "Y z"]), 0..2);
    let parts = (
        attributes,
        tags,
        any::<bool>(),
        0_u32..3,
        0_usize..3,
        any::<bool>(),
    );
    parts.prop_map(move |(given, tags, has_image, words, years, is_film)| {
        let id = if number.is_multiple_of(2) {
            number.to_string()
        } else {
            format!("i{number}")
        };
        let mut built = item(&id).vector(&[1.0, number as f32 / 7.0]);
        for tag in tags {
            built = built.tag("theme", tag, 1.0);
        }
        let mut built = built.build();
        let given = given
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        built.attributes = given.collect();
        built.has_image = has_image;
        built.word_count = words;
        built.years = [1900, 1950][..years].to_vec();
        built.content_type = if is_film {
            "film".into()
        } else {
            String::new()
        };
        built
    })
}

/// Texts of filters.
fn any_filter() -> impl Strategy<Value = String> {
    let term = prop::sample::select(vec![
        "p = 1",
        "p != 1",
        "p < 1",
        "p >= 0.5",
        "p:*",
        "p = \"a\"",
        "p != \"a\"",
        "p:\"b\"",
        "p = true",
        "p != false",
        "q = \"\"",
        "q.n = 1",
        "q.n:*",
        "q.n != \"a\"",
        "p > 2026-01-01T00:00:00Z",
        "p = 2026-01-02T00:00:00Z",
        "p != 2026-01-02T00:00:00Z",
        "\"odd key\":*",
        "tags.theme:*",
        "tags.theme = \"x\"",
        "tags.theme != \"y z\"",
        "tags.other:*",
        "has_image = true",
        "has_image != true",
        "has_image:*",
        "word_count = 0",
        "word_count != 1",
        "word_count <= 1",
        "word_count:*",
        "years:*",
        "years >= 1950",
        "years != 1900",
        "content_type:*",
        "content_type = \"film\"",
        "content_type != \"film\"",
        "title:*",
        "id = \"2\"",
        "id != \"i1\"",
        "id:*",
    ])
    .prop_map(str::to_owned);
    term.prop_recursive(4, 12, 3, |inner| {
        let parts = || prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            parts().prop_map(|parts| format!("({})", parts.join(" AND "))),
            parts().prop_map(|parts| format!("({})", parts.join(" OR "))),
            inner.prop_map(|part| format!("NOT ({part})")),
        ]
    })
}

#[tokio::test]
async fn any_filter_admits_what_its_evaluation_on_items_says() {
    const CATALOGUES: usize = 4;
    const FILTERS: usize = 60;
    let canonical = Canonicalizer::default();
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..CATALOGUES {
        let items: Vec<Item> = (0..24)
            .map(|number| any_item(number).new_tree(&mut runner).unwrap().current())
            .collect();
        let filters: Vec<String> = (0..FILTERS)
            .map(|_| any_filter().new_tree(&mut runner).unwrap().current())
            .collect();
        let catalogued = items.iter().cloned();
        let catalogued: Vec<CatalogueItem> = catalogued
            .map(|item| CatalogueItem::new(item, &canonical))
            .collect();
        for store in catalogue::stores().await {
            catalogue::fill(&*store, items.clone()).await;
            for text in &filters {
                let filter = ItemFilter::parse(text, &canonical).unwrap();
                let expected = catalogued.iter().filter(|item| filter.matches(item));
                let mut expected: Vec<_> = expected.map(|item| item.id().to_string()).collect();
                expected.sort();
                for ids in found(&*store, &filter).await {
                    assert_eq!(ids, expected, "{text}\n{items:#?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_filter_that_qdrant_cannot_evaluate_is_refused_and_says_what_to_do() {
    use crate::support::qdrant::QdrantServer;
    use qdrant_client::qdrant::{Distance, StrictModeConfig};

    let qdrant = QdrantServer::start().await;
    qdrant.create_collection("items", 2, Distance::Cosine);
    let mut settings = catalogue::own_settings();
    settings.collection_name = "items".into();
    let store = catalogue::store(&qdrant.url(), &settings);
    let refusal = async |text: &str| {
        let restriction = Restriction {
            filter: Some(ItemFilter::parse(text, &Canonicalizer::default()).unwrap()),
            ..Restriction::default()
        };
        let nothing = HashSet::new();
        let search = Search {
            order: SearchOrder::Sample {
                seed: 1,
                pinned: false,
            },
            restriction: &restriction,
            exclude: &nothing,
            exclude_afterwards: &nothing,
            limit: 5,
        };
        let found = ItemStore::search(&store, &[search], Deadline::NONE).await;
        found
            .map(drop)
            .map_err(|error| (error.kind(), error.to_string()))
    };
    for (text, field) in [
        ("years > 1900", "years"),
        ("has_image = true", "has_image"),
        ("NOT tags.theme:*", "tags.theme:*"),
    ] {
        let (kind, message) = refusal(text).await.unwrap_err();
        assert_eq!(kind, StoreErrorKind::Unprepared, "{text}");
        assert!(message.contains(field), "{message}");
        assert!(message.contains("recsys catalog import"), "{message}");
    }
    assert_eq!(refusal("price > 3").await, Ok(()));
    let strict = StrictModeConfig {
        enabled: Some(true),
        unindexed_filtering_retrieve: Some(false),
        ..StrictModeConfig::default()
    };
    qdrant.strict("items", strict);
    let (kind, message) = refusal("price > 3").await.unwrap_err();
    assert_eq!(kind, StoreErrorKind::Unprepared);
    assert!(message.contains("recsys catalog index price"), "{message}");
}
