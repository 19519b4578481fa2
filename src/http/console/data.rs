//! What the items and events hold: the view Data.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    domain::{ids::ContentId, item::ItemTag},
    engine::{ActivityReport, Engine, EngineError, TypeActivity},
    ports::Deadline,
};

/// Items that the shares are computed from.
const SAMPLE: usize = 1_000;
/// Event types in a reply, the most frequent ones.
const MAX_TYPES: usize = 50;
/// Most bytes of the name of an event type, a content type or a facet.
const MAX_NAME_BYTES: usize = 256;
/// Content types and facets in a reply.
const MAX_NAMES: usize = 20;

/// The report of the view.
///
/// # Errors
/// [`EngineError`] if the catalogue cannot be read.
pub(super) async fn report(engine: &Engine, deadline: Deadline) -> Result<Value, EngineError> {
    let activity = engine.activity();
    Ok(json!({
        "items": items(engine, deadline).await?,
        "events": events(engine, &activity, deadline).await?,
        "lists": lists(&activity),
        "associations": {"enabled": engine.ranking().associations.enabled},
    }))
}

async fn items(engine: &Engine, deadline: Deadline) -> Result<Value, EngineError> {
    let sample = engine.sample_items(SAMPLE, deadline).await?;
    let mut content_types: BTreeMap<&str, usize> = BTreeMap::new();
    let mut facets: BTreeMap<&str, usize> = BTreeMap::new();
    let mut with = [0_usize; 5];
    let mut vector_size = 0;
    for item in &sample {
        let has = [
            !item.title().is_empty(),
            !item.text().is_empty(),
            !item.tags().is_empty(),
            item.vector().is_some(),
            !item.image_url().is_empty(),
        ];
        for (count, has) in with.iter_mut().zip(has) {
            *count += usize::from(has);
        }
        *content_types.entry(item.content_type()).or_default() += 1;
        let of_item: BTreeSet<&str> = item.tags().iter().map(ItemTag::facet).collect();
        for facet in of_item {
            *facets.entry(facet).or_default() += 1;
        }
        if let Some(vector) = item.vector() {
            vector_size = vector.size();
        }
    }
    let [title, text, tags, vector, image] = with;
    Ok(json!({
        "total": sample.len(),
        "isSample": sample.len() >= SAMPLE,
        "withTitle": title, "withText": text, "withTags": tags,
        "withVector": vector, "withImage": image,
        "vectorSize": vector_size,
        "contentTypes": most(&content_types),
        "facets": most(&facets),
    }))
}

fn most(counts: &BTreeMap<&str, usize>) -> Value {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let names = sorted.into_iter().take(MAX_NAMES);
    let names = names.map(|(name, count)| (cut(name).to_owned(), json!(count)));
    Value::Object(names.collect())
}

async fn events(
    engine: &Engine,
    activity: &ActivityReport,
    deadline: Deadline,
) -> Result<Value, EngineError> {
    let mut types: Vec<(&String, &TypeActivity)> = activity.types.iter().collect();
    types.sort_by(|a, b| b.1.count.cmp(&a.1.count).then(a.0.cmp(b.0)));
    types.truncate(MAX_TYPES);
    let total: u64 = activity.types.values().map(|counts| counts.count).sum();
    let mut rows = Vec::new();
    for (name, counts) in types {
        let recent: Vec<ContentId> = counts.recent_items.iter().cloned().collect();
        let found = engine.get_items(&recent, deadline).await?;
        let unknown = found.iter().filter(|item| item.is_none()).count();
        rows.push(json!({
            "eventType": cut(name),
            "count": counts.count,
            "meaning": counts.meaning().as_str(),
            "strength": counts.rule.map(|rule| rule.strength),
            "weak": counts.rule.is_some_and(|rule| rule.weak),
            "knownType": counts.rule.is_some() || counts.is_special,
            "namesItem": counts.naming_item,
            // Of the latest items: the whole log is not kept.
            "recentItems": recent.len(),
            "unknownItem": unknown,
        }));
    }
    Ok(json!({"total": total + activity.other_events, "types": rows}))
}

fn lists(activity: &ActivityReport) -> Value {
    let cold: u64 = activity.cold_lists.values().sum();
    json!({
        "total": activity.lists,
        "cold": cold,
        "empty": activity.empty_lists,
        "byColdReason": activity.cold_lists,
    })
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_NAME_BYTES)]
}
