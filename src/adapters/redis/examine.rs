//! Looks at a Redis once, node by node, for an operator who wants to know whether
//! it will do. Changes nothing.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use deadpool_redis::redis::{
    ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult, Value,
    aio::MultiplexedConnection, cmd,
};
use tokio::task::JoinSet;

use super::{
    advice::{Concern, concerns, facts},
    dial::Dialer,
    keys::Keys,
    redacted_error::RedactedError,
    settings::{RedisMode, RedisSettings},
    setup_error::RedisSetupError,
    trials::{self, Refused},
};

/// Pings of which the median is taken.
const PINGS: usize = 5;
/// Times that are asked for; the one that came soonest counts.
const CLOCK_READINGS: usize = 3;
/// What the nodes are, who the masters are, and what they are like.
const STEPS: u32 = 3;
/// What is asked of the configuration.
const CONFIGURED: [&str; 5] = [
    "appendonly",
    "appendfsync",
    "save",
    "maxmemory",
    "maxmemory-policy",
];

/// What was found of a Redis.
#[derive(Debug)]
pub struct Examination {
    /// What it is, if a node answered or the settings say so.
    pub mode: Option<RedisMode>,
    /// The nodes that the URL names, and what kept them from answering.
    pub named: Vec<Node<()>>,
    /// Why the sentinels do not name a master.
    pub no_master: Option<Trouble>,
    /// The nodes that take what is written.
    pub masters: Vec<Node<Seen>>,
    /// What a cluster says of itself.
    pub cluster: Option<Clustered>,
}

/// A node, and what was seen of it.
#[derive(Debug)]
pub struct Node<T> {
    /// Its host, or the path of its socket.
    pub host: String,
    /// Its port; `None` if it has a path.
    pub port: Option<u16>,
    /// Whether it is spoken to over TLS.
    pub tls: bool,
    /// The user that it knows this process as; `None` for its default.
    pub user: Option<String>,
    /// Whether a password is given.
    pub password: bool,
    /// What was seen.
    pub seen: Result<T, Trouble>,
}

/// What was seen of a node that answers.
#[derive(Debug)]
pub struct Seen {
    /// What INFO says, by name; `None` if it is refused.
    pub info: Option<HashMap<String, String>>,
    /// What is wrong, as the log would warn of it.
    pub concerns: Vec<Concern>,
    /// What CONFIG GET says; `None` if it is refused.
    pub config: Option<HashMap<String, String>>,
    /// Median time for an answer.
    pub round_trip: Duration,
    /// Microseconds by which its clock is ahead of this machine's.
    pub ahead_us: Option<i64>,
    /// What it does not let this user do.
    pub refused: Vec<Refused>,
}

/// What a cluster says of itself.
#[derive(Debug)]
pub struct Clustered {
    /// What CLUSTER INFO says, by name; `None` if it is refused.
    pub info: Option<HashMap<String, String>>,
    /// The nodes that CLUSTER NODES says to be failing; `None` if it is refused.
    pub failing: Option<Vec<String>>,
    /// How many slots have a master, by CLUSTER SLOTS.
    pub covered: u64,
}

/// What kept a node from answering. Holds no secret.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Which kind.
    pub kind: TroubleKind,
    /// As it is told.
    pub told: String,
}

/// A kind of trouble: each has its own remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// Nobody answers in time.
    Unreachable,
    /// It asks for another password, or user.
    Credentials,
    /// Its certificate, or ours, is not taken.
    Tls,
    /// Something else.
    Other,
}

impl Trouble {
    fn of(error: &RedisError) -> Self {
        let told = RedactedError::from(error).to_string();
        let credentials = error.kind() == ErrorKind::AuthenticationFailed
            || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
            || told.contains("without any password");
        let tls = ["certificate", "InvalidContentType", "handshake", "tls"];
        let kind = if credentials {
            TroubleKind::Credentials
        } else if tls.iter().any(|word| told.contains(word)) {
            TroubleKind::Tls
        } else if error.is_io_error() || error.is_timeout() {
            TroubleKind::Unreachable
        } else {
            TroubleKind::Other
        };
        Self { kind, told }
    }

    fn silent(after: Duration) -> Self {
        Self {
            kind: TroubleKind::Unreachable,
            told: format!("no answer within {after:?}"),
        }
    }
}

/// Looks at the Redis of a URL as a service would use it whose keys begin with
/// these prefixes, no longer than `at_most` in all.
///
/// # Errors
/// [`RedisSetupError`] if the URL, a file or the settings cannot be used.
pub async fn examine(
    url: &str,
    settings: &RedisSettings,
    prefixes: &[String],
    at_most: Duration,
) -> Result<Examination, RedisSetupError> {
    let dialer = Arc::new(Dialer::new(url, settings)?);
    let at_most = at_most / STEPS;
    let modes = each(dialer.nodes().to_vec(), at_most, |node| {
        let dialer = Arc::clone(&dialer);
        async move { dialer.mode_of(&node).await }
    })
    .await;
    let answered = modes.iter().find_map(|node| node.seen.as_ref().ok());
    let mode = match settings.redis_mode {
        RedisMode::Auto => answered.copied(),
        told @ (RedisMode::Single | RedisMode::Sentinel | RedisMode::Cluster) => Some(told),
    };
    let mut examination = Examination {
        mode,
        named: modes.into_iter().map(|node| node.map(|_| ())).collect(),
        no_master: None,
        masters: Vec::new(),
        cluster: None,
    };
    let answering = examination.named.iter().position(|node| node.seen.is_ok());
    let Some(first) = answering
        .and_then(|index| dialer.nodes().get(index))
        .cloned()
    else {
        return Ok(examination);
    };
    let look = tokio::time::timeout(at_most, masters(&dialer, mode, first, &mut examination));
    let masters = match look.await {
        Ok(Ok(masters)) => masters,
        Ok(Err(error)) => {
            examination.no_master = Some(Trouble::of(&error));
            return Ok(examination);
        }
        Err(_) => {
            examination.no_master = Some(Trouble::silent(at_most));
            return Ok(examination);
        }
    };
    let cluster = mode == Some(RedisMode::Cluster);
    let keys: Arc<[Keys]> = prefixes.iter().map(|prefix| Keys::new(prefix)).collect();
    let replicas = settings.redis_wait_replicas;
    examination.masters = each(masters, at_most, |node| {
        let (dialer, keys) = (Arc::clone(&dialer), Arc::clone(&keys));
        async move {
            let mut connection = dialer.connect(node).await?;
            see(&mut connection, &keys, replicas, cluster).await
        }
    })
    .await;
    Ok(examination)
}

/// Where what is written goes.
async fn masters(
    dialer: &Dialer,
    mode: Option<RedisMode>,
    first: ConnectionInfo,
    examination: &mut Examination,
) -> RedisResult<Vec<ConnectionInfo>> {
    match mode {
        Some(RedisMode::Sentinel) => Ok(vec![dialer.master().await?]),
        Some(RedisMode::Cluster) => {
            let mut connection = dialer.connect(first.clone()).await?;
            let (masters, covered) = slots(&mut connection, &first).await?;
            examination.cluster = Some(Clustered {
                info: cluster_text(&mut connection, "INFO")
                    .await?
                    .as_deref()
                    .map(owned),
                failing: cluster_text(&mut connection, "NODES")
                    .await?
                    .as_deref()
                    .map(failing),
                covered,
            });
            Ok(masters)
        }
        Some(RedisMode::Auto | RedisMode::Single) | None => Ok(vec![first]),
    }
}

/// The masters of a cluster, in the order of their slots, and how many slots they
/// have in all.
async fn slots(
    connection: &mut MultiplexedConnection,
    asked: &ConnectionInfo,
) -> RedisResult<(Vec<ConnectionInfo>, u64)> {
    let told: Vec<Vec<Value>> = cmd("CLUSTER").arg("SLOTS").query_async(connection).await?;
    let (mut masters, mut addresses, mut covered) = (Vec::new(), Vec::new(), 0);
    for range in told {
        let [Value::Int(from), Value::Int(to), Value::Array(master), ..] = range.as_slice() else {
            continue;
        };
        let [Value::BulkString(host), Value::Int(port), ..] = master.as_slice() else {
            continue;
        };
        covered += u64::try_from(to - from + 1).unwrap_or_default();
        let host = String::from_utf8_lossy(host).into_owned();
        let address = beside(asked.addr(), host, u16::try_from(*port).unwrap_or_default());
        if !addresses.contains(&address) {
            masters.push(asked.clone().set_addr(address.clone()));
            addresses.push(address);
        }
    }
    Ok((masters, covered))
}

/// The address of a node of the same cluster, spoken to in the same way. One that
/// knows no host of its own is where it was asked.
fn beside(asked: &ConnectionAddr, host: String, port: u16) -> ConnectionAddr {
    let named = |known: &String| match host.as_str() {
        "" | "?" => known.clone(),
        _ => host.clone(),
    };
    if let ConnectionAddr::Tcp(known, _) = asked {
        return ConnectionAddr::Tcp(named(known), port);
    }
    let mut address = asked.clone();
    if let ConnectionAddr::TcpTls {
        host: known,
        port: known_port,
        ..
    } = &mut address
    {
        *known = named(known);
        *known_port = port;
    }
    address
}

/// A text that a node tells of its cluster; `None` if it will not.
async fn cluster_text(
    connection: &mut MultiplexedConnection,
    what: &str,
) -> RedisResult<Option<String>> {
    unless_refused(cmd("CLUSTER").arg(what).query_async(connection).await)
}

/// Of the lines of CLUSTER NODES, the addresses of those that fail.
fn failing(told: &str) -> Vec<String> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let address = words.next()?.split(['@', ',']).next()?.to_owned();
        let fails = words
            .next()?
            .split(',')
            .any(|flag| flag.starts_with("fail"));
        fails.then_some(address)
    };
    told.lines().filter_map(line).collect()
}

async fn see(
    connection: &mut MultiplexedConnection,
    keys: &[Keys],
    wait_replicas: usize,
    cluster: bool,
) -> RedisResult<Seen> {
    let info: Option<String> = unless_refused(cmd("INFO").query_async(connection).await)?;
    let mut get = cmd("CONFIG");
    get.arg("GET").arg(&CONFIGURED);
    let config = unless_refused(get.query_async(connection).await)?;
    let round_trip = ping(connection).await?;
    let ahead_us = clock(connection).await?;
    let mut refused = Vec::new();
    for (index, keys) in keys.iter().enumerate() {
        let tried = match index {
            0 => trials::all(keys, wait_replicas > 0, cluster),
            _ => trials::on_keys(keys),
        };
        refused.extend(trials::run(connection, tried).await?);
    }
    Ok(Seen {
        concerns: info
            .as_deref()
            .map(|told| concerns(&facts(told), wait_replicas))
            .unwrap_or_default(),
        info: info.as_deref().map(owned),
        config,
        round_trip,
        ahead_us,
        refused,
    })
}

async fn ping(connection: &mut MultiplexedConnection) -> RedisResult<Duration> {
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let before = Instant::now();
        // A user who may not ping is answered all the same.
        unless_refused(cmd("PING").query_async::<Value>(connection).await)?;
        times.push(before.elapsed());
    }
    times.sort_unstable();
    Ok(times[PINGS / 2])
}

async fn clock(connection: &mut MultiplexedConnection) -> RedisResult<Option<i64>> {
    let mut best: Option<(Duration, i64)> = None;
    for _ in 0..CLOCK_READINGS {
        let (asked_at, asked) = (here_us(), Instant::now());
        let told = cmd("TIME").query_async::<(i64, i64)>(connection).await;
        let took = asked.elapsed();
        let Some((seconds, micros)) = unless_refused(told)? else {
            return Ok(None);
        };
        let ahead = ahead_us(asked_at, took, seconds * 1_000_000 + micros);
        if best.is_none_or(|(shortest, _)| took < shortest) {
            best = Some((took, ahead));
        }
    }
    Ok(best.map(|(_, ahead)| ahead))
}

/// How far a clock is ahead of ours that was asked at `asked_us` of ours: it read
/// its time halfway.
fn ahead_us(asked_us: i64, took: Duration, told_us: i64) -> i64 {
    let half = i64::try_from(took.as_micros() / 2).unwrap_or_default();
    told_us - asked_us - half
}

fn here_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}

/// What the server answered; `None` if it would not.
fn unless_refused<T>(answer: RedisResult<T>) -> RedisResult<Option<T>> {
    match answer {
        Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
            Ok(None)
        }
        told => told.map(Some),
    }
}

fn owned(told: &str) -> HashMap<String, String> {
    let facts = facts(told).into_iter();
    facts
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

impl<T> Node<T> {
    fn of(node: &ConnectionInfo, seen: Result<T, Trouble>) -> Self {
        let (host, port) = if let ConnectionAddr::Tcp(host, port)
        | ConnectionAddr::TcpTls { host, port, .. } = node.addr()
        {
            (host.clone(), Some(*port))
        } else {
            (node.addr().to_string(), None)
        };
        Self {
            host,
            port,
            tls: matches!(node.addr(), ConnectionAddr::TcpTls { .. }),
            user: node.redis_settings().username().map(str::to_owned),
            password: node.redis_settings().password().is_some(),
            seen,
        }
    }

    fn map<U>(self, seen: impl FnOnce(T) -> U) -> Node<U> {
        Node {
            host: self.host,
            port: self.port,
            tls: self.tls,
            user: self.user,
            password: self.password,
            seen: self.seen.map(seen),
        }
    }

    /// Where it is, without credentials.
    #[must_use]
    pub fn address(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

/// Looks at all nodes at once, each for so long at the most.
async fn each<T, F>(
    nodes: Vec<ConnectionInfo>,
    at_most: Duration,
    look: impl Fn(ConnectionInfo) -> F,
) -> Vec<Node<T>>
where
    T: Send + 'static,
    F: Future<Output = RedisResult<T>> + Send + 'static,
{
    let mut looks = JoinSet::new();
    for (index, node) in nodes.into_iter().enumerate() {
        let looking = look(node.clone());
        looks.spawn(async move {
            let seen = match tokio::time::timeout(at_most, looking).await {
                Ok(seen) => seen.map_err(|error| Trouble::of(&error)),
                Err(_) => Err(Trouble::silent(at_most)),
            };
            (index, Node::of(&node, seen))
        });
    }
    let mut seen = looks.join_all().await;
    seen.sort_by_key(|(index, _)| *index);
    seen.into_iter().map(|(_, node)| node).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ahead_us, failing};

    #[test]
    fn a_clock_is_compared_with_ours_at_half_of_the_way() {
        let took = Duration::from_millis(10);
        assert_eq!(ahead_us(1_000_000, took, 1_005_000), 0);
        assert_eq!(ahead_us(1_000_000, took, 4_005_000), 3_000_000);
        assert_eq!(ahead_us(4_000_000, took, 1_005_000), -3_000_000);
    }

    #[test]
    fn failing_nodes_are_those_whose_flags_say_so() {
        let told = "07c3 127.0.0.1:30004@31004,host slave e7d1 0 1426 4 connected\n\
                    67ed 127.0.0.1:30002@31002 master,fail - 0 1426 2 disconnected 5461-10922\n\
                    292f 127.0.0.1:30003@31003 master,fail? - 0 1426 3 connected\n\
                    e7d1 127.0.0.1:30001@31001 myself,master,nofailover - 0 0 1 connected 0-5460\n";
        assert_eq!(failing(told), ["127.0.0.1:30002", "127.0.0.1:30003"]);
    }
}
