//! Members and models that other programs may have stored, and files that people
//! write.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};
use recsys::{
    adapters::redis::model_json,
    domain::{
        catalogue_line,
        event::{EventLog, StoredEvent},
        event_member,
        ids::UserId,
        item::Items,
        item::{CatalogueItem, Item, MAX_TAG_WEIGHT},
        ranking_config::RankingConfig,
        signals,
        tags::Canonicalizer,
        time::Timestamp,
        user_signals::UserSignals,
        vector::UnitVector,
    },
    ports::{ModelSlot, StoredModel, Version},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    damage::{bytes, json, toml},
    seeds,
};
use crate::support::{
    items::half_circle,
    server::{TestServer, liked},
};

/// Damaged bytes of a target's seeds, as far as they are text, and damaged values.
fn damaged(target: &str) -> impl Strategy<Value = String> {
    let raw = seeds(target).into_iter().map(String::into_bytes).collect();
    let bytes = bytes(raw).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    prop_oneof![1 => bytes, 3 => json(seeds(target))]
}

fn user() -> UserId {
    UserId::parse("visitor").unwrap()
}

fn now() -> Timestamp {
    Timestamp::parse_iso8601("2026-06-10T12:00:00Z").unwrap()
}

/// The items that the seeds name.
fn items() -> Items {
    let items = ["1001", "1003", "1005", "1020"].map(|id| {
        let mut item = half_circle(1).remove(0);
        item.id = id.into();
        Arc::new(CatalogueItem::new(item, &Canonicalizer::default()))
    });
    items
        .into_iter()
        .map(|item| (item.id().clone(), item))
        .collect()
}

/// Reads a member. A readable one is the same event after it is written, and ends with
/// its id.
fn read_member(text: &str) -> Option<StoredEvent> {
    let stored = event_member::decode(&user(), text, now()).ok()?;
    assert_eq!(*stored.member, *text);
    let written = event_member::encode(stored.event.clone()).unwrap();
    let read = event_member::decode(&user(), &written.member, Timestamp::from_micros(1)).unwrap();
    assert_eq!(read, written);
    if let Some(id) = &stored.event.event_id {
        let suffix = event_member::event_id_suffix(id).unwrap();
        assert!(written.member.ends_with(&suffix), "{}", written.member);
    }
    Some(stored)
}

fn assert_model_round_trips(model: &StoredModel) {
    let text = model_json::encode(model).unwrap();
    let read = model_json::decode(&user(), text.as_bytes()).unwrap();
    assert_eq!(read, ModelSlot::Present(model.clone()));
}

/// The weights of a model are finite, its tags' within 0 and 1, its vectors of length 1.
fn assert_in_bounds(model: &UserSignals) {
    let weights = model.positives.values().chain(model.negatives.values());
    assert!(
        weights
            .copied()
            .all(|weight| weight.is_finite() && weight >= 0.0)
    );
    for map in [&model.tag_affinity, &model.tag_aversion] {
        assert!(map.values().all(|weight| (0.0..=1.0).contains(weight)));
    }
    for vector in [&model.taste_vector, &model.recency_vector] {
        assert_unit_length(vector.as_ref());
    }
}

fn assert_unit_length(vector: Option<&UnitVector>) {
    let squares = vector.map(|vector| vector.values().map(|value| f64::from(value).powi(2)));
    let length = squares.map_or(1.0, |squares| squares.sum::<f64>().sqrt());
    assert!((length - 1.0).abs() < 1e-6, "{length}");
}

/// The item as a line of a catalogue file.
fn line(item: &Item) -> String {
    let tags = item.tags.iter();
    let tags =
        tags.map(|tag| json!({"facet": tag.facet, "label": tag.label, "weight": tag.weight}));
    let place = item.locations.first();
    let mut line = json!({
        "id": item.id.as_str(), "title": item.title, "text": item.text,
        "content_type": item.content_type, "tags": tags.collect::<Value>(),
        "vector": item.vector.as_ref().map(UnitVector::to_vec),
        "word_count": item.word_count, "has_image": item.has_image,
        "lat": place.map(|place| place.latitude()), "lon": place.map(|place| place.longitude()),
        "image_url": item.image_url, "public_url": item.public_url, "years": item.years,
    });
    let object = line.as_object_mut().unwrap();
    object.extend(item.attributes.clone());
    line.to_string()
}

#[test]
fn every_seed_is_accepted() {
    for text in seeds("stored_events") {
        assert!(read_member(&text).is_some(), "{text}");
    }
    for text in seeds("stored_models") {
        let slot = model_json::decode(&user(), text.as_bytes());
        assert!(slot.is_ok(), "{text}");
    }
    for text in seeds("catalogue_lines") {
        catalogue_line::parse(&text).unwrap();
    }
    for text in seeds("ranking_files") {
        RankingConfig::from_toml(&text).unwrap();
    }
}

proptest! {
    #[test]
    fn stored_events_round_trip_and_their_model_is_in_bounds(
        texts in vec(damaged("stored_events"), 1..5)
    ) {
        let events: Vec<_> = texts.iter().filter_map(|text| read_member(text)).map(Arc::new).collect();
        let log = EventLog::new(events);
        let config = RankingConfig::default();
        let model = signals::build(&user(), &log, &items(), now(), &config);
        assert_in_bounds(&model);
        assert_model_round_trips(&StoredModel {
            version: Version(1),
            ranking: Some(config.fingerprint()),
            incomplete: false,
            signals: Arc::new(model),
        });
    }

    #[test]
    fn stored_models_round_trip(text in damaged("stored_models")) {
        if let Ok(ModelSlot::Present(model)) = model_json::decode(&user(), text.as_bytes()) {
            assert_model_round_trips(&model);
            let seen: Vec<_> = model.signals.seen().collect();
            prop_assert!(seen.iter().all(|id| model.signals.has_seen(id)));
        }
    }

    #[test]
    fn catalogue_lines_round_trip(text in damaged("catalogue_lines")) {
        match catalogue_line::parse(&text) {
            Ok(item) => {
                prop_assert!((1..=catalogue_line::MAX_CONTENT_ID_BYTES).contains(&item.id.as_str().len()));
                prop_assert!(item.tags.iter().all(|tag| (0.0..=MAX_TAG_WEIGHT).contains(&tag.weight)));
                assert_unit_length(item.vector.as_ref());
                prop_assert_eq!(catalogue_line::parse(&line(&item)), Ok(item));
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn ranking_files_round_trip_and_rank_with_finite_scores(text in toml(seeds("ranking_files"))) {
        match RankingConfig::from_toml(&text) {
            Ok(config) => {
                let written = ::toml::to_string(&config).unwrap();
                let read = RankingConfig::from_toml(&written).unwrap();
                prop_assert_eq!(&read, &config);
                prop_assert_eq!(read.fingerprint(), config.fingerprint());
                for score in Runtime::new().unwrap().block_on(scores(config)) {
                    prop_assert!(score.is_finite(), "{score}");
                }
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

/// The scores of a list by this configuration, after a liked item.
async fn scores(config: RankingConfig) -> Vec<f64> {
    let server = TestServer::with_config(half_circle(12), config).await;
    server.ingest(liked("visitor", "i001")).await.unwrap();
    let list = recsys::proto::RecommendRequest {
        user_id: "visitor".to_owned(),
        ..recsys::proto::RecommendRequest::default()
    };
    let list = server.recommend(list).await.unwrap();
    list.items.iter().map(|item| item.score).collect()
}
