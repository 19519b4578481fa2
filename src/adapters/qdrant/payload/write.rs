//! Writes items as payloads.

use serde_json::{Map, Value, json};

use super::fields::{
    CONTENT_ID, CONTENT_TYPE, DATES, HAS_IMAGE, IMAGE_URLS, LATITUDE, LOCATIONS, LONGITUDE,
    PAGE_URLS, TAG_FACETS, TAG_LABELS, TAG_VALUES, TAGS, TEXT, TIMES, TITLE, WORD_COUNTS, YEARS,
    is_item_field,
};
use crate::{adapters::qdrant::ids::PointKey, domain::item::CatalogueItem};

/// The payload of an item, given what its point held before. The item's own
/// fields replace those in all their spellings; other fields are kept.
pub(crate) fn write(item: &CatalogueItem, before: Map<String, Value>) -> Map<String, Value> {
    let mut fields = before;
    fields.retain(|name, _| !is_item_field(name));
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
    let facets = labels.iter().filter_map(|label| label.split_once(':'));
    let mut facets: Vec<&str> = facets.map(|(facet, _)| facet).collect();
    facets.sort_unstable();
    facets.dedup();
    let described = item.item();
    let mut set = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    set(TAG_LABELS, json!(labels));
    set(TAG_VALUES, json!(values));
    set(TAG_FACETS, json!(facets));
    set(HAS_IMAGE, json!(described.has_image));
    set(WORD_COUNTS[0], json!(described.word_count));
    if PointKey::is_hash_of(&described.id) {
        set(CONTENT_ID, json!(described.id.as_str()));
    }
    for (name, value) in [
        (TITLE, &described.title),
        (TEXT, &described.text),
        (CONTENT_TYPE, &described.content_type),
        (IMAGE_URLS[0], &described.image_url),
        (PAGE_URLS[0], &described.public_url),
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
        // An attribute cannot replace a field of the item itself.
        if !is_item_field(name) {
            fields.insert(name.clone(), with_integers(value));
        }
    }
    fields
}

/// Largest number below which every whole number is exact.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// A value with whole numbers as integers: an index of integers has only those, and
/// protobuf's JSON has none.
fn with_integers(value: &Value) -> Value {
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
