//! More calls, bytes and connections than the process takes on, and clients
//! that are slow on purpose.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use h2::{
    SendStream,
    client::{ResponseFuture, SendRequest},
};
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
        server::{TestServer, connect, liked, named, reason},
    },
};

const INGEST: &str = "IngestEvent";
const EXPORT: &str = "ExportUser";
/// Preface of HTTP/2 and empty SETTINGS.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// What acknowledges SETTINGS.
const HEARD: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";

/// Held until `hold_appends` is false.
fn held(server: &TestServer, number: usize) -> JoinHandle<Result<IngestOutcome, Status>> {
    let mut client = server.recommender();
    let event = Some(named(&number.to_string(), liked("u", "i001")));
    tokio::spawn(async move {
        let request = proto::IngestEventRequest { event };
        let reply = client.ingest_event(request).await?;
        Ok(reply.into_inner().outcome())
    })
}

/// An HTTP/2 connection whose streams take in so many bytes unasked, and who
/// ends when it does.
pub async fn raw(address: SocketAddr, window: u32) -> (SendRequest<Bytes>, JoinHandle<()>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .handshake(stream)
        .await
        .unwrap();
    let ended = tokio::spawn(async move {
        let _ = connection.await;
    });
    (client, ended)
}

pub fn begin(client: &mut SendRequest<Bytes>, method: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let request = http::Request::post(format!("http://x/recsys.v1.RecommenderService/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    client.send_request(request, false).unwrap()
}

pub fn framed(message: &impl prost::Message) -> Bytes {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame.into()
}

async fn answers(server: &TestServer) {
    let (_, source) = server.signals("somebody").await;
    assert_eq!(source, proto::SignalsSource::Empty);
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_with_a_hint_and_health_never_is() {
    let stores = Faulty::new();
    stores.hold_appends.store(true, Ordering::SeqCst);
    let settings = ServerSettings {
        max_calls: 2,
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let working = [held(&server, 1), held(&server, 2)];
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
    assert!(hints.len() > 1, "they would all come back together");
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
    for call in working {
        assert_eq!(call.await.unwrap().unwrap(), IngestOutcome::Accepted);
    }
    assert_eq!(
        held(&server, 3).await.unwrap().unwrap(),
        IngestOutcome::Accepted
    );
}

#[tokio::test]
async fn a_call_that_is_cancelled_gives_its_turn_back() {
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
async fn slow_senders_take_nobodys_turn() {
    let stores = Faulty::new();
    let settings = ServerSettings {
        max_calls: 1,
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let (mut client, _ended) = raw(server.address, 65_535).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let (reply, mut body) = begin(&mut client, INGEST);
        // The beginning of a message that is never completed.
        body.send_data(Bytes::from_static(&[0, 0, 0, 9, 9, 1, 2]), false)
            .unwrap();
        slow.push((reply, body));
    }
    for _ in 0..20 {
        answers(&server).await;
    }
}

#[tokio::test]
async fn a_request_that_is_never_completed_is_answered_for_at_the_time_limit() {
    let stores = Faulty::new();
    let settings = ServerSettings {
        request_timeout: Duration::from_millis(200),
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let (mut client, _ended) = raw(server.address, 65_535).await;
    let (reply, mut body) = begin(&mut client, INGEST);
    body.send_data(Bytes::from_static(&[0, 0, 0]), false)
        .unwrap();
    let reply = reply.await.unwrap();
    assert_eq!(reply.headers()["grpc-status"], "4");
}

#[tokio::test]
async fn slow_readers_take_nobodys_turn_and_are_ended() {
    let server = {
        let stores = Faulty::new();
        let settings = ServerSettings {
            max_calls: 1,
            slow_client_timeout: Duration::from_millis(500),
            ..ServerSettings::default()
        };
        stores.serve_with(settings).await
    };
    server.ingest(liked("u", "i001")).await.unwrap();
    let request = framed(&proto::ExportUserRequest {
        user_id: "u".into(),
    });
    // Takes in not a byte.
    let (mut client, ended) = raw(server.address, 0).await;
    let mut replies = Vec::new();
    for _ in 0..20 {
        let (reply, mut body) = begin(&mut client, EXPORT);
        body.send_data(request.clone(), true).unwrap();
        // One at a time, as there is but one turn: its headers come, no more.
        replies.push(reply.await.unwrap());
    }
    for _ in 0..20 {
        answers(&server).await;
    }
    ended.await.unwrap();
    answers(&server).await;
}

#[tokio::test]
async fn replies_that_are_taken_do_not_hide_one_that_is_not() {
    let settings = ServerSettings {
        slow_client_timeout: Duration::from_millis(500),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    // Takes in headers alone: all that a refusal is made of.
    let (mut client, ended) = raw(server.address, 0).await;
    let (reply, mut body) = begin(&mut client, EXPORT);
    let mut refused: Vec<_> = (0..3).map(|_| begin(&mut client, EXPORT)).collect();
    let export = |user_id: &str| {
        framed(&proto::ExportUserRequest {
            user_id: user_id.into(),
        })
    };
    body.send_data(export("u"), true).unwrap();
    let _untaken = reply.await.unwrap();
    for (_, body) in &mut refused {
        // On a slow machine the connection may have ended by now.
        let _ = body.send_data(export(""), true);
    }
    for (reply, _) in refused {
        let _ = reply.await;
    }
    ended.await.unwrap();
}

#[tokio::test]
async fn a_connection_whose_replies_were_taken_may_be_idle() {
    let settings = ServerSettings {
        slow_client_timeout: Duration::from_millis(500),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let (mut client, ended) = raw(server.address, 65_535).await;
    let request = framed(&proto::GetUserSignalsRequest {
        user_id: "u".into(),
        include_vectors: false,
    });
    let (reply, mut body) = begin(&mut client, "GetUserSignals");
    body.send_data(request, true).unwrap();
    let mut reply = reply.await.unwrap().into_body();
    while let Some(data) = reply.data().await {
        data.unwrap();
    }
    let kept = tokio::time::timeout(Duration::from_secs(3), ended);
    assert!(kept.await.is_err(), "the idle connection was ended");
}

#[tokio::test]
async fn a_reader_that_takes_its_time_but_reads_is_served() {
    let settings = ServerSettings {
        slow_client_timeout: Duration::from_secs(3_600),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    server.ingest(liked("u", "i001")).await.unwrap();
    let (mut client, _ended) = raw(server.address, 16).await;
    let (reply, mut body) = begin(&mut client, EXPORT);
    let request = framed(&proto::ExportUserRequest {
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
async fn requests_that_would_fill_the_memory_are_refused_and_small_ones_are_not() {
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
    // What was refused is given back.
    for _ in 0..100 {
        server.ingest(liked("u", "i001")).await.unwrap();
    }
    // Slow senders together: of what they hold there is an end, too.
    let (mut client, _ended) = raw(server.address, 65_535).await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let (reply, mut body) = begin(&mut client, INGEST);
        body.reserve_capacity(8 << 10);
        body.send_data(Bytes::from(vec![0; 4 << 10]), false)
            .unwrap();
        slow.push((reply, body));
    }
    while server.ingest(liked("u", "i001")).await.is_ok() {
        tokio::task::yield_now().await;
    }
    drop((slow, client));
    while server.ingest(liked("u", "i001")).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn open_calls_take_memory_even_if_nothing_is_sent() {
    let settings = ServerSettings {
        max_buffered_bytes: 64 << 10,
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let (mut client, _ended) = raw(server.address, 65_535).await;
    let _open: Vec<_> = (0..20).map(|_| begin(&mut client, INGEST)).collect();
    let refused = async {
        while server.ingest(liked("u", "i001")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(60), refused).await;
    assert!(refused.is_ok(), "open calls are not counted");
}

#[tokio::test]
async fn a_request_with_trailers_takes_its_turn_too() {
    let stores = Faulty::new();
    stores.hold_appends.store(true, Ordering::SeqCst);
    let settings = ServerSettings {
        max_calls: 1,
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let (mut client, _ended) = raw(server.address, 65_535).await;
    let (reply, mut body) = begin(&mut client, INGEST);
    let event = Some(named("1", liked("u", "i001")));
    let request = framed(&proto::IngestEventRequest { event });
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
async fn what_anyone_may_call_takes_only_small_requests() {
    let server = Faulty::new().serve_with(ServerSettings::default()).await;
    let request = HealthCheckRequest {
        service: "x".repeat(8 << 10),
    };
    let mut health = HealthClient::new(server.channel.clone());
    let status = health.check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn a_connection_that_never_speaks_is_ended() {
    let settings = ServerSettings {
        slow_client_timeout: Duration::from_millis(200),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut mumbling = TcpStream::connect(server.address).await.unwrap();
    mumbling.write_all(&GREETING[..10]).await.unwrap();
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(GREETING).await.unwrap();
    for ended in [&mut silent, &mut mumbling] {
        let mut told = Vec::new();
        let _ = ended.read_to_end(&mut told).await;
    }
    // One that has spoken may be idle: after the greeting nothing comes.
    let mut told = Vec::new();
    let kept = tokio::time::timeout(Duration::from_secs(2), idle.read_to_end(&mut told));
    assert!(kept.await.is_err(), "the idle connection was ended");
    assert!(!told.is_empty());
}

#[tokio::test]
async fn a_client_may_take_its_time_before_it_speaks() {
    let settings = ServerSettings {
        slow_client_timeout: Duration::from_secs(3_600),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let mut late = TcpStream::connect(server.address).await.unwrap();
    // It is looked for silent ones every second.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    late.write_all(GREETING).await.unwrap();
    // The server's own settings prove nothing: it sends them at once.
    let mut told = Vec::new();
    while !told.windows(HEARD.len()).any(|frame| frame == HEARD) {
        let read = late.read_buf(&mut told).await.unwrap();
        assert!(read > 0, "it was ended");
    }
}

#[tokio::test]
async fn too_many_connections_make_room_by_the_longest_idle() {
    let stores = Faulty::new();
    let settings = ServerSettings {
        max_connections: 8,
        ..ServerSettings::default()
    };
    let server = stores.serve_with(settings).await;
    let mut idle = Vec::new();
    for _ in 0..7 {
        let (client, ended) = raw(server.address, 65_535).await;
        idle.push((client.ready().await.unwrap(), ended));
    }
    // The one channel of the server and these are all there may be. In use
    // later than these, it stays.
    answers(&server).await;
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
    answers(&server).await;
}

#[tokio::test]
async fn connections_that_do_not_leave_when_asked_are_ended_once_there_are_too_many() {
    let settings = ServerSettings {
        max_connections: 16,
        slow_client_timeout: Duration::from_secs(3_600),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let mut stubborn = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(GREETING).await.unwrap();
        // Taken: the greeting of the other side comes.
        stream.read_exact(&mut [0]).await.unwrap();
        // From here on it reads, and answers nothing.
        stubborn.push(tokio::spawn(async move {
            let mut told = Vec::new();
            let _ = stream.read_to_end(&mut told).await;
        }));
        if stubborn.len() == 17 {
            // A sixteenth more than the most may take their leave in peace.
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(stubborn.iter().all(|held| !held.is_finished()));
        }
    }
    // And there may be the one just taken.
    let ended = async {
        while stubborn.iter().filter(|held| !held.is_finished()).count() > 18 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Before the server's pings find out that nobody is there.
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    assert!(ended.is_ok(), "there are more and more of them");
}

#[tokio::test]
async fn a_connection_whose_calls_have_ended_makes_room() {
    let settings = ServerSettings {
        max_connections: 1,
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    answers(&server).await;
    let taken = async {
        // The end of a call is noted a moment after its reply.
        while !is_taken(server.address).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let taken = tokio::time::timeout(Duration::from_secs(60), taken).await;
    assert!(taken.is_ok(), "an idle connection makes no room");
}

/// Whether a new connection is greeted.
async fn is_taken(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(GREETING).await;
    stream.read_exact(&mut [0]).await.is_ok()
}

#[tokio::test]
async fn if_none_is_idle_a_new_connection_is_refused_and_the_others_go_on() {
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
    let _ = refused.write_all(GREETING).await;
    let mut told = Vec::new();
    let _ = refused.read_to_end(&mut told).await;
    assert!(told.is_empty(), "{told:?}");
    stores.hold_appends.store(false, Ordering::SeqCst);
    assert_eq!(call.await.unwrap().unwrap(), IngestOutcome::Accepted);
}

#[tokio::test]
async fn an_old_connection_is_asked_to_end_and_no_call_fails() {
    let settings = ServerSettings {
        max_connection_age: Duration::from_millis(200),
        ..ServerSettings::default()
    };
    let server = Faulty::new().serve_with(settings).await;
    let (mut client, ended) = raw(server.address, 65_535).await;
    // A call under way when its connection is asked to end is finished.
    let request = framed(&proto::GetUserSignalsRequest {
        user_id: "u".into(),
        include_vectors: false,
    });
    let (reply, mut body) = begin(&mut client, "GetUserSignals");
    let asked_to_end = async {
        let mut other = client.clone();
        while let Ok(ready) = other.ready().await {
            other = ready;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    asked_to_end.await;
    body.send_data(request, true).unwrap();
    assert_eq!(reply.await.unwrap().status(), 200);
    ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_and_a_thousand_slow_connections_stop_nobody() {
    let (idle_connections, slow_connections) = (10_000, 1_000);
    let needed = 12_000;
    let given = rlimit::increase_nofile_limit(needed).unwrap();
    assert!(
        given >= needed,
        "{given} file descriptors are too few for this test: ulimit -n {needed}"
    );
    let mut served = Served::start(&mut recsys(&["serve"]));
    let address: SocketAddr = served.address.parse().unwrap();
    let before = resident_kib(served.child.id());
    let mut idle = Vec::with_capacity(idle_connections);
    for _ in 0..idle_connections {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(GREETING).await.unwrap();
        idle.push(stream);
    }
    let mut slow = Vec::with_capacity(slow_connections);
    let request = framed(&proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    });
    for number in 0..slow_connections {
        let (mut client, ended) = raw(address, 0).await;
        let (reply, mut body) = begin(&mut client, "Recommend");
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
