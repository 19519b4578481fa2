//! Appending events. Event ids are compared here, on this process's copy of the
//! buffer or on what it reads near the events' times; the script stores events only
//! if the buffer is still that one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    append::{
        AppendArguments, AppendReply, AppendStatus, ComparedBuffer, IdCheck, RawReply, calls,
    },
    buffer_cache::{BufferChange, CachedBuffer, CopySize},
    buffer_copy::BufferCopy,
    buffer_store::{BufferStore, FIRST_PAGE, Member, from_score},
    error::malformed_reply,
    expiry::{NO_VERSION, version},
};
use crate::{
    blocking,
    domain::{
        event::{InteractionEvent, StoredEvent},
        event_member::event_id_suffix,
        ids::UserId,
        time::Timestamp,
    },
    ports::{AppendOutcome, Appended, EVENT_ID_SPAN, StoreError, StoreErrorKind, WaitingCaller},
    telemetry::meters,
};

/// How long an append waits for earlier ones of its user.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// After so many answers in a row that the buffer has changed, the script compares
/// ids itself: other processes write all the time.
const MAX_STALE: usize = 3;
/// What an event with an id ends with, up to the id.
const ID_KEY: &str = ",\"event_id\":\"";

/// How the ids of a call's events were compared.
struct Comparison {
    /// `None` if no event has an id, or the script compares them.
    buffer: Option<ComparedBuffer>,
    ids: Vec<IdCheck>,
    is_cached: bool,
}

impl BufferStore {
    /// Appends events of one user, in as many calls of the script as they take. Also
    /// returns whether the buffer has too many bytes or answers.
    pub(super) async fn append_all(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        caller: &WaitingCaller,
    ) -> Result<(Appended, bool), StoreError> {
        let timeout = caller.deadline().remaining().min(TURN_TIMEOUT);
        let Some(_turn) = self.turns.take(user, timeout).await else {
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                "redis append: earlier appends of the user take too long",
            ));
        };
        let mut appended = Appended {
            outcomes: Vec::with_capacity(events.len()),
            buffered_events: 0,
            version: None,
            now: self.pool.now().await?,
        };
        let mut is_too_large = false;
        for (number, call) in calls(events).enumerate() {
            if number > 0 && is_too_large {
                // Answers of one batch do not push out what the user did. If it fails, the
                // next append finds too many again.
                let _ = self.remove_answers(user).await;
            }
            is_too_large |= self.append_call(user, call, caller, &mut appended).await?;
        }
        Ok((appended, is_too_large))
    }

    async fn append_call(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        caller: &WaitingCaller,
        appended: &mut Appended,
    ) -> Result<bool, StoreError> {
        let has_ids = events.iter().any(|stored| stored.event.event_id.is_some());
        let (mut stale, mut length, mut was_refused) = (0, None, false);
        while stale < MAX_STALE {
            let compared = match length {
                _ if !has_ids => Comparison::not_needed(events.len()),
                None => self.compare_with_copy(user, events),
                Some(length) => self.compare_with_stored(user, events, length).await?,
            };
            match self.send(user, events, compared, appended).await? {
                Sent::Applied { is_too_large } => return Ok(is_too_large),
                Sent::Stale { length: now } => (stale, length) = (stale + 1, Some(now)),
                Sent::Refused => again(&mut was_refused, caller)?,
            }
        }
        let mut is_too_large = false;
        for event in events {
            let mut was_refused = false;
            loop {
                let compared = Comparison::by_script(event)?;
                let one = std::slice::from_ref(event);
                match self.send(user, one, compared, appended).await? {
                    Sent::Applied { is_too_large: now } => {
                        is_too_large |= now;
                        break;
                    }
                    Sent::Stale { .. } => return Err(malformed_reply("append")),
                    Sent::Refused => again(&mut was_refused, caller)?,
                }
            }
        }
        Ok(is_too_large)
    }

    /// Runs the script once. If it was applied, adds its results.
    async fn send(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        compared: Comparison,
        appended: &mut Appended,
    ) -> Result<Sent, StoreError> {
        let (generation, erasures) = (self.pool.generation(), self.cache.erasures());
        let first = AppendArguments {
            window: self.window,
            max_events: self.max_events,
            waits: self.pool.settings().redis_wait_replicas > 0,
            sent_at: self.pool.now().await?,
            compared: compared.buffer,
            events,
            ids: &compared.ids,
        };
        // Another server may have a buffer of the same version with other events:
        // ids must be compared again.
        let retry = AppendArguments {
            compared: first.compared.map(|_| ComparedBuffer::UNKNOWN),
            ..first
        };
        let key = self.keys.events(user);
        let reply: RawReply = self
            .pool
            .write_or_retry_with("append", &key, &self.append, &first, &retry)
            .await?;
        let reply = AppendReply::decode(reply, events.len())?;
        self.pool.set_time(reply.now);
        match reply.status {
            AppendStatus::Applied => {}
            AppendStatus::Stale => {
                if compared.is_cached {
                    self.cache.remove(user);
                }
                meters::cache_lookups(meters::Cache::Buffers, 0, 1);
                let length = reply.length_before;
                return Ok(Sent::Stale { length });
            }
            AppendStatus::Refused => return Ok(Sent::Refused),
        }
        let size = self.update_copy(user, events, &reply, generation, erasures);
        if reply.before.is_some() && (compared.is_cached || compared.buffer.is_none()) {
            let hits = usize::from(size.is_some());
            meters::cache_lookups(meters::Cache::Buffers, hits, 1 - hits);
        }
        appended.buffered_events = reply.buffered_events;
        appended.version = reply.after;
        appended.now = reply.now;
        appended.outcomes.extend(reply.outcomes);
        Ok(Sent::Applied {
            is_too_large: size.is_some_and(|size| {
                size.member_bytes > self.max_user_bytes || size.answers.exceed(self.max_answers)
            }),
        })
    }

    /// Brings the copy up to date. `generation` and `erasures` are from before the
    /// append. Returns the copy's size, if there is one.
    fn update_copy(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        reply: &AppendReply,
        generation: u64,
        erasures: u64,
    ) -> Option<CopySize> {
        if generation != self.pool.generation() {
            // The reply may be from another server than the copy.
            self.cache.remove(user);
            return None;
        }
        let accepted: Vec<Arc<StoredEvent>> = events
            .iter()
            .zip(&reply.outcomes)
            .filter(|(_, outcome)| **outcome == AppendOutcome::Accepted)
            .map(|(event, _)| Arc::new(event.clone()))
            .collect();
        if accepted.is_empty() {
            if reply.removed > 0 {
                self.cache.remove(user);
            }
            return None;
        }
        let change = BufferChange {
            before: reply.before,
            length_before: reply.length_before,
            generation,
            after: reply.after?,
            removed: reply.removed,
            accepted: &accepted,
        };
        self.cache.apply(user, &change, erasures)
    }

    /// Compares ids with the copy. Without one the user is taken for new: the script
    /// says if that is wrong.
    fn compare_with_copy(&self, user: &UserId, events: &[StoredEvent]) -> Comparison {
        let found = self.cache.compare_ids(user, events, self.pool.generation());
        let is_cached = found.is_some();
        let (buffer, found) =
            found.unwrap_or_else(|| (ComparedBuffer::NONE, vec![false; events.len()]));
        Comparison {
            buffer: Some(buffer),
            ids: id_checks(events, |index| found[index]),
            is_cached,
        }
    }

    /// Compares ids with what is stored. A short buffer is read whole, so that the
    /// next append need not.
    async fn compare_with_stored(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        length: usize,
    ) -> Result<Comparison, StoreError> {
        let (generation, erasures) = (self.pool.generation(), self.cache.erasures());
        if length < FIRST_PAGE {
            let read = self.read("read", user).await?;
            let buffer = ComparedBuffer::new(read.expiry, read.members.len());
            self.cache_read(user, read.expiry, &read.members, generation, erasures);
            return NearIds::new(&read.members).comparison(buffer, events);
        }
        let with_id = events
            .iter()
            .filter(|stored| stored.event.event_id.is_some());
        let times = with_id.map(|stored| stored.event.time);
        let (expiry, length, near) = self.read_near(user, times).await?;
        let buffer = ComparedBuffer::new(expiry, length);
        let compare = || NearIds::new(&near).comparison(buffer, events);
        if near.len() > FIRST_PAGE {
            blocking::in_place(compare)
        } else {
            compare()
        }
    }

    /// Decodes and caches what was read. Returns the events that can be read.
    /// `generation` and `erasures` are from before the read.
    pub(super) fn cache_read(
        &self,
        user: &UserId,
        expiry: i64,
        members: &[Member],
        generation: u64,
        erasures: u64,
    ) -> Vec<Arc<StoredEvent>> {
        let (events, exact) = self.decode(user, members);
        match version(expiry).filter(|_| !members.is_empty()) {
            Some(version) if exact && version > NO_VERSION => {
                let copy = BufferCopy::new(version, generation, events.iter().cloned());
                self.cache.insert(user, CachedBuffer::new(copy), erasures);
            }
            Some(_) | None => self.cache.remove(user),
        }
        events
    }
}

/// What the script did.
enum Sent {
    Applied {
        is_too_large: bool,
    },
    Stale {
        /// Events in the buffer.
        length: usize,
    },
    Refused,
}

/// Whether a refused append is sent again: once, if its caller still waits.
fn again(was_refused: &mut bool, caller: &WaitingCaller) -> Result<(), StoreError> {
    if std::mem::replace(was_refused, true) || !caller.still_waits() {
        return Err(StoreError::new(
            StoreErrorKind::Unavailable,
            "redis append: arrived too late, or after an erasure of the user",
        ));
    }
    Ok(())
}

impl Comparison {
    fn not_needed(events: usize) -> Self {
        Self {
            buffer: None,
            ids: vec![IdCheck::Unique; events],
            is_cached: false,
        }
    }

    fn by_script(event: &StoredEvent) -> Result<Self, StoreError> {
        let check = match &event.event.event_id {
            Some(id) => IdCheck::InScript(suffix(id)?),
            None => IdCheck::Unique,
        };
        Ok(Self {
            buffer: None,
            ids: vec![check],
            is_cached: false,
        })
    }
}

fn suffix(event_id: &str) -> Result<String, StoreError> {
    event_id_suffix(event_id).map_err(|error| malformed_reply("append").caused_by(error))
}

/// The checks of a call's events, some of which the buffer has.
fn id_checks(events: &[StoredEvent], in_buffer: impl Fn(usize) -> bool) -> Vec<IdCheck> {
    let mut positions: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut checks = Vec::with_capacity(events.len());
    for (index, stored) in events.iter().enumerate() {
        let Some(id) = stored.event.event_id.as_deref() else {
            checks.push(IdCheck::Unique);
            continue;
        };
        let earlier = positions.entry(id).or_default();
        let near: Vec<usize> = earlier
            .iter()
            .filter(|other| are_near(&events[**other - 1].event, stored.event.time))
            .copied()
            .collect();
        earlier.push(index + 1);
        checks.push(match (in_buffer(index), near.is_empty()) {
            (true, _) => IdCheck::InBuffer,
            (false, true) => IdCheck::Unique,
            (false, false) => IdCheck::InCall(near),
        });
    }
    checks
}

fn are_near(event: &InteractionEvent, time: Timestamp) -> bool {
    event.time <= time.plus(EVENT_ID_SPAN) && event.time >= time.minus(EVENT_ID_SPAN)
}

/// The event ids of stored members, as the members end with them, with their times.
struct NearIds<'a>(HashMap<&'a [u8], Vec<Timestamp>>);

impl<'a> NearIds<'a> {
    fn new(members: &'a [Member]) -> Self {
        let mut times: HashMap<&[u8], Vec<Timestamp>> = HashMap::new();
        for (member, score) in members {
            // An id has no unescaped quote, so its key is the last such text.
            let text = std::str::from_utf8(member).unwrap_or_default();
            if let Some(place) = text.rfind(ID_KEY) {
                times
                    .entry(&member[place..])
                    .or_default()
                    .push(from_score(*score));
            }
        }
        Self(times)
    }

    fn comparison(
        &self,
        buffer: ComparedBuffer,
        events: &[StoredEvent],
    ) -> Result<Comparison, StoreError> {
        let mut found = Vec::with_capacity(events.len());
        for stored in events {
            let times = match &stored.event.event_id {
                Some(id) => self.0.get(suffix(id)?.as_bytes()),
                None => None,
            };
            let is_near = |time: &Timestamp| are_near(&stored.event, *time);
            found.push(times.is_some_and(|times| times.iter().any(is_near)));
        }
        Ok(Comparison {
            buffer: Some(buffer),
            ids: id_checks(events, |index| found[index]),
            is_cached: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ComparedBuffer, IdCheck, NearIds, id_checks};
    use crate::domain::{
        event::{InteractionEvent, StoredEvent},
        event_member,
        ids::UserId,
        time::Timestamp,
    };

    fn event(id: &str, minutes: i64) -> StoredEvent {
        let user = UserId::parse("u").unwrap();
        let time = Timestamp::from_micros(minutes * 60_000_000);
        let mut event = InteractionEvent::new(user, "T", time);
        event.event_id = (!id.is_empty()).then(|| id.to_owned());
        event_member::encode(event).unwrap()
    }

    #[test]
    fn events_of_a_call_are_compared_with_each_other() {
        let events = [
            event("a", 0),
            event("b", 0),
            event("a", 10),
            event("a", 21),
            event("", 0),
            event("a", 20),
        ];
        let checks = id_checks(&events, |index| index == 1);
        let expected = [
            IdCheck::Unique,
            IdCheck::InBuffer,
            IdCheck::InCall(vec![1]),
            IdCheck::Unique,
            IdCheck::Unique,
            IdCheck::InCall(vec![3, 4]),
        ];
        assert_eq!(checks, expected);
    }

    #[test]
    fn ids_of_stored_members_are_found_near_their_times_and_never_nested() {
        let member = |text: &str| (text.as_bytes().to_vec(), 600.0);
        let members = [
            member(r#"{"event":"T","event_id":"a\",\"event_id\":\"b"}"#),
            member(r#"{"event":"T","raw":{"x":1,"event_id":"nested"}}"#),
            member(
                r#"{"event":"T","survey_answers":{"x":",\"event_id\":\"text\"}"},"event_id":"c"}"#,
            ),
        ];
        let near = NearIds::new(&members);
        let buffer = ComparedBuffer {
            expiry: 7,
            length: 3,
        };
        let found = |id: &str, minutes| {
            let compared = near.comparison(buffer, &[event(id, minutes)]).unwrap();
            assert_eq!(compared.buffer, Some(buffer));
            compared.ids[0] == IdCheck::InBuffer
        };
        assert!(found("a\",\"event_id\":\"b", 20) && found("c", 0));
        for (id, minutes) in [
            ("c", 21),
            ("b", 10),
            ("nested", 10),
            ("text", 10),
            ("a", 10),
        ] {
            assert!(!found(id, minutes), "{id}");
        }
    }
}
