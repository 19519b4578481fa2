//! Estimated memory use of values, for stores and caches bounded in bytes.

use serde_json::{Map, Value};

use crate::domain::{
    event::StoredEvent, item::CatalogueItem, tags::TagSpelling, user_signals::UserSignals,
};

/// The counts of an `Arc`.
const ARC_COUNTS_BYTES: usize = 2 * size_of::<usize>();
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

/// What an allocation takes: allocators have four sizes per power of two.
fn allocated_bytes(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() / 8).max(size_of::<usize>());
    bytes.next_multiple_of(step)
}

/// Memory of a shared text.
pub(super) fn shared_text_bytes(text: &str) -> usize {
    allocated_bytes(ARC_COUNTS_BYTES + text.len())
}

/// Memory of an item, without what it shares with others.
pub(super) fn item_bytes(item: &CatalogueItem) -> usize {
    let values = item.attributes().map(|(_, value)| inner_bytes(value));
    item.allocations().map(allocated_bytes).sum::<usize>() + values.sum::<usize>()
}

/// Memory of an item that shares nothing with others.
pub(super) fn lone_item_bytes(item: &CatalogueItem) -> usize {
    let tags = item.tags().iter();
    let tags = tags.map(|tag| spelling_bytes(tag.spelling()));
    let names = item.attribute_names().map(|name| shared_text_bytes(name));
    item_bytes(item) + tags.sum::<usize>() + names.sum::<usize>()
}

/// Memory of a spelling of a tag. Its three texts are often one.
pub(super) fn spelling_bytes(spelling: &TagSpelling) -> usize {
    let text: &str = spelling.text();
    let (key, model_key) = (spelling.key().as_str(), spelling.model_key().as_str());
    let mut texts = vec![text, key, model_key];
    texts.sort_by_key(|text| text.as_ptr());
    texts.dedup_by_key(|text| text.as_ptr());
    let texts = texts.into_iter().map(shared_text_bytes);
    allocated_bytes(ARC_COUNTS_BYTES + size_of::<TagSpelling>()) + texts.sum::<usize>()
}

/// Memory that a value has allocated.
fn inner_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => allocated_bytes(text.len()),
        Value::Array(values) => {
            let inner = values.iter().map(inner_bytes);
            allocated_bytes(size_of_val(&**values)) + inner.sum::<usize>()
        }
        Value::Object(object) => json_bytes(object),
    }
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
