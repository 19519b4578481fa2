//! From an element of a delivery to an event.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use crate::{
    api::{parse::UncheckedEvent, wkt},
    domain::{
        event::{EndReason, event_types},
        json::json_fault,
        time::Timestamp,
    },
};

/// The prefix of an item's id, before its digits.
const CONTENT_PREFIX: &str = "content_";
/// Where the time of an event is, in order of preference.
const TIMES: [&str; 3] = ["timestamp", "originalTimestamp", "sentAt"];
/// The type of a question whose answer rates the item.
const RATING: &str = "rating";

/// An element that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// Its `messageId`, if it has one.
    pub message_id: Option<String>,
    /// Its event, or why it has none.
    pub(crate) event: Result<UncheckedEvent, SkipReason>,
}

/// Why an element is skipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// It names no user.
    #[error("has neither userId nor anonymousId")]
    NoUser,
    /// It is another call than track or identify.
    #[error("is neither track nor identify")]
    OtherType,
    /// It has an unexpected shape.
    #[error("{0}")]
    Unreadable(String),
}

fn unreadable(path: &str, rule: &str) -> SkipReason {
    SkipReason::Unreadable(format!("{path} {rule}"))
}

/// Reads an element.
#[must_use]
pub fn read(text: &str) -> Element {
    let skipped = |reason| Element {
        message_id: None,
        event: Err(reason),
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(payload)) => {
            let message_id = text_at(&payload, "messageId");
            let event = message_id.clone().and_then(|id| event(&payload, id));
            Element {
                message_id: message_id.unwrap_or_default(),
                event,
            }
        }
        Ok(_) => skipped(unreadable("it", "must be a JSON object")),
        Err(fault) => skipped(unreadable("it is", &json_fault(&fault))),
    }
}

fn event(
    payload: &Map<String, Value>,
    event_id: Option<String>,
) -> Result<UncheckedEvent, SkipReason> {
    let is_track = match payload.get("type").and_then(Value::as_str) {
        Some("track") => true,
        Some("identify") => false,
        Some(_) => return Err(SkipReason::OtherType),
        None => return Err(unreadable("type", "must be track or identify")),
    };
    let user_id = match text_at(payload, "userId")? {
        Some(user_id) => user_id,
        None => text_at(payload, "anonymousId")?.ok_or(SkipReason::NoUser)?,
    };
    let event = UncheckedEvent {
        event_id: event_id.unwrap_or_default(),
        time: time(payload)?.map(Ok),
        ..UncheckedEvent::new(user_id, event_types::IDENTIFY.to_owned())
    };
    if is_track {
        return track(payload, event);
    }
    Ok(UncheckedEvent {
        survey_answers: wkt::like_struct(traits(payload)),
        ..event
    })
}

fn track(
    payload: &Map<String, Value>,
    event: UncheckedEvent,
) -> Result<UncheckedEvent, SkipReason> {
    let text = |path| text_at(payload, path).map(Option::unwrap_or_default);
    let item = |path| Ok(plain_id(text(path)?));
    let content_id = match at(payload, "properties.content") {
        Some(Value::Object(_)) => item("properties.content.content_id")?,
        _ => item("properties.content")?,
    };
    // An unknown reason is none.
    let end_reason = EndReason::parse(&text("properties.details.reason")?);
    Ok(UncheckedEvent {
        event_type: text("event")?,
        session_id: text("properties.context.session_id")?,
        request_id: text("properties.context.request_id")?,
        content_id,
        dwell_seconds: number_at(payload, "properties.details.dwell_seconds")?,
        end_reason: Ok(end_reason),
        query_text: text("properties.details.query_text")?,
        clicked_id: item("properties.details.clicked_id")?,
        impressions: candidates(payload)?,
        survey_answers: wkt::like_struct(answers(payload)?),
        ..event
    })
}

/// `content_1001` is item 1001; any other id is unchanged.
fn plain_id(id: String) -> String {
    match id.strip_prefix(CONTENT_PREFIX) {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.to_owned()
        }
        _ => id,
    }
}

/// The items that were on display.
fn candidates(payload: &Map<String, Value>) -> Result<Vec<String>, SkipReason> {
    const PATH: &str = "properties.context.candidates";
    let listed = list_at(payload, PATH).iter().enumerate();
    let ids = listed.map(|(index, candidate)| match candidate.as_object() {
        Some(object) => text_of(
            object.get("content_id"),
            &format!("{PATH}[{index}].content_id"),
        ),
        None => text_of(Some(candidate), &format!("{PATH}[{index}]")),
    });
    ids.filter_map(|id| id.map(|id| id.map(plain_id)).transpose())
        .collect()
}

/// Answers by question; a list if a question was answered several times. The answer
/// to a question of type `rating` is also stored under that name, if it is a valid
/// rating.
fn answers(payload: &Map<String, Value>) -> Result<Map<String, Value>, SkipReason> {
    const PATH: &str = "properties.answers";
    let mut answers: Map<String, Value> = Map::new();
    let mut repeated: BTreeSet<String> = BTreeSet::new();
    let mut rating = None;
    for (index, answer) in list_at(payload, PATH).iter().enumerate() {
        let path = format!("{PATH}[{index}].question_id");
        let question = text_of(answer.get("question_id"), &path)?;
        let value = answer.get("answer_value").filter(|value| !value.is_null());
        let (Some(question), Some(value)) = (question, value) else {
            continue;
        };
        if answer.get("question_type").and_then(Value::as_str) == Some(RATING) {
            rating = stars(value).or(rating);
        }
        match answers.get_mut(&question) {
            None => {
                answers.insert(question, value.clone());
            }
            Some(Value::Array(values)) if repeated.contains(&question) => {
                values.push(value.clone())
            }
            Some(first) => {
                *first = Value::Array(vec![first.take(), value.clone()]);
                repeated.insert(question);
            }
        }
    }
    if let Some(rating) = rating {
        answers.insert(RATING.to_owned(), Value::Number(rating));
    }
    Ok(answers)
}

/// A number from 1 to 5, also if it is given as text.
fn stars(value: &Value) -> Option<Number> {
    let stars = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => value.as_f64(),
    };
    stars
        .filter(|stars| (1.0..=5.0).contains(stars))
        .and_then(Number::from_f64)
}

/// The traits at the top level; if there are none, those in the context, where some
/// client libraries put them.
fn traits(payload: &Map<String, Value>) -> Map<String, Value> {
    let given = ["traits", "context.traits"].into_iter();
    let mut given = given.filter_map(|path| at(payload, path).and_then(Value::as_object));
    let traits = given.find(|traits| !traits.is_empty());
    let traits = traits.into_iter().flatten();
    traits
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn time(payload: &Map<String, Value>) -> Result<Option<Timestamp>, SkipReason> {
    let mut given = TIMES
        .into_iter()
        .filter_map(|name| payload.get(name))
        .filter(|value| !is_unset(value))
        .peekable();
    if given.peek().is_none() {
        return Ok(None);
    }
    given
        .find_map(|value| Timestamp::parse_iso8601(value.as_str()?))
        .map(Some)
        .ok_or_else(|| unreadable(TIMES[0], "must be a time in ISO 8601"))
}

fn is_unset(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// The value at a dotted path.
fn at<'a>(payload: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = payload.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

fn list_at<'a>(payload: &'a Map<String, Value>, path: &str) -> &'a [Value] {
    let list = at(payload, path).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

fn text_at(payload: &Map<String, Value>, path: &str) -> Result<Option<String>, SkipReason> {
    text_of(at(payload, path), path)
}

/// A text that is not empty. A whole number is accepted as text.
fn text_of(value: Option<&Value>, path: &str) -> Result<Option<String>, SkipReason> {
    match value {
        None => Ok(None),
        Some(value) if is_unset(value) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string())),
        Some(_) => Err(unreadable(path, "must be a text")),
    }
}

fn number_at(payload: &Map<String, Value>, path: &str) -> Result<Option<f64>, SkipReason> {
    match at(payload, path) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number)),
            None => Err(unreadable(path, "must be a number")),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{SkipReason, plain_id, read};
    use crate::{api::parse::UncheckedEvent, domain::time::Timestamp};

    fn event(payload: &Value) -> Result<UncheckedEvent, SkipReason> {
        read(&payload.to_string()).event
    }

    fn answers(payload: &Value) -> serde_json::Map<String, Value> {
        event(payload).unwrap().survey_answers.unwrap()
    }

    fn track(more: &Value) -> Value {
        let mut payload = json!({"type": "track", "userId": "u", "event": "E"});
        for (name, value) in more.as_object().unwrap() {
            payload[name] = value.clone();
        }
        payload
    }

    #[test]
    fn only_digits_after_the_prefix_are_an_id() {
        for (given, plain) in [
            ("content_1001", "1001"),
            ("content_", "content_"),
            ("content_1a", "content_1a"),
            ("content_٣", "content_٣"),
            ("content_-1", "content_-1"),
            ("Content_1", "Content_1"),
            ("xcontent_1", "xcontent_1"),
            ("1009", "1009"),
            ("sku-7", "sku-7"),
        ] {
            assert_eq!(plain_id(given.to_owned()), plain, "{given}");
        }
    }

    #[test]
    fn without_a_user_id_the_anonymous_id_is_used() {
        let payload = track(&json!({"userId": "", "anonymousId": "anon"}));
        assert_eq!(event(&payload).unwrap().user_id, "anon");
        let payload = track(&json!({"userId": null, "anonymousId": ""}));
        assert_eq!(event(&payload), Err(SkipReason::NoUser));
        let payload = track(&json!({"userId": 42}));
        assert_eq!(event(&payload).unwrap().user_id, "42");
    }

    #[test]
    fn the_first_valid_time_is_used() {
        let seconds = |more: Value| event(&track(&more)).map(|event| event.time);
        let at = |seconds: i64| Ok(Some(Ok(Timestamp::from_micros(seconds * 1_000_000))));
        let (one, two) = ("1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z");
        assert_eq!(
            seconds(json!({"timestamp": one, "originalTimestamp": two})),
            at(1)
        );
        assert_eq!(
            seconds(json!({"originalTimestamp": one, "sentAt": two})),
            at(1)
        );
        assert_eq!(
            seconds(json!({"timestamp": "soon", "originalTimestamp": null, "sentAt": two})),
            at(2)
        );
        assert_eq!(seconds(json!({"timestamp": ""})), Ok(None));
        for wrong in [json!({"timestamp": "soon"}), json!({"sentAt": 7})] {
            let Err(SkipReason::Unreadable(reason)) = seconds(wrong) else {
                panic!("a time was read");
            };
            assert_eq!(reason, "timestamp must be a time in ISO 8601");
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_reported_with_its_path() {
        for (more, expected) in [
            (json!({"userId": {}}), "userId must be a text"),
            (json!({"userId": 1.5}), "userId must be a text"),
            (json!({"messageId": []}), "messageId must be a text"),
            (
                json!({"properties": {"details": {"dwell_seconds": "9"}}}),
                "properties.details.dwell_seconds must be a number",
            ),
            (
                json!({"properties": {"context": {"candidates": ["1", {"content_id": true}]}}}),
                "properties.context.candidates[1].content_id must be a text",
            ),
            (json!({"type": 1}), "type must be track or identify"),
        ] {
            let reason = event(&track(&more)).unwrap_err();
            assert_eq!(reason.to_string(), expected);
        }
    }

    #[test]
    fn a_rating_out_of_range_is_a_plain_answer() {
        let rated = |value: Value| {
            let answer =
                json!({"question_id": "q", "question_type": "rating", "answer_value": value});
            answers(&track(&json!({"properties": {"answers": [answer]}})))
        };
        assert_eq!(rated(json!("4"))["rating"], json!(4.0));
        for (other, stored) in [
            (json!("8"), json!("8")),
            (json!("good"), json!("good")),
            (json!(0), json!(0.0)),
            (json!("NaN"), json!("NaN")),
            (json!([4]), json!([4.0])),
        ] {
            let answers = rated(other.clone());
            assert_eq!(answers.get("rating"), None, "{other}");
            assert_eq!(answers["q"], stored);
        }
    }

    #[test]
    fn an_answer_that_is_a_list_stays_a_list() {
        let answer = |value: Value| json!({"question_id": "q", "answer_value": value});
        let stored = |values: &[Value]| {
            let given: Vec<Value> = values.iter().cloned().map(answer).collect();
            answers(&track(&json!({"properties": {"answers": given}})))["q"].clone()
        };
        assert_eq!(stored(&[json!(["a", "b"])]), json!(["a", "b"]));
        assert_eq!(stored(&[json!(["a"]), json!("b")]), json!([["a"], "b"]));
        assert_eq!(
            stored(&[json!("a"), json!(null), json!("b"), json!("c")]),
            json!(["a", "b", "c"])
        );
    }

    #[test]
    fn traits_may_be_in_the_context() {
        let context = json!({"context": {"traits": {"age": "25_34", "none": null}}, "traits": {}});
        let mut payload = track(&context);
        payload["type"] = json!("identify");
        assert_eq!(event(&payload).unwrap().event_type, "IDENTIFY");
        let answers = answers(&payload);
        assert_eq!(Value::Object(answers), json!({"age": "25_34"}));
    }

    #[test]
    fn errors_of_json_do_not_quote_it() {
        for text in ["ada@example.com", "{\"ada@example.com\"", "\"ada\""] {
            let Err(SkipReason::Unreadable(reason)) = read(text).event else {
                panic!("{text} was read");
            };
            assert!(!reason.contains("ada"), "{reason}");
        }
    }
}
