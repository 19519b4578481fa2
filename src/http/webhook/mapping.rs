//! What an element says, in the API's words.

use std::collections::BTreeSet;

use prost_types::Timestamp as ProtoTimestamp;
use serde_json::{Map, Number, Value};

use crate::{
    domain::{
        event::{EndReason, event_types},
        json::json_fault,
        time::Timestamp,
    },
    proto,
};

/// What an item's id begins with, before its digits.
const CONTENT: &str = "content_";
/// Where the time stands, the best first.
const TIMES: [&str; 3] = ["timestamp", "originalTimestamp", "sentAt"];
/// The type of a question whose answer rates the item.
const RATING: &str = "rating";

/// An element as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// Its name, if it has one.
    pub message_id: Option<String>,
    /// What it says, or why it says nothing.
    pub said: Result<Said, Left>,
}

/// An event that nobody has checked yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The event, but for its answers.
    pub event: proto::InteractionEvent,
    /// Its answers, as they are.
    pub answers: Map<String, Value>,
}

/// Why an element is left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Left {
    /// It names no user.
    #[error("has neither userId nor anonymousId")]
    NoUser,
    /// It is another call than track or identify.
    #[error("is neither track nor identify")]
    OtherType,
    /// It is of no shape that is known.
    #[error("{0}")]
    Unreadable(String),
}

fn unreadable(path: &str, rule: &str) -> Left {
    Left::Unreadable(format!("{path} {rule}"))
}

/// Reads an element.
#[must_use]
pub fn read(text: &str) -> Element {
    let nameless = |left| Element {
        message_id: None,
        said: Err(left),
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(payload)) => {
            let message_id = text_at(&payload, "messageId");
            let said = message_id.clone().and_then(|id| said(&payload, id));
            Element {
                message_id: message_id.unwrap_or_default(),
                said,
            }
        }
        Ok(_) => nameless(unreadable("it", "must be a JSON object")),
        Err(fault) => nameless(unreadable("it is", &json_fault(&fault))),
    }
}

fn said(payload: &Map<String, Value>, event_id: Option<String>) -> Result<Said, Left> {
    let is_track = match payload.get("type").and_then(Value::as_str) {
        Some("track") => true,
        Some("identify") => false,
        Some(_) => return Err(Left::OtherType),
        None => return Err(unreadable("type", "must be track or identify")),
    };
    let user_id = match text_at(payload, "userId")? {
        Some(known) => known,
        None => text_at(payload, "anonymousId")?.ok_or(Left::NoUser)?,
    };
    let event = proto::InteractionEvent {
        user_id,
        event_id: event_id.unwrap_or_default(),
        event_time: time(payload)?,
        ..proto::InteractionEvent::default()
    };
    if is_track {
        return track(payload, event);
    }
    Ok(Said {
        event: proto::InteractionEvent {
            event_type: event_types::IDENTIFY.to_owned(),
            ..event
        },
        answers: traits(payload),
    })
}

fn track(payload: &Map<String, Value>, event: proto::InteractionEvent) -> Result<Said, Left> {
    let text = |path| text_at(payload, path).map(Option::unwrap_or_default);
    let item = |path| Ok(plain_id(text(path)?));
    let content_id = match at(payload, "properties.content") {
        Some(Value::Object(_)) => item("properties.content.content_id")?,
        _ => item("properties.content")?,
    };
    let end_reason = text("properties.details.reason")?;
    let event = proto::InteractionEvent {
        event_type: text("event")?,
        session_id: text("properties.context.session_id")?,
        request_id: text("properties.context.request_id")?,
        content_id,
        dwell_seconds: number_at(payload, "properties.details.dwell_seconds")?,
        end_reason: reason(&end_reason).into(),
        query_text: text("properties.details.query_text")?,
        clicked_id: item("properties.details.clicked_id")?,
        impressions: candidates(payload)?,
        ..event
    };
    Ok(Said {
        event,
        answers: answers(payload)?,
    })
}

/// A reason that is not known is none.
fn reason(text: &str) -> proto::EndReason {
    match EndReason::parse(text) {
        Some(EndReason::NextButton) => proto::EndReason::NextButton,
        Some(EndReason::Link) => proto::EndReason::Link,
        Some(EndReason::CloseButton) => proto::EndReason::CloseButton,
        Some(EndReason::Abandon) => proto::EndReason::Abandon,
        None => proto::EndReason::Unspecified,
    }
}

/// `content_1001` is item 1001; any other id stays as it is.
fn plain_id(id: String) -> String {
    match id.strip_prefix(CONTENT) {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.to_owned()
        }
        _ => id,
    }
}

/// The items that were on display.
fn candidates(payload: &Map<String, Value>) -> Result<Vec<String>, Left> {
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

/// Answers by question: a list where one was answered several times. That to a
/// question of type `rating` is the item's rating, too, if it is one.
fn answers(payload: &Map<String, Value>) -> Result<Map<String, Value>, Left> {
    const PATH: &str = "properties.answers";
    let mut answers: Map<String, Value> = Map::new();
    let mut several: BTreeSet<String> = BTreeSet::new();
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
            Some(Value::Array(values)) if several.contains(&question) => values.push(value.clone()),
            Some(first) => {
                *first = Value::Array(vec![first.take(), value.clone()]);
                several.insert(question);
            }
        }
    }
    if let Some(rating) = rating {
        answers.insert(RATING.to_owned(), Value::Number(rating));
    }
    Ok(answers)
}

/// A number from 1 to 5, also as a text.
fn stars(value: &Value) -> Option<Number> {
    let stars = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => value.as_f64(),
    };
    stars
        .filter(|stars| (1.0..=5.0).contains(stars))
        .and_then(Number::from_f64)
}

/// Those beside the user's id; else those that the library has put into the
/// context.
fn traits(payload: &Map<String, Value>) -> Map<String, Value> {
    let given = ["traits", "context.traits"].into_iter();
    let mut given = given.filter_map(|path| at(payload, path).and_then(Value::as_object));
    let told = given.find(|traits| !traits.is_empty());
    let told = told.into_iter().flatten();
    told.filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn time(payload: &Map<String, Value>) -> Result<Option<ProtoTimestamp>, Left> {
    let mut given = TIMES
        .into_iter()
        .filter_map(|name| payload.get(name))
        .filter(|value| !is_nothing(value))
        .peekable();
    if given.peek().is_none() {
        return Ok(None);
    }
    given
        .find_map(|value| Timestamp::parse_iso8601(value.as_str()?))
        .map(|time| {
            let (seconds, nanos) = time.to_proto_parts();
            Some(ProtoTimestamp { seconds, nanos })
        })
        .ok_or_else(|| unreadable(TIMES[0], "must be a time in ISO 8601"))
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// What stands at a path of names with dots between them.
fn at<'a>(payload: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = payload.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

fn list_at<'a>(payload: &'a Map<String, Value>, path: &str) -> &'a [Value] {
    let list = at(payload, path).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

fn text_at(payload: &Map<String, Value>, path: &str) -> Result<Option<String>, Left> {
    text_of(at(payload, path), path)
}

/// A text that says something; a whole number will do.
fn text_of(value: Option<&Value>, path: &str) -> Result<Option<String>, Left> {
    match value {
        None => Ok(None),
        Some(value) if is_nothing(value) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number.to_string())),
        Some(_) => Err(unreadable(path, "must be a text")),
    }
}

fn number_at(payload: &Map<String, Value>, path: &str) -> Result<Option<f64>, Left> {
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

    use super::{Left, Said, plain_id, read};

    fn said(payload: &Value) -> Result<Said, Left> {
        read(&payload.to_string()).said
    }

    fn track(more: &Value) -> Value {
        let mut payload = json!({"type": "track", "userId": "u", "event": "E"});
        for (name, value) in more.as_object().unwrap() {
            payload[name] = value.clone();
        }
        payload
    }

    #[test]
    fn only_digits_after_content_are_an_id_by_themselves() {
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
    fn an_empty_user_id_is_that_of_someone_who_has_not_signed_in() {
        let payload = track(&json!({"userId": "", "anonymousId": "anon"}));
        assert_eq!(said(&payload).unwrap().event.user_id, "anon");
        let payload = track(&json!({"userId": null, "anonymousId": ""}));
        assert_eq!(said(&payload), Err(Left::NoUser));
        let payload = track(&json!({"userId": 42}));
        assert_eq!(said(&payload).unwrap().event.user_id, "42");
    }

    #[test]
    fn the_first_time_that_can_be_read_is_taken() {
        let seconds = |more: Value| said(&track(&more)).map(|said| said.event.event_time);
        let at = |seconds| Ok(Some(prost_types::Timestamp { seconds, nanos: 0 }));
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
            let Err(Left::Unreadable(why)) = seconds(wrong) else {
                panic!("a time was read");
            };
            assert_eq!(why, "timestamp must be a time in ISO 8601");
        }
    }

    #[test]
    fn a_value_of_another_type_is_named_by_its_path() {
        for (more, told) in [
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
            let why = said(&track(&more)).unwrap_err();
            assert_eq!(why.to_string(), told);
        }
    }

    #[test]
    fn a_rating_out_of_range_is_an_answer_like_any_other() {
        let answers = |value: Value| {
            let answer =
                json!({"question_id": "q", "question_type": "rating", "answer_value": value});
            let payload = track(&json!({"properties": {"answers": [answer]}}));
            said(&payload).unwrap().answers
        };
        assert_eq!(answers(json!("4"))["rating"], json!(4.0));
        for other in [
            json!("8"),
            json!("good"),
            json!(0),
            json!("NaN"),
            json!([4]),
        ] {
            let told = answers(other.clone());
            assert_eq!(told.get("rating"), None, "{other}");
            assert_eq!(told["q"], other);
        }
    }

    #[test]
    fn an_answer_that_is_a_list_stays_one() {
        let answer = |value: Value| json!({"question_id": "q", "answer_value": value});
        let told = |values: &[Value]| {
            let answers: Vec<Value> = values.iter().cloned().map(answer).collect();
            let payload = track(&json!({"properties": {"answers": answers}}));
            said(&payload).unwrap().answers["q"].clone()
        };
        assert_eq!(told(&[json!(["a", "b"])]), json!(["a", "b"]));
        assert_eq!(told(&[json!(["a"]), json!("b")]), json!([["a"], "b"]));
        assert_eq!(
            told(&[json!("a"), json!(null), json!("b"), json!("c")]),
            json!(["a", "b", "c"])
        );
    }

    #[test]
    fn traits_may_stand_in_the_context() {
        let payload = |more: &Value| {
            let mut payload = track(more);
            payload["type"] = json!("identify");
            said(&payload).unwrap()
        };
        let context = json!({"context": {"traits": {"age": "25_34", "none": null}}, "traits": {}});
        let read = payload(&context);
        assert_eq!(read.event.event_type, "IDENTIFY");
        assert_eq!(Value::Object(read.answers), json!({"age": "25_34"}));
    }

    #[test]
    fn what_is_wrong_with_json_is_told_without_a_word_of_it() {
        for text in ["ada@example.com", "{\"ada@example.com\"", "\"ada\""] {
            let Err(Left::Unreadable(why)) = read(text).said else {
                panic!("{text} was read");
            };
            assert!(!why.contains("ada"), "{why}");
        }
    }
}
