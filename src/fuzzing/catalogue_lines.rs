//! Lines of a catalogue file.

use std::collections::HashMap;

use qdrant_client::{
    Payload,
    qdrant::{PointStruct, UpsertPoints},
};
use serde_json::{Map, Value, json};

use super::checks::{check_item, must, received};
use crate::{
    adapters::qdrant::{ids::PointKey, payload},
    domain::{
        catalogue_line::{self, MAX_CONTENT_ID_BYTES},
        item::{CatalogueItem, Item, Tag},
        tags::Canonicalizer,
    },
};

/// Reads a line.
///
/// What is accepted keeps the rules of an item, is the same item when it is
/// written as a line, can be told to clients, and can be imported: Qdrant reads
/// it, and its point says the same. What is refused is told so.
pub fn catalogue_lines(data: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(data) else {
        return false;
    };
    match catalogue_line::parse(line) {
        Ok(item) => {
            check_line(&item);
            check_import(&item);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn check_line(item: &Item) {
    assert!((1..=MAX_CONTENT_ID_BYTES).contains(&item.id.as_str().len()));
    for tag in &item.tags {
        assert_eq!(tag.broken_rules(), []);
    }
    assert!(item.locations.len() <= 1);
    check_item(item);
    let again = must(catalogue_line::parse(&line(item)), "refused when written");
    assert_eq!(again, *item, "another item when written as a line");
}

/// The item as a line; a field that says nothing is left out.
fn line(item: &Item) -> String {
    let mut object = item.attributes.clone();
    let mut set = |name: &str, value: Value| {
        let known = object.insert(name.to_owned(), value);
        assert_eq!(known, None, "an attribute passes for {name}");
    };
    set("id", json!(item.id.as_str()));
    set("title", json!(item.title));
    set("text", json!(item.text));
    set("content_type", json!(item.content_type));
    let tag = |tag: &Tag| json!({"facet": tag.facet, "label": tag.label, "weight": tag.weight});
    set("tags", item.tags.iter().map(tag).collect());
    let vector = item.vector.as_ref().map(|vector| vector.as_slice());
    set("vector", json!(vector));
    set("word_count", json!(item.word_count));
    set("has_image", json!(item.has_image));
    let place = item.locations.first();
    set("lat", json!(place.map(|place| place.latitude())));
    set("lon", json!(place.map(|place| place.longitude())));
    set("image_url", json!(item.image_url));
    set("public_url", json!(item.public_url));
    set("years", json!(item.years));
    Value::Object(object).to_string()
}

fn check_import(item: &Item) {
    let key = PointKey::of(&item.id);
    let prepared = CatalogueItem::new(item.clone(), &Canonicalizer::default());
    let request = UpsertPoints {
        points: vec![PointStruct {
            id: Some(key.into()),
            payload: Payload::from(payload::write(&prepared, Map::new())).into(),
            vectors: None,
        }],
        ..UpsertPoints::default()
    };
    let written: HashMap<_, _> = received(&request)
        .points
        .into_iter()
        .flat_map(|point| point.payload)
        .collect();
    let read = payload::read(key, written, item.vector.clone());
    let said = |item: &Item| {
        (
            item.id.clone(),
            [item.title.clone(), item.text.clone()],
            item.content_type.clone(),
            item.tags.clone(),
            item.locations.clone(),
            item.word_count,
        )
    };
    assert_eq!(said(&read), said(item), "another item when imported");
}
