//! What is found of Redis.

use super::{Diagnosis, follow, todo};
use crate::support::redis::{RedisCluster, RedisServer, shared_cluster};

const GROUP: &str = "redis";

fn diagnosis(url: &str) -> Diagnosis {
    Diagnosis::of(&[("REDIS_URL", url)])
}

#[test]
fn a_redis_that_keeps_what_it_has_is_well() {
    let server = RedisServer::start();
    let diagnosis = diagnosis(&server.url());
    assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.told);
    diagnosis.says(GROUP, "reachable", "ok", "a single server, no TLS");
    diagnosis.says(GROUP, "version", "ok", &server.address());
    diagnosis.says(GROUP, "role", "ok", "master");
    diagnosis.says(GROUP, "persistence", "ok", "appendfsync always");
    diagnosis.says(GROUP, "eviction", "ok", "noeviction");
    diagnosis.says(GROUP, "memory", "ok", "no maxmemory");
    diagnosis.says(GROUP, "permissions", "ok", "evt:* umodel:*");
    diagnosis.says(GROUP, "clock", "ok", "within");
    diagnosis.says(GROUP, "latency", "ok", "ms for a PING");
    assert_eq!(server.cli(&["DBSIZE"]), "0", "nothing is written");
}

#[test]
fn an_evicting_redis_is_mended_by_what_it_says_to_do() {
    let server = RedisServer::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let before = diagnosis(&server.url());
    assert_eq!(before.code, 1);
    let evicts = before.says(GROUP, "eviction", "fail", "allkeys-lru");
    follow(todo(evicts)[0], &[]);
    let after = diagnosis(&server.url());
    assert_eq!(after.code, 0, "{:#}", after.told);
    after.says(GROUP, "eviction", "ok", "noeviction");
    after.says(GROUP, "memory", "ok", "of 100.0 MiB");
}

#[test]
fn an_evicting_policy_without_a_limit_is_warned_of() {
    let server = RedisServer::with(&["--maxmemory-policy", "volatile-ttl"]);
    let diagnosis = diagnosis(&server.url());
    assert_eq!(diagnosis.code, 0);
    diagnosis.says(GROUP, "eviction", "warn", "volatile-ttl");
}

#[test]
fn a_redis_that_keeps_nothing_fails_and_snapshots_are_warned_of() {
    let server = RedisServer::start();
    server.cli(&["CONFIG", "SET", "appendonly", "no"]);
    let nothing = diagnosis(&server.url());
    assert_eq!(nothing.code, 1);
    nothing.says(GROUP, "persistence", "fail", "keeps nothing");

    server.cli(&["CONFIG", "SET", "save", "3600 1"]);
    let snapshots = diagnosis(&server.url());
    assert_eq!(snapshots.code, 0, "{:#}", snapshots.told);
    let only = snapshots.says(GROUP, "persistence", "warn", "only snapshots (save 3600 1)");
    follow(todo(only)[0], &[]);
    let after = diagnosis(&server.url());
    after.says(GROUP, "persistence", "ok", "append-only file");
}

#[test]
fn a_full_redis_fails() {
    let server = RedisServer::start();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let before = diagnosis(&server.url());
    assert_eq!(before.code, 1);
    let full = before.says(GROUP, "writes", "fail", "is full");
    let room = "if its machine has that: 60 % of its memory at most";
    assert!(todo(full)[0].ends_with(room), "{full:#}");
    let memory = before.says(GROUP, "memory", "warn", "of 0.0 MiB");
    assert!(todo(memory)[0].ends_with(room), "{memory:#}");
    follow(todo(full)[0], &[]);
    assert_eq!(diagnosis(&server.url()).code, 0);
    let most: u64 = server
        .cli(&["CONFIG", "GET", "maxmemory"])
        .lines()
        .last()
        .and_then(|size| size.parse().ok())
        .unwrap();
    assert!(most > 0, "a Redis without a limit ends with its machine");
}

#[test]
fn a_replica_fails_and_its_master_is_named() {
    let master = RedisServer::start();
    let port = master.port().to_string();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port]);
    replica.until(&["INFO", "replication"], |info| {
        info.contains("link_status:up")
    });
    let of_replica = diagnosis(&replica.url());
    assert_eq!(of_replica.code, 1);
    let role = of_replica.says(GROUP, "role", "fail", "is a replica");
    let master_url = format!("export REDIS_URL=redis://127.0.0.1:{port}");
    assert!(todo(role)[0].starts_with(&master_url), "{role:#}");

    let wait = |replicas| {
        let url = master.url();
        Diagnosis::of(&[("REDIS_URL", &url), ("REDIS_WAIT_REPLICAS", replicas)])
    };
    wait("1").says(GROUP, "replicas", "ok", "1 replicas");
    let too_few = wait("2");
    assert_eq!(too_few.code, 1);
    too_few.says(GROUP, "replicas", "fail", "no event will be acknowledged");
}

#[test]
fn a_wrong_password_is_told_without_it() {
    let server = RedisServer::with(&["--requirepass", "hunter2"]);
    let right = diagnosis(&format!("redis://:hunter2@{}", server.address()));
    assert_eq!(right.code, 0, "{:#}", right.told);
    assert!(
        !right.told.to_string().contains("hunter"),
        "{:#}",
        right.told
    );
    for credentials in [":hunter3@", "app:hunter3@", ""] {
        let wrong = diagnosis(&format!("redis://{credentials}{}", server.address()));
        assert_eq!(wrong.code, 1);
        let refused = wrong.one(GROUP, "reachable");
        assert_eq!(refused["level"], "fail", "{credentials}: {refused:#}");
        assert!(todo(refused)[0].contains("PASSWORD"), "{refused:#}");
        assert!(
            !wrong.told.to_string().contains("hunter"),
            "{:#}",
            wrong.told
        );
    }
    // One who asks for nothing refuses a password, too.
    let open = RedisServer::start();
    let needless = diagnosis(&format!("redis://:hunter3@{}", open.address()));
    assert_eq!(needless.code, 1);
    needless.says(GROUP, "master", "fail", "(user default, a password)");
    assert!(!needless.told.to_string().contains("hunter"));
}

#[test]
fn a_user_may_do_what_the_readme_allows_and_what_it_lacks_is_granted() {
    let server = RedisServer::start();
    let readme = include_str!("../../../README.md").replace("\n  ", " ");
    let recipe = readme.split("`ACL SETUSER recsys ").nth(1).unwrap();
    let recipe = recipe
        .split('`')
        .next()
        .unwrap()
        .replace(">secret", ">hunter2");
    let words: Vec<&str> = recipe.split_whitespace().collect();
    let set = |rules: &[&str]| {
        let told = server.cli(&[&["ACL", "SETUSER", "recsys"], rules].concat());
        assert_eq!(told, "OK", "{rules:?}");
    };
    set(&words);
    let url = format!("redis://recsys:hunter2@{}", server.address());
    let recommended = diagnosis(&url);
    assert_eq!(recommended.code, 0, "{:#}", recommended.told);
    recommended.says(GROUP, "permissions", "ok", "user recsys may do");
    let kept = "appendfsync cannot be told";
    recommended.says(GROUP, "persistence", "ok", kept);

    set(&["-zadd", "-eval", "resetkeys", "~evt:*"]);
    let lacking = diagnosis(&url);
    assert_eq!(lacking.code, 1);
    let may_not = lacking.says(
        GROUP,
        "permissions",
        "fail",
        "may not use eval, zadd, nor touch umodel:*",
    );
    follow(todo(may_not)[0], &[]);
    let granted = diagnosis(&url);
    assert_eq!(granted.code, 0, "{:#}", granted.told);

    let prefixed = Diagnosis::of(&[("REDIS_URL", &url), ("REDIS_KEY_PREFIX", "x:")]);
    prefixed.says(GROUP, "permissions", "fail", "touch x:evt:*, x:umodel:*");
}

#[test]
fn a_redis_that_tells_nothing_of_itself_is_not_taken_for_a_bad_one() {
    let server = RedisServer::start();
    let rules = ["on", ">hunter2", "~*", "+@all", "-config", "-info"];
    server.cli(&[&["ACL", "SETUSER", "guest"][..], &rules].concat());
    let diagnosis = diagnosis(&format!("redis://guest:hunter2@{}", server.address()));
    assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.told);
    for check in ["version", "persistence", "eviction"] {
        diagnosis.says(GROUP, check, "ok", "cannot tell");
    }
}

#[test]
fn nobody_there_fails_and_says_how_to_start_one() {
    let diagnosis = diagnosis("redis://127.0.0.1:1");
    assert_eq!(diagnosis.code, 1);
    let nobody = diagnosis.says(GROUP, "reachable", "fail", "127.0.0.1:1");
    assert_eq!(todo(nobody)[0], "redis-cli -h 127.0.0.1 -p 1 PING");
    assert!(
        todo(nobody)[1].starts_with("redis-server --port 1 "),
        "{nobody:#}"
    );
}

#[test]
fn a_frozen_redis_is_given_up_and_the_other_checks_are_made() {
    let server = RedisServer::start();
    server.freeze();
    let url = server.url();
    let mut settings = vec![("REDIS_URL", url.as_str())];
    for timeout in ["REDIS_CONNECT_TIMEOUT", "REDIS_COMMAND_TIMEOUT"] {
        settings.push((timeout, "300ms"));
    }
    let diagnosis = Diagnosis::of(&settings);
    server.thaw();
    assert_eq!(diagnosis.code, 1);
    assert_eq!(diagnosis.one(GROUP, "reachable")["level"], "fail");
    diagnosis.is_well("settings", "listen address");
    diagnosis.is_well("ranking", "ranking file");
}

#[test]
fn every_master_of_a_cluster_is_looked_at() {
    let cluster = shared_cluster();
    let diagnosis = diagnosis(&cluster.url());
    assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.told);
    assert_eq!(diagnosis.all(GROUP, "reachable").len(), 3);
    diagnosis.says(GROUP, "cluster state", "ok", "ok, 3 masters");
    diagnosis.says(GROUP, "slots", "ok", "all 16384");
    for check in ["permissions", "persistence", "eviction", "clock"] {
        assert_eq!(diagnosis.all(GROUP, check).len(), 3, "{check}");
        diagnosis.is_well(GROUP, check);
    }
    // One node leads to the others.
    let one = Diagnosis::of(&[("REDIS_URL", &cluster.nodes[0].url())]);
    assert_eq!(one.all(GROUP, "permissions").len(), 3);
}

#[test]
fn a_cluster_that_lost_a_master_fails() {
    let mut cluster = RedisCluster::start();
    cluster.nodes[2].kill();
    let down = |info: &str| info.contains("cluster_state:fail");
    cluster.nodes[0].until(&["CLUSTER", "INFO"], down);
    let lost = cluster.nodes[2].address();
    let diagnosis = diagnosis(&cluster.url());
    assert_eq!(diagnosis.code, 1);
    diagnosis.says(GROUP, "cluster state", "fail", "fail");
    diagnosis.says(GROUP, "failing nodes", "warn", &lost);
    diagnosis.says(GROUP, "master", "fail", &lost);
    assert_eq!(diagnosis.all(GROUP, "permissions").len(), 2);
}

#[test]
fn sentinels_lead_to_the_master_that_is_looked_at() {
    let master = RedisServer::start();
    let sentinel = RedisServer::sentinel(&master, "shop");
    let url = sentinel.url();
    let named = |name| Diagnosis::of(&[("REDIS_URL", &url), ("REDIS_SENTINEL_MASTER", name)]);
    let right = named("shop");
    assert_eq!(right.code, 0, "{:#}", right.told);
    right.says(GROUP, "reachable", "ok", "a sentinel");
    right.says(GROUP, "permissions", "ok", &master.address());
    let wrong = named("other");
    assert_eq!(wrong.code, 1);
    let nobody = wrong.says(GROUP, "master", "fail", "other");
    assert!(follow(todo(nobody)[0], &[]).contains("shop"), "{nobody:#}");
}

#[test]
fn sentinels_that_ask_for_a_password_have_a_setting_of_their_own() {
    let master = RedisServer::start();
    let sentinel = RedisServer::sentinel(&master, "shop");
    let rules = ["resetpass", ">hunter2"];
    let told = sentinel.cli(&[&["ACL", "SETUSER", "default"][..], &rules].concat());
    assert_eq!(told, "OK");
    let url = sentinel.url();
    let found = |mode, password| {
        let mut settings = vec![("REDIS_URL", url.as_str()), ("REDIS_MODE", mode)];
        settings.push(("REDIS_SENTINEL_MASTER", "shop"));
        if let Some(password) = password {
            settings.push(("REDIS_SENTINEL_PASSWORD", password));
        }
        Diagnosis::of(&settings)
    };
    for mode in ["sentinel", "auto"] {
        let without = found(mode, None);
        assert_eq!(without.code, 1, "{:#}", without.told);
        let refused = without.one(GROUP, "reachable");
        let last = *todo(refused).last().unwrap();
        assert!(
            last.starts_with("export REDIS_SENTINEL_PASSWORD="),
            "{refused:#}"
        );
        assert_eq!(todo(refused).len() == 1, mode == "sentinel", "{refused:#}");
        let with = found(mode, Some("hunter2"));
        assert_eq!(with.code, 0, "{:#}", with.told);
    }
}

#[test]
fn a_single_server_that_is_taken_for_a_cluster_fails() {
    let server = RedisServer::start();
    let url = server.url();
    let diagnosis = Diagnosis::of(&[("REDIS_URL", &url), ("REDIS_MODE", "cluster")]);
    assert_eq!(diagnosis.code, 1, "{:#}", diagnosis.told);
    let disabled = diagnosis.says(GROUP, "master", "fail", "cluster support disabled");
    assert_eq!(
        todo(disabled)[0],
        "export REDIS_MODE=auto   # it is no cluster"
    );
}
