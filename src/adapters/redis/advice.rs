//! What an operator should know of the Redis that the service was given.

use std::{collections::HashMap, time::Duration};

use tracing::{info, warn};

use super::pool::RedisPool;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The first version with PEXPIRETIME.
const OLDEST_MAJOR: u32 = 7;

/// Waits until Redis answers, then warns of what it would lose. Ends then.
pub async fn advise(pool: RedisPool) {
    let mut wait = FIRST_WAIT;
    let told = loop {
        match pool.info().await {
            Ok(Some(told)) => break told,
            Ok(None) => {
                warn!("redis does not allow INFO: whether it keeps events is not known");
                return;
            }
            // The health check tells of a Redis that is away.
            Err(_) => tokio::time::sleep(wait).await,
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    };
    let facts = facts(&told);
    let fact = |name: &str| facts.get(name).copied().unwrap_or("unknown");
    info!(
        version = fact("redis_version"),
        mode = fact("redis_mode"),
        append_only_file = fact("aof_enabled"),
        maxmemory_policy = fact("maxmemory_policy"),
        replicas = fact("connected_slaves"),
        "redis answers"
    );
    for concern in concerns(&facts, pool.settings().redis_wait_replicas) {
        warn!("{concern}");
    }
}

/// A thing of a Redis that would lose events, or takes none. Says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Concern {
    /// It lacks commands that are needed.
    #[error("redis {version} is too old: ingesting will fail; use 7.0 or later")]
    TooOld {
        /// What it is.
        version: String,
    },
    /// Writes go to its master.
    #[error("redis is a replica: nothing can be written to it; name its master in REDIS_URL")]
    Replica,
    /// What it holds is at the best in snapshots.
    #[error(
        "redis has no append-only file: acknowledged events are lost if it stops; \
         set appendonly yes"
    )]
    NoAppendOnlyFile,
    /// It makes room by forgetting.
    #[error(
        "redis evicts when it is full (maxmemory-policy {policy}): users' events would \
         vanish; set maxmemory-policy noeviction"
    )]
    Evicts {
        /// How.
        policy: String,
    },
    /// Fewer than an event must reach.
    #[error(
        "REDIS_WAIT_REPLICAS is {wanted}, but redis has fewer replicas: no event \
         will be acknowledged until it has more"
    )]
    TooFewReplicas {
        /// How many must have an event.
        wanted: usize,
    },
}

/// What INFO says, by name.
pub(super) fn facts(told: &str) -> HashMap<&str, &str> {
    told.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .collect()
}

pub(super) fn concerns(facts: &HashMap<&str, &str>, wait_replicas: usize) -> Vec<Concern> {
    let mut concerns = Vec::new();
    let version = facts.get("redis_version").copied().unwrap_or_default();
    let major = version.split('.').next().and_then(|text| text.parse().ok());
    if major.is_some_and(|major: u32| major < OLDEST_MAJOR) {
        let version = version.to_owned();
        concerns.push(Concern::TooOld { version });
    }
    if facts.get("role") == Some(&"slave") {
        concerns.push(Concern::Replica);
    }
    if facts.get("aof_enabled") == Some(&"0") {
        concerns.push(Concern::NoAppendOnlyFile);
    }
    if let Some(policy) = facts.get("maxmemory_policy")
        && *policy != "noeviction"
    {
        let policy = (*policy).to_owned();
        concerns.push(Concern::Evicts { policy });
    }
    let replicas = facts
        .get("connected_slaves")
        .and_then(|text| text.parse().ok());
    if replicas.is_some_and(|replicas: usize| replicas < wait_replicas) {
        let wanted = wait_replicas;
        concerns.push(Concern::TooFewReplicas { wanted });
    }
    concerns
}

#[cfg(test)]
mod tests {
    use super::{concerns, facts};

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\naof_enabled:1\r\n\
                        maxmemory_policy:noeviction\r\nconnected_slaves:1\r\n";

    fn told(good: &str, bad: &str, wait_replicas: usize) -> String {
        let told = GOOD.replace(good, bad);
        let concerns = concerns(&facts(&told), wait_replicas);
        let told: Vec<String> = concerns.iter().map(ToString::to_string).collect();
        told.join("\n")
    }

    #[test]
    fn a_redis_that_keeps_what_it_has_is_no_concern() {
        assert_eq!(told("", "", 1), "");
        // Neither is one that does not say.
        assert_eq!(concerns(&facts(""), 0), Vec::new());
    }

    #[test]
    fn each_thing_that_loses_events_is_told_with_its_remedy() {
        assert!(told("aof_enabled:1", "aof_enabled:0", 0).contains("appendonly yes"));
        assert!(told("aof_enabled:1", "role:slave", 0).contains("is a replica"));
        assert!(told("noeviction", "volatile-lru", 0).contains("volatile-lru"));
        assert!(told("7.0.15", "6.2.7", 0).contains("6.2.7 is too old"));
        assert!(told("", "", 2).contains("REDIS_WAIT_REPLICAS is 2"));
    }
}
