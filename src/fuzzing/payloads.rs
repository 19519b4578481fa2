//! Points of a collection that any program may have written.

use std::collections::HashMap;

use prost::Message as _;
use qdrant_client::{
    Payload,
    qdrant::{GetResponse, PointStruct, RetrievedPoint, UpsertPoints, Value as QdrantValue},
};
use serde_json::{Map, Value};

use super::checks::{check_item, received};
use crate::{
    adapters::qdrant::{ids::PointKey, payload},
    domain::{
        item::{CatalogueItem, Item},
        tags::Canonicalizer,
    },
};

/// Reads points as Qdrant would send them: its reply in protobuf or, if it
/// begins with a brace, the payload of one point in JSON. Accepted if Qdrant
/// could have sent one.
///
/// Whatever its fields hold, it is an item with sane values. Written and read,
/// it is the same item; written again, it is the same payload.
pub fn payloads(data: &[u8]) -> bool {
    let found = points(data);
    let any = !found.is_empty();
    found.into_iter().for_each(check_point);
    any
}

fn check_point(point: RetrievedPoint) {
    let key = PointKey::read(point.id.as_ref()).unwrap_or(PointKey::Number(7));
    let (vector, _) = payload::vectors(point.vectors, None);
    let held: Map<String, Value> = Payload::from(point.payload.clone()).into();
    let item = payload::read(key, point.payload, vector.clone());
    check_read(&item, &held);

    let prepared = CatalogueItem::new(item.clone(), &Canonicalizer::default());
    let tags = prepared.canonical_tags();
    assert!(tags.is_sorted_by(|a, b| a.0 < b.0), "a tag twice: {tags:?}");
    for before in [Map::new(), held] {
        let written = stored(&item, payload::write(&prepared, before));
        let key = PointKey::of(&item.id);
        let again = payload::read(key, written.clone(), vector.clone());
        assert_eq!(again, item, "another item when written and read");
        let prepared = CatalogueItem::new(again, &Canonicalizer::default());
        let before: Map<String, Value> = Payload::from(written.clone()).into();
        let twice = stored(&item, payload::write(&prepared, before));
        assert_eq!(twice, written, "another payload when written again");
    }
}

fn points(data: &[u8]) -> Vec<RetrievedPoint> {
    if data.first() != Some(&b'{') {
        return GetResponse::decode(data).map_or_else(|_| Vec::new(), |reply| reply.result);
    }
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(data) else {
        return Vec::new();
    };
    let point = RetrievedPoint {
        payload: Payload::from(object).into(),
        ..RetrievedPoint::default()
    };
    let reply = GetResponse {
        result: vec![point],
        ..GetResponse::default()
    };
    // JSON may nest deeper than Qdrant can send.
    GetResponse::decode(reply.encode_to_vec().as_slice())
        .map_or_else(|_| Vec::new(), |reply| reply.result)
}

fn check_read(item: &Item, held: &Map<String, Value>) {
    assert!(!item.id.as_str().is_empty());
    check_item(item);
    assert!(item.has_image || item.image_url.is_empty());
    for url in [&item.image_url, &item.public_url] {
        assert!(url.is_empty() || !url.trim().is_empty());
    }
    if !held.contains_key("years") {
        assert!(item.years.iter().all(|year| (1800..=2099).contains(year)));
    }
    let passing = item
        .attributes
        .keys()
        .find(|name| payload::fields::is_item_field(name));
    assert_eq!(passing, None, "an attribute passes for a field");
}

/// A payload as Qdrant reads it of an upsert.
fn stored(item: &Item, payload: Map<String, Value>) -> HashMap<String, QdrantValue> {
    let request = UpsertPoints {
        points: vec![PointStruct {
            id: Some(PointKey::of(&item.id).into()),
            payload: Payload::from(payload).into(),
            vectors: None,
        }],
        ..UpsertPoints::default()
    };
    let points = received(&request).points.into_iter();
    points.flat_map(|point| point.payload).collect()
}
