//! Requests of both services.

use std::sync::Arc;

use prost::Message;
use tonic::{Code, Status};

use super::{
    checks::{check_event, check_item, check_model_of, must, received},
    world,
};
use crate::{
    api::{
        error::ApiError,
        limits::Limits,
        parse::{self, Checks},
        reply,
    },
    domain::{
        event::{EventLog, StoredEvent},
        event_member::{self, event_id_suffix},
        ids::{ContentId, UserId},
        item::Item,
        ranking_config::RankingConfig,
        tags::Canonicalizer,
        time::Timestamp,
    },
    engine::RecommendRequest,
    proto,
};

/// Bytes of headers that every client takes.
const MAX_HEADER_BYTES: usize = 8 << 10;
const DEFAULT_LIMIT: usize = 10;

/// The requests there are. The first byte of the input chooses one, modulo
/// their number; the rest is its message.
const REQUESTS: [fn(&[u8], &Limits) -> bool; 9] = [
    ingest_event,
    batch_ingest_events,
    recommend,
    upsert_items,
    get_items,
    delete_items,
    get_user_signals,
    delete_user,
    export_user,
];

/// Decodes and checks a request as its handler would, with the limits that are
/// set without any settings.
///
/// What is accepted keeps the limits; an event is stored as bytes that are
/// always the same and that say the same when they are read; and what a client
/// is told of an event or item would be accepted again, as the same. What is
/// refused is told so with every field, in headers that any client takes.
pub fn requests(data: &[u8]) -> bool {
    let Some((kind, message)) = data.split_first() else {
        return false;
    };
    REQUESTS[usize::from(*kind) % REQUESTS.len()](message, &Limits::default())
}

/// Whether it was accepted; then `check` holds.
fn judged<T>(parsed: Result<T, ApiError>, check: impl FnOnce(T)) -> bool {
    match parsed {
        Ok(accepted) => {
            check(accepted);
            true
        }
        Err(error) => {
            check_refusal(error);
            false
        }
    }
}

pub(super) fn check_refusal(error: ApiError) {
    let detail = error.clone().into_detail();
    assert!(!detail.violations.is_empty(), "refused without a reason");
    for violation in &detail.violations {
        assert!(!violation.field.is_empty() && !violation.description.is_empty());
    }
    let status = Status::from(error);
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    // In headers the details are in base 64 and the message is escaped.
    let headers = status.details().len() * 4 / 3 + 3 * status.message().len();
    assert!(headers < MAX_HEADER_BYTES, "{headers} bytes of headers");
}

fn ingest_event(bytes: &[u8], limits: &Limits) -> bool {
    let Ok(request) = proto::IngestEventRequest::decode(bytes) else {
        return false;
    };
    judged(parsed_event(request.event, "event", limits), |stored| {
        check_stored_event(&stored, limits);
    })
}

fn parsed_event(
    event: Option<proto::InteractionEvent>,
    field: &str,
    limits: &Limits,
) -> Result<StoredEvent, ApiError> {
    parse::event(event, field, world::now(), limits)
}

fn batch_ingest_events(bytes: &[u8], limits: &Limits) -> bool {
    let Ok(request) = proto::BatchIngestEventsRequest::decode(bytes) else {
        return false;
    };
    let mut checks = Checks::new(limits);
    checks.count("events", request.events.len(), limits.max_batch_events);
    if !judged(checks.finish(Some(())), |()| {}) {
        return false;
    }
    let mut accepted = Vec::new();
    for (index, event) in request.events.into_iter().enumerate() {
        let parsed = parsed_event(Some(event), &format!("events[{index}]"), limits);
        judged(parsed, |stored| {
            check_stored_event(&stored, limits);
            accepted.push(Arc::new(stored));
        });
    }
    let Some(user) = accepted.first().map(|first| first.event.user_id.clone()) else {
        return false;
    };
    let log = EventLog::new(accepted);
    check_model_of(&user, &log, &RankingConfig::default());
    true
}

pub(super) fn check_stored_event(stored: &StoredEvent, limits: &Limits) {
    let event = &stored.event;
    check_user(&event.user_id, limits);
    assert!((1..=limits.max_event_type_bytes).contains(&event.event_type.len()));
    let ids = [
        &event.event_id,
        &event.session_id,
        &event.request_id,
        &event.clicked_id,
    ];
    for id in ids.into_iter().flatten() {
        assert!((1..=limits.max_id_bytes).contains(&id.len()));
    }
    assert!(event.impressions.len() <= limits.max_impressions);
    for id in event.content_id.iter().chain(&event.impressions) {
        check_id(id, limits);
    }
    if let Some(dwell) = event.dwell_seconds {
        assert!((0.0..=limits.max_dwell_seconds).contains(&dwell) && dwell.is_sign_positive());
    }
    let rated = event.survey_answers.contains_key("rating");
    assert_eq!(event.rating().is_some(), rated);
    assert!(event.time <= world::now().plus(limits.max_event_ahead));
    assert!(event.survey_answers.keys().is_sorted());
    assert!(stored.member.len() <= limits.max_event_bytes);
    check_event(event);

    let again = must(
        event_member::encode(event.clone()),
        "cannot be stored again",
    );
    assert_eq!(again.member, stored.member, "the same event in other bytes");
    let read = event_member::decode(&event.user_id, &stored.member, Timestamp::from_micros(0));
    assert_eq!(must(read, "a stored event cannot be read"), *stored);
    let end = match &event.event_id {
        Some(id) => must(event_id_suffix(id), "an id without a suffix"),
        None => r#","raw":{}}"#.to_owned(),
    };
    assert!(stored.member.ends_with(&end), "{}", stored.member);

    let told = parsed_event(Some(received(&reply::event(event))), "event", limits);
    let Ok(told) = told else {
        panic!("an event that was given out is refused: {told:?}");
    };
    assert_eq!(told.member, stored.member, "given out as another event");
}

fn check_user(user: &UserId, limits: &Limits) {
    let text = user.as_str();
    assert!((1..=limits.max_user_id_bytes).contains(&text.len()));
    assert!(!text.chars().any(char::is_control));
}

fn check_id(id: &ContentId, limits: &Limits) {
    assert!((1..=limits.max_id_bytes).contains(&id.as_str().len()));
}

fn recommend(bytes: &[u8], limits: &Limits) -> bool {
    let Ok(request) = proto::RecommendRequest::decode(bytes) else {
        return false;
    };
    let canonical = Canonicalizer::default();
    let parsed = parse::recommend(request.clone(), limits, DEFAULT_LIMIT, &canonical);
    judged(parsed, |parsed| {
        check_recommend(&request, &parsed, limits, &canonical);
    })
}

fn check_recommend(
    request: &proto::RecommendRequest,
    parsed: &RecommendRequest,
    limits: &Limits,
    canonical: &Canonicalizer,
) {
    check_user(&parsed.user, limits);
    assert!((1..=limits.max_limit).contains(&parsed.limit));
    assert_eq!(parsed.seed, request.seed);
    assert!(parsed.exclude.len() <= limits.max_exclude_ids);
    parsed.exclude.iter().for_each(|id| check_id(id, limits));

    let restriction = &parsed.restriction;
    assert_eq!(restriction.label.is_some(), !request.filter.is_empty());
    if let Some(label) = &restriction.label {
        assert!(!label.is_empty());
        assert_eq!(canonical.label(label), *label, "not in canonical form");
    }
    for (tags, given) in [
        (&restriction.must, &request.must),
        (&restriction.must_not, &request.must_not),
    ] {
        assert!(tags.len() == given.len() && tags.len() <= limits.max_tags);
        for tag in tags {
            assert!(!tag.label().is_empty());
            assert_eq!(canonical.key(tag.as_str()), *tag, "not in canonical form");
        }
    }
    let types = &restriction.content_types;
    assert!(types.len() <= limits.max_tags);
    assert!(
        types
            .iter()
            .all(|name| (1..=limits.max_id_bytes).contains(&name.len()))
    );
    assert_eq!(parsed.near.is_some(), request.near.is_some());
    assert_eq!(
        restriction.within.is_some(),
        request.radius_meters.is_some()
    );
    if let Some(circle) = restriction.within {
        assert_eq!(Some(circle.center), parsed.near);
        assert!(circle.radius_m.is_finite() && circle.radius_m > 0.0);
    }
    for item in world::items(canonical).values() {
        let admitted = restriction.admits(item);
        assert!(admitted || !restriction.is_open());
    }
}

fn upsert_items(bytes: &[u8], limits: &Limits) -> bool {
    let Ok(request) = proto::UpsertItemsRequest::decode(bytes) else {
        return false;
    };
    let mut checks = Checks::new(limits);
    checks.count("items", request.items.len(), limits.max_catalog_items);
    if !judged(checks.finish(Some(())), |()| {}) {
        return false;
    }
    let mut accepted = false;
    for (index, item) in request.items.into_iter().enumerate() {
        let parsed = parse::item(item, &format!("items[{index}]"), limits);
        accepted |= judged(parsed, |item| check_accepted_item(&item, limits));
    }
    accepted
}

fn check_accepted_item(item: &Item, limits: &Limits) {
    check_id(&item.id, limits);
    assert!(item.content_type.len() <= limits.max_id_bytes);
    assert!(item.tags.len() <= limits.max_tags && item.years.len() <= limits.max_tags);
    assert!(item.locations.len() <= limits.max_tags + 1);
    for tag in &item.tags {
        assert_eq!(tag.broken_rules(), []);
        assert!(tag.facet.len().max(tag.label.len()) <= limits.max_id_bytes);
    }
    check_item(item);

    // What is left out may take bytes when it is told.
    let roomier = Limits {
        max_item_bytes: 2 * limits.max_item_bytes,
        ..limits.clone()
    };
    let told = parse::item(received(&reply::item(item, true)), "item", &roomier);
    let Ok(told) = told else {
        panic!("an item that was given out is refused: {told:?}");
    };
    assert_eq!(told, *item, "given out as another item");
}

fn get_items(bytes: &[u8], limits: &Limits) -> bool {
    let Ok(request) = proto::GetItemsRequest::decode(bytes) else {
        return false;
    };
    content_ids(request.content_ids, limits)
}

fn delete_items(bytes: &[u8], limits: &Limits) -> bool {
    let Ok(request) = proto::DeleteItemsRequest::decode(bytes) else {
        return false;
    };
    content_ids(request.content_ids, limits)
}

fn content_ids(given: Vec<String>, limits: &Limits) -> bool {
    let count = given.len();
    let mut checks = Checks::new(limits);
    let ids = checks.content_ids("content_ids", limits.max_catalog_items, given);
    judged(checks.finish(Some(ids)), |ids| {
        assert!(ids.len() == count && count <= limits.max_catalog_items);
        ids.iter().for_each(|id| check_id(id, limits));
    })
}

fn get_user_signals(bytes: &[u8], limits: &Limits) -> bool {
    let request = proto::GetUserSignalsRequest::decode(bytes);
    request.is_ok_and(|request| user_id(&request.user_id, limits))
}

fn delete_user(bytes: &[u8], limits: &Limits) -> bool {
    let request = proto::DeleteUserRequest::decode(bytes);
    request.is_ok_and(|request| user_id(&request.user_id, limits))
}

fn export_user(bytes: &[u8], limits: &Limits) -> bool {
    let request = proto::ExportUserRequest::decode(bytes);
    request.is_ok_and(|request| user_id(&request.user_id, limits))
}

fn user_id(text: &str, limits: &Limits) -> bool {
    let mut checks = Checks::new(limits);
    let user = checks.user_id("user_id", text);
    judged(checks.finish(user), |user| check_user(&user, limits))
}
