//! A copy of a user's buffer, which the process's own appends keep current.

use std::{
    collections::{BTreeSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use crate::{
    adapters::{
        memory_size::event_bytes,
        redis::append::{MAX_CALL_BYTES, MAX_CALL_EVENTS},
    },
    domain::{
        answers::{self, AnswerCounts},
        event::{InteractionEvent, StoredEvent},
    },
    ports::{EVENT_ID_SPAN, Version},
};

/// Overhead of a copy besides its events.
const COPY_BYTES: usize = 300;
/// Overhead of an event besides the event: its places in the list and among the
/// ids.
const PLACE_BYTES: usize = 48;

/// All events of a buffer, in its order.
pub(super) struct BufferCopy {
    pub(super) version: Version,
    /// The generation of the connections that it was read over. After a failover
    /// a version may repeat with other contents.
    pub(super) generation: u64,
    events: VecDeque<Arc<StoredEvent>>,
    /// (hash of the event id, time in microseconds) of each event with an id. The
    /// hash is keyed at random: a false match has a probability of 2^-64 for each
    /// event nearby.
    ids: BTreeSet<(u64, i64)>,
    hasher: RandomState,
    member_bytes: usize,
    event_bytes: usize,
    answers: AnswerCounts,
}

impl BufferCopy {
    /// A copy of a buffer with these events, in its order.
    pub(super) fn new(
        version: Version,
        generation: u64,
        events: impl IntoIterator<Item = Arc<StoredEvent>>,
    ) -> Self {
        let hasher = RandomState::new();
        let events: VecDeque<Arc<StoredEvent>> = events.into_iter().collect();
        let mut answers = AnswerCounts::default();
        events.iter().for_each(|stored| answers.add(&stored.event));
        Self {
            version,
            generation,
            ids: events
                .iter()
                .filter_map(|stored| id_key(&hasher, &stored.event))
                .collect(),
            member_bytes: events.iter().map(|stored| stored.member.len()).sum(),
            event_bytes: events.iter().map(|stored| event_bytes(stored)).sum(),
            events,
            hasher,
            answers,
        }
    }

    pub(super) fn is_of(&self, version: Version, generation: u64) -> bool {
        self.version == version && self.generation == generation
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The events, oldest first.
    pub(super) fn events(&self) -> impl Iterator<Item = &Arc<StoredEvent>> {
        self.events.iter()
    }

    /// Estimated size in memory.
    pub(super) fn byte_size(&self) -> usize {
        COPY_BYTES + self.event_bytes + PLACE_BYTES * self.events.len()
    }

    /// Bytes of the members in Redis.
    pub(super) fn member_bytes(&self) -> usize {
        self.member_bytes
    }

    /// How many events hold answers only.
    pub(super) fn answers(&self) -> AnswerCounts {
        self.answers
    }

    /// Whether an event has the given event's id within [`EVENT_ID_SPAN`] of its
    /// time. False if the event has no id.
    pub(super) fn has_id_of(&self, event: &InteractionEvent) -> bool {
        let Some((hash, _)) = id_key(&self.hasher, event) else {
            return false;
        };
        let from = event.time.minus(EVENT_ID_SPAN).as_micros();
        let to = event.time.plus(EVENT_ID_SPAN).as_micros();
        self.ids.range((hash, from)..=(hash, to)).next().is_some()
    }

    /// Inserts an event that it lacks.
    pub(super) fn insert(&mut self, event: Arc<StoredEvent>) {
        self.ids.extend(id_key(&self.hasher, &event.event));
        self.member_bytes += event.member.len();
        self.event_bytes += event_bytes(&event);
        self.answers.add(&event.event);
        let place = self
            .events
            .partition_point(|other| other.buffer_order(&event).is_lt());
        self.events.insert(place, event);
    }

    /// Removes the oldest events.
    pub(super) fn remove_oldest(&mut self, count: usize) {
        let oldest: Vec<_> = self.events.drain(..count.min(self.events.len())).collect();
        oldest.iter().for_each(|event| self.forget(event));
    }

    /// Removes these events, which it has.
    pub(super) fn remove(&mut self, events: &[Arc<StoredEvent>]) {
        for event in events {
            let place = self
                .events
                .binary_search_by(|other| other.buffer_order(event));
            if let Ok(place) = place {
                self.events.remove(place);
                self.forget(event);
            }
        }
    }

    fn forget(&mut self, removed: &StoredEvent) {
        if let Some(key) = id_key(&self.hasher, &removed.event) {
            self.ids.remove(&key);
        }
        self.member_bytes -= removed.member.len();
        self.event_bytes -= event_bytes(removed);
        self.answers.remove(&removed.event);
    }

    /// The oldest events of answers beyond the newest `max_answers`, if there are many:
    /// as many as one call of a script takes.
    pub(super) fn surplus_answers(&self, max_answers: usize) -> Vec<Arc<StoredEvent>> {
        if !self.answers.exceed(max_answers) {
            return Vec::new();
        }
        let surplus = answers::surplus(self.events.iter(), max_answers);
        let mut bytes = 0;
        let fits = |event: &Arc<StoredEvent>| {
            bytes += event.member.len();
            bytes <= MAX_CALL_BYTES
        };
        let surplus = surplus.into_iter().take(MAX_CALL_EVENTS);
        // A single event is smaller than a call.
        surplus.take_while(fits).collect()
    }

    /// How many of the oldest events must go so that the members of the others have
    /// at most this many bytes. The newest always stays.
    pub(super) fn oldest_beyond(&self, max_member_bytes: usize) -> usize {
        let mut bytes = self.member_bytes;
        self.events
            .iter()
            .take(self.events.len().saturating_sub(1))
            .take_while(|event| {
                let is_beyond = bytes > max_member_bytes;
                bytes -= event.member.len();
                is_beyond
            })
            .count()
    }
}

fn id_key(hasher: &RandomState, event: &InteractionEvent) -> Option<(u64, i64)> {
    let id = event.event_id.as_ref()?;
    Some((hasher.hash_one(id), event.time.as_micros()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::BufferCopy;
    use crate::{
        domain::{
            event::{InteractionEvent, StoredEvent},
            event_member,
            ids::UserId,
            time::Timestamp,
        },
        ports::Version,
    };

    fn event(id: Option<&str>, micros: i64) -> Arc<StoredEvent> {
        let user = UserId::parse("u").unwrap();
        let mut event = InteractionEvent::new(user, "T", Timestamp::from_micros(micros));
        event.event_id = id.map(str::to_owned);
        Arc::new(event_member::encode(event).unwrap())
    }

    fn copy(events: &[Arc<StoredEvent>]) -> BufferCopy {
        BufferCopy::new(Version(1), 0, events.iter().cloned())
    }

    const AT: i64 = 5_000_000_000;
    const TEN_MINUTES: i64 = 600_000_000;

    #[test]
    fn an_id_is_found_within_ten_minutes_either_way() {
        let copy = copy(&[event(Some("held"), AT), event(None, AT)]);
        let has = |id, micros| copy.has_id_of(&event(id, micros).event);
        for micros in [AT, AT + TEN_MINUTES, AT - TEN_MINUTES] {
            assert!(has(Some("held"), micros));
            assert!(!has(Some("other"), micros) && !has(None, micros));
        }
        for micros in [AT + TEN_MINUTES + 1, AT - TEN_MINUTES - 1] {
            assert!(!has(Some("held"), micros));
        }
    }

    #[test]
    fn a_copy_that_grew_and_shrank_equals_one_that_was_read() {
        let events: Vec<_> = (0..50)
            .map(|number| event(Some(&format!("{}", number % 7)), AT + number * 1_000))
            .collect();
        let mut grown = copy(&events[..10]);
        for event in events[10..].iter().rev() {
            grown.insert(Arc::clone(event));
        }
        grown.remove_oldest(20);
        let read = copy(&events[20..]);
        assert!(grown.events().eq(read.events()));
        assert_eq!(grown.ids.len(), read.ids.len());
        assert_eq!(grown.byte_size(), read.byte_size());
        assert_eq!(grown.member_bytes(), read.member_bytes());
        grown.remove_oldest(99);
        assert_eq!((grown.len(), grown.member_bytes()), (0, 0));
    }

    #[test]
    fn the_oldest_events_beyond_a_size_are_counted() {
        // Whole seconds: members of the same size.
        let seconds = |number: i64| AT + number * 1_000_000;
        let events: Vec<_> = (0..4).map(|number| event(None, seconds(number))).collect();
        let each = events[0].member.len();
        let copy = copy(&events);
        for (max_bytes, beyond) in [(9 * each, 0), (4 * each, 0), (4 * each - 1, 1), (0, 3)] {
            assert_eq!(copy.oldest_beyond(max_bytes), beyond, "{max_bytes}");
        }
    }
}
