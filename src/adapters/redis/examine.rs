//! A single examination of Redis for `recsys doctor`, over the pool that `serve`
//! opens. Leaves nothing behind.

use std::{
    collections::HashMap,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use deadpool_redis::redis::{
    ErrorKind, RedisResult,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
    cmd, from_redis_value,
};

use super::{
    acl_probe::{AclDenial, AclProbe},
    advice::{Concern, concerns, parse_info},
    connection::RedisConnection,
    keys::Keys,
    pool::RedisPool,
    script_probe::ScriptProbe,
    settings::RedisSettings,
    setup_error::RedisSetupError,
};
use crate::ports::StoreError;

/// What the examination of a Redis found.
#[derive(Debug)]
pub struct RedisExamination {
    /// The result of the health check.
    pub health: Result<(), StoreError>,
    /// Whether it runs the service's scripts; `None` if it denies a command, or does
    /// not take writes.
    pub scripts: Option<Result<(), StoreError>>,
    /// The nodes that take writes; empty if the ACL denies INFO.
    pub masters: Vec<RedisMaster>,
    /// What Redis refuses to this user.
    pub denials: Vec<AclDenial>,
    /// By how many microseconds the Redis clock is ahead of this machine's; `None` if
    /// the ACL denies TIME.
    pub clock_ahead_us: Option<i64>,
}

/// A node that takes writes.
#[derive(Debug)]
pub struct RedisMaster {
    /// `host:port` in a cluster; empty otherwise.
    pub address: String,
    /// Its version.
    pub version: String,
    /// The same warnings as in the log.
    pub concerns: Vec<Concern>,
}

/// Examines the Redis of a URL as a service uses it whose keys have these prefixes.
/// `item_changes`: whether it also announces and reads the changes of items.
///
/// # Errors
/// The outer one if the URL, a file or the settings cannot be used; the inner one if
/// Redis does not answer.
pub async fn examine(
    url: &str,
    settings: &RedisSettings,
    prefixes: &[String],
    item_changes: bool,
) -> Result<Result<RedisExamination, StoreError>, RedisSetupError> {
    let pool = RedisPool::new(url, settings)?;
    let keys: Vec<Keys> = prefixes.iter().map(|prefix| Keys::new(prefix)).collect();
    let probe_key = keys.first().map(Keys::events_probe).unwrap_or_default();
    let (keys, replicas) = (keys.as_slice(), settings.redis_wait_replicas);
    let examined = pool.run("examine", |mut connection| async move {
        let cluster = matches!(connection, RedisConnection::Cluster(_));
        let mut probe = AclProbe::new(keys, replicas > 0, cluster);
        if item_changes {
            probe = probe.with_item_changes(&Keys::new(&settings.redis_key_prefix));
        }
        Ok(RedisExamination {
            health: Ok(()),
            scripts: None,
            masters: masters(&mut connection, replicas).await?,
            clock_ahead_us: clock_ahead_us(&mut connection).await?,
            denials: probe.run(&mut connection).await?,
        })
    });
    let mut examined = examined.await;
    if let Ok(examination) = &mut examined {
        examination.health = pool.check(&probe_key).await;
        let runs_scripts = examination.health.is_ok() && examination.denials.is_empty();
        if let (true, Some(keys)) = (runs_scripts, keys.first()) {
            examination.scripts = Some(ScriptProbe::default().run(&pool, keys).await);
        }
    }
    Ok(examined)
}

async fn masters(
    connection: &mut RedisConnection,
    replicas: usize,
) -> RedisResult<Vec<RedisMaster>> {
    let info = cmd("INFO");
    let texts = match connection {
        RedisConnection::Node(node) => {
            let text = info.query_async::<String>(node).await;
            unless_denied(text)?.map(|text| vec![(String::new(), text)])
        }
        RedisConnection::Cluster(cluster) => {
            let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
            match unless_denied(cluster.route_command(info, masters).await)? {
                Some(texts) => Some(from_redis_value::<Vec<(String, String)>>(texts)?),
                None => None,
            }
        }
    };
    let mut texts = texts.unwrap_or_default();
    texts.sort();
    let masters = texts.into_iter().map(|(address, text)| {
        let info: HashMap<String, String> = parse_info(&text);
        RedisMaster {
            address,
            version: info.get("redis_version").cloned().unwrap_or_default(),
            concerns: concerns(&info, replicas),
        }
    });
    Ok(masters.collect())
}

async fn clock_ahead_us(connection: &mut RedisConnection) -> RedisResult<Option<i64>> {
    let sent = Instant::now();
    let time = cmd("TIME").query_async::<(i64, i64)>(connection).await;
    let Some((seconds, microseconds)) = unless_denied(time)? else {
        return Ok(None);
    };
    let micros = |micros: u128| i64::try_from(micros).unwrap_or(i64::MAX);
    let here = SystemTime::now().duration_since(UNIX_EPOCH);
    let here = here.map_or(0, |here| micros(here.as_micros()));
    // Redis read its clock about half a round trip ago.
    let half = micros(sent.elapsed().as_micros() / 2);
    Ok(Some(seconds * 1_000_000 + microseconds + half - here))
}

/// The reply; `None` if the server refuses the command.
fn unless_denied<T>(reply: RedisResult<T>) -> RedisResult<Option<T>> {
    match reply {
        Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
            Ok(None)
        }
        reply => reply.map(Some),
    }
}
