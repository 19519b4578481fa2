//! Estimated memory use of values, for stores and caches bounded in bytes.

use serde_json::{Map, Value};

use crate::domain::{event::StoredEvent, item::Item, user_signals::UserSignals};

/// Overhead of an item besides its texts, tags and vector.
const ITEM_OVERHEAD_BYTES: usize = 600;
/// Overhead of a tag besides its texts, which are held three times.
const TAG_OVERHEAD_BYTES: usize = 240;
/// Overhead of an event besides its texts.
const EVENT_OVERHEAD_BYTES: usize = 400;
/// Overhead of a model besides its maps and lists.
const MODEL_OVERHEAD_BYTES: usize = 512;
/// Overhead of a text in a map or list besides its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 64;
/// Overhead of an entry in the encoded form of a model: a weight, and the numbers and
/// lengths of fields.
const ENCODED_ENTRY_BYTES: usize = 20;
/// Overhead of an entry of a JSON object. Tree nodes have room for eleven.
const JSON_ENTRY_BYTES: usize = 128;
const JSON_OBJECT_BYTES: usize = 640;
const JSON_VALUE_BYTES: usize = 40;

/// Memory of a JSON object, far more than its text.
fn json_bytes(object: &Map<String, Value>) -> usize {
    if object.is_empty() {
        return 0;
    }
    let entries = object
        .iter()
        .map(|(name, value)| JSON_ENTRY_BYTES + name.len() + value_bytes(value));
    JSON_OBJECT_BYTES + entries.sum::<usize>()
}

fn value_bytes(value: &Value) -> usize {
    JSON_VALUE_BYTES
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(value_bytes).sum(),
            Value::Object(object) => json_bytes(object),
        }
}

/// Memory of an event: its member and the fields decoded from it.
pub(super) fn event_bytes(stored: &StoredEvent) -> usize {
    let event = &stored.event;
    let texts = [
        &event.event_id,
        &event.session_id,
        &event.request_id,
        &event.query_text,
        &event.clicked_id,
    ];
    let ids = event.content_id.iter().chain(&event.impressions);
    EVENT_OVERHEAD_BYTES
        + stored.member.len()
        + event.event_type.len()
        + texts.into_iter().flatten().map(String::len).sum::<usize>()
        + ids
            .map(|id| ENTRY_OVERHEAD_BYTES + id.as_str().len())
            .sum::<usize>()
        + json_bytes(&event.survey_answers)
}

/// Memory of an item, prepared for matching.
pub(super) fn item_bytes(item: &Item) -> usize {
    let texts = [
        item.id.as_str(),
        &item.content_type,
        &item.title,
        &item.text,
        &item.image_url,
        &item.public_url,
    ];
    let tags = item
        .tags
        .iter()
        .map(|tag| TAG_OVERHEAD_BYTES + 3 * (tag.facet.len() + tag.label.len()));
    ITEM_OVERHEAD_BYTES
        + texts.iter().map(|text| text.len()).sum::<usize>()
        + tags.sum::<usize>()
        + item.vector.as_ref().map_or(0, |vector| 4 * vector.size())
        + size_of_val(&*item.years)
        + size_of_val(&*item.locations)
        + json_bytes(&item.attributes)
}

/// Memory of a user model, with its encoded form, which it may get later.
pub(super) fn model_bytes(signals: &UserSignals) -> usize {
    let twice = |text: &str| ENTRY_OVERHEAD_BYTES + ENCODED_ENTRY_BYTES + 2 * text.len();
    let ids = signals
        .positives
        .keys()
        .chain(signals.negatives.keys())
        .chain(&signals.viewed)
        .chain(&signals.recent_views)
        .map(|id| twice(id.as_str()));
    let done = signals.done.iter();
    let done = done.map(|id| ENTRY_OVERHEAD_BYTES + id.as_str().len());
    let interests = signals.interests.iter();
    let interests = interests.map(|entry| ENTRY_OVERHEAD_BYTES + entry.item.len());
    let tags = signals
        .tag_affinity
        .keys()
        .chain(signals.tag_aversion.keys())
        .map(|tag| twice(tag));
    let vectors = [&signals.taste_vector, &signals.recency_vector]
        .into_iter()
        .flatten()
        .map(|vector| 4 * vector.size());
    MODEL_OVERHEAD_BYTES
        + signals.user_id.as_str().len()
        + json_bytes(&signals.demographics)
        + ids
            .chain(tags)
            .chain(done)
            .chain(vectors)
            .chain(interests)
            .sum::<usize>()
}
