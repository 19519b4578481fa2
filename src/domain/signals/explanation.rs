//! How the events of each item become its weight in the model.

use std::{collections::BTreeMap, sync::Arc};

use super::{decay::decay, engagement::Engagement, item_history::ItemHistories, opinion::Opinion};
use crate::domain::{
    event::{EndReason, EventLog},
    ids::ContentId,
    item::Items,
    meaning::EventRule,
    ranking_config::RankingConfig,
    time::Timestamp,
};

/// An event of an item, with what it adds.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemEvent {
    /// When it happened.
    pub time: Timestamp,
    /// The kind of action.
    pub event_type: String,
    /// The rule of its type, if there is one and meanings are read.
    pub rule: Option<EventRule>,
    /// The rating, 0 to 5.
    pub rating: Option<f64>,
    /// The dwell time in seconds.
    pub dwell_seconds: Option<f64>,
    /// Why the view ended.
    pub end_reason: Option<EndReason>,
}

/// How the events of an item become its weight.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemExplanation {
    /// The item.
    pub content_id: ContentId,
    /// Its title; `None` if the catalogue lacks the item.
    pub title: Option<String>,
    /// Its events, oldest first.
    pub events: Vec<ItemEvent>,
    /// The dwell time that counts, in seconds.
    pub dwell_seconds: Option<f64>,
    /// The reading time, in seconds.
    pub reading_seconds: f64,
    /// Number of views.
    pub visits: usize,
    /// The part of the dwell time, weighted.
    pub dwell: f64,
    /// The part of the end of the view, weighted.
    pub completion: f64,
    /// The part of repeated visits, weighted.
    pub revisit: f64,
    /// The part of the rating, weighted; 0 if meanings are read.
    pub survey: f64,
    /// The sum of these parts.
    pub behavior: f64,
    /// What the events say explicitly, −1 to 1.
    pub explicit: Option<f64>,
    /// The strength: the explicit one if it is negative, else the larger of both.
    pub strength: f64,
    /// Time of the latest event.
    pub last: Timestamp,
    /// The decay since the latest event, above 0, at most 1.
    pub decay: f64,
    /// What the user thinks of the item.
    pub opinion: Opinion,
    /// Whether the user is done with it.
    pub done: bool,
}

impl ItemExplanation {
    /// Its weight in the model: the strength's absolute value times the decay; 0 if
    /// it is neither liked nor disliked.
    #[must_use]
    pub fn weight(&self) -> f64 {
        match self.opinion {
            Opinion::Liked | Opinion::Disliked => self.strength.abs() * self.decay,
            Opinion::Neutral => 0.0,
        }
    }
}

/// Explains every item of a log, the one with the latest event first. The weights
/// are those of the model that [`build`](super::build) makes of the same inputs.
#[must_use]
pub fn explain(
    log: &EventLog,
    items: &Items,
    now: Timestamp,
    config: &RankingConfig,
) -> Vec<ItemExplanation> {
    let table = Some(&config.events).filter(|_| config.reads_meanings());
    let mut events: BTreeMap<&ContentId, Vec<ItemEvent>> = BTreeMap::new();
    for event in log.iter() {
        if let Some(id) = &event.content_id {
            events.entry(id).or_default().push(ItemEvent {
                time: event.time,
                event_type: event.event_type.clone(),
                rule: table.and_then(|table| table.rule(&event.event_type)),
                rating: event.rating(),
                dwell_seconds: event.dwell_seconds,
                end_reason: event.end_reason,
            });
        }
    }
    let mut histories = ItemHistories::of(log, 0, table);
    histories.sort_latest_first();
    let explained = histories.items.iter().map(|history| {
        let item = items.get(history.content_id).map(Arc::as_ref);
        let engagement = Engagement::of(history, item, config);
        ItemExplanation {
            content_id: history.content_id.clone(),
            title: item.map(|item| item.title().to_owned()),
            events: events.remove(history.content_id).unwrap_or_default(),
            dwell_seconds: history.dwell_seconds(),
            reading_seconds: engagement.reading_seconds,
            visits: history.visits,
            dwell: engagement.dwell,
            completion: engagement.completion,
            revisit: engagement.revisit,
            survey: engagement.survey,
            behavior: engagement.behavior,
            explicit: engagement.explicit,
            strength: engagement.strength,
            last: history.last,
            decay: decay(history.last, now, config.half_life_days),
            opinion: Opinion::of(engagement.strength, config),
            done: history.explicit.is_done(),
        }
    });
    explained.collect()
}
