//! Event buffers: the sorted sets `evt:<user_id>`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use deadpool_redis::redis::{RedisWrite, ToRedisArgs, cmd, pipe};
use tracing::warn;

use super::{
    connection::RedisPool,
    keys::Keys,
    known::{Change, KnownBuffers},
    script::Script,
};
use crate::{
    domain::{
        event::StoredEvent,
        event_member::{self, event_id_suffix},
        ids::UserId,
        time::Timestamp,
    },
    ports::{
        AppendOutcome, Appended, BufferSnapshot, Deleted, EVENT_ID_SPAN, EventBuffer, StoreError,
        StoreErrorKind, Version,
    },
    telemetry::meters::{self, Unreadable},
};

const NO_KEY: i64 = -2;
/// That of a buffer without expiry, as the reference engine may have left it.
const NO_VERSION: Version = Version(0);

/// Event buffers in Redis.
pub struct RedisEventBuffer {
    pool: RedisPool,
    keys: Keys,
    window: Duration,
    max_events: usize,
    append: Script,
    delete: Script,
    known: KnownBuffers,
    told_unreadable: AtomicBool,
}

impl RedisEventBuffer {
    /// Buffers that keep at most `max_events` events a user, not older than
    /// `window`, under keys that begin with `prefix`.
    #[must_use]
    pub fn new(pool: RedisPool, prefix: &str, window: Duration, max_events: usize) -> Self {
        let cache_bytes = pool.settings().buffer_cache_max_bytes;
        Self {
            pool,
            keys: Keys::new(prefix),
            known: KnownBuffers::new(cache_bytes, max_events),
            window,
            max_events,
            append: Script::new(include_str!("append.lua")),
            delete: Script::new(include_str!("delete.lua")),
            told_unreadable: AtomicBool::new(false),
        }
    }

    /// With so much memory for the buffers that it knows.
    #[must_use]
    pub fn knowing(mut self, max_bytes: u64) -> Self {
        self.known = KnownBuffers::new(max_bytes, self.max_events);
        self
    }

    /// The events that can be read, and whether that is all of them, each at
    /// the time that its score says.
    fn decoded(
        &self,
        user: &UserId,
        members: Vec<(Vec<u8>, f64)>,
    ) -> (Vec<Arc<StoredEvent>>, bool) {
        let mut exact = true;
        let events = members
            .into_iter()
            .filter_map(|(text, score)| {
                let at = from_score(score);
                let decoded = std::str::from_utf8(&text)
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
                        // Once: one writer gone wrong would fill the log.
                        if !self.told_unreadable.swap(true, Ordering::Relaxed) {
                            warn!(error, "an event in redis cannot be read and is passed over; further ones are not logged");
                        }
                        None
                    }
                }
            })
            .collect();
        (events, exact)
    }

    /// The buffer as an append left it, if it was known before.
    fn contents(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        outcomes: &[AppendOutcome],
        reply: &AppendReply,
    ) -> Option<BufferSnapshot> {
        let accepted: Vec<Arc<StoredEvent>> = events
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| **outcome == AppendOutcome::Accepted)
            .map(|(event, _)| Arc::new(event.clone()))
            .collect();
        let after = version(reply.after).filter(|_| !accepted.is_empty())?;
        if reply.generation != self.pool.generation() {
            // Perhaps the answer is of another server than the one asked first.
            self.known.forget(user);
            return None;
        }
        let now = Timestamp::from_micros(reply.now_us);
        let change = Change {
            before: version(reply.before),
            held: reply.held,
            generation: reply.generation,
            after,
            oldest: now.minus(self.window),
            count: reply.count,
            accepted: &accepted,
        };
        Some(BufferSnapshot {
            version: Some(after),
            now,
            events: self.known.apply(user, &change, reply.removals)?,
        })
    }
}

/// What append.lua is told.
struct AppendArguments<'a> {
    window: Duration,
    max_events: usize,
    /// Whether replicas will be waited for.
    waits: bool,
    /// The buffer, by its version and length, in which the events' ids need not
    /// be looked for.
    searched: Option<(Version, usize)>,
    events: &'a [StoredEvent],
    /// What ends every member with an event's id; one each, empty if it has none.
    suffixes: &'a [String],
}

impl ToRedisArgs for AppendArguments<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        milliseconds(self.window).write_redis_args(out);
        self.max_events.write_redis_args(out);
        milliseconds(EVENT_ID_SPAN).write_redis_args(out);
        usize::from(self.waits).write_redis_args(out);
        match self.searched {
            Some((version, length)) => {
                version.0.write_redis_args(out);
                length.write_redis_args(out);
            }
            None => (&["", ""]).write_redis_args(out),
        }
        for (stored, suffix) in self.events.iter().zip(self.suffixes) {
            score(stored.event.time).write_redis_args(out);
            stored.member.as_ref().write_redis_args(out);
            suffix.write_redis_args(out);
        }
    }

    fn num_of_args(&self) -> usize {
        6 + 3 * self.events.len()
    }
}

fn suffixes(events: &[StoredEvent]) -> Result<Vec<String>, StoreError> {
    let suffix = |stored: &StoredEvent| match &stored.event.event_id {
        Some(id) => event_id_suffix(id).map_err(|error| odd_reply("append").caused_by(error)),
        None => Ok(String::new()),
    };
    events.iter().map(suffix).collect()
}

/// What append.lua returns.
struct AppendReply {
    count: usize,
    held: usize,
    before: i64,
    after: i64,
    now_us: i64,
    /// When it was asked.
    generation: u64,
    removals: u64,
}

/// Seconds with microseconds, as text: a float would be written in its
/// shortest form, which readers would have to trust.
fn score(time: Timestamp) -> String {
    let micros = time.as_micros();
    format!(
        "{}.{:06}",
        micros.div_euclid(1_000_000),
        micros.rem_euclid(1_000_000)
    )
}

pub(crate) fn from_score(score: f64) -> Timestamp {
    Timestamp::from_micros((score * 1e6).round() as i64)
}

fn version(expiry: i64) -> Option<Version> {
    (expiry != NO_KEY).then(|| u64::try_from(expiry).map_or(NO_VERSION, Version))
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn odd_reply(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("redis {what}: odd reply"))
}

#[async_trait]
impl EventBuffer for RedisEventBuffer {
    async fn append(&self, user: &UserId, events: &[StoredEvent]) -> Result<Appended, StoreError> {
        let key = self.keys.events(user);
        let (generation, removals) = (self.pool.generation(), self.known.removals());
        let first = AppendArguments {
            window: self.window,
            max_events: self.max_events,
            waits: self.pool.settings().redis_wait_replicas > 0,
            searched: self.known.without_ids_of(user, events, generation),
            events,
            suffixes: &suffixes(events)?,
        };
        let again = AppendArguments {
            searched: None,
            ..first
        };
        let (count, held, before, after, now_us, outcomes): (usize, usize, i64, i64, i64, Vec<u8>) =
            self.pool
                .write_or_again("append", &key, &self.append, &first, &again)
                .await?;
        self.pool.tell_time(Timestamp::from_micros(now_us));
        if outcomes.len() != events.len() {
            return Err(odd_reply("append"));
        }
        let outcomes = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                0 => Ok(AppendOutcome::Accepted),
                1 => Ok(AppendOutcome::Duplicate),
                2 => Ok(AppendOutcome::OutsideWindow),
                _ => Err(odd_reply("append")),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let reply = AppendReply {
            count,
            held,
            before,
            after,
            now_us,
            generation,
            removals,
        };
        Ok(Appended {
            contents: self.contents(user, events, &outcomes, &reply),
            buffered_events: count,
            version: version(after),
            outcomes,
        })
    }

    async fn read(&self, user: &UserId) -> Result<BufferSnapshot, StoreError> {
        let key = self.keys.events(user);
        // In this order: what is appended between the two is read, too.
        let (generation, removals) = (self.pool.generation(), self.known.removals());
        let (expiry, members): (i64, Vec<(Vec<u8>, f64)>) = self
            .pool
            .run("read", |mut connection| {
                let mut both = pipe();
                both.cmd("PEXPIRETIME").arg(&key);
                both.cmd("ZRANGE")
                    .arg(&key)
                    .arg(0)
                    .arg(-1)
                    .arg("WITHSCORES");
                async move { both.query_async(&mut connection).await }
            })
            .await?;
        let version = version(expiry);
        let (mut events, exact) = self.decoded(user, members);
        match version {
            Some(version) if exact && version > NO_VERSION => {
                self.known
                    .keep(user, version, generation, events.clone(), removals);
            }
            Some(_) | None => self.known.forget(user),
        }
        let now = self.pool.server_now().await?;
        let oldest = now.minus(self.window);
        events.retain(|stored| stored.event.time >= oldest);
        Ok(BufferSnapshot {
            version,
            now,
            events,
        })
    }

    async fn stored(&self, user: &UserId) -> Result<Vec<String>, StoreError> {
        let key = self.keys.events(user);
        let members: Vec<Vec<u8>> = self
            .pool
            .run("stored_events", |mut connection| {
                let mut command = cmd("ZRANGE");
                command.arg(&key).arg(0).arg(-1);
                async move { command.query_async(&mut connection).await }
            })
            .await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(members.into_iter().map(text).collect())
    }

    async fn version(&self, user: &UserId) -> Result<Option<Version>, StoreError> {
        let key = self.keys.events(user);
        let expiry: i64 = self
            .pool
            .run("version", |mut connection| {
                let mut command = cmd("PEXPIRETIME");
                command.arg(&key);
                async move { command.query_async(&mut connection).await }
            })
            .await?;
        Ok(version(expiry))
    }

    async fn delete(&self, user: &UserId) -> Result<Deleted, StoreError> {
        let key = self.keys.events(user);
        let (existed, floor): (bool, u64) = self
            .pool
            .write("delete", &key, &self.delete, &milliseconds(self.window))
            .await?;
        self.known.removed(user);
        Ok(Deleted {
            existed,
            floor: Version(floor),
        })
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.pool.server_now().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.pool.check(&self.keys.nobody()).await
    }
}
