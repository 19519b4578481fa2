//! Buffers that this process knows: as it read them, or as its own appends
//! left them. An append to a buffer of the same version need not read it again.

use std::{cmp::Ordering, sync::Arc};

use super::kept::{Kept, Weigh};
use crate::{
    adapters::{event_ids, footprint::event_bytes},
    domain::{event::StoredEvent, ids::UserId, time::Timestamp},
    ports::Version,
    telemetry::meters::{self, Level},
};

/// What a cached buffer takes besides its events.
const ENTRY_BYTES: usize = 200;

/// Buffers by user.
pub(super) struct KnownBuffers {
    max_events: usize,
    kept: Kept<Known>,
}

struct Known {
    version: Version,
    /// That of the connections over which it came to be known. After a
    /// failover a version may come again with other contents.
    generation: u64,
    /// All that the sorted set holds, in its order.
    events: Vec<Arc<StoredEvent>>,
    bytes: u64,
}

impl Weigh for Known {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What an append told of itself.
pub(super) struct Change<'a> {
    /// `None`: there was no buffer.
    pub(super) before: Option<Version>,
    /// How many events there were before.
    pub(super) held: usize,
    pub(super) generation: u64,
    pub(super) after: Version,
    /// Events before this time were pruned.
    pub(super) oldest: Timestamp,
    /// How many events there are now.
    pub(super) count: usize,
    /// Those that were taken.
    pub(super) accepted: &'a [Arc<StoredEvent>],
}

impl KnownBuffers {
    pub(super) fn new(max_bytes: u64, max_events: usize) -> Self {
        Self {
            max_events,
            kept: Kept::new(max_bytes, Level::BufferBytes, Level::BufferEntries),
        }
    }

    /// To be asked before a read, and told to [`KnownBuffers::keep`] after it.
    pub(super) fn removals(&self) -> u64 {
        self.kept.removals()
    }

    /// Keeps what was read under a version, or under a later one that a next
    /// append will name; unless a user was removed meanwhile.
    pub(super) fn keep(
        &self,
        user: &UserId,
        version: Version,
        generation: u64,
        events: Vec<Arc<StoredEvent>>,
        removals: u64,
    ) {
        let bytes = ENTRY_BYTES + events.iter().map(|event| event_bytes(event)).sum::<usize>();
        let known = Known {
            version,
            generation,
            events,
            bytes: bytes as u64,
        };
        self.kept.keep(user, known, removals);
    }

    pub(super) fn forget(&self, user: &UserId) {
        self.kept.forget(user);
    }

    /// Forgets a user whose buffer this process has removed.
    pub(super) fn removed(&self, user: &UserId) {
        self.kept.removed(user);
    }

    /// A version of the buffer, with the number of its members, in which none of
    /// these events' ids is found near its event's time; `None` if the buffer is
    /// not known, or one is.
    pub(super) fn without_ids_of(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        generation: u64,
    ) -> Option<(Version, usize)> {
        let known = self.kept.get(user)?;
        let is_new = |event: &StoredEvent| !event_ids::hold(&known.events, &event.event);
        (known.generation == generation && events.iter().all(is_new))
            .then_some((known.version, known.events.len()))
    }

    /// What the buffer holds after an append; `None` if it was not known
    /// before, or does not come out as large as the store says: then someone
    /// else writes to it without raising its version.
    pub(super) fn apply(
        &self,
        user: &UserId,
        change: &Change<'_>,
        removals: u64,
    ) -> Option<Vec<Arc<StoredEvent>>> {
        let mut events = match change.before {
            None => Vec::new(),
            Some(before) => {
                let known = self.kept.get(user).filter(|known| {
                    known.version == before
                        && known.generation == change.generation
                        && known.events.len() == change.held
                });
                let hits = usize::from(known.is_some());
                meters::cache_lookups(meters::Cache::Buffers, hits, 1 - hits);
                known?.events.clone()
            }
        };
        for event in change.accepted {
            // Almost always the newest of all.
            let later = events.iter().rev();
            let later = later.take_while(|known| known.buffer_order(event) == Ordering::Greater);
            events.insert(events.len() - later.count(), Arc::clone(event));
        }
        let expired = events.partition_point(|event| event.event.time < change.oldest);
        let surplus = events.len().saturating_sub(self.max_events);
        events.drain(..expired.max(surplus));
        if events.len() != change.count {
            self.forget(user);
            return None;
        }
        self.keep(
            user,
            change.after,
            change.generation,
            events.clone(),
            removals,
        );
        Some(events)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Change, KnownBuffers};
    use crate::{
        domain::{
            event::{InteractionEvent, StoredEvent},
            event_member,
            ids::UserId,
            time::Timestamp,
        },
        ports::Version,
    };

    impl KnownBuffers {
        fn holds(&self, user: &UserId) -> bool {
            self.kept.get(user).is_some()
        }

        fn read(&self, user: &UserId, removals: u64) {
            self.keep(user, Version(1), 0, vec![event(user)], removals);
        }
    }

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    /// When the one event that is read took place.
    const READ_AT: i64 = 1_000_000;

    fn event(user: &UserId) -> Arc<StoredEvent> {
        event_at(user, READ_AT)
    }

    fn event_at(user: &UserId, micros: i64) -> Arc<StoredEvent> {
        let time = Timestamp::from_micros(micros);
        Arc::new(event_member::encode(InteractionEvent::new(user.clone(), "T", time)).unwrap())
    }

    /// An append to what was read.
    fn appended(accepted: &[Arc<StoredEvent>]) -> Change<'_> {
        Change {
            before: Some(Version(1)),
            held: 1,
            generation: 0,
            after: Version(2),
            oldest: Timestamp::from_micros(0),
            count: 1 + accepted.len(),
            accepted,
        }
    }

    /// How many events are known after an append to what was read.
    fn known_after(max_events: usize, change: &Change<'_>) -> Option<usize> {
        let known = KnownBuffers::new(1 << 20, max_events);
        let user = user("u");
        known.read(&user, known.removals());
        let events = known.apply(&user, change, known.removals());
        events.map(|events| events.len())
    }

    #[test]
    fn what_an_append_leaves_is_known_only_if_what_it_found_was() {
        let new = [event_at(&user("u"), READ_AT + 1)];
        assert_eq!(known_after(10, &appended(&new)), Some(2));
        let of_another_version = Change {
            before: Some(Version(9)),
            ..appended(&new)
        };
        let over_other_connections = Change {
            generation: 1,
            ..appended(&new)
        };
        let to_other_events = Change {
            held: 2,
            ..appended(&new)
        };
        let with_others = Change {
            count: 3,
            ..appended(&new)
        };
        for change in [
            of_another_version,
            over_other_connections,
            to_other_events,
            with_others,
        ] {
            assert_eq!(known_after(10, &change), None);
        }
    }

    #[test]
    fn ids_are_said_to_be_new_only_where_the_buffer_is_known_to_lack_them() {
        let known = KnownBuffers::new(1 << 20, 10);
        let (user, other) = (user("u"), user("other"));
        let named = |id: &str, micros| {
            let time = Timestamp::from_micros(micros);
            let mut event = InteractionEvent::new(user.clone(), "T", time);
            event.event_id = Some(id.to_owned());
            event_member::encode(event).unwrap()
        };
        let held = Arc::new(named("held", READ_AT));
        known.keep(&user, Version(1), 0, vec![held], known.removals());
        let lacks = |event: StoredEvent| known.without_ids_of(&user, &[event], 0).is_some();
        let ten_minutes = 600_000_000;
        assert!(lacks(named("new", READ_AT)));
        assert!(!lacks(named("held", READ_AT + 1)));
        assert!(!lacks(named("held", READ_AT + ten_minutes)));
        assert!(!lacks(named("held", READ_AT - ten_minutes)));
        assert!(lacks(named("held", READ_AT + ten_minutes + 1)));
        assert!(lacks(named("held", READ_AT - ten_minutes - 1)));
        let new = [named("new", READ_AT)];
        assert_eq!(known.without_ids_of(&user, &new, 0), Some((Version(1), 1)));
        assert_eq!(known.without_ids_of(&user, &new, 1), None, "another server");
        assert_eq!(known.without_ids_of(&other, &new, 0), None, "not known");
    }

    #[test]
    fn an_append_prunes_what_is_known_as_the_store_does() {
        let new = [event_at(&user("u"), READ_AT + 1)];
        let pruned = |oldest, count| Change {
            oldest: Timestamp::from_micros(oldest),
            count,
            ..appended(&new)
        };
        assert_eq!(known_after(10, &pruned(READ_AT, 2)), Some(2));
        assert_eq!(known_after(10, &pruned(READ_AT + 1, 1)), Some(1));
        assert_eq!(known_after(1, &pruned(0, 1)), Some(1));
    }

    #[test]
    fn what_was_asked_for_before_a_removal_is_not_kept_after_it() {
        let known = KnownBuffers::new(1 << 20, 10);
        let erased = user("erased");
        let before = known.removals();
        known.removed(&erased);
        known.read(&erased, before);
        assert!(!known.holds(&erased), "a read");
        let change = Change {
            before: None,
            held: 0,
            generation: 0,
            after: Version(2),
            oldest: Timestamp::from_micros(0),
            count: 1,
            accepted: &[event(&erased)],
        };
        assert!(known.apply(&erased, &change, before).is_some());
        assert!(!known.holds(&erased), "an append");
    }
}
