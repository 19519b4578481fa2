//! Event buffers in memory.

use std::{
    sync::{Arc, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    budget::Budget,
    shards::{Expires, Shard, Shards},
};
use crate::{
    adapters::{event_list, memory_size::event_bytes},
    domain::{
        answers::{self, AnswerCounts},
        event::StoredEvent,
        ids::UserId,
        time::Timestamp,
    },
    ports::{
        AppendOutcome, Appended, BufferSnapshot, Clock, ERASED_FOR, Erasure, ErasureStart,
        EventBuffer, MAX_WRITE_AGE, ObservedBuffer, ObservedVersion, PAGE_EVENTS, PageStart,
        StoreError, StoredPage, StoredText, Version, WaitingCaller,
    },
};

/// Event buffers in this process's memory.
pub struct MemoryEventBuffer {
    clock: Arc<dyn Clock>,
    window: Duration,
    max_events: usize,
    max_user_bytes: usize,
    max_answers: usize,
    budget: Arc<Budget>,
    buffers: Shards<Buffer>,
    data_id: Uuid,
}

/// Default of the most bytes of a user's events in their stored form.
const MAX_USER_BYTES: usize = 4 << 20;

struct Buffer {
    version: Version,
    /// Sorted by buffer order, each once. Empty after an erasure or a merge.
    events: Vec<Arc<StoredEvent>>,
    /// How many of them hold answers only.
    answers: AnswerCounts,
    marker: Option<Marker>,
}

/// What remains of a buffer whose events were removed.
#[derive(Clone, Copy)]
struct Marker {
    /// The time of the last erasure; `None` if there was none, only a merge.
    erased_at: Option<Timestamp>,
    expires_at: Timestamp,
}

impl Expires for Buffer {
    fn expires_at(&self) -> Timestamp {
        if let (true, Some(marker)) = (self.events.is_empty(), self.marker) {
            return marker.expires_at;
        }
        Timestamp::from_micros(i64::try_from(self.version.0).unwrap_or(i64::MAX / 1_000) * 1_000)
    }
}

impl Buffer {
    fn erased_at(&self) -> Option<Timestamp> {
        self.marker.and_then(|marker| marker.erased_at)
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event_bytes(event)).sum()
    }
}

/// The time of an event, as a sorted set would have it.
fn seconds(stored: &StoredEvent) -> f64 {
    stored.event.time.as_micros() as f64 / 1e6
}

impl MemoryEventBuffer {
    /// Empty buffers. Each keeps the newest `max_events` events that are not
    /// older than `window`.
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
            max_user_bytes: MAX_USER_BYTES,
            max_answers: usize::MAX,
            budget,
            buffers: Shards::new(),
            data_id: Uuid::new_v4(),
        }
    }

    /// Keeps only the newest events of a user whose stored forms have at most this
    /// many bytes.
    #[must_use]
    pub fn with_max_user_bytes(self, max_user_bytes: usize) -> Self {
        Self {
            max_user_bytes,
            ..self
        }
    }

    /// Keeps only the newest events of a user that hold answers only, about this many of
    /// each kind.
    #[must_use]
    pub fn with_max_answers(self, max_answers: usize) -> Self {
        Self {
            max_answers,
            ..self
        }
    }

    /// Appends, if there is room. Changes nothing otherwise.
    fn try_append(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        now: Timestamp,
    ) -> Result<Appended, StoreError> {
        let oldest = now.minus(self.window);
        let mut shard = self.lock(user, now);
        let stored = shard
            .entries
            .get(user)
            .map_or(&[][..], |buffer| &buffer.events);
        // Room for all that is new is reserved before the buffer changes; what
        // is not needed is released.
        let mut spare = events
            .iter()
            .filter(|event| is_new(stored, event, oldest))
            .map(event_bytes)
            .sum();
        self.budget.reserve(spare)?;

        let mut buffer = shard.entries.remove(user).unwrap_or(Buffer {
            version: Version(0),
            events: Vec::new(),
            answers: AnswerCounts::default(),
            marker: None,
        });
        let mut outcomes: Vec<AppendOutcome> = events
            .iter()
            .map(|event| insert(&mut buffer.events, event, oldest))
            .collect();
        for (event, outcome) in events.iter().zip(&outcomes) {
            if *outcome == AppendOutcome::Accepted {
                spare -= event_bytes(event);
                buffer.answers.add(&event.event);
            }
        }
        // Before pruning: answers of one batch do not push out what the user did.
        spare += self.drop_answers(&mut buffer);
        // Pruned only by an append that stores something: a buffer pruned to
        // nothing would lose its version.
        let pruned = if outcomes.contains(&AppendOutcome::Accepted) {
            event_list::prunable(&buffer.events, oldest, self.max_events)
                .max(event_list::beyond(&buffer.events, self.max_user_bytes))
        } else {
            0
        };
        for dropped in buffer.events.drain(..pruned) {
            spare += event_bytes(&dropped);
            buffer.answers.remove(&dropped.event);
            // An event that the cap drops at once was not accepted.
            if let Some(index) = events
                .iter()
                .position(|event| event.member == dropped.member)
                && outcomes[index] == AppendOutcome::Accepted
            {
                outcomes[index] = AppendOutcome::OutsideWindow;
            }
        }
        self.budget.release(spare);

        if outcomes.contains(&AppendOutcome::Accepted) {
            let expiry = now.plus(self.window).as_millis();
            let expiry = u64::try_from(expiry).unwrap_or_default();
            buffer.version = Version(expiry.max(buffer.version.0 + 1));
        }
        let expired = event_list::before(&buffer.events, oldest);
        let appended = Appended {
            outcomes,
            buffered_events: buffer.events.len() - expired,
            version: (!buffer.events.is_empty()).then_some(buffer.version),
            now,
        };
        if !buffer.events.is_empty() || buffer.marker.is_some() {
            shard.entries.insert(user.clone(), buffer);
        }
        Ok(appended)
    }

    /// Removes the oldest of too many events that hold answers only, and returns their
    /// size.
    fn drop_answers(&self, buffer: &mut Buffer) -> usize {
        if !buffer.answers.exceed(self.max_answers) {
            return 0;
        }
        let mut bytes = 0;
        for removed in answers::surplus(buffer.events.iter(), self.max_answers) {
            let order = |other: &Arc<StoredEvent>| other.buffer_order(&removed);
            if let Ok(place) = buffer.events.binary_search_by(order) {
                bytes += event_bytes(&buffer.events.remove(place));
                buffer.answers.remove(&removed.event);
            }
        }
        bytes
    }

    /// Replaces a user's buffer by a marker, and returns its version.
    fn mark(
        &self,
        shard: &mut Shard<Buffer>,
        user: &UserId,
        erased_at: Option<Timestamp>,
        floor: Version,
        now: Timestamp,
    ) -> Version {
        let buffer = shard.entries.get(user);
        let highest = buffer.map_or(floor, |buffer| buffer.version.max(floor));
        let next = u64::try_from(now.plus(self.window).as_millis()).unwrap_or_default();
        let version = Version(highest.0.max(next) + 1);
        let marked = Buffer {
            version,
            events: Vec::new(),
            answers: AnswerCounts::default(),
            marker: Some(Marker {
                erased_at,
                expires_at: now.plus(ERASED_FOR),
            }),
        };
        if let Some(removed) = shard.entries.insert(user.clone(), marked) {
            self.release(&removed);
        }
        version
    }

    fn lock(&self, user: &UserId, now: Timestamp) -> MutexGuard<'_, Shard<Buffer>> {
        self.buffers.lock(user, now, |buffer| self.release(&buffer))
    }

    fn release(&self, buffer: &Buffer) {
        self.budget.release(buffer.bytes());
    }
}

/// The user's buffer, if it has events.
fn events_of<'a>(shard: &'a Shard<Buffer>, user: &UserId) -> Option<&'a Buffer> {
    let buffer = shard.entries.get(user);
    buffer.filter(|buffer| !buffer.events.is_empty())
}

fn observed(buffer: Option<&Buffer>, now: Timestamp) -> ObservedBuffer {
    ObservedBuffer {
        version: buffer.map(|buffer| buffer.version),
        events: buffer.map_or(0, |buffer| buffer.events.len()),
        observed_at: now,
    }
}

/// Whether an event is in the window and not stored yet.
fn is_new(stored: &[Arc<StoredEvent>], event: &StoredEvent, oldest: Timestamp) -> bool {
    event.event.time >= oldest
        && stored
            .binary_search_by(|other| other.buffer_order(event))
            .is_err()
        && !event_list::contains_id_of(stored, &event.event)
}

fn insert(
    stored: &mut Vec<Arc<StoredEvent>>,
    event: &StoredEvent,
    oldest: Timestamp,
) -> AppendOutcome {
    if event.event.time < oldest {
        return AppendOutcome::OutsideWindow;
    }
    if !is_new(stored, event, oldest) {
        return AppendOutcome::Duplicate;
    }
    event_list::insert(stored, Arc::new(event.clone()));
    AppendOutcome::Accepted
}

#[async_trait]
impl EventBuffer for MemoryEventBuffer {
    // Nothing lies between the sending of an append and its arrival.
    async fn append(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        _: &WaitingCaller,
    ) -> Result<Appended, StoreError> {
        let now = self.clock.now();
        self.try_append(user, events, now).or_else(|_| {
            self.buffers.sweep_all(now, |buffer| self.release(&buffer));
            self.try_append(user, events, now)
        })
    }

    async fn read(&self, user: &UserId) -> Result<BufferSnapshot, StoreError> {
        let now = self.clock.now();
        let oldest = now.minus(self.window);
        let shard = self.lock(user, now);
        let buffer = events_of(&shard, user);
        Ok(BufferSnapshot {
            version: buffer.map(|buffer| buffer.version),
            now,
            read_at: now,
            events: buffer.map_or_else(Vec::new, |buffer| {
                buffer.events[event_list::before(&buffer.events, oldest)..].to_vec()
            }),
        })
    }

    async fn stored(&self, user: &UserId) -> Result<Vec<String>, StoreError> {
        let shard = self.lock(user, self.clock.now());
        let events = shard
            .entries
            .get(user)
            .map_or(&[][..], |buffer| &buffer.events);
        Ok(events
            .iter()
            .map(|event| event.member.to_string())
            .collect())
    }

    async fn stored_page(&self, user: &UserId, start: PageStart) -> Result<StoredPage, StoreError> {
        let now = self.clock.now();
        let oldest = now.minus(self.window);
        let shard = self.lock(user, now);
        let events = shard
            .entries
            .get(user)
            .map_or(&[][..], |buffer| &buffer.events);
        let first = events.partition_point(|event| seconds(event) < start.seconds);
        let rest = events.get(first + start.skipped..).unwrap_or_default();
        let page = &rest[..rest.len().min(PAGE_EVENTS)];
        let times: Vec<f64> = page.iter().map(|event| seconds(event)).collect();
        let texts = page.iter().map(|event| StoredText {
            text: event.member.to_string(),
            event: (event.event.time >= oldest).then(|| Arc::clone(event)),
        });
        Ok(StoredPage {
            events: texts.collect(),
            next: (page.len() == PAGE_EVENTS).then(|| start.after(&times)),
        })
    }

    async fn version(&self, user: &UserId) -> Result<ObservedVersion, StoreError> {
        let now = self.clock.now();
        let shard = self.lock(user, now);
        Ok(ObservedVersion {
            version: events_of(&shard, user).map(|buffer| buffer.version),
            observed_at: now,
        })
    }

    async fn begin_erasure(&self, user: &UserId) -> Result<ErasureStart, StoreError> {
        let now = self.clock.now();
        let shard = self.lock(user, now);
        Ok(ErasureStart {
            read_at: now,
            existed: events_of(&shard, user).is_some(),
        })
    }

    async fn erase(
        &self,
        user: &UserId,
        read_at: Timestamp,
        floor: Version,
    ) -> Result<Option<Erasure>, StoreError> {
        let now = self.clock.now();
        let mut shard = self.lock(user, now);
        let buffer = shard.entries.get(user);
        let erased_at = buffer.and_then(Buffer::erased_at);
        if read_at.plus(MAX_WRITE_AGE) < now || erased_at.is_some_and(|at| read_at < at) {
            return Ok(None);
        }
        let existed = buffer.is_some_and(|buffer| !buffer.events.is_empty());
        let version = self.mark(&mut shard, user, Some(now), floor, now);
        Ok(Some(Erasure {
            existed,
            version,
            at: now,
        }))
    }

    async fn observe(&self, user: &UserId) -> Result<ObservedBuffer, StoreError> {
        let now = self.clock.now();
        let shard = self.lock(user, now);
        Ok(observed(events_of(&shard, user), now))
    }

    async fn remove_copied(
        &self,
        user: &UserId,
        copied: &ObservedBuffer,
        floor: Version,
    ) -> Result<Option<Version>, StoreError> {
        let now = self.clock.now();
        let mut shard = self.lock(user, now);
        let erased_at = shard.entries.get(user).and_then(Buffer::erased_at);
        let is_old = copied.observed_at.plus(MAX_WRITE_AGE) < now
            || erased_at.is_some_and(|at| copied.observed_at < at);
        if is_old || !observed(events_of(&shard, user), now).has_events_of(copied) {
            return Ok(None);
        }
        Ok(Some(self.mark(&mut shard, user, erased_at, floor, now)))
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }

    async fn data_id(&self) -> Result<String, StoreError> {
        Ok(self.data_id.to_string())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
