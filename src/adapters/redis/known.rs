//! Buffers that this process knows: as it read them, or as its own appends
//! left them. An append to a buffer of the same version need not read it again.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache};

use crate::{
    adapters::footprint::event_bytes,
    domain::{event::StoredEvent, ids::UserId, time::Timestamp},
    ports::Version,
};

/// What a cached buffer takes besides its events.
const ENTRY_BYTES: usize = 200;
/// What a buffer is expected to take, for the size of the cache's table.
const EXPECTED_BYTES: u64 = 32 << 10;

/// Buffers by user, bounded in bytes. One that is not asked for makes room.
pub(super) struct KnownBuffers {
    max_events: usize,
    cache: Cache<UserId, Arc<Known>, ByBytes>,
}

struct Known {
    version: Version,
    /// All that the sorted set holds, in its order.
    events: Vec<Arc<StoredEvent>>,
    bytes: u64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<UserId, Arc<Known>> for ByBytes {
    fn weight(&self, user: &UserId, known: &Arc<Known>) -> u64 {
        known.bytes + user.as_str().len() as u64
    }
}

/// What an append told of itself.
pub(super) struct Change<'a> {
    /// `None`: there was no buffer.
    pub(super) before: Option<Version>,
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
        let expected = usize::try_from(max_bytes / EXPECTED_BYTES).unwrap_or(usize::MAX);
        Self {
            max_events,
            cache: Cache::with_weighter(expected.max(1), max_bytes, ByBytes),
        }
    }

    /// Keeps what was read under a version, or under a later one that a next
    /// append will name.
    pub(super) fn keep(&self, user: &UserId, version: Version, events: Vec<Arc<StoredEvent>>) {
        let bytes = ENTRY_BYTES + events.iter().map(|event| event_bytes(event)).sum::<usize>();
        let known = Known {
            version,
            events,
            bytes: bytes as u64,
        };
        self.cache.insert(user.clone(), Arc::new(known));
    }

    pub(super) fn forget(&self, user: &UserId) {
        self.cache.remove(user);
    }

    /// What the buffer holds after an append; `None` if it was not known
    /// before, or does not come out as large as the store says: then someone
    /// else writes to it without raising its version.
    pub(super) fn apply(
        &self,
        user: &UserId,
        change: &Change<'_>,
    ) -> Option<Vec<Arc<StoredEvent>>> {
        let mut events = match change.before {
            None => Vec::new(),
            Some(before) => {
                let known = self.cache.get(user)?;
                if known.version != before {
                    return None;
                }
                known.events.clone()
            }
        };
        events.extend_from_slice(change.accepted);
        events.sort_by(|a, b| a.buffer_order(b));
        let expired = events.partition_point(|event| event.event.time < change.oldest);
        let surplus = events.len().saturating_sub(self.max_events);
        events.drain(..expired.max(surplus));
        if events.len() != change.count {
            self.forget(user);
            return None;
        }
        self.keep(user, change.after, events.clone());
        Some(events)
    }
}
