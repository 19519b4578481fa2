//! A believable visitor's day, on whatever the catalogue holds.

use std::{collections::HashSet, time::Duration};

use prost_types::{Struct, Timestamp, Value, value::Kind};

use crate::{
    domain::event::event_types,
    proto::{EndReason, InteractionEvent, Item, RecommendResponse, RecommendedItem, Tag},
};

const MINUTE: u64 = 60;
/// Words a second that the visitor reads.
const READING_SPEED: f64 = 4.2;
/// The longest that this visitor looks at anything.
const PATIENCE_SECONDS: f64 = 400.0;

/// What the visitor does at one time.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// How long before the end of the day.
    ago: Duration,
    pub(super) told: String,
    events: Vec<InteractionEvent>,
}

/// A day, step by step.
#[derive(Clone, Debug)]
pub(super) struct Day {
    visitor: String,
    request_id: String,
    ended: Timestamp,
    pub(super) steps: Vec<Step>,
}

/// What the visitor will like: the heaviest tag of the first item that has
/// one.
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
    /// Plans the day of a visitor who is shown `first`, has a liking for
    /// `theme`, and finds `on_theme` when searching for it. It ends at `now`.
    pub(super) fn plan(
        visitor: &str,
        first: &RecommendResponse,
        theme: Option<Tag>,
        on_theme: &[RecommendedItem],
        now: Timestamp,
    ) -> Self {
        let mut day = Self {
            visitor: visitor.to_owned(),
            request_id: first.request_id.clone(),
            ended: now,
            steps: Vec::new(),
        };
        let shown = contents(&first.items);
        let fits = |item: &Item| theme.as_ref().is_some_and(|theme| carries(item, theme));
        let Some(favourite) = shown.iter().find(|item| fits(item)).or(shown.first()) else {
            return day;
        };
        let others: Vec<&Item> = shown
            .iter()
            .filter(|item| item.content_id != favourite.content_id)
            .collect();
        let mut opened = HashSet::from([favourite.content_id.as_str()]);
        let found = contents(on_theme);
        let found: Vec<&Item> = found
            .iter()
            .filter(|item| opened.insert(&item.content_id))
            .take(3)
            .collect();
        // What the visitor turns away from has nothing of what they like.
        let liked: HashSet<&str> = found
            .iter()
            .copied()
            .chain([favourite])
            .flat_map(labels)
            .collect();
        let strangest = |item: &&&Item| {
            let shared = labels(item).filter(|label| liked.contains(label)).count();
            (item.tags.is_empty(), shared)
        };
        let tired_of = others
            .iter()
            .filter(|item| !fits(item) && !opened.contains(item.content_id.as_str()))
            .min_by_key(strangest)
            .copied();
        opened.extend(tired_of.map(|item| item.content_id.as_str()));
        let ignored: Vec<&Item> = others
            .into_iter()
            .filter(|item| !fits(item) && !opened.contains(item.content_id.as_str()))
            .take(4)
            .collect();

        day.read(500, favourite, &ignored, 1.1, EndReason::NextButton);
        if let Some(item) = tired_of {
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
        let beloved = found.first().copied().unwrap_or(favourite);
        day.revisit(42, beloved);
        day.rate(30, beloved);
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
            // With an id of its own, an event can be sent again without harm.
            event.event_id = format!("{}-{number}", self.request_id);
        }
        events
    }

    /// The time of a step as hours and minutes, UTC.
    pub(super) fn clock(&self, step: &Step) -> String {
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
            user_id: self.visitor.clone(),
            event_type: event_type.to_owned(),
            event_time: Some(self.before(ago)),
            session_id: "day-1".to_owned(),
            request_id: self.request_id.clone(),
            content_id: item.content_id.clone(),
            ..InteractionEvent::default()
        }
    }

    fn step(&mut self, minutes: u64, told: String, events: Vec<InteractionEvent>) {
        self.steps.push(Step {
            ago: Duration::from_secs(minutes * MINUTE),
            told,
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
        let seconds = (reading * share).round().min(PATIENCE_SECONDS);
        let [mut started, ended] = self.viewed(minutes, item, seconds, end);
        started.impressions = ignored.iter().map(|item| item.content_id.clone()).collect();
        let how = if end == EndReason::Link {
            "reads most of it, then follows a link"
        } else {
            "reads it and goes on"
        };
        let mut told = format!("opens {}, {how} ({seconds} s)", super::print::quoted(item));
        if !ignored.is_empty() {
            told.push_str(&format!(
                "\n       {} other items are on display and stay unopened",
                ignored.len()
            ));
        }
        self.step(minutes, told, vec![started, ended]);
    }

    fn abandon(&mut self, minutes: u64, item: &Item) {
        let told = format!(
            "opens {} and walks away after 2 s",
            super::print::quoted(item)
        );
        let events = self.viewed(minutes, item, 2.0, EndReason::Abandon);
        self.step(minutes, told, events.to_vec());
    }

    fn search(&mut self, minutes: u64, text: &str, hit: &Item) {
        let told = format!("searches for “{text}”");
        let start = Duration::from_secs(minutes * MINUTE);
        let event = InteractionEvent {
            content_id: String::new(),
            query_text: text.to_owned(),
            clicked_id: hit.content_id.clone(),
            ..self.event("CONTENT_LOOKUP", start, hit)
        };
        self.step(minutes, told, vec![event]);
    }

    fn revisit(&mut self, minutes: u64, item: &Item) {
        let told = format!("comes back to {}", super::print::quoted(item));
        let events = self.viewed(minutes, item, 40.0, EndReason::NextButton);
        self.step(minutes, told, events.to_vec());
    }

    fn rate(&mut self, minutes: u64, item: &Item) {
        let told = format!("gives {} 5 stars", super::print::quoted(item));
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
        self.step(minutes, told, vec![event]);
    }
}
