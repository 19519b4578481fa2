//! What those see who watch the process: metrics, probes and health on the
//! admin port of the real program, over a real Redis.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use recsys::{proto, telemetry::meters};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    program::{Served, recsys},
    redis::RedisServer,
    server::{connect, liked, named},
};

/// A program with an admin port, and a way to both.
pub struct Watched {
    pub served: Served,
    admin: String,
    pub channel: Channel,
}

impl Watched {
    pub async fn start(redis: &RedisServer) -> Self {
        Self::with(redis, &[]).await
    }

    pub async fn with(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let url = redis.url();
        Self::set(&[&[("REDIS_URL", url.as_str())], settings].concat()).await
    }

    pub async fn set(settings: &[(&str, &str)]) -> Self {
        let mut served = Served::start(
            recsys(&["serve", "--admin-addr", "127.0.0.1:0"]).envs(settings.iter().copied()),
        );
        let told = served.logged("serving metrics and health address=");
        let (_, rest) = told.split_once("metrics and health address=").unwrap();
        let admin = rest.split_whitespace().next().unwrap().to_owned();
        let channel = connect(served.address.parse().unwrap()).await;
        Self {
            served,
            admin,
            channel,
        }
    }

    pub fn client(&self) -> proto::recommender_service_client::RecommenderServiceClient<Channel> {
        proto::recommender_service_client::RecommenderServiceClient::new(self.channel.clone())
    }

    pub async fn ingest(&self, event: proto::InteractionEvent) -> Result<(), Code> {
        let request = proto::IngestEventRequest { event: Some(event) };
        let done = self.client().ingest_event(request).await;
        done.map(|_| ()).map_err(|status| status.code())
    }

    pub async fn signals(&self, user: &str) -> Result<(), Code> {
        let request = proto::GetUserSignalsRequest {
            user_id: user.to_owned(),
            include_vectors: false,
        };
        let done = self.client().get_user_signals(request).await;
        done.map(|_| ()).map_err(|status| status.code())
    }

    /// Status line and body.
    pub fn get(&self, path: &str) -> (String, String) {
        self.http("GET", path, "")
    }

    pub fn http(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let status = head.lines().next().unwrap();
        (status.to_owned(), body.to_owned())
    }

    /// The value of a series, 0 if there is none. Labels in any order.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, body) = self.get("/metrics");
        body.lines()
            .filter(|line| {
                let end = line.strip_prefix(name).and_then(|rest| rest.chars().next());
                end == Some('{') || (labels.is_empty() && end == Some(' '))
            })
            .find(|line| {
                labels
                    .iter()
                    .all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
            })
            .map_or(0.0, |line| {
                line.rsplit_once(' ').unwrap().1.parse().unwrap()
            })
    }

    fn calls(&self, method: &str, code: &str) -> f64 {
        let labels = [("rpc_method", method), ("rpc_response_status_code", code)];
        self.value(&format!("{}_count", meters::RPC_DURATION), &labels)
    }

    fn redis(&self, operation: &str, error_type: &str) -> f64 {
        let labels = [
            ("db_system_name", "redis"),
            ("db_operation_name", operation),
            ("error_type", error_type),
        ];
        self.value(&format!("{}_count", meters::STORE_DURATION), &labels)
    }

    fn events(&self, outcome: &str) -> f64 {
        self.value(meters::EVENTS, &[("outcome", outcome)])
    }

    fn reads(&self, source: &str) -> f64 {
        self.value(meters::MODEL_READS, &[("source", source)])
    }
}

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
    redis.cli(&["ZADD", "evt:u", "1", "{broken"]);
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
    // The duplicate asks, too; and of a known model it is asked once whether it is
    // still stored, and once more for what is there instead.
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
        assert!(body.contains(&format!("# HELP {name} ")), "{name}:\n{body}");
    }
    for line in body.lines().filter(|line| line.starts_with("# TYPE")) {
        let name = line.split(' ').nth(2).unwrap();
        let known = meters::ALL.contains(&name) || meters::OF_THE_PROCESS.contains(&name);
        assert!(known, "{name} is not documented");
    }
}

#[tokio::test]
async fn unknown_methods_and_ids_make_no_series() {
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
async fn probes_and_health_answer_on_the_admin_port() {
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
    // An open connection to the admin port does not hold up the end.
    watched.served.signal("-INT");
    assert!(watched.served.child.wait().unwrap().success());
}

#[tokio::test]
async fn a_caller_that_goes_away_is_noted_as_cancelled() {
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
async fn metrics_count_what_is_refused_and_which_connections_are_ended() {
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
    let ended = || watched.value(meters::CONNECTIONS_ENDED, &[("reason", "silent")]);
    while ended() < 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(silent);
    while connections() != 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(watched.value(meters::SHED, &[("reason", "bytes")]), 1.0);
    assert_eq!(watched.value(meters::SHED, &[("reason", "calls")]), 0.0);
    assert_eq!(watched.calls(INGEST, "RESOURCE_EXHAUSTED"), 1.0);
    // All is given back.
    let (_, body) = watched.get("/metrics");
    for gauge in [meters::CALLS_IN_FLIGHT, meters::BUFFERED_BYTES] {
        assert!(
            body.contains(&format!("\n{gauge} 0\n")),
            "{gauge} in:\n{body}"
        );
    }
}

#[test]
fn an_admin_address_in_use_is_told_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = recsys(&["serve", "--listen-addr", "127.0.0.1:0"])
        .env("RECSYS_ADMIN_ADDR", &address)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("RECSYS_ADMIN_ADDR"), "{told}");
}

#[test]
fn the_readme_names_every_metric() {
    let readme = include_str!("../../README.md");
    for name in meters::ALL.into_iter().chain(meters::OF_THE_PROCESS) {
        assert!(readme.contains(&format!("`{name}")), "{name}");
    }
}

#[tokio::test]
async fn json_lines_tell_an_error_with_its_causes() {
    let redis = RedisServer::with(&["--requirepass", "right"]);
    let url = format!("redis://:wrong@127.0.0.1:{}", redis.port());
    let output = std::process::Stdio::piped();
    let mut program = recsys(&["serve", "--listen-addr", "127.0.0.1:0"]);
    program
        .envs([("REDIS_URL", url.as_str()), ("RECSYS_LOG_FORMAT", "json")])
        .stderr(output);
    let mut child = program.spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let told = lines.map_while(Result::ok).find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line).expect("one object a line");
        let is_it = line["message"] == "dependency does not answer";
        is_it.then(|| line["error"].as_str().unwrap().to_owned())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let told = told.unwrap();
    assert!(told.contains("Password authentication failed"), "{told}");
    assert!(!told.contains("wrong"), "{told}");
}
