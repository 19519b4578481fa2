//! Callers that disconnect, send the same event at once, or send malformed input.

use std::{sync::Arc, time::Duration};

use recsys::{
    adapters::redis::RedisSettings,
    proto::{self, IngestOutcome, recommender_service_client::RecommenderServiceClient},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Barrier,
    task::JoinHandle,
};
use tonic::{Status, transport::Channel};

use super::{assert_stored_for, deliver, event, recommend_request};
use crate::support::{
    items::half_circle,
    proxy::{End, Proxy, Way},
    redis::{instance, own_prefix, pool, shared},
    server::{TestServer, connect},
    until,
};

#[tokio::test]
async fn a_cancelled_event_is_stored_at_most_once_and_a_retry_completes_it() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    deliver(&server, &event("u", "0")).await;
    let ids: Vec<String> = (0..400).map(|number| number.to_string()).collect();
    for (number, id) in ids.iter().enumerate().skip(1) {
        // Dropped at any moment from before it is sent to after its reply.
        let timeout = Duration::from_micros(20 * number as u64);
        let _ = tokio::time::timeout(timeout, server.ingest(event("u", id))).await;
    }
    let stored = redis.event_ids(&format!("{prefix}evt:u"));
    let mut once = stored.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), stored.len(), "none is stored twice");
    assert!(stored.len() > 1, "some were sent");
    for id in &ids {
        deliver(&server, &event("u", id)).await;
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    assert_stored_for(&server, redis, &prefix, "u", &ids).await;
}

#[tokio::test]
async fn an_event_whose_caller_disconnected_is_in_the_model_without_a_retry() {
    let (redis, prefix) = (shared(), own_prefix());
    let proxy = Proxy::to(redis.port()).await;
    let url = format!("redis://{}", proxy.address());
    let server = instance(&pool(&url, RedisSettings::default()), &prefix).await;
    let evt = format!("{prefix}evt:u");
    let umodel = format!("{prefix}umodel:u");
    let mut sent = vec!["before".to_owned()];
    deliver(&server, &event("u", "before")).await;
    for number in 0..10 {
        let id = number.to_string();
        proxy.hold_one(Way::Replies);
        let mut client = server.recommender();
        let request = proto::IngestEventRequest {
            event: Some(event("u", &id)),
        };
        let call = tokio::spawn(async move { client.ingest_event(request).await });
        let reached = async || redis.event_ids(&evt).contains(&id);
        until("Redis has it", reached).await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        proxy.heal().await;
        sent.push(id);
        let count = format!("\"event_count\":{}", sent.len());
        let saved = async || redis.cli(&["GET", &umodel]).contains(&count);
        until("the model has it", saved).await;
    }
    let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
    assert_stored_for(&server, redis, &prefix, "u", &sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_event_sent_by_eight_callers_at_once_is_accepted_once() {
    let (redis, prefix) = (shared(), own_prefix());
    let servers = [
        instance(&redis.pool(), &prefix).await,
        instance(&redis.pool(), &prefix).await,
    ];
    for round in 0..20 {
        let (user, together) = (format!("u{round}"), Arc::new(Barrier::new(8)));
        let mut senders = Vec::new();
        for sender in 0..8 {
            let mut client = servers[sender % 2].recommender();
            let (together, event) = (together.clone(), Some(event(&user, "same")));
            senders.push(tokio::spawn(async move {
                together.wait().await;
                let sent = client.ingest_event(proto::IngestEventRequest { event });
                sent.await.unwrap().into_inner()
            }));
        }
        let mut accepted = 0;
        for sender in senders {
            let reply = sender.await.unwrap();
            assert_eq!(reply.buffered_events, 1);
            if reply.outcome() == IngestOutcome::Accepted {
                accepted += 1;
            } else {
                assert_eq!(reply.outcome(), IngestOutcome::Duplicate);
            }
        }
        assert_eq!(accepted, 1);
        assert_stored_for(&servers[round % 2], redis, &prefix, &user, &["same"]).await;
    }
}

/// Calls of one client over one connection.
struct Calls {
    client: RecommenderServiceClient<Channel>,
    proxy: Proxy,
    _server: TestServer,
}

impl Calls {
    async fn start() -> Self {
        let server = TestServer::with_items(half_circle(30)).await;
        let proxy = Proxy::to(server.address.port()).await;
        Self {
            client: RecommenderServiceClient::new(connect(proxy.address()).await),
            proxy,
            _server: server,
        }
    }

    fn start_call(&self) -> JoinHandle<Result<(), Status>> {
        let mut client = self.client.clone();
        tokio::spawn(async move {
            let list = client.recommend(recommend_request("u")).await?.into_inner();
            assert_eq!(list.items.len(), 10);
            Ok(())
        })
    }

    /// Starts calls, yields to them, and cancels them.
    async fn cancelled(&self, calls: usize, yields: usize) {
        let calls: Vec<_> = (0..calls).map(|_| self.start_call()).collect();
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        for call in calls {
            call.abort();
            // A call that completed before it was cancelled succeeds.
            if let Ok(answered) = call.await {
                answered.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_cancelled_calls_do_not_close_the_connection() {
    let calls = Calls::start().await;
    for round in 0..20 {
        let other = calls.start_call();
        calls.cancelled(50, round).await;
        other.await.unwrap().unwrap();
    }
    assert_eq!(
        calls.proxy.accepted(),
        1,
        "the first connection is still in use"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_calls_cancelled_on_a_stalled_network_do_not_close_the_connection() {
    let calls = Calls::start().await;
    calls.start_call().await.unwrap().unwrap();
    calls.proxy.hold_one(Way::Requests);
    let other = calls.start_call();
    // No more than fit into the connection's window; they arrive together.
    for _ in 0..4 {
        calls.cancelled(250, 1_000).await;
    }
    calls.proxy.heal().await;
    other.await.unwrap().unwrap();
    calls.start_call().await.unwrap().unwrap();
    assert_eq!(
        calls.proxy.accepted(),
        1,
        "the first connection is still in use"
    );
}

#[tokio::test]
async fn malformed_input_closes_only_its_own_connection() {
    let server = TestServer::with_items(half_circle(30)).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let huge_frame = [&preface[..], &[0xff; 64]].concat();
    let not_settings = [&preface[..], &[0, 0, 8, 0, 0, 0, 0, 0, 1], &[7; 8]].concat();
    let noise: Vec<u8> = (0..4_096_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    for input in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
        // The start of a TLS handshake.
        &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3],
        &huge_frame,
        &not_settings,
        &noise,
    ] {
        let mut other = TcpStream::connect(server.address).await.unwrap();
        // The connection may be closed while this is being sent.
        let _ = other.write_all(input).await;
        let _ = other.shutdown().await;
        let mut reply = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(60), other.read_to_end(&mut reply));
        assert!(ended.await.is_ok(), "{:?}", &input[..10]);
        deliver(&server, &event("u", "1")).await;
    }
    // A client that sends nothing, or half of a preface, blocks no other.
    let mut silent = Vec::new();
    for sent in [&b""[..], &preface[..10], &preface[..]] {
        let mut other = TcpStream::connect(server.address).await.unwrap();
        other.write_all(sent).await.unwrap();
        silent.push(other);
        deliver(&server, &event("u", "1")).await;
    }
    assert_eq!(server.signals("u").await.0.event_count, 1);
}

#[tokio::test]
async fn a_truncated_request_changes_nothing() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    let proxy = Proxy::to(server.address.port()).await;
    let large = proto::InteractionEvent {
        query_text: "x".repeat(50_000),
        ..event("u", "1")
    };
    let request = proto::IngestEventRequest { event: Some(large) };
    for end in [End::Reset, End::Close] {
        // Of the preface, of the headers, and of the message.
        for bytes in [3, 40, 100, 400, 2_000, 30_000, 49_000] {
            proxy.cut_after(bytes, Way::Requests, end);
            let endpoint = format!("http://{}", proxy.address());
            let channel = tonic::transport::Endpoint::from_shared(endpoint).unwrap();
            let channel = channel.connect_lazy();
            let mut client = RecommenderServiceClient::new(channel);
            let cut = client.ingest_event(request.clone()).await;
            assert!(cut.is_err(), "{end:?} after {bytes}");
            deliver(&server, &event("other", &format!("{end:?} {bytes}"))).await;
        }
    }
    assert_eq!(redis.cli(&["EXISTS", &format!("{prefix}evt:u")]), "0");
    deliver(&server, &event("u", "1")).await;
    assert_stored_for(&server, redis, &prefix, "u", &["1"]).await;
}
