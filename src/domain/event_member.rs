//! The stored form of an event: one JSON member of the sorted set
//! `evt:<user_id>`, in the format of the reference engine.
//!
//! Encoding is deterministic, so a sorted set stores a redelivered event once.
//! `event_id`, if present, is the last key. The last bytes of a member therefore
//! show whether it has that id, and a nested `event_id` cannot match.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{
    event::{EndReason, InteractionEvent, StoredEvent},
    ids::{ContentId, UserId},
    json::{JsonObject, json_fault},
    time::Timestamp,
};

/// The start of a member, up to the user's id.
const USER_KEY: &str = r#"{"user_id":"#;

/// A stored member is not an event.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableMember {
    /// It is not JSON with the expected keys and types.
    #[error("not an event in JSON: {}", json_fault(.0))]
    Json(#[from] serde_json::Error),
    /// Its `ts`, or its score if it has no `ts`, is not a valid time.
    #[error("neither ts nor the score is a time between the years 1 and 9999")]
    Time,
}

#[derive(Serialize)]
struct MemberOut<'a> {
    user_id: &'a str,
    event: &'a str,
    ts: String,
    session_id: Option<&'a str>,
    request_id: Option<&'a str>,
    content_id: Option<&'a str>,
    dwell_seconds: Option<f64>,
    end_reason: Option<&'static str>,
    query_text: Option<&'a str>,
    clicked_id: Option<&'a str>,
    impressions: Vec<&'a str>,
    survey_answers: &'a Map<String, Value>,
    raw: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
}

#[derive(Deserialize)]
struct MemberIn {
    #[serde(default, deserialize_with = "null_is_default")]
    event: String,
    ts: Option<String>,
    session_id: Option<String>,
    request_id: Option<String>,
    content_id: Option<String>,
    dwell_seconds: Option<f64>,
    end_reason: Option<String>,
    query_text: Option<String>,
    clicked_id: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    impressions: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    survey_answers: Map<String, Value>,
    event_id: Option<String>,
}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Encodes an event.
///
/// # Errors
/// Only if the answers are nested too deeply for serde_json to write.
pub fn encode(event: InteractionEvent) -> Result<StoredEvent, serde_json::Error> {
    let member = serde_json::to_string(&MemberOut {
        user_id: event.user_id.as_str(),
        event: &event.event_type,
        ts: event.time.to_string(),
        session_id: event.session_id.as_deref(),
        request_id: event.request_id.as_deref(),
        content_id: event.content_id.as_ref().map(ContentId::as_str),
        dwell_seconds: event.dwell_seconds,
        end_reason: event.end_reason.map(EndReason::as_str),
        query_text: event.query_text.as_deref(),
        clicked_id: event.clicked_id.as_deref(),
        impressions: event.impressions.iter().map(ContentId::as_str).collect(),
        survey_answers: &event.survey_answers,
        raw: Map::new(),
        event_id: event.event_id.as_deref(),
    })?
    .into_boxed_str();
    Ok(StoredEvent { event, member })
}

/// Decodes a member of `user_id`'s buffer, written by any program.
/// Unknown keys are ignored. Without `ts`, the time is the member's `score`.
///
/// # Errors
/// [`UnreadableMember`] if it is not an event; callers skip such a member.
pub fn decode(
    user_id: &UserId,
    member: &str,
    score: Timestamp,
) -> Result<StoredEvent, UnreadableMember> {
    let JsonObject(read): JsonObject<MemberIn> = serde_json::from_str(member)?;
    let time = match read.ts {
        Some(text) => Timestamp::parse_iso8601(&text),
        None => Some(score).filter(|score| score.is_representable()),
    }
    .ok_or(UnreadableMember::Time)?;
    Ok(StoredEvent {
        event: InteractionEvent {
            user_id: user_id.clone(),
            event_type: read.event,
            time,
            event_id: non_empty(read.event_id),
            session_id: non_empty(read.session_id),
            request_id: non_empty(read.request_id),
            content_id: non_empty(read.content_id).map(ContentId::from),
            dwell_seconds: read.dwell_seconds,
            end_reason: read.end_reason.as_deref().and_then(EndReason::parse),
            query_text: non_empty(read.query_text),
            clicked_id: non_empty(read.clicked_id),
            impressions: read
                .impressions
                .into_iter()
                .filter(|id| !id.is_empty())
                .map(ContentId::from)
                .collect(),
            survey_answers: read.survey_answers,
        },
        member: member.into(),
    })
}

/// The event as if `user` had sent it. The rest of the member stays byte by byte, with
/// what another program may have added, if it begins with the user's id, as all of ours
/// do; else it is encoded again.
///
/// # Errors
/// As [`encode`].
pub fn with_user(stored: &StoredEvent, user: &UserId) -> Result<StoredEvent, serde_json::Error> {
    let event = InteractionEvent {
        user_id: user.clone(),
        ..stored.event.clone()
    };
    let before = format!(
        "{USER_KEY}{}",
        serde_json::to_string(stored.event.user_id.as_str())?
    );
    let rest = stored.member.strip_prefix(before.as_str());
    let Some(rest) = rest.filter(|rest| rest.starts_with([',', '}'])) else {
        return encode(event);
    };
    let id = serde_json::to_string(user.as_str())?;
    let member = format!("{USER_KEY}{id}{rest}").into_boxed_str();
    Ok(StoredEvent { event, member })
}

fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The last bytes of every member that carries `event_id`, and of no other.
///
/// # Errors
/// None in practice: every string can be encoded. The type is serde's.
pub fn event_id_suffix(event_id: &str) -> Result<String, serde_json::Error> {
    let id = serde_json::to_string(event_id)?;
    Ok(format!(",\"event_id\":{id}}}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::{decode, encode, event_id_suffix, with_user};
    use crate::domain::{
        event::{EndReason, InteractionEvent},
        ids::UserId,
        time::Timestamp,
    };

    fn time(text: &str) -> Timestamp {
        Timestamp::parse_iso8601(text).unwrap()
    }

    fn event() -> InteractionEvent {
        InteractionEvent::new(
            UserId::parse("u").unwrap(),
            "CONTENT_VIEW_ENDED",
            time("2026-06-10T11:00:00Z"),
        )
    }

    #[test]
    fn a_minimal_event_has_all_keys_in_the_shared_order() {
        assert_eq!(
            &*encode(event()).unwrap().member,
            r#"{"user_id":"u","event":"CONTENT_VIEW_ENDED","ts":"2026-06-10T11:00:00Z","session_id":null,"request_id":null,"content_id":null,"dwell_seconds":null,"end_reason":null,"query_text":null,"clicked_id":null,"impressions":[],"survey_answers":{},"raw":{}}"#
        );
    }

    #[test]
    fn a_full_event_is_unescaped_utf8_with_sorted_answers_and_the_id_last() {
        let mut answers = Map::new();
        answers.insert("z".into(), json!("é"));
        answers.insert("rating".into(), json!(4.0));
        let full = InteractionEvent {
            event_id: Some("e\"1".into()),
            session_id: Some("s".into()),
            request_id: Some("r".into()),
            content_id: Some("7".into()),
            dwell_seconds: Some(95.5),
            end_reason: Some(EndReason::NextButton),
            query_text: Some("Häftling № 7".into()),
            clicked_id: Some("8".into()),
            impressions: vec!["9".into()],
            survey_answers: answers,
            time: time("2026-06-10T11:00:00.25Z"),
            ..event()
        };
        let stored = encode(full.clone()).unwrap();
        assert_eq!(
            &*stored.member,
            r#"{"user_id":"u","event":"CONTENT_VIEW_ENDED","ts":"2026-06-10T11:00:00.250000Z","session_id":"s","request_id":"r","content_id":"7","dwell_seconds":95.5,"end_reason":"next_button","query_text":"Häftling № 7","clicked_id":"8","impressions":["9"],"survey_answers":{"rating":4.0,"z":"é"},"raw":{},"event_id":"e\"1"}"#
        );
        assert!(stored.member.ends_with(&event_id_suffix("e\"1").unwrap()));
        let read = decode(&full.user_id, &stored.member, full.time).unwrap();
        assert_eq!(read, stored);
    }

    #[test]
    fn decodes_times_without_zone_nulls_and_unknown_keys() {
        let user = UserId::parse("u").unwrap();
        let score = time("2026-01-01T00:00:00Z");
        let read = decode(
            &user,
            r#"{"ts":"2026-06-10T11:00:00","impressions":null,"survey_answers":null,"event":null,"end_reason":"timeout","extra":{"a":[1]}}"#,
            score,
        )
        .unwrap();
        assert_eq!(read.event.time, time("2026-06-10T11:00:00Z"));
        assert_eq!(read.event.end_reason, None);
        assert_eq!(decode(&user, "{}", score).unwrap().event.time, score);
    }

    #[test]
    fn rejects_what_is_not_an_event() {
        let user = UserId::parse("u").unwrap();
        let score = time("2026-01-01T00:00:00Z");
        for member in [
            "",
            "null",
            "[]",
            "{",
            r#"{"ts":"soon"}"#,
            r#"{"content_id":7}"#,
        ] {
            assert!(decode(&user, member, score).is_err(), "{member}");
        }
    }

    #[test]
    fn the_error_does_not_contain_values_of_the_member() {
        let user = UserId::parse("u").unwrap();
        let score = time("2026-01-01T00:00:00Z");
        for member in [
            r#"{"dwell_seconds":"ada@example.com"}"#,
            r#"{"ts":"ada@example.com"}"#,
            r#""ada@example.com""#,
            r#"{"ada@example.com"#,
        ] {
            let error = decode(&user, member, score).unwrap_err().to_string();
            assert!(!error.contains("ada"), "{error}");
        }
    }

    #[test]
    fn an_empty_id_is_ignored() {
        let user = UserId::parse("u").unwrap();
        let score = time("2026-01-01T00:00:00Z");
        let member = r#"{"content_id":"","impressions":["","1",""]}"#;
        let read = decode(&user, member, score).unwrap();
        assert_eq!(read.event.content_id, None);
        assert_eq!(read.event.impressions, ["1".into()]);
    }

    #[test]
    fn a_list_of_values_is_not_an_event() {
        let user = UserId::parse("u").unwrap();
        let score = time("2026-01-01T00:00:00Z");
        let list = r#"["E","2026-01-01T00:00:00Z",null,null,"1",2.0,null,null,null,[],{},null]"#;
        assert!(decode(&user, list, score).is_err());
    }

    #[test]
    fn an_event_whose_time_cannot_be_represented_is_unreadable() {
        let user = UserId::parse("u").unwrap();
        for micros in [i64::MIN, i64::MAX, 253_402_300_799_000_000] {
            assert!(decode(&user, "{}", Timestamp::from_micros(micros)).is_err());
        }
        let year_0 = r#"{"ts":"0000-06-10T11:00:00Z"}"#;
        assert!(decode(&user, year_0, time("2026-01-01T00:00:00Z")).is_err());
    }

    #[test]
    fn an_event_of_another_user_has_the_bytes_as_if_that_user_had_sent_it() {
        let [ada, bob] = ["a\"da: é", "bob"].map(|id| UserId::parse(id).unwrap());
        let of = |user: &UserId| {
            let mut event = InteractionEvent::new(user.clone(), "T", event().time);
            event.content_id = Some("7".into());
            event.dwell_seconds = Some(95.5);
            event.event_id = Some("e".into());
            encode(event).unwrap()
        };
        assert_eq!(with_user(&of(&ada), &bob).unwrap(), of(&bob));
        assert_eq!(with_user(&of(&bob), &ada).unwrap(), of(&ada));
    }

    #[test]
    fn what_another_program_stored_stays_in_an_event_of_another_user() {
        let [ada, bob] = ["ada", "bob"].map(|id| UserId::parse(id).unwrap());
        let at = event().time;
        let foreign = r#"{"user_id":"ada","ts":"2026-06-10T11:00:00","raw":{"a":1},"x":2}"#;
        let moved = with_user(&decode(&ada, foreign, at).unwrap(), &bob).unwrap();
        assert_eq!(&*moved.member, foreign.replace("ada", "bob"));
        // Not where ours have it: encoded again.
        let other = r#"{"event":"E", "user_id": "ada","content_id":"7"}"#;
        let moved = with_user(&decode(&ada, other, at).unwrap(), &bob).unwrap();
        assert_eq!(moved.event.user_id, bob);
        assert!(moved.member.starts_with(r#"{"user_id":"bob","event":"E""#));
        assert_eq!(decode(&bob, &moved.member, at).unwrap(), moved);
    }

    #[test]
    fn a_nested_event_id_does_not_match_the_suffix() {
        let suffix = event_id_suffix("x").unwrap();
        let mut nested = event();
        nested
            .survey_answers
            .insert("a".into(), json!({"event_id": "x"}));
        nested
            .survey_answers
            .insert("b".into(), json!(",\"event_id\":\"x\"}"));
        assert!(!encode(nested).unwrap().member.ends_with(&suffix));
        let foreign = r#"{"event":"E","raw":{"a":1,"event_id":"x"}}"#;
        assert!(!foreign.ends_with(&suffix));
    }

    #[test]
    fn a_rating_out_of_range_or_of_another_type_is_ignored() {
        for (value, rating) in [
            (json!(1), Some(1.0)),
            (json!(5.0), Some(5.0)),
            (json!(0), Some(0.0)),
            (json!(2.5), Some(2.5)),
            (json!(-0.01), None),
            (json!(5.01), None),
            (json!("4"), None),
            (json!(null), None),
        ] {
            let mut rated = event();
            rated.survey_answers.insert("rating".into(), value);
            assert_eq!(rated.rating(), rating);
        }
    }
}
