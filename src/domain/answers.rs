//! Events that hold answers and nothing else, such as profiles that are sent with every
//! visit. A user's buffer keeps only the newest of them, so that they do not push out
//! what the user did.

use std::sync::Arc;

use super::{
    event::{InteractionEvent, StoredEvent, event_types},
    ranking_config::Preset,
};

/// How many events of each kind are kept: twice as many as count for a model.
const MAX_ANSWERS: usize = 100;
/// How many more there may be before any is removed, so that not every event removes one.
const SPARE: usize = 50;
/// Kinds that are counted apart.
const KINDS: usize = 4;

/// How many events of each kind a buffer keeps under a preset.
#[must_use]
pub fn max_answers(preset: Preset) -> usize {
    match preset {
        Preset::Recsys => MAX_ANSWERS,
        Preset::Reference => usize::MAX,
    }
}

/// The kind of an event that holds answers only, by whether they can seed the profile and
/// whether its sender is anonymous. Events of one kind never take the places of another.
fn kind(event: &InteractionEvent) -> Option<usize> {
    let has_answers = !event.survey_answers.is_empty();
    let is_of_items = event.content_id.is_some() || !event.impressions.is_empty();
    if !has_answers || is_of_items {
        return None;
    }
    let seeds_profile = event_types::PROFILE.contains(&event.event_type.as_str());
    Some(2 * usize::from(seeds_profile) + usize::from(event.anonymous))
}

/// The number of events of each kind in a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerCounts([usize; KINDS]);

impl AnswerCounts {
    /// Counts an event that was added.
    pub fn add(&mut self, event: &InteractionEvent) {
        if let Some(count) = kind(event).and_then(|kind| self.0.get_mut(kind)) {
            *count += 1;
        }
    }

    /// Counts an event that was removed.
    pub fn remove(&mut self, event: &InteractionEvent) {
        if let Some(count) = kind(event).and_then(|kind| self.0.get_mut(kind)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether events are to be removed so that [`surplus`] is empty.
    #[must_use]
    pub fn exceed(&self, max_answers: usize) -> bool {
        let most = max_answers.saturating_add(SPARE);
        self.0.iter().any(|count| *count > most)
    }
}

/// The events beyond the newest `max_answers` of each kind, the oldest first.
pub fn surplus<'a>(
    events: impl DoubleEndedIterator<Item = &'a Arc<StoredEvent>>,
    max_answers: usize,
) -> Vec<Arc<StoredEvent>> {
    let mut kept = [0; KINDS];
    let is_beyond = |stored: &&Arc<StoredEvent>| {
        let Some(count) = kind(&stored.event).and_then(|kind| kept.get_mut(kind)) else {
            return false;
        };
        *count += 1;
        *count > max_answers
    };
    let mut surplus: Vec<_> = events.rev().filter(is_beyond).cloned().collect();
    surplus.reverse();
    surplus
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::{AnswerCounts, SPARE, surplus};
    use crate::domain::{
        event::{InteractionEvent, StoredEvent},
        event_member,
        ids::UserId,
        time::Timestamp,
    };

    fn event(event_type: &str, number: i64) -> InteractionEvent {
        let user = UserId::parse("u").unwrap();
        let time = Timestamp::from_micros(number * 1_000_000);
        let mut event = InteractionEvent::new(user, event_type, time);
        event.survey_answers.insert("age".into(), json!(number));
        event
    }

    fn stored(event: InteractionEvent) -> Arc<StoredEvent> {
        Arc::new(event_member::encode(event).unwrap())
    }

    #[test]
    fn the_newest_of_each_kind_stay_and_events_of_items_are_not_counted() {
        let mut of_item = event("SURVEY_SUBMITTED", 0);
        of_item.content_id = Some("i".into());
        let mut shown = event("IDENTIFY", 1);
        shown.impressions = vec!["i".into()];
        let mut anonymous = event("IDENTIFY", 2);
        anonymous.anonymous = true;
        let mut events = vec![of_item, shown, anonymous];
        let types = ["IDENTIFY", "SURVEY_ANSWERED", "quiz"];
        events.extend((3..9).map(|number| event(types[number as usize % 3], number)));
        let events: Vec<_> = events.into_iter().map(stored).collect();

        let removed = surplus(events.iter(), 1);
        let removed: Vec<i64> = removed
            .iter()
            .map(|stored| stored.event.time.as_micros() / 1_000_000)
            .collect();
        // The newest of those that seed the profile is 7, of the others 8.
        assert_eq!(removed, [3, 4, 5, 6]);
    }

    #[test]
    fn counts_exceed_a_maximum_only_by_more_than_a_few() {
        let mut counts = AnswerCounts::default();
        for number in 0..10 + SPARE as i64 {
            counts.add(&event("IDENTIFY", number));
            counts.add(&event("quiz", number));
        }
        assert!(!counts.exceed(10) && !counts.exceed(usize::MAX));
        counts.add(&event("quiz", 99));
        assert!(counts.exceed(10) && !counts.exceed(11));
        counts.remove(&event("quiz", 99));
        assert!(!counts.exceed(10));
    }
}
