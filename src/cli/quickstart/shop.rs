//! A shopper's events, under the names that ordinary shops use.

use prost_types::Timestamp;

use super::names::quoted;
use crate::proto::{EventMeaning, IngestResult, InteractionEvent, Item};

/// The shopper's user id.
pub(super) const SHOPPER: &str = "shopper-1";

/// What the shopper does, a minute apart, and whether it is about an item.
const STEPS: [(&str, bool); 5] = [
    ("Product Viewed", true),
    ("add_to_cart", true),
    ("purchase", true),
    ("thumbsDown", true),
    ("button_clicked", false),
];

/// A shopper's visit: one event for each of the first items.
pub(super) struct Shop {
    pub(super) events: Vec<InteractionEvent>,
    /// The item of each event, between quotation marks.
    titles: Vec<String>,
}

impl Shop {
    pub(super) fn plan(list_id: &str, items: &[Item], now: Timestamp) -> Self {
        let mut items = items.iter();
        let mut shop = Self {
            events: Vec::new(),
            titles: Vec::new(),
        };
        for (number, (event_type, is_about_item)) in (0..).zip(STEPS) {
            let item = if is_about_item { items.next() } else { None };
            if is_about_item && item.is_none() {
                continue;
            }
            shop.events.push(InteractionEvent {
                user_id: SHOPPER.to_owned(),
                event_type: event_type.to_owned(),
                event_id: format!("{list_id}-shop-{number}"),
                event_time: Some(Timestamp {
                    seconds: now.seconds - 60 * (STEPS.len() as i64 - number),
                    nanos: 0,
                }),
                content_id: item.map(|item| item.content_id.clone()).unwrap_or_default(),
                ..InteractionEvent::default()
            });
            shop.titles.push(item.map(quoted).unwrap_or_default());
        }
        shop
    }

    /// Each event type with its item and the meaning that the server found.
    pub(super) fn lines<'a>(
        &'a self,
        results: &'a [IngestResult],
    ) -> impl Iterator<Item = (&'a str, &'a str, EventMeaning)> {
        let events = self.events.iter().zip(&self.titles).zip(results);
        events.map(|((event, title), result)| {
            (event.event_type.as_str(), title.as_str(), result.meaning())
        })
    }
}
