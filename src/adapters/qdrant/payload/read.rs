//! Reads items from payloads, in every form that writers have left.

use std::collections::HashMap;

use qdrant_client::{Payload, qdrant::Value as QdrantValue};
use serde_json::{Map, Value};

use super::fields::{
    CONTENT_ID, CONTENT_TYPE, DATES, HAS_IMAGE, IMAGE_URLS, LATITUDE, LOCATION, LOCATIONS,
    LONGITUDE, PAGE_URLS, TAG_FACETS, TAG_LABELS, TAG_VALUES, TAGS, TEXT, TIMES, TITLE,
    WORD_COUNTS, YEARS,
};
use crate::{
    adapters::qdrant::ids::PointKey,
    domain::{
        geo::GeoPoint,
        ids::ContentId,
        item::{Item, MAX_TAG_WEIGHT, Tag},
        vector::UnitVector,
    },
};

/// Four-digit numbers in this range are years.
const YEARS_IN_TEXT: std::ops::RangeInclusive<i32> = 1800..=2099;

/// Reads an item from the payload and vector of a point. Missing and malformed
/// fields take their defaults.
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
    let images = IMAGE_URLS.map(|name| first_text(fields.remove(name)));
    item.image_url = images.into_iter().flatten().next().unwrap_or_default();
    item.has_image = flagged.unwrap_or_default() || !item.image_url.is_empty();
    let pages = PAGE_URLS.map(|name| first_text(fields.remove(name)));
    item.public_url = pages.into_iter().flatten().next().unwrap_or_default();

    let labels = fields.remove(TAG_LABELS);
    fields.remove(TAG_VALUES);
    fields.remove(TAG_FACETS);
    item.tags = tags(fields.remove(TAGS).as_ref(), labels.as_ref());
    item.locations = locations(&mut fields);
    item.years = years(&mut fields);
    item.attributes = fields;
    item
}

fn text(value: Option<Value>) -> String {
    match value {
        Some(Value::String(text)) => text,
        _ => String::new(),
    }
}

/// A text that is not blank, or the first such text of a list.
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

/// Years as numbers, as recsys writes them; otherwise the years in the dates of
/// creation.
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
