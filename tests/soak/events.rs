//! The events that users send.

use std::time::{Duration, SystemTime};

use prost_types::{Struct, Value, value::Kind};
use recsys::proto::{EndReason, InteractionEvent};

use super::{
    items::{self, ITEMS, STEADY},
    random::Random,
    users::User,
};

const DAY_S: f64 = 86_400.0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Timing {
    Now,
    /// Without a time: the server sets it.
    Unset,
    OutOfOrder,
    Late,
    Ahead,
    /// Before the window of 30 days.
    TooOld,
}

const TIMINGS: [(u32, Timing); 6] = [
    (50, Timing::Now),
    (15, Timing::Unset),
    (20, Timing::OutOfOrder),
    (9, Timing::Late),
    (4, Timing::Ahead),
    (2, Timing::TooOld),
];

#[derive(Clone, Copy)]
enum Action {
    Start,
    End,
    Search,
    Show,
    Rate,
    Share,
}

const ACTIONS: [(u32, Action); 6] = [
    (30, Action::Start),
    (40, Action::End),
    (8, Action::Search),
    (10, Action::Show),
    (8, Action::Rate),
    (4, Action::Share),
];

/// An event with an id of its own, and whether it is too old to be stored.
pub fn random_event(user: &User, number: u64, random: &mut Random) -> (InteractionEvent, bool) {
    let timing = *random.weighted(&TIMINGS);
    let end = if user.names_changing_items {
        ITEMS
    } else {
        STEADY
    };
    let item = items::id(items::of_family(user.family, end, random));
    let mut event = InteractionEvent {
        user_id: user.id.clone(),
        event_id: event_id(number),
        event_time: time(timing, random),
        session_id: format!("session {}", number % 50),
        content_id: item,
        ..InteractionEvent::default()
    };
    let event_type = match random.weighted(&ACTIONS) {
        Action::Start => "CONTENT_VIEW_STARTED",
        Action::End => {
            event.dwell_seconds = random.chance(0.8).then(|| random.between(0.0, 120.0));
            let reasons = [
                EndReason::NextButton,
                EndReason::Link,
                EndReason::CloseButton,
                EndReason::Abandon,
                EndReason::Unspecified,
            ];
            event.end_reason = (*random.pick(&reasons)).into();
            "CONTENT_VIEW_ENDED"
        }
        Action::Search => {
            event.query_text = format!("where is № {number}?");
            event.clicked_id = std::mem::take(&mut event.content_id);
            "SEARCH"
        }
        Action::Show => {
            event.content_id.clear();
            event.impressions = (0..10).map(|_| items::id(random.below(ITEMS))).collect();
            "ITEMS_SHOWN"
        }
        Action::Rate => {
            let stars = 1.0 + random.below(5) as f64;
            event.survey_answers = Some(answer("rating", Kind::NumberValue(stars)));
            "SURVEY_SUBMITTED"
        }
        Action::Share => {
            // Looks like the end of a stored event with an id.
            let text = format!(",\"event_id\":\"{}\"}}", event_id(number + 1));
            event.survey_answers = Some(answer("note", Kind::StringValue(text)));
            "SHARED"
        }
    };
    event.event_type = event_type.to_owned();
    (event, timing == Timing::TooOld)
}

pub fn event_id(number: u64) -> String {
    format!("e{number}")
}

pub fn number(event_id: &str) -> Option<u64> {
    event_id.strip_prefix('e')?.parse().ok()
}

fn time(timing: Timing, random: &mut Random) -> Option<prost_types::Timestamp> {
    let seconds_ago = match timing {
        Timing::Unset => return None,
        Timing::Ahead => {
            let ahead = Duration::from_secs_f64(random.between(0.0, 200.0));
            return Some((SystemTime::now() + ahead).into());
        }
        Timing::Now => 0.0,
        Timing::OutOfOrder => random.between(0.0, 900.0),
        Timing::Late => random.between(0.0, 25.0 * DAY_S),
        Timing::TooOld => random.between(31.0 * DAY_S, 90.0 * DAY_S),
    };
    Some((SystemTime::now() - Duration::from_secs_f64(seconds_ago)).into())
}

fn answer(question: &str, answer: Kind) -> Struct {
    let value = Value { kind: Some(answer) };
    Struct {
        fields: [(question.to_owned(), value)].into(),
    }
}
