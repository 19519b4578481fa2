//! Deliveries of RudderStack and Segment over HTTP.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use recsys::{
    api::limits::Limits,
    domain::{ranking_config::RankingConfig, time::Timestamp},
    edge::settings::ServerSettings,
    proto::{self, recommender_service_client::RecommenderServiceClient},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls};

use crate::{
    access::Tenants,
    operations::Faulty,
    support::{
        MemoryWorld,
        certificates::Certificates,
        http::{self, Reply, exchange, request, send},
        items::half_circle,
        program::{Served, get, recsys},
        redis::{self, RedisServer, own_prefix},
        server::{NOW, TestServer, connect},
        until,
    },
};

const CASES: &str = include_str!("../fixtures/conformance/rudderstack.json");
/// When the cases were recorded.
const RECORDED: &str = "2026-11-22T21:23:01Z";
const PATH: &str = "/v1/webhooks/rudderstack";
const JSON: (&str, &str) = ("content-type", "application/json");

fn cases() -> Vec<Value> {
    serde_json::from_str(CASES).unwrap()
}

fn payloads() -> Vec<Value> {
    cases().iter().map(|case| case["payload"].clone()).collect()
}

async fn post(address: SocketAddr, body: &Value) -> Reply {
    send(address, "POST", PATH, &[JSON], body.to_string().as_bytes()).await
}

/// A view that makes an item liked, at the servers' time.
fn liked(user: &str, id: &str) -> Value {
    json!({
        "type": "track",
        "userId": user,
        "event": "CONTENT_VIEW_ENDED",
        "timestamp": NOW,
        "messageId": id,
        "properties": {
            "content": {"content_id": "i001"},
            "details": {"reason": "next_button", "dwell_seconds": 60},
        },
    })
}

fn many(count: usize) -> Value {
    (0..count)
        .map(|number| liked(&format!("u{}", number % 7), &format!("m-{number}")))
        .collect()
}

/// A server at the time of the cases.
async fn recorded() -> TestServer {
    let config = RankingConfig::default();
    let mut items = half_circle(30);
    for (item, number) in items.iter_mut().zip(1_000..) {
        item.id = number.to_string().into();
    }
    let world = MemoryWorld::new(RECORDED, &config, items);
    let engine = world.engine(config);
    TestServer::serving(world, engine, ServerSettings::default()).await
}

/// A user's events as they are stored.
async fn stored(server: &TestServer, user: &str) -> Vec<Value> {
    let request = proto::ExportUserRequest {
        user_id: user.to_owned(),
    };
    let reply = server.recommender().export_user(request).await.unwrap();
    let members = reply.into_inner().stored_events;
    members
        .iter()
        .map(|member| serde_json::from_str(member).unwrap())
        .collect()
}

#[tokio::test]
async fn every_payload_maps_to_the_event_of_the_reference_engine() {
    let server = recorded().await;
    let reply = post(server.webhook, &payloads().into()).await;
    assert_eq!(reply.status, 200);
    let told = reply.json();
    for (outcome, count) in [
        ("received", 18),
        ("accepted", 14),
        ("duplicate", 0),
        ("outside_window", 0),
        ("no_user", 1),
        ("other_type", 1),
        ("invalid", 2),
        ("failed", 0),
    ] {
        assert_eq!(told[outcome], json!(count), "{outcome}: {told}");
    }
    let mut wanted: Vec<(String, Value)> = Vec::new();
    let mut dropped = Vec::new();
    for (index, case) in cases().into_iter().enumerate() {
        let Value::Object(mut event) = case["event"].clone() else {
            dropped.push(json!(index));
            continue;
        };
        let user = event["user_id"].as_str().unwrap().to_owned();
        event.insert("raw".to_owned(), json!({}));
        if let Some(id) = case["payload"].get("messageId") {
            event.insert("event_id".to_owned(), id.clone());
        }
        wanted.push((user, event.into()));
    }
    for user in ["visitor-a", "visitor-b", "visitor-c", "y"] {
        let events: Vec<Value> = wanted
            .iter()
            .filter(|(of, _)| of == user)
            .map(|(_, event)| event.clone())
            .collect();
        let mut ours = stored(&server, user).await;
        // By time there, as recorded here.
        ours.sort_by_key(|event| events.iter().position(|wanted| wanted == event));
        assert_eq!(ours, events, "{user}");
    }
    let left = told["not_taken"].as_array().unwrap().iter();
    let left: Vec<Value> = left.map(|element| element["index"].clone()).collect();
    assert_eq!(left, dropped);
}

/// The cases that become events, each with a name, their times moved to before
/// `now`.
fn named_payloads(now: Timestamp) -> Vec<Value> {
    let recorded = Timestamp::parse_iso8601(RECORDED).unwrap();
    let moved = now.as_micros() - recorded.as_micros();
    let good = cases().into_iter().filter(|case| !case["event"].is_null());
    good.enumerate()
        .map(|(number, mut case)| {
            let mut payload = case["payload"].take();
            let time = payload["timestamp"].as_str().unwrap();
            let time = Timestamp::parse_iso8601(time).unwrap().as_micros();
            payload["timestamp"] = json!(Timestamp::from_micros(time + moved).to_string());
            payload["messageId"] = json!(format!("m-{number}"));
            payload
        })
        .collect()
}

const USERS: [&str; 4] = ["visitor-a", "visitor-b", "visitor-c", "y"];

/// Delivers all twice, the last first, in batches that overlap.
async fn deliver_badly(address: SocketAddr, payloads: &[Value]) {
    let mut reversed: Vec<Value> = payloads.to_vec();
    reversed.reverse();
    for _ in 0..2 {
        for begin in (0..reversed.len()).step_by(3) {
            let end = reversed.len().min(begin + 5);
            let batch: Value = reversed[begin..end].to_vec().into();
            let reply = post(address, &batch).await;
            assert_eq!(reply.status, 200, "{:?}", reply.json());
        }
    }
}

#[tokio::test]
async fn a_recorded_delivery_sent_twice_and_out_of_order_leaves_one_copy_and_the_right_model() {
    let (orderly, badly) = (recorded().await, recorded().await);
    let payloads = named_payloads(Timestamp::parse_iso8601(RECORDED).unwrap());
    for payload in &payloads {
        let told = post(orderly.webhook, payload).await.json();
        assert_eq!(told["accepted"], json!(1), "{told}");
    }
    deliver_badly(badly.webhook, &payloads).await;
    for user in USERS {
        assert_eq!(stored(&badly, user).await, stored(&orderly, user).await);
        let (model, _) = badly.signals(user).await;
        assert_eq!(model, orderly.signals(user).await.0, "{user}");
        assert_eq!(model.event_count as usize, stored(&badly, user).await.len());
    }
    let (model, _) = badly.signals("visitor-a").await;
    assert_eq!(model.event_count, 7);
    assert!(model.positives.contains_key("1001"), "{model:?}");
    assert!(!model.positives.contains_key("1004"), "{model:?}");
}

#[tokio::test]
async fn so_it_does_in_redis() {
    let (redis, prefix) = (redis::shared(), own_prefix());
    let server = redis::instance(&redis.pool(), &prefix).await;
    let now = redis.cli(&["TIME"]);
    let seconds: i64 = now.lines().next().unwrap().parse().unwrap();
    let payloads = named_payloads(Timestamp::from_micros(seconds * 1_000_000));
    deliver_badly(server.webhook, &payloads).await;
    let mut ids: Vec<String> = USERS
        .iter()
        .flat_map(|user| redis.event_ids(&format!("{prefix}evt:{user}")))
        .collect();
    ids.sort();
    let mut wanted: Vec<String> = (0..payloads.len()).map(|n| format!("m-{n}")).collect();
    wanted.sort();
    assert_eq!(ids, wanted);
    let (model, _) = server.signals("visitor-a").await;
    assert_eq!(model.event_count, 7);
    assert_eq!(model.viewed, ["1001", "1004", "1005"]);
}

#[tokio::test]
async fn an_event_is_the_same_by_the_webhook_and_by_grpc() {
    let server = TestServer::with_items(half_circle(3)).await;
    let told = post(server.webhook, &liked("u", "once")).await.json();
    assert_eq!(told["accepted"], json!(1), "{told}");
    let event = proto::InteractionEvent {
        event_id: "once".to_owned(),
        event_time: Some(prost_types::Timestamp {
            seconds: Timestamp::parse_iso8601(NOW).unwrap().to_proto_parts().0,
            nanos: 0,
        }),
        ..crate::support::server::liked("u", "i001")
    };
    let again = server.ingest(event).await.unwrap();
    assert_eq!(again.outcome(), proto::IngestOutcome::Duplicate);
    assert_eq!(stored(&server, "u").await.len(), 1);
}

#[tokio::test]
async fn a_bad_element_never_fails_the_others_and_is_told() {
    let server = TestServer::with_items(half_circle(3)).await;
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let answers = |value: &str| {
        format!(r#"{{"type":"identify","userId":"u","messageId":"a","traits":{{"x":{value}}}}}"#)
    };
    let nested = format!("{}1{}", "[".repeat(31), "]".repeat(31));
    let long = "é".repeat(300);
    let elements = [
        liked("u", "good-1").to_string(),
        "nonsense".to_owned(),
        "1e999".to_owned(),
        r#""text""#.to_owned(),
        deep,
        answers("1e999"),
        answers(&nested),
        json!({"type": "track", "userId": "u", "messageId": "nameless"}).to_string(),
        json!({"type": "track", "event": "E", "messageId": "nobody's"}).to_string(),
        json!({"type": "page", "userId": "u", "messageId": "page"}).to_string(),
        json!({"type": "track", "userId": "u", "event": "E", "messageId": long}).to_string(),
        json!({"type": "track", "userId": "u", "event": "E", "timestamp": "soon"}).to_string(),
        json!({"type": "track", "userId": "u", "event": "E", "timestamp": "2027-01-01T00:00:00Z"})
            .to_string(),
        json!({"type": "track", "userId": "old", "event": "E",
            "timestamp": "2020-01-01T00:00:00Z", "messageId": "old"})
        .to_string(),
        json!({"type": "track", "userId": "u", "event": "E",
            "properties": {"details": {"dwell_seconds": -1}}})
        .to_string(),
        liked("u", "good-1").to_string(),
        liked("u", "good-2").to_string(),
    ];
    let body = format!("[{}]", elements.join(","));
    let reply = send(server.webhook, "POST", PATH, &[JSON], body.as_bytes()).await;
    assert_eq!(reply.status, 200);
    let told = reply.json();
    assert_eq!(told["received"], json!(elements.len()));
    let counts = ["accepted", "duplicate", "outside_window", "no_user"];
    assert_eq!(
        counts.map(|name| told[name].clone()),
        [2, 1, 1, 1].map(|n| json!(n))
    );
    let counts = ["other_type", "invalid", "failed"];
    assert_eq!(
        counts.map(|name| told[name].clone()),
        [1, 11, 0].map(|n| json!(n))
    );
    let left = told["not_taken"].as_array().unwrap();
    let reason = |index: usize| {
        let of = |element: &&Value| element["index"] == json!(index);
        let element = left.iter().find(of).unwrap();
        let name = element["messageId"].as_str().unwrap_or_default().to_owned();
        (name, element["reason"].as_str().unwrap().to_owned())
    };
    for (index, name, why) in [
        (1, "", "no JSON"),
        (3, "", "must be a JSON object"),
        (6, "a", "must nest at most 30 deep"),
        (7, "nameless", "event.event_type must not be empty"),
        (8, "nobody's", "neither userId nor anonymousId"),
        (9, "page", "neither track nor identify"),
        (11, "", "timestamp must be a time"),
        (12, "", "event.event_time must be at most 300 s ahead"),
        (13, "old", "older than"),
        (14, "", "event.dwell_seconds must be 0 to 86400"),
    ] {
        let (told_name, told_why) = reason(index);
        assert_eq!(told_name, name, "{index}");
        assert!(told_why.contains(why), "{index}: {told_why}");
    }
    assert!(reason(10).0.len() <= 128, "a long name is cut");
    assert_eq!(stored(&server, "u").await.len(), 2);
}

#[tokio::test]
async fn what_is_no_delivery_is_refused_with_a_status_that_says_why() {
    let server = TestServer::with_items(half_circle(3)).await;
    let address = server.webhook;
    let good = liked("u", "1").to_string();
    let too_many = format!("[{}]", vec!["1"; 10_001].join(","));
    for (headers, body, status) in [
        (&[JSON][..], "", 400),
        (&[JSON], "1", 400),
        (&[JSON], "\"track\"", 400),
        (&[JSON], "{\"type\": \"tra", 400),
        (&[JSON], "[{}", 400),
        (&[JSON], "[{},]", 400),
        (&[JSON], &too_many, 413),
        (&[], &good, 415),
        (&[("content-type", "text/plain")], &good, 415),
        (&[JSON, ("content-encoding", "br")], &good, 415),
        (&[JSON, ("content-encoding", "gzip")], &good, 400),
        (&[JSON, ("x-tenant-id", "shop")], &good, 403),
    ] {
        let reply = send(address, "POST", PATH, headers, body.as_bytes()).await;
        assert_eq!(reply.status, status, "{headers:?} {body:.40}");
        let told = reply.json();
        assert!(told["error"]["reason"].is_string(), "{told}");
        assert!(told["error"]["message"].is_string(), "{told}");
        assert!(reply.header("retry-after").is_none());
        assert!(reply.header("x-request-id").is_some());
    }
    let reply = send(address, "PUT", PATH, &[JSON], good.as_bytes()).await;
    assert_eq!(
        (reply.status, reply.header("allow")),
        (405, Some("GET, HEAD, POST"))
    );
    for path in ["/", "/v1/webhooks/", "/v1/webhooks/other", "/metrics"] {
        let reply = send(address, "POST", path, &[JSON], good.as_bytes()).await;
        assert_eq!(reply.status, 404, "{path}");
    }
    let raw = exchange(address, b"nonsense\r\n\r\n").await;
    assert!(raw.starts_with(b"HTTP/1.1 400"), "{}", raw.escape_ascii());
    assert!(stored(&server, "u").await.is_empty());

    let reply = post(address, &json!([])).await;
    assert_eq!(
        (reply.status, reply.json()["received"].clone()),
        (200, json!(0))
    );
    let utf8 = [("content-type", "application/json; charset=utf-8")];
    let path = "/v1/webhooks/segment";
    let reply = send(address, "POST", path, &utf8, good.as_bytes()).await;
    assert_eq!(reply.status, 200);
    let reply = send(address, "GET", PATH, &[("x-request-id", "abc-1")], b"").await;
    assert_eq!((reply.status, reply.json()), (200, json!({"status": "ok"})));
    assert_eq!(reply.header("x-request-id"), Some("abc-1"));
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(text).unwrap();
    packer.finish().unwrap()
}

#[tokio::test]
async fn packed_bodies_are_unpacked_within_the_same_bound() {
    let limits = Limits {
        max_request_bytes: 20_000,
        ..Limits::default()
    };
    let server = TestServer::with_limits(half_circle(3), limits).await;
    let gzip = [JSON, ("content-encoding", "gzip")];
    let deliver = async |headers: &[(&str, &str)], body: &[u8]| {
        let reply = send(server.webhook, "POST", PATH, headers, body).await;
        (reply.status, reply.json())
    };
    let body = many(50).to_string();
    assert!((10_000..20_000).contains(&body.len()), "{}", body.len());
    let (status, told) = deliver(&gzip, &packed(body.as_bytes())).await;
    assert_eq!((status, &told["accepted"]), (200, &json!(50)));
    let (status, told) = deliver(&[JSON], body.as_bytes()).await;
    assert_eq!((status, &told["duplicate"]), (200, &json!(50)));
    let mut large = body.into_bytes();
    large.resize(20_001, b' ');
    for (headers, body) in [
        (&[JSON][..], large.clone()),
        (&gzip, packed(&large)),
        (&gzip, packed(&vec![b'['; 8 << 20])),
    ] {
        let (status, told) = deliver(headers, &body).await;
        assert_eq!(status, 413, "{told}");
        assert_eq!(told["error"]["reason"], json!("TOO_LARGE"));
    }
}

#[tokio::test]
async fn what_packed_bodies_unfold_to_counts_as_memory() {
    let config = RankingConfig::default();
    let world = MemoryWorld::new(NOW, &config, half_circle(3));
    let engine = world.engine(config);
    let settings = ServerSettings {
        max_buffered_bytes: 200_000,
        ..ServerSettings::default()
    };
    let server = TestServer::serving(world, engine, settings).await;
    let gzip = [JSON, ("content-encoding", "gzip")];
    let bomb = packed(&vec![b' '; 1 << 20]);
    let reply = send(server.webhook, "POST", PATH, &gzip, &bomb).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(reply.json()["error"]["reason"], json!("OVERLOADED"));
    // All is given back.
    assert_eq!(post(server.webhook, &liked("u", "1")).await.status, 200);
}

#[tokio::test]
async fn more_elements_than_a_batch_of_the_api_may_have_are_taken() {
    let server = TestServer::with_items(half_circle(3)).await;
    let reply = post(server.webhook, &many(2_500)).await;
    let told = reply.json();
    assert_eq!((reply.status, &told["accepted"]), (200, &json!(2_500)));
    assert_eq!(told["not_taken"], json!([]));
}

#[tokio::test]
async fn without_the_store_a_delivery_is_to_be_sent_again_and_then_complete() {
    let mut redis = RedisServer::start();
    let server = redis::instance(&redis.pool(), "").await;
    // Redis has told its time.
    let now = redis.cli(&["TIME"]);
    let seconds: i64 = now.lines().next().unwrap().parse().unwrap();
    let mut payloads = named_payloads(Timestamp::from_micros(seconds * 1_000_000));
    payloads.push(json!("nonsense"));
    let delivery: Value = payloads.clone().into();
    assert_eq!(post(server.webhook, &payloads[0]).await.status, 200);
    redis.kill();
    let reply = post(server.webhook, &delivery).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    let told = reply.json();
    assert_eq!(told["failed"], json!(14), "{told}");
    assert_eq!(told["invalid"], json!(1), "{told}");
    assert!(!told.to_string().contains("127.0.0.1"), "{told}");
    redis.restart();
    until("the redelivery is taken", async || {
        post(server.webhook, &delivery).await.status == 200
    })
    .await;
    let mut ids: Vec<String> = USERS
        .iter()
        .flat_map(|user| redis.event_ids(&format!("evt:{user}")))
        .collect();
    ids.sort();
    let mut wanted: Vec<String> = (0..14).map(|number| format!("m-{number}")).collect();
    wanted.sort();
    assert_eq!(ids, wanted);
}

#[tokio::test]
async fn a_delivery_that_was_stored_in_part_is_to_be_sent_again() {
    let stores = Faulty::new();
    let server = stores.serve_with(ServerSettings::default()).await;
    let delivery = json!([liked("u", "1"), liked("broken", "2"), liked("u", "3")]);
    for known in ["accepted", "duplicate"] {
        let reply = post(server.webhook, &delivery).await;
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (503, Some("1"))
        );
        let told = reply.json();
        assert_eq!((&told[known], &told["failed"]), (&json!(2), &json!(1)));
        let left = &told["not_taken"][0];
        assert_eq!(
            (&left["index"], &left["messageId"]),
            (&json!(1), &json!("2"))
        );
        assert_eq!(left["outcome"], json!("failed"));
    }
}

#[tokio::test]
async fn too_many_deliveries_at_once_are_to_come_again() {
    let stores = Faulty::new();
    stores.hold_appends.store(true, Ordering::SeqCst);
    let server = stores
        .serve_with(ServerSettings {
            max_calls: 1,
            request_timeout: Duration::from_secs(3_600),
            ..ServerSettings::default()
        })
        .await;
    let address = server.webhook;
    let first = tokio::spawn(async move { post(address, &liked("u", "1")).await.status });
    while stores.begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let reply = post(address, &liked("u", "2")).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(reply.json()["error"]["reason"], json!("OVERLOADED"));
    // Calls of the API are in the same boat.
    let refused = server
        .ingest(crate::support::server::liked("u", "i001"))
        .await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::ResourceExhausted);
    stores.hold_appends.store(false, Ordering::SeqCst);
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(post(address, &liked("u", "2")).await.status, 200);
}

#[tokio::test]
async fn a_delivery_has_the_time_that_a_call_has() {
    let stores = Faulty::new();
    let server = stores
        .serve_with(ServerSettings {
            request_timeout: Duration::from_millis(300),
            ..ServerSettings::default()
        })
        .await;
    // One that is never completed.
    let begun = request("POST", PATH, &[JSON], &[b' '; 100]);
    let raw = exchange_open(server.webhook, &begun[..begun.len() - 1]).await;
    let reply = http::reply(&raw);
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    // One whose store takes too long.
    stores.hold_appends.store(true, Ordering::SeqCst);
    let reply = post(server.webhook, &liked("u", "1")).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    stores.hold_appends.store(false, Ordering::SeqCst);
    until("it is a duplicate", async || {
        let reply = post(server.webhook, &liked("u", "1")).await;
        reply.status == 200 && reply.json()["duplicate"] == json!(1)
    })
    .await;
}

/// Sends bytes, keeps the connection open, and reads one reply.
async fn exchange_open(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told).await;
    told
}

#[tokio::test]
async fn a_stop_finishes_the_deliveries_under_way_and_takes_no_more() {
    let stores = Faulty::new();
    stores.hold_appends.store(true, Ordering::SeqCst);
    let server = stores
        .serve_with(ServerSettings {
            drain_timeout: Duration::from_secs(3_600),
            request_timeout: Duration::from_secs(3_600),
            ..ServerSettings::default()
        })
        .await;
    let address = server.webhook;
    let first = tokio::spawn(async move { post(address, &liked("u", "1")).await });
    while stores.begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let idle = TcpStream::connect(address).await.unwrap();
    let stopped = tokio::spawn(server.stopped());
    until("it listens no more", async || {
        TcpStream::connect(address).await.is_err()
    })
    .await;
    assert!(!stopped.is_finished());
    stores.hold_appends.store(false, Ordering::SeqCst);
    let reply = first.await.unwrap();
    assert_eq!((reply.status, &reply.json()["accepted"]), (200, &json!(1)));
    stopped.await.unwrap().unwrap();
    drop(idle);
}

#[tokio::test]
async fn connections_that_do_not_speak_are_ended() {
    let stores = Faulty::new();
    let server = stores
        .serve_with(ServerSettings {
            slow_client_timeout: Duration::from_millis(200),
            ..ServerSettings::default()
        })
        .await;
    let head = request("POST", PATH, &[JSON], b"");
    for said in [&b""[..], b"POST ", &head[..head.len() - 4]] {
        let mut stream = TcpStream::connect(server.webhook).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut told = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut told));
        assert!(ended.await.is_ok(), "{}", said.escape_ascii());
    }
    assert_eq!(post(server.webhook, &liked("u", "1")).await.status, 200);
}

/// The program with a webhook, and where it is.
fn with_webhook(settings: &[(&str, &str)]) -> (Served, SocketAddr) {
    let mut command = recsys(&["serve"]);
    command
        .env("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0")
        .envs(settings.iter().copied());
    let served = Served::start(&mut command);
    let address = webhook_of(&served);
    (served, address)
}

fn webhook_of(served: &Served) -> SocketAddr {
    let (_, told) = served
        .seen
        .split_once("taking deliveries address=")
        .unwrap();
    told.split_whitespace().next().unwrap().parse().unwrap()
}

fn basic(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    )
}

fn now() -> String {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(now.as_micros()).unwrap()).to_string()
}

fn liked_now(user: &str, id: &str) -> Value {
    let mut payload = liked(user, id);
    payload["timestamp"] = json!(now());
    payload
}

#[tokio::test]
async fn a_key_is_taken_in_every_place_where_a_pipeline_can_put_it() {
    let mut tenants = Tenants::new(&["shop", "museum"]);
    let key = tenants.key("shop", &["ingest"]);
    let reader = tenants.key("shop", &["read-profile"]);
    let admin = tenants.key("museum", &["admin"]);
    let served = tenants.serve(&[("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0")]);
    let address = webhook_of(&served);
    let deliver = async |user: &str, headers: &[(&str, &str)]| {
        let body = liked_now(user, user).to_string();
        let headers = [&[JSON][..], headers].concat();
        send(address, "POST", PATH, &headers, body.as_bytes()).await
    };
    let bearer = format!("Bearer {key}");
    let (user, password) = (basic(&key, ""), basic("rudderstack", &key));
    let ways = [
        ("authorization", bearer.as_str()),
        ("x-api-key", &key),
        ("authorization", &user),
        ("authorization", &password),
    ];
    for (number, way) in ways.iter().enumerate() {
        let reply = deliver(&format!("u{number}"), &[*way]).await;
        assert_eq!(reply.status, 200, "{way:?}");
        let reply = send(address, "GET", PATH, &[*way], b"").await;
        assert_eq!(reply.status, 200, "{way:?}");
    }
    let admin = ("x-api-key", admin.as_str());
    let reply = deliver("u9", &[admin, ("x-tenant-id", "shop")]).await;
    assert_eq!(reply.status, 200);

    let other = basic("shop", "rsk_1_2");
    let other_reader = format!("Bearer {reader}");
    for (headers, status) in [
        (&[][..], 401),
        (&[("authorization", other.as_str())], 401),
        (&[("authorization", &user[..user.len() - 8])], 401),
        (&[("x-webhook-secret", &key)], 401),
        (&[ways[0], ("x-api-key", &reader)], 401),
        (&[ways[0], ("authorization", &other_reader)], 401),
        (&[("x-api-key", &reader)], 403),
        (&[ways[0], ("x-tenant-id", "museum")], 403),
    ] {
        let reply = deliver("refused", headers).await;
        assert_eq!(reply.status, status, "{headers:?}");
        let asks = reply.header("www-authenticate");
        assert_eq!(asks.is_some(), status == 401, "{headers:?}");
    }

    // All are with their tenant, and only those.
    let channel = connect(served.address.parse().unwrap()).await;
    for (user, tenant, events) in [
        ("u0", "shop", 1),
        ("u1", "shop", 1),
        ("u2", "shop", 1),
        ("u3", "shop", 1),
        ("u9", "shop", 1),
        ("u9", "museum", 0),
        ("refused", "shop", 0),
    ] {
        let mut request = tonic::Request::new(proto::GetUserSignalsRequest {
            user_id: user.to_owned(),
            include_vectors: false,
        });
        let metadata = request.metadata_mut();
        metadata.insert("x-api-key", admin.1.parse().unwrap());
        metadata.insert("x-tenant-id", tenant.parse().unwrap());
        let mut client = RecommenderServiceClient::new(channel.clone());
        let reply = client.get_user_signals(request).await.unwrap();
        let signals = reply.into_inner().signals.unwrap();
        assert_eq!(signals.event_count, events, "{user} of {tenant}");
    }
}

#[tokio::test]
async fn a_quota_that_is_used_up_says_when_to_come_again() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["ingest"]);
    tenants.add("events_per_second = 1\nevents_burst = 5");
    let served = tenants.serve(&[("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0")]);
    let address = webhook_of(&served);
    let deliver = async |count: usize| {
        let body: Value = (0..count).map(|n| liked_now("u", &n.to_string())).collect();
        let headers = [JSON, ("x-api-key", key.as_str())];
        send(address, "POST", PATH, &headers, body.to_string().as_bytes()).await
    };
    assert_eq!(deliver(6).await.status, 413, "it would never do");
    assert_eq!(deliver(5).await.status, 200);
    // However long the machine took, there is no room for all of these.
    let refused = loop {
        let reply = deliver(5).await;
        if reply.status != 200 {
            break reply;
        }
    };
    assert_eq!(refused.status, 429);
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&after), "{after}");
    assert_eq!(refused.json()["error"]["reason"], json!("QUOTA_EXCEEDED"));
}

#[tokio::test]
async fn without_keys_a_secret_keeps_others_out() {
    let secret = "a-shared-secret-of-the-pipeline";
    let (mut served, address) = with_webhook(&[("RECSYS_WEBHOOK_SECRET", secret)]);
    let deliver = async |headers: &[(&str, &str)]| {
        let headers = [&[JSON][..], headers].concat();
        let body = liked_now("u", "1").to_string();
        send(address, "POST", PATH, &headers, body.as_bytes()).await
    };
    let (user, password) = (basic(secret, ""), basic("rudderstack", secret));
    for way in [
        ("x-webhook-secret", secret),
        ("authorization", &user),
        ("authorization", &password),
    ] {
        assert_eq!(deliver(&[way]).await.status, 200, "{way:?}");
    }
    let wrong = basic("rudderstack", "wrong");
    for headers in [
        &[][..],
        &[("x-webhook-secret", "wrong")],
        &[("x-webhook-secret", "")],
        &[("authorization", &wrong)],
        &[("x-webhook-secret", secret), ("x-webhook-secret", "wrong")],
    ] {
        let reply = deliver(headers).await;
        assert_eq!(reply.status, 401, "{headers:?}");
        assert_eq!(reply.json()["error"]["reason"], json!("SECRET_UNKNOWN"));
    }
    // It is for deliveries alone: the API's port is open on the loopback.
    let channel = connect(served.address.parse().unwrap()).await;
    let request = proto::RecommendRequest {
        user_id: "u".to_owned(),
        ..Default::default()
    };
    let list = RecommenderServiceClient::new(channel)
        .recommend(request)
        .await;
    assert!(list.is_ok());
    served.signal("-INT");
    assert!(!served.logged("stopped").contains(secret));
}

/// What the program says of settings that it refuses.
fn refused(settings: &[(&str, &str)]) -> String {
    let output = recsys(&["serve", "--listen-addr", "127.0.0.1:0"])
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_webhook_that_would_be_open_to_others_or_unclear_is_refused_at_the_start() {
    let told = refused(&[("RECSYS_WEBHOOK_ADDR", "0.0.0.0:0")]);
    assert!(told.contains("RECSYS_WEBHOOK_SECRET"), "{told}");
    let mut tenants = Tenants::new(&["shop"]);
    tenants.key("shop", &["ingest"]);
    tenants.write();
    let told = refused(&[
        ("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0"),
        ("RECSYS_TENANTS_PATH", &tenants.path()),
        ("RECSYS_WEBHOOK_SECRET", "hunter2"),
    ]);
    assert!(told.contains("without a tenants file"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    // With a secret, or told so, it listens.
    for (name, value) in [
        ("RECSYS_WEBHOOK_SECRET", "hunter2"),
        ("RECSYS_INSECURE_ALLOW_UNAUTHENTICATED", "true"),
    ] {
        let mut command = recsys(&["serve"]);
        command.envs([("RECSYS_WEBHOOK_ADDR", "0.0.0.0:0"), (name, value)]);
        let served = Served::start(&mut command);
        let warned = served
            .seen
            .contains("everyone who reaches this address may deliver");
        assert_eq!(warned, name != "RECSYS_WEBHOOK_SECRET");
    }
}

#[tokio::test]
async fn tls_of_the_apis_port_is_the_webhooks_too_and_takes_http_1() {
    let certificates = Certificates::new();
    let (cert, key) = (
        certificates.path("server.pem"),
        certificates.path("server.key"),
    );
    let (_served, address) = with_webhook(&[
        ("RECSYS_TLS_CERT_FILE", cert.as_str()),
        ("RECSYS_TLS_KEY_FILE", &key),
    ]);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = rustls::RootCertStore::empty();
    let pem = certificates.text("ca.pem");
    let authority =
        <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_slice(
            pem.as_bytes(),
        );
    roots.add(authority.unwrap()).unwrap();
    for protocols in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        if protocols.contains(&"h2") {
            assert_eq!(agreed.as_deref(), Some(&b"h2"[..]));
            continue;
        }
        let body = liked_now("u", "1").to_string();
        let bytes = request("POST", PATH, &[JSON], body.as_bytes());
        stream.write_all(&bytes).await.unwrap();
        let mut told = Vec::new();
        let _ = stream.read_to_end(&mut told).await;
        assert_eq!(http::reply(&told).status, 200, "{protocols:?}");
    }
    // Nothing in clear beside it.
    let plain = exchange(address, &request("GET", PATH, &[], b"")).await;
    assert!(!plain.starts_with(b"HTTP"), "{}", plain.escape_ascii());
}

#[tokio::test]
async fn deliveries_are_measured() {
    let (mut served, address) = with_webhook(&[("RECSYS_ADMIN_ADDR", "127.0.0.1:0")]);
    let told = served.logged("serving metrics and health address=");
    let (_, admin) = told.split_once("metrics and health address=").unwrap();
    let admin = admin.split_whitespace().next().unwrap().to_owned();
    let delivery = json!([
        liked_now("u", "1"),
        liked_now("u", "1"),
        {"type": "track", "userId": "u"},
        {"type": "track", "event": "E"},
        {"type": "page", "userId": "u"},
        7,
    ]);
    assert_eq!(post(address, &delivery).await.status, 200);
    assert_eq!(
        send(address, "POST", "/nowhere", &[], b"").await.status,
        404
    );
    let metrics = get(&admin, "/metrics");
    for line in [
        "recsys_webhook_events_total{outcome=\"mapped\"} 3",
        "recsys_webhook_events_total{outcome=\"no_user\"} 1",
        "recsys_webhook_events_total{outcome=\"other_type\"} 1",
        "recsys_webhook_events_total{outcome=\"unreadable\"} 1",
        "recsys_events_total{outcome=\"accepted\"} 1",
        "recsys_events_total{outcome=\"duplicate\"} 1",
        "recsys_events_total{outcome=\"invalid\"} 1",
        "http_server_request_duration_seconds_count{http_response_status_code=\"200\"} 1",
        "http_server_request_duration_seconds_count{http_response_status_code=\"404\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in:\n{metrics}");
    }
    assert!(metrics.contains("recsys_connections{port=\"webhook\"}"));
}
