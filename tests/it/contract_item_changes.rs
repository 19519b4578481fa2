//! The contract of `ItemStore::update`, for every implementation of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};
use recsys::{
    domain::{
        filter::ItemFilter,
        geo::GeoPoint,
        ids::ContentId,
        item::{CatalogueItem, Item, Tag},
        item_update::{AttributeMask, ItemField, ItemMask, ItemUpdate},
        restriction::Restriction,
        tags::{Canonicalizer, TagKey},
        vector::UnitVector,
    },
    ports::{Deadline, Found, ItemRefusal, ItemStore, Search, SearchOrder},
};
use serde_json::{Map, Value, json};

use crate::support::{catalogue, items::item};

async fn read(store: &dyn ItemStore, id: &str) -> Option<Arc<CatalogueItem>> {
    let mut found = store.get(&[id.into()], Deadline::NONE).await.unwrap();
    found.remove(0)
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// An update of these fields, and of the attributes at these paths.
fn update(values: Item, fields: &[ItemField], paths: &[&[&str]]) -> ItemUpdate {
    let path = |keys: &&[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    let mask = ItemMask {
        fields: fields.iter().copied().collect(),
        attributes: AttributeMask::Paths(paths.iter().map(path).collect()),
    };
    ItemUpdate::new(values, mask)
}

fn priced(id: &str, price: i64) -> ItemUpdate {
    let mut values = Item::new(id);
    values.attributes = object(json!({ "price": price }));
    update(values, &[], &[&["price"]])
}

fn filter(text: &str) -> Restriction {
    Restriction {
        filter: Some(ItemFilter::parse(text, &Canonicalizer::default()).unwrap()),
        ..Restriction::default()
    }
}

/// The ids of the items that meet a restriction, found by a search.
async fn matching(store: &dyn ItemStore, restriction: &Restriction) -> BTreeSet<String> {
    let nothing = HashSet::new();
    let search = Search {
        order: SearchOrder::Sample {
            seed: 1,
            pinned: true,
        },
        restriction,
        exclude: &nothing,
        exclude_afterwards: &nothing,
        limit: 1_000,
    };
    let mut found = store.search(&[search], Deadline::NONE).await.unwrap();
    match found.remove(0) {
        Found::Items(items) => items.iter().map(|item| item.id().to_string()).collect(),
        Found::NoIndex | Found::Cached(_) => panic!("the store answers"),
    }
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn rich(id: &str) -> Item {
    let mut rich = item(id)
        .tag("Theme", "Clocks", 0.5)
        .vector(&[0.6, 0.8])
        .at(50.0, 5.0)
        .at(51.0, 5.0)
        .of_type("clock")
        .words(120)
        .build();
    rich.title = "A clock".into();
    rich.text = "It ticks.".into();
    rich.has_image = true;
    rich.image_url = "https://a.example/1.jpg".into();
    rich.public_url = "https://a.example/1".into();
    rich.years = vec![1890];
    rich.attributes = object(json!({
        "price": 100, "in_stock": true, "stock": {"nl": 3, "be": 1}, "odd key": 1,
        "in \"quotes\"": 1,
    }));
    rich
}

#[tokio::test]
async fn a_new_price_keeps_all_else_and_filters_see_it_at_once() {
    for store in catalogue::stores().await {
        catalogue::fill(
            &*store,
            vec![rich("7"), rich("SKU-1"), item("bare").build()],
        )
        .await;
        let cheap = filter("price < 50");
        assert_eq!(matching(&*store, &cheap).await, set(&[]));
        // Also read, so that a cache has it.
        let before = read(&*store, "SKU-1").await.unwrap();
        let updates = vec![priced("SKU-1", 49), priced("none", 1), priced("bare", 3)];
        let updated = store.update(updates).await.unwrap();
        assert_eq!(updated, [Ok(true), Ok(false), Ok(true)]);
        assert_eq!(matching(&*store, &cheap).await, set(&["SKU-1", "bare"]));
        let mut expected = before.to_item();
        expected.attributes.insert("price".to_owned(), json!(49));
        assert_eq!(read(&*store, "SKU-1").await.unwrap().to_item(), expected);
        let bare = read(&*store, "bare").await.unwrap();
        assert_eq!(json!(bare.to_item().attributes), json!({"price": 3}));
        assert!(read(&*store, "none").await.is_none(), "nothing is added");
        let other = read(&*store, "7").await.unwrap();
        assert_eq!(other.to_item().attributes["price"], json!(100));
    }
}

#[tokio::test]
async fn searches_find_an_item_by_its_new_fields_alone() {
    for store in catalogue::stores().await {
        catalogue::fill(&*store, vec![rich("a"), rich("b")]).await;
        let mut values = item("a")
            .tag("Theme", "Sea", 2.0)
            .vector(&[-1.0, 0.0])
            .at(10.0, 5.0)
            .of_type("boat")
            .build();
        values.title = "A boat".into();
        values.years = vec![2001];
        let fields = [
            ItemField::Tags,
            ItemField::Vector,
            ItemField::Location,
            ItemField::OtherLocations,
            ItemField::ContentType,
            ItemField::Title,
            ItemField::Years,
            ItemField::HasImage,
            ItemField::ImageUrl,
        ];
        let updated = store.update(vec![update(values, &fields, &[])]).await;
        assert_eq!(updated.unwrap(), [Ok(true)]);
        for (text, expected) in [
            ("tags.theme = \"sea\"", set(&["a"])),
            ("tags.theme = \"clocks\"", set(&["b"])),
            ("content_type = \"boat\"", set(&["a"])),
            ("title = \"A clock\"", set(&["b"])),
            ("years = 2001", set(&["a"])),
            ("years = 1890", set(&["b"])),
            ("has_image = true", set(&["b"])),
            ("price = 100", set(&["a", "b"])),
        ] {
            assert_eq!(matching(&*store, &filter(text)).await, expected, "{text}");
        }
        let key = |key: &str| -> TagKey { Canonicalizer::default().key(key) };
        let (open, nothing) = (Restriction::default(), HashSet::new());
        let orders = [
            (SearchOrder::TagOverlap(vec![(key("theme:sea"), 1.0)]), "a"),
            (
                SearchOrder::TagOverlap(vec![(key("theme:clocks"), 1.0)]),
                "b",
            ),
            (
                SearchOrder::NearestTo(UnitVector::new(&[-1.0, 0.1]).unwrap()),
                "a",
            ),
            (
                SearchOrder::ClosestTo(GeoPoint::new(11.0, 5.0).unwrap()),
                "a",
            ),
            (
                SearchOrder::ClosestTo(GeoPoint::new(51.0, 5.0).unwrap()),
                "b",
            ),
        ];
        for (order, expected) in orders {
            let search = Search {
                order,
                restriction: &open,
                exclude: &nothing,
                exclude_afterwards: &nothing,
                limit: 1,
            };
            let order = format!("{:?}", search.order);
            let mut found = store.search(&[search], Deadline::NONE).await.unwrap();
            let Found::Items(items) = found.remove(0) else {
                panic!("the store answers");
            };
            assert_eq!(items[0].id().as_str(), expected, "{order}");
        }
    }
}

#[tokio::test]
async fn attributes_change_by_path_with_any_names() {
    for store in catalogue::stores().await {
        catalogue::fill(&*store, vec![rich("a")]).await;
        let mut values = Item::new("a");
        values.attributes = object(json!({
            "stock": {"nl": 2, "x \"y\"": {"z": 1}}, "odd key": 2, "price": {"eur": 1},
        }));
        let paths: &[&[&str]] = &[
            &["stock", "nl"],
            &["stock", "be"],
            &["stock", "x \"y\"", "z"],
            &["odd key"],
            &["in \"quotes\""],
            &["price", "eur"],
            &["missing", "too"],
        ];
        let updated = store
            .update(vec![update(values, &[], paths)])
            .await
            .unwrap();
        assert_eq!(updated, [Ok(true)]);
        let expected = json!({
            "price": {"eur": 1}, "in_stock": true,
            "stock": {"nl": 2, "x \"y\"": {"z": 1}}, "odd key": 2,
        });
        let stored = read(&*store, "a").await.unwrap();
        assert_eq!(json!(stored.to_item().attributes), expected);
        assert_eq!(stored.title(), "A clock");
    }
}

#[tokio::test]
async fn a_mask_of_everything_replaces_the_item_and_its_attributes() {
    for store in catalogue::stores().await {
        catalogue::fill(&*store, vec![rich("SKU-1"), rich("7")]).await;
        for id in ["SKU-1", "7"] {
            let mut values = item(id).words(3).build();
            values.attributes = object(json!({"brand": "Acme"}));
            let all = ItemUpdate::new(values.clone(), ItemMask::all());
            assert_eq!(store.update(vec![all]).await.unwrap(), [Ok(true)]);
            assert_eq!(read(&*store, id).await.unwrap().to_item(), values);
        }
    }
}

#[tokio::test]
async fn updates_of_one_item_are_applied_in_order() {
    for store in catalogue::stores().await {
        catalogue::fill(&*store, vec![rich("a")]).await;
        let titled = |title: &str| {
            let mut values = Item::new("a");
            values.title = title.into();
            update(values, &[ItemField::Title], &[])
        };
        let image = |url: &str| {
            let mut values = Item::new("a");
            values.image_url = url.into();
            update(values, &[ItemField::ImageUrl], &[])
        };
        let turned = |vector: &[f32]| {
            let values = item("a").vector(vector).build();
            update(values, &[ItemField::Vector], &[])
        };
        let no_vector = update(Item::new("a"), &[ItemField::Vector], &[]);
        let no_image = update(Item::new("a"), &[ItemField::HasImage], &[]);
        let updates = vec![
            priced("a", 1),
            titled("first"),
            turned(&[1.0, 0.0]),
            image("https://a.example/2.jpg"),
            no_image.clone(),
            priced("a", 2),
            titled(""),
            no_vector,
            titled("last"),
        ];
        let updated = store.update(updates).await.unwrap();
        assert_eq!(updated, vec![Ok(true); 9]);
        let stored = read(&*store, "a").await.unwrap();
        let stored = stored.to_item();
        assert_eq!((&*stored.title, &stored.vector), ("last", &None));
        assert_eq!(stored.attributes["price"], json!(2));
        assert!(stored.has_image, "it has an image URL");
        let updates = vec![turned(&[0.0, 1.0]), image(""), no_image, titled("")];
        store.update(updates).await.unwrap();
        let stored = read(&*store, "a").await.unwrap();
        let stored = stored.to_item();
        assert_eq!(stored.vector.as_ref().unwrap().to_vec(), [0.0, 1.0]);
        assert_eq!((&*stored.title, stored.has_image), ("", false));
    }
}

#[tokio::test]
async fn an_update_with_a_vector_of_another_size_changes_nothing() {
    for store in catalogue::stores().await {
        catalogue::fill(&*store, vec![rich("a"), rich("b")]).await;
        let mut values = item("a").vector(&[1.0, 0.0, 0.0]).build();
        values.title = "new".into();
        let odd = update(values, &[ItemField::Title, ItemField::Vector], &[]);
        let updated = store.update(vec![odd, priced("b", 1)]).await.unwrap();
        assert!(
            matches!(
                updated[..],
                [
                    Err(ItemRefusal::VectorSize {
                        expected: 2,
                        given: 3,
                        ..
                    }),
                    Ok(true)
                ]
            ),
            "{updated:?}"
        );
        assert_eq!(read(&*store, "a").await.unwrap().to_item(), rich("a"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_different_fields_at_the_same_time_are_all_kept() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 20;
    for store in catalogue::stores().await {
        catalogue::fill(&*store, vec![rich("a")]).await;
        let writers = (0..WRITERS).map(|writer| {
            let store = store.shared();
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let name = format!("by_{writer}");
                    let mut values = Item::new("a");
                    values.attributes = object(json!({ &*name: round }));
                    let attribute = update(values.clone(), &[], &[&[&name]]);
                    values.word_count = round as u32;
                    let words = update(values, &[ItemField::WordCount], &[]);
                    let both = if writer == 0 {
                        vec![words, attribute]
                    } else {
                        vec![attribute]
                    };
                    for updated in store.update(both).await.unwrap() {
                        assert_eq!(updated, Ok(true));
                    }
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let stored = read(&*store, "a").await.unwrap();
        let mut expected = rich("a");
        expected.word_count = ROUNDS as u32 - 1;
        for writer in 0..WRITERS {
            let name = format!("by_{writer}");
            expected.attributes.insert(name, json!(ROUNDS - 1));
        }
        assert_eq!(stored.to_item(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_deleted_during_updates_stays_deleted() {
    for store in catalogue::stores().await {
        for round in 0..20 {
            let id = format!("i{round}");
            catalogue::fill(&*store, vec![rich(&id)]).await;
            let turned = update(
                item(&id).vector(&[0.0, 1.0]).build(),
                &[ItemField::Vector],
                &[],
            );
            let (writer, by_writer) = (store.shared(), id.clone());
            let writing = tokio::spawn(async move {
                for price in 0..5 {
                    let updates = vec![priced(&by_writer, price), turned.clone()];
                    let updated = writer.update(updates).await.unwrap();
                    // Both or none, unless it is deleted between the two.
                    assert!(updated.iter().all(Result::is_ok), "{updated:?}");
                }
            });
            let deleted = store.delete(&[id.as_str().into()]).await.unwrap();
            assert_eq!(deleted, [true]);
            writing.await.unwrap();
            assert!(read(&*store, &id).await.is_none());
        }
    }
}

fn any_update() -> impl Strategy<Value = ItemUpdate> {
    let text = || prop_oneof![Just(String::new()), "[a-z]{1,4}"];
    // Few digits: Qdrant's reader of numbers may change the last bit of longer ones.
    let place = (-9_000..9_000_i32, -18_000..18_000_i32).prop_map(|(latitude, longitude)| {
        let degrees = |hundredths: i32| f64::from(hundredths) / 100.0;
        GeoPoint::new(degrees(latitude), degrees(longitude)).unwrap()
    });
    let tag = ("[a-c]", "[a-c]", 0..200_u8).prop_map(|(facet, label, weight)| Tag {
        facet,
        label,
        weight: f64::from(weight) / 100.0,
    });
    let vector = prop_oneof![
        Just(None),
        (-1.0_f32..1.0).prop_map(|x| UnitVector::new(&[x, 1.0])),
    ];
    let value = prop_oneof![
        any::<i32>().prop_map(|number| json!(number)),
        Just(json!("text")),
        Just(json!({"x": 1})),
        Just(json!({"x": {"y": 2}, "z": [1, {"w": null}]})),
    ];
    let attributes = prop::collection::btree_map("[ab]", value, 0..3);
    let path = prop_oneof![
        Just(vec!["a"]),
        Just(vec!["b"]),
        Just(vec!["a", "x"]),
        Just(vec!["a", "x", "y"]),
        Just(vec!["b", "z"]),
    ];
    let mask = prop_oneof![
        1 => Just(AttributeMask::All),
        4 => prop::collection::vec(path, 0..3).prop_map(|paths| {
            let owned = |path: Vec<&str>| path.into_iter().map(str::to_owned).collect();
            AttributeMask::Paths(paths.into_iter().map(owned).collect())
        }),
    ];
    let fields = prop::sample::subsequence(ItemField::ALL.to_vec(), 0..=ItemField::ALL.len());
    (
        ("(7|SKU-1|none)", text(), text(), text(), text(), text()),
        prop::collection::vec(tag, 0..3),
        prop::collection::vec(place, 0..3),
        (
            0..3_u32,
            any::<bool>(),
            prop::collection::vec(1800..1900, 0..2),
        ),
        (vector, attributes),
        (fields, mask),
    )
        .prop_map(
            |(texts, tags, locations, others, (vector, attributes), mask)| {
                let (id, content_type, title, text, image_url, public_url) = texts;
                let (word_count, has_image, years) = others;
                let mut values = Item {
                    content_type,
                    title,
                    text,
                    tags,
                    word_count,
                    has_image,
                    locations,
                    image_url,
                    public_url,
                    years,
                    vector,
                    attributes: attributes.into_iter().collect(),
                    ..Item::new(id)
                };
                let (fields, attributes) = mask;
                let fields: BTreeSet<ItemField> = fields.into_iter().collect();
                if fields.contains(&ItemField::Location)
                    && !fields.contains(&ItemField::OtherLocations)
                {
                    values.locations.truncate(1);
                }
                ItemUpdate::new(values, ItemMask { fields, attributes })
            },
        )
}

#[tokio::test]
async fn any_updates_give_the_same_items_in_every_store() {
    for store in catalogue::stores().await {
        let mut runner = TestRunner::new_with_rng(
            Config::default(),
            proptest::test_runner::TestRng::deterministic_rng(
                proptest::test_runner::RngAlgorithm::ChaCha,
            ),
        );
        let batches = prop::collection::vec(any_update(), 1..5);
        for _ in 0..60 {
            let updates = batches.new_tree(&mut runner).unwrap().current();
            let ids = ["7", "SKU-1"];
            let mut expected: BTreeMap<&str, Item> = ids.iter().map(|id| (*id, rich(id))).collect();
            let stale: Vec<ContentId> = ids.iter().map(|id| (*id).into()).collect();
            store.delete(&stale).await.unwrap();
            catalogue::fill(&*store, expected.values().cloned().collect()).await;
            for update in &updates {
                if let Some(item) = expected.get_mut(update.id().as_str()) {
                    let after = update.apply(item.clone());
                    let after = CatalogueItem::new(after, &Canonicalizer::default());
                    *item = after.to_item();
                }
            }
            let updated = store.update(updates.clone()).await.unwrap();
            for (update, updated) in updates.iter().zip(updated) {
                assert_eq!(updated, Ok(update.id().as_str() != "none"), "{update:?}");
            }
            for (id, expected) in expected {
                let stored = read(&*store, id).await.unwrap();
                assert_eq!(stored.to_item(), expected, "{updates:?}");
            }
        }
    }
}
