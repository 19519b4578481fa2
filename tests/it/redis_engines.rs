//! The kinds of Redis: a cluster, a master that sentinels name, TLS. All real,
//! started here.

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

/// Sends an event until it is taken, as a client that retries would.
async fn ingest_until_taken(server: &TestServer, user: &str, event_id: &str) -> IngestOutcome {
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

/// Writes, reads, recommends for and forgets users.
async fn works(server: &TestServer) {
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
    let found_out = instance(&cluster.pool(), &prefix).await;
    works(&found_out).await;
    // Told, and given only one of the nodes.
    let settings = RedisSettings {
        redis_mode: RedisMode::Cluster,
        ..RedisSettings::default()
    };
    let told = instance(&pool(&cluster.nodes[1].url(), settings), &prefix).await;
    for number in 0..60 {
        told.ingest(liked(&format!("v{number}"), "i001"))
            .await
            .unwrap();
    }
    for node in &cluster.nodes {
        let keys = node.cli(&["KEYS", &format!("{prefix}evt:v*")]);
        assert!(keys.lines().count() > 5, "users on each node: {keys}");
    }
    for number in 0..60 {
        let (model, source) = found_out.signals(&format!("v{number}")).await;
        assert_eq!(
            (model.viewed.len(), source),
            (1, SignalsSource::Materialized)
        );
    }
}

#[tokio::test]
async fn in_a_cluster_too_replicas_are_waited_for() {
    let settings = RedisSettings {
        redis_wait_replicas: 1,
        redis_command_timeout: Duration::from_secs(2),
        ..RedisSettings::default()
    };
    let pool = RedisPool::new(&shared_cluster().url(), &settings).unwrap();
    let server = instance(&pool, &own_prefix()).await;
    for user in ["a", "b", "c", "d"] {
        // Its masters have none.
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
async fn scripts_that_a_server_forgot_are_sent_again() {
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

struct Watched {
    master: RedisServer,
    replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl Watched {
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
            sentinel.until(&["SENTINEL", "MASTER", "events"], |told| {
                let fact = |name: &str| told.lines().skip_while(|line| *line != name).nth(1);
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
        let asked = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "events"];
        for sentinel in &self.sentinels {
            sentinel.until(&asked, |told| told.ends_with(&format!("\n{port}")));
        }
    }
}

#[tokio::test]
async fn a_failover_is_survived_without_a_restart() {
    let mut redis = Watched::start();
    let settings = |mode| RedisSettings {
        redis_mode: mode,
        redis_sentinel_master: "events".to_owned(),
        ..RedisSettings::default()
    };
    let told = pool(&redis.url(), settings(RedisMode::Sentinel));
    let told = instance(&told, "").await;
    let found_out = pool(&redis.url(), settings(RedisMode::Auto));
    let found_out = instance(&found_out, "").await;
    works(&told).await;
    assert_eq!(
        ingest_until_taken(&told, "u", "1").await,
        IngestOutcome::Accepted
    );
    assert_eq!(found_out.signals("u").await.0.event_count, 1);

    // What was not replicated yet, a failover would lose.
    redis
        .replica
        .until(&["ZCARD", "evt:u"], |count| count == "1");
    // The master is demoted and lives on as a replica; Sentinel cuts its
    // connections.
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
    for server in [&told, &found_out] {
        ingest_until_taken(server, "u", "2").await;
    }
    assert_eq!(told.signals("u").await.0.event_count, 2);

    // The new master dies.
    redis
        .master
        .until(&["ZCARD", "evt:u"], |count| count == "2");
    redis.replica.kill();
    for server in [&told, &found_out] {
        ingest_until_taken(server, "u", "3").await;
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
async fn tls_takes_an_authority_of_ones_own_and_user_and_password() {
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
                // As README.md advises.
                "~evt:*",
                "~umodel:*",
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
        works(&instance(&pool(&url, trusting(&certificates)), "").await).await;

        // Nothing but this authority, and nobody but this user.
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
async fn tls_shows_a_certificate_where_one_is_asked_for() {
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
    works(&instance(&pool(&url, settings), "").await).await;
}

#[tokio::test]
async fn an_event_waits_for_the_replicas_that_were_asked_for() {
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
        ingest_until_taken(&server, "u", "1").await,
        IngestOutcome::Accepted
    );
    assert_eq!(replica.cli(&["ZCARD", "evt:u"]), "1");

    // It stays connected: some versions tell who wrote nothing at once that the
    // replica has that.
    replica.freeze();
    let unheard = || server.ingest(named("2", liked("u", "i002")));
    let status = unheard().await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "USER_STATE_UNAVAILABLE")
    );
    // The master has it, but that is not enough for a redelivery either.
    assert_eq!(master.cli(&["ZCARD", "evt:u"]), "2");
    assert_eq!(unheard().await.unwrap_err().code(), Code::Unavailable);
    // Nor for one that reaches another process, whose connections wrote nothing yet.
    let pool = RedisPool::new(&master.url(), &settings).unwrap();
    let other = instance(&pool, "").await;
    master.cli(&["CONFIG", "RESETSTAT"]);
    let status = other.ingest(named("2", liked("u", "i002"))).await;
    assert_eq!(status.unwrap_err().code(), Code::Unavailable);
    assert_eq!(
        master.calls("pexpireat"),
        1,
        "there is something to wait for"
    );
    replica.thaw();
    assert_eq!(
        ingest_until_taken(&server, "u", "2").await,
        IngestOutcome::Duplicate
    );
    assert_eq!(replica.cli(&["ZCARD", "evt:u"]), "2");
    assert_eq!(server.signals("u").await.0.event_count, 2);
}

#[test]
fn a_redis_that_would_lose_events_is_warned_of_at_the_start() {
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
