//! Writes items as payloads.

use serde_json::{Map, Value, json};

use super::fields::{
    CONTENT_ID, CONTENT_TYPE, DATES, HAS_IMAGE, IMAGE_URLS, LATITUDE, LOCATION, LOCATIONS,
    LONGITUDE, PAGE_URLS, TAG_FACETS, TAG_LABELS, TAG_VALUES, TAGS, TEXT, TIMES, TITLE,
    WORD_COUNTS, YEARS, is_item_field,
};
use crate::{
    adapters::qdrant::ids::PointKey,
    domain::{item::CatalogueItem, item_update::ItemField, tags::TagKey},
};

/// The payload of an item, given what its point held before. The item's own
/// fields replace those in all their spellings; other fields are kept.
pub(crate) fn write(item: &CatalogueItem, before: Map<String, Value>) -> Map<String, Value> {
    let mut fields = before;
    fields.retain(|name, _| !is_item_field(name));
    if let Some(Value::Object(times)) = fields.get_mut(TIMES) {
        times.remove(DATES);
    }
    let id = item.id();
    if PointKey::is_hash_of(id) {
        fields.insert(CONTENT_ID.to_owned(), json!(id.as_str()));
    }
    for (name, value) in ItemField::ALL.iter().flat_map(|field| values(item, *field)) {
        fields.extend(value.map(|value| (name.to_owned(), value)));
    }
    for (name, value) in item.attributes() {
        // An attribute cannot replace a field of the item itself.
        if !is_item_field(name) {
            fields.insert(name.to_owned(), with_integers(value));
        }
    }
    fields
}

/// The payload fields that hold a field of an item, with their values; `None` if the
/// item does not have it.
pub(crate) fn values(item: &CatalogueItem, field: ItemField) -> Vec<(&'static str, Option<Value>)> {
    let text = |name, text: &str| vec![(name, (!text.is_empty()).then(|| json!(text)))];
    match field {
        ItemField::ContentType => text(CONTENT_TYPE, item.content_type()),
        ItemField::Title => text(TITLE, item.title()),
        ItemField::Text => text(TEXT, item.text()),
        ItemField::Tags => tags(item),
        ItemField::WordCount => vec![(WORD_COUNTS[0], Some(json!(item.word_count())))],
        ItemField::HasImage => vec![(HAS_IMAGE, Some(json!(item.has_image())))],
        ItemField::Location | ItemField::OtherLocations => {
            let places = item.locations().iter();
            let places =
                places.map(|at| json!({LATITUDE: at.latitude(), LONGITUDE: at.longitude()}));
            let places: Vec<Value> = places.collect();
            vec![(
                LOCATIONS,
                (!places.is_empty()).then_some(Value::Array(places)),
            )]
        }
        ItemField::ImageUrl => text(IMAGE_URLS[0], item.image_url()),
        ItemField::PublicUrl => text(PAGE_URLS[0], item.public_url()),
        ItemField::Years => {
            let years = (!item.years().is_empty()).then(|| json!(item.years()));
            vec![(YEARS, years)]
        }
        ItemField::Vector => Vec::new(),
    }
}

/// Other payload fields that hold a field of an item if another program wrote it.
pub(crate) fn other_spellings(field: ItemField) -> &'static [&'static str] {
    match field {
        ItemField::WordCount => &WORD_COUNTS[1..],
        ItemField::Location | ItemField::OtherLocations => &[LOCATION, LATITUDE, LONGITUDE],
        ItemField::ImageUrl => &IMAGE_URLS[1..],
        ItemField::PublicUrl => &PAGE_URLS[1..],
        ItemField::ContentType
        | ItemField::Title
        | ItemField::Text
        | ItemField::Tags
        | ItemField::HasImage
        | ItemField::Years
        | ItemField::Vector => &[],
    }
}

fn tags(item: &CatalogueItem) -> Vec<(&'static str, Option<Value>)> {
    let keys = item.canonical_tags().map(|(key, _)| key);
    let labels: Vec<&str> = keys.clone().map(TagKey::as_str).collect();
    let mut values: Vec<&str> = keys.map(TagKey::label).collect();
    values.sort_unstable();
    values.dedup();
    let facets = labels.iter().filter_map(|label| label.split_once(':'));
    let mut facets: Vec<&str> = facets.map(|(facet, _)| facet).collect();
    facets.sort_unstable();
    facets.dedup();
    let tags = item.tags().iter();
    let tags =
        tags.map(|tag| json!({"facet": tag.facet(), "label": tag.label(), "weight": tag.weight()}));
    vec![
        (TAG_LABELS, Some(json!(labels))),
        (TAG_VALUES, Some(json!(values))),
        (TAG_FACETS, Some(json!(facets))),
        (TAGS, Some(tags.collect())),
    ]
}

/// Largest number below which every whole number is exact.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A value with whole numbers as integers: an index of integers has only those, and
/// protobuf's JSON has none.
pub(crate) fn with_integers(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < MAX_WHOLE => {
                json!(float as i64)
            }
            _ => value.clone(),
        },
        Value::Array(values) => values.iter().map(with_integers).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (name.clone(), with_integers(value)));
            Value::Object(fields.collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}
