//! Redis: whether it answers, lets us work, and keeps what it took.

mod node;

use std::time::Duration;

use super::{files, report::Finding};
use crate::{
    adapters::redis::{
        self, Clustered, Examination, Node, RedisMode, RedisSetupError, Trouble, TroubleKind,
    },
    config::Settings,
    edge::tenants::TenantsFile,
};

/// Of every cluster.
const SLOTS: u64 = 16_384;

pub(super) async fn check(
    settings: &Settings,
    tenants: Option<&TenantsFile>,
    at_most: Duration,
) -> Vec<Finding> {
    let Some(url) = &settings.redis_url else {
        return Vec::new();
    };
    let own = &settings.redis.redis_key_prefix;
    let prefixes: Vec<String> = match tenants {
        Some(file) => {
            let tenants = file.tenants.values();
            tenants
                .map(|tenant| format!("{own}{}", tenant.key_prefix))
                .collect()
        }
        None => vec![own.clone()],
    };
    match redis::examine(url.expose(), &settings.redis, &prefixes, at_most).await {
        Ok(examination) => findings(settings, &prefixes, &examination),
        Err(error) => {
            let todo = match &error {
                RedisSetupError::Url => {
                    "export REDIS_URL=redis://127.0.0.1:6379   # or as the text above says"
                }
                RedisSetupError::CertificatesWithoutTls => {
                    "unset REDIS_TLS_CA_FILE REDIS_TLS_CERT_FILE REDIS_TLS_KEY_FILE   # or begin \
                     REDIS_URL with rediss://"
                }
                RedisSetupError::SeveralNodes => "export REDIS_MODE=auto   # or name one node",
                RedisSetupError::HalfACertificate => {
                    "export REDIS_TLS_CERT_FILE=client.pem REDIS_TLS_KEY_FILE=client.key"
                }
                RedisSetupError::NoCertificate
                | RedisSetupError::File { .. }
                | RedisSetupError::Client(_)
                | RedisSetupError::Pool(_) => {
                    "ls -l \"$REDIS_TLS_CA_FILE\" \"$REDIS_TLS_CERT_FILE\" \"$REDIS_TLS_KEY_FILE\""
                }
            };
            vec![
                Finding::fail("settings", error.to_string())
                    .refused()
                    .todo(todo),
            ]
        }
    }
}

fn findings(settings: &Settings, prefixes: &[String], seen: &Examination) -> Vec<Finding> {
    let mode = match seen.mode {
        Some(RedisMode::Sentinel) => "a sentinel",
        Some(RedisMode::Cluster) => "of a cluster",
        Some(RedisMode::Single | RedisMode::Auto) | None => "a single server",
    };
    let answers = seen.named.iter().any(|node| node.seen.is_ok());
    let mut findings: Vec<Finding> = seen
        .named
        .iter()
        .map(|node| asks_sentinels_password(named(settings, node, mode, answers), seen, node))
        .collect();
    let single = matches!(seen.mode, Some(RedisMode::Single | RedisMode::Auto));
    if single && seen.named.len() > 1 {
        let found = "REDIS_URL names several nodes that are neither sentinels nor a cluster";
        let todo = "export REDIS_URL=redis://HOST:PORT   # the master alone";
        findings.push(Finding::fail("mode", found).todo(todo));
    }
    if let Some(trouble) = &seen.no_master {
        findings.push(no_master(settings, seen, trouble));
    }
    if let Some(cluster) = &seen.cluster {
        findings.extend(of_cluster(cluster, seen));
    }
    for master in &seen.masters {
        let is_named = single && seen.named.len() == 1;
        let shell = Shell {
            settings,
            node: master,
        };
        match &master.seen {
            Ok(facts) => findings.extend(node::check(settings, prefixes, &shell, facts)),
            Err(trouble) => findings.push(unreachable(&shell, trouble, "master", is_named)),
        }
    }
    findings
}

fn named(settings: &Settings, node: &Node<()>, mode: &str, others: bool) -> Finding {
    match &node.seen {
        Ok(()) => {
            let tls = if node.tls { "TLS" } else { "no TLS" };
            Finding::ok("reachable", format!("{}, {mode}, {tls}", node.address()))
        }
        Err(trouble) => {
            let finding = unreachable(&Shell { settings, node }, trouble, "reachable", true);
            if others && trouble.kind == TroubleKind::Unreachable {
                // The others know of each other.
                return Finding {
                    level: super::Level::Warn,
                    ..finding
                };
            }
            finding
        }
    }
}

/// The password of REDIS_URL is for the master: sentinels have another setting.
fn asks_sentinels_password(finding: Finding, seen: &Examination, node: &Node<()>) -> Finding {
    let refused = |trouble: &Trouble| trouble.kind == TroubleKind::Credentials;
    if !node.seen.as_ref().is_err_and(refused) {
        return finding;
    }
    let export = "export REDIS_SENTINEL_PASSWORD=PASSWORD";
    match seen.mode {
        Some(RedisMode::Sentinel) => Finding {
            todo: vec![format!("{export}   # that of the sentinels")],
            ..finding
        },
        Some(RedisMode::Auto) | None => finding.todo(format!("{export}   # if it is a sentinel")),
        Some(RedisMode::Single | RedisMode::Cluster) => finding,
    }
}

fn unreachable<T>(
    shell: &Shell<'_, T>,
    trouble: &Trouble,
    check: &'static str,
    by_url: bool,
) -> Finding {
    let node = shell.node;
    let address = node.address();
    let failed = Finding::fail(check, format!("{address}: {}", trouble.told));
    match trouble.kind {
        TroubleKind::Credentials => {
            let user = node.user.as_deref().unwrap_or("default");
            let given = if node.password { "a password" } else { "no password" };
            let found = format!("{address}: {} (user {user}, {given})", trouble.told);
            let scheme = if node.tls { "rediss" } else { "redis" };
            Finding::fail(check, found)
                .todo(format!(
                    "export REDIS_URL='{scheme}://USER:PASSWORD@{address}'   # , / @ in a \
                     password are written as %2C %2F %40; no USER:PASSWORD@ if it asks for none"
                ))
                .todo(format!(
                    "{}   # as an administrator: which users there are",
                    shell.cli_as_admin("ACL LIST")
                ))
        }
        TroubleKind::Tls => failed
            .todo(format!(
                "openssl s_client -connect {} </dev/null   # what it shows",
                shell.node.address()
            ))
            .todo(
                "export REDIS_TLS_CA_FILE=redis-ca.pem   # who vouches for it; and REDIS_URL with a \
                 name of its certificate, rediss:// only if it has TLS",
            ),
        TroubleKind::Unreachable if by_url => {
            let mut failed = failed.todo(shell.cli("PING"));
            if node.tls {
                // One without TLS waits for more than a greeting that it does not
                // understand.
                let plain = format!("export REDIS_URL=redis://{address}   # if it has no TLS");
                failed = failed.todo(plain);
            }
            let local = ["127.0.0.1", "localhost", "::1"].contains(&node.host.as_str());
            match node.port {
                Some(port) if local && !node.tls => failed.todo(format!(
                    "redis-server --port {port} --appendonly yes --maxmemory-policy noeviction   # \
                     if there is none yet"
                )),
                _ => failed,
            }
        }
        TroubleKind::Unreachable | TroubleKind::Other => failed.todo(shell.cli("PING")),
    }
}

fn no_master(settings: &Settings, seen: &Examination, trouble: &Trouble) -> Finding {
    let answering = seen.named.iter().find(|node| node.seen.is_ok());
    if trouble.told.contains("cluster support disabled") {
        let todo = "export REDIS_MODE=auto   # it is no cluster";
        return Finding::fail("master", trouble.told.as_str()).todo(todo);
    }
    let failed = |found| {
        let failed = Finding::fail("master", found);
        match answering {
            Some(node) if seen.mode == Some(RedisMode::Sentinel) => failed.todo(format!(
                "{}   # which names there are, for REDIS_SENTINEL_MASTER",
                Shell { settings, node }.cli("SENTINEL MASTERS")
            )),
            Some(node) => failed.todo(Shell { settings, node }.cli("CLUSTER SLOTS")),
            None => failed,
        }
    };
    if seen.mode == Some(RedisMode::Sentinel) {
        let name = &settings.redis.redis_sentinel_master;
        return failed(format!(
            "the sentinels name no master {name:?}: {}",
            trouble.told
        ));
    }
    failed(format!(
        "the cluster does not say where its masters are: {}",
        trouble.told
    ))
}

fn of_cluster(cluster: &Clustered, seen: &Examination) -> Vec<Finding> {
    let node = seen.named.iter().find(|node| node.seen.is_ok());
    let at = node.map_or("HOST:PORT".to_owned(), Node::address);
    let check = format!("redis-cli --cluster check {at}");
    let fix = format!("redis-cli --cluster fix {at}   # look at what check says first");
    let mut findings = Vec::new();
    let state = cluster.info.as_ref().map(|info| {
        let state = info.get("cluster_state");
        state.map_or("unknown", String::as_str).to_owned()
    });
    findings.push(match state.as_deref() {
        None => Finding::ok("cluster state", "cannot tell: CLUSTER INFO is refused"),
        Some("ok") => {
            let masters = seen.masters.len();
            Finding::ok("cluster state", format!("ok, {masters} masters"))
        }
        Some(state) => Finding::fail(
            "cluster state",
            format!("{state}: it does not take all that is written"),
        )
        .todo(check.clone()),
    });
    findings.push(if cluster.covered == SLOTS {
        Finding::ok("slots", format!("all {SLOTS} have a master"))
    } else {
        let found = format!("{} of {SLOTS} have a master", cluster.covered);
        Finding::fail("slots", found).todo(check.clone()).todo(fix)
    });
    match &cluster.failing {
        None => findings.push(Finding::ok(
            "failing nodes",
            "cannot tell: CLUSTER NODES is refused",
        )),
        Some(failing) if failing.is_empty() => {}
        Some(failing) => {
            let found = failing.join(", ");
            findings.push(Finding::warn("failing nodes", found).todo(check));
        }
    }
    findings
}

/// Writes lines for a shell that talk to a node.
struct Shell<'a, T> {
    settings: &'a Settings,
    node: &'a Node<T>,
}

impl<T> Shell<'_, T> {
    fn address(&self) -> String {
        let mut line = match self.node.port {
            Some(port) => {
                let host = files::quoted_text(&self.node.host);
                format!("redis-cli -h {host} -p {port}")
            }
            None => format!("redis-cli -s {}", files::quoted_text(&self.node.host)),
        };
        if self.node.tls {
            line += " --tls";
            let redis = &self.settings.redis;
            for (flag, path) in [
                ("--cacert", &redis.redis_tls_ca_file),
                ("--cert", &redis.redis_tls_cert_file),
                ("--key", &redis.redis_tls_key_file),
            ] {
                if let Some(path) = path {
                    line += &format!(" {flag} {}", files::quoted(path));
                }
            }
        }
        line
    }

    /// As the user that the URL names.
    fn cli(&self, command: &str) -> String {
        let mut line = self.address();
        if let Some(user) = &self.node.user {
            line += &format!(" --user {}", files::quoted_text(user));
        }
        if self.node.password {
            line += " --askpass";
        }
        format!("{line} {command}")
    }

    /// As one who may change settings and users: the default user, unless it is
    /// switched off.
    fn cli_as_admin(&self, command: &str) -> String {
        let mut line = self.address();
        if self.node.user.is_some() {
            line += " --user default";
        }
        if self.node.password {
            line += " --askpass";
        }
        format!("{line} {command}")
    }
}
