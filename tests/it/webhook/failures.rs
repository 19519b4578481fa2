//! Deliveries during outages, overload and shutdown.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use recsys::edge::settings::ServerSettings;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::deliveries::{JSON, PATH, USERS, liked_payload, named_payloads, post, time_of};
use crate::{
    operations::Faulty,
    support::{
        http::{self, request},
        redis::{self, RedisServer},
        server::liked,
        until,
    },
};

#[tokio::test]
async fn a_delivery_during_an_outage_must_be_retried_and_is_then_complete() {
    let mut redis = RedisServer::start();
    let server = redis::instance(&redis.pool(), "").await;
    let mut payloads = named_payloads(time_of(&redis));
    payloads.push(json!("nonsense"));
    let delivery: Value = payloads.clone().into();
    // The server learns the time of Redis.
    assert_eq!(post(server.webhook, &payloads[0]).await.status, 200);
    redis.kill();
    let reply = post(server.webhook, &delivery).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    let report = reply.json();
    assert_eq!(report["failed"], json!(14), "{report}");
    assert_eq!(report["invalid"], json!(1), "{report}");
    assert!(!report.to_string().contains("127.0.0.1"), "{report}");
    redis.restart();
    until("the redelivery is accepted", async || {
        post(server.webhook, &delivery).await.status == 200
    })
    .await;
    let mut ids: Vec<String> = USERS
        .iter()
        .flat_map(|user| redis.event_ids(&format!("evt:{user}")))
        .collect();
    ids.sort();
    let mut expected: Vec<String> = (0..14).map(|number| format!("m-{number}")).collect();
    expected.sort();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn a_partly_stored_delivery_must_be_retried() {
    let stores = Faulty::new();
    let server = stores.serve_with(ServerSettings::default()).await;
    let delivery = json!([
        liked_payload("u", "1"),
        liked_payload("broken", "2"),
        liked_payload("u", "3")
    ]);
    for outcome in ["accepted", "duplicate"] {
        let reply = post(server.webhook, &delivery).await;
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (503, Some("1"))
        );
        let report = reply.json();
        assert_eq!(
            (&report[outcome], &report["failed"]),
            (&json!(2), &json!(1))
        );
        let failed = &report["not_taken"][0];
        assert_eq!(
            (&failed["index"], &failed["messageId"]),
            (&json!(1), &json!("2"))
        );
        assert_eq!(failed["outcome"], json!("failed"));
    }
}

#[tokio::test]
async fn deliveries_beyond_the_call_limit_must_be_retried() {
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
    let first = tokio::spawn(async move { post(address, &liked_payload("u", "1")).await.status });
    while stores.begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let reply = post(address, &liked_payload("u", "2")).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(reply.json()["error"]["reason"], json!("OVERLOADED"));
    // Calls of the API count toward the same limit.
    let refused = server.ingest(liked("u", "i001")).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::ResourceExhausted);
    stores.hold_appends.store(false, Ordering::SeqCst);
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(post(address, &liked_payload("u", "2")).await.status, 200);
}

#[tokio::test]
async fn deliveries_are_bound_by_the_request_timeout() {
    let stores = Faulty::new();
    let server = stores
        .serve_with(ServerSettings {
            request_timeout: Duration::from_millis(300),
            ..ServerSettings::default()
        })
        .await;
    // A request that is never completed.
    let bytes = request("POST", PATH, &[JSON], &[b' '; 100]);
    let raw = exchange_open(server.webhook, &bytes[..bytes.len() - 1]).await;
    let reply = http::reply(&raw);
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    // A store that takes too long.
    stores.hold_appends.store(true, Ordering::SeqCst);
    let reply = post(server.webhook, &liked_payload("u", "1")).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    stores.hold_appends.store(false, Ordering::SeqCst);
    until("it is a duplicate", async || {
        let reply = post(server.webhook, &liked_payload("u", "1")).await;
        reply.status == 200 && reply.json()["duplicate"] == json!(1)
    })
    .await;
}

/// Sends bytes, keeps the connection open, and reads one reply.
async fn exchange_open(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    reply
}

#[tokio::test]
async fn shutdown_completes_deliveries_in_flight_and_accepts_no_more() {
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
    let first = tokio::spawn(async move { post(address, &liked_payload("u", "1")).await });
    while stores.begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let idle = TcpStream::connect(address).await.unwrap();
    let stopped = tokio::spawn(server.stopped());
    until("it stops listening", async || {
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
async fn silent_connections_are_closed() {
    let stores = Faulty::new();
    let server = stores
        .serve_with(ServerSettings {
            slow_client_timeout: Duration::from_millis(200),
            ..ServerSettings::default()
        })
        .await;
    let head = request("POST", PATH, &[JSON], b"");
    for sent in [&b""[..], b"POST ", &head[..head.len() - 4]] {
        let mut stream = TcpStream::connect(server.webhook).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut reply = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut reply));
        assert!(closed.await.is_ok(), "{}", sent.escape_ascii());
    }
    assert_eq!(
        post(server.webhook, &liked_payload("u", "1")).await.status,
        200
    );
}
