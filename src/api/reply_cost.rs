//! Upper bounds of the memory of replies, read from the engine's types before the replies
//! are made.

use serde_json::{Map, Value};

use crate::{
    api::{error::ApiError, reply_message::ReplyMessage},
    domain::{ids::ContentId, item::CatalogueItem, user_signals::UserSignals},
    edge::load::Account,
    engine::Recommendation,
    proto,
};

/// Largest reply: what one upsert stores, one call returns.
pub(crate) const MAX_REPLY_BYTES: usize = 16 << 20;
/// A reply is held as its message and in its encoded form.
const FORMS: usize = 2;
/// Overhead of a text in a list or map: its handle, its allocation, its field on the wire.
const TEXT_BYTES: usize = 72;
/// Overhead of an entry of a Struct. Tree nodes have room for eleven.
const MEMBER_BYTES: usize = 144;
const OBJECT_BYTES: usize = 640;
const VALUE_BYTES: usize = 96;
/// Score parts and diagnostics of a recommended item.
const RECOMMENDED_BYTES: usize = 2 << 10;
/// What a model holds besides its lists.
const MODEL_BYTES: usize = 1 << 10;

/// Reserves the memory of a reply whose message takes this many bytes.
///
/// # Errors
/// OVERLOADED or TOO_MUCH_MEMORY.
pub(crate) fn reserve(account: Option<&Account>, bytes: usize) -> Result<(), ApiError> {
    if let Some(account) = account {
        account.reserve(FORMS * bytes)?;
    }
    Ok(())
}

/// Checks the encoded size of a reply.
///
/// # Errors
/// REPLY_TOO_LARGE.
pub(crate) fn check_size(encoded: usize) -> Result<(), ApiError> {
    if encoded > MAX_REPLY_BYTES {
        return Err(ApiError::reply_too_large(
            MAX_REPLY_BYTES,
            "ask for less at once",
        ));
    }
    Ok(())
}

/// Checks the encoded size of a reply whose message takes at most `bytes`. The size is
/// computed only if those could exceed the limit.
///
/// # Errors
/// REPLY_TOO_LARGE.
pub(crate) fn check(reply: &impl ReplyMessage, bytes: usize) -> Result<(), ApiError> {
    if bytes <= MAX_REPLY_BYTES {
        return Ok(());
    }
    check_size(reply.size())
}

/// Memory of an item in a reply.
pub(crate) fn item(item: &CatalogueItem) -> usize {
    // The id, the type, the title, the text and two URLs.
    let texts = 6 * TEXT_BYTES + item.id().as_str().len() + item.text_bytes();
    let tags = item.tags().iter().map(|tag| {
        size_of::<proto::Tag>() + 2 * TEXT_BYTES + tag.facet().len() + tag.label().len()
    });
    size_of::<proto::Item>()
        + texts
        + tags.sum::<usize>()
        + item.vector().map_or(0, |vector| 4 * vector.size())
        // Ten bytes is the longest year on the wire.
        + 10 * item.years().len()
        + 2 * size_of_val(item.locations())
        + members(item.attributes())
}

/// Memory of a list in a reply.
pub(crate) fn recommendation(list: &Recommendation, include_content: bool) -> usize {
    let items = list.items.iter().map(|ranked| {
        let tags = ranked.matched_tags.iter();
        let tags = tags.map(|tag| TEXT_BYTES + tag.as_str().len());
        let content = if include_content {
            item(&ranked.scored.item)
        } else {
            0
        };
        RECOMMENDED_BYTES + tags.sum::<usize>() + content
    });
    let unknown = list.unknown_context.iter();
    let unknown = unknown.map(|item| TEXT_BYTES + item.as_str().len());
    RECOMMENDED_BYTES + items.sum::<usize>() + unknown.sum::<usize>()
}

/// Memory of a model in a reply that shares the model's encoded form, if there is one.
pub(crate) fn shared_signals(model: &UserSignals) -> usize {
    match model.encoded.get() {
        Some(form) => MODEL_BYTES + form.len() + vectors(model),
        None => signals(model),
    }
}

fn vectors(signals: &UserSignals) -> usize {
    signals.vectors().map(|vector| 4 * vector.size()).sum()
}

/// Memory of a model in a reply.
pub(crate) fn signals(signals: &UserSignals) -> usize {
    let ids = signals
        .positives
        .keys()
        .chain(signals.negatives.keys())
        .chain(&signals.viewed)
        .chain(&signals.recent_views)
        .map(ContentId::as_str);
    let tags = signals
        .tag_affinity
        .keys()
        .chain(signals.tag_aversion.keys());
    let texts = ids.chain(tags.map(String::as_str));
    MODEL_BYTES
        + signals.user_id.as_str().len()
        + texts.map(|text| MEMBER_BYTES + text.len()).sum::<usize>()
        + vectors(signals)
        + object(&signals.demographics)
}

fn object(given: &Map<String, Value>) -> usize {
    members(given.iter().map(|(name, member)| (&**name, member)))
}

fn members<'a>(given: impl Iterator<Item = (&'a str, &'a Value)>) -> usize {
    let members = given.map(|(name, member)| MEMBER_BYTES + name.len() + value(member));
    OBJECT_BYTES + members.sum::<usize>()
}

fn value(given: &Value) -> usize {
    VALUE_BYTES
        + match given {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(value).sum(),
            Value::Object(members) => object(members),
        }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use serde_json::{Value, json};

    use super::item;
    use crate::{
        api::reply,
        domain::{
            item::{CatalogueItem, Item, Tag},
            tags::Canonicalizer,
        },
    };

    #[test]
    fn an_item_is_encoded_in_no_more_than_its_bound() {
        let attributes = json!({"a": [1, "b", {"c": null}], "price": 9.5, "long": "x".repeat(99)});
        let Value::Object(attributes) = attributes else {
            unreachable!()
        };
        let full = Item {
            title: "t".repeat(1_000),
            years: vec![-1; 50],
            tags: vec![
                Tag {
                    facet: "f".into(),
                    label: "l".into(),
                    weight: 1.0
                };
                20
            ],
            attributes,
            ..Item::new("a")
        };
        for tested in [Item::new("a"), full] {
            let tested = CatalogueItem::new(tested, &Canonicalizer::default());
            let encoded = reply::item(&tested, true).encoded_len();
            assert!(encoded <= item(&tested), "{encoded}");
        }
    }
}
