//! Copies of buffers, as this process read them and as its own appends left them.
//! While the version is that of the copy, neither an append nor the build of a
//! model reads the buffer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    append::ComparedBuffer,
    buffer_copy::BufferCopy,
    user_cache::{ByteSize, UserCache},
};
use crate::{
    domain::{answers::AnswerCounts, event::StoredEvent, ids::UserId},
    ports::Version,
    telemetry::meters::Level,
};

/// Buffers by user.
pub(super) type BufferCache = UserCache<CachedBuffer>;

/// A copy of a user's buffer, with its size when it was cached. An append changes
/// the copy in place and caches it again: a cached value's size must not change.
pub(super) struct CachedBuffer {
    copy: Arc<Mutex<BufferCopy>>,
    bytes: u64,
}

impl CachedBuffer {
    pub(super) fn new(copy: BufferCopy) -> Self {
        Self {
            bytes: copy.byte_size() as u64,
            copy: Arc::new(Mutex::new(copy)),
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
    /// Events before the append.
    pub(super) length_before: usize,
    /// The generation of the connections that the append was sent over.
    pub(super) generation: u64,
    pub(super) after: Version,
    /// How many of the oldest events before were removed.
    pub(super) removed: usize,
    /// The events that were accepted.
    pub(super) accepted: &'a [Arc<StoredEvent>],
}

/// What a copy holds, by which a buffer is found to need a trim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CopySize {
    /// Bytes of the members in Redis.
    pub(super) member_bytes: usize,
    /// How many events hold answers only.
    pub(super) answers: AnswerCounts,
}

impl BufferCache {
    /// An empty cache.
    pub(super) fn of_buffers(max_bytes: u64) -> Self {
        Self::new(max_bytes, Level::BufferBytes, Level::BufferEntries)
    }

    /// The copy of the user's buffer, and for each event whether it has its id near
    /// its time.
    pub(super) fn compare_ids(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        generation: u64,
    ) -> Option<(ComparedBuffer, Vec<bool>)> {
        let cached = self.get(user)?;
        let copy = lock(&cached.copy);
        let compared = compared(&copy)?;
        let found = |event: &StoredEvent| copy.has_id_of(&event.event);
        (copy.generation == generation).then(|| (compared, events.iter().map(found).collect()))
    }

    /// The events of the user's buffer, if the copy has this version.
    pub(super) fn events_at(
        &self,
        user: &UserId,
        version: Version,
        generation: u64,
    ) -> Option<Vec<Arc<StoredEvent>>> {
        let cached = self.get(user)?;
        let copy = lock(&cached.copy);
        copy.is_of(version, generation)
            .then(|| copy.events().cloned().collect())
    }

    /// Whether the copy of the user's buffer has this version.
    pub(super) fn has(&self, user: &UserId, version: Version, generation: u64) -> bool {
        let cached = self.get(user);
        cached.is_some_and(|cached| lock(&cached.copy).is_of(version, generation))
    }

    /// Brings the copy up to date with an append. Returns its size, or `None` if there is
    /// no copy of the buffer before. An event more
    /// or less than the store has shows that another program writes without raising
    /// the version: then the copy is dropped.
    pub(super) fn apply(
        &self,
        user: &UserId,
        change: &BufferChange<'_>,
        erasures: u64,
    ) -> Option<CopySize> {
        let copy = match change.before {
            None => Arc::new(Mutex::new(BufferCopy::new(
                change.after,
                change.generation,
                [],
            ))),
            Some(before) => {
                let cached = self.get(user)?;
                let is_base = {
                    let copy = lock(&cached.copy);
                    // A read may have been faster than the append's reply.
                    if copy.version >= change.after && copy.generation == change.generation {
                        return None;
                    }
                    copy.version == before
                        && copy.generation == change.generation
                        && copy.len() == change.length_before
                };
                if !is_base {
                    self.remove(user);
                    return None;
                }
                Arc::clone(&cached.copy)
            }
        };
        let (bytes, size) = {
            let mut copy = lock(&copy);
            copy.remove_oldest(change.removed);
            for event in change.accepted {
                copy.insert(Arc::clone(event));
            }
            copy.version = change.after;
            let size = CopySize {
                member_bytes: copy.member_bytes(),
                answers: copy.answers(),
            };
            (copy.byte_size() as u64, size)
        };
        self.insert(user, CachedBuffer { copy, bytes }, erasures);
        Some(size)
    }

    /// Version and length of the copy, and how many of its oldest events must go so
    /// that the others have at most `max_bytes`.
    pub(super) fn oldest_beyond(
        &self,
        user: &UserId,
        max_bytes: usize,
    ) -> Option<(ComparedBuffer, usize)> {
        let cached = self.get(user)?;
        let copy = lock(&cached.copy);
        Some((compared(&copy)?, copy.oldest_beyond(max_bytes)))
    }

    /// Version and length of the copy, and its oldest events of answers beyond the newest
    /// `max_answers`. `None` if there are not too many.
    pub(super) fn surplus_answers(
        &self,
        user: &UserId,
        max_answers: usize,
    ) -> Option<(ComparedBuffer, Vec<Arc<StoredEvent>>)> {
        let cached = self.get(user)?;
        let copy = lock(&cached.copy);
        let surplus = copy.surplus_answers(max_answers);
        (!surplus.is_empty()).then_some((compared(&copy)?, surplus))
    }
}

/// The buffer that a copy is of.
fn compared(copy: &BufferCopy) -> Option<ComparedBuffer> {
    Some(ComparedBuffer {
        expiry: i64::try_from(copy.version.0).ok()?,
        length: copy.len(),
    })
}

impl BufferCache {
    /// Brings the copy of a buffer up to date after its oldest events were removed.
    /// A copy of another buffer is dropped.
    pub(super) fn trimmed(&self, user: &UserId, buffer: ComparedBuffer, count: usize, after: i64) {
        let trim = |copy: &mut BufferCopy| copy.remove_oldest(count);
        self.change(user, buffer, after, trim);
    }

    /// The same after these events were removed.
    pub(super) fn removed(
        &self,
        user: &UserId,
        buffer: ComparedBuffer,
        events: &[Arc<StoredEvent>],
        after: i64,
    ) {
        self.change(user, buffer, after, |copy| copy.remove(events));
    }

    fn change(
        &self,
        user: &UserId,
        buffer: ComparedBuffer,
        after: i64,
        change: impl FnOnce(&mut BufferCopy),
    ) {
        let Some(cached) = self.get(user) else {
            return;
        };
        let bytes = {
            let mut copy = lock(&cached.copy);
            let is_same = compared(&copy) == Some(buffer);
            is_same.then(|| {
                change(&mut copy);
                copy.version = Version(after.unsigned_abs());
                copy.byte_size() as u64
            })
        };
        match bytes {
            Some(bytes) => {
                let copy = Arc::clone(&cached.copy);
                self.insert(user, CachedBuffer { copy, bytes }, self.erasures());
            }
            None => self.remove(user),
        }
    }
}

fn lock(copy: &Mutex<BufferCopy>) -> MutexGuard<'_, BufferCopy> {
    // Nothing between two changes of a copy can panic.
    copy.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{BufferCache, BufferChange, BufferCopy, CachedBuffer};
    use crate::{
        adapters::redis::append::ComparedBuffer,
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
        CachedBuffer::new(BufferCopy::new(Version(1), 0, [event_at(user, READ_AT)]))
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
            removed: 0,
            accepted,
        }
    }

    /// Length of the copy after an append to the buffer that was read.
    fn length_after(change: &BufferChange<'_>) -> Option<usize> {
        let cache = BufferCache::of_buffers(1 << 20);
        let user = user("u");
        cache.insert(&user, read(&user), cache.erasures());
        cache.apply(&user, change, cache.erasures())?;
        cache
            .events_at(&user, change.after, change.generation)
            .map(|events| events.len())
    }

    #[test]
    fn an_append_updates_only_the_copy_of_the_buffer_that_it_found() {
        let new = [event_at(&user("u"), READ_AT + 1)];
        assert_eq!(length_after(&appended(&new)), Some(2));
        let pruning = BufferChange {
            removed: 1,
            ..appended(&new)
        };
        assert_eq!(length_after(&pruning), Some(1));
        let of_another_version = BufferChange {
            before: Some(Version(9)),
            after: Version(10),
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
        for change in [of_another_version, over_other_connections, to_other_events] {
            assert_eq!(length_after(&change), None);
        }
    }

    #[test]
    fn a_copy_is_used_at_its_version_and_over_its_connections_only() {
        let cache = BufferCache::of_buffers(1 << 20);
        let (user, other) = (user("u"), user("other"));
        cache.insert(&user, read(&user), cache.erasures());
        let at = |version, generation| cache.events_at(&user, Version(version), generation);
        assert_eq!(at(1, 0).map(|events| events.len()), Some(1));
        assert!(at(2, 0).is_none() && at(1, 1).is_none());
        assert!(cache.events_at(&other, Version(1), 0).is_none());
        let compared = ComparedBuffer {
            expiry: 1,
            length: 1,
        };
        let event = (*event_at(&user, READ_AT)).clone();
        let events = [event];
        let found = cache.compare_ids(&user, &events, 0);
        assert_eq!(found, Some((compared, vec![false])));
        assert_eq!(cache.compare_ids(&user, &events, 1), None);
        assert_eq!(cache.compare_ids(&other, &events, 0), None);
    }

    #[test]
    fn a_newer_copy_is_not_replaced_by_the_reply_of_an_earlier_append() {
        let cache = BufferCache::of_buffers(1 << 20);
        let user = user("u");
        let newer = BufferCopy::new(Version(3), 0, [event_at(&user, READ_AT)]);
        cache.insert(&user, CachedBuffer::new(newer), cache.erasures());
        let new = [event_at(&user, READ_AT + 1)];
        assert_eq!(cache.apply(&user, &appended(&new), cache.erasures()), None);
        assert!(cache.events_at(&user, Version(3), 0).is_some());
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
            ..appended(&new)
        };
        assert!(cache.apply(&erased, &change, before).is_some());
        assert!(cache.get(&erased).is_none());
    }
}
