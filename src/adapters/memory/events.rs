//! Event buffers in memory.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    budget::Budget,
    shards::{Expires, Shards},
};
use crate::{
    adapters::{event_ids, footprint::event_bytes},
    domain::{event::StoredEvent, ids::UserId, time::Timestamp},
    ports::{
        AppendOutcome, Appended, BufferSnapshot, Clock, Deleted, EventBuffer, StoreError, Version,
    },
};

/// Event buffers in this process's memory.
pub struct MemoryEventBuffer {
    clock: Arc<dyn Clock>,
    window: Duration,
    max_events: usize,
    budget: Arc<Budget>,
    buffers: Shards<Buffer>,
}

struct Buffer {
    version: Version,
    /// Sorted by buffer order, each once.
    events: Vec<Arc<StoredEvent>>,
}

impl Expires for Buffer {
    fn expires_at(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(self.version.0).unwrap_or(i64::MAX / 1_000) * 1_000)
    }
}

impl Buffer {
    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event_bytes(event)).sum()
    }
}

impl MemoryEventBuffer {
    /// Empty buffers that keep at most `max_events` events a user, not older
    /// than `window`, all within `budget`.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        window: Duration,
        max_events: usize,
        budget: Arc<Budget>,
    ) -> Self {
        Self {
            clock,
            window,
            max_events,
            budget,
            buffers: Shards::new(),
        }
    }

    fn drop_buffer(&self, buffer: &Buffer) {
        self.budget.give_back(buffer.bytes());
    }

    /// Appends, if there is room. The store is not changed otherwise.
    fn try_append(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        now: Timestamp,
    ) -> Result<Appended, StoreError> {
        let oldest = now.minus(self.window);
        let mut shard = self
            .buffers
            .lock(user, now, |buffer| self.drop_buffer(&buffer));
        let known = shard
            .entries
            .get(user)
            .map_or(&[][..], |buffer| &buffer.events);
        // Room for all that is new is taken before the buffer is touched; what
        // turns out not to be needed is given back.
        let mut spare = events
            .iter()
            .filter(|event| is_new(known, event, oldest))
            .map(event_bytes)
            .sum();
        self.budget.take(spare)?;

        let mut buffer = shard.entries.remove(user).unwrap_or(Buffer {
            version: Version(0),
            events: Vec::new(),
        });
        let mut outcomes: Vec<AppendOutcome> = events
            .iter()
            .map(|event| insert(&mut buffer.events, event, oldest))
            .collect();
        for (event, outcome) in events.iter().zip(&outcomes) {
            if *outcome == AppendOutcome::Accepted {
                spare -= event_bytes(event);
            }
        }
        // A buffer that takes nothing stays as it is, and so does its version:
        // one pruned to nothing would forget it.
        let expired = buffer
            .events
            .partition_point(|event| event.event.time < oldest);
        let surplus = buffer.events.len().saturating_sub(self.max_events);
        let pruned = if outcomes.contains(&AppendOutcome::Accepted) {
            expired.max(surplus)
        } else {
            0
        };
        for dropped in buffer.events.drain(..pruned) {
            spare += event_bytes(&dropped);
            // An event that the cap drops at once was never taken.
            if let Some(index) = events
                .iter()
                .position(|event| event.member == dropped.member)
                && outcomes[index] == AppendOutcome::Accepted
            {
                outcomes[index] = AppendOutcome::OutsideWindow;
            }
        }
        self.budget.give_back(spare);

        if outcomes.contains(&AppendOutcome::Accepted) {
            let expiry = now.plus(self.window).as_millis();
            let expiry = u64::try_from(expiry).unwrap_or_default();
            buffer.version = Version(expiry.max(buffer.version.0 + 1));
        }
        let in_window = |event: &Arc<StoredEvent>| event.event.time >= oldest;
        let appended = Appended {
            outcomes,
            buffered_events: buffer
                .events
                .iter()
                .filter(|event| in_window(event))
                .count(),
            version: (!buffer.events.is_empty()).then_some(buffer.version),
            contents: None,
        };
        if !buffer.events.is_empty() {
            shard.entries.insert(user.clone(), buffer);
        }
        Ok(appended)
    }
}

/// Whether an event may turn out to be stored.
fn is_new(known: &[Arc<StoredEvent>], event: &StoredEvent, oldest: Timestamp) -> bool {
    event.event.time >= oldest
        && known
            .binary_search_by(|known| known.buffer_order(event))
            .is_err()
        && !event_ids::hold(known, &event.event)
}

#[async_trait]
impl EventBuffer for MemoryEventBuffer {
    async fn append(&self, user: &UserId, events: &[StoredEvent]) -> Result<Appended, StoreError> {
        let now = self.clock.now();
        self.try_append(user, events, now).or_else(|_| {
            self.buffers
                .sweep_all(now, |buffer| self.drop_buffer(&buffer));
            self.try_append(user, events, now)
        })
    }

    async fn read(&self, user: &UserId) -> Result<BufferSnapshot, StoreError> {
        let now = self.clock.now();
        let oldest = now.minus(self.window);
        let shard = self
            .buffers
            .lock(user, now, |buffer| self.drop_buffer(&buffer));
        let buffer = shard.entries.get(user);
        Ok(BufferSnapshot {
            version: buffer.map(|buffer| buffer.version),
            now,
            events: buffer.map_or_else(Vec::new, |buffer| {
                let expired = buffer
                    .events
                    .partition_point(|event| event.event.time < oldest);
                buffer.events[expired..].to_vec()
            }),
        })
    }

    async fn stored(&self, user: &UserId) -> Result<Vec<String>, StoreError> {
        let shard = self
            .buffers
            .lock(user, self.clock.now(), |buffer| self.drop_buffer(&buffer));
        let events = shard
            .entries
            .get(user)
            .map_or(&[][..], |buffer| &buffer.events);
        Ok(events
            .iter()
            .map(|event| event.member.to_string())
            .collect())
    }

    async fn version(&self, user: &UserId) -> Result<Option<Version>, StoreError> {
        let shard = self
            .buffers
            .lock(user, self.clock.now(), |buffer| self.drop_buffer(&buffer));
        Ok(shard.entries.get(user).map(|buffer| buffer.version))
    }

    async fn delete(&self, user: &UserId) -> Result<Deleted, StoreError> {
        let now = self.clock.now();
        let mut shard = self
            .buffers
            .lock(user, now, |buffer| self.drop_buffer(&buffer));
        let removed = shard.entries.remove(user);
        removed.iter().for_each(|buffer| self.drop_buffer(buffer));
        let version = removed.as_ref().map(|buffer| buffer.version);
        let next = u64::try_from(now.plus(self.window).as_millis()).unwrap_or_default();
        Ok(Deleted {
            existed: removed.is_some(),
            floor: version.max(Some(Version(next))).unwrap_or(Version(next)),
        })
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn insert(
    events: &mut Vec<Arc<StoredEvent>>,
    event: &StoredEvent,
    oldest: Timestamp,
) -> AppendOutcome {
    if event.event.time < oldest {
        return AppendOutcome::OutsideWindow;
    }
    if !is_new(events, event, oldest) {
        return AppendOutcome::Duplicate;
    }
    let place = events.partition_point(|known| known.buffer_order(event) == Ordering::Less);
    events.insert(place, Arc::new(event.clone()));
    AppendOutcome::Accepted
}
