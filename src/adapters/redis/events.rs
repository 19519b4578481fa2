//! Event buffers: the sorted sets `evt:<user_id>`.

use std::sync::Arc;

use async_trait::async_trait;
use deadpool_redis::redis::cmd;
use tracing::debug;
use uuid::Uuid;

use super::{
    append::ComparedBuffer,
    buffer_store::{BufferStore, ReadBuffer, beyond, from_score},
    expiry::{expiry, milliseconds, version},
    pool::RedisPool,
};
use crate::{
    domain::{event::StoredEvent, event_member, ids::UserId, time::Timestamp},
    ports::{
        Appended, BufferSnapshot, ERASED_FOR, Erasure, ErasureStart, EventBuffer, ObservedBuffer,
        ObservedVersion, PAGE_EVENTS, PageStart, StoreError, StoreErrorKind, StoredPage,
        StoredText, Version, WaitingCaller,
    },
};

pub use super::buffer_store::EventBufferOptions;

/// Event buffers in Redis. Clones share everything.
#[derive(Clone)]
pub struct RedisEventBuffer(Arc<BufferStore>);

impl RedisEventBuffer {
    /// Buffers in the Redis of a pool.
    #[must_use]
    pub fn new(pool: RedisPool, options: EventBufferOptions) -> Self {
        Self(Arc::new(BufferStore::new(pool, options)))
    }

    /// Trims a buffer that has too many answers or bytes by its copy, in a task of its
    /// own: no call waits for it.
    fn trim_copied_later(&self, user: &UserId) {
        let (store, user) = (Arc::clone(&self.0), user.clone());
        tokio::spawn(async move {
            let trimmed = async {
                store.trim_answers(&user).await?;
                let target = trimmed_bytes(store.max_user_bytes);
                match store.cache.oldest_beyond(&user, store.max_user_bytes) {
                    Some((_, 0)) | None => Ok(()),
                    Some(_) => match store.cache.oldest_beyond(&user, target) {
                        Some((buffer, beyond)) => store.trim(&user, buffer, beyond).await,
                        None => Ok(()),
                    },
                }
            };
            if let Err(error) = trimmed.await {
                let error = &error as &dyn std::error::Error;
                debug!(error, "a large buffer was not trimmed");
            }
        });
    }

    /// Removes the oldest events of a buffer that has too many bytes, in a task of
    /// its own: no call waits for it. If it fails, the next append or read finds the
    /// buffer too large again.
    fn trim_later(&self, user: &UserId, buffer: ComparedBuffer, beyond: usize) {
        let (store, user) = (Arc::clone(&self.0), user.clone());
        tokio::spawn(async move {
            if let Err(error) = store.trim(&user, buffer, beyond).await {
                let error = &error as &dyn std::error::Error;
                debug!(error, "a large buffer was not trimmed");
            }
        });
    }
}

/// The size to which a buffer is trimmed: less than the largest, so that not every
/// append exceeds that again.
fn trimmed_bytes(max_user_bytes: usize) -> usize {
    max_user_bytes - max_user_bytes / 8
}

#[async_trait]
impl EventBuffer for RedisEventBuffer {
    async fn append(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        caller: &WaitingCaller,
    ) -> Result<Appended, StoreError> {
        let (appended, is_too_large) = self.0.append_all(user, events, caller).await?;
        if is_too_large {
            self.trim_copied_later(user);
        }
        Ok(appended)
    }

    fn known(&self, user: &UserId, observed: &ObservedVersion) -> Option<BufferSnapshot> {
        let store = &*self.0;
        let (version, now) = (observed.version?, store.pool.known_time()?);
        let mut events = store
            .cache
            .events_at(user, version, store.pool.generation())?;
        let oldest = now.minus(store.window);
        let expired = events.partition_point(|stored| stored.event.time < oldest);
        events.drain(..expired);
        Some(BufferSnapshot {
            version: Some(version),
            now,
            read_at: observed.observed_at,
            events,
        })
    }

    fn knows(&self, user: &UserId, observed: &ObservedVersion) -> bool {
        let store = &*self.0;
        let generation = store.pool.generation();
        let has = |version| store.cache.has(user, version, generation);
        store.pool.known_time().is_some() && observed.version.is_some_and(has)
    }

    async fn read(&self, user: &UserId) -> Result<BufferSnapshot, StoreError> {
        let store = &*self.0;
        // An append of this process during the read would make the copy outdated: under
        // steady appends there would never be one, and each append would read the events
        // near its own. A read that has no turn in time is only slower.
        let timeout = store.pool.settings().redis_command_timeout;
        let _turn = store.turns.take(user, timeout).await;
        let (generation, erasures) = (store.pool.generation(), store.cache.erasures());
        let ReadBuffer {
            expiry: expires_at,
            members,
            read_at,
        } = store.read("read", user).await?;
        let mut events = store.cache_read(user, expires_at, &members, generation, erasures);
        let bytes: usize = members.iter().map(|(member, _)| member.len()).sum();
        if bytes > store.max_user_bytes {
            let buffer = ComparedBuffer::new(expires_at, members.len());
            let beyond = beyond(&members, trimmed_bytes(store.max_user_bytes));
            self.trim_later(user, buffer, beyond);
        } else if store
            .cache
            .surplus_answers(user, store.max_answers)
            .is_some()
        {
            self.trim_copied_later(user);
        }
        let now = store.pool.now().await?;
        let oldest = now.minus(store.window);
        events.retain(|stored| stored.event.time >= oldest);
        Ok(BufferSnapshot {
            // The marker of an erasure alone is no buffer.
            version: version(expires_at).filter(|_| !members.is_empty()),
            now,
            read_at,
            events,
        })
    }

    async fn stored(&self, user: &UserId) -> Result<Vec<String>, StoreError> {
        let read = self.0.read("stored_events", user).await?;
        let text = |(bytes, _): (Vec<u8>, f64)| String::from_utf8_lossy(&bytes).into_owned();
        Ok(read.members.into_iter().map(text).collect())
    }

    async fn stored_page(&self, user: &UserId, start: PageStart) -> Result<StoredPage, StoreError> {
        let mut command = cmd("ZRANGEBYSCORE");
        command.arg(self.0.keys.events(user));
        if start.seconds == f64::NEG_INFINITY {
            // The marker of an erasure has the score 0.
            command.arg("(0");
        } else {
            command.arg(start.seconds);
        }
        command.arg("+inf").arg("WITHSCORES").arg("LIMIT");
        command.arg(start.skipped).arg(PAGE_EVENTS);
        let members: Vec<(Vec<u8>, f64)> = self.0.pool.query("stored_page", &command).await?;
        let times: Vec<f64> = members.iter().map(|(_, score)| *score).collect();
        let oldest = self.0.pool.now().await?.minus(self.0.window);
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

    async fn version(&self, user: &UserId) -> Result<ObservedVersion, StoreError> {
        let observed_at = self.0.pool.now().await?;
        let mut command = cmd("PEXPIRETIME");
        command.arg(self.0.keys.events(user));
        Ok(ObservedVersion {
            version: version(self.0.pool.query("version", &command).await?),
            observed_at,
        })
    }

    async fn begin_erasure(&self, user: &UserId) -> Result<ErasureStart, StoreError> {
        let read_at = self.0.pool.now().await?;
        let mut command = cmd("ZCOUNT");
        command.arg(self.0.keys.events(user)).arg("(0").arg("+inf");
        let events: Result<usize, StoreError> = self.0.pool.query("begin_erasure", &command).await;
        let existed = match events {
            Ok(events) => events > 0,
            // A key of another type, which is removed as well.
            Err(error) if error.kind() == StoreErrorKind::Corrupt => true,
            Err(error) => return Err(error),
        };
        Ok(ErasureStart { read_at, existed })
    }

    async fn erase(
        &self,
        user: &UserId,
        read_at: Timestamp,
        floor: Version,
    ) -> Result<Option<Erasure>, StoreError> {
        let store = &*self.0;
        let key = store.keys.events(user);
        let arguments = (
            read_at.as_micros(),
            floor.0,
            milliseconds(store.window),
            milliseconds(ERASED_FOR),
        );
        let erased = store
            .pool
            .write("erase_events", &key, &store.erase, &arguments)
            .await;
        // Also after an error, as the events may be gone.
        store.cache.erase(user);
        let (is_refused, existed, version, now_us): (bool, bool, u64, i64) = erased?;
        let at = Timestamp::from_micros(now_us);
        store.pool.set_time(at);
        Ok((!is_refused).then_some(Erasure {
            existed,
            version: Version(version),
            at,
        }))
    }

    async fn observe(&self, user: &UserId) -> Result<ObservedBuffer, StoreError> {
        let observed_at = self.0.pool.now().await?;
        let (expiry, events) = self.0.read_size("observe", user).await?;
        Ok(ObservedBuffer {
            version: version(expiry).filter(|_| events > 0),
            events,
            observed_at,
        })
    }

    async fn remove_copied(
        &self,
        user: &UserId,
        copied: &ObservedBuffer,
        floor: Version,
    ) -> Result<Option<Version>, StoreError> {
        let store = &*self.0;
        let key = store.keys.events(user);
        let of_version = |expiry: i64| {
            (
                copied.observed_at.as_micros(),
                floor.0,
                milliseconds(store.window),
                milliseconds(ERASED_FOR),
                expiry,
                copied.events,
            )
        };
        // Another server may have a buffer of the same version with other events: they
        // must be copied again.
        let (first, retry) = (expiry(copied.version), ComparedBuffer::UNKNOWN.expiry);
        let (first, retry) = (of_version(first), of_version(retry));
        let removed = store
            .pool
            .write_or_retry_with("remove_events", &key, &store.remove, &first, &retry)
            .await;
        // Also after an error, as the events may be gone.
        store.cache.erase(user);
        let (version, now_us): (u64, i64) = removed?;
        store.pool.set_time(Timestamp::from_micros(now_us));
        Ok((version > 0).then_some(Version(version)))
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.0.pool.now().await
    }

    async fn data_id(&self) -> Result<String, StoreError> {
        let key = &self.0.keys.data_id();
        let fresh = &Uuid::new_v4().to_string();
        let read = self.0.pool.run("data_id", |mut connection| async move {
            let get = || cmd("GET").arg(key).to_owned();
            if let Some(id) = get().query_async::<Option<String>>(&mut connection).await? {
                return Ok(id);
            }
            let mut set = cmd("SET");
            set.arg(key).arg(fresh).arg("NX");
            let _: Option<String> = set.query_async(&mut connection).await?;
            get().query_async::<String>(&mut connection).await
        });
        read.await
    }

    async fn check(&self) -> Result<(), StoreError> {
        let store = &*self.0;
        store.pool.check(&store.keys.events_probe()).await?;
        store.probe.run_if_due(&store.pool, &store.keys).await
    }
}
