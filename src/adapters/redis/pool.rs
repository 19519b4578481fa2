//! A pool of connections to Redis. Each is shared by many calls, so that their
//! commands are pipelined.
//!
//! A connection is closed when it is lost, times out, leads to a replica
//! (READONLY) or is too old. If one fails, all of its generation are closed: they
//! lead to the same server. None is pinged on checkout.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{
    self, Metrics, Pool, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts,
};
use deadpool_redis::redis::{
    Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ToRedisArgs, cmd,
};
use tracing::debug;

use super::{
    connection::RedisConnection,
    dial::Dialer,
    error::{is_lost_in_handshake, is_read_only, is_worth_retrying, pool_error, store_error},
    redacted_error::RedactedError,
    script::Script,
    server_clock::ServerClock,
    settings::{RedisMode, RedisSettings},
    setup_error::RedisSetupError,
};
use crate::{
    adapters::{instrument::instrumented, system::SystemRandomness},
    domain::time::Timestamp,
    ports::{Randomness as _, StoreError, StoreErrorKind},
    telemetry::meters::{self, Level},
};

/// A cluster connection replaces lost nodes itself. Below this age it is not
/// closed for a failure, so that one lost node does not close the connections to
/// all others again and again.
const MIN_CLUSTER_AGE: Duration = Duration::from_secs(10);
/// Shortest timeout for a connection whose master must be found first.
const MIN_DISCOVERY_TIMEOUT: Duration = Duration::from_secs(4);
/// Share of the command timeout that WAIT may take.
const WAIT_SHARE: f64 = 0.8;
/// WAIT takes 0 ms for no timeout at all.
const MIN_WAIT: Duration = Duration::from_millis(1);

/// A connection of the pool.
struct Pooled {
    connection: RedisConnection,
    generation: u64,
    max_age: Duration,
}

struct Manager {
    dialer: Dialer,
    max_age: Duration,
    clock: ServerClock,
    /// Connections of earlier generations are closed.
    generation: Arc<AtomicU64>,
}

impl managed::Manager for Manager {
    type Type = Pooled;
    type Error = RedisError;

    async fn create(&self) -> Result<Pooled, RedisError> {
        let generation = self.generation.load(Ordering::Relaxed);
        let mut connection = self.dialer.dial().await?;
        self.clock.set(connection.time().await?);
        Ok(Pooled {
            connection,
            generation,
            max_age: jittered(self.max_age, SystemRandomness.next_u64()),
        })
    }

    async fn recycle(&self, pooled: &mut Pooled, metrics: &Metrics) -> RecycleResult<RedisError> {
        let min_age = match pooled.connection {
            RedisConnection::Node(_) => Duration::ZERO,
            RedisConnection::Cluster(_) => MIN_CLUSTER_AGE,
        };
        if pooled.generation < self.generation.load(Ordering::Relaxed) && metrics.age() >= min_age {
            return Err(RecycleError::message(
                "a connection of its generation failed",
            ));
        }
        if metrics.age() > pooled.max_age {
            return Err(RecycleError::message("the connection is too old"));
        }
        Ok(())
    }
}

/// A pool of connections to one Redis, or to one cluster. Cheap to clone;
/// clones share it.
#[derive(Clone)]
pub struct RedisPool {
    pool: Arc<Pool<Manager>>,
    clock: ServerClock,
    generation: Arc<AtomicU64>,
    settings: Arc<RedisSettings>,
}

impl RedisPool {
    /// A pool for a URL. Connects at first use, so it can be created while Redis
    /// is down.
    ///
    /// # Errors
    /// [`RedisSetupError`] if the URL, a file or the settings cannot be used.
    pub fn new(url: &str, settings: &RedisSettings) -> Result<Self, RedisSetupError> {
        // Asking sentinels takes several connections, with timeouts of the
        // library's own.
        let step = settings.redis_connect_timeout + settings.redis_command_timeout;
        let create = match settings.redis_mode {
            RedisMode::Single => step,
            RedisMode::Auto | RedisMode::Sentinel | RedisMode::Cluster => {
                (step * 3).max(MIN_DISCOVERY_TIMEOUT)
            }
        };
        let clock = ServerClock::default();
        let generation = Arc::new(AtomicU64::new(0));
        let manager = Manager {
            dialer: Dialer::new(url, settings)?,
            max_age: settings.redis_max_connection_age,
            clock: clock.clone(),
            generation: Arc::clone(&generation),
        };
        let config = PoolConfig {
            max_size: settings.redis_pool_size,
            timeouts: Timeouts {
                wait: Some(settings.redis_wait_timeout),
                create: Some(create),
                recycle: Some(settings.redis_command_timeout),
            },
            queue_mode: QueueMode::Fifo,
        };
        let pool = Pool::builder(manager)
            .config(config)
            .runtime(deadpool::Runtime::Tokio1)
            .build()?;
        let pool = Arc::new(pool);
        meters::watch(&pool, |pool, levels| {
            let now = pool.status();
            let used = now.size.saturating_sub(now.available);
            levels.add(Level::RedisUsed, used as u64);
            levels.add(Level::RedisIdle, (now.size - used) as u64);
            levels.add(Level::RedisMax, now.max_size as u64);
            levels.add(Level::RedisPending, now.waiting as u64);
        });
        Ok(Self {
            pool,
            clock,
            generation,
            settings: Arc::new(settings.clone()),
        })
    }

    /// The Redis server's time.
    ///
    /// # Errors
    /// [`StoreError`] if it is not known yet and Redis does not answer.
    pub(super) async fn now(&self) -> Result<Timestamp, StoreError> {
        if let Some(now) = self.clock.now() {
            return Ok(now);
        }
        let now = self
            .run(
                "time",
                |mut connection| async move { connection.time().await },
            )
            .await?;
        self.clock.set(now);
        Ok(now)
    }

    /// The Redis server's time, if it is known.
    pub(super) fn known_time(&self) -> Option<Timestamp> {
        self.clock.now()
    }

    /// Takes the server's time from a script's reply.
    pub(super) fn set_time(&self, now: Timestamp) {
        self.clock.set(now);
    }

    pub(super) fn settings(&self) -> &RedisSettings {
        &self.settings
    }

    /// Rises when connections failed. Later ones may lead to another server.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Runs an idempotent script that writes to a key, and waits for
    /// `REDIS_WAIT_REPLICAS` replicas to have it.
    ///
    /// # Errors
    /// [`StoreError`], also if too few replicas have it in time.
    pub(super) async fn write<T: FromRedisValue>(
        &self,
        operation: &'static str,
        key: &str,
        script: &Script,
        arguments: &impl ToRedisArgs,
    ) -> Result<T, StoreError> {
        self.write_or_retry_with(operation, key, script, arguments, arguments)
            .await
    }

    /// Like [`RedisPool::write`], with other arguments for a retry, which may
    /// reach another server.
    pub(super) async fn write_or_retry_with<T: FromRedisValue, A: ToRedisArgs>(
        &self,
        operation: &'static str,
        key: &str,
        script: &Script,
        first: &A,
        retry: &A,
    ) -> Result<T, StoreError> {
        let replicas = self.settings.redis_wait_replicas;
        let timeout = self.settings.redis_command_timeout.mul_f64(WAIT_SHARE);
        let work = |mut connection: RedisConnection, is_retry: bool| async move {
            let arguments = if is_retry { retry } else { first };
            let reply = script.run(&mut connection, key, arguments).await?;
            let copies = match replicas {
                0 => 0,
                _ => {
                    connection
                        .wait_for_replicas(key, replicas, timeout.max(MIN_WAIT))
                        .await?
                }
            };
            Ok((reply, copies))
        };
        // WAIT blocks its connection: other calls on it would wait, too.
        let exclusive = replicas > 0;
        let (reply, copies) = self.measured(operation, work, exclusive).await?;
        if copies < replicas {
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                format!("redis {operation}: {copies} of {replicas} replicas acknowledged in time"),
            ));
        }
        Ok(reply)
    }

    /// Sends an idempotent command.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn query<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        self.run(operation, |mut connection| async move {
            command.query_async(&mut connection).await
        })
        .await
    }

    /// Runs idempotent `work` on a connection. If that was lost or leads to a
    /// replica, runs it once more on another.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn run<T, W>(
        &self,
        operation: &'static str,
        work: impl Fn(RedisConnection) -> W,
    ) -> Result<T, StoreError>
    where
        W: Future<Output = RedisResult<T>>,
    {
        self.measured(operation, |connection, _| work(connection), false)
            .await
    }

    async fn measured<T, W>(
        &self,
        operation: &'static str,
        work: impl Fn(RedisConnection, bool) -> W,
        exclusive: bool,
    ) -> Result<T, StoreError>
    where
        W: Future<Output = RedisResult<T>>,
    {
        // Boxed: callers' futures would nest too deep for the compiler.
        let work = Box::pin(self.with_retry(operation, work, exclusive));
        instrumented("redis", operation, work).await
    }

    /// Passes to `work` whether it is the retry.
    async fn with_retry<T, W>(
        &self,
        operation: &'static str,
        work: impl Fn(RedisConnection, bool) -> W,
        exclusive: bool,
    ) -> Result<T, StoreError>
    where
        W: Future<Output = RedisResult<T>>,
    {
        let first = |connection| work(connection, false);
        let error = match self.attempt(operation, first, exclusive).await? {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if !is_worth_retrying(&error) {
            return Err(store_error(operation, &error));
        }
        let error = RedactedError::from(&error);
        debug!(command = operation, %error, "redis connection failed, trying another");
        self.attempt(operation, |connection| work(connection, true), exclusive)
            .await?
            .map_err(|error| store_error(operation, &error))
    }

    async fn attempt<T, W>(
        &self,
        operation: &'static str,
        work: impl Fn(RedisConnection) -> W,
        exclusive: bool,
    ) -> Result<RedisResult<T>, StoreError>
    where
        W: Future<Output = RedisResult<T>>,
    {
        let mut pooled = self.pool.get().await;
        // Nothing was sent yet: another connection may be opened without a retry.
        if matches!(&pooled, Err(PoolError::Backend(error)) if is_lost_in_handshake(error)) {
            pooled = self.pool.get().await;
        }
        let pooled = match pooled {
            Ok(pooled) => pooled,
            Err(PoolError::Backend(error)) if is_lost_in_handshake(&error) => {
                return Ok(Err(error));
            }
            Err(error) => return Err(pool_error(operation, error)),
        };
        let (connection, generation) = (pooled.connection.clone(), pooled.generation);
        // Unless exclusive, returned at once: the next call shares the connection.
        let held = exclusive.then_some(pooled);
        let result = work(connection).await;
        drop(held);
        if let Err(error) = &result
            && (error.is_unrecoverable_error() || error.is_timeout() || is_read_only(error))
        {
            self.generation.fetch_max(generation + 1, Ordering::Relaxed);
        }
        Ok(result)
    }

    /// The reply to INFO; `None` if the server refuses it.
    ///
    /// # Errors
    /// [`StoreError`] if it does not answer.
    pub(super) async fn info(&self) -> Result<Option<String>, StoreError> {
        self.run("info", |mut connection| async move {
            match connection.info().await {
                Err(error) if matches!(error.kind(), ErrorKind::Server(_)) => Ok(None),
                info => info.map(Some),
            }
        })
        .await
    }

    /// Whether Redis answers and takes writes. A replica takes none, nor does a
    /// server that refuses this user the keys. `probe` is a key that never
    /// exists.
    ///
    /// # Errors
    /// [`StoreError`] if not.
    pub(super) async fn check(&self, probe: &str) -> Result<(), StoreError> {
        let now = self
            .run("check", |mut connection| async move {
                let _: i64 = cmd("UNLINK")
                    .arg(probe)
                    .query_async(&mut connection)
                    .await?;
                if let RedisConnection::Cluster(_) = connection {
                    let _: String = cmd("PING").query_async(&mut connection).await?;
                }
                connection.time().await
            })
            .await?;
        self.clock.set(now);
        Ok(())
    }
}

/// Up to a tenth longer, so that connections made together do not end together.
fn jittered(age: Duration, random: u64) -> Duration {
    age + age / 10_000 * (random % 1_000) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::jittered;

    #[test]
    fn connections_live_up_to_a_tenth_longer() {
        let age = Duration::from_secs(100);
        for (random, longer_ms) in [(0, 0), (1, 10), (999, 9_990), (1_000, 0), (u64::MAX, 6_150)] {
            let lifetime = jittered(age, random);
            assert_eq!(lifetime, age + Duration::from_millis(longer_ms), "{random}");
        }
    }
}
