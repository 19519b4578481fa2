//! From the engine's types to replies.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    api::{
        error::ApiError,
        wkt::{optional_struct, proto_timestamp, struct_of},
    },
    domain::{
        associations::InterestList,
        event::{EndReason, InteractionEvent},
        geo::GeoPoint,
        ids::ContentId,
        item::CatalogueItem,
        meaning::EventMeaning,
        ranking::{ExplorationItem, ItemRole, RankedItem, exploration::ExplorationSkip},
        tags::TagKey,
        user_signals::UserSignals,
        vector::UnitVector,
    },
    engine::{
        ColdReason, EmptyReason, ItemSignals, MergedUsers, Received, Recommendation, SignalsSource,
        Strategy,
    },
    ports::AppendOutcome,
    proto,
};

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn id_texts(ids: &[ContentId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn outcome(received: Received) -> proto::IngestOutcome {
    match received.ingested.map(|ingested| ingested.outcome) {
        Some(AppendOutcome::Accepted) => proto::IngestOutcome::Accepted,
        Some(AppendOutcome::Duplicate) => proto::IngestOutcome::Duplicate,
        Some(AppendOutcome::OutsideWindow) => proto::IngestOutcome::OutsideWindow,
        None => proto::IngestOutcome::NotStored,
    }
}

fn meaning(meaning: EventMeaning) -> proto::EventMeaning {
    match meaning {
        EventMeaning::Dislike => proto::EventMeaning::Dislike,
        EventMeaning::Like => proto::EventMeaning::Like,
        EventMeaning::View => proto::EventMeaning::View,
        EventMeaning::Impression => proto::EventMeaning::Impression,
        EventMeaning::Profile => proto::EventMeaning::Profile,
        EventMeaning::Search => proto::EventMeaning::Search,
        EventMeaning::None => proto::EventMeaning::None,
    }
}

pub(crate) fn received(received: Received) -> proto::IngestEventResponse {
    let buffered = received.ingested.map(|ingested| ingested.buffered_events);
    proto::IngestEventResponse {
        outcome: outcome(received).into(),
        buffered_events: count(buffered.unwrap_or(0)),
        meaning: meaning(received.meaning).into(),
    }
}

pub(crate) fn merged(merged: MergedUsers) -> proto::MergeUsersResponse {
    proto::MergeUsersResponse {
        moved_events: count(merged.moved),
        duplicate_events: count(merged.duplicates),
    }
}

pub(crate) fn source(source: SignalsSource) -> proto::SignalsSource {
    match source {
        SignalsSource::Materialized => proto::SignalsSource::Materialized,
        SignalsSource::Rebuilt => proto::SignalsSource::Rebuilt,
        SignalsSource::Empty => proto::SignalsSource::Empty,
    }
}

pub(crate) fn signals(signals: &UserSignals) -> proto::UserSignals {
    let vectors = vectors(signals);
    let weights = |map: &BTreeMap<ContentId, f64>| {
        map.iter()
            .map(|(id, weight)| (id.to_string(), *weight))
            .collect()
    };
    proto::UserSignals {
        user_id: signals.user_id.as_str().to_owned(),
        positives: weights(&signals.positives),
        negatives: weights(&signals.negatives),
        viewed: id_texts(&signals.viewed),
        recent_views: id_texts(&signals.recent_views),
        tag_affinity: signals.tag_affinity.clone(),
        tag_aversion: signals.tag_aversion.clone(),
        taste_vector: vectors.taste_vector,
        recency_vector: vectors.recency_vector,
        ..rest_of_signals(signals)
    }
}

/// The vectors of a model, without anything else.
pub(crate) fn vectors(signals: &UserSignals) -> proto::UserSignals {
    let numbers = |vector: &Option<UnitVector>| {
        let vector = vector.as_ref();
        vector.map_or_else(Vec::new, UnitVector::to_vec)
    };
    proto::UserSignals {
        taste_vector: numbers(&signals.taste_vector),
        recency_vector: numbers(&signals.recency_vector),
        ..proto::UserSignals::default()
    }
}

/// The items of an interest list, oldest first.
pub(crate) fn interests(list: &InterestList) -> Vec<proto::InterestItem> {
    let items = list.entries().iter().map(|entry| proto::InterestItem {
        content_id: entry.item.to_string(),
        engaged_at: Some(proto_timestamp(entry.time)),
        strength: entry.strength.value(),
    });
    items.collect()
}

/// What a model holds besides its lists.
pub(crate) fn rest_of_signals(signals: &UserSignals) -> proto::UserSignals {
    let behavior = &signals.behavior;
    proto::UserSignals {
        behavior: Some(proto::BehaviorSummary {
            n_views: count(behavior.n_views),
            n_positive: count(behavior.n_positive),
            n_negative: count(behavior.n_negative),
            avg_dwell_ratio: behavior.avg_dwell_ratio,
            completion_rate: behavior.completion_rate,
            revisit_rate: behavior.revisit_rate,
            depth: behavior.depth,
        }),
        demographics: optional_struct(&signals.demographics),
        is_cold: signals.is_cold(),
        built_at: signals.built_at.map(proto_timestamp),
        event_count: count(signals.event_count),
        ..proto::UserSignals::default()
    }
}

/// The result of one event of a batch.
pub(crate) fn ingest_result(result: Result<Received, ApiError>) -> proto::IngestResult {
    match result {
        Ok(received) => proto::IngestResult {
            outcome: outcome(received).into(),
            error: None,
            meaning: meaning(received.meaning).into(),
        },
        Err(error) => proto::IngestResult {
            outcome: proto::IngestOutcome::Rejected.into(),
            error: Some(error.into_detail()),
            meaning: proto::EventMeaning::Unspecified.into(),
        },
    }
}

pub(crate) fn event(event: &InteractionEvent) -> proto::InteractionEvent {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    proto::InteractionEvent {
        user_id: event.user_id.as_str().to_owned(),
        event_type: event.event_type.clone(),
        event_time: Some(proto_timestamp(event.time)),
        event_id: text(&event.event_id),
        session_id: text(&event.session_id),
        request_id: text(&event.request_id),
        content_id: event
            .content_id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        dwell_seconds: event.dwell_seconds,
        end_reason: match event.end_reason {
            None => proto::EndReason::Unspecified,
            Some(EndReason::NextButton) => proto::EndReason::NextButton,
            Some(EndReason::Link) => proto::EndReason::Link,
            Some(EndReason::CloseButton) => proto::EndReason::CloseButton,
            Some(EndReason::Abandon) => proto::EndReason::Abandon,
        }
        .into(),
        query_text: text(&event.query_text),
        clicked_id: text(&event.clicked_id),
        impressions: id_texts(&event.impressions),
        survey_answers: optional_struct(&event.survey_answers),
    }
}

pub(crate) fn item(item: &CatalogueItem, include_vector: bool) -> proto::Item {
    let point = |point: &GeoPoint| proto::GeoPoint {
        latitude: point.latitude(),
        longitude: point.longitude(),
    };
    let mut places = item.locations().iter().map(point);
    proto::Item {
        content_id: item.id().to_string(),
        content_type: item.content_type().to_owned(),
        title: item.title().to_owned(),
        text: item.text().to_owned(),
        tags: item
            .tags()
            .iter()
            .map(|tag| proto::Tag {
                facet: tag.facet().to_owned(),
                label: tag.label().to_owned(),
                weight: Some(tag.weight()),
            })
            .collect(),
        word_count: item.word_count(),
        has_image: item.has_image(),
        location: places.next(),
        image_url: item.image_url().to_owned(),
        public_url: item.public_url().to_owned(),
        years: item.years().to_vec(),
        vector: match item.vector() {
            Some(vector) if include_vector => vector.to_vec(),
            _ => Vec::new(),
        },
        attributes: struct_of(item.attributes()),
        other_locations: places.collect(),
    }
}

pub(crate) fn recommendation(
    given: Recommendation,
    include_content: bool,
) -> proto::RecommendResponse {
    let diagnostics = proto::RecommendDiagnostics {
        pool_size: count(given.pool_size),
        scored: count(given.scored),
        generators: given
            .generators
            .iter()
            .map(|(generator, candidates)| (generator.name().to_owned(), count(*candidates)))
            .collect(),
        cold_start_fallback: given.cold_start_fallback,
        seen_fallback: given.seen_fallback,
        reason: match given.empty {
            None => proto::EmptyReason::Unspecified,
            Some(EmptyReason::CatalogueEmpty) => proto::EmptyReason::CatalogEmpty,
            Some(EmptyReason::NoItemMatches) => proto::EmptyReason::NoItemMatches,
            Some(EmptyReason::AllSeenOrExcluded) => proto::EmptyReason::AllSeenOrExcluded,
            Some(EmptyReason::NoPopularity) => proto::EmptyReason::NoPopularity,
        }
        .into(),
        exploration: Some(exploration(given.exploration)),
        degraded: given.degraded.iter().map(ToString::to_string).collect(),
        signals_source: source(given.signals_source).into(),
        cold_reason: match given.strategy {
            Strategy::Warm => proto::ColdReason::Unspecified,
            Strategy::Cold(reason) => cold_reason(reason),
        }
        .into(),
        unknown_context_ids: id_texts(&given.unknown_context),
        popular_fallback: given.popular_fallback,
        placement: name(given.treatment.placement),
        experiment: name(given.treatment.experiment),
        variant: name(given.treatment.variant),
    };
    proto::RecommendResponse {
        request_id: given.request_id,
        strategy: match given.strategy {
            Strategy::Warm => proto::RecommendStrategy::Warm,
            Strategy::Cold(_) => proto::RecommendStrategy::Cold,
        }
        .into(),
        items: given
            .items
            .iter()
            .zip(given.reasons)
            .zip(1..)
            .map(|((item, reason), rank)| recommended(item, reason, rank, include_content))
            .collect(),
        diagnostics: Some(diagnostics),
    }
}

fn name(name: Option<Arc<str>>) -> String {
    name.map(|name| name.to_string()).unwrap_or_default()
}

fn cold_reason(reason: ColdReason) -> proto::ColdReason {
    match reason {
        ColdReason::NoUser => proto::ColdReason::NoUser,
        ColdReason::UnknownUser => proto::ColdReason::UnknownUser,
        ColdReason::NoPositiveEvents => proto::ColdReason::NoPositiveEvents,
        ColdReason::UserStateUnavailable => proto::ColdReason::UserStateUnavailable,
        ColdReason::CatalogueWithoutFeatures => proto::ColdReason::CatalogWithoutFeatures,
    }
}

fn exploration(item: Result<ExplorationItem, ExplorationSkip>) -> proto::ExplorationDiagnostics {
    match item {
        Ok(item) => proto::ExplorationDiagnostics {
            content_id: item.id.to_string(),
            slot: count(item.slot),
            skipped: proto::ExplorationSkip::Unspecified.into(),
        },
        Err(skipped) => proto::ExplorationDiagnostics {
            content_id: String::new(),
            slot: 0,
            skipped: match skipped {
                ExplorationSkip::Disabled => proto::ExplorationSkip::Disabled,
                ExplorationSkip::LimitTooSmall => proto::ExplorationSkip::LimitTooSmall,
                ExplorationSkip::NotDrawn => proto::ExplorationSkip::NotDrawn,
                ExplorationSkip::NoCandidate => proto::ExplorationSkip::NoCandidate,
            }
            .into(),
        },
    }
}

fn recommended(
    ranked: &RankedItem,
    reason: String,
    rank: u32,
    include_content: bool,
) -> proto::RecommendedItem {
    let scored = &ranked.scored;
    proto::RecommendedItem {
        content_id: scored.item.id().to_string(),
        rank,
        score: scored.score,
        role: match ranked.role {
            ItemRole::Target => proto::ItemRole::Target,
            ItemRole::Exploration => proto::ItemRole::Exploration,
        }
        .into(),
        breakdown: scored
            .breakdown
            .named_parts()
            .map(|(name, part)| (name.to_owned(), part))
            .collect(),
        matched_tags: ranked
            .matched_tags
            .iter()
            .map(|tag: &TagKey| tag.as_str().to_owned())
            .collect(),
        similar_to: scored
            .similar_to
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        content: include_content.then(|| item(&scored.item, false)),
        reason,
        similar_because: ranked
            .similar_because
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}

pub(crate) fn item_signals(signals: ItemSignals) -> proto::GetItemSignalsResponse {
    let neighbor = |(item, weight): (ContentId, f64)| proto::ItemNeighbor {
        content_id: item.to_string(),
        weight,
    };
    proto::GetItemSignalsResponse {
        audience_size: count(signals.audience_size),
        popularity: signals.popularity,
        trending: signals.trending,
        neighbors: signals.neighbors.into_iter().map(neighbor).collect(),
    }
}
