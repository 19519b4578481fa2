//! What an operator should know about the Redis that the service uses.

use std::{collections::HashMap, time::Duration};

use tracing::{info, warn};

use super::{
    acl_probe::{AclDenial, AclProbe},
    keys::Keys,
    pool::RedisPool,
};

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The first major version with PEXPIRETIME.
const OLDEST_MAJOR: u32 = 7;

/// Waits until Redis answers, then logs its version and every [`Concern`].
pub async fn advise(pool: RedisPool) {
    let mut backoff = FIRST_BACKOFF;
    let info = loop {
        match pool.info().await {
            Ok(Some(text)) => break parse_info(&text),
            Ok(None) => {
                warn!("redis denies INFO: whether it persists events is not known");
                return;
            }
            // The health check reports a Redis that does not answer.
            Err(_) => tokio::time::sleep(backoff).await,
        }
        backoff = (backoff * 2).min(MAX_BACKOFF);
    };
    let field = |name: &str| info.get(name).map_or("unknown", String::as_str);
    info!(
        version = field("redis_version"),
        mode = field("redis_mode"),
        append_only_file = field("aof_enabled"),
        maxmemory_policy = field("maxmemory_policy"),
        replicas = field("connected_slaves"),
        "redis answers"
    );
    for concern in concerns(&info, pool.settings().redis_wait_replicas) {
        warn!("{concern}");
    }
}

/// Waits until Redis answers, then logs which keys of associations its ACL denies.
/// Lists do without these, so the health check does not test them.
pub async fn advise_associations(pool: RedisPool, key_prefix: String) {
    let keys = Keys::new(&key_prefix);
    let mut backoff = FIRST_BACKOFF;
    let denials = loop {
        let probed = pool.run("probe", |mut connection| {
            let probe = AclProbe::of_associations(&keys);
            async move { probe.run(&mut connection).await }
        });
        match probed.await {
            Ok(denials) => break denials,
            Err(_) => tokio::time::sleep(backoff).await,
        }
        backoff = (backoff * 2).min(MAX_BACKOFF);
    };
    let mut lacking: Vec<String> = denials.into_iter().filter_map(acl_rule).collect();
    lacking.dedup();
    if !lacking.is_empty() {
        warn!(
            acl_rules = lacking.join(" "),
            "redis denies keys of associations: lists lack what other users did, and users \
             cannot be erased; add these rules to the ACL"
        );
    }
}

/// The ACL rule that allows what was denied; `None` if no rule does.
fn acl_rule(denial: AclDenial) -> Option<String> {
    match denial {
        AclDenial::Keys(prefix) => Some(format!("~{prefix}*")),
        AclDenial::Key(key) => Some(format!("~{key}")),
        AclDenial::Command(command) => Some(format!("+{command}")),
        AclDenial::Missing(_) | AclDenial::Writes(_) => None,
    }
}

/// A property of a Redis with which it loses events or accepts none. Displays as a
/// warning with its fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Concern {
    /// It lacks commands that are needed.
    #[error("redis {version} is too old: ingesting will fail; use 7.0 or later")]
    TooOld {
        /// Its version.
        version: String,
    },
    /// Only its master accepts writes.
    #[error("redis is a replica: nothing can be written to it; name its master in REDIS_URL")]
    Replica,
    /// It persists snapshots at most.
    #[error(
        "redis has no append-only file: acknowledged events are lost if it stops; \
         set appendonly yes"
    )]
    NoAppendOnlyFile,
    /// It evicts keys when it is full.
    #[error(
        "redis evicts when it is full (maxmemory-policy {policy}): users' events would \
         vanish; set maxmemory-policy noeviction"
    )]
    Evicts {
        /// Its maxmemory-policy.
        policy: String,
    },
    /// It has fewer replicas than an event must reach.
    #[error(
        "REDIS_WAIT_REPLICAS is {wanted}, but redis has fewer replicas: no event \
         will be acknowledged until it has more"
    )]
    TooFewReplicas {
        /// The replicas that must hold an event.
        wanted: usize,
    },
}

/// The fields of INFO, by name.
pub(super) fn parse_info(text: &str) -> HashMap<String, String> {
    text.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Every concern of a node; a field that INFO lacks is none.
pub(super) fn concerns(info: &HashMap<String, String>, wait_replicas: usize) -> Vec<Concern> {
    let field = |name: &str| info.get(name).map(String::as_str);
    let mut concerns = Vec::new();
    let version = field("redis_version").unwrap_or_default();
    let major = version.split('.').next().and_then(|text| text.parse().ok());
    if major.is_some_and(|major: u32| major < OLDEST_MAJOR) {
        let version = version.to_owned();
        concerns.push(Concern::TooOld { version });
    }
    if field("role") == Some("slave") {
        concerns.push(Concern::Replica);
    }
    if field("aof_enabled") == Some("0") {
        concerns.push(Concern::NoAppendOnlyFile);
    }
    if let Some(policy) = field("maxmemory_policy")
        && policy != "noeviction"
    {
        let policy = policy.to_owned();
        concerns.push(Concern::Evicts { policy });
    }
    let replicas = field("connected_slaves").and_then(|text| text.parse().ok());
    if replicas.is_some_and(|replicas: usize| replicas < wait_replicas) {
        let wanted = wait_replicas;
        concerns.push(Concern::TooFewReplicas { wanted });
    }
    concerns
}

#[cfg(test)]
mod tests {
    use super::{concerns, parse_info};

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\naof_enabled:1\r\n\
                        maxmemory_policy:noeviction\r\nconnected_slaves:1\r\n";

    fn warnings(good: &str, bad: &str, wait_replicas: usize) -> String {
        let info = parse_info(&GOOD.replace(good, bad));
        let concerns = concerns(&info, wait_replicas);
        let texts: Vec<String> = concerns.iter().map(ToString::to_string).collect();
        texts.join("\n")
    }

    #[test]
    fn a_redis_that_persists_its_data_raises_no_concern() {
        assert_eq!(warnings("", "", 1), "");
        assert_eq!(concerns(&parse_info(""), 0), Vec::new());
    }

    #[test]
    fn each_concern_names_its_fix() {
        assert!(warnings("aof_enabled:1", "aof_enabled:0", 0).contains("appendonly yes"));
        assert!(warnings("aof_enabled:1", "role:slave", 0).contains("is a replica"));
        assert!(warnings("noeviction", "volatile-lru", 0).contains("volatile-lru"));
        assert!(warnings("7.0.15", "6.2.7", 0).contains("6.2.7 is too old"));
        assert!(warnings("", "", 2).contains("REDIS_WAIT_REPLICAS is 2"));
    }
}
