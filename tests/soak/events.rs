//! What users do.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use prost_types::{Struct, Value, value::Kind};
use recsys::proto::{EndReason, InteractionEvent};

use super::{
    dice::Dice,
    people::Person,
    shelf::{self, ITEMS, STEADY},
};

const DAY_S: f64 = 86_400.0;
/// Of a large event, below the limit of what is stored.
const FAT_BYTES: usize = 20 << 10;

/// Whether an event comes in time to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timing {
    Now,
    /// The server stamps it.
    Unsaid,
    /// In another order than they happened.
    Unordered,
    Late,
    Ahead,
    /// Before the window of 30 days.
    TooOld,
}

const TIMINGS: [(u32, Timing); 6] = [
    (50, Timing::Now),
    (15, Timing::Unsaid),
    (20, Timing::Unordered),
    (9, Timing::Late),
    (4, Timing::Ahead),
    (2, Timing::TooOld),
];

#[derive(Clone, Copy)]
enum Deed {
    Started,
    Ended,
    Searched,
    Shown,
    Rated,
    Own,
}

const DEEDS: [(u32, Deed); 6] = [
    (30, Deed::Started),
    (40, Deed::Ended),
    (8, Deed::Searched),
    (10, Deed::Shown),
    (8, Deed::Rated),
    (4, Deed::Own),
];

/// An event under an id of its own, and whether it is too old to be kept.
pub fn make(person: &Person, number: u64, fat: bool, dice: &mut Dice) -> (InteractionEvent, bool) {
    let timing = *dice.weighed(&TIMINGS);
    let end = if person.curious { ITEMS } else { STEADY };
    let item = |dice: &mut Dice| shelf::id(shelf::of_family(person.family, end, dice));
    let mut event = InteractionEvent {
        user_id: person.id.clone(),
        event_id: event_id(number),
        event_time: time(timing, dice),
        session_id: format!("session {}", number % 50),
        ..InteractionEvent::default()
    };
    match dice.weighed(&DEEDS) {
        Deed::Started => {
            event.event_type = "CONTENT_VIEW_STARTED".to_owned();
            event.content_id = item(dice);
        }
        Deed::Ended => {
            event.event_type = "CONTENT_VIEW_ENDED".to_owned();
            event.content_id = item(dice);
            event.dwell_seconds = dice.chance(0.8).then(|| dice.between(0.0, 120.0));
            let reasons = [
                EndReason::NextButton,
                EndReason::Link,
                EndReason::CloseButton,
                EndReason::Abandon,
                EndReason::Unspecified,
            ];
            event.end_reason = (*dice.pick(&reasons)).into();
        }
        Deed::Searched => {
            event.event_type = "SEARCH".to_owned();
            event.query_text = format!("where is № {number}?");
            event.clicked_id = item(dice);
        }
        Deed::Shown => {
            event.event_type = "ITEMS_SHOWN".to_owned();
            // What was only shown is not read to build a model.
            event.impressions = (0..10).map(|_| shelf::id(dice.below(ITEMS))).collect();
        }
        Deed::Rated => {
            event.event_type = "SURVEY_SUBMITTED".to_owned();
            event.content_id = item(dice);
            let stars = 1.0 + dice.below(5) as f64;
            event.survey_answers = Some(answers("rating", Kind::NumberValue(stars)));
        }
        Deed::Own => {
            event.event_type = "SHARED".to_owned();
            event.content_id = item(dice);
            // Looks like the end of a stored event with an id.
            let text = format!(",\"event_id\":\"{}\"}}", event_id(number + 1));
            event.survey_answers = Some(answers("note", Kind::StringValue(text)));
        }
    }
    if fat {
        event.query_text = "x".repeat(FAT_BYTES);
    }
    (event, timing == Timing::TooOld)
}

pub fn event_id(number: u64) -> String {
    format!("e{number}")
}

pub fn number(event_id: &str) -> Option<u64> {
    event_id.strip_prefix('e')?.parse().ok()
}

fn time(timing: Timing, dice: &mut Dice) -> Option<prost_types::Timestamp> {
    let ago_s = match timing {
        Timing::Unsaid => return None,
        Timing::Now => 0.0,
        Timing::Unordered => dice.between(0.0, 900.0),
        Timing::Late => dice.between(0.0, 25.0 * DAY_S),
        Timing::Ahead => return Some(after(dice.between(0.0, 200.0)).into()),
        Timing::TooOld => dice.between(31.0 * DAY_S, 90.0 * DAY_S),
    };
    Some((SystemTime::now() - Duration::from_secs_f64(ago_s)).into())
}

pub fn after(seconds: f64) -> SystemTime {
    SystemTime::now() + Duration::from_secs_f64(seconds)
}

fn answers(question: &str, answer: Kind) -> Struct {
    let value = Value { kind: Some(answer) };
    Struct {
        fields: BTreeMap::from([(question.to_owned(), value)]),
    }
}
