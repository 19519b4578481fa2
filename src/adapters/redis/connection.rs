//! Connections to Redis: a few, each shared by many calls, so that commands
//! of different calls travel together.
//!
//! A connection that failed in a way that it cannot recover from, that timed
//! out, or that leads to a replica (READONLY) is given up; so is one that is
//! too old. None is pinged on checkout.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{
    self, Metrics, Pool, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts,
};
use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo as _, RedisError, RedisResult,
    ServerErrorKind, aio::MultiplexedConnection, io::tcp::TcpSettings, io::tcp::socket2,
};
use tracing::debug;

use super::settings::RedisSettings;
use crate::{
    adapters::system::{SystemClock, SystemRandomness},
    domain::time::Timestamp,
    ports::{Clock as _, Randomness as _, StoreError, StoreErrorKind},
};

const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// Commands that may wait in a shared connection.
const PIPELINE_BUFFER: usize = 512;

/// Redis cannot be set up as configured. Never holds the URL, which may carry
/// a password.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
    /// The URL is not one of Redis.
    #[error(
        "REDIS_URL is not the URL of a single Redis without TLS, such as redis://host:6379/0; \
         Sentinel, Cluster and rediss:// are not supported yet"
    )]
    Url,
    /// The pool refused its settings.
    #[error("the pool of Redis connections cannot be set up")]
    Pool(#[from] managed::BuildError),
}

/// One connection, shared by clones.
struct Shared {
    connection: MultiplexedConnection,
    broken: Arc<AtomicBool>,
    max_age: Duration,
}

struct Manager {
    client: Client,
    config: AsyncConnectionConfig,
    max_age: Duration,
    clock_offset: Arc<AtomicI64>,
}

impl managed::Manager for Manager {
    type Type = Shared;
    type Error = RedisError;

    async fn create(&self) -> Result<Shared, RedisError> {
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&self.config)
            .await?;
        let (seconds, micros): (i64, i64) = deadpool_redis::redis::cmd("TIME")
            .query_async(&mut connection)
            .await?;
        let server = seconds * 1_000_000 + micros;
        let offset = server - SystemClock.now().as_micros();
        self.clock_offset.store(offset, Ordering::Relaxed);
        // Up to a tenth longer, so that connections made together do not end
        // together.
        let longer = (SystemRandomness.next_u64() % 1_000) as u32;
        Ok(Shared {
            connection,
            broken: Arc::new(AtomicBool::new(false)),
            max_age: self.max_age + self.max_age / 10_000 * longer,
        })
    }

    async fn recycle(&self, shared: &mut Shared, metrics: &Metrics) -> RecycleResult<RedisError> {
        if shared.broken.load(Ordering::Relaxed) {
            return Err(RecycleError::message("it failed"));
        }
        if metrics.age() > shared.max_age {
            return Err(RecycleError::message("it is too old"));
        }
        Ok(())
    }
}

/// A pool of connections to one Redis. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct RedisPool {
    pool: Pool<Manager>,
    clock_offset: Arc<AtomicI64>,
}

impl RedisPool {
    /// A pool for a URL. Connects when first used, so it can be made while
    /// Redis is down.
    ///
    /// # Errors
    /// [`RedisSetupError`] if the URL or the settings cannot be used.
    pub fn new(url: &str, settings: &RedisSettings) -> Result<Self, RedisSetupError> {
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(
            socket2::TcpKeepalive::new()
                .with_time(KEEPALIVE_AFTER)
                .with_interval(KEEPALIVE_EVERY),
        );
        let info = url
            .into_connection_info()
            .map_err(|_| RedisSetupError::Url)?
            .set_tcp_settings(tcp);
        let clock_offset = Arc::new(AtomicI64::new(0));
        let manager = Manager {
            client: Client::open(info).map_err(|_| RedisSetupError::Url)?,
            config: AsyncConnectionConfig::new()
                .set_connection_timeout(Some(settings.redis_connect_timeout))
                .set_response_timeout(Some(settings.redis_command_timeout))
                .set_pipeline_buffer_size(PIPELINE_BUFFER),
            max_age: settings.redis_max_connection_age,
            clock_offset: Arc::clone(&clock_offset),
        };
        let config = PoolConfig {
            max_size: settings.redis_pool_size,
            timeouts: Timeouts {
                wait: Some(settings.redis_wait_timeout),
                create: Some(settings.redis_connect_timeout + settings.redis_command_timeout),
                recycle: Some(settings.redis_command_timeout),
            },
            queue_mode: QueueMode::Fifo,
        };
        let pool = Pool::builder(manager)
            .config(config)
            .runtime(deadpool::Runtime::Tokio1)
            .build()?;
        Ok(Self { pool, clock_offset })
    }

    /// The Redis server's time, as well as this process can tell.
    pub(super) fn server_now(&self) -> Timestamp {
        let offset = self.clock_offset.load(Ordering::Relaxed);
        Timestamp::from_micros(SystemClock.now().as_micros() + offset)
    }

    /// Runs `work` on a connection; once more on another one if the first was
    /// lost or leads to a replica. `work` must do no harm if it is done twice.
    pub(super) async fn run<T, F, W>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        F: Fn(MultiplexedConnection) -> W,
        W: Future<Output = RedisResult<T>>,
    {
        let first = match self.try_once(what, &work).await? {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if !worth_retrying(&first) {
            return Err(store_error(what, first));
        }
        debug!(command = what, error = %first, "redis connection given up, trying another");
        self.try_once(what, &work)
            .await?
            .map_err(|error| store_error(what, error))
    }

    async fn try_once<T, F, W>(
        &self,
        what: &'static str,
        work: &F,
    ) -> Result<RedisResult<T>, StoreError>
    where
        F: Fn(MultiplexedConnection) -> W,
        W: Future<Output = RedisResult<T>>,
    {
        let shared = self
            .pool
            .get()
            .await
            .map_err(|error| pool_error(what, error))?;
        let (connection, broken) = (shared.connection.clone(), Arc::clone(&shared.broken));
        // Given back at once: the next call shares it.
        drop(shared);
        let done = work(connection).await;
        if let Err(error) = &done
            && (error.is_unrecoverable_error() || error.is_timeout() || is_read_only(error))
        {
            broken.store(true, Ordering::Relaxed);
        }
        Ok(done)
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// [`StoreError`] if it does not.
    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        self.run("PING", async |mut connection| {
            deadpool_redis::redis::cmd("PING")
                .query_async(&mut connection)
                .await
        })
        .await
    }
}

fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

/// A time-out is not retried: the caller's time is up, too.
fn worth_retrying(error: &RedisError) -> bool {
    is_read_only(error) || (error.is_unrecoverable_error() && !error.is_timeout())
}

fn pool_error(what: &'static str, error: PoolError<RedisError>) -> StoreError {
    let kind = match &error {
        PoolError::Backend(error) => kind_of(error),
        PoolError::Timeout(_)
        | PoolError::Closed
        | PoolError::NoRuntimeSpecified
        | PoolError::PostCreateHook(_) => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, format!("redis {what}: no connection")).caused_by(error)
}

pub(super) fn store_error(what: &'static str, error: RedisError) -> StoreError {
    StoreError::new(kind_of(&error), format!("redis {what} failed")).caused_by(error)
}

fn kind_of(error: &RedisError) -> StoreErrorKind {
    match (error.code(), error.kind()) {
        (Some("OOM"), _) => StoreErrorKind::Full,
        (Some("WRONGTYPE"), _) | (_, ErrorKind::Parse | ErrorKind::UnexpectedReturnType) => {
            StoreErrorKind::Corrupt
        }
        _ => StoreErrorKind::Unavailable,
    }
}
