//! Redis: it answers, the ACL suffices, and it keeps acknowledged events.

use std::{collections::BTreeSet, time::Duration};

use super::report::{Finding, Section, Severity};
use crate::{
    adapters::redis::{self, AclDenial, Concern, RedisExamination, RedisMaster},
    config::Settings,
    edge::tenants::TenantsFile,
    ports::{StoreError, StoreErrorKind},
    telemetry::error_chain::with_causes,
};

const SECTION: Section = Section("redis");
/// A larger difference of the clocks moves events into and out of windows.
const MAX_SKEW_US: u64 = 2_000_000;

pub(super) async fn check(
    settings: &Settings,
    tenants: Option<&TenantsFile>,
    timeout: Duration,
) -> Vec<Finding> {
    let Some(url) = &settings.redis_url else {
        return Vec::new();
    };
    let prefix = &settings.redis.redis_key_prefix;
    let prefixes: Vec<String> = match tenants {
        Some(file) => {
            let tenants = file.tenants.values();
            tenants
                .map(|tenant| format!("{prefix}{}", tenant.key_prefix))
                .collect()
        }
        None => vec![prefix.clone()],
    };
    let mirrors = settings.qdrant_api_url.is_some() && settings.qdrant.catalog_mirror.is_on();
    let examined = redis::examine(url.expose(), &settings.redis, &prefixes, mirrors);
    let examination = match tokio::time::timeout(timeout, examined).await {
        Ok(Ok(Ok(examination))) => examination,
        Ok(Ok(Err(error))) => return vec![unreachable(&error)],
        Ok(Err(error)) => return vec![SECTION.fail("settings", error).refused().fix(REDIS_URL)],
        Err(_) => {
            let finding = SECTION.fail("reachable", format!("no answer within {timeout:?}"));
            return vec![finding.fix(redis_cli("PING"))];
        }
    };
    let mut findings = vec![match &examination.health {
        Ok(()) => SECTION.ok("reachable", "answers and takes writes"),
        Err(error) => SECTION
            .fail("reachable", with_causes(error))
            .fix(refused_writes(&with_causes(error)).unwrap_or_else(|| redis_cli("INFO"))),
    }];
    for master in &examination.masters {
        findings.extend(durability(master));
    }
    if examination.masters.is_empty() {
        let found = "not known: the ACL denies INFO";
        findings.push(SECTION.ok("durability", found));
    }
    findings.extend(permissions(&examination.denials));
    findings.extend(scripts(&examination));
    findings.push(clock(examination.clock_ahead_us));
    findings
}

const REDIS_URL: &str = "export REDIS_URL=redis://USER:PASSWORD@127.0.0.1:6379   # rediss:// with \
                         TLS; , / @ in a password are written as %2C %2F %40";

fn unreachable(error: &StoreError) -> Finding {
    let text = with_causes(error);
    let finding = SECTION.fail("reachable", &text);
    if error.kind() == StoreErrorKind::Misconfigured {
        return finding
            .fix(REDIS_URL)
            .fix("export REDIS_SENTINEL_PASSWORD=PASSWORD   # if the nodes are sentinels");
    }
    if ["certificate", "InvalidContentType", "handshake"]
        .iter()
        .any(|word| text.contains(word))
    {
        return finding.fix("export REDIS_TLS_CA_FILE=redis-ca.pem   # the CA of its certificate");
    }
    finding
        .fix(redis_cli("PING"))
        .fix("redis-server --appendonly yes --maxmemory-policy noeviction   # if none is running")
        .fix("unset REDIS_MODE   # detects sentinels and clusters")
}

/// What to do about an error with which Redis refuses all writes; `None` for another
/// error.
fn refused_writes(error: &str) -> Option<String> {
    let command = if error.contains("NOREPLICAS") {
        "CONFIG SET min-replicas-to-write 0   # and in redis.conf; or start the replicas"
    } else if error.contains("MISCONF") {
        "INFO persistence   # snapshots fail: rdb_last_bgsave_status, aof_last_write_status; \
         free the disk"
    } else if error.contains("OOM") {
        "CONFIG SET maxmemory 0   # and in redis.conf; or a larger value than used_memory"
    } else {
        return None;
    };
    Some(redis_cli(command))
}

fn redis_cli(command: &str) -> String {
    format!("redis-cli -u \"$REDIS_URL\" {command}")
}

/// A finding for each concern of a master.
fn durability(master: &RedisMaster) -> Vec<Finding> {
    let RedisMaster {
        address,
        version,
        concerns,
    } = master;
    if concerns.is_empty() {
        let found = format!("Redis {version}, append-only file, no eviction {address}");
        return vec![SECTION.ok("durability", found.trim_end())];
    }
    let of_concern = |concern: &Concern| {
        let set = |setting| redis_cli(&format!("CONFIG SET {setting}   # and in redis.conf"));
        let (check, severity, fix) = match concern {
            Concern::TooOld { .. } => (
                "version",
                Severity::Fail,
                "docker pull redis:7.2   # or Valkey, on the same data".to_owned(),
            ),
            Concern::Replica => ("role", Severity::Fail, REDIS_URL.to_owned()),
            Concern::NoAppendOnlyFile => ("persistence", Severity::Warn, set("appendonly yes")),
            Concern::Evicts { .. } => (
                "eviction",
                Severity::Fail,
                set("maxmemory-policy noeviction"),
            ),
            Concern::TooFewReplicas { .. } => (
                "replicas",
                Severity::Fail,
                "export REDIS_WAIT_REPLICAS=0   # or start replicas".to_owned(),
            ),
        };
        let found = format!("{concern} {address}");
        SECTION.finding(check, severity, found.trim_end()).fix(fix)
    };
    concerns.iter().map(of_concern).collect()
}

/// Whether the service's scripts run.
fn scripts(examination: &RedisExamination) -> Option<Finding> {
    let missing = examination
        .denials
        .iter()
        .filter_map(|denial| match denial {
            AclDenial::Missing(command) => Some(command.as_str()),
            AclDenial::Command(_)
            | AclDenial::Keys(_)
            | AclDenial::Key(_)
            | AclDenial::Writes(_) => None,
        });
    let missing = Vec::from_iter(missing);
    let fix = "docker pull redis:7.2   # or Valkey; with every command under its own name";
    if !missing.is_empty() {
        let found = format!("misconfigured: it lacks {}", missing.join(", "));
        return Some(SECTION.fail("commands", found).fix(fix));
    }
    Some(match examination.scripts.as_ref()? {
        Ok(()) => SECTION.ok("scripts", "run on a probe key"),
        Err(error) => SECTION.fail("scripts", with_causes(error)).fix(fix),
    })
}

/// What Redis refuses, with the ACL rules that allow it.
fn permissions(denials: &[AclDenial]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut rules = BTreeSet::new();
    for denial in denials {
        match denial {
            AclDenial::Command(command) => {
                rules.insert(format!("+{command}"));
            }
            AclDenial::Missing(_) => {}
            AclDenial::Keys(prefix) => {
                rules.insert(format!("~{prefix}*"));
            }
            AclDenial::Key(key) => {
                rules.insert(format!("~{key}"));
            }
            AclDenial::Writes(error) => {
                let fix = refused_writes(error);
                let fix = fix.unwrap_or_else(|| redis_cli("INFO"));
                findings.push(SECTION.fail("writes", error).fix(fix));
            }
        }
    }
    // Every write command fails in the same way.
    findings.truncate(1);
    findings.push(if rules.is_empty() {
        SECTION.ok("permissions", "the ACL allows every command that is needed")
    } else {
        let rules = Vec::from_iter(rules);
        let found = format!("the ACL lacks {}", rules.join(" "));
        let set = redis_cli(&format!("ACL SETUSER USER '{}'", rules.join("' '")));
        let finding = SECTION.fail("permissions", found);
        finding.fix(format!(
            "{set}   # as an administrator, for the USER of REDIS_URL"
        ))
    });
    findings
}

fn clock(ahead_us: Option<i64>) -> Finding {
    let Some(ahead_us) = ahead_us else {
        return SECTION.ok("clock", "not known: the ACL denies TIME");
    };
    let seconds = ahead_us as f64 / 1e6;
    let found = format!("{seconds:.1} s ahead of this machine's; windows follow the Redis clock");
    if ahead_us.unsigned_abs() < MAX_SKEW_US {
        return SECTION.ok("clock", found);
    }
    let finding = SECTION.warn("clock", found);
    finding.fix("timedatectl set-ntp true   # on both machines")
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn a_clock_skew_of_two_seconds_is_a_warning() {
        let level = |ahead_us| serde_json::to_value(clock(ahead_us)).unwrap()["level"].clone();
        for ahead_us in [None, Some(1_999_999), Some(-1_999_999)] {
            assert_eq!(level(ahead_us), "ok", "{ahead_us:?}");
        }
        for ahead_us in [2_000_000, -3_600_000_000] {
            assert_eq!(level(Some(ahead_us)), "warn", "{ahead_us}");
        }
    }
}
