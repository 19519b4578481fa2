//! Findings of Redis.

use super::{Diagnosis, fixes, follow};
use crate::support::redis::{RedisCluster, RedisServer, shared_cluster};

const GROUP: &str = "redis";

fn diagnosis(url: &str) -> Diagnosis {
    Diagnosis::of(&[("REDIS_URL", url)])
}

/// Runs the first line of a fix as the default user.
fn fix(server: &RedisServer, finding: &serde_json::Value) {
    let url = server.url();
    follow(
        &std::env::temp_dir(),
        fixes(finding)[0],
        &[("REDIS_URL", &url)],
    );
}

#[test]
fn a_redis_that_keeps_its_events_has_no_warnings() {
    let server = RedisServer::start();
    let diagnosis = diagnosis(&server.url());
    assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.report);
    diagnosis.says(GROUP, "reachable", "ok", "");
    diagnosis.says(GROUP, "durability", "ok", "append-only file, no eviction");
    diagnosis.says(GROUP, "permissions", "ok", "");
    diagnosis.says(GROUP, "scripts", "ok", "");
    diagnosis.says(GROUP, "clock", "ok", "s ahead of");
    assert_eq!(server.cli(&["DBSIZE"]), "0", "nothing is written");
}

#[test]
fn a_redis_that_loses_events_is_fixed_by_what_it_says_to_do() {
    let server = RedisServer::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    server.cli(&["CONFIG", "SET", "appendonly", "no"]);
    let before = diagnosis(&server.url());
    assert_eq!(before.code, 1);
    let evicts = before.says(GROUP, "eviction", "fail", "allkeys-lru");
    let persists = before.says(GROUP, "persistence", "warn", "no append-only file");
    fix(&server, evicts);
    fix(&server, persists);
    let after = diagnosis(&server.url());
    assert_eq!(after.code, 0, "{:#}", after.report);
    after.says(GROUP, "durability", "ok", "no eviction");

    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let full = diagnosis(&server.url());
    assert_eq!(full.code, 1);
    full.says(GROUP, "writes", "fail", "OOM");
}

#[test]
fn a_redis_that_lacks_a_command_is_misconfigured() {
    let server = RedisServer::with(&["--rename-command", "PEXPIRETIME", ""]);
    let diagnosis = diagnosis(&server.url());
    assert_eq!(diagnosis.code, 1);
    diagnosis.says(
        GROUP,
        "commands",
        "fail",
        "misconfigured: it lacks PEXPIRETIME",
    );
}

#[test]
fn replicas_and_missing_replicas_fail() {
    let master = RedisServer::start();
    let port = master.port().to_string();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port]);
    let up = |info: &str| info.contains("link_status:up");
    replica.until(&["INFO", "replication"], up);
    let of_replica = diagnosis(&replica.url());
    assert_eq!(of_replica.code, 1);
    of_replica.says(GROUP, "role", "fail", "is a replica");
    let url = master.url();
    let wait = |replicas| Diagnosis::of(&[("REDIS_URL", &url), ("REDIS_WAIT_REPLICAS", replicas)]);
    assert_eq!(wait("1").code, 0);
    let too_few = wait("2");
    assert_eq!(too_few.code, 1);
    too_few.says(GROUP, "replicas", "fail", "no event will be acknowledged");
}

#[test]
fn a_wrong_password_or_no_server_fails_without_the_password() {
    let server = RedisServer::with(&["--requirepass", "hunter2"]);
    let address = server.address();
    let right = diagnosis(&format!("redis://:hunter2@{address}"));
    assert_eq!(right.code, 0, "{:#}", right.report);
    for credentials in [":hunter3@", "app:hunter3@", ""] {
        let wrong = diagnosis(&format!("redis://{credentials}{address}"));
        assert_eq!(wrong.code, 1);
        let refused = wrong.says(GROUP, "reachable", "fail", "");
        assert!(fixes(refused)[0].contains("PASSWORD"), "{refused:#}");
        assert!(!wrong.report.to_string().contains("hunter"));
    }
    let none = diagnosis("redis://127.0.0.1:1");
    assert_eq!(none.code, 1);
    let none = none.says(GROUP, "reachable", "fail", "refused");
    assert_eq!(fixes(none)[0], "redis-cli -u \"$REDIS_URL\" PING");
    server.freeze();
    let frozen = Diagnosis::of(&[
        ("REDIS_URL", &format!("redis://:hunter2@{address}")),
        ("REDIS_CONNECT_TIMEOUT", "300ms"),
        ("REDIS_COMMAND_TIMEOUT", "300ms"),
    ]);
    server.thaw();
    assert_eq!(frozen.code, 1);
    frozen.says(GROUP, "reachable", "fail", "");
    frozen.says("settings", "listen address", "ok", "is free");
}

#[test]
fn the_documented_acl_suffices_and_a_lesser_one_is_fixed() {
    let server = RedisServer::start();
    let page = include_str!("../../../docs/operate/redis.md").replace("\n  ", " ");
    let recipe = page.split("`ACL SETUSER recsys ").nth(1).unwrap();
    let recipe = recipe.split('`').next().unwrap();
    let recipe = recipe.replace(">secret", ">hunter2");
    let set = |rules: &[&str]| {
        let reply = server.cli(&[&["ACL", "SETUSER", "recsys"], rules].concat());
        assert_eq!(reply, "OK", "{rules:?}");
    };
    set(&recipe.split_whitespace().collect::<Vec<_>>());
    let url = format!("redis://recsys:hunter2@{}", server.address());
    let recommended = diagnosis(&url);
    assert_eq!(recommended.code, 0, "{:#}", recommended.report);

    set(&["-zadd", "-eval", "resetkeys", "~evt:*"]);
    let lacking = diagnosis(&url);
    assert_eq!(lacking.code, 1);
    let lacks = lacking.says(
        GROUP,
        "permissions",
        "fail",
        "+eval +zadd ~aud:* ~lst:* ~nbr:* ~pop ~trend ~umodel:*",
    );
    let line = fixes(lacks)[0].replace(" USER ", " recsys ");
    let admin = server.url();
    follow(&std::env::temp_dir(), &line, &[("REDIS_URL", &admin)]);
    assert_eq!(diagnosis(&url).code, 0);
    let prefixed = Diagnosis::of(&[("REDIS_URL", &url), ("REDIS_KEY_PREFIX", "x:")]);
    prefixed.says(
        GROUP,
        "permissions",
        "fail",
        "~x:aud:* ~x:evt:* ~x:lst:* ~x:nbr:* ~x:pop ~x:trend ~x:umodel:*",
    );

    set(&["+@all", "-info", "-config"]);
    let silent = diagnosis(&url);
    assert_eq!(silent.code, 0, "{:#}", silent.report);
    silent.says(GROUP, "durability", "ok", "not known");
}

#[test]
fn every_master_of_a_cluster_is_checked() {
    let cluster = shared_cluster();
    for url in [cluster.url(), cluster.nodes[0].url()] {
        let diagnosis = diagnosis(&url);
        assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.report);
        assert_eq!(diagnosis.all(GROUP, "durability").len(), 3);
    }
    let mut cluster = RedisCluster::start();
    cluster.nodes[2].kill();
    let down = |info: &str| info.contains("cluster_state:fail");
    cluster.nodes[0].until(&["CLUSTER", "INFO"], down);
    let diagnosis = diagnosis(&cluster.url());
    assert_eq!(diagnosis.code, 1, "{:#}", diagnosis.report);
    diagnosis.says(GROUP, "reachable", "fail", "");
    let single = RedisServer::start().url();
    let no_cluster = Diagnosis::of(&[("REDIS_URL", &single), ("REDIS_MODE", "cluster")]);
    assert_eq!(no_cluster.code, 1);
    no_cluster.says(GROUP, "reachable", "fail", "");
}

#[test]
fn sentinels_are_followed_to_their_master_and_may_need_a_password() {
    let master = RedisServer::start();
    let sentinel = RedisServer::sentinel(&master, "shop");
    let url = sentinel.url();
    let found = |name, password| {
        Diagnosis::of(&[
            ("REDIS_URL", &url),
            ("REDIS_SENTINEL_MASTER", name),
            ("REDIS_SENTINEL_PASSWORD", password),
        ])
    };
    let right = found("shop", "");
    assert_eq!(right.code, 0, "{:#}", right.report);
    let wrong = found("other", "");
    assert_eq!(wrong.code, 1);
    wrong.says(GROUP, "reachable", "fail", "");
    let rules = ["resetpass", ">hunter2"];
    sentinel.cli(&[&["ACL", "SETUSER", "default"][..], &rules].concat());
    let without = found("shop", "");
    assert_eq!(without.code, 1, "{:#}", without.report);
    let refused = without.says(GROUP, "reachable", "fail", "");
    let fix = *fixes(refused).last().unwrap();
    assert!(
        fix.starts_with("export REDIS_SENTINEL_PASSWORD="),
        "{refused:#}"
    );
    assert_eq!(found("shop", "hunter2").code, 0);
}
