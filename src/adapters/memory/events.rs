//! Event buffers in memory.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    budget::Budget,
    shards::{Expires, Shards},
};
use crate::{
    domain::{event::StoredEvent, ids::UserId, time::Timestamp},
    ports::{AppendOutcome, Appended, BufferSnapshot, Clock, EventBuffer, StoreError, Version},
};

/// Events of one id are the same event if their times are this close.
const EVENT_ID_SPAN: Duration = Duration::from_secs(600);
/// What an event takes besides its texts, which are held twice.
const EVENT_OVERHEAD_BYTES: usize = 400;

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

fn event_bytes(event: &StoredEvent) -> usize {
    EVENT_OVERHEAD_BYTES + 2 * event.member.len()
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

    /// Takes room for events, sweeping out expired users if there is none.
    fn take_room(&self, bytes: usize, now: Timestamp) -> Result<(), StoreError> {
        self.budget.take(bytes).or_else(|_| {
            self.buffers
                .sweep_all(now, |buffer| self.drop_buffer(&buffer));
            self.budget.take(bytes)
        })
    }
}

#[async_trait]
impl EventBuffer for MemoryEventBuffer {
    async fn append(&self, user: &UserId, events: &[StoredEvent]) -> Result<Appended, StoreError> {
        let now = self.clock.now();
        let oldest = now.minus(self.window);
        // Room for all of them is taken before the buffer is touched, and what
        // turns out not to be needed is given back.
        let mut spare: usize = events.iter().map(event_bytes).sum();
        self.take_room(spare, now)?;

        let mut shard = self
            .buffers
            .lock(user, now, |buffer| self.drop_buffer(&buffer));
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

        let expired = buffer
            .events
            .partition_point(|event| event.event.time < oldest);
        let surplus = buffer.events.len().saturating_sub(self.max_events);
        for dropped in buffer.events.drain(..expired.max(surplus)) {
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
        let buffered_events = buffer.events.len();
        if buffer.version > Version(0) {
            shard.entries.insert(user.clone(), buffer);
        }
        Ok(Appended {
            outcomes,
            buffered_events,
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

    async fn version(&self, user: &UserId) -> Result<Option<Version>, StoreError> {
        let shard = self
            .buffers
            .lock(user, self.clock.now(), |buffer| self.drop_buffer(&buffer));
        Ok(shard.entries.get(user).map(|buffer| buffer.version))
    }

    async fn delete(&self, user: &UserId) -> Result<Option<Version>, StoreError> {
        let mut shard = self
            .buffers
            .lock(user, self.clock.now(), |buffer| self.drop_buffer(&buffer));
        Ok(shard.entries.remove(user).map(|buffer| {
            self.drop_buffer(&buffer);
            buffer.version
        }))
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
    match events.binary_search_by(|known| known.buffer_order(event)) {
        Ok(_) => AppendOutcome::Duplicate,
        Err(_) if has_event_id(events, event) => AppendOutcome::Duplicate,
        Err(place) => {
            events.insert(place, Arc::new(event.clone()));
            AppendOutcome::Accepted
        }
    }
}

fn has_event_id(events: &[Arc<StoredEvent>], event: &StoredEvent) -> bool {
    let Some(id) = &event.event.event_id else {
        return false;
    };
    let from = event.event.time.minus(EVENT_ID_SPAN);
    let to = event.event.time.plus(EVENT_ID_SPAN);
    let start = events.partition_point(|known| known.event.time < from);
    events[start..]
        .iter()
        .take_while(|known| known.event.time.cmp(&to) != Ordering::Greater)
        .any(|known| known.event.event_id.as_ref() == Some(id))
}
