//! A line of an events file: a JSON object with the API's field names, or with those
//! of a stored event, as `ExportUser` returns them.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::{
    api::wkt::{optional_struct, proto_timestamp},
    domain::{event::EndReason, time::Timestamp},
    proto::{self, InteractionEvent},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine {
    #[serde(alias = "userId")]
    user_id: String,
    #[serde(alias = "eventType", alias = "event")]
    event_type: String,
    #[serde(alias = "eventTime", alias = "ts")]
    event_time: Option<String>,
    #[serde(alias = "eventId")]
    event_id: Option<String>,
    #[serde(alias = "sessionId")]
    session_id: Option<String>,
    #[serde(alias = "requestId")]
    request_id: Option<String>,
    #[serde(alias = "contentId")]
    content_id: Option<ItemId>,
    #[serde(alias = "dwellSeconds")]
    dwell_seconds: Option<f64>,
    #[serde(alias = "endReason")]
    end_reason: Option<String>,
    #[serde(alias = "queryText")]
    query_text: Option<String>,
    #[serde(alias = "clickedId")]
    clicked_id: Option<ItemId>,
    impressions: Option<Vec<ItemId>>,
    #[serde(alias = "surveyAnswers")]
    survey_answers: Option<Map<String, Value>>,
    #[serde(rename = "raw")]
    _raw: Option<IgnoredAny>,
}

/// An item's id: a text or a whole number.
#[derive(Deserialize)]
#[serde(untagged)]
enum ItemId {
    Text(String),
    Number(i64),
}

impl ItemId {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// Parses an event. The server validates its fields.
///
/// # Errors
/// The reason of a refusal. An event without a time is refused: its time is not now.
pub(super) fn parse(line: &str) -> Result<InteractionEvent, String> {
    let line: EventLine = serde_json::from_str(line).map_err(|error| without_line(&error))?;
    let time = line.event_time.ok_or("event_time: must be set")?;
    let time = Timestamp::parse_iso8601(&time)
        .ok_or_else(|| format!("event_time: {time:?} is no time such as 2026-11-20T19:23:01Z"))?;
    Ok(InteractionEvent {
        user_id: line.user_id,
        event_type: line.event_type,
        event_time: Some(proto_timestamp(time)),
        event_id: line.event_id.unwrap_or_default(),
        session_id: line.session_id.unwrap_or_default(),
        request_id: line.request_id.unwrap_or_default(),
        content_id: line.content_id.map(ItemId::text).unwrap_or_default(),
        dwell_seconds: line.dwell_seconds,
        end_reason: end_reason(line.end_reason.as_deref())?.into(),
        query_text: line.query_text.unwrap_or_default(),
        clicked_id: line.clicked_id.map(ItemId::text).unwrap_or_default(),
        impressions: line
            .impressions
            .unwrap_or_default()
            .into_iter()
            .map(ItemId::text)
            .collect(),
        survey_answers: optional_struct(&line.survey_answers.unwrap_or_default()),
    })
}

fn end_reason(name: Option<&str>) -> Result<proto::EndReason, String> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(proto::EndReason::Unspecified);
    };
    if let Some(reason) = proto::EndReason::from_str_name(name) {
        return Ok(reason);
    }
    Ok(match EndReason::parse(name) {
        Some(EndReason::NextButton) => proto::EndReason::NextButton,
        Some(EndReason::Link) => proto::EndReason::Link,
        Some(EndReason::CloseButton) => proto::EndReason::CloseButton,
        Some(EndReason::Abandon) => proto::EndReason::Abandon,
        None => return Err(format!("end_reason: there is no {name:?}")),
    })
}

/// The error without serde_json's line number, which is always 1.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("not an event: {what} (column {})", error.column())
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::proto::EndReason;

    #[test]
    fn the_names_of_the_api_and_of_stored_events_are_equivalent() {
        let stored = parse(
            r#"{"user_id": "u", "event": "CONTENT_VIEW_ENDED", "ts": "2026-11-20T19:23:01.250000Z",
                "session_id": null, "content_id": "7", "dwell_seconds": 3.0, "end_reason": "next_button",
                "impressions": ["8", "9"], "survey_answers": {"rating": 4}, "raw": {"any": 1}}"#,
        )
        .unwrap();
        let api = parse(
            r#"{"userId": "u", "eventType": "CONTENT_VIEW_ENDED", "eventTime": "2026-11-20T19:23:01.25Z",
                "contentId": 7, "dwellSeconds": 3, "endReason": "END_REASON_NEXT_BUTTON",
                "impressions": [8, "9"], "surveyAnswers": {"rating": 4}}"#,
        )
        .unwrap();
        assert_eq!(stored, api);
        assert_eq!(api.end_reason(), EndReason::NextButton);
        assert_eq!(api.event_time.unwrap().nanos, 250_000_000);
    }

    #[test]
    fn a_refused_line_has_a_reason() {
        let whole = r#""user_id": "u", "event": "X""#;
        for (line, why) in [
            ("[]".to_owned(), "not an event: "),
            ("{".to_owned(), "not an event: EOF"),
            (format!("{{{whole}}}"), "event_time: must be set"),
            (
                format!(r#"{{{whole}, "ts": "now"}}"#),
                "event_time: \"now\"",
            ),
            (
                format!(r#"{{{whole}, "dwel": 1}}"#),
                "not an event: unknown field `dwel`",
            ),
            (
                format!(r#"{{{whole}, "ts": "2026-11-20T19:23:01Z", "end_reason": "bored"}}"#),
                "end_reason: there is no \"bored\"",
            ),
        ] {
            let reason = parse(&line).unwrap_err();
            assert!(reason.starts_with(why), "{line}: {reason}");
        }
    }
}
