//! Overload: more calls, bytes and connections than the limits allow, and slow clients.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use recsys::{
    edge::settings::ServerSettings,
    proto::{self, IngestOutcome},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use crate::{
    operations::Faulty,
    support::{
        program::{Served, recsys},
        raw_http2::{self, PREFACE},
        server::{TestServer, connect, liked, named, reason},
    },
};

const INGEST: &str = "IngestEvent";

const EXPORT: &str = "ExportUser";

/// The acknowledgement of SETTINGS.
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";

/// A call that is held until `hold_appends` is false.
fn held(server: &TestServer, number: usize) -> JoinHandle<Result<IngestOutcome, Status>> {
    let mut client = server.recommender();
    let event = Some(named(&number.to_string(), liked("u", "i001")));
    tokio::spawn(async move {
        let request = proto::IngestEventRequest { event };
        let reply = client.ingest_event(request).await?;
        Ok(reply.into_inner().outcome())
    })
}

/// Asserts that a call is served.
async fn assert_serves(server: &TestServer) {
    let (_, source) = server.signals("somebody").await;
    assert_eq!(source, proto::SignalsSource::Empty);
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_with_a_retry_hint_and_health_is_exempt() {
    let stores = Faulty::new();
    stores.hold_appends.store(true, Ordering::SeqCst);
    let settings = ServerSettings {
        max_calls: 2,
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let running = [held(&server, 1), held(&server, 2)];
    while stores.begun.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let mut hints = Vec::new();
    for number in 3..8 {
        let status = held(&server, number).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert_eq!(reason(&status), "OVERLOADED");
        let hint = status.get_details_retry_info().unwrap().retry_delay;
        let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
        let millis: u64 = pushback.to_str().unwrap().parse().unwrap();
        assert_eq!(hint, Some(Duration::from_millis(millis)));
        hints.push(millis);
    }
    hints.dedup();
    assert!(hints.len() > 1, "all would retry at the same time");
    for service in ["", "liveness", "readiness"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let mut health = HealthClient::new(server.channel.clone());
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(
            server.channel.clone(),
        );
    let nothing = tokio_stream::empty::<tonic_reflection::pb::v1::ServerReflectionRequest>();
    reflection.server_reflection_info(nothing).await.unwrap();

    stores.hold_appends.store(false, Ordering::SeqCst);
    for call in running {
        assert_eq!(call.await.unwrap().unwrap(), IngestOutcome::Accepted);
    }
    assert_eq!(
        held(&server, 3).await.unwrap().unwrap(),
        IngestOutcome::Accepted
    );
}

#[tokio::test]
async fn a_cancelled_call_returns_its_permit() {
    let stores = Faulty::new();
    stores.hold_appends.store(true, Ordering::SeqCst);
    let settings = ServerSettings {
        max_calls: 1,
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let call = held(&server, 1);
    while stores.begun.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    let status = held(&server, 2).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    call.abort();
    stores.hold_appends.store(false, Ordering::SeqCst);
    while held(&server, 2).await.unwrap().is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn slow_senders_hold_no_permit() {
    let stores = Faulty::new();
    let settings = ServerSettings {
        max_calls: 1,
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let (mut client, _ended) = raw_http2::connect(server.address, 65_535).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let (reply, mut body) = raw_http2::start_call(&mut client, INGEST);
        // The start of a message that is never completed.
        body.send_data(Bytes::from_static(&[0, 0, 0, 9, 9, 1, 2]), false)
            .unwrap();
        slow.push((reply, body));
    }
    for _ in 0..20 {
        assert_serves(&server).await;
    }
}

#[tokio::test]
async fn an_incomplete_request_is_answered_at_the_timeout() {
    let stores = Faulty::new();
    let settings = ServerSettings {
        request_timeout: Duration::from_millis(200),
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let (mut client, _ended) = raw_http2::connect(server.address, 65_535).await;
    let (reply, mut body) = raw_http2::start_call(&mut client, INGEST);
    body.send_data(Bytes::from_static(&[0, 0, 0]), false)
        .unwrap();
    let reply = reply.await.unwrap();
    assert_eq!(reply.headers()["grpc-status"], "4");
}

#[tokio::test]
async fn slow_readers_hold_no_permit_and_are_disconnected() {
    let settings = ServerSettings {
        max_calls: 1,
        slow_client_timeout: Duration::from_millis(500),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    server.ingest(liked("u", "i001")).await.unwrap();
    let request = raw_http2::frame(&proto::ExportUserRequest {
        user_id: "u".into(),
    });
    // With a window of 0, it reads no body.
    let (mut client, ended) = raw_http2::connect(server.address, 0).await;
    let mut replies = Vec::new();
    for _ in 0..20 {
        let (reply, mut body) = raw_http2::start_call(&mut client, EXPORT);
        body.send_data(request.clone(), true).unwrap();
        // One at a time, as there is one permit. Only the headers arrive.
        replies.push(reply.await.unwrap());
    }
    for _ in 0..20 {
        assert_serves(&server).await;
    }
    ended.await.unwrap();
    assert_serves(&server).await;
}

#[tokio::test]
async fn replies_that_are_read_do_not_hide_one_that_is_not() {
    let settings = ServerSettings {
        slow_client_timeout: Duration::from_millis(500),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    // With a window of 0, it reads only headers, which is all that a refusal has.
    let (mut client, ended) = raw_http2::connect(server.address, 0).await;
    let (reply, mut body) = raw_http2::start_call(&mut client, EXPORT);
    let mut refused: Vec<_> = (0..3)
        .map(|_| raw_http2::start_call(&mut client, EXPORT))
        .collect();
    let export = |user_id: &str| {
        raw_http2::frame(&proto::ExportUserRequest {
            user_id: user_id.into(),
        })
    };
    body.send_data(export("u"), true).unwrap();
    let _unread = reply.await.unwrap();
    for (_, body) in &mut refused {
        // On a slow machine the connection may be closed by now.
        let _ = body.send_data(export(""), true);
    }
    for (reply, _) in refused {
        let _ = reply.await;
    }
    ended.await.unwrap();
}

#[tokio::test]
async fn a_connection_whose_replies_were_read_may_stay_idle() {
    let settings = ServerSettings {
        slow_client_timeout: Duration::from_millis(500),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let (mut client, connection) = raw_http2::connect(server.address, 65_535).await;
    let request = raw_http2::frame(&proto::GetUserSignalsRequest {
        user_id: "u".into(),
        include_vectors: false,
    });
    let (reply, mut body) = raw_http2::start_call(&mut client, "GetUserSignals");
    body.send_data(request, true).unwrap();
    let mut reply = reply.await.unwrap().into_body();
    while let Some(data) = reply.data().await {
        data.unwrap();
    }
    let closed = tokio::time::timeout(Duration::from_secs(3), connection);
    assert!(closed.await.is_err(), "the idle connection was closed");
}

#[tokio::test]
async fn a_slow_but_steady_reader_is_served() {
    let settings = ServerSettings {
        slow_client_timeout: Duration::from_secs(3_600),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    server.ingest(liked("u", "i001")).await.unwrap();
    let (mut client, _ended) = raw_http2::connect(server.address, 16).await;
    let (reply, mut body) = raw_http2::start_call(&mut client, EXPORT);
    let request = raw_http2::frame(&proto::ExportUserRequest {
        user_id: "u".into(),
    });
    body.send_data(request, true).unwrap();
    let mut reply = reply.await.unwrap().into_body();
    let mut read = Vec::new();
    while let Some(data) = reply.data().await {
        let data = data.unwrap();
        reply.flow_control().release_capacity(data.len()).unwrap();
        read.extend(data);
    }
    let export = proto::ExportUserResponse::decode(&read[5..]).unwrap();
    assert_eq!(export.events.len(), 1);
    let trailers = reply.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn requests_beyond_the_memory_limit_are_refused_and_small_ones_are_not() {
    let settings = ServerSettings {
        max_buffered_bytes: 256 << 10,
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let mut big = liked("u", "i001");
    big.query_text = "x".repeat(300 << 10);
    for _ in 0..5 {
        let status = server.ingest(big.clone()).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::ResourceExhausted, "OVERLOADED")
        );
    }
    // Refused requests release their memory.
    for _ in 0..100 {
        server.ingest(liked("u", "i001")).await.unwrap();
    }
    // The memory that slow senders hold together is bounded, too.
    let (mut client, _ended) = raw_http2::connect(server.address, 65_535).await;
    let mut slow = Vec::new();
    while server.ingest(liked("u", "i001")).await.is_ok() {
        // The small one takes what is too little for a large one.
        for bytes in [4 << 10, 8] {
            client = client.ready().await.unwrap();
            let (reply, mut body) = raw_http2::start_call(&mut client, INGEST);
            body.reserve_capacity(8 << 10);
            body.send_data(Bytes::from(vec![0; bytes]), false).unwrap();
            slow.push((reply, body));
        }
    }
    drop((slow, client));
    while server.ingest(liked("u", "i001")).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn open_calls_count_as_memory_before_anything_is_sent() {
    let settings = ServerSettings {
        max_buffered_bytes: 64 << 10,
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let (mut client, _ended) = raw_http2::connect(server.address, 65_535).await;
    let _open: Vec<_> = (0..20)
        .map(|_| raw_http2::start_call(&mut client, INGEST))
        .collect();
    let refused = async {
        while server.ingest(liked("u", "i001")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(60), refused).await;
    assert!(refused.is_ok(), "open calls are not counted");
}

#[tokio::test]
async fn a_request_with_trailers_takes_a_permit_too() {
    let stores = Faulty::new();
    stores.hold_appends.store(true, Ordering::SeqCst);
    let settings = ServerSettings {
        max_calls: 1,
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let (mut client, _ended) = raw_http2::connect(server.address, 65_535).await;
    let (reply, mut body) = raw_http2::start_call(&mut client, INGEST);
    let event = Some(named("1", liked("u", "i001")));
    let request = raw_http2::frame(&proto::IngestEventRequest { event });
    body.send_data(request, false).unwrap();
    body.send_trailers(http::HeaderMap::new()).unwrap();
    while stores.begun.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    let status = held(&server, 2).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    stores.hold_appends.store(false, Ordering::SeqCst);
    assert_eq!(reply.await.unwrap().status(), 200);
}

#[tokio::test]
async fn methods_that_need_no_key_accept_only_small_requests() {
    let server = Faulty::new().serve_with(ServerSettings::default()).await;
    let request = HealthCheckRequest {
        service: "x".repeat(8 << 10),
    };
    let mut health = HealthClient::new(server.channel.clone());
    let status = health.check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let settings = ServerSettings {
        slow_client_timeout: Duration::from_millis(200),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut incomplete = TcpStream::connect(server.address).await.unwrap();
    incomplete.write_all(&PREFACE[..10]).await.unwrap();
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(PREFACE).await.unwrap();
    for connection in [&mut silent, &mut incomplete] {
        let mut received = Vec::new();
        let _ = connection.read_to_end(&mut received).await;
    }
    // After the preface a connection may stay idle.
    let mut received = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(2), idle.read_to_end(&mut received));
    assert!(closed.await.is_err(), "the idle connection was closed");
    assert!(!received.is_empty());
}

#[tokio::test]
async fn a_client_may_start_late_within_the_timeout() {
    let settings = ServerSettings {
        slow_client_timeout: Duration::from_secs(3_600),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let mut late = TcpStream::connect(server.address).await.unwrap();
    // The server looks for silent connections every second.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    late.write_all(PREFACE).await.unwrap();
    // Only the acknowledgement proves it: the server sends its own SETTINGS at once.
    let mut received = Vec::new();
    while !received
        .windows(SETTINGS_ACK.len())
        .any(|frame| frame == SETTINGS_ACK)
    {
        let read = late.read_buf(&mut received).await.unwrap();
        assert!(read > 0, "it was closed");
    }
}

#[tokio::test]
async fn at_the_connection_limit_the_longest_idle_one_is_closed() {
    let stores = Faulty::new();
    let settings = ServerSettings {
        max_connections: 8,
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let mut idle = Vec::new();
    for _ in 0..7 {
        let (client, ended) = raw_http2::connect(server.address, 65_535).await;
        idle.push((client.ready().await.unwrap(), ended));
    }
    // With the channel of the server the limit is reached. Used later than these, the
    // channel stays.
    assert_serves(&server).await;
    let other = connect(server.address).await;
    let mut client =
        proto::recommender_service_client::RecommenderServiceClient::new(other.clone());
    let event = Some(liked("u", "i001"));
    client
        .ingest_event(proto::IngestEventRequest { event })
        .await
        .unwrap();
    let (_, oldest) = idle.remove(0);
    oldest.await.unwrap();
    for (client, ended) in &mut idle {
        assert!(!ended.is_finished());
        client.clone().ready().await.unwrap();
    }
    assert_serves(&server).await;
}

#[tokio::test]
async fn connections_that_ignore_goaway_are_closed_when_there_are_too_many() {
    let settings = ServerSettings {
        max_connections: 16,
        slow_client_timeout: Duration::from_secs(3_600),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let mut stubborn = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        // Accepted: the SETTINGS of the server arrive.
        stream.read_exact(&mut [0]).await.unwrap();
        // From here on it reads and sends nothing.
        stubborn.push(tokio::spawn(async move {
            let mut received = Vec::new();
            let _ = stream.read_to_end(&mut received).await;
        }));
        if stubborn.len() == 17 {
            // A sixteenth more than the limit may close in their own time.
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(stubborn.iter().all(|connection| !connection.is_finished()));
        }
    }
    // Including the one just accepted.
    let closed = async {
        while stubborn
            .iter()
            .filter(|connection| !connection.is_finished())
            .count()
            > 18
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Before the pings of the server time out.
    let closed = tokio::time::timeout(Duration::from_secs(20), closed).await;
    assert!(closed.is_ok(), "they accumulate");
}

#[tokio::test]
async fn a_connection_whose_calls_have_ended_counts_as_idle() {
    let settings = ServerSettings {
        max_connections: 1,
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    assert_serves(&server).await;
    let accepted = async {
        // The end of a call is recorded a moment after its reply.
        while !is_accepted(server.address).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let accepted = tokio::time::timeout(Duration::from_secs(60), accepted).await;
    assert!(accepted.is_ok(), "the idle connection is not closed");
}

/// Whether a new connection is accepted.
async fn is_accepted(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(PREFACE).await;
    stream.read_exact(&mut [0]).await.is_ok()
}

#[tokio::test]
async fn a_new_connection_is_refused_if_no_other_is_idle() {
    let stores = Faulty::new();
    stores.hold_appends.store(true, Ordering::SeqCst);
    let settings = ServerSettings {
        max_connections: 1,
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let call = held(&server, 1);
    while stores.begun.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    let mut refused = TcpStream::connect(server.address).await.unwrap();
    let _ = refused.write_all(PREFACE).await;
    let mut received = Vec::new();
    let _ = refused.read_to_end(&mut received).await;
    assert!(received.is_empty(), "{received:?}");
    stores.hold_appends.store(false, Ordering::SeqCst);
    assert_eq!(call.await.unwrap().unwrap(), IngestOutcome::Accepted);
}

#[tokio::test]
async fn a_connection_past_its_maximum_age_is_closed_without_a_failed_call() {
    let settings = ServerSettings {
        max_connection_age: Duration::from_millis(200),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let (mut client, ended) = raw_http2::connect(server.address, 65_535).await;
    // A call in flight when its connection is asked to close is completed.
    let request = raw_http2::frame(&proto::GetUserSignalsRequest {
        user_id: "u".into(),
        include_vectors: false,
    });
    let (reply, mut body) = raw_http2::start_call(&mut client, "GetUserSignals");
    let until_goaway = async {
        let mut other = client.clone();
        while let Ok(ready) = other.ready().await {
            other = ready;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    until_goaway.await;
    body.send_data(request, true).unwrap();
    assert_eq!(reply.await.unwrap().status(), 200);
    ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_and_a_thousand_slow_connections_block_no_call() {
    let (idle_connections, slow_connections) = (10_000, 1_000);
    let needed = 12_000;
    let limit = rlimit::increase_nofile_limit(needed).unwrap();
    assert!(
        limit >= needed,
        "{limit} file descriptors are too few for this test: ulimit -n {needed}"
    );
    let mut served = Served::start(&mut recsys(&["serve"]));
    let address: SocketAddr = served.address.parse().unwrap();
    let before = resident_kib(served.child.id());
    let mut idle = Vec::with_capacity(idle_connections);
    for _ in 0..idle_connections {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        idle.push(stream);
    }
    let mut slow = Vec::with_capacity(slow_connections);
    let request = raw_http2::frame(&proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    });
    for number in 0..slow_connections {
        let (mut client, ended) = raw_http2::connect(address, 0).await;
        let (reply, mut body) = raw_http2::start_call(&mut client, "Recommend");
        if number % 2 == 0 {
            // Sends slowly.
            body.send_data(request.slice(..3), false).unwrap();
        } else {
            // Reads slowly.
            body.send_data(request.clone(), true).unwrap();
        }
        slow.push((client, ended, reply, body));
    }
    let channel = connect(address).await;
    let mut client = proto::recommender_service_client::RecommenderServiceClient::new(channel);
    for number in 0..200 {
        let event = Some(named(&number.to_string(), liked("u", "2001")));
        let request = proto::IngestEventRequest { event };
        client.ingest_event(request).await.unwrap();
    }
    let grown = resident_kib(served.child.id()) - before;
    println!("11,000 connections took {grown} KiB");
    assert!(grown < 512 << 10, "{grown} KiB for 11,000 connections");
    drop((idle, slow));
    served.signal("-INT");
    assert!(served.child.wait().unwrap().success());
}

fn resident_kib(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse().unwrap()
}
