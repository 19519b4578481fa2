//! Redis Cluster, Sentinel and TLS, on real servers.

use std::time::Duration;

use recsys::{
    adapters::redis::{RedisMode, RedisPool, RedisSettings},
    proto::{IngestOutcome, SignalsSource},
};
use tonic::Code;

use crate::support::{
    certificates::Certificates,
    program::{Served, recsys},
    redis::{RedisServer, instance, own_prefix, pool, shared, shared_cluster},
    server::{TestServer, liked, named, reason},
};

/// Sends an event until it is acknowledged, as a client with retries does.
async fn ingest_until_acknowledged(
    server: &TestServer,
    user: &str,
    event_id: &str,
) -> IngestOutcome {
    loop {
        match server.ingest(named(event_id, liked(user, "i001"))).await {
            Ok(reply) => return reply.outcome(),
            Err(status) => {
                let retryable = [Code::Unavailable, Code::DeadlineExceeded];
                assert!(retryable.contains(&status.code()), "{status}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Ingests, reads and deletes users.
async fn check_user_calls(server: &TestServer) {
    for number in 0..40 {
        let user = format!("u{number}");
        server.ingest(liked(&user, "i001")).await.unwrap();
        server.ingest(liked(&user, "i002")).await.unwrap();
        let (model, source) = server.signals(&user).await;
        assert_eq!(
            (model.viewed.len(), source),
            (2, SignalsSource::Materialized)
        );
        assert!(server.delete(&user).await);
        assert_eq!(server.signals(&user).await.1, SignalsSource::Empty);
    }
}

#[tokio::test]
async fn a_cluster_holds_users_on_all_its_nodes() {
    let (cluster, prefix) = (shared_cluster(), own_prefix());
    let detected = instance(&cluster.pool(), &prefix).await;
    check_user_calls(&detected).await;
    // With the mode configured, and only one of the nodes.
    let settings = RedisSettings {
        redis_mode: RedisMode::Cluster,
        ..RedisSettings::default()
    };
    let configured = instance(&pool(&cluster.nodes[1].url(), settings), &prefix).await;
    for number in 0..60 {
        configured
            .ingest(liked(&format!("v{number}"), "i001"))
            .await
            .unwrap();
    }
    for node in &cluster.nodes {
        let keys = node.cli(&["KEYS", &format!("{prefix}evt:v*")]);
        assert!(keys.lines().count() > 5, "users on each node: {keys}");
    }
    for number in 0..60 {
        let (model, source) = detected.signals(&format!("v{number}")).await;
        assert_eq!(
            (model.viewed.len(), source),
            (1, SignalsSource::Materialized)
        );
    }
}

#[tokio::test]
async fn a_write_to_a_cluster_waits_for_replicas() {
    let settings = RedisSettings {
        redis_wait_replicas: 1,
        redis_command_timeout: Duration::from_secs(2),
        ..RedisSettings::default()
    };
    let pool = RedisPool::new(&shared_cluster().url(), &settings).unwrap();
    let server = instance(&pool, &own_prefix()).await;
    for user in ["a", "b", "c", "d"] {
        // Its masters have no replicas.
        let status = server.ingest(liked(user, "i001")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(server.signals(user).await.0.event_count, 1);
    }
}

#[test]
fn the_log_says_what_kind_of_redis_was_found() {
    for (url, mode) in [
        (shared().url(), "Single"),
        (shared_cluster().url(), "Cluster"),
    ] {
        let mut served = Served::start(recsys(&["serve"]).env("REDIS_URL", url));
        served.logged(&format!("redis found mode={mode}"));
        served.logged("redis answers version=");
    }
}

#[tokio::test]
async fn scripts_that_a_server_flushed_are_sent_again() {
    let prefix = own_prefix();
    for (name, redis) in [
        ("single", vec![shared()]),
        ("cluster", shared_cluster().nodes.iter().collect()),
    ] {
        let pool = match name {
            "single" => shared().pool(),
            _ => shared_cluster().pool(),
        };
        let server = instance(&pool, &prefix).await;
        server.ingest(liked("u", "i001")).await.unwrap();
        for node in redis {
            assert_eq!(node.cli(&["SCRIPT", "FLUSH"]), "OK");
        }
        server.ingest(liked("u", "i002")).await.unwrap();
        let (model, source) = server.signals("u").await;
        assert_eq!(
            (model.viewed.len(), source),
            (2, SignalsSource::Materialized),
            "{name}"
        );
    }
}

struct SentinelSetup {
    master: RedisServer,
    replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl SentinelSetup {
    fn start() -> Self {
        let master = RedisServer::start();
        let of = format!("127.0.0.1 {}", master.port());
        let replica = RedisServer::with(&["--replicaof", &of]);
        replica.until(&["INFO", "replication"], |info| {
            info.contains("master_link_status:up")
        });
        let sentinels: Vec<RedisServer> = (0..3)
            .map(|_| RedisServer::sentinel(&master, "events"))
            .collect();
        for sentinel in &sentinels {
            sentinel.until(&["SENTINEL", "MASTER", "events"], |state| {
                let fact = |name: &str| state.lines().skip_while(|line| *line != name).nth(1);
                (fact("num-slaves"), fact("num-other-sentinels")) == (Some("1"), Some("2"))
            });
        }
        Self {
            master,
            replica,
            sentinels,
        }
    }

    fn url(&self) -> String {
        let nodes: Vec<String> = self.sentinels.iter().map(RedisServer::address).collect();
        format!("redis://{}", nodes.join(","))
    }

    fn until_master_is(&self, port: u16) {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "events"];
        for sentinel in &self.sentinels {
            sentinel.until(&command, |reply| reply.ends_with(&format!("\n{port}")));
        }
    }
}

#[tokio::test]
async fn a_failover_is_survived_without_a_restart() {
    let mut redis = SentinelSetup::start();
    let settings = |mode| RedisSettings {
        redis_mode: mode,
        redis_sentinel_master: "events".to_owned(),
        ..RedisSettings::default()
    };
    let configured = pool(&redis.url(), settings(RedisMode::Sentinel));
    let configured = instance(&configured, "").await;
    let detected = pool(&redis.url(), settings(RedisMode::Auto));
    let detected = instance(&detected, "").await;
    check_user_calls(&configured).await;
    assert_eq!(
        ingest_until_acknowledged(&configured, "u", "1").await,
        IngestOutcome::Accepted
    );
    assert_eq!(detected.signals("u").await.0.event_count, 1);

    // A failover loses what is not replicated yet.
    redis
        .replica
        .until(&["ZCARD", "evt:u"], |count| count == "1");
    // The master becomes a replica; Sentinel closes its connections.
    let (old, new) = (redis.master.port(), redis.replica.port());
    assert_eq!(
        redis.sentinels[0].cli(&["SENTINEL", "FAILOVER", "events"]),
        "OK"
    );
    redis.until_master_is(new);
    redis
        .master
        .until(&["ROLE"], |role| role.starts_with("slave"));
    redis.master.until(&["INFO", "replication"], |info| {
        info.contains("master_link_status:up")
    });
    for server in [&configured, &detected] {
        ingest_until_acknowledged(server, "u", "2").await;
    }
    assert_eq!(configured.signals("u").await.0.event_count, 2);

    // The new master dies.
    redis
        .master
        .until(&["ZCARD", "evt:u"], |count| count == "2");
    redis.replica.kill();
    for server in [&configured, &detected] {
        ingest_until_acknowledged(server, "u", "3").await;
        assert_eq!(server.signals("u").await.0.event_count, 3);
    }
    redis.until_master_is(old);
    assert_eq!(redis.master.cli(&["ZCARD", "evt:u"]), "3");
}

/// A Redis that speaks only TLS.
fn redis_over_tls(certificates: &Certificates, more: &[&str]) -> RedisServer {
    let [ca, cert, key] =
        ["ca.pem", "server.pem", "server.key"].map(|name| certificates.path(name));
    let files = [
        "--tls-ca-cert-file",
        &ca,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
    ];
    RedisServer::over_tls(&[&files[..], more].concat())
}

fn trusting(certificates: &Certificates) -> RedisSettings {
    RedisSettings {
        redis_tls_ca_file: Some(certificates.path("ca.pem").into()),
        ..RedisSettings::default()
    }
}

#[tokio::test]
async fn tls_works_with_a_private_ca_and_user_and_password() {
    let certificates = Certificates::new();
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let redis = redis_over_tls(
            &certificates,
            &[
                "--tls-auth-clients",
                "no",
                "--tls-protocols",
                protocol,
                "--user",
                "default",
                "off",
                "--user",
                "app",
                "on",
                ">p,s/w@d",
                // As docs/operate/redis.md recommends.
                "~evt:*",
                "~umodel:*",
                "~lst:*",
                "~aud:*",
                "~nbr:*",
                "~pop",
                "~trend",
                "~aud:*",
                "~lst:*",
                "~nbr:*",
                "~pop",
                "~trend",
                "+@read",
                "+@write",
                "+@scripting",
                "+@connection",
                "-@dangerous",
                "+time",
                "+info",
                "+role",
                "+cluster|slots",
            ],
        );
        let url = format!("rediss://app:p%2Cs%2Fw%40d@localhost:{}", redis.port());
        check_user_calls(&instance(&pool(&url, trusting(&certificates)), "").await).await;

        // No other CA, and no other user.
        let wrong_user = format!("rediss://app:guess@localhost:{}", redis.port());
        let no_user = format!("rediss://localhost:{}", redis.port());
        for (url, settings) in [
            (&url, RedisSettings::default()),
            (&wrong_user, trusting(&certificates)),
            (&no_user, trusting(&certificates)),
        ] {
            let refused = instance(&pool(url, settings), "").await;
            let status = refused.ingest(liked("u", "i001")).await.unwrap_err();
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::Unavailable, "USER_STATE_UNAVAILABLE")
            );
        }
    }
}

#[tokio::test]
async fn tls_presents_a_client_certificate_if_required() {
    let certificates = Certificates::new();
    let redis = redis_over_tls(&certificates, &["--tls-auth-clients", "yes"]);
    let url = format!("rediss://localhost:{}", redis.port());
    let without = instance(&pool(&url, trusting(&certificates)), "").await;
    let status = without.ingest(liked("u", "i001")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let settings = RedisSettings {
        redis_tls_cert_file: Some(certificates.path("client.pem").into()),
        redis_tls_key_file: Some(certificates.path("client.key").into()),
        ..trusting(&certificates)
    };
    check_user_calls(&instance(&pool(&url, settings), "").await).await;
}

#[tokio::test]
async fn an_event_waits_for_the_configured_number_of_replicas() {
    let master = RedisServer::start();
    let of = format!("127.0.0.1 {}", master.port());
    let replica = RedisServer::with(&["--replicaof", &of]);
    replica.until(&["INFO", "replication"], |info| {
        info.contains("master_link_status:up")
    });
    let settings = RedisSettings {
        redis_wait_replicas: 1,
        redis_command_timeout: Duration::from_secs(2),
        ..RedisSettings::default()
    };
    let pool = RedisPool::new(&master.url(), &settings).unwrap();
    let server = instance(&pool, "").await;
    assert_eq!(
        ingest_until_acknowledged(&server, "u", "1").await,
        IngestOutcome::Accepted
    );
    assert_eq!(replica.cli(&["ZCARD", "evt:u"]), "1");

    // It stays connected: some versions of Redis answer WAIT at once on a
    // connection without writes.
    replica.freeze();
    let redeliver = || server.ingest(named("2", liked("u", "i002")));
    let status = redeliver().await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "USER_STATE_UNAVAILABLE")
    );
    // The master has it; a redelivery needs the replica, too.
    assert_eq!(master.cli(&["ZCARD", "evt:u"]), "2");
    assert_eq!(redeliver().await.unwrap_err().code(), Code::Unavailable);
    // So does a redelivery to another process, whose connections wrote nothing yet.
    let pool = RedisPool::new(&master.url(), &settings).unwrap();
    let other = instance(&pool, "").await;
    master.cli(&["CONFIG", "RESETSTAT"]);
    let status = other.ingest(named("2", liked("u", "i002"))).await;
    assert_eq!(status.unwrap_err().code(), Code::Unavailable);
    assert_eq!(master.calls("pexpireat"), 1, "a write for WAIT to wait for");
    replica.thaw();
    assert_eq!(
        ingest_until_acknowledged(&server, "u", "2").await,
        IngestOutcome::Duplicate
    );
    assert_eq!(replica.cli(&["ZCARD", "evt:u"]), "2");
    assert_eq!(server.signals("u").await.0.event_count, 2);
}

#[test]
fn a_redis_that_may_lose_events_is_warned_about_at_start() {
    let redis = RedisServer::with(&[
        "--appendonly",
        "no",
        "--maxmemory-policy",
        "allkeys-lru",
        "--requirepass",
        "hunter2",
    ]);
    let url = format!("redis://:hunter2@{}", redis.address());
    let mut served = Served::start(
        recsys(&["serve"])
            .env("REDIS_URL", url)
            .env("REDIS_WAIT_REPLICAS", "1"),
    );
    for warning in ["appendonly yes", "allkeys-lru", "REDIS_WAIT_REPLICAS is 1"] {
        served.logged(warning);
    }
    assert!(!served.seen.contains("hunter2"), "{}", served.seen);
}
