use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

use super::{CatalogueItem, Item, Tag};
use crate::domain::{geo::GeoPoint, tags::Canonicalizer, vector::UnitVector};

fn tag(facet: &str, label: &str, weight: f64) -> Tag {
    Tag {
        facet: facet.into(),
        label: label.into(),
        weight,
    }
}

fn prepared(item: Item) -> CatalogueItem {
    CatalogueItem::new(item, &Canonicalizer::default())
}

#[test]
fn the_last_weight_of_a_repeated_tag_counts() {
    let mut item = Item::new("1");
    item.tags = vec![
        tag("Theme", "Café", 0.2),
        tag("theme", "other", 1.0),
        tag("theme", "CAFE", 0.7),
    ];
    let item = prepared(item);
    let tags = item.canonical_tags();
    let tags: Vec<_> = tags.map(|(key, weight)| (key.as_str(), weight)).collect();
    assert_eq!(tags, [("theme:cafe", 0.7), ("theme:other", 1.0)]);
    let other = Canonicalizer::default().key("THEME:Other");
    assert!(item.has_label("cafe") && item.has_tag(&other));
}

/// Takes minutes if each tag is compared with all earlier ones.
#[test]
fn many_tags_are_prepared_quickly() {
    let mut item = Item::new("1");
    item.tags = (0..100_000)
        .map(|index| tag("theme", &index.to_string(), 1.0))
        .collect();
    assert_eq!(prepared(item).canonical_tags().count(), 100_000);
}

#[test]
fn an_image_url_implies_an_image() {
    let mut item = Item::new("1");
    item.image_url = "https://a.example/1.jpg".into();
    assert!(prepared(item).has_image());
}

/// An item of a catalogue of embeddings takes little more than its vector.
#[test]
fn an_item_has_few_small_allocations() {
    let mut item = Item::new("item-00001");
    item.title = "A title".into();
    item.tags = (0..5)
        .map(|index| tag("theme", &format!("t{}", index * 7 % 5), 1.0))
        .collect();
    item.vector = UnitVector::new(&[0.5; 384]);
    let allocations: Vec<usize> = prepared(item).allocations().collect();
    let overhead = allocations.iter().sum::<usize>() - 4 * 384 - "item-00001A title".len();
    assert!(overhead <= 250, "{allocations:?}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]{0,2}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

fn any_item() -> impl Strategy<Value = Item> {
    let text = || "\\PC{0,8}";
    let tags = vec(("[aAb:é]{0,2}", "[aAb :é-]{0,3}", 0.0..9.0), 0..6);
    let attributes = prop::collection::btree_map("\\PC{0,4}", any_json(), 0..5);
    let place = (-90.0..=90.0, -180.0..=180.0);
    let lists = (vec(place, 0..3), vec(any::<i32>(), 0..3));
    let numbers = (
        any::<u32>(),
        any::<bool>(),
        option::of(vec(-1.0_f32..1.0, 1..4)),
    );
    let texts = (text(), text(), text(), text(), text(), text());
    (texts, tags, attributes, lists, numbers).prop_map(
        |(texts, tags, attributes, (places, years), (word_count, has_image, vector))| {
            let (id, content_type, title, text, image_url, public_url) = texts;
            Item {
                id: id.into(),
                content_type,
                title,
                text,
                tags: tags
                    .iter()
                    .map(|(facet, label, weight)| tag(facet, label, *weight))
                    .collect(),
                word_count,
                has_image,
                locations: places
                    .into_iter()
                    .filter_map(|(x, y)| GeoPoint::new(x, y))
                    .collect(),
                image_url,
                public_url,
                years,
                vector: vector.and_then(|vector| UnitVector::new(&vector)),
                attributes: attributes.into_iter().collect(),
            }
        },
    )
}

proptest! {
    #[test]
    fn an_item_is_given_back_as_it_was_described(item in any_item()) {
        let prepared = prepared(item.clone());
        let mut expected = item.clone();
        expected.has_image |= !item.image_url.is_empty();
        prop_assert_eq!(prepared.to_item(), expected.clone());
        prop_assert!(prepared.is_described_by(&expected));
        prop_assert_eq!(prepared.is_described_by(&item), item == expected);

        prop_assert_eq!(prepared.id(), &item.id);
        prop_assert_eq!(prepared.content_type(), item.content_type);
        prop_assert_eq!(prepared.title(), item.title);
        prop_assert_eq!(prepared.text(), item.text);
        prop_assert_eq!(prepared.image_url(), item.image_url);
        prop_assert_eq!(prepared.public_url(), item.public_url);
        for (name, value) in &item.attributes {
            prop_assert_eq!(prepared.attribute(name), Some(value));
        }
        prop_assert_eq!(prepared.attribute("no such name"), None);
    }

    #[test]
    fn an_item_is_described_by_no_other(item in any_item(), other in any_item(), field in 0..13) {
        let mut changed = item.clone();
        match field {
            0 => changed.id = other.id,
            1 => changed.content_type = other.content_type,
            2 => changed.title = other.title,
            3 => changed.text = other.text,
            4 => changed.tags = other.tags,
            5 => changed.word_count = other.word_count,
            6 => changed.has_image = other.has_image,
            7 => changed.locations = other.locations,
            8 => changed.image_url = other.image_url,
            9 => changed.public_url = other.public_url,
            10 => changed.years = other.years,
            11 => changed.vector = other.vector,
            _ => changed.attributes = other.attributes,
        }
        let item = prepared(item);
        prop_assert_eq!(item.is_described_by(&changed), item.to_item() == changed);
    }

    #[test]
    fn canonical_tags_are_sorted_and_each_has_its_last_weight(item in any_item()) {
        let canonical = Canonicalizer::default();
        let mut expected = BTreeMap::new();
        for tag in &item.tags {
            let key = canonical.key(&format!("{}:{}", tag.facet, tag.label));
            expected.insert(key, tag.weight);
        }
        let written = item.tags.clone();
        let item = prepared(item);
        let tags = item.canonical_tags().map(|(key, weight)| (key.clone(), weight));
        prop_assert!(tags.eq(expected.clone()));
        prop_assert!(expected.keys().all(|key| item.has_tag(key) && item.has_label(key.label())));
        prop_assert!(!item.has_tag(&canonical.key("theme:none")));
        for (own, tag) in item.tags().iter().zip(&written) {
            let model_key = format!("{}:{}", tag.facet, tag.label).to_lowercase();
            prop_assert_eq!(own.model_key().as_str(), model_key);
        }
    }
}
