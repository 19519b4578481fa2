//! The items of e-commerce events: of the specification that RudderStack and Segment
//! share, and of GA4.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{
    element::{SkipReason, unreadable},
    paths::{id_at, id_of, list_at},
};
use crate::domain::meaning::NormalForm;

/// Most items of an element: an event may have as many impressions.
const MAX_ITEMS: usize = 1_000;
/// Where an event lists its items.
const LISTS: [&str; 3] = [
    "properties.products",
    "properties.items",
    "properties.ecommerce.items",
];
/// Where an event has its only item.
const SINGLE: [&str; 7] = [
    "properties.product_id",
    "properties.productId",
    "properties.item_id",
    "properties.itemId",
    "properties.content_id",
    "properties.contentId",
    "properties.sku",
];
/// Where a listed item has its id.
const KEYS: [&str; 8] = [
    "product_id",
    "productId",
    "item_id",
    "itemId",
    "content_id",
    "contentId",
    "sku",
    "id",
];
/// The normal forms of the events that show their items.
const SHOWN: [&str; 8] = [
    "product list viewed",
    "product list filtered",
    "products searched",
    "promotion viewed",
    "view item list",
    "view search results",
    "view promotion",
    "product impressions",
];

/// Whether the items of an event were on display, and nothing was done with them.
pub(super) fn are_shown(event_type: &str) -> bool {
    NormalForm::of(event_type).is_some_and(|form| SHOWN.contains(&form.as_str()))
}

/// The only item of an event.
pub(super) fn item(payload: &Map<String, Value>) -> Result<Option<String>, SkipReason> {
    for path in SINGLE {
        if let Some(id) = id_at(payload, path)? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The items that an event lists, each once. One without an id is left out.
pub(super) fn items(payload: &Map<String, Value>) -> Result<Vec<String>, SkipReason> {
    let mut seen = HashSet::new();
    let mut items = Vec::new();
    for path in LISTS {
        let listed = list_at(payload, path)?;
        if listed.len() > MAX_ITEMS {
            let rule = format!("must have at most {MAX_ITEMS} entries");
            return Err(unreadable(path, &rule));
        }
        for (index, value) in listed.iter().enumerate() {
            let id = listed_id(value, &format!("{path}[{index}]"))?;
            items.extend(id.filter(|id| seen.insert(id.clone())));
        }
    }
    Ok(items)
}

fn listed_id(value: &Value, path: &str) -> Result<Option<String>, SkipReason> {
    let Value::Object(object) = value else {
        let id = id_of(Some(value), path);
        return id.map_err(|_| unreadable(path, "must be an object, or an id"));
    };
    for key in KEYS {
        if let Some(id) = id_of(object.get(key), &format!("{path}.{key}"))? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}
