//! One master of Redis.

use std::{collections::BTreeSet, collections::HashMap, time::Duration};

use super::{super::report::Finding, Shell};
use crate::{
    adapters::redis::{Concern, Refusal, Seen},
    config::Settings,
};

/// A clock that is off by this many microseconds moves events in and out of
/// windows.
const SKEW_US: u64 = 2_000_000;
/// Of the room for data, in percent: from here on it will be full soon.
const NEARLY_FULL: u64 = 80;
/// More than that, and the system ends it: copies are made when it saves.
const MOST_OF_A_MACHINE: &str = "if its machine has that: 60 % of its memory at most";
/// Of the time for an answer, what pings may take.
const SLOW_SHARE: u32 = 5;

type Facts = HashMap<String, String>;

pub(super) fn check(
    settings: &Settings,
    prefixes: &[String],
    shell: &Shell<'_, Seen>,
    seen: &Seen,
) -> Vec<Finding> {
    let address = shell.node.address();
    let mut findings = Vec::new();
    match &seen.info {
        Some(info) => {
            findings.push(version(info, seen, &address));
            findings.push(role(info, seen, &address));
            findings.extend(persistence(info, seen, shell));
            findings.extend(saving(info, shell));
            findings.extend(memory(info, seen, shell));
            findings.extend(replicas(settings, info, seen, shell));
        }
        None => {
            let found = format!("{address}: cannot tell: INFO is refused");
            for check in ["version", "persistence", "eviction"] {
                findings.push(Finding::ok(check, found.clone()));
            }
        }
    }
    findings.extend(permissions(prefixes, shell, seen));
    findings.push(clock(seen.ahead_us, &address));
    findings.push(latency(settings, seen.round_trip, &address));
    findings
}

fn fact<'a>(facts: &'a Facts, name: &str) -> &'a str {
    facts.get(name).map_or("unknown", String::as_str)
}

fn number(facts: &Facts, name: &str) -> Option<u64> {
    facts.get(name)?.parse().ok()
}

fn version(info: &Facts, seen: &Seen, address: &str) -> Finding {
    let (server, version) = match info.get("valkey_version") {
        Some(version) => ("Valkey", version.as_str()),
        None => ("Redis", fact(info, "redis_version")),
    };
    let found = format!("{address}: {server} {version}");
    let old = |concern: &Concern| matches!(concern, Concern::TooOld { .. });
    if seen.concerns.iter().any(old) {
        let found = format!("{found} is too old: ingesting will fail");
        return Finding::fail("version", found)
            .todo("docker pull redis:7.2   # Redis 7.0 or later, or Valkey, on the same data");
    }
    Finding::ok("version", found)
}

fn role(info: &Facts, seen: &Seen, address: &str) -> Finding {
    if !seen.concerns.contains(&Concern::Replica) {
        return Finding::ok("role", format!("{address}: {}", fact(info, "role")));
    }
    let (host, port) = (fact(info, "master_host"), fact(info, "master_port"));
    let found = format!("{address} is a replica: nothing can be written to it");
    Finding::fail("role", found).todo(format!(
        "export REDIS_URL=redis://{host}:{port}   # its master, with the user and password that \
         REDIS_URL has"
    ))
}

fn persistence(info: &Facts, seen: &Seen, shell: &Shell<'_, Seen>) -> Vec<Finding> {
    const CHECK: &str = "persistence";
    let address = shell.node.address();
    let configured = |name: &str| seen.config.as_ref()?.get(name).map(String::as_str);
    let save = configured("save");
    if seen.concerns.contains(&Concern::NoAppendOnlyFile) {
        let remedy = |finding: Finding| {
            finding
                .todo(set(shell, seen, "appendonly", "yes"))
                .todo(rewrite(shell, seen, "appendonly yes"))
        };
        let failed = match save {
            Some("") => Finding::fail(
                CHECK,
                format!("{address} keeps nothing: all is lost when it stops"),
            ),
            Some(save) => Finding::warn(
                CHECK,
                format!(
                    "{address} keeps only snapshots (save {save}): what came after the last is lost"
                ),
            ),
            None => Finding::warn(
                CHECK,
                format!(
                    "{address} has no append-only file; whether it keeps snapshots cannot be told"
                ),
            ),
        };
        return vec![remedy(failed)];
    }
    if fact(info, "aof_enabled") != "1" {
        return vec![Finding::ok(CHECK, format!("{address}: cannot tell"))];
    }
    let found = match configured("appendfsync") {
        Some("no") => {
            let found = format!("{address}: append-only file, saved when the system likes to");
            return vec![
                Finding::warn(CHECK, found)
                    .todo(set(shell, seen, "appendfsync", "everysec"))
                    .todo(rewrite(shell, seen, "appendfsync everysec")),
            ];
        }
        Some("always") => "append-only file, appendfsync always: a crash loses nothing",
        Some(_) => "append-only file, appendfsync everysec: a crash can lose the last second",
        None => "append-only file; appendfsync cannot be told, as CONFIG is refused",
    };
    vec![Finding::ok(CHECK, format!("{address}: {found}"))]
}

/// What went wrong when it last saved.
fn saving(info: &Facts, shell: &Shell<'_, Seen>) -> Vec<Finding> {
    let address = shell.node.address();
    let last = [
        ("rdb_last_bgsave_status", "the last snapshot", "BGSAVE"),
        (
            "aof_last_write_status",
            "the last write of the append-only file",
            "INFO persistence",
        ),
        (
            "aof_last_bgrewrite_status",
            "the last rewrite of the append-only file",
            "BGREWRITEAOF",
        ),
    ];
    let failed = last
        .into_iter()
        .filter(|(name, ..)| fact(info, name) == "err");
    failed
        .map(|(_, what, again)| {
            let found = format!("{address}: {what} failed; its log says why");
            Finding::fail("last save", found)
                .todo("df -h   # on its machine: room in its directory")
                .todo(shell.cli_as_admin(again))
        })
        .collect()
}

fn memory(info: &Facts, seen: &Seen, shell: &Shell<'_, Seen>) -> Vec<Finding> {
    const CHECK: &str = "eviction";
    let address = shell.node.address();
    let most = number(info, "maxmemory").filter(|most| *most > 0);
    let policy = seen.concerns.iter().find_map(|concern| match concern {
        Concern::Evicts { policy } => Some(policy.as_str()),
        Concern::TooOld { .. }
        | Concern::Replica
        | Concern::NoAppendOnlyFile
        | Concern::TooFewReplicas { .. } => None,
    });
    let mut findings = vec![match policy {
        None => Finding::ok(
            CHECK,
            format!(
                "{address}: maxmemory-policy {}",
                fact(info, "maxmemory_policy")
            ),
        ),
        Some(policy) => {
            let found = match most {
                Some(_) => format!(
                    "{address}: maxmemory-policy {policy}: users' events vanish when it is full"
                ),
                None => format!(
                    "{address}: maxmemory-policy {policy}, without a maxmemory yet: users' events \
                     would vanish"
                ),
            };
            let finding = if most.is_some() {
                Finding::fail(CHECK, found)
            } else {
                Finding::warn(CHECK, found)
            };
            finding
                .todo(set(shell, seen, "maxmemory-policy", "noeviction"))
                .todo(rewrite(shell, seen, "maxmemory-policy noeviction"))
        }
    }];
    let used = number(info, "used_memory").unwrap_or_default();
    let Some(most) = most else {
        let found = format!("{address}: {} MiB used, no maxmemory", mib(used));
        findings.push(Finding::ok("memory", found));
        return findings;
    };
    let percent = used.saturating_mul(100) / most;
    let found = format!(
        "{address}: {} of {} MiB used ({percent}%)",
        mib(used),
        mib(most)
    );
    findings.push(if percent < NEARLY_FULL {
        Finding::ok("memory", found)
    } else {
        more_room(Finding::warn("memory", found), seen, shell)
    });
    findings
}

/// With twice the room, or twice what is used already.
fn more_room(finding: Finding, seen: &Seen, shell: &Shell<'_, Seen>) -> Finding {
    let size = |name| number(seen.info.as_ref()?, name);
    let Some(size) = size("maxmemory").max(size("used_memory")) else {
        return finding.todo(format!(
            "{}   # what it is; then set twice that, {MOST_OF_A_MACHINE}",
            shell.cli_as_admin("CONFIG GET maxmemory")
        ));
    };
    let more = size.saturating_mul(2).to_string();
    let set = set(shell, seen, "maxmemory", &more);
    finding
        .todo(format!("{set}   # {MOST_OF_A_MACHINE}"))
        .todo(rewrite(shell, seen, &format!("maxmemory {more}")))
}

/// With one decimal, rounded.
fn mib(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10 + (1 << 19)) >> 20;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn replicas(
    settings: &Settings,
    info: &Facts,
    seen: &Seen,
    shell: &Shell<'_, Seen>,
) -> Option<Finding> {
    let wanted = settings.redis.redis_wait_replicas;
    let has = fact(info, "connected_slaves");
    let address = shell.node.address();
    if wanted == 0 {
        return None;
    }
    let found = format!("{address}: {has} replicas, REDIS_WAIT_REPLICAS is {wanted}");
    if !seen.concerns.contains(&Concern::TooFewReplicas { wanted }) {
        return Some(Finding::ok("replicas", found));
    }
    let found = format!("{found}: no event will be acknowledged");
    Some(
        Finding::fail("replicas", found)
            .todo(format!("export REDIS_WAIT_REPLICAS={has}"))
            .todo(format!(
                "redis-server --port 6380 --replicaof {} {}   # or start one more",
                shell.node.host,
                shell.node.port.unwrap_or_default()
            )),
    )
}

/// What Redis refused, with what would allow it.
fn permissions(prefixes: &[String], shell: &Shell<'_, Seen>, seen: &Seen) -> Vec<Finding> {
    let address = shell.node.address();
    let user = shell.node.user.as_deref().unwrap_or("default");
    let (mut commands, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let mut findings = Vec::new();
    for refused in &seen.refused {
        match &refused.refusal {
            Refusal::Command => {
                commands.insert(refused.command.as_str());
            }
            Refusal::Key(key) => {
                keys.insert(key.as_str());
            }
            Refusal::Full | Refusal::NoWrites(_) => {}
        }
    }
    let full = seen
        .refused
        .iter()
        .any(|refused| refused.refusal == Refusal::Full);
    if full {
        let found = format!("{address} is full: it takes no events");
        let finding = Finding::fail("writes", found);
        findings.push(more_room(finding, seen, shell));
    }
    let refused = seen
        .refused
        .iter()
        .find_map(|refused| match &refused.refusal {
            Refusal::NoWrites(told) => Some(told),
            Refusal::Command | Refusal::Key(_) | Refusal::Full => None,
        });
    if let Some(told) = refused {
        let found = format!("{address} takes no writes: {told}");
        let look = shell.cli_as_admin("INFO persistence");
        findings.push(Finding::fail("writes", found).todo(look));
    }
    if commands.is_empty() && keys.is_empty() {
        let keys: Vec<String> = prefixes
            .iter()
            .flat_map(|prefix| patterns(prefix))
            .collect();
        let found = format!(
            "{address}: user {user} may do what is needed on {}",
            keys.join(" ")
        );
        findings.push(Finding::ok("permissions", found));
        return findings;
    }
    let mut may_not = Vec::new();
    if !commands.is_empty() {
        let commands: Vec<&str> = commands.iter().copied().collect();
        may_not.push(format!("use {}", commands.join(", ")));
    }
    if !keys.is_empty() {
        let keys: Vec<String> = keys.iter().map(|key| format!("{key}*")).collect();
        may_not.push(format!("touch {}", keys.join(", ")));
    }
    let grants = commands
        .iter()
        .map(|command| format!("'+{command}'"))
        .chain(keys.iter().map(|key| format!("'~{key}*'")));
    let grants: Vec<String> = grants.collect();
    let set = format!("ACL SETUSER {user} {}", grants.join(" "));
    let found = format!("{address}: user {user} may not {}", may_not.join(", nor "));
    findings.push(
        Finding::fail("permissions", found)
            .todo(shell.cli_as_admin(&set))
            .todo(format!(
                "{}   # if it has an aclfile; else in redis.conf: user {user} ... {}",
                shell.cli_as_admin("ACL SAVE"),
                grants.join(" ").replace('\'', "")
            )),
    );
    findings
}

fn patterns(prefix: &str) -> [String; 2] {
    [format!("{prefix}evt:*"), format!("{prefix}umodel:*")]
}

fn clock(ahead_us: Option<i64>, address: &str) -> Finding {
    const CHECK: &str = "clock";
    let Some(ahead_us) = ahead_us else {
        return Finding::ok(CHECK, format!("{address}: cannot tell: TIME is refused"));
    };
    let off = Duration::from_micros(ahead_us.unsigned_abs());
    if ahead_us.unsigned_abs() < SKEW_US {
        return Finding::ok(
            CHECK,
            format!("{address} is within {:.1} s of ours", off.as_secs_f64()),
        );
    }
    let which = if ahead_us > 0 { "ahead of" } else { "behind" };
    let found = format!(
        "{address} is {:.1} s {which} ours: windows and the times of events go by Redis's clock",
        off.as_secs_f64()
    );
    Finding::warn(CHECK, found).todo(
        "timedatectl set-ntp true   # on both machines; timedatectl shows whose clock is wrong",
    )
}

fn latency(settings: &Settings, round_trip: Duration, address: &str) -> Finding {
    const CHECK: &str = "latency";
    let timeout = settings.redis.redis_command_timeout;
    let found = format!(
        "{address}: {:.2} ms for a PING",
        round_trip.as_secs_f64() * 1e3
    );
    if round_trip < timeout / SLOW_SHARE {
        return Finding::ok(CHECK, found);
    }
    let found = format!("{found}, of {timeout:?} that an answer may take: put it nearer");
    let longer = (round_trip * 2 * SLOW_SHARE).as_millis();
    Finding::warn(CHECK, found).todo(format!(
        "export REDIS_COMMAND_TIMEOUT={longer}ms   # until then"
    ))
}

/// The line that changes a setting of a Redis that runs.
fn set(shell: &Shell<'_, Seen>, seen: &Seen, name: &str, value: &str) -> String {
    if seen.config.is_none() {
        return format!("# CONFIG is refused: set {name} to {value} where this Redis is managed");
    }
    shell.cli_as_admin(&format!("CONFIG SET {name} {value}"))
}

/// The line that makes it last.
fn rewrite(shell: &Shell<'_, Seen>, seen: &Seen, line: &str) -> String {
    let file = seen.info.as_ref().and_then(|info| info.get("config_file"));
    if seen.config.is_none() {
        return format!("# in redis.conf: {line}");
    }
    if file.is_some_and(|file| file.is_empty()) {
        return format!(
            "# it runs without a redis.conf: start it with --{line} from now on (in a file: {line})"
        );
    }
    let rewrite = shell.cli_as_admin("CONFIG REWRITE");
    format!("{rewrite}   # writes to its redis.conf: {line}")
}

#[cfg(test)]
mod tests {
    use super::{clock, mib};
    use crate::cli::doctor::Level;

    #[test]
    fn sizes_have_one_decimal() {
        let told = [0, 1, 52_429, 1_572_864, 104_857_600].map(mib);
        assert_eq!(told, ["0.0", "0.0", "0.1", "1.5", "100.0"]);
        assert_eq!(mib(u64::MAX), "17592186044416.0");
    }

    #[test]
    fn a_clock_is_warned_of_from_two_seconds_on_either_side() {
        let told = |ahead_us| clock(ahead_us, "h:1");
        assert_eq!(told(Some(1_999_999)).level, Level::Ok);
        assert_eq!(told(Some(-1_999_999)).level, Level::Ok);
        assert_eq!(told(None).level, Level::Ok);
        let ahead = told(Some(2_000_000));
        assert_eq!(ahead.level, Level::Warn);
        assert!(ahead.found.contains("2.0 s ahead of"), "{}", ahead.found);
        let behind = told(Some(-3_600_000_000));
        assert_eq!(behind.level, Level::Warn);
        assert!(behind.found.contains("3600.0 s behind"), "{}", behind.found);
    }
}
