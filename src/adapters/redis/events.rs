//! Event buffers: the sorted sets `evt:<user_id>`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use deadpool_redis::redis::{cmd, pipe};
use tracing::warn;

use super::{
    append::{AppendArguments, AppendReply, suffixes},
    buffer_cache::{BufferCache, BufferChange, CachedBuffer},
    expiry::{NO_VERSION, milliseconds, version},
    keys::Keys,
    pool::RedisPool,
    script::Script,
};
use crate::{
    domain::{event::StoredEvent, event_member, ids::UserId, time::Timestamp},
    ports::{
        AppendOutcome, Appended, BufferSnapshot, Deleted, EventBuffer, PAGE_EVENTS, PageStart,
        StoreError, StoredPage, StoredText, Version,
    },
    telemetry::meters::{self, Unreadable},
};

/// How event buffers in Redis are kept.
#[derive(Clone, Debug)]
pub struct EventBufferOptions {
    /// The text that all keys begin with.
    pub key_prefix: String,
    /// Older events are pruned and never returned.
    pub window: Duration,
    /// How many events a user's buffer keeps at most, the newest.
    pub max_events: usize,
    /// Memory for copies of buffers in this process, in bytes.
    pub cache_max_bytes: u64,
}

/// Event buffers in Redis.
pub struct RedisEventBuffer {
    pool: RedisPool,
    keys: Keys,
    window: Duration,
    max_events: usize,
    append: Script,
    delete: Script,
    cache: BufferCache,
    unreadable_logged: AtomicBool,
}

impl RedisEventBuffer {
    /// Buffers in the Redis of a pool.
    #[must_use]
    pub fn new(pool: RedisPool, options: EventBufferOptions) -> Self {
        Self {
            pool,
            keys: Keys::new(&options.key_prefix),
            window: options.window,
            max_events: options.max_events,
            append: Script::new(include_str!("append.lua")),
            delete: Script::new(include_str!("delete.lua")),
            cache: BufferCache::of_buffers(options.cache_max_bytes),
            unreadable_logged: AtomicBool::new(false),
        }
    }

    /// The events that can be read, and whether the list is exact: all members,
    /// each at the time of its score.
    fn decode(&self, user: &UserId, members: Vec<(Vec<u8>, f64)>) -> (Vec<Arc<StoredEvent>>, bool) {
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

    /// The buffer after an append, if it was cached before. `generation` and
    /// `erasures` are from before the append.
    fn contents(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        reply: &AppendReply,
        generation: u64,
        erasures: u64,
    ) -> Option<BufferSnapshot> {
        let accepted: Vec<Arc<StoredEvent>> = events
            .iter()
            .zip(&reply.outcomes)
            .filter(|(_, outcome)| **outcome == AppendOutcome::Accepted)
            .map(|(event, _)| Arc::new(event.clone()))
            .collect();
        let after = reply.after.filter(|_| !accepted.is_empty())?;
        if generation != self.pool.generation() {
            // The reply may be from another server than the cached copy.
            self.cache.remove(user);
            return None;
        }
        let change = BufferChange {
            before: reply.before,
            length_before: reply.length_before,
            generation,
            after,
            oldest: reply.now.minus(self.window),
            max_events: self.max_events,
            length: reply.buffered_events,
            accepted: &accepted,
        };
        Some(BufferSnapshot {
            version: Some(after),
            now: reply.now,
            events: self.cache.apply(user, &change, erasures)?,
        })
    }
}

/// The time of a sorted set's score, to the microsecond.
pub(crate) fn from_score(score: f64) -> Timestamp {
    Timestamp::from_micros((score * 1e6).round() as i64)
}

#[async_trait]
impl EventBuffer for RedisEventBuffer {
    async fn append(&self, user: &UserId, events: &[StoredEvent]) -> Result<Appended, StoreError> {
        let key = self.keys.events(user);
        let (generation, erasures) = (self.pool.generation(), self.cache.erasures());
        let first = AppendArguments {
            window: self.window,
            max_events: self.max_events,
            waits: self.pool.settings().redis_wait_replicas > 0,
            searched: self.cache.lacking_ids_of(user, events, generation),
            events,
            suffixes: &suffixes(events)?,
        };
        let retry = AppendArguments {
            searched: None,
            ..first
        };
        let reply = self
            .pool
            .write_or_retry_with("append", &key, &self.append, &first, &retry)
            .await?;
        let reply = AppendReply::decode(reply, events.len())?;
        self.pool.set_time(reply.now);
        Ok(Appended {
            contents: self.contents(user, events, &reply, generation, erasures),
            buffered_events: reply.buffered_events,
            version: reply.after,
            outcomes: reply.outcomes,
        })
    }

    async fn read(&self, user: &UserId) -> Result<BufferSnapshot, StoreError> {
        let key = self.keys.events(user);
        let (generation, erasures) = (self.pool.generation(), self.cache.erasures());
        // The version first: events appended between the two are read, too.
        let mut both = pipe();
        both.cmd("PEXPIRETIME").arg(&key);
        both.cmd("ZRANGE")
            .arg(&key)
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES");
        let both = &both;
        let (expiry, members): (i64, Vec<(Vec<u8>, f64)>) = self
            .pool
            .run("read", |mut connection| async move {
                both.query_async(&mut connection).await
            })
            .await?;
        let version = version(expiry);
        let (mut events, exact) = self.decode(user, members);
        match version {
            Some(version) if exact && version > NO_VERSION => {
                let copy = CachedBuffer::new(version, generation, events.clone());
                self.cache.insert(user, copy, erasures);
            }
            Some(_) | None => self.cache.remove(user),
        }
        let now = self.pool.now().await?;
        let oldest = now.minus(self.window);
        events.retain(|stored| stored.event.time >= oldest);
        Ok(BufferSnapshot {
            version,
            now,
            events,
        })
    }

    async fn stored(&self, user: &UserId) -> Result<Vec<String>, StoreError> {
        let mut command = cmd("ZRANGE");
        command.arg(self.keys.events(user)).arg(0).arg(-1);
        let members: Vec<Vec<u8>> = self.pool.query("stored_events", &command).await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(members.into_iter().map(text).collect())
    }

    async fn stored_page(&self, user: &UserId, start: PageStart) -> Result<StoredPage, StoreError> {
        let mut command = cmd("ZRANGEBYSCORE");
        command.arg(self.keys.events(user));
        if start.seconds == f64::NEG_INFINITY {
            command.arg("-inf");
        } else {
            command.arg(start.seconds);
        }
        command.arg("+inf").arg("WITHSCORES").arg("LIMIT");
        command.arg(start.skipped).arg(PAGE_EVENTS);
        let members: Vec<(Vec<u8>, f64)> = self.pool.query("stored_page", &command).await?;
        let times: Vec<f64> = members.iter().map(|(_, score)| *score).collect();
        let oldest = self.pool.now().await?.minus(self.window);
        let events = members.into_iter().map(|(bytes, score)| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let decoded = std::str::from_utf8(&bytes).ok();
            let decoded =
                decoded.and_then(|text| event_member::decode(user, text, from_score(score)).ok());
            StoredText {
                event: decoded
                    .filter(|stored| stored.event.time >= oldest)
                    .map(Arc::new),
                text,
            }
        });
        Ok(StoredPage {
            events: events.collect(),
            next: (times.len() == PAGE_EVENTS).then(|| start.after(&times)),
        })
    }

    async fn version(&self, user: &UserId) -> Result<Option<Version>, StoreError> {
        let mut command = cmd("PEXPIRETIME");
        command.arg(self.keys.events(user));
        Ok(version(self.pool.query("version", &command).await?))
    }

    async fn delete(&self, user: &UserId) -> Result<Deleted, StoreError> {
        let key = self.keys.events(user);
        let (existed, floor): (bool, u64) = self
            .pool
            .write("delete", &key, &self.delete, &milliseconds(self.window))
            .await?;
        self.cache.erase(user);
        Ok(Deleted {
            existed,
            floor: Version(floor),
        })
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.pool.now().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.pool.check(&self.keys.events_probe()).await
    }
}
