//! A plausible day of a visitor, made of the catalogue's items.

use std::{collections::HashSet, time::Duration};

use prost_types::{Struct, Timestamp, Value, value::Kind};

use super::names::quoted;
use crate::{
    domain::event::event_types,
    proto::{EndReason, InteractionEvent, Item, RecommendResponse, RecommendedItem, Tag},
};

/// The visitor's user id.
pub(super) const VISITOR: &str = "visitor-1";

const MINUTE: u64 = 60;
/// Words per second.
const READING_SPEED: f64 = 4.2;
/// Longest time that the visitor spends on an item.
const MAX_DWELL_SECONDS: f64 = 400.0;

/// One action of the visitor.
#[derive(Clone, Debug)]
pub(super) struct DayStep {
    /// Time from the action to the end of the day.
    ago: Duration,
    pub(super) text: String,
    events: Vec<InteractionEvent>,
}

/// A day, step by step.
#[derive(Clone, Debug)]
pub(super) struct Day {
    request_id: String,
    ended: Timestamp,
    pub(super) steps: Vec<DayStep>,
}

/// The tag that the visitor likes: the heaviest one of the first item that has tags.
pub(super) fn theme(items: &[RecommendedItem]) -> Option<Tag> {
    let tags = |item: &RecommendedItem| item.content.clone().unwrap_or_default().tags;
    items.iter().map(tags).find_map(|tags| {
        tags.into_iter().reduce(|best, tag| {
            if weight(&tag) > weight(&best) {
                tag
            } else {
                best
            }
        })
    })
}

fn weight(tag: &Tag) -> f64 {
    tag.weight.unwrap_or(1.0)
}

fn carries(item: &Item, theme: &Tag) -> bool {
    item.tags
        .iter()
        .any(|tag| tag.facet == theme.facet && tag.label == theme.label)
}

fn labels(item: &Item) -> impl Iterator<Item = &str> {
    item.tags.iter().map(|tag| tag.label.as_str())
}

fn contents(items: &[RecommendedItem]) -> Vec<Item> {
    items
        .iter()
        .filter_map(|item| item.content.clone())
        .collect()
}

impl Day {
    /// The day, ending at `now`, of a visitor who is shown `first`, likes `theme`, and
    /// finds `on_theme` when searching for it.
    pub(super) fn plan(
        first: &RecommendResponse,
        theme: Option<Tag>,
        on_theme: &[RecommendedItem],
        now: Timestamp,
    ) -> Self {
        let mut day = Self {
            request_id: first.request_id.clone(),
            ended: now,
            steps: Vec::new(),
        };
        let shown = contents(&first.items);
        let fits = |item: &Item| theme.as_ref().is_some_and(|theme| carries(item, theme));
        let Some(first_liked) = shown.iter().find(|item| fits(item)).or(shown.first()) else {
            return day;
        };
        let others: Vec<&Item> = shown
            .iter()
            .filter(|item| item.content_id != first_liked.content_id)
            .collect();
        let mut opened = HashSet::from([first_liked.content_id.as_str()]);
        let found = contents(on_theme);
        let found: Vec<&Item> = found
            .iter()
            .filter(|item| opened.insert(&item.content_id))
            .take(3)
            .collect();
        // The abandoned item shares as few tags as possible with the liked ones.
        let liked: HashSet<&str> = found
            .iter()
            .copied()
            .chain([first_liked])
            .flat_map(labels)
            .collect();
        let shared_tags = |item: &&&Item| {
            let shared = labels(item).filter(|label| liked.contains(label)).count();
            (item.tags.is_empty(), shared)
        };
        let abandoned = others
            .iter()
            .filter(|item| !fits(item) && !opened.contains(item.content_id.as_str()))
            .min_by_key(shared_tags)
            .copied();
        opened.extend(abandoned.map(|item| item.content_id.as_str()));
        let ignored: Vec<&Item> = others
            .into_iter()
            .filter(|item| !fits(item) && !opened.contains(item.content_id.as_str()))
            .take(4)
            .collect();

        day.read(500, first_liked, &ignored, 1.1, EndReason::NextButton);
        if let Some(item) = abandoned {
            day.abandon(488, item);
        }
        if let (Some(theme), Some(hit)) = (&theme, found.first()) {
            day.search(300, &theme.label, hit);
        }
        for (item, (minutes, share, end)) in found.iter().zip([
            (299, 1.3, EndReason::NextButton),
            (290, 0.9, EndReason::NextButton),
            (281, 0.7, EndReason::Link),
        ]) {
            day.read(minutes, item, &[], share, end);
        }
        let revisited = found.first().copied().unwrap_or(first_liked);
        day.revisit(42, revisited);
        day.rate(30, revisited);
        day
    }

    /// All events, oldest first.
    pub(super) fn events(&self) -> Vec<InteractionEvent> {
        let mut events: Vec<InteractionEvent> = self
            .steps
            .iter()
            .flat_map(|step| step.events.iter().cloned())
            .collect();
        for (number, event) in events.iter_mut().enumerate() {
            // An event with an id can be sent again without being counted twice.
            event.event_id = format!("{}-{number}", self.request_id);
        }
        events
    }

    /// The time of a step as hours and minutes, UTC.
    pub(super) fn time_of(&self, step: &DayStep) -> String {
        let seconds = self.before(step.ago).seconds.rem_euclid(86_400);
        format!("{:02}:{:02}", seconds / 3_600, seconds % 3_600 / 60)
    }

    fn before(&self, ago: Duration) -> Timestamp {
        Timestamp {
            seconds: self.ended.seconds - i64::try_from(ago.as_secs()).unwrap_or_default(),
            nanos: 0,
        }
    }

    fn event(&self, event_type: &str, ago: Duration, item: &Item) -> InteractionEvent {
        InteractionEvent {
            user_id: VISITOR.to_owned(),
            event_type: event_type.to_owned(),
            event_time: Some(self.before(ago)),
            session_id: "day-1".to_owned(),
            request_id: self.request_id.clone(),
            content_id: item.content_id.clone(),
            ..InteractionEvent::default()
        }
    }

    fn step(&mut self, minutes: u64, text: String, events: Vec<InteractionEvent>) {
        self.steps.push(DayStep {
            ago: Duration::from_secs(minutes * MINUTE),
            text,
            events,
        });
    }

    fn viewed(
        &self,
        minutes: u64,
        item: &Item,
        seconds: f64,
        end: EndReason,
    ) -> [InteractionEvent; 2] {
        let start = Duration::from_secs(minutes * MINUTE);
        let end_time = start.saturating_sub(Duration::from_secs_f64(seconds));
        [
            self.event(event_types::VIEW_STARTED, start, item),
            InteractionEvent {
                dwell_seconds: Some(seconds),
                end_reason: end.into(),
                ..self.event(event_types::VIEW_ENDED, end_time, item)
            },
        ]
    }

    fn read(&mut self, minutes: u64, item: &Item, ignored: &[&Item], share: f64, end: EndReason) {
        let reading = f64::from(item.word_count.max(20)) / READING_SPEED;
        let seconds = (reading * share).round().min(MAX_DWELL_SECONDS);
        let [mut started, ended] = self.viewed(minutes, item, seconds, end);
        started.impressions = ignored.iter().map(|item| item.content_id.clone()).collect();
        let how = if end == EndReason::Link {
            "reads most of it, then follows a link"
        } else {
            "reads it and goes on"
        };
        let mut text = format!("opens {}, {how} ({seconds} s)", quoted(item));
        if !ignored.is_empty() {
            text.push_str(&format!(
                "\n       {} other items are on display and stay unopened",
                ignored.len()
            ));
        }
        self.step(minutes, text, vec![started, ended]);
    }

    fn abandon(&mut self, minutes: u64, item: &Item) {
        let text = format!("opens {} and walks away after 2 s", quoted(item));
        let events = self.viewed(minutes, item, 2.0, EndReason::Abandon);
        self.step(minutes, text, events.to_vec());
    }

    fn search(&mut self, minutes: u64, query: &str, hit: &Item) {
        let text = format!("searches for “{query}”");
        let start = Duration::from_secs(minutes * MINUTE);
        let event = InteractionEvent {
            content_id: String::new(),
            query_text: query.to_owned(),
            clicked_id: hit.content_id.clone(),
            ..self.event("CONTENT_LOOKUP", start, hit)
        };
        self.step(minutes, text, vec![event]);
    }

    fn revisit(&mut self, minutes: u64, item: &Item) {
        let text = format!("comes back to {}", quoted(item));
        let events = self.viewed(minutes, item, 40.0, EndReason::NextButton);
        self.step(minutes, text, events.to_vec());
    }

    fn rate(&mut self, minutes: u64, item: &Item) {
        let text = format!("gives {} 5 stars", quoted(item));
        let rating = Value {
            kind: Some(Kind::NumberValue(5.0)),
        };
        let start = Duration::from_secs(minutes * MINUTE);
        let event = InteractionEvent {
            survey_answers: Some(Struct {
                fields: [("rating".to_owned(), rating)].into(),
            }),
            ..self.event("CONTENT_RATED", start, item)
        };
        self.step(minutes, text, vec![event]);
    }
}
