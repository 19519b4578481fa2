//! A small world to try things in: a moment, a user, what that user did, and
//! the items that there are, all from the fixtures.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use super::checks::must;
use crate::domain::{
    catalogue_line,
    event::{EventLog, InteractionEvent},
    event_member,
    geo::GeoPoint,
    ids::UserId,
    item::{CatalogueItem, Item, Items, MAX_TAG_WEIGHT},
    tags::Canonicalizer,
    time::Timestamp,
};

/// How many items there are.
const ITEMS: usize = 24;
/// A case of some 25 events.
const CASE: usize = 9;

/// The reference engine's cases.
pub(super) fn cases() -> &'static Value {
    static CASES: OnceLock<Value> = OnceLock::new();
    CASES.get_or_init(|| {
        let text = include_str!("../../tests/fixtures/conformance/cases.json");
        must(serde_json::from_str(text), "cases.json")
    })
}

/// The moment: that of the cases.
pub(super) fn now() -> Timestamp {
    Timestamp::from_micros(1_781_092_800_000_000)
}

pub(super) fn user() -> UserId {
    must(UserId::parse("visitor"), "a user id")
}

pub(super) fn here() -> Option<GeoPoint> {
    GeoPoint::new(52.759, 9.9085)
}

/// What the user did: a case, a profile, and more than any visitor would do.
pub(super) fn events() -> &'static EventLog {
    static EVENTS: OnceLock<EventLog> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let mut events: Vec<InteractionEvent> = case_members()
            .iter()
            .map(|text| must(event_member::decode(&user(), text, now()), "a case's event").event)
            .collect();
        let mut asked = InteractionEvent::new(user(), "IDENTIFY", now());
        for (question, answer) in [
            ("age", json!("25_34")),
            ("places", json!(["Oslo", "Bergen"])),
            ("visits", json!(3)),
        ] {
            asked.survey_answers.insert(question.to_owned(), answer);
        }
        let mut endless = InteractionEvent::new(user(), "CONTENT_VIEW_ENDED", now());
        endless.content_id = Some("1003".into());
        endless.dwell_seconds = Some(f64::MAX);
        endless.impressions = vec!["1020".into(), "1021".into()];
        events.extend([asked, endless]);
        let stored = events
            .into_iter()
            .map(|event| Arc::new(must(event_member::encode(event), "an event")));
        EventLog::new(stored.collect())
    })
}

/// The members of that case.
pub(super) fn case_members() -> Vec<String> {
    let events = &cases()["cases"][CASE]["events"];
    let events = events.as_array().into_iter().flatten();
    events.map(ToString::to_string).collect()
}

/// Items of the cases as catalogue lines.
pub(super) fn lines() -> Vec<String> {
    let items = cases()["catalogue"].as_array().into_iter().flatten();
    items.take(ITEMS).map(ToString::to_string).collect()
}

/// What there is to recommend: those lines, some of them with less or more
/// than an item should have.
pub(super) fn items(canonical: &Canonicalizer) -> Items {
    static PARSED: OnceLock<Vec<Item>> = OnceLock::new();
    let parsed = PARSED.get_or_init(|| {
        let mut items: Vec<Item> = lines()
            .iter()
            .map(|line| must(catalogue_line::parse(line), "a case's item"))
            .collect();
        items[2].vector = None;
        items[3].word_count = u32::MAX;
        items[4].tags.clear();
        for tag in &mut items[5].tags {
            tag.weight = MAX_TAG_WEIGHT;
        }
        for tag in &mut items[6].tags {
            tag.weight = 0.0;
        }
        items
    });
    let prepared = parsed.iter().map(|item| {
        let item = Arc::new(CatalogueItem::new(item.clone(), canonical));
        (item.id().clone(), item)
    });
    prepared.collect()
}
