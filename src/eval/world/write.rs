//! Worlds as files.

use serde_json::{Value, json};

use super::generator::World;

/// The events as JSON Lines, in the order of their delivery.
pub fn event_lines(world: &World) -> impl Iterator<Item = String> {
    world.events.iter().map(|event| {
        let mut line = json!({
            "user_id": event.user_id.as_str(),
            "event_type": event.event_type,
            "event_time": event.time.to_string(),
            "event_id": event.event_id,
            "session_id": event.session_id,
        });
        if let Some(item) = &event.content_id {
            line["content_id"] = json!(item.as_str());
        }
        if let Some(dwell) = event.dwell_seconds {
            line["dwell_seconds"] = json!(dwell);
        }
        if !event.impressions.is_empty() {
            let shown = event.impressions.iter().map(|item| json!(item.as_str()));
            line["impressions"] = Value::Array(shown.collect());
        }
        line.to_string()
    })
}

/// The catalogue as JSON Lines.
pub fn catalogue_lines(world: &World) -> impl Iterator<Item = String> {
    world.catalogue.iter().map(|item| {
        let tags = item
            .tags
            .iter()
            .map(|tag| json!({"facet": tag.facet, "label": tag.label, "weight": tag.weight}));
        let mut line = json!({
            "id": item.id.as_str(),
            "title": item.title,
            "content_type": item.content_type,
            "tags": tags.collect::<Vec<Value>>(),
        });
        if let Some(vector) = &item.vector {
            line["vector"] = json!(vector.to_vec());
        }
        for (name, value) in &item.attributes {
            line[name] = value.clone();
        }
        line.to_string()
    })
}
