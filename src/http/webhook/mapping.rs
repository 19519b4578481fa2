//! From an element of a delivery to what it says.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use super::{
    commerce,
    element::{Element, MappedElement, MergeIds, SkipReason, unreadable},
    paths::{at, id_at, id_of, is_unset, list_at, number_at, object_at, text_at, text_of},
};
use crate::{
    api::{parse::UncheckedEvent, wkt},
    domain::{
        event::{EndReason, event_types},
        json::json_fault,
        time::Timestamp,
    },
};

/// Where the time of an event is, in order of preference.
const TIMES: [&str; 3] = ["timestamp", "originalTimestamp", "sentAt"];
/// The type of a question whose answer rates the item.
const RATING: &str = "rating";
/// Names of a trait and an answer that are called so and rate nothing.
const RATING_TRAIT: &str = "traits.rating";
const RATING_ANSWER: &str = "answers.rating";

/// Reads an element.
#[must_use]
pub fn read(text: &str) -> Element {
    let skipped = |reason| Element {
        message_id: None,
        mapped: Err(reason),
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(payload)) => {
            let message_id = id_at(&payload, "messageId");
            let mapped = message_id.clone().and_then(|id| mapped(&payload, id));
            Element {
                message_id: message_id.unwrap_or_default(),
                mapped,
            }
        }
        Ok(_) => skipped(unreadable("it", "must be a JSON object")),
        Err(fault) => skipped(unreadable("it is", &json_fault(&fault))),
    }
}

fn mapped(
    payload: &Map<String, Value>,
    event_id: Option<String>,
) -> Result<MappedElement, SkipReason> {
    let call = match payload.get("type").and_then(Value::as_str) {
        Some(call @ ("track" | "identify" | "alias")) => call,
        Some(_) => return Err(SkipReason::OtherType),
        None => return Err(unreadable("type", "must be track, identify or alias")),
    };
    let person = id_at(payload, "userId")?;
    let device = id_at(payload, "anonymousId")?;
    if call == "alias" {
        return alias(payload, person, device);
    }
    let anonymous = person.is_none();
    let Some(user_id) = person.clone().or_else(|| device.clone()) else {
        return Err(SkipReason::NoUser);
    };
    let event = UncheckedEvent {
        event_id: event_id.unwrap_or_default(),
        time: time(payload)?.map(Ok),
        anonymous,
        ..UncheckedEvent::new(user_id, event_types::IDENTIFY.to_owned())
    };
    if call == "track" {
        return track(payload, event);
    }
    let event = UncheckedEvent {
        survey_answers: wkt::like_struct(traits(payload)?),
        ..event
    };
    Ok(MappedElement {
        merge: merge_ids(device, person),
        ..MappedElement::of_event(event)
    })
}

fn alias(
    payload: &Map<String, Value>,
    person: Option<String>,
    device: Option<String>,
) -> Result<MappedElement, SkipReason> {
    let person = person.ok_or(SkipReason::NoUser)?;
    let previous = id_at(payload, "previousId")?.or(device);
    let previous = previous.ok_or_else(|| unreadable("previousId", "must be set"))?;
    if previous == person {
        return Err(unreadable("previousId", "must differ from userId"));
    }
    Ok(MappedElement {
        merge: merge_ids(Some(previous), Some(person)),
        ..MappedElement::default()
    })
}

/// The ids of one user, if there are two.
fn merge_ids(from: Option<String>, into: Option<String>) -> Option<MergeIds> {
    let (from, into) = from.zip(into)?;
    (from != into).then_some(MergeIds { from, into })
}

fn track(payload: &Map<String, Value>, event: UncheckedEvent) -> Result<MappedElement, SkipReason> {
    let text = |path| text_at(payload, path).map(Option::unwrap_or_default);
    let id = |path| id_at(payload, path).map(Option::unwrap_or_default);
    let event_type = text("event")?;
    let content = match at(payload, "properties.content")? {
        Some(Value::Object(_)) => id_at(payload, "properties.content.content_id")?,
        Some(_) => id_at(payload, "properties.content")?,
        None => None,
    };
    let content = match content {
        Some(content) => Some(content),
        None => commerce::item(payload)?,
    };
    let mut items = commerce::items(payload)?;
    let mut impressions = candidates(payload)?;
    if commerce::are_shown(&event_type) {
        impressions.append(&mut items);
    } else if !items.is_empty()
        && let Some(content) = content.as_ref().filter(|content| !items.contains(content))
    {
        items.insert(0, content.clone());
    }
    // An unknown reason is none.
    let end_reason = EndReason::parse(&text("properties.details.reason")?);
    let event = UncheckedEvent {
        event_type,
        session_id: id("properties.context.session_id")?,
        request_id: id("properties.context.request_id")?,
        content_id: content.unwrap_or_default(),
        dwell_seconds: number_at(payload, "properties.details.dwell_seconds")?,
        end_reason: Ok(end_reason),
        query_text: query(payload)?,
        clicked_id: id("properties.details.clicked_id")?,
        impressions,
        survey_answers: wkt::like_struct(answers(payload)?),
        ..event
    };
    Ok(MappedElement {
        items,
        ..MappedElement::of_event(event)
    })
}

fn query(payload: &Map<String, Value>) -> Result<String, SkipReason> {
    for path in [
        "properties.details.query_text",
        "properties.query",
        "properties.search_term",
    ] {
        if let Some(query) = text_at(payload, path)? {
            return Ok(query);
        }
    }
    Ok(String::new())
}

/// The items that were on display.
fn candidates(payload: &Map<String, Value>) -> Result<Vec<String>, SkipReason> {
    const PATH: &str = "properties.context.candidates";
    let listed = list_at(payload, PATH)?.iter().enumerate();
    let ids = listed.map(|(index, candidate)| match candidate.as_object() {
        Some(object) => id_of(
            object.get("content_id"),
            &format!("{PATH}[{index}].content_id"),
        ),
        None => id_of(Some(candidate), &format!("{PATH}[{index}]")),
    });
    ids.filter_map(Result::transpose).collect()
}

/// Answers by question; a list if a question was answered several times. The answer
/// to a question of type `rating` is also stored under that name, if it is a valid
/// rating.
fn answers(payload: &Map<String, Value>) -> Result<Map<String, Value>, SkipReason> {
    const PATH: &str = "properties.answers";
    let mut answers: Map<String, Value> = Map::new();
    let mut repeated: BTreeSet<String> = BTreeSet::new();
    let mut rating = None;
    for (index, answer) in list_at(payload, PATH)?.iter().enumerate() {
        let Value::Object(answer) = answer else {
            return Err(unreadable(&format!("{PATH}[{index}]"), "must be an object"));
        };
        let text = |name: &str| text_of(answer.get(name), &format!("{PATH}[{index}].{name}"));
        let (question, kind) = (text("question_id")?, text("question_type")?);
        let value = answer.get("answer_value").filter(|value| !value.is_null());
        let (Some(question), Some(value)) = (question, value) else {
            continue;
        };
        if kind.as_deref() == Some(RATING) {
            rating = stars(value).or(rating);
        }
        let question = match question.as_str() {
            RATING if !is_rating(value) => RATING_ANSWER.to_owned(),
            _ => question,
        };
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
    // A question of this name that was answered twice.
    if let Some(other) = answers
        .get(RATING)
        .filter(|value| !is_rating(value))
        .cloned()
    {
        answers.remove(RATING);
        answers.insert(RATING_ANSWER.to_owned(), other);
    }
    Ok(answers)
}

/// Whether an event may have this value as its rating.
fn is_rating(value: &Value) -> bool {
    value
        .as_f64()
        .is_some_and(|rating| (0.0..=5.0).contains(&rating))
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
/// client libraries put them. A trait named `rating` is about the user: it gets another
/// name.
fn traits(payload: &Map<String, Value>) -> Result<Map<String, Value>, SkipReason> {
    let at_top = object_at(payload, "traits")?.filter(|traits| !traits.is_empty());
    let given = match at_top {
        Some(traits) => Some(traits),
        None => object_at(payload, "context.traits")?,
    };
    let given = given.into_iter().flatten();
    let given = given.filter(|(_, value)| !value.is_null());
    let named = given.map(|(name, value)| {
        let name = if name == RATING { RATING_TRAIT } else { name };
        (name.to_owned(), value.clone())
    });
    Ok(named.collect())
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{MappedElement, SkipReason, read};
    use crate::{api::parse::UncheckedEvent, domain::time::Timestamp};

    fn mapped(payload: &Value) -> Result<MappedElement, SkipReason> {
        read(&payload.to_string()).mapped
    }

    fn event(payload: &Value) -> Result<UncheckedEvent, SkipReason> {
        mapped(payload).map(|mapped| mapped.event.unwrap())
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
            (json!({"type": 1}), "type must be track, identify or alias"),
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
            let Err(SkipReason::Unreadable(reason)) = read(text).mapped else {
                panic!("{text} was read");
            };
            assert!(!reason.contains("ada"), "{reason}");
        }
    }
}
