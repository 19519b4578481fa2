//! Event buffers: the sorted sets `evt:<user_id>`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use deadpool_redis::redis::{ToRedisArgs as _, cmd, pipe};
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
        ids::UserId,
        member::{self, event_id_suffix},
        time::Timestamp,
    },
    meters::{self, Unreadable},
    ports::{
        AppendOutcome, Appended, BufferSnapshot, EventBuffer, StoreError, StoreErrorKind, Version,
    },
};

/// Events of one id are the same event if their times are this close.
const EVENT_ID_SPAN_MS: u64 = 600_000;
/// Of the time for an answer, what waiting for replicas may take.
const WAIT_SHARE: f64 = 0.8;
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

    /// The events that can be read, and whether that is all of them, each at
    /// the time that its score says.
    fn decoded(&self, user: &UserId, members: Vec<(String, f64)>) -> (Vec<Arc<StoredEvent>>, bool) {
        let mut exact = true;
        let events = members
            .into_iter()
            .filter_map(|(text, score)| {
                let at = from_score(score);
                match member::decode(user, &text, at) {
                    Ok(event) => {
                        exact &= event.event.time == at;
                        Some(Arc::new(event))
                    }
                    Err(error) => {
                        exact = false;
                        meters::unreadable(Unreadable::Event);
                        // Once: one writer gone wrong would fill the log.
                        if !self.told_unreadable.swap(true, Ordering::Relaxed) {
                            warn!(%error, "an event in redis cannot be read and is passed over; further ones are not logged");
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
        let now = Timestamp::from_micros(reply.now_us);
        let change = Change {
            before: version(reply.before),
            after,
            oldest: now.minus(self.window),
            count: reply.count,
            accepted: &accepted,
        };
        Some(BufferSnapshot {
            version: Some(after),
            now,
            events: self.known.apply(user, &change)?,
        })
    }
}

/// What append.lua returns.
struct AppendReply {
    count: usize,
    before: i64,
    after: i64,
    now_us: i64,
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

fn from_score(score: f64) -> Timestamp {
    Timestamp::from_micros((score * 1e6).round() as i64)
}

fn version(expiry: i64) -> Option<Version> {
    (expiry != NO_KEY).then(|| u64::try_from(expiry).map_or(NO_VERSION, Version))
}

fn odd_reply(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("redis {what}: odd reply"))
}

#[async_trait]
impl EventBuffer for RedisEventBuffer {
    async fn append(&self, user: &UserId, events: &[StoredEvent]) -> Result<Appended, StoreError> {
        let key = self.keys.events(user);
        let mut arguments: Vec<Vec<u8>> = Vec::with_capacity(4 + 3 * events.len());
        u64::try_from(self.window.as_millis())
            .unwrap_or(u64::MAX)
            .write_redis_args(&mut arguments);
        self.max_events.write_redis_args(&mut arguments);
        EVENT_ID_SPAN_MS.write_redis_args(&mut arguments);
        let settings = self.pool.settings();
        let replicas = settings.redis_wait_replicas;
        usize::from(replicas > 0).write_redis_args(&mut arguments);
        for stored in events {
            let suffix = match &stored.event.event_id {
                Some(id) => {
                    event_id_suffix(id).map_err(|error| odd_reply("append").caused_by(error))?
                }
                None => String::new(),
            };
            score(stored.event.time).write_redis_args(&mut arguments);
            stored.member.as_ref().write_redis_args(&mut arguments);
            suffix.write_redis_args(&mut arguments);
        }
        let at_most = settings.redis_command_timeout.mul_f64(WAIT_SHARE);
        let (reply, copies) = self
            .pool
            .run("append", |mut connection| {
                let (append, key, arguments) = (&self.append, &key, &arguments);
                async move {
                    let reply: (usize, i64, i64, i64, Vec<u8>) =
                        append.run(&mut connection, key, arguments).await?;
                    let copies = match replicas {
                        0 => 0,
                        _ => connection.wait_for_replicas(key, replicas, at_most).await?,
                    };
                    Ok((reply, copies))
                }
            })
            .await?;
        if copies < replicas {
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                format!("redis append: {copies} of {replicas} replicas have it in time"),
            ));
        }
        let (count, before, after, now_us, outcomes) = reply;
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
            before,
            after,
            now_us,
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
        let (expiry, members): (i64, Vec<(String, f64)>) = self
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
                self.known.keep(user, version, events.clone());
            }
            Some(_) | None => self.known.forget(user),
        }
        let now = self.pool.server_now();
        let oldest = now.minus(self.window);
        events.retain(|stored| stored.event.time >= oldest);
        Ok(BufferSnapshot {
            version,
            now,
            events,
        })
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

    async fn delete(&self, user: &UserId) -> Result<Option<Version>, StoreError> {
        let key = self.keys.events(user);
        let expiry: i64 = self
            .pool
            .run("delete", |mut connection| {
                let (delete, key) = (&self.delete, &key);
                async move { delete.run(&mut connection, key, &None::<&str>).await }
            })
            .await?;
        self.known.forget(user);
        Ok(version(expiry))
    }

    fn now(&self) -> Timestamp {
        self.pool.server_now()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.pool.ping().await
    }
}
