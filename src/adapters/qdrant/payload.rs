//! Items as payloads: what is read, in every variant that writers have left,
//! and what is written. The names of payload fields are spelled here and
//! nowhere else.

use std::collections::HashMap;

use qdrant_client::{
    Payload,
    qdrant::{Value as QdrantValue, Vector, VectorsOutput, vector, vector_output, vectors_output},
};
use serde_json::{Map, Value, json};

use super::ids::PointKey;
use crate::domain::{
    geo::GeoPoint,
    ids::ContentId,
    item::{CatalogueItem, Item, MAX_TAG_WEIGHT, Tag},
    vector::UnitVector,
};

/// Canonical tags, `facet:label`; KEYWORD index.
pub(super) const TAG_LABELS: &str = "tag_labels";
/// Canonical labels; KEYWORD index.
pub(super) const TAG_VALUES: &str = "tag_values";
/// Places; GEO index.
pub(super) const LOCATIONS: &str = "locations";
/// KEYWORD index.
pub(super) const CONTENT_TYPE: &str = "content_type";
/// The item's id, where the point's does not say it.
pub(super) const CONTENT_ID: &str = "content_id";

const TITLE: &str = "title";
const TEXT: &str = "text";
const TAGS: &str = "tags";
const HAS_IMAGE: &str = "has_image";
const WORD_COUNTS: [&str; 2] = ["text_length_words", "word_count"];
const IMAGES: [&str; 4] = ["image_url", "imageUrl", "thumbnail_url", "files_url"];
const PAGES: [&str; 2] = ["public_url", "publicUrl"];
const LOCATION: &str = "location";
const LATITUDE: &str = "lat";
const LONGITUDE: &str = "lon";
const YEARS: &str = "years";
const TIMES: &str = "time_metadata";
const DATES: &str = "dates_of_creation";
/// Four-digit years that are looked for in texts.
const YEARS_IN_TEXT: std::ops::RangeInclusive<i32> = 1800..=2099;

/// Reads an item. Odd or missing fields take their defaults: none fails it.
pub(crate) fn read(
    key: PointKey,
    payload: HashMap<String, QdrantValue>,
    vector: Option<UnitVector>,
) -> Item {
    let mut fields: Map<String, Value> = Payload::from(payload).into();
    let mut item = Item::new(match fields.remove(CONTENT_ID) {
        Some(Value::String(id)) if !id.is_empty() => ContentId::from(id.as_str()),
        _ => key.content_id(),
    });
    item.vector = vector;
    item.title = text(fields.remove(TITLE));
    item.text = text(fields.remove(TEXT));
    item.content_type = text(fields.remove(CONTENT_TYPE));
    let counts = WORD_COUNTS.map(|name| fields.remove(name).as_ref().and_then(count));
    item.word_count = counts.into_iter().flatten().next().unwrap_or_default();
    let flagged = fields.remove(HAS_IMAGE).and_then(|flag| flag.as_bool());
    let images = IMAGES.map(|name| first_text(fields.remove(name)));
    item.image_url = images.into_iter().flatten().next().unwrap_or_default();
    item.has_image = flagged.unwrap_or_default() || !item.image_url.is_empty();
    let pages = PAGES.map(|name| first_text(fields.remove(name)));
    item.public_url = pages.into_iter().flatten().next().unwrap_or_default();

    let labels = fields.remove(TAG_LABELS);
    fields.remove(TAG_VALUES);
    item.tags = tags(fields.remove(TAGS).as_ref(), labels.as_ref());
    item.locations = locations(&mut fields);
    item.years = years(&mut fields);
    item.attributes = fields;
    item
}

/// The vector of a point: the one without a name, or the one of this name. And
/// the point's other vectors, as they are written.
pub(crate) fn vectors(
    vectors: Option<VectorsOutput>,
    name: Option<&str>,
) -> (Option<UnitVector>, HashMap<String, Vector>) {
    let named = match vectors.and_then(|vectors| vectors.vectors_options) {
        None => HashMap::new(),
        Some(vectors_output::VectorsOptions::Vector(output)) => {
            HashMap::from([(String::new(), output)])
        }
        Some(vectors_output::VectorsOptions::Vectors(named)) => named.vectors,
    };
    let mut ours = None;
    let mut others = HashMap::new();
    for (of, output) in named {
        let vector = match output.into_vector() {
            vector_output::Vector::Dense(dense) if of == name.unwrap_or_default() => {
                ours = UnitVector::new(&dense.data);
                continue;
            }
            vector_output::Vector::Dense(dense) => vector::Vector::Dense(dense),
            vector_output::Vector::Sparse(sparse) => vector::Vector::Sparse(sparse),
            vector_output::Vector::MultiDense(multi) => vector::Vector::MultiDense(multi),
        };
        let vector = Vector {
            vector: Some(vector),
            ..Vector::default()
        };
        others.insert(of, vector);
    }
    (ours, others)
}

/// The payload of an item, over what its point held before: fields that an
/// item names are replaced, in all their spellings; others are kept.
pub(crate) fn write(item: &CatalogueItem, held: Map<String, Value>) -> Map<String, Value> {
    let mut fields = held;
    fields.retain(|name, _| !is_ours(name));
    if let Some(Value::Object(times)) = fields.get_mut(TIMES) {
        times.remove(DATES);
    }
    let labels: Vec<&str> = item
        .canonical_tags()
        .iter()
        .map(|(key, _)| key.as_str())
        .collect();
    let mut values: Vec<&str> = item
        .canonical_tags()
        .iter()
        .map(|(key, _)| key.label())
        .collect();
    values.sort_unstable();
    values.dedup();
    let described = item.item();
    let mut set = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    set(TAG_LABELS, json!(labels));
    set(TAG_VALUES, json!(values));
    set(HAS_IMAGE, json!(described.has_image));
    set(WORD_COUNTS[0], json!(described.word_count));
    if PointKey::hides(&described.id) {
        set(CONTENT_ID, json!(described.id.as_str()));
    }
    for (name, value) in [
        (TITLE, &described.title),
        (TEXT, &described.text),
        (CONTENT_TYPE, &described.content_type),
        (IMAGES[0], &described.image_url),
        (PAGES[0], &described.public_url),
    ] {
        if !value.is_empty() {
            set(name, json!(value));
        }
    }
    let tags: Vec<Value> = described
        .tags
        .iter()
        .map(|tag| json!({"facet": tag.facet, "label": tag.label, "weight": tag.weight}))
        .collect();
    set(TAGS, Value::Array(tags));
    if !described.locations.is_empty() {
        let places = described
            .locations
            .iter()
            .map(|place| json!({LATITUDE: place.latitude(), LONGITUDE: place.longitude()}));
        set(LOCATIONS, places.collect());
    }
    if !described.years.is_empty() {
        set(YEARS, json!(described.years));
    }
    for (name, value) in &described.attributes {
        // An attribute cannot pass for what the item says of itself.
        if !is_ours(name) {
            fields.insert(name.clone(), value.clone());
        }
    }
    fields
}

/// Whether a field is one that an item names, in any of its spellings.
pub(crate) fn is_ours(name: &str) -> bool {
    const OTHERS: [&str; 13] = [
        TITLE,
        TEXT,
        CONTENT_TYPE,
        HAS_IMAGE,
        TAGS,
        TAG_LABELS,
        TAG_VALUES,
        LOCATIONS,
        LOCATION,
        LATITUDE,
        LONGITUDE,
        YEARS,
        CONTENT_ID,
    ];
    OTHERS.contains(&name)
        || WORD_COUNTS.contains(&name)
        || IMAGES.contains(&name)
        || PAGES.contains(&name)
}

fn text(value: Option<Value>) -> String {
    match value {
        Some(Value::String(text)) => text,
        _ => String::new(),
    }
}

/// A text that says something, or the first such one of a list.
fn first_text(value: Option<Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text).filter(|text| !text.trim().is_empty()),
        Value::Array(values) => values.into_iter().find_map(|value| first_text(Some(value))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

fn count(value: &Value) -> Option<u32> {
    let count = value.as_f64()?;
    (0.0..=f64::from(u32::MAX))
        .contains(&count)
        .then_some(count as u32)
}

fn tags(tags: Option<&Value>, labels: Option<&Value>) -> Vec<Tag> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let written: Vec<Tag> = list(tags).iter().filter_map(tag).collect();
    if !written.is_empty() {
        return written;
    }
    list(labels)
        .iter()
        .filter_map(|label| {
            let (facet, label) = label.as_str()?.split_once(':')?;
            Some(Tag {
                facet: facet.to_owned(),
                label: label.to_owned(),
                weight: 1.0,
            })
        })
        .collect()
}

fn tag(value: &Value) -> Option<Tag> {
    let weight = match value.get("weight") {
        None | Some(Value::Null) => 1.0,
        Some(weight) => weight
            .as_f64()
            .filter(|weight| (0.0..=MAX_TAG_WEIGHT).contains(weight))?,
    };
    let facet = value.get("facet").and_then(Value::as_str);
    Some(Tag {
        facet: facet.unwrap_or_default().to_owned(),
        label: value.get("label")?.as_str()?.to_owned(),
        weight,
    })
}

fn locations(fields: &mut Map<String, Value>) -> Vec<GeoPoint> {
    let flat = (fields.remove(LATITUDE), fields.remove(LONGITUDE));
    let mut places: Vec<GeoPoint> = Vec::new();
    for name in [LOCATIONS, LOCATION] {
        match fields.remove(name) {
            Some(Value::Array(values)) => places.extend(values.iter().filter_map(place)),
            Some(value) => places.extend(place(&value)),
            None => {}
        }
    }
    if places.is_empty()
        && let (Some(latitude), Some(longitude)) = flat
    {
        places.extend(point(&latitude, &longitude));
    }
    places
}

fn place(value: &Value) -> Option<GeoPoint> {
    point(value.get(LATITUDE)?, value.get(LONGITUDE)?)
}

fn point(latitude: &Value, longitude: &Value) -> Option<GeoPoint> {
    GeoPoint::new(latitude.as_f64()?, longitude.as_f64()?)
}

/// Years as numbers, as our own writer leaves them; otherwise those that are
/// named in the dates of creation.
fn years(fields: &mut Map<String, Value>) -> Vec<i32> {
    let numbers = fields.remove(YEARS);
    let mut years: Vec<i32> = numbers
        .as_ref()
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|year| year.as_i64().and_then(|year| i32::try_from(year).ok()))
        .collect();
    if years.is_empty()
        && let Some(dates) = fields.get(TIMES).and_then(|times| times.get(DATES))
    {
        years_in(dates, &mut years);
    }
    years
}

fn years_in(dates: &Value, years: &mut Vec<i32>) {
    match dates {
        Value::Array(values) => values.iter().for_each(|value| years_in(value, years)),
        Value::String(text) => {
            let runs = text.split(|c: char| !c.is_ascii_digit());
            let found = runs
                .filter(|run| run.len() == 4)
                .filter_map(|run| run.parse().ok());
            for year in found.filter(|year| YEARS_IN_TEXT.contains(year)) {
                if !years.contains(&year) {
                    years.push(year);
                }
            }
        }
        Value::Number(number) => years_in(&Value::String(number.to_string()), years),
        Value::Null | Value::Bool(_) | Value::Object(_) => {}
    }
}

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
    fn tags_are_read_from_labels_where_there_are_no_others() {
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
    fn what_is_written_replaces_every_spelling_and_keeps_the_rest() {
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
            "tag_labels": ["form:cafe"], "tag_values": ["cafe"], "years": [1751], "mine": 1,
            "time_metadata": {"era": "x"}});
        assert_eq!(Value::Object(written), expected);
    }

    #[test]
    fn an_attribute_cannot_pass_for_the_item_itself() {
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

    fn rubbish() -> impl Strategy<Value = Value> {
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
        fn rubbish_in_any_field_fails_no_item(
            fields in prop::collection::vec((FIELDS, rubbish()), 0..12)
        ) {
            let read = item(Value::Object(fields.into_iter().collect()));
            let prepared = CatalogueItem::new(read, &Canonicalizer::default());
            let tags = prepared.canonical_tags();
            prop_assert!(tags.iter().all(|(_, weight)| (0.0..=1e6).contains(weight)));
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
