//! Valid inputs, from the fixtures and the sample: what is damaged begins here.

use std::sync::Arc;

use prost::Message;
use qdrant_client::{
    Payload,
    qdrant::{
        DenseVector, GetResponse, PointId, RetrievedPoint, VectorOutput, VectorsOutput,
        vector_output, vectors_output,
    },
};
use serde_json::{Map, Value, json};

use super::{checks::must, world};
use crate::{
    adapters::{
        qdrant::{ids::PointKey, payload},
        redis::model_json,
    },
    api::reply,
    domain::{
        catalogue_line,
        event::InteractionEvent,
        event_member,
        item::{CatalogueItem, Item},
        ranking_config::{ExplorationStrategy, RankingConfig},
        signals,
        tags::Canonicalizer,
        user_signals::UserSignals,
    },
    ports::{StoredModel, Version},
    proto,
};

/// Lines of the sample that are taken.
const SAMPLE_LINES: usize = 6;

fn sample_lines() -> Vec<&'static str> {
    let sample = include_str!("../../assets/sample-catalogue.jsonl");
    sample.lines().take(SAMPLE_LINES).collect()
}

fn sample_items() -> Vec<Item> {
    let lines = sample_lines().into_iter();
    lines
        .map(|line| must(catalogue_line::parse(line), "a sample's item"))
        .collect()
}

/// Buffers and models of both programs.
fn redis_fixtures() -> Vec<Value> {
    let text = include_str!("../../tests/fixtures/conformance/redis.json");
    must(serde_json::from_str(text), "redis.json")
}

fn events() -> Vec<InteractionEvent> {
    let mut events: Vec<InteractionEvent> = world::events().iter().cloned().collect();
    for event in &mut events {
        event.dwell_seconds = event.dwell_seconds.map(|dwell| dwell.min(86_400.0));
    }
    if let Some(last) = events.last_mut() {
        last.event_id = Some("e-1".to_owned());
        last.query_text = Some("a \"quoted\" word".to_owned());
        last.clicked_id = Some("1004".to_owned());
        last.survey_answers.insert("rating".to_owned(), json!(4.5));
        let nested = json!({"a": [1.0, null, {"b": true}]});
        last.survey_answers.insert("nested".to_owned(), nested);
    }
    events
}

/// A request with the byte that says which.
fn request(kind: u8, message: &impl Message) -> Vec<u8> {
    let mut input = vec![kind];
    input.extend(message.encode_to_vec());
    input
}

pub(super) fn requests() -> Vec<Vec<u8>> {
    let told: Vec<proto::InteractionEvent> = events().iter().map(reply::event).collect();
    let ids: Vec<String> = ["1001", "SKU-1", "é"].map(str::to_owned).into();
    let mut seeds: Vec<Vec<u8>> = told
        .iter()
        .rev()
        .take(4)
        .map(|event| {
            let event = Some(event.clone());
            request(0, &proto::IngestEventRequest { event })
        })
        .collect();
    seeds.push(request(
        1,
        &proto::BatchIngestEventsRequest { events: told },
    ));
    seeds.extend(lists().iter().map(|list| request(2, list)));
    for item in sample_items() {
        let mut told = reply::item(&item, true);
        told.other_locations.extend(told.location);
        told.attributes = Some(prost_types::Struct::default());
        let items = vec![told];
        seeds.push(request(3, &proto::UpsertItemsRequest { items }));
    }
    let content_ids = ids.clone();
    seeds.push(request(4, &proto::GetItemsRequest { content_ids }));
    seeds.push(request(5, &proto::DeleteItemsRequest { content_ids: ids }));
    let user_id = "a:b*{c} é".to_owned();
    let signals = proto::GetUserSignalsRequest {
        user_id: user_id.clone(),
        include_vectors: true,
    };
    let delete = proto::DeleteUserRequest {
        user_id: user_id.clone(),
    };
    seeds.push(request(6, &signals));
    seeds.push(request(7, &delete));
    seeds.push(request(8, &proto::ExportUserRequest { user_id }));
    seeds
}

fn lists() -> [proto::RecommendRequest; 3] {
    let open = proto::RecommendRequest {
        user_id: "visitor".to_owned(),
        ..proto::RecommendRequest::default()
    };
    let tag = |facet: &str, label: &str| proto::TagFilter {
        facet: facet.to_owned(),
        label: label.to_owned(),
    };
    let restricted = proto::RecommendRequest {
        limit: 20,
        filter: "Roll-Call_Square".to_owned(),
        must: vec![tag("theme_what", "Daily Life")],
        must_not: vec![tag("Theme", "A: b"), tag("a:b", "Café")],
        content_types: vec!["text_item".to_owned()],
        exclude_ids: vec!["1001".to_owned(), "1002".to_owned()],
        seed: Some(0),
        ..open.clone()
    };
    let near = proto::RecommendRequest {
        near: Some(proto::GeoPoint {
            latitude: 52.759,
            longitude: 9.9085,
        }),
        radius_meters: Some(150.0),
        include_content: true,
        ..open.clone()
    };
    [open, restricted, near]
}

pub(super) fn stored_events() -> Vec<Vec<u8>> {
    let mut buffers: Vec<Vec<String>> = vec![
        world::case_members()
            .iter()
            .map(|member| format!("1781000000.25 {member}"))
            .collect(),
        events()
            .into_iter()
            .rev()
            .take(3)
            .map(|event| {
                format!(
                    "1781000000 {}",
                    must(event_member::encode(event), "an event").member
                )
            })
            .collect(),
        vec![
            "1781000000 {}".to_owned(),
            r#"0 {"ts":"2026-06-10 11:00:00.5+02:00","impressions":["a","b"],"extra":{"a":[1]}}"#
                .to_owned(),
            r#"1e9 {"event":null,"content_id":"1001","dwell_seconds":-1,"end_reason":"link"}"#
                .to_owned(),
        ],
    ];
    for user in redis_fixtures() {
        let members = user["evt"].as_array().into_iter().flatten();
        let line =
            |entry: &Value| Some(format!("{} {}", entry["score"], entry["member"].as_str()?));
        buffers.push(members.filter_map(line).collect());
    }
    let inputs = buffers
        .into_iter()
        .map(|lines| lines.join("\n").into_bytes());
    inputs.collect()
}

/// The reference engine's payloads by themselves and in one list, at a time
/// that is not ahead of the world's.
pub(super) fn deliveries() -> Vec<Vec<u8>> {
    let text = include_str!("../../tests/fixtures/conformance/rudderstack.json");
    let text = text.replace("2026-1", "2025-1");
    let cases: Vec<Value> = must(serde_json::from_str(&text), "rudderstack.json");
    let good = cases.into_iter().filter(|case| !case["event"].is_null());
    let mut payloads: Vec<Value> = good.map(|mut case| case["payload"].take()).collect();
    payloads.push(payloads.clone().into());
    payloads
        .iter()
        .map(|payload| payload.to_string().into_bytes())
        .collect()
}

pub(super) fn stored_models() -> Vec<Vec<u8>> {
    let mut texts: Vec<String> = redis_fixtures()
        .iter()
        .filter_map(|user| user["umodel"].as_str().map(str::to_owned))
        .collect();
    let config = RankingConfig::default();
    let items = world::items(&Canonicalizer::default());
    let built = signals::build(
        &world::user(),
        world::events(),
        &items,
        world::now(),
        &config,
    );
    let empty = UserSignals::empty(world::user());
    for (signals, incomplete) in [(built.clone(), false), (built, true), (empty, false)] {
        let model = StoredModel {
            version: Version(1_797_794_581_123),
            ranking: Some(config.fingerprint()),
            incomplete,
            signals: Arc::new(signals),
        };
        texts.push(must(model_json::encode(&model), "a model"));
    }
    texts.push("{}".to_owned());
    texts.push(r#"{"version":"00000000000000005-00000000000000000","erased":true}"#.to_owned());
    texts.into_iter().map(String::into_bytes).collect()
}

pub(super) fn payloads() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        json!({"content_id": "SKU-1", "title": "T", "text": "t", "content_type": "object",
            "text_length_words": 12, "has_image": true, "imageUrl": "a", "publicUrl": "p",
            "tags": [{"facet": "Form", "label": "Café", "weight": 0.5}, {"label": "l"}],
            "tag_labels": ["form:cafe"], "tag_values": ["cafe"], "years": [1751, "x"],
            "locations": [{"lat": 1.5, "lon": 2.5}, {"lat": 91, "lon": 0}],
            "time_metadata": {"dates_of_creation": "made 1890", "era": "x"}, "own": [1, {"a": null}]}),
        json!({"tag_labels": ["form:a: b", 3, "x"], "word_count": 12.0, "lat": 1.5, "lon": 2.5,
            "thumbnail_url": ["", "a"], "time_metadata": {"dates_of_creation": ["1890", 1901, null]}}),
        json!({"location": {"lat": 1.5, "lon": 2.5}, "files_url": [["b"]], "word_count": -1}),
    ]
    .iter()
    .map(|object| object.to_string().into_bytes())
    .collect();
    for item in sample_items() {
        let vector = item.vector.clone();
        let prepared = CatalogueItem::new(item, &Canonicalizer::default());
        let payload = Payload::from(payload::write(&prepared, Map::new()));
        let values = vector.map(|vector| vector.as_slice().to_vec());
        let point = RetrievedPoint {
            id: Some(PointId::from(PointKey::of(prepared.id()))),
            payload: payload.into(),
            vectors: values.map(|values| VectorsOutput {
                vectors_options: Some(vectors_output::VectorsOptions::Vector(dense(values))),
            }),
            ..RetrievedPoint::default()
        };
        let reply = GetResponse {
            result: vec![point],
            ..GetResponse::default()
        };
        seeds.push(reply.encode_to_vec());
    }
    seeds
}

fn dense(data: Vec<f32>) -> VectorOutput {
    VectorOutput {
        vector: Some(vector_output::Vector::Dense(DenseVector { data })),
        ..VectorOutput::default()
    }
}

pub(super) fn catalogue_lines() -> Vec<Vec<u8>> {
    let mut lines: Vec<String> = sample_lines().into_iter().map(str::to_owned).collect();
    lines.extend(world::lines().into_iter().take(SAMPLE_LINES));
    lines.push(r#"{"id": 7}"#.to_owned());
    lines.push(
        r#"{"id":"x","title":null,"tags":[{"label":"l","weight":0}],"vector":[],"word_count":3.0,"shelf":{"row":3},"time_metadata":{"dates_of_creation":"1890"}}"#
            .to_owned(),
    );
    lines.into_iter().map(String::into_bytes).collect()
}

pub(super) fn ranking_files() -> Vec<Vec<u8>> {
    let mut texts: Vec<String> = vec![
        String::new(),
        "half_life_days = 7\nmmr_lambda = 1.0\nuntasted_facets = [\"theme_what\"]\n".to_owned(),
        r#"
[exploration]
strategy = "unexplored_theme"
probability = 0.5
[[profile]]
questions = ["q:age", "age"]
field = "age"
facet = "person_who.age_group"
weight = 0.5
values = { "25_34" = "age 25-34" }
[[profile]]
questions = ["places", "visits"]
facet = "place_where.site"
[canonical]
spellings = { "labour" = "labor", "the" = "" }
aliases = { "joods leven" = "jewish life" }
"#
        .to_owned(),
    ];
    let mut all = RankingConfig::default();
    texts.push(must(toml::to_string(&all), "the defaults"));
    all.exploration.strategy = ExplorationStrategy::Random;
    all.positive_threshold = 0.01;
    texts.push(must(toml::to_string(&all), "a file"));
    let configs = world::cases()["configs"].as_object().into_iter().flatten();
    for (_, config) in configs {
        texts.push(must(toml::to_string(config), "a case's file"));
    }
    texts.into_iter().map(String::into_bytes).collect()
}
