//! The explanation of a user's model as JSON.

use serde_json::{Value, json};

use crate::{
    domain::{
        event::InteractionEvent,
        meaning::EventMeaning,
        signals::{ItemEvent, ItemExplanation},
    },
    engine::UserExplanation,
};

/// Most events in a reply; the newest.
const MAX_EVENTS: usize = 5_000;
/// Most bytes of a text of an event.
const MAX_TEXT_BYTES: usize = 512;

/// The explanation as one JSON object.
pub(crate) fn explanation(explained: &UserExplanation) -> Value {
    let meanings: serde_json::Map<String, Value> = explained
        .meanings
        .iter()
        .map(|(meaning, count)| (meaning.as_str().to_owned(), json!(count)))
        .collect();
    json!({
        "user_id": explained.signals.user_id.as_str(),
        "now": explained.now.to_string(),
        "event_count": explained.signals.event_count,
        "events_by_meaning": meanings,
        "is_cold": explained.signals.is_cold(),
        "ignored": explained.signals.ignored().count(),
        "items": explained.items.iter().map(item_json).collect::<Vec<_>>(),
    })
}

/// The explanation with its newest events, newest first.
pub(super) fn with_events(explained: &UserExplanation) -> Value {
    let mut value = explanation(explained);
    let events = explained.log.iter().zip(&explained.event_meanings).rev();
    let events = events.take(MAX_EVENTS);
    value["events"] = events
        .map(|(event, meaning)| any_event_json(event, *meaning))
        .collect();
    value
}

fn any_event_json(event: &InteractionEvent, meaning: EventMeaning) -> Value {
    json!({
        "time": event.time.to_string(),
        "event_type": cut(&event.event_type),
        "meaning": meaning.as_str(),
        "content_id": event.content_id.as_ref().map(|id| id.as_str()),
        "dwell_seconds": event.dwell_seconds,
        "end_reason": event.end_reason.map(|reason| reason.as_str()),
        "query_text": event.query_text.as_deref().map(cut),
        "impressions": event.impressions.len(),
        "rating": event.rating(),
    })
}

/// The start of a text that other programs may have stored in any size.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

fn item_json(item: &ItemExplanation) -> Value {
    json!({
        "content_id": item.content_id.as_str(),
        "title": item.title,
        "in_catalog": item.title.is_some(),
        "opinion": item.opinion.as_str(),
        "weight": item.weight(),
        "strength": item.strength,
        "explicit": item.explicit,
        "behavior": {
            "total": item.behavior,
            "dwell": item.dwell,
            "completion": item.completion,
            "revisit": item.revisit,
            "survey": item.survey,
            "dwell_seconds": item.dwell_seconds,
            "reading_seconds": item.reading_seconds,
            "visits": item.visits,
        },
        "last_event": item.last.to_string(),
        "decay": item.decay,
        "done": item.done,
        "events": item.events.iter().map(event_json).collect::<Vec<_>>(),
    })
}

fn event_json(event: &ItemEvent) -> Value {
    let rule = event
        .rule
        .map(|rule| json!({"strength": rule.strength, "weak": rule.weak, "done": rule.done}));
    json!({
        "time": event.time.to_string(),
        "event_type": event.event_type,
        "rule": rule,
        "rating": event.rating,
        "dwell_seconds": event.dwell_seconds,
        "end_reason": event.end_reason.map(|reason| reason.as_str()),
    })
}
