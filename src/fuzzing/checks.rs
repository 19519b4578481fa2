//! What must hold of models, lists and values, wherever they came from.

use std::{collections::HashSet, fmt::Display, sync::Arc};

use prost::Message;

use super::world;
use crate::{
    adapters::redis::model_json::{self, RANK_LENGTH, START},
    api::reply,
    domain::{
        event::{EventLog, InteractionEvent},
        ids::UserId,
        item::{Item, Items, MAX_TAG_WEIGHT},
        ranking::{
            self, RankedItem,
            draws::Draws,
            exploration::{self, ExplorationPool, ExplorationRequest},
            interest::{Interest, Near},
        },
        ranking_config::{FusionWeights, RankingConfig},
        signals,
        time::Timestamp,
        user_signals::UserSignals,
        vector::UnitVector,
    },
    ports::{ModelSlot, StoredModel, Version},
    proto,
};

/// How far the length of a vector may be from 1: each component is rounded.
const LENGTH_TOLERANCE: f64 = 1e-6;

/// The value of what must not fail.
pub(super) fn must<T, E: Display>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}

/// A message as another program reads it.
pub(super) fn received<M: Message + Default>(message: &M) -> M {
    let bytes = message.encode_to_vec();
    match M::decode(bytes.as_slice()) {
        Ok(message) => message,
        // It tells the whole path, which may be deep.
        Err(error) => panic!("a client cannot read it: {:.200}", error.to_string()),
    }
}

/// Every vector of ours has length 1.
pub(super) fn check_vector(vector: Option<&UnitVector>) {
    let Some(vector) = vector else { return };
    let squares = vector.as_slice().iter().map(|value| f64::from(*value));
    let length = squares.map(|value| value * value).sum::<f64>().sqrt();
    assert!(
        (length - 1.0).abs() < LENGTH_TOLERANCE,
        "a vector of length {length}"
    );
    assert_eq!(
        UnitVector::new(vector.as_slice()).as_ref(),
        Some(vector),
        "a vector of length 1 changes when it is read again"
    );
}

/// Every event can be stored, read again and told to clients as it is.
pub(super) fn check_event(event: &InteractionEvent) {
    let texts = [
        &event.event_id,
        &event.session_id,
        &event.request_id,
        &event.query_text,
        &event.clicked_id,
    ];
    assert!(texts.into_iter().flatten().all(|text| !text.is_empty()));
    let mut items = event.content_id.iter().chain(&event.impressions);
    assert!(items.all(|id| !id.as_str().is_empty()));
    assert!(event.dwell_seconds.is_none_or(f64::is_finite));
    assert!(
        event
            .rating()
            .is_none_or(|rating| (1.0..=5.0).contains(&rating))
    );

    let text = event.time.to_string();
    assert_eq!(Timestamp::parse_iso8601(&text), Some(event.time), "{text}");
    let (seconds, nanos) = event.time.to_proto_parts();
    assert_eq!(
        Timestamp::from_proto_parts(seconds, nanos),
        Some(event.time),
        "{text} is no time in protobuf"
    );

    let reply = proto::ExportUserResponse {
        stored_events: Vec::new(),
        stored_model: String::new(),
        events: vec![reply::event(event)],
        signals: None,
    };
    assert_eq!(received(&reply), reply);
}

/// Every item can be told to clients, in a list and by itself.
pub(super) fn check_item(item: &Item) {
    check_vector(item.vector.as_ref());
    for tag in &item.tags {
        assert!(
            (0.0..=MAX_TAG_WEIGHT).contains(&tag.weight),
            "{}",
            tag.weight
        );
    }
    for place in &item.locations {
        assert!((-90.0..=90.0).contains(&place.latitude()));
        assert!((-180.0..=180.0).contains(&place.longitude()));
    }
    let alone = proto::GetItemsResponse {
        items: vec![reply::item(item, true)],
        missing_ids: Vec::new(),
    };
    assert_eq!(received(&alone), alone);
    let listed = proto::RecommendResponse {
        items: vec![proto::RecommendedItem {
            content: Some(reply::item(item, false)),
            ..proto::RecommendedItem::default()
        }],
        ..proto::RecommendResponse::default()
    };
    assert_eq!(received(&listed), listed);
}

/// A model survives being stored, and can be told to clients.
pub(super) fn check_stored(model: &StoredModel) {
    let text = must(model_json::encode(model), "a model cannot be written");
    let rank = text.strip_prefix(START).and_then(|rest| {
        let (rank, rest) = rest.split_at_checked(RANK_LENGTH)?;
        rest.starts_with('"').then_some(rank)
    });
    let (version, built_at) = rank
        .and_then(|rank| rank.split_once('-'))
        .unwrap_or_else(|| panic!("no rank in {text}"));
    assert!([version, built_at].iter().all(|half| {
        half.len() == RANK_LENGTH / 2 && half.bytes().all(|byte| byte.is_ascii_digit())
    }));
    let slot = model_json::decode(&model.signals.user_id, text.as_bytes());
    let slot = must(slot, "a model cannot be read again");
    assert_eq!(slot, ModelSlot::Present(model.clone()));

    let reply = proto::GetUserSignalsResponse {
        signals: Some(reply::signals(&model.signals, true)),
        source: proto::SignalsSource::Materialized.into(),
    };
    assert_eq!(received(&reply), reply);
}

/// The items that a user has met are found by asking and by listing.
pub(super) fn check_views(model: &UserSignals) {
    assert!(model.viewed.is_sorted_by(|a, b| a < b), "viewed twice");
    let mut recent = model.recent_views.clone();
    recent.sort_unstable();
    assert_eq!(recent, model.viewed);
    let seen: Vec<_> = model.seen().collect();
    assert!(seen.iter().all(|id| model.has_seen(id)));
    let distinct: HashSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "seen twice");
}

/// The model of these events keeps to its bounds, and ranks.
pub(super) fn check_model_of(user: &UserId, log: &EventLog, config: &RankingConfig) {
    let items = world::items(&config.canonicalizer());
    let model = signals::build(user, log, &items, world::now(), config);
    let weights = model.positives.values().chain(model.negatives.values());
    assert!(
        weights
            .copied()
            .all(|weight| weight.is_finite() && weight >= 0.0)
    );
    assert!(
        model
            .positives
            .keys()
            .all(|id| !model.negatives.contains_key(id))
    );
    for map in [&model.tag_affinity, &model.tag_aversion] {
        assert!(map.values().all(|weight| (0.0..=1.0).contains(weight)));
        assert!(map.is_empty() || map.values().any(|weight| *weight == 1.0));
    }
    check_vector(model.taste_vector.as_ref());
    check_vector(model.recency_vector.as_ref());
    let behavior = &model.behavior;
    for share in [
        behavior.avg_dwell_ratio,
        behavior.completion_rate,
        behavior.revisit_rate,
        behavior.depth,
    ] {
        assert!((0.0..=1.0).contains(&share), "{share}");
    }
    check_views(&model);
    let stored = StoredModel {
        version: Version(1),
        ranking: Some(config.fingerprint()),
        incomplete: false,
        signals: Arc::new(model),
    };
    check_stored(&stored);
    check_lists(&stored.signals, &items, config);
}

/// Lists for a model have their scores in bounds, and no item twice.
pub(super) fn check_lists(model: &UserSignals, items: &Items, config: &RankingConfig) {
    let canonical = config.canonicalizer();
    let mut pool: Vec<_> = items.values().cloned().collect();
    pool.sort_by(|a, b| a.id().cmp(b.id()));
    let mut interest = Interest::of_user(model, &canonical);
    interest.near = world::here().map(|point| Near {
        point,
        scale_m: config.geo_scale_m,
    });
    interest.load_liked(items);
    for (tag, weight) in interest.affinity.top(config.affinity_tags) {
        assert!(weight.is_finite() && weight > 0.0, "{tag:?} {weight}");
    }
    for seed in 0..2 {
        let limit = config.default_limit;
        let slot = exploration::decide(&config.exploration, limit, &Draws::new(seed));
        let explorer = slot.map(|slot| ExplorationRequest {
            slot,
            pool: match seed {
                0 => ExplorationPool::Candidates,
                _ => ExplorationPool::of_fetched(config.exploration.strategy, pool.clone()),
            },
        });
        let list = ranking::rank(pool.clone(), &interest, explorer, limit, config);
        assert_eq!(list.items.len(), limit.min(pool.len()));
        let ids: HashSet<_> = list
            .items
            .iter()
            .map(|item| item.scored.item.id())
            .collect();
        assert_eq!(ids.len(), list.items.len(), "an item twice");
        for item in &list.items {
            check_score(item, &config.fusion);
        }
    }
}

/// Each scorer gives 0 to 1, which its weight scales.
fn check_score(item: &RankedItem, weights: &FusionWeights) {
    let scored = &item.scored;
    assert!(scored.score.is_finite(), "a score of {}", scored.score);
    for (scorer, part) in scored.breakdown.parts() {
        let (name, weight) = (scorer.name(), weights[scorer]);
        let bounds = weight.min(0.0)..=weight.max(0.0);
        assert!(bounds.contains(&part), "{name} adds {part} of {weight}");
    }
}
