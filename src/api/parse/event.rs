//! Events.

use serde_json::{Map, Value};

use crate::{
    api::{
        error::ApiError,
        limits::Limits,
        parse::checks::Checks,
        wkt::{self, InvalidValue},
    },
    domain::{
        event::{EndReason, InteractionEvent, StoredEvent},
        event_member,
        time::Timestamp,
    },
    proto,
};

/// An event as its sender gave it. An empty text is an unset one. A value that the
/// event cannot hold is an `Err` with the rule that it breaks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UncheckedEvent {
    pub(crate) user_id: String,
    pub(crate) event_type: String,
    /// `None`: the time at which the server received it.
    pub(crate) time: Option<Result<Timestamp, &'static str>>,
    pub(crate) event_id: String,
    pub(crate) session_id: String,
    pub(crate) request_id: String,
    pub(crate) content_id: String,
    pub(crate) dwell_seconds: Option<f64>,
    pub(crate) end_reason: Result<Option<EndReason>, String>,
    pub(crate) query_text: String,
    pub(crate) clicked_id: String,
    pub(crate) impressions: Vec<String>,
    pub(crate) survey_answers: Result<Map<String, Value>, InvalidValue>,
    /// Whether the user is known by an id of a browser or device only.
    pub(crate) anonymous: bool,
}

impl UncheckedEvent {
    /// An event with nothing else set.
    pub(crate) fn new(user_id: String, event_type: String) -> Self {
        Self {
            user_id,
            event_type,
            time: None,
            event_id: String::new(),
            session_id: String::new(),
            request_id: String::new(),
            content_id: String::new(),
            dwell_seconds: None,
            end_reason: Ok(None),
            query_text: String::new(),
            clicked_id: String::new(),
            impressions: Vec::new(),
            survey_answers: Ok(Map::new()),
            anonymous: false,
        }
    }
}

impl From<proto::InteractionEvent> for UncheckedEvent {
    fn from(event: proto::InteractionEvent) -> Self {
        Self {
            user_id: event.user_id,
            event_type: event.event_type,
            time: event.event_time.map(|time| {
                Timestamp::from_proto_parts(time.seconds, time.nanos)
                    .ok_or("must be between the years 1 and 9999")
            }),
            event_id: event.event_id,
            session_id: event.session_id,
            request_id: event.request_id,
            content_id: event.content_id,
            dwell_seconds: event.dwell_seconds,
            end_reason: end_reason(event.end_reason),
            query_text: event.query_text,
            clicked_id: event.clicked_id,
            impressions: event.impressions,
            survey_answers: wkt::json_object(event.survey_answers.unwrap_or_default()),
            anonymous: false,
        }
    }
}

/// Reads the event of a request, at `field`.
///
/// # Errors
/// As [`validate`], and if it is not set.
pub(crate) fn event(
    event: Option<proto::InteractionEvent>,
    field: &str,
    now: Timestamp,
    limits: &Limits,
) -> Result<StoredEvent, ApiError> {
    match event {
        Some(event) => validate(event.into(), field, now, limits),
        None => {
            let mut checks = Checks::new(limits);
            checks.broken(field, "must be set");
            checks.finish(None)
        }
    }
}

/// Checks an event that is at `field` of a request and was received at `now`, and
/// encodes it for the store.
///
/// # Errors
/// INVALID_FIELD with every rule that the event breaks.
pub(crate) fn validate(
    event: UncheckedEvent,
    field: &str,
    now: Timestamp,
    limits: &Limits,
) -> Result<StoredEvent, ApiError> {
    let mut checks = Checks::new(limits);
    let at = |name: &str| format!("{field}.{name}");

    let user_id = checks.user_id(&at("user_id"), &event.user_id);
    if event.event_type.is_empty() {
        checks.broken(at("event_type"), "must not be empty");
    }
    let max = limits.max_event_type_bytes;
    if event.event_type.len() > max {
        checks.broken(at("event_type"), format!("must be at most {max} bytes"));
    }
    let time = event_time(&mut checks, &at("event_time"), event.time, now);
    let event_id = checks.optional_id(&at("event_id"), event.event_id);
    let session_id = checks.optional_id(&at("session_id"), event.session_id);
    let request_id = checks.optional_id(&at("request_id"), event.request_id);
    let content_id = checks.optional_id(&at("content_id"), event.content_id);
    let dwell_seconds = dwell(&mut checks, &at("dwell_seconds"), event.dwell_seconds);
    let end_reason = event.end_reason.unwrap_or_else(|rule| {
        checks.broken(at("end_reason"), rule);
        None
    });
    let clicked_id = checks.optional_id(&at("clicked_id"), event.clicked_id);
    let max = limits.max_impressions;
    let impressions = checks.content_ids(&at("impressions"), max, event.impressions);
    let survey_answers = answers(&mut checks, &at("survey_answers"), event.survey_answers);

    let checked = checks.finish(user_id.map(|user_id| InteractionEvent {
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
        anonymous: event.anonymous,
        ..InteractionEvent::new(user_id, event.event_type, time)
    }))?;
    let stored = event_member::encode(checked).map_err(|error| ApiError::internal(&error))?;

    let mut checks = Checks::new(limits);
    let (size, max) = (stored.member.len(), limits.max_event_bytes);
    if size > max {
        checks.broken(field, format!("takes {size} bytes stored, at most {max}"));
    }
    checks.finish(Some(stored))
}

fn event_time(
    checks: &mut Checks<'_>,
    field: &str,
    given: Option<Result<Timestamp, &'static str>>,
    now: Timestamp,
) -> Timestamp {
    let time = match given {
        None => return now,
        Some(Ok(time)) => time,
        Some(Err(rule)) => {
            checks.broken(field, rule);
            return now;
        }
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
    let max = checks.limits.max_dwell_seconds;
    given.map(|dwell| {
        if !(0.0..=max).contains(&dwell) {
            checks.broken(field, format!("must be 0 to {max}"));
        }
        // Adding 0 turns a negative zero into zero.
        dwell + 0.0
    })
}

fn end_reason(number: i32) -> Result<Option<EndReason>, String> {
    match proto::EndReason::try_from(number) {
        Ok(proto::EndReason::Unspecified) => Ok(None),
        Ok(proto::EndReason::NextButton) => Ok(Some(EndReason::NextButton)),
        Ok(proto::EndReason::Link) => Ok(Some(EndReason::Link)),
        Ok(proto::EndReason::CloseButton) => Ok(Some(EndReason::CloseButton)),
        Ok(proto::EndReason::Abandon) => Ok(Some(EndReason::Abandon)),
        Err(_) => Err(format!("has no value {number}")),
    }
}

fn answers(
    checks: &mut Checks<'_>,
    field: &str,
    given: Result<Map<String, Value>, InvalidValue>,
) -> Map<String, Value> {
    let answers = match given {
        Ok(answers) => answers,
        Err(invalid) => {
            checks.broken(format!("{field}.{}", invalid.path), invalid.rule);
            return Map::new();
        }
    };
    if let Some(rating) = answers.get("rating")
        && !rating
            .as_f64()
            .is_some_and(|rating| (0.0..=5.0).contains(&rating))
    {
        checks.broken(format!("{field}.rating"), "must be a number from 0 to 5");
    }
    answers
}
