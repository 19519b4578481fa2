//! Metrics, probes and health on the admin port of the program, over a real Redis.

use std::net::TcpStream;

use recsys::{proto, telemetry::meters};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    program::recsys,
    redis::RedisServer,
    server::{connect, liked, named},
    watched::Watched,
};

const INGEST: &str = "recsys.v1.RecommenderService/IngestEvent";

const SIGNALS: &str = "recsys.v1.RecommenderService/GetUserSignals";

#[tokio::test]
async fn metrics_count_calls_commands_events_and_rebuilds() {
    let mut redis = RedisServer::start();
    let watched = Watched::start(&redis).await;
    assert_eq!(watched.events("accepted"), 0.0);

    watched.ingest(named("1", liked("u", "i1"))).await.unwrap();
    watched.ingest(named("2", liked("u", "i2"))).await.unwrap();
    watched.ingest(named("2", liked("u", "i2"))).await.unwrap();
    let old = proto::InteractionEvent {
        event_time: Some(prost_types::Timestamp::default()),
        ..liked("u", "i3")
    };
    watched.ingest(old).await.unwrap();
    assert_eq!(
        watched.ingest(liked("", "i4")).await,
        Err(Code::InvalidArgument)
    );
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    redis.cli(&["ZADD", "evt:u", &now.to_string(), "{broken"]);
    // Another program's write: the later expiry is a new version.
    let expiry: u64 = redis.cli(&["PEXPIRETIME", "evt:u"]).parse().unwrap();
    redis.cli(&["PEXPIREAT", "evt:u", &(expiry + 1_000).to_string()]);
    redis.cli(&["DEL", "umodel:u"]);
    watched.signals("u").await.unwrap();
    watched.signals("u").await.unwrap();
    watched.signals("nobody").await.unwrap();
    redis.cli(&["SET", "umodel:u", "rubbish"]);
    watched.signals("u").await.unwrap();

    assert_eq!(watched.calls(INGEST, "OK"), 4.0);
    assert_eq!(watched.calls(INGEST, "INVALID_ARGUMENT"), 1.0);
    assert_eq!(watched.calls(SIGNALS, "OK"), 4.0);
    for (outcome, count) in [
        ("accepted", 2.0),
        ("duplicate", 1.0),
        ("outside_window", 1.0),
        ("invalid", 1.0),
        ("failed", 0.0),
    ] {
        assert_eq!(watched.events(outcome), count, "{outcome}");
    }
    assert_eq!(watched.redis("append", ""), 4.0);
    // The duplicate reads, too. A cached model costs one read to check that it is still
    // stored, and one more for its replacement.
    assert_eq!(watched.redis("load", ""), 5.0 + 2.0);
    assert_eq!(watched.reads("rebuilt"), 2.0);
    assert_eq!(watched.reads("materialized"), 2.0);
    assert_eq!(watched.reads("empty"), 1.0);
    let unreadable = |kind| watched.value(meters::UNREADABLE, &[("kind", kind)]);
    assert_eq!((unreadable("event"), unreadable("model")), (2.0, 1.0));
    let builds = |outcome| watched.value(meters::MODEL_BUILDS, &[("outcome", outcome)]);
    assert_eq!((builds("saved"), builds("not_saved")), (4.0, 0.0));
    let up = |name| watched.value(meters::DEPENDENCY_UP, &[("dependency", name)]);
    assert_eq!((up("user_state"), up("catalogue")), (1.0, 1.0));

    redis.kill();
    assert_eq!(
        watched.ingest(liked("u", "i5")).await,
        Err(Code::Unavailable)
    );
    assert_eq!(watched.signals("u").await, Err(Code::Unavailable));
    assert_eq!(watched.calls(INGEST, "UNAVAILABLE"), 1.0);
    assert_eq!(watched.calls(SIGNALS, "UNAVAILABLE"), 1.0);
    assert_eq!(watched.events("failed"), 1.0);
    assert_eq!(watched.redis("append", "unavailable"), 1.0);

    let (_, body) = watched.get("/metrics");
    for name in meters::ALL {
        // Only placements and variants of the ranking file have series.
        if [meters::PLACEMENT_ITEMS, meters::PLACEMENT_EVENTS].contains(&name) {
            continue;
        }
        assert!(body.contains(&format!("# HELP {name} ")), "{name}:\n{body}");
    }
    for line in body.lines().filter(|line| line.starts_with("# TYPE")) {
        let name = line.split(' ').nth(2).unwrap();
        let known = meters::ALL.contains(&name) || meters::OF_THE_PROCESS.contains(&name);
        assert!(known, "{name} is not documented");
    }
}

#[tokio::test]
async fn unknown_methods_and_ids_create_no_series() {
    let redis = RedisServer::start();
    let watched = Watched::start(&redis).await;
    for number in 0..20 {
        let mut client = tonic::client::Grpc::new(watched.channel.clone());
        client.ready().await.unwrap();
        let path = format!("/nobody.v1.Service{number}/Method")
            .parse()
            .unwrap();
        let codec: tonic_prost::ProstCodec<(), ()> = tonic_prost::ProstCodec::default();
        let refused = client.unary(tonic::Request::new(()), path, codec).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
        let user = format!("somebody{number}");
        watched.ingest(liked(&user, "secret-item")).await.unwrap();
    }
    assert_eq!(watched.calls("_OTHER", "UNIMPLEMENTED"), 20.0);
    let (_, body) = watched.get("/metrics");
    for text in ["nobody", "somebody", "secret-item"] {
        assert!(!body.contains(text), "{text} in:\n{body}");
    }
}

#[tokio::test]
async fn probes_and_health_are_served_on_the_admin_port() {
    let mut redis = RedisServer::start();
    redis.kill();
    let mut watched = Watched::start(&redis).await;
    assert_eq!(watched.get("/livez").0, "HTTP/1.1 200 OK");
    let (status, body) = watched.get("/readyz");
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("HTTP/1.1 503 Service Unavailable", "NOT_SERVING\n")
    );
    assert_eq!(watched.get("/nothing").0, "HTTP/1.1 404 Not Found");
    redis.restart();
    while watched.get("/readyz").0 != "HTTP/1.1 200 OK" {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let channel = connect(watched.admin.parse().unwrap()).await;
    for service in ["", "liveness", "readiness", "recsys.v1.RecommenderService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let reply = HealthClient::new(channel.clone()).check(request).await;
        let status = reply.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    // An open connection to the admin port does not block shutdown.
    watched.served.signal("-INT");
    assert!(watched.served.child.wait().unwrap().success());
}

#[tokio::test]
async fn a_call_whose_client_disconnects_is_counted_as_cancelled() {
    let redis = RedisServer::start();
    let watched = Watched::start(&redis).await;
    let channel = watched.channel.clone();
    let mut watch = HealthClient::new(channel)
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap();
    drop(watch);
    while watched.calls("grpc.health.v1.Health/Watch", "CANCELLED") == 0.0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn metrics_count_shed_calls_and_closed_connections() {
    let redis = RedisServer::start();
    let settings = [
        ("RECSYS_MAX_BUFFERED_BYTES", "100000"),
        ("RECSYS_SLOW_CLIENT_TIMEOUT", "200ms"),
    ];
    let watched = Watched::with(&redis, &settings).await;
    let connections = || watched.value(meters::CONNECTIONS, &[("port", "api")]);
    while connections() != 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut big = liked("u", "i1");
    big.query_text = "x".repeat(200_000);
    assert_eq!(watched.ingest(big).await, Err(Code::ResourceExhausted));
    watched.ingest(liked("u", "i1")).await.unwrap();
    let silent = TcpStream::connect(&watched.served.address).unwrap();
    let closed = || watched.value(meters::CONNECTIONS_ENDED, &[("reason", "silent")]);
    while closed() < 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(silent);
    while connections() != 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(watched.value(meters::SHED, &[("reason", "bytes")]), 1.0);
    assert_eq!(watched.value(meters::SHED, &[("reason", "calls")]), 0.0);
    assert_eq!(watched.calls(INGEST, "RESOURCE_EXHAUSTED"), 1.0);
    // All of it is released.
    let (_, body) = watched.get("/metrics");
    // An open connection has a cost.
    for (gauge, left) in [
        (meters::CALLS_IN_FLIGHT, 0),
        (meters::BUFFERED_BYTES, 8 << 10),
    ] {
        assert!(
            body.contains(&format!("\n{gauge} {left}\n")),
            "{gauge} in:\n{body}"
        );
    }
}

#[test]
fn an_admin_address_in_use_is_reported_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = recsys(&["serve", "--listen-addr", "127.0.0.1:0"])
        .env("RECSYS_ADMIN_ADDR", &address)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("RECSYS_ADMIN_ADDR"), "{stderr}");
}

#[tokio::test]
async fn json_log_lines_include_the_causes_of_an_error() {
    let redis = RedisServer::with(&["--requirepass", "right"]);
    let url = format!("redis://:wrong@127.0.0.1:{}", redis.port());
    let mut program = recsys(&["serve", "--listen-addr", "127.0.0.1:0"]);
    program
        .envs([("REDIS_URL", url.as_str()), ("RECSYS_LOG_FORMAT", "json")])
        .stderr(std::process::Stdio::piped());
    let mut child = program.spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let error = lines.map_while(Result::ok).find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line).expect("one object a line");
        let matches = line["message"] == "dependency is misconfigured";
        matches.then(|| line["error"].as_str().unwrap().to_owned())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let error = error.unwrap();
    assert!(error.contains("Password authentication failed"), "{error}");
    assert!(!error.contains("wrong"), "{error}");
}
