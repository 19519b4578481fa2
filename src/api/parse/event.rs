//! Events.

use prost_types::{Struct, Timestamp as ProtoTimestamp};
use serde_json::{Map, Value};

use crate::{
    api::{error::ApiError, limits::Limits, parse::Checks, wkt},
    domain::{
        event::{EndReason, InteractionEvent, StoredEvent},
        event_member,
        time::Timestamp,
    },
    http::webhook::mapping::Said,
    proto,
};

/// Reads an event at `field`; one without a time happened at `now`.
pub(crate) fn event(
    event: Option<proto::InteractionEvent>,
    field: &str,
    now: Timestamp,
    limits: &Limits,
) -> Result<StoredEvent, ApiError> {
    let mut checks = Checks::new(limits);
    let Some(event) = event else {
        checks.broken(field, "must be set");
        return checks.finish(None);
    };
    let at = |name: &str| format!("{field}.{name}");

    let user_id = checks.user_id(&at("user_id"), &event.user_id);
    if event.event_type.is_empty() {
        checks.broken(at("event_type"), "must not be empty");
    }
    let most = limits.max_event_type_bytes;
    if event.event_type.len() > most {
        checks.broken(at("event_type"), format!("must be at most {most} bytes"));
    }
    let time = event_time(&mut checks, &at("event_time"), event.event_time, now);
    let event_id = checks.optional_id(&at("event_id"), event.event_id);
    let session_id = checks.optional_id(&at("session_id"), event.session_id);
    let request_id = checks.optional_id(&at("request_id"), event.request_id);
    let content_id = checks.optional_id(&at("content_id"), event.content_id);
    let dwell_seconds = dwell(&mut checks, &at("dwell_seconds"), event.dwell_seconds);
    let end_reason = end_reason(&mut checks, &at("end_reason"), event.end_reason);
    let clicked_id = checks.optional_id(&at("clicked_id"), event.clicked_id);
    let most = limits.max_impressions;
    let impressions = checks.content_ids(&at("impressions"), most, event.impressions);
    let survey_answers = answers(&mut checks, &at("survey_answers"), event.survey_answers);

    let read = checks.finish(user_id.map(|user_id| InteractionEvent {
        event_id,
        session_id,
        request_id,
        content_id: content_id.map(Into::into),
        dwell_seconds,
        end_reason,
        query_text: Some(event.query_text).filter(|text| !text.is_empty()),
        clicked_id,
        impressions,
        survey_answers,
        ..InteractionEvent::new(user_id, event.event_type, time)
    }))?;
    let stored = event_member::encode(read).map_err(|error| ApiError::internal(&error))?;

    let mut checks = Checks::new(limits);
    let (size, most) = (stored.member.len(), limits.max_event_bytes);
    if size > most {
        checks.broken(field, format!("takes {size} bytes stored, at most {most}"));
    }
    checks.finish(Some(stored))
}

/// Checks what an element of a delivery says, as an event at `field`.
pub(crate) fn said(
    said: Said,
    field: &str,
    now: Timestamp,
    limits: &Limits,
) -> Result<StoredEvent, ApiError> {
    let told = proto::InteractionEvent {
        survey_answers: Some(wkt::whole_struct(&said.answers)),
        ..said.event
    };
    event(Some(told), field, now, limits)
}

fn event_time(
    checks: &mut Checks<'_>,
    field: &str,
    given: Option<ProtoTimestamp>,
    now: Timestamp,
) -> Timestamp {
    let Some(given) = given else { return now };
    let Some(time) = Timestamp::from_proto_parts(given.seconds, given.nanos) else {
        checks.broken(field, "must be between the years 1 and 9999");
        return now;
    };
    let ahead = checks.limits.max_event_ahead;
    if time > now.plus(ahead) {
        let rule = format!(
            "must be at most {} s ahead of the server's clock, which says {now}",
            ahead.as_secs()
        );
        checks.broken(field, rule);
    }
    time
}

fn dwell(checks: &mut Checks<'_>, field: &str, given: Option<f64>) -> Option<f64> {
    let most = checks.limits.max_dwell_seconds;
    given.map(|dwell| {
        if !(0.0..=most).contains(&dwell) {
            checks.broken(field, format!("must be 0 to {most}"));
        }
        // Adding 0 turns a negative zero into zero.
        dwell + 0.0
    })
}

fn end_reason(checks: &mut Checks<'_>, field: &str, given: i32) -> Option<EndReason> {
    match proto::EndReason::try_from(given) {
        Ok(proto::EndReason::Unspecified) => None,
        Ok(proto::EndReason::NextButton) => Some(EndReason::NextButton),
        Ok(proto::EndReason::Link) => Some(EndReason::Link),
        Ok(proto::EndReason::CloseButton) => Some(EndReason::CloseButton),
        Ok(proto::EndReason::Abandon) => Some(EndReason::Abandon),
        Err(_) => {
            checks.broken(field, format!("has no value {given}"));
            None
        }
    }
}

fn answers(checks: &mut Checks<'_>, field: &str, given: Option<Struct>) -> Map<String, Value> {
    let answers = match wkt::json_object(given.unwrap_or_default()) {
        Ok(answers) => answers,
        Err(error) => {
            checks.broken(format!("{field}.{}", error.path), error.rule);
            return Map::new();
        }
    };
    if let Some(rating) = answers.get("rating")
        && !rating
            .as_f64()
            .is_some_and(|rating| (1.0..=5.0).contains(&rating))
    {
        checks.broken(format!("{field}.rating"), "must be a number from 1 to 5");
    }
    answers
}
