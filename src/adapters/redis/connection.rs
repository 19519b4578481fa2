//! Connections to Redis: a few, each shared by many calls, so that commands
//! of different calls travel together.
//!
//! A connection that was lost, that timed out, or that leads to a replica
//! (READONLY) is given up, with all that were made before it failed: they lead
//! to the same place. So is one that is too old. None is pinged on checkout.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{
    self, Metrics, Pool, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts,
};
use deadpool_redis::redis::{
    AsyncConnectionConfig, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind,
    ToRedisArgs, cmd, io::tcp::TcpSettings, io::tcp::socket2,
};
use tracing::debug;

use super::{
    address::Address,
    dial::{Connection, Dialer},
    script::Script,
    server_clock::ServerClock,
    settings::{RedisMode, RedisSettings},
    told::Told,
};
use crate::{
    adapters::{instrument::instrumented, system::SystemRandomness},
    domain::time::Timestamp,
    ports::{Randomness as _, StoreError, StoreErrorKind},
    telemetry::meters::{self, Level},
};

const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// Commands that may wait in a shared connection.
const PIPELINE_BUFFER: usize = 512;
/// A cluster's connection mends itself node by node. Only if it is older than
/// this is it given up for a failure, so that one lost node does not have the
/// others dialled again and again.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(10);
/// Least time to find out where the master is.
const LEAST_TO_FIND: Duration = Duration::from_secs(4);
/// Of the time for an answer, what waiting for replicas may take; 0 would be
/// for ever.
const WAIT_SHARE: f64 = 0.8;
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// Redis cannot be set up as configured. Never holds the URL, which may carry
/// a password.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
    /// The URL is not one of Redis.
    #[error(
        "REDIS_URL is not understood; give redis://[[user]:password@]host[:port][/database], \
         rediss:// for TLS, several nodes of a cluster or sentinels separated by commas; \
         characters such as , / @ in a password are written as %2C %2F %40"
    )]
    Url,
    /// A certificate would not be used.
    #[error("REDIS_TLS_* files are set, but REDIS_URL does not begin with rediss://")]
    CertificatesWithoutTls,
    /// There is nobody to trust.
    #[error("REDIS_TLS_CA_FILE holds no certificate in PEM form")]
    NoCertificate,
    /// A certificate without its key, or the other way round.
    #[error("REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE must be set together")]
    HalfACertificate,
    /// A file cannot be read.
    #[error("{setting}: cannot read {path}: {source}")]
    File {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// One Redis, but several nodes.
    #[error("REDIS_MODE is single, but REDIS_URL names several nodes")]
    SeveralNodes,
    /// The certificates or nodes do not fit together.
    #[error("the connections to Redis cannot be set up: {0}")]
    Client(RedisError),
    /// The pool refused its settings.
    #[error("the pool of Redis connections cannot be set up")]
    Pool(#[from] managed::BuildError),
}

/// One connection, shared by clones.
struct Shared {
    connection: Connection,
    generation: u64,
    max_age: Duration,
}

struct Manager {
    dialer: Dialer,
    max_age: Duration,
    clock: ServerClock,
    /// Connections of an earlier generation are given up.
    generation: Arc<AtomicU64>,
}

impl managed::Manager for Manager {
    type Type = Shared;
    type Error = RedisError;

    async fn create(&self) -> Result<Shared, RedisError> {
        let generation = self.generation.load(Ordering::Relaxed);
        let mut connection = self.dialer.dial().await?;
        self.clock.tell(time(&mut connection).await?);
        Ok(Shared {
            connection,
            generation,
            max_age: a_little_longer(self.max_age, SystemRandomness.next_u64()),
        })
    }

    async fn recycle(&self, shared: &mut Shared, metrics: &Metrics) -> RecycleResult<RedisError> {
        let least_age = match shared.connection {
            Connection::Node(_) => Duration::ZERO,
            Connection::Cluster(_) => CLUSTER_PATIENCE,
        };
        if shared.generation < self.generation.load(Ordering::Relaxed) && metrics.age() >= least_age
        {
            return Err(RecycleError::message("it failed"));
        }
        if metrics.age() > shared.max_age {
            return Err(RecycleError::message("it is too old"));
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
    /// A pool for a URL. Connects when first used, so it can be made while
    /// Redis is down.
    ///
    /// # Errors
    /// [`RedisSetupError`] if the URL, a file or the settings cannot be used.
    pub fn new(url: &str, settings: &RedisSettings) -> Result<Self, RedisSetupError> {
        let dialer = dialer(url, settings)?;
        // Asking sentinels takes several connections, with time-outs of the
        // library's own.
        let step = settings.redis_connect_timeout + settings.redis_command_timeout;
        let create = match settings.redis_mode {
            RedisMode::Single => step,
            RedisMode::Auto | RedisMode::Sentinel | RedisMode::Cluster => {
                (step * 3).max(LEAST_TO_FIND)
            }
        };
        let clock = ServerClock::default();
        let generation = Arc::new(AtomicU64::new(0));
        let manager = Manager {
            dialer,
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
    /// [`StoreError`] if it has not told it yet and does not answer.
    pub(super) async fn server_now(&self) -> Result<Timestamp, StoreError> {
        if let Some(now) = self.clock.now() {
            return Ok(now);
        }
        let now = self
            .run("time", |mut connection| async move {
                time(&mut connection).await
            })
            .await?;
        self.clock.tell(now);
        Ok(now)
    }

    pub(super) fn tell_time(&self, now: Timestamp) {
        self.clock.tell(now);
    }

    pub(super) fn settings(&self) -> &RedisSettings {
        &self.settings
    }

    /// Rises when connections are given up: they may lead elsewhere from then
    /// on.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Runs a script that writes to a key, and waits for replicas to have it,
    /// if that is asked for. It must do no harm if it is done twice.
    pub(super) async fn write<T: FromRedisValue>(
        &self,
        what: &'static str,
        key: &str,
        script: &Script,
        arguments: &impl ToRedisArgs,
    ) -> Result<T, StoreError> {
        self.write_or_again(what, key, script, arguments, arguments)
            .await
    }

    /// Likewise, with other arguments if it is done again: perhaps by another
    /// server.
    pub(super) async fn write_or_again<T: FromRedisValue, A: ToRedisArgs>(
        &self,
        what: &'static str,
        key: &str,
        script: &Script,
        first: &A,
        again: &A,
    ) -> Result<T, StoreError> {
        let replicas = self.settings.redis_wait_replicas;
        let at_most = self.settings.redis_command_timeout.mul_f64(WAIT_SHARE);
        let tried = AtomicBool::new(false);
        let tried = &tried;
        let work = |mut connection: Connection| async move {
            let arguments = match tried.swap(true, Ordering::Relaxed) {
                false => first,
                true => again,
            };
            let reply = script.run(&mut connection, key, arguments).await?;
            let copies = match replicas {
                0 => 0,
                _ => {
                    connection
                        .wait_for_replicas(key, replicas, at_most.max(LEAST_WAIT))
                        .await?
                }
            };
            Ok((reply, copies))
        };
        // Whoever waits for replicas has a connection of its own: others would
        // wait with it.
        let (reply, copies) = self.measured(what, work, replicas > 0).await?;
        if copies < replicas {
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                format!("redis {what}: {copies} of {replicas} replicas have it in time"),
            ));
        }
        Ok(reply)
    }

    /// Runs `work` on a connection; once more on another one if the first was
    /// lost or leads to a replica. `work` must do no harm if it is done twice.
    pub(super) async fn run<T, W>(
        &self,
        what: &'static str,
        work: impl Fn(Connection) -> W,
    ) -> Result<T, StoreError>
    where
        W: Future<Output = RedisResult<T>>,
    {
        self.measured(what, work, false).await
    }

    async fn measured<T, W>(
        &self,
        what: &'static str,
        work: impl Fn(Connection) -> W,
        alone: bool,
    ) -> Result<T, StoreError>
    where
        W: Future<Output = RedisResult<T>>,
    {
        // Boxed, or else what nests it would nest too deep for the compiler.
        instrumented("redis", what, Box::pin(self.retried(what, work, alone))).await
    }

    async fn retried<T, W>(
        &self,
        what: &'static str,
        work: impl Fn(Connection) -> W,
        alone: bool,
    ) -> Result<T, StoreError>
    where
        W: Future<Output = RedisResult<T>>,
    {
        let first = match self.try_once(what, &work, alone).await? {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if !worth_retrying(&first) {
            return Err(store_error(what, first));
        }
        debug!(command = what, error = %Told::from(&first), "redis connection given up, trying another");
        self.try_once(what, &work, alone)
            .await?
            .map_err(|error| store_error(what, error))
    }

    async fn try_once<T, W>(
        &self,
        what: &'static str,
        work: &impl Fn(Connection) -> W,
        alone: bool,
    ) -> Result<RedisResult<T>, StoreError>
    where
        W: Future<Output = RedisResult<T>>,
    {
        let shared = match self.pool.get().await {
            Ok(shared) => shared,
            Err(PoolError::Backend(error)) if was_cut(&error) => return Ok(Err(error)),
            Err(error) => return Err(pool_error(what, error)),
        };
        let (connection, generation) = (shared.connection.clone(), shared.generation);
        // Given back at once, usually: the next call shares it.
        let kept = alone.then_some(shared);
        let done = work(connection).await;
        drop(kept);
        if let Err(error) = &done
            && (error.is_unrecoverable_error() || error.is_timeout() || is_read_only(error))
        {
            self.generation.fetch_max(generation + 1, Ordering::Relaxed);
        }
        Ok(done)
    }

    /// What Redis tells of itself; `None` if it will not.
    ///
    /// # Errors
    /// [`StoreError`] if it does not answer.
    pub(super) async fn info(&self) -> Result<Option<String>, StoreError> {
        self.run("info", |mut connection| async move {
            match connection.info().await {
                Err(error) if matches!(error.kind(), ErrorKind::Server(_)) => Ok(None),
                told => told.map(Some),
            }
        })
        .await
    }

    /// Whether Redis answers and takes what is written: a replica would not,
    /// nor would one that refuses this user the keys. `nobody` is a key that is
    /// never there.
    ///
    /// # Errors
    /// [`StoreError`] if not.
    pub(super) async fn check(&self, nobody: &str) -> Result<(), StoreError> {
        let now = self
            .run("check", |mut connection| async move {
                let _: i64 = cmd("UNLINK")
                    .arg(nobody)
                    .query_async(&mut connection)
                    .await?;
                if let Connection::Cluster(_) = connection {
                    let _: String = cmd("PING").query_async(&mut connection).await?;
                }
                time(&mut connection).await
            })
            .await?;
        self.clock.tell(now);
        Ok(())
    }
}

/// What makes connections to the nodes of a URL.
pub(super) fn dialer(url: &str, settings: &RedisSettings) -> Result<Dialer, RedisSetupError> {
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(
        socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_EVERY),
    );
    let address = Address::parse(url, settings, &tcp)?;
    if address.uses_tls() {
        // An error says that the process has its provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.redis_connect_timeout))
        .set_response_timeout(Some(settings.redis_command_timeout))
        .set_pipeline_buffer_size(PIPELINE_BUFFER);
    Dialer::new(address, settings, tcp, config)
}

/// Up to a tenth longer, so that connections made together do not end together.
fn a_little_longer(age: Duration, random: u64) -> Duration {
    age + age / 10_000 * (random % 1_000) as u32
}

async fn time(connection: &mut Connection) -> RedisResult<Timestamp> {
    let (seconds, micros): (i64, i64) = cmd("TIME").query_async(connection).await?;
    Ok(Timestamp::from_micros(seconds * 1_000_000 + micros))
}

fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

/// A time-out is not retried: the caller's time is up, too.
fn worth_retrying(error: &RedisError) -> bool {
    is_read_only(error) || (error.is_unrecoverable_error() && !error.is_timeout())
}

/// Whether a connection was lost while it was made: there was somebody, unlike
/// where one is refused.
fn was_cut(error: &RedisError) -> bool {
    let lost = error.is_connection_dropped() && !error.is_connection_refusal();
    lost || error.kind() == ErrorKind::Parse
}

fn pool_error(what: &'static str, error: PoolError<RedisError>) -> StoreError {
    let context = format!("redis {what}: no connection");
    match error {
        PoolError::Backend(error) => {
            StoreError::new(kind_of(&error), context).caused_by(Told::from(&error))
        }
        PoolError::Timeout(_)
        | PoolError::Closed
        | PoolError::NoRuntimeSpecified
        | PoolError::PostCreateHook(_) => {
            StoreError::new(StoreErrorKind::Unavailable, context).caused_by(error)
        }
    }
}

pub(super) fn store_error(what: &'static str, error: RedisError) -> StoreError {
    StoreError::new(kind_of(&error), format!("redis {what} failed")).caused_by(Told::from(&error))
}

fn kind_of(error: &RedisError) -> StoreErrorKind {
    // In a pipeline each command has an error of its own; the first tells.
    let of_pipeline = error.clone().into_server_errors();
    let code = error.code().map(str::to_owned).or_else(|| {
        let (_, first) = of_pipeline.as_ref()?.first()?;
        Some(first.code().to_owned())
    });
    match (code.as_deref(), error.kind()) {
        (Some("OOM"), _) => StoreErrorKind::Full,
        (Some("NOAUTH" | "WRONGPASS" | "NOPERM"), _)
        | (_, ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig) => {
            StoreErrorKind::Misconfigured
        }
        (Some("WRONGTYPE"), _) | (_, ErrorKind::UnexpectedReturnType) => StoreErrorKind::Corrupt,
        // A reply that cannot be parsed was cut off: what is stored is none of RESP's.
        _ => StoreErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use std::{io, time::Duration};

    use deadpool_redis::redis::{ErrorKind, RedisError, ServerErrorKind};

    use super::{a_little_longer, worth_retrying};

    #[test]
    fn connections_live_up_to_a_tenth_longer() {
        let age = Duration::from_secs(100);
        for (random, longer_ms) in [(0, 0), (1, 10), (999, 9_990), (1_000, 0), (u64::MAX, 6_150)] {
            let lives = a_little_longer(age, random);
            assert_eq!(lives, age + Duration::from_millis(longer_ms), "{random}");
        }
    }

    #[test]
    fn a_lost_connection_and_a_replica_are_worth_another_try_and_nothing_else() {
        let server = |kind| RedisError::from((ErrorKind::Server(kind), "told by the server"));
        let network = |kind| RedisError::from(io::Error::from(kind));
        for (error, expected) in [
            (network(io::ErrorKind::ConnectionReset), true),
            (network(io::ErrorKind::UnexpectedEof), true),
            (server(ServerErrorKind::ReadOnly), true),
            (network(io::ErrorKind::TimedOut), false),
            (server(ServerErrorKind::BusyLoading), false),
            (server(ServerErrorKind::ResponseError), false),
        ] {
            assert_eq!(worth_retrying(&error), expected, "{error:?}");
        }
    }
}
