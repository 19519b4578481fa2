//! Payloads and deliveries of these tests.

use std::net::SocketAddr;

use recsys::{
    domain::{ranking_config::RankingConfig, time::Timestamp},
    edge::settings::ServerSettings,
    proto,
};
use serde_json::{Value, json};

use crate::support::{
    MemoryWorld,
    http::{HttpReply, send},
    items::half_circle,
    redis::RedisServer,
    server::{NOW, TestServer},
};

const CASES: &str = include_str!("../../fixtures/conformance/rudderstack.json");

/// The time at which the cases were recorded.
pub(super) const RECORDED: &str = "2026-11-22T21:23:01Z";

pub(super) const PATH: &str = "/v1/webhooks/rudderstack";

pub(super) const JSON: (&str, &str) = ("content-type", "application/json");

pub(super) const USERS: [&str; 4] = ["visitor-a", "visitor-b", "visitor-c", "y"];

pub(super) fn cases() -> Vec<Value> {
    serde_json::from_str(CASES).unwrap()
}

pub(super) fn payloads() -> Vec<Value> {
    cases().iter().map(|case| case["payload"].clone()).collect()
}

pub(super) async fn post(address: SocketAddr, body: &Value) -> HttpReply {
    send(address, "POST", PATH, &[JSON], body.to_string().as_bytes()).await
}

/// A payload of a view that makes an item liked, at the time of the servers.
pub(super) fn liked_payload(user: &str, id: &str) -> Value {
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

pub(super) fn many(count: usize) -> Value {
    (0..count)
        .map(|number| liked_payload(&format!("u{}", number % 7), &format!("m-{number}")))
        .collect()
}

/// A server whose clock stands at the time of the cases.
pub(super) async fn recorded() -> TestServer {
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
pub(super) async fn stored(server: &TestServer, user: &str) -> Vec<Value> {
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

/// The payloads that become events, each with a message id, their times moved to before
/// `now`.
pub(super) fn named_payloads(now: Timestamp) -> Vec<Value> {
    let recorded = Timestamp::parse_iso8601(RECORDED).unwrap();
    let shift = now.as_micros() - recorded.as_micros();
    let valid = cases().into_iter().filter(|case| !case["event"].is_null());
    valid
        .enumerate()
        .map(|(number, mut case)| {
            let mut payload = case["payload"].take();
            let time = payload["timestamp"].as_str().unwrap();
            let time = Timestamp::parse_iso8601(time).unwrap().as_micros();
            payload["timestamp"] = json!(Timestamp::from_micros(time + shift).to_string());
            payload["messageId"] = json!(format!("m-{number}"));
            payload
        })
        .collect()
}

/// Delivers all twice, in reverse order and in batches that overlap.
pub(super) async fn deliver_repeatedly(address: SocketAddr, payloads: &[Value]) {
    let mut reversed: Vec<Value> = payloads.to_vec();
    reversed.reverse();
    for _ in 0..2 {
        for start in (0..reversed.len()).step_by(3) {
            let end = reversed.len().min(start + 5);
            let batch: Value = reversed[start..end].to_vec().into();
            let reply = post(address, &batch).await;
            assert_eq!(reply.status, 200, "{:?}", reply.json());
        }
    }
}

/// The time of a Redis, in whole seconds.
pub(super) fn time_of(redis: &RedisServer) -> Timestamp {
    let time = redis.cli(&["TIME"]);
    let seconds: i64 = time.lines().next().unwrap().parse().unwrap();
    Timestamp::from_micros(seconds * 1_000_000)
}
