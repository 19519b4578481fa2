//! Copies of buffers, as this process read them or as its own appends left them.
//! While the version is that of the copy, an append need not read the buffer.

use std::sync::Arc;

use super::user_cache::{ByteSize, UserCache};
use crate::{
    adapters::{event_list, memory_size::event_bytes},
    domain::{event::StoredEvent, ids::UserId, time::Timestamp},
    ports::Version,
    telemetry::meters::{self, Level},
};

/// Overhead of a cached buffer besides its events.
const ENTRY_BYTES: usize = 200;

/// Buffers by user.
pub(super) type BufferCache = UserCache<CachedBuffer>;

/// A copy of a user's buffer.
pub(super) struct CachedBuffer {
    version: Version,
    /// The generation of the connections that it was read over. After a failover
    /// a version may repeat with other contents.
    generation: u64,
    /// All members of the sorted set, in its order.
    events: Vec<Arc<StoredEvent>>,
    bytes: u64,
}

impl CachedBuffer {
    /// A copy as of this version or a later one, over connections of this
    /// generation.
    pub(super) fn new(version: Version, generation: u64, events: Vec<Arc<StoredEvent>>) -> Self {
        let bytes = ENTRY_BYTES + events.iter().map(|event| event_bytes(event)).sum::<usize>();
        Self {
            version,
            generation,
            events,
            bytes: bytes as u64,
        }
    }
}

impl ByteSize for CachedBuffer {
    fn byte_size(&self) -> u64 {
        self.bytes
    }
}

/// What an append did to a buffer.
pub(super) struct BufferChange<'a> {
    /// `None` if there was no buffer.
    pub(super) before: Option<Version>,
    /// Members before the append.
    pub(super) length_before: usize,
    /// The generation of the connections that the append was sent over.
    pub(super) generation: u64,
    pub(super) after: Version,
    /// Events before this time were pruned,
    pub(super) oldest: Timestamp,
    /// and those beyond the newest `max_events`.
    pub(super) max_events: usize,
    /// Members after the append.
    pub(super) length: usize,
    /// The events that were accepted.
    pub(super) accepted: &'a [Arc<StoredEvent>],
}

impl BufferCache {
    /// An empty cache.
    pub(super) fn of_buffers(max_bytes: u64) -> Self {
        Self::new(max_bytes, Level::BufferBytes, Level::BufferEntries)
    }

    /// Version and length of the user's buffer, if its copy contains none of the
    /// events' ids near their times.
    pub(super) fn lacking_ids_of(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        generation: u64,
    ) -> Option<(Version, usize)> {
        let cached = self.get(user)?;
        let is_new =
            |event: &StoredEvent| !event_list::contains_id_of(&cached.events, &event.event);
        (cached.generation == generation && events.iter().all(is_new))
            .then_some((cached.version, cached.events.len()))
    }

    /// The buffer after an append. `None` if there was no copy of the buffer
    /// before, or if the length differs from the store's: then another program
    /// writes without raising the version.
    pub(super) fn apply(
        &self,
        user: &UserId,
        change: &BufferChange<'_>,
        erasures: u64,
    ) -> Option<Vec<Arc<StoredEvent>>> {
        let mut events = match change.before {
            None => Vec::new(),
            Some(before) => {
                let cached = self.get(user).filter(|cached| {
                    cached.version == before
                        && cached.generation == change.generation
                        && cached.events.len() == change.length_before
                });
                let hits = usize::from(cached.is_some());
                meters::cache_lookups(meters::Cache::Buffers, hits, 1 - hits);
                cached?.events.clone()
            }
        };
        for event in change.accepted {
            event_list::insert(&mut events, Arc::clone(event));
        }
        events.drain(..event_list::prunable(&events, change.oldest, change.max_events));
        if events.len() != change.length {
            self.remove(user);
            return None;
        }
        let copy = CachedBuffer::new(change.after, change.generation, events.clone());
        self.insert(user, copy, erasures);
        Some(events)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{BufferCache, BufferChange, CachedBuffer};
    use crate::{
        domain::{
            event::{InteractionEvent, StoredEvent},
            event_member,
            ids::UserId,
            time::Timestamp,
        },
        ports::Version,
    };

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    /// Time of the one event of the buffer that was read.
    const READ_AT: i64 = 1_000_000;

    fn read(user: &UserId) -> CachedBuffer {
        CachedBuffer::new(Version(1), 0, vec![event_at(user, READ_AT)])
    }

    fn event_at(user: &UserId, micros: i64) -> Arc<StoredEvent> {
        let time = Timestamp::from_micros(micros);
        Arc::new(event_member::encode(InteractionEvent::new(user.clone(), "T", time)).unwrap())
    }

    /// An append to the buffer that was read.
    fn appended(accepted: &[Arc<StoredEvent>]) -> BufferChange<'_> {
        BufferChange {
            before: Some(Version(1)),
            length_before: 1,
            generation: 0,
            after: Version(2),
            oldest: Timestamp::from_micros(0),
            max_events: 10,
            length: 1 + accepted.len(),
            accepted,
        }
    }

    /// Length of the copy after an append to the buffer that was read.
    fn length_after(change: &BufferChange<'_>) -> Option<usize> {
        let cache = BufferCache::of_buffers(1 << 20);
        let user = user("u");
        cache.insert(&user, read(&user), cache.erasures());
        let events = cache.apply(&user, change, cache.erasures());
        events.map(|events| events.len())
    }

    #[test]
    fn an_append_updates_only_the_copy_of_the_buffer_that_it_found() {
        let new = [event_at(&user("u"), READ_AT + 1)];
        assert_eq!(length_after(&appended(&new)), Some(2));
        let of_another_version = BufferChange {
            before: Some(Version(9)),
            ..appended(&new)
        };
        let over_other_connections = BufferChange {
            generation: 1,
            ..appended(&new)
        };
        let to_other_events = BufferChange {
            length_before: 2,
            ..appended(&new)
        };
        let with_others = BufferChange {
            length: 3,
            ..appended(&new)
        };
        for change in [
            of_another_version,
            over_other_connections,
            to_other_events,
            with_others,
        ] {
            assert_eq!(length_after(&change), None);
        }
    }

    #[test]
    fn event_ids_are_new_only_if_a_copy_of_the_buffer_lacks_them() {
        let cache = BufferCache::of_buffers(1 << 20);
        let (user, other) = (user("u"), user("other"));
        let named = |id: &str, micros| {
            let time = Timestamp::from_micros(micros);
            let mut event = InteractionEvent::new(user.clone(), "T", time);
            event.event_id = Some(id.to_owned());
            event_member::encode(event).unwrap()
        };
        let held = CachedBuffer::new(Version(1), 0, vec![Arc::new(named("held", READ_AT))]);
        cache.insert(&user, held, cache.erasures());
        let lacks = |event: StoredEvent| cache.lacking_ids_of(&user, &[event], 0).is_some();
        let ten_minutes = 600_000_000;
        assert!(lacks(named("new", READ_AT)));
        assert!(!lacks(named("held", READ_AT + 1)));
        assert!(!lacks(named("held", READ_AT + ten_minutes)));
        assert!(!lacks(named("held", READ_AT - ten_minutes)));
        assert!(lacks(named("held", READ_AT + ten_minutes + 1)));
        assert!(lacks(named("held", READ_AT - ten_minutes - 1)));
        let new = [named("new", READ_AT)];
        assert_eq!(cache.lacking_ids_of(&user, &new, 0), Some((Version(1), 1)));
        assert_eq!(cache.lacking_ids_of(&user, &new, 1), None, "another server");
        assert_eq!(cache.lacking_ids_of(&other, &new, 0), None, "no copy");
    }

    #[test]
    fn an_append_prunes_the_copy_as_the_store_does() {
        let new = [event_at(&user("u"), READ_AT + 1)];
        let pruned = |oldest, max_events, length| BufferChange {
            oldest: Timestamp::from_micros(oldest),
            max_events,
            length,
            ..appended(&new)
        };
        assert_eq!(length_after(&pruned(READ_AT, 10, 2)), Some(2));
        assert_eq!(length_after(&pruned(READ_AT + 1, 10, 1)), Some(1));
        assert_eq!(length_after(&pruned(0, 1, 1)), Some(1));
    }

    #[test]
    fn an_append_from_before_an_erasure_is_not_cached_after_it() {
        let cache = BufferCache::of_buffers(1 << 20);
        let erased = user("erased");
        let before = cache.erasures();
        cache.erase(&erased);
        let new = [event_at(&erased, READ_AT)];
        let change = BufferChange {
            before: None,
            length_before: 0,
            length: 1,
            ..appended(&new)
        };
        assert!(cache.apply(&erased, &change, before).is_some());
        assert!(cache.get(&erased).is_none());
    }
}
