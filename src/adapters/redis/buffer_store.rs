//! Reading the sorted sets `evt:<user_id>`.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_redis::redis::{Pipeline, pipe};
use tracing::warn;

use super::{
    append::{ComparedBuffer, score},
    buffer_cache::BufferCache,
    erasure::is_marker,
    expiry::milliseconds,
    keys::Keys,
    pool::RedisPool,
    script::Script,
    script_probe::ScriptProbe,
    user_turns::UserTurns,
};
use crate::{
    blocking,
    domain::{event::StoredEvent, event_member, ids::UserId, time::Timestamp},
    ports::{EVENT_ID_SPAN, StoreError},
    telemetry::meters::{self, Unreadable},
};

/// Members of the first page of a read, whose sizes are not known yet. If all are as large
/// as the limits allow, they have 6 MB, which take Redis some 4 ms.
pub(super) const FIRST_PAGE: usize = 96;
/// Size of the further pages, estimated from the members before. A reply delays the
/// other calls of its connection.
const PAGE_BYTES: usize = 1 << 20;
/// Members of a further page. Redis, which does one command at a time, takes half a
/// microsecond for each.
const MAX_PAGE: usize = 1_000;
/// A read starts over so often if the version changed meanwhile. Then it counts as of
/// the version before: it has every event up to that.
const READ_ATTEMPTS: usize = 3;
/// Number of events that one call of the trim script removes.
const MAX_TRIMMED: usize = 500;
/// Size of the members whose decoding takes milliseconds.
const LARGE_BYTES: usize = 256 << 10;

/// A member with its score.
pub(super) type Member = (Vec<u8>, f64);

/// How event buffers in Redis are kept.
#[derive(Clone, Debug)]
pub struct EventBufferOptions {
    /// The text that all keys begin with.
    pub key_prefix: String,
    /// Older events are pruned and never returned.
    pub window: Duration,
    /// How many events a user's buffer keeps at most, the newest.
    pub max_events: usize,
    /// How many bytes the members of a user's buffer have at most. The oldest are
    /// removed soon after an append.
    pub max_user_bytes: usize,
    /// How many events that hold answers only are kept of each kind, the newest. The
    /// others are removed soon after an append.
    pub max_answers: usize,
    /// Memory for copies of buffers in this process, in bytes.
    pub cache_max_bytes: u64,
}

/// What the operations on event buffers share.
pub(super) struct BufferStore {
    pub(super) pool: RedisPool,
    pub(super) keys: Keys,
    pub(super) window: Duration,
    pub(super) max_events: usize,
    pub(super) max_user_bytes: usize,
    pub(super) max_answers: usize,
    pub(super) append: Script,
    pub(super) erase: Script,
    pub(super) remove: Script,
    pub(super) trim: Script,
    pub(super) probe: ScriptProbe,
    pub(super) cache: BufferCache,
    pub(super) turns: UserTurns,
    unreadable_logged: AtomicBool,
}

/// A buffer as it was read.
pub(super) struct ReadBuffer {
    /// Its expiry, as Redis reports it.
    pub(super) expiry: i64,
    /// The events; not the marker of an erasure.
    pub(super) members: Vec<Member>,
    /// The server's time before the read.
    pub(super) read_at: Timestamp,
}

impl BufferStore {
    pub(super) fn new(pool: RedisPool, options: EventBufferOptions) -> Self {
        Self {
            pool,
            keys: Keys::new(&options.key_prefix),
            window: options.window,
            max_events: options.max_events,
            max_user_bytes: options.max_user_bytes,
            max_answers: options.max_answers,
            append: Script::new(include_str!("append.lua")),
            erase: Script::new(include_str!("erase_events.lua")),
            remove: Script::new(include_str!("remove_events.lua")),
            trim: Script::new(include_str!("trim.lua")),
            probe: ScriptProbe::default(),
            cache: BufferCache::of_buffers(options.cache_max_bytes),
            turns: UserTurns::default(),
            unreadable_logged: AtomicBool::new(false),
        }
    }

    /// Reads a buffer: the version first, then the events, in pages.
    pub(super) async fn read(
        &self,
        operation: &'static str,
        user: &UserId,
    ) -> Result<ReadBuffer, StoreError> {
        let key = self.keys.events(user);
        let mut attempt = 1;
        loop {
            let read_at = self.pool.now().await?;
            let mut first = pipe();
            first.cmd("PEXPIRETIME").arg(&key);
            first
                .cmd("ZRANGE")
                .arg(&key)
                .arg(0)
                .arg(FIRST_PAGE - 1)
                .arg("WITHSCORES");
            first.cmd("PEXPIRETIME").arg(&key);
            let (expiry, mut members, mut last): (i64, Vec<Member>, i64) =
                self.pipeline(operation, &first).await?;
            if members.len() == FIRST_PAGE {
                last = self.read_on(operation, &key, "+inf", &mut members).await?;
            }
            if last == expiry || attempt == READ_ATTEMPTS {
                members.retain(|(member, score)| !is_marker(member, *score));
                return Ok(ReadBuffer {
                    expiry,
                    members,
                    read_at,
                });
            }
            attempt += 1;
        }
    }

    /// Reads what follows a page, up to a score, and the expiry after it. Pages begin at
    /// the last score before: ranks move while the oldest events are pruned.
    async fn read_on(
        &self,
        operation: &'static str,
        key: &str,
        to: &str,
        members: &mut Vec<Member>,
    ) -> Result<i64, StoreError> {
        loop {
            let bytes: usize = members.iter().map(|(member, _)| member.len()).sum();
            let each = (bytes / members.len().max(1)).max(1);
            let from = members.last().map_or(0.0, |(_, score)| *score);
            let known: HashSet<Vec<u8>> = members
                .iter()
                .rev()
                .take_while(|(_, score)| *score == from)
                .map(|(member, _)| member.clone())
                .collect();
            let wanted = known.len() + (PAGE_BYTES / each).clamp(1, MAX_PAGE);
            let mut page = pipe();
            page.cmd("ZRANGEBYSCORE")
                .arg(key)
                .arg(from)
                .arg(to)
                .arg("WITHSCORES")
                .arg("LIMIT")
                .arg(0)
                .arg(wanted);
            page.cmd("PEXPIRETIME").arg(key);
            let (found, expiry): (Vec<Member>, i64) = self.pipeline(operation, &page).await?;
            let is_last = found.len() < wanted;
            members.extend(
                found
                    .into_iter()
                    .filter(|(member, _)| !known.contains(member)),
            );
            if is_last {
                return Ok(expiry);
            }
        }
    }

    /// Reads the expiry and the length of a buffer, and then its members near some
    /// times.
    pub(super) async fn read_near(
        &self,
        user: &UserId,
        times: impl Iterator<Item = Timestamp>,
    ) -> Result<(i64, usize, Vec<Member>), StoreError> {
        let key = self.keys.events(user);
        let ranges = ranges_around(times);
        let each = (FIRST_PAGE / ranges.len().max(1)).max(2);
        let (expiry, length) = self.read_size("read_near", user).await?;
        let mut pages = pipe();
        for (from, to) in &ranges {
            pages
                .cmd("ZRANGEBYSCORE")
                .arg(&key)
                .arg(score(*from))
                .arg(score(*to))
                .arg("WITHSCORES")
                .arg("LIMIT")
                .arg(0)
                .arg(each);
        }
        let found: Vec<Vec<Member>> = self.pipeline("read_near", &pages).await?;
        let mut members = Vec::new();
        for ((_, to), mut page) in ranges.into_iter().zip(found) {
            if page.len() == each {
                self.read_on("read_near", &key, &score(to), &mut page)
                    .await?;
            }
            members.append(&mut page);
        }
        Ok((expiry, length, members))
    }

    /// Reads the expiry of a buffer, and then its number of events.
    pub(super) async fn read_size(
        &self,
        operation: &'static str,
        user: &UserId,
    ) -> Result<(i64, usize), StoreError> {
        let key = self.keys.events(user);
        let mut commands = pipe();
        commands.cmd("PEXPIRETIME").arg(&key);
        commands.cmd("ZCARD").arg(&key);
        commands
            .cmd("ZRANGEBYSCORE")
            .arg(&key)
            .arg("0")
            .arg("0")
            .arg("WITHSCORES")
            .arg("LIMIT")
            .arg(0)
            .arg(1);
        let (expiry, length, lowest): (i64, usize, Vec<Member>) =
            self.pipeline(operation, &commands).await?;
        let markers = lowest
            .iter()
            .filter(|(member, score)| is_marker(member, *score))
            .count();
        Ok((expiry, length.saturating_sub(markers)))
    }

    /// Removes the oldest `beyond` events of a buffer, unless it changes meanwhile.
    pub(super) async fn trim(
        &self,
        user: &UserId,
        mut buffer: ComparedBuffer,
        mut beyond: usize,
    ) -> Result<(), StoreError> {
        let timeout = self.pool.settings().redis_command_timeout;
        let Some(_turn) = self.turns.take(user, timeout).await else {
            return Ok(());
        };
        let key = self.keys.events(user);
        while beyond > 0 {
            let count = beyond.min(MAX_TRIMMED);
            let arguments = (
                milliseconds(self.window),
                buffer.expiry,
                buffer.length,
                count,
                self.pool.now().await?.as_micros(),
            );
            let trimmed = self.pool.write("trim", &key, &self.trim, &arguments);
            let after: i64 = trimmed.await?;
            if after == 0 {
                return Ok(());
            }
            self.cache.trimmed(user, buffer, count, after);
            buffer = ComparedBuffer::new(after, buffer.length - count);
            beyond -= count;
        }
        Ok(())
    }

    /// Removes the oldest of too many events that hold answers only, unless the buffer
    /// changes meanwhile.
    pub(super) async fn trim_answers(&self, user: &UserId) -> Result<(), StoreError> {
        let timeout = self.pool.settings().redis_command_timeout;
        let Some(_turn) = self.turns.take(user, timeout).await else {
            return Ok(());
        };
        self.remove_answers(user).await
    }

    /// The same for a caller who has the user's turn.
    pub(super) async fn remove_answers(&self, user: &UserId) -> Result<(), StoreError> {
        let key = self.keys.events(user);
        while let Some((buffer, surplus)) = self.cache.surplus_answers(user, self.max_answers) {
            let members: Vec<&str> = surplus.iter().map(|stored| &*stored.member).collect();
            let arguments = (
                milliseconds(self.window),
                buffer.expiry,
                buffer.length,
                0,
                self.pool.now().await?.as_micros(),
                members,
            );
            let trimmed = self.pool.write("trim", &key, &self.trim, &arguments);
            let after: i64 = trimmed.await?;
            if after == 0 {
                return Ok(());
            }
            self.cache.removed(user, buffer, &surplus, after);
        }
        Ok(())
    }

    async fn pipeline<T: deadpool_redis::redis::FromRedisValue>(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, StoreError> {
        let run = |mut connection| async move { pipeline.query_async(&mut connection).await };
        self.pool.run(operation, run).await
    }

    /// The events that can be read, and whether the list is exact: all members,
    /// each at the time of its score.
    pub(super) fn decode(
        &self,
        user: &UserId,
        members: &[Member],
    ) -> (Vec<Arc<StoredEvent>>, bool) {
        let bytes: usize = members.iter().map(|(member, _)| member.len()).sum();
        if bytes > LARGE_BYTES {
            blocking::in_place(|| self.decode_here(user, members))
        } else {
            self.decode_here(user, members)
        }
    }

    fn decode_here(&self, user: &UserId, members: &[Member]) -> (Vec<Arc<StoredEvent>>, bool) {
        let mut exact = true;
        let events = members
            .iter()
            .filter_map(|(text, score)| {
                let at = from_score(*score);
                let decoded = std::str::from_utf8(text)
                    .map_err(|error| error.to_string())
                    .and_then(|text| {
                        event_member::decode(user, text, at).map_err(|error| error.to_string())
                    });
                match decoded {
                    Ok(event) => {
                        exact &= event.event.time == at;
                        Some(Arc::new(event))
                    }
                    Err(error) => {
                        exact = false;
                        meters::unreadable(Unreadable::Event);
                        // Once: a single broken writer would fill the log.
                        if !self.unreadable_logged.swap(true, Ordering::Relaxed) {
                            warn!(
                                error,
                                "skipping an unreadable event in redis; further ones are not logged"
                            );
                        }
                        None
                    }
                }
            })
            .collect();
        (events, exact)
    }
}

/// How many of the oldest members must go so that the others have at most this many
/// bytes. The newest always stays.
pub(super) fn beyond(members: &[Member], max_bytes: usize) -> usize {
    let mut bytes: usize = members.iter().map(|(member, _)| member.len()).sum();
    members
        .iter()
        .take(members.len().saturating_sub(1))
        .take_while(|(member, _)| {
            let is_beyond = bytes > max_bytes;
            bytes -= member.len();
            is_beyond
        })
        .count()
}

/// The time of a sorted set's score, to the microsecond.
pub(super) fn from_score(score: f64) -> Timestamp {
    Timestamp::from_micros((score * 1e6).round() as i64)
}

/// The ranges within [`EVENT_ID_SPAN`] of some times, without overlaps.
fn ranges_around(times: impl Iterator<Item = Timestamp>) -> Vec<(Timestamp, Timestamp)> {
    let mut times: Vec<Timestamp> = times.collect();
    times.sort_unstable();
    let mut ranges: Vec<(Timestamp, Timestamp)> = Vec::new();
    for time in times {
        let (from, to) = (time.minus(EVENT_ID_SPAN), time.plus(EVENT_ID_SPAN));
        match ranges.last_mut() {
            Some((_, end)) if from <= *end => *end = to,
            Some(_) | None => ranges.push((from, to)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::{Member, Timestamp, beyond, ranges_around};

    #[test]
    fn ranges_around_close_times_are_one() {
        let at = |minutes: i64| Timestamp::from_micros(minutes * 60_000_000);
        let ranges = ranges_around([50, 0, 20, 71].map(at).into_iter());
        assert_eq!(
            ranges,
            [(at(-10), at(30)), (at(40), at(60)), (at(61), at(81))]
        );
    }

    #[test]
    fn the_oldest_members_beyond_a_size_are_counted() {
        let members: Vec<Member> = (0..4).map(|at| (vec![b'x'; 10], f64::from(at))).collect();
        for (max_bytes, count) in [(99, 0), (40, 0), (39, 1), (30, 1), (0, 3)] {
            assert_eq!(beyond(&members, max_bytes), count, "{max_bytes}");
        }
        assert_eq!(beyond(&[], 0), 0);
    }
}
