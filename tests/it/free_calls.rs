//! Health and reflection, which need no key: what they occupy is bounded, and keeps no
//! other call out.

use std::{net::SocketAddr, time::Duration};

use recsys::{
    edge::settings::ServerSettings,
    proto::{IngestEventRequest, recommender_service_client::RecommenderServiceClient},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::{JoinHandle, JoinSet},
};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request::MessageRequest,
};

use crate::support::{
    program::{Served, recsys},
    raw_http2,
    server::{TestServer, connect, liked, named},
    until,
};

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// More bytes than a port takes at once from all clients that have shown no key.
const MORE_THAN_AT_ONCE: usize = 300 << 10;

fn file_of_a_service() -> ServerReflectionRequest {
    let symbol = "recsys.v1.RecommenderService".to_owned();
    ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(symbol)),
    }
}

fn of_process() -> HealthCheckRequest {
    HealthCheckRequest {
        service: String::new(),
    }
}

/// Asserts that a new connection is served.
async fn assert_serves(server: &TestServer, number: usize) -> Channel {
    let channel = connect(server.address).await;
    let mut client = RecommenderServiceClient::new(channel.clone());
    let event = Some(named(&number.to_string(), liked("u", "i001")));
    client
        .ingest_event(IngestEventRequest { event })
        .await
        .unwrap();
    channel
}

async fn assert_probe_is_answered(server: &TestServer) {
    let mut health = HealthClient::new(connect(server.address).await);
    let status = health.check(of_process()).await.unwrap().into_inner();
    assert_eq!(status.status(), ServingStatus::Serving);
}

#[tokio::test]
async fn watches_of_health_keep_neither_calls_nor_probes_out() {
    let server = TestServer::serving_with(ServerSettings {
        max_connections: 16,
        ..ServerSettings::default()
    })
    .await;
    let mut watches = Vec::new();
    for _ in 0..32 {
        let mut health = HealthClient::new(connect(server.address).await);
        let mut watch = health.watch(of_process()).await.unwrap().into_inner();
        watch.message().await.unwrap();
        watches.push((health, watch));
    }
    let mut callers = Vec::new();
    for number in 0..10 {
        callers.push(assert_serves(&server, number).await);
        assert_probe_is_answered(&server).await;
    }
    // The oldest watches were ended; a client starts them again.
    let (_, oldest) = &mut watches[0];
    assert_eq!(
        oldest.message().await.unwrap_err().code(),
        Code::Unavailable
    );
}

/// Sends pings over a connection until this is dropped, which a server answers without
/// any call. Returns once it has answered so many bytes.
async fn flood(address: SocketAddr, answered: usize) -> JoinSet<()> {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        writer.write_all(raw_http2::PREFACE).await.unwrap();
        let pings = b"\0\0\x08\x06\0\0\0\0\0recsys..".repeat(100);
        while writer.write_all(&pings).await.is_ok() {}
    });
    let mut replies = vec![0; 64 << 10];
    let mut read = 0;
    while read < answered {
        let bytes = reader.read(&mut replies).await.unwrap();
        assert!(bytes > 0, "closed after {read} bytes");
        read += bytes;
    }
    tasks.spawn(
        async move { while reader.read(&mut replies).await.is_ok_and(|bytes| bytes > 0) {} },
    );
    tasks
}

#[tokio::test]
async fn a_flood_without_a_key_slows_neither_probes_nor_callers() {
    let server = patient_server(80 << 20).await;
    let _flood = flood(server.address, MORE_THAN_AT_ONCE).await;
    assert_probe_is_answered(&server).await;
    let client = &mut server.recommender();
    // At the pace of the flood this would take half a minute.
    let event = Some(named(&"x".repeat(2 << 20), liked("u", "i001")));
    let call = client.ingest_event(IngestEventRequest { event });
    let reply = tokio::time::timeout(Duration::from_secs(15), call).await;
    assert_eq!(reply.unwrap().unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn the_log_says_that_clients_without_a_key_are_read_slowly() {
    let mut served = Served::start(&mut recsys(&["serve"]));
    let _flood = flood(served.address.parse().unwrap(), MORE_THAN_AT_ONCE).await;
    served.logged("clients that have shown no valid key send too much: they are read slowly");
}

/// A server with so much room for buffers, which takes no client for slow.
async fn patient_server(max_buffered_bytes: usize) -> TestServer {
    TestServer::serving_with(ServerSettings {
        max_buffered_bytes,
        slow_client_timeout: Duration::from_secs(3_600),
        ..ServerSettings::default()
    })
    .await
}

/// Opens so many calls of reflection over a connection that reads no body, or fewer if it
/// is closed. Returns them with what ends when it is closed.
async fn unread_calls(server: &TestServer, count: usize) -> (impl Sized, JoinHandle<()>) {
    let request = raw_http2::frame(&file_of_a_service());
    let (mut client, ended) = raw_http2::connect(server.address, 0).await;
    let mut calls = Vec::new();
    for _ in 0..count {
        let Ok(ready) = client.clone().ready().await else {
            break;
        };
        client = ready;
        let Ok((reply, mut body)) = raw_http2::try_start_at(&mut client, REFLECTION) else {
            break;
        };
        let _ = body.send_data(request.clone(), false);
        calls.push((reply, body));
    }
    ((client, calls), ended)
}

#[tokio::test]
async fn replies_of_reflection_that_are_not_read_are_bounded_and_close_the_connection() {
    let server = patient_server(8 << 20).await;
    // An eighth of 8 MiB is for 5 such calls.
    let mut connections = Vec::new();
    for _ in 0..20 {
        connections.push(unread_calls(&server, 1).await);
    }
    // Those that hold most are closed, long before their clients count as slow.
    let closed = || {
        let closed = connections.iter().filter(|(_, ended)| ended.is_finished());
        closed.count()
    };
    until("most are closed", async || closed() >= 10).await;
    for number in 0..10 {
        assert_serves(&server, number).await;
        assert_probe_is_answered(&server).await;
    }
}

#[tokio::test]
async fn a_connection_with_many_calls_of_reflection_is_closed_while_there_is_room_for_others() {
    let server = patient_server(80 << 20).await;
    // An eighth of 80 MiB is for 53 such calls, 6 of one connection.
    let (_few, of_few) = unread_calls(&server, 6).await;
    let (_many, of_many) = unread_calls(&server, 20).await;
    of_many.await.unwrap();
    assert!(!of_few.is_finished());
    assert_probe_is_answered(&server).await;
}

#[tokio::test]
async fn a_client_that_reads_no_reply_of_a_free_call_is_disconnected() {
    let server = TestServer::serving_with(ServerSettings {
        slow_client_timeout: Duration::from_millis(500),
        ..ServerSettings::default()
    })
    .await;
    for (path, request) in [
        (REFLECTION, raw_http2::frame(&file_of_a_service())),
        (
            "/grpc.health.v1.Health/Watch",
            raw_http2::frame(&of_process()),
        ),
    ] {
        let (mut client, ended) = raw_http2::connect(server.address, 0).await;
        let (reply, mut body) = raw_http2::start_at(&mut client, path);
        body.send_data(request, true).unwrap();
        let _unread = reply.await.unwrap();
        ended.await.unwrap();
    }
    assert_serves(&server, 1).await;
}

#[tokio::test]
async fn a_watch_that_is_read_may_stay_open() {
    let server = TestServer::serving_with(ServerSettings {
        slow_client_timeout: Duration::from_millis(500),
        ..ServerSettings::default()
    })
    .await;
    let mut health = HealthClient::new(connect(server.address).await);
    let mut watch = health.watch(of_process()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(3), watch.message()).await;
    assert!(ended.is_err(), "{ended:?}");
}
