use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any},
    prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use serde_json::json;

use super::{ExplicitStrength, strength};
use crate::domain::{
    event::{EndReason, EventLog, InteractionEvent, event_types},
    event_member,
    ids::UserId,
    meaning::{EventEntry, EventRule, EventTable},
    time::Timestamp,
};

/// An event in short: its type, what else it holds.
#[derive(Clone, Debug, Default)]
struct Short {
    event_type: &'static str,
    rating: Option<f64>,
    dwell: Option<f64>,
    end: Option<EndReason>,
}

fn typed(event_type: &'static str) -> Short {
    Short {
        event_type,
        ..Short::default()
    }
}

fn rated(event_type: &'static str, rating: f64) -> Short {
    Short {
        rating: Some(rating),
        ..typed(event_type)
    }
}

fn ended(end: Option<EndReason>) -> Short {
    Short {
        end,
        ..typed(event_types::VIEW_ENDED)
    }
}

fn event(short: &Short, micros: i64) -> InteractionEvent {
    let user = UserId::parse("u").unwrap();
    let mut event = InteractionEvent::new(user, short.event_type, Timestamp::from_micros(micros));
    event.content_id = Some("1".into());
    event.dwell_seconds = short.dwell;
    event.end_reason = short.end;
    if let Some(rating) = short.rating {
        event.survey_answers.insert("rating".into(), json!(rating));
    }
    event
}

fn observed(history: &[Short]) -> ExplicitStrength {
    let table = table();
    let mut explicit = ExplicitStrength::default();
    for (micros, short) in (0..).zip(history) {
        let event = event(short, micros);
        explicit.observe(&event, table.rule(&event.event_type));
    }
    explicit
}

fn table() -> EventTable {
    let extra = [("glance", -0.1, true, false), ("watched", 0.4, true, true)]
        .into_iter()
        .chain([("lesson done", 0.0, false, true)])
        .map(|(event_type, strength, weak, done)| EventEntry {
            types: vec![event_type.into()],
            strength,
            weak,
            done,
        });
    EventTable::standard()
        .with_entries(&extra.collect::<Vec<_>>())
        .unwrap()
}

fn check(history: &[Short], expected: Option<f64>, done: bool) {
    let explicit = observed(history);
    assert_eq!(explicit.strength(), expected, "{history:?}");
    assert_eq!(explicit.is_done(), done, "{history:?}");
}

fn types(types: &[&'static str]) -> Vec<Short> {
    types.iter().copied().map(typed).collect()
}

#[test]
fn nothing_is_explicit_without_a_rule_or_a_rating() {
    check(&[], None, false);
    check(&types(&["CONTENT_VIEW_STARTED", "whatever"]), None, false);
}

#[test]
fn the_largest_strength_counts() {
    check(
        &types(&["add_to_cart", "like", "add_to_cart"]),
        Some(0.8),
        false,
    );
    check(&types(&["purchase", "like"]), Some(1.0), true);
}

#[test]
fn a_negative_event_revokes_all_earlier_ones() {
    check(&types(&["like", "dislike"]), Some(-1.0), false);
    check(&types(&["purchase", "refund"]), Some(-0.5), false);
    check(
        &types(&["purchase", "refund", "add_to_cart"]),
        Some(0.6),
        false,
    );
    check(&types(&["dislike", "refund"]), Some(-0.5), false);
    check(&types(&["refund", "purchase"]), Some(1.0), true);
}

#[test]
fn an_event_of_strength_0_revokes_what_is_not_done() {
    check(
        &types(&["add_to_cart", "remove_from_cart"]),
        Some(0.0),
        false,
    );
    check(
        &types(&["add_to_cart", "remove_from_cart", "add_to_cart"]),
        Some(0.6),
        false,
    );
    check(&types(&["purchase", "like", "unlike"]), Some(1.0), true);
    check(&types(&["dislike", "unlike"]), Some(0.0), false);
    check(&types(&["dislike", "lesson done"]), Some(0.0), true);
    check(&types(&["like", "lesson done"]), Some(0.0), true);
    check(&types(&["unlike", "dislike"]), Some(-1.0), false);
}

#[test]
fn a_rating_is_an_explicit_event() {
    for (rating, expected) in [
        (1.0, -1.0),
        (2.0, -0.5),
        (3.0, 0.0),
        (4.5, 0.75),
        (5.0, 1.0),
    ] {
        check(&[rated("review", rating)], Some(expected), false);
    }
}

#[test]
fn a_negative_rating_revokes_what_is_earlier() {
    check(
        &[typed("purchase"), rated("review", 1.0)],
        Some(-1.0),
        false,
    );
    check(&[rated("purchase", 2.0)], Some(-0.5), false);
    check(&[rated("review", 1.0), typed("like")], Some(0.8), false);
    check(&[rated("review", 1.0), typed("refund")], Some(-0.5), false);
}

#[test]
fn a_rating_that_is_not_negative_revokes_nothing() {
    check(&[typed("purchase"), rated("review", 3.0)], Some(1.0), true);
    check(&[typed("like"), rated("review", 4.0)], Some(0.8), false);
    check(&[typed("dislike"), rated("review", 3.0)], Some(0.0), false);
    check(&[rated("dislike", 5.0)], Some(1.0), false);
}

#[test]
fn later_events_revoke_a_rating() {
    check(&[rated("review", 5.0), typed("unlike")], Some(0.0), false);
    check(&[rated("review", 5.0), typed("dislike")], Some(-1.0), false);
    check(
        &[rated("review", 5.0), typed("unlike"), typed("add_to_cart")],
        Some(0.6),
        false,
    );
}

#[test]
fn the_latest_rating_replaces_earlier_ones() {
    check(
        &[rated("review", 5.0), rated("review", 3.0)],
        Some(0.0),
        false,
    );
    check(
        &[
            typed("purchase"),
            rated("review", 1.0),
            rated("review", 3.0),
        ],
        Some(1.0),
        true,
    );
    check(
        &[
            rated("review", 5.0),
            typed("like"),
            rated("review", 2.0),
            typed("add_to_cart"),
        ],
        Some(0.6),
        false,
    );
    // Not a rating: it replaces nothing.
    check(
        &[rated("review", 5.0), rated("review", 7.0)],
        Some(1.0),
        false,
    );
}

#[test]
fn a_weak_event_counts_while_nothing_else_is_known() {
    check(&types(&["view"]), Some(0.3), false);
    check(
        &types(&["view", "click", "CONTENT_VIEW_STARTED"]),
        Some(0.3),
        false,
    );
    check(&types(&["view", "glance"]), Some(-0.1), false);
    check(&types(&["glance", "view"]), Some(0.3), false);

    check(&types(&["view", "remove_from_cart"]), Some(0.0), false);
    check(&types(&["refund", "view"]), Some(-0.5), false);
    check(&[typed("view"), rated("review", 3.0)], Some(0.0), false);
    for seconds in [0.0, 3.0] {
        let dwell = Short {
            dwell: Some(seconds),
            ..typed("view")
        };
        check(&[typed("click"), dwell], None, false);
    }
    check(
        &[typed("view"), ended(Some(EndReason::Abandon))],
        None,
        false,
    );
    check(
        &[typed("view"), ended(Some(EndReason::Link)), ended(None)],
        Some(0.3),
        false,
    );
    check(
        &[ended(None), typed(event_types::VIEW_STARTED), typed("view")],
        None,
        false,
    );
}

#[test]
fn an_item_is_done_until_a_later_negative_event() {
    let next = ended(Some(EndReason::NextButton));
    let close = ended(Some(EndReason::CloseButton));
    check(&[next.clone(), close], None, true);
    check(&[typed("dislike"), next.clone()], Some(-1.0), true);
    check(&[next.clone(), typed("dislike")], Some(-1.0), false);
    check(&[next.clone(), rated("review", 2.0)], Some(-0.5), false);
    check(&[rated("review", 2.0), next.clone()], Some(-0.5), true);
    check(&[next.clone(), typed("unlike")], Some(0.0), true);
    check(
        &[next.clone(), rated("review", 2.0), rated("review", 4.0)],
        Some(0.5),
        true,
    );
    let elsewhere = Short {
        end: Some(EndReason::NextButton),
        ..typed("whatever")
    };
    check(&[elsewhere], None, false);
}

#[test]
fn a_weak_event_that_does_not_count_leaves_an_item_done() {
    check(&types(&["watched"]), Some(0.4), true);
    check(&types(&["watched", "glance"]), Some(-0.1), false);
    check(&types(&["watched", "glance", "like"]), Some(0.8), true);
}

#[test]
fn a_negative_explicit_strength_wins_and_else_the_larger_one() {
    assert_eq!(strength(None, 0.4), 0.4);
    assert_eq!(strength(None, -0.2), -0.2);
    assert_eq!(strength(Some(-0.1), 0.9), -0.1);
    assert_eq!(strength(Some(0.0), 0.4), 0.4);
    assert_eq!(strength(Some(0.0), -0.2), 0.0);
    assert_eq!(strength(Some(0.8), 0.4), 0.8);
}

/// An explicit event: place, strength, done, resets others.
type Explicit = (usize, f64, bool, bool);

/// The definition, word by word, on a whole history.
fn defined(history: &[Short]) -> (Option<f64>, bool) {
    let table = table();
    let rules: Vec<Option<EventRule>> = history
        .iter()
        .map(|short| table.rule(short.event_type))
        .collect();
    let is_ended = |short: &Short| short.event_type == event_types::VIEW_ENDED;
    let latest_rating = history
        .iter()
        .rposition(|short| short.rating.is_some_and(|rating| rating <= 5.0));
    let has_dwell = history.iter().any(|short| short.dwell.is_some())
        || (history.iter().any(is_ended)
            && history
                .iter()
                .any(|short| short.event_type == event_types::VIEW_STARTED));
    let end_reason = history
        .iter()
        .rfind(|short| is_ended(short))
        .and_then(|short| short.end);
    let weak_counts = !has_dwell
        && end_reason.is_none()
        && latest_rating.is_none()
        && rules.iter().flatten().all(|rule| rule.weak);

    // The rating of an event stands after its rule.
    let mut events: Vec<Explicit> = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        if let Some(rule) = rule.filter(|rule| rule.weak == weak_counts) {
            events.push((2 * index, rule.strength, rule.done, true));
        }
        if latest_rating == Some(index) {
            let strength = ((history[index].rating.unwrap() - 3.0) / 2.0).clamp(-1.0, 1.0);
            events.push((2 * index + 1, strength, false, strength < 0.0));
        }
    }
    let latest = |holds: fn(&Explicit) -> bool| events.iter().rfind(|event| holds(event)).copied();
    let after = |place: usize, limit: Option<Explicit>| limit.is_none_or(|limit| place > limit.0);
    let negative = latest(|event| event.1 < 0.0);
    let zero = latest(|event| event.1 == 0.0 && event.3);
    let largest = events
        .iter()
        .filter(|event| after(event.0, negative) && (event.2 || after(event.0, zero)))
        .map(|event| event.1)
        .reduce(f64::max);
    let strength = largest.or_else(|| latest(|event| event.1 <= 0.0).map(|event| event.1));

    let done = history
        .iter()
        .zip(&rules)
        .enumerate()
        .any(|(index, (short, rule))| {
            let by_rule = rule.is_some_and(|rule| rule.done);
            let by_end = is_ended(short) && short.end == Some(EndReason::NextButton);
            (by_rule || by_end) && after(2 * index, negative)
        });
    (strength, done)
}

fn history() -> impl Strategy<Value = Vec<Short>> {
    let event_type = prop_oneof![
        Just("purchase"),
        Just("like"),
        Just("add_to_cart"),
        Just("view"),
        Just("glance"),
        Just("watched"),
        Just("lesson_done"),
        Just("unlike"),
        Just("refund"),
        Just("dislike"),
        Just("whatever"),
        Just(event_types::VIEW_STARTED),
        Just(event_types::VIEW_ENDED),
    ];
    let rating =
        prop_oneof![3 => Just(None), 1 => (2_u8..=10).prop_map(|half| Some(f64::from(half) / 2.0))];
    let dwell = prop_oneof![9 => Just(None), 1 => (0.0..9.0_f64).prop_map(Some)];
    let end = option::weighted(
        0.3,
        prop_oneof![Just(EndReason::NextButton), Just(EndReason::Abandon)],
    );
    let short =
        (event_type, rating, dwell, end).prop_map(|(event_type, rating, dwell, end)| Short {
            event_type,
            rating,
            dwell,
            end,
        });
    vec(short, 0..9)
}

proptest! {
    #[test]
    fn observing_one_event_after_the_other_gives_what_is_defined(history in history()) {
        let explicit = observed(&history);
        let (strength, done) = defined(&history);
        prop_assert_eq!(explicit.strength(), strength);
        prop_assert_eq!(explicit.is_done(), done);
        prop_assert!(strength.is_none_or(|strength| (-1.0..=1.0).contains(&strength)));
    }

    #[test]
    fn the_order_and_repetition_of_deliveries_do_not_matter(
        history in history(),
        times in vec(0_i64..4, 9),
        keys in vec(any::<u32>(), 18),
    ) {
        let stored: Vec<_> = history
            .iter()
            .zip(&times)
            .map(|(short, micros)| event_member::encode(event(short, *micros)).unwrap().into())
            .collect();
        let table = table();
        let explicit_of = |events: Vec<_>| {
            let mut explicit = ExplicitStrength::default();
            for event in EventLog::new(events).iter() {
                explicit.observe(event, table.rule(&event.event_type));
            }
            explicit
        };
        let mut delivered: Vec<_> = keys
            .iter()
            .zip(stored.iter().chain(&stored))
            .map(|(key, event)| (*key, std::sync::Arc::clone(event)))
            .collect();
        delivered.sort_by_key(|(key, _)| *key);
        let delivered = delivered.into_iter().map(|(_, event)| event).collect();
        prop_assert_eq!(explicit_of(delivered), explicit_of(stored));
    }
}
