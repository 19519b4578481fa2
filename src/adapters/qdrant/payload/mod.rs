//! Items as payloads of points.

pub(crate) mod fields;
mod read;
mod vectors;
mod write;

pub(super) use fields::{
    CONTENT_ID, CONTENT_TYPE, DATES, HAS_IMAGE, IMAGE_URLS, LOCATIONS, TAG_FACETS, TAG_LABELS,
    TAG_VALUES, TAGS, TIMES, TITLE, WORD_COUNTS, YEARS,
};
pub(crate) use read::read;
pub(crate) use vectors::vectors;
pub(crate) use write::write;
pub(super) use write::{other_spellings, values, with_integers};

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use qdrant_client::Payload;
    use serde_json::{Map, Value, json};

    use super::{read, write};
    use crate::adapters::qdrant::ids::PointKey;
    use crate::domain::{
        geo::GeoPoint,
        item::{CatalogueItem, Item, Tag},
        tags::Canonicalizer,
    };

    fn item(payload: Value) -> Item {
        let Value::Object(payload) = payload else {
            panic!("an object");
        };
        let payload: HashMap<_, _> = Payload::from(payload).into();
        read(PointKey::Number(7), payload, None)
    }

    #[test]
    fn every_spelling_of_a_field_is_read() {
        for (name, value) in [
            ("image_url", json!("a")),
            ("imageUrl", json!("a")),
            ("thumbnail_url", json!(["", "a"])),
            ("files_url", json!(["a", "b"])),
        ] {
            let item = item(json!({name: value}));
            assert_eq!(
                (item.image_url.as_str(), item.has_image),
                ("a", true),
                "{name}"
            );
        }
        assert!(!item(json!({"image_url": " ", "files_url": []})).has_image);
        assert!(item(json!({"has_image": true})).has_image);
        for name in ["public_url", "publicUrl"] {
            assert_eq!(item(json!({name: "p"})).public_url, "p");
        }
        for (name, value) in [
            ("text_length_words", json!(12)),
            ("word_count", json!(12)),
            ("word_count", json!(12.0)),
        ] {
            assert_eq!(item(json!({name: value})).word_count, 12);
        }
        let here = GeoPoint::new(1.5, 2.5).unwrap();
        for places in [
            json!({"locations": [{"lat": 1.5, "lon": 2.5}]}),
            json!({"locations": {"lat": 1.5, "lon": 2.5}}),
            json!({"location": {"lat": 1.5, "lon": 2.5}}),
            json!({"lat": 1.5, "lon": 2.5}),
            json!({"locations": [{"lat": 91, "lon": 0}, {"lat": 1.5, "lon": 2.5}]}),
        ] {
            assert_eq!(item(places.clone()).locations, [here], "{places}");
        }
    }

    #[test]
    fn years_come_from_lists_and_texts() {
        for (dates, years) in [
            (json!(["1890", "ca. 1901-1903"]), vec![1890, 1901, 1903]),
            (
                json!("made 1890, found in 12345, sold 1702 and 2001"),
                vec![1890, 2001],
            ),
            (json!([1890, null, {"x": 1}]), vec![1890]),
            (json!(true), vec![]),
        ] {
            let item = item(json!({"time_metadata": {"dates_of_creation": dates}}));
            assert_eq!(item.years, years, "{dates}");
            assert!(item.attributes.contains_key("time_metadata"));
        }
        assert_eq!(item(json!({"years": [1751, "x"]})).years, [1751]);
    }

    #[test]
    fn tags_are_read_from_labels_if_there_are_no_others() {
        let tags = |payload| -> Vec<(String, String, f64)> {
            let tags = item(payload).tags.into_iter();
            tags.map(|tag| (tag.facet, tag.label, tag.weight)).collect()
        };
        let expected = [("form".to_owned(), "a: b".to_owned(), 1.0)];
        assert_eq!(tags(json!({"tag_labels": ["form:a: b", 3, "x"]})), expected);
        assert_eq!(
            tags(json!({"tags": [{"facet": "form", "label": "a: b"}], "tag_labels": ["y:z"]})),
            expected
        );
        assert_eq!(
            tags(
                json!({"tags": [{"label": "l", "weight": 0.5}, {"label": "l", "weight": -1}, {"facet": "f"}, 7]})
            ),
            [(String::new(), "l".to_owned(), 0.5)]
        );
    }

    #[test]
    fn the_id_in_the_payload_wins_and_other_keys_are_attributes() {
        let read = item(json!({"content_id": "SKU-1", "shelf": {"row": 3}}));
        assert_eq!(read.id.as_str(), "SKU-1");
        assert_eq!(
            read.attributes,
            *json!({"shelf": {"row": 3}}).as_object().unwrap()
        );
        assert_eq!(item(json!({"content_id": 9})).id.as_str(), "7");
    }

    #[test]
    fn a_write_replaces_every_spelling_and_keeps_the_rest() {
        let mut new = Item::new("SKU-1");
        new.title = "T".into();
        new.tags = vec![Tag {
            facet: "Form".into(),
            label: "Café".into(),
            weight: 0.5,
        }];
        new.years = vec![1751];
        let prepared = CatalogueItem::new(new, &Canonicalizer::default());
        let held = json!({"imageUrl": "old", "lat": 1, "lon": 1, "word_count": 9, "mine": 1,
            "tag_labels": ["old:old"], "time_metadata": {"dates_of_creation": "1890", "era": "x"}});
        let written = write(&prepared, held.as_object().unwrap().clone());
        let expected = json!({"content_id": "SKU-1", "title": "T", "has_image": false,
            "text_length_words": 0, "tags": [{"facet": "Form", "label": "Café", "weight": 0.5}],
            "tag_labels": ["form:cafe"], "tag_values": ["cafe"], "tag_facets": ["form"], "years": [1751], "mine": 1,
            "time_metadata": {"era": "x"}});
        assert_eq!(Value::Object(written), expected);
    }

    #[test]
    fn an_attribute_cannot_replace_a_field_of_the_item() {
        let mut new = Item::new("5");
        new.attributes = Map::from_iter([
            ("content_id".to_owned(), json!("9")),
            ("tag_labels".to_owned(), json!(["x:y"])),
            ("own".to_owned(), json!(1)),
        ]);
        let prepared = CatalogueItem::new(new, &Canonicalizer::default());
        let written = write(&prepared, Map::new());
        assert!(!written.contains_key("content_id"));
        assert_eq!(
            (&written["tag_labels"], &written["own"]),
            (&json!([]), &json!(1))
        );
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|number| json!(number)),
            any::<f64>().prop_map(|number| json!(number)),
            "\\PC{0,12}".prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::vec(("lat|lon|label|facet|weight|x", inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    const FIELDS: &str = "title|text|content_type|text_length_words|word_count|has_image|image_url|imageUrl|thumbnail_url|files_url|public_url|publicUrl|tags|tag_labels|tag_values|locations|location|lat|lon|time_metadata|years|content_id|other";

    proptest! {
        #[test]
        fn an_item_is_read_whatever_its_fields_hold(
            fields in prop::collection::vec((FIELDS, any_value()), 0..12)
        ) {
            let read = item(Value::Object(fields.into_iter().collect()));
            let prepared = CatalogueItem::new(read, &Canonicalizer::default());
            let mut tags = prepared.canonical_tags();
            prop_assert!(tags.all(|(_, weight)| (0.0..=1e6).contains(&weight)));
        }

        #[test]
        fn an_item_survives_being_written_and_read(
            id in "[a-z0-9-]{1,20}", title in "\\PC{0,20}", words in any::<u32>(),
            tags in prop::collection::vec(("[a-zé]{0,6}", "[a-z: é]{1,8}", 0.0..9.0), 0..5),
            places in prop::collection::vec((-90.0..90.0, -180.0..180.0), 0..3),
            years in prop::collection::vec(-3000..3000_i32, 0..3), url in "[a-z]{0,5}",
        ) {
            let mut new = Item::new(id.as_str());
            new.title = title;
            new.word_count = words;
            new.tags = tags.into_iter()
                .map(|(facet, label, weight)| Tag { facet, label, weight }).collect();
            new.locations = places.into_iter()
                .map(|(lat, lon)| GeoPoint::new(lat, lon).unwrap()).collect();
            new.years = years;
            new.image_url = url.clone();
            new.has_image = !url.is_empty();
            new.attributes = Map::from_iter([("own".to_owned(), json!([1, {"a": null}]))]);
            let prepared = CatalogueItem::new(new.clone(), &Canonicalizer::default());
            let payload: HashMap<_, _> = Payload::from(write(&prepared, Map::new())).into();
            prop_assert_eq!(read(PointKey::of(&new.id), payload, None), new);
        }
    }
}
