//! Streams of batches: `StreamIngestEvents`.

use std::{sync::atomic::Ordering, time::Duration};

use recsys::{
    edge::settings::ServerSettings,
    proto::{
        IngestEventRequest, IngestOutcome, InteractionEvent, StreamIngestEventsRequest,
        StreamIngestEventsResponse,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::{
    operations::Faulty,
    support::{
        items::half_circle,
        raw_http2,
        server::{TestServer, fields, liked, named, reason},
    },
};

const STREAM: &str = "StreamIngestEvents";

/// The client side of a stream.
struct FeedStream {
    batches: mpsc::Sender<StreamIngestEventsRequest>,
    replies: Streaming<StreamIngestEventsResponse>,
}

impl FeedStream {
    async fn open(server: &TestServer) -> Self {
        let (batches, receiver) = mpsc::channel(64);
        let receiver = ReceiverStream::new(receiver);
        let opened = server.recommender().stream_ingest_events(receiver).await;
        let replies = opened.unwrap().into_inner();
        Self { batches, replies }
    }

    async fn send(&self, sequence: u64, events: Vec<InteractionEvent>) {
        let batch = StreamIngestEventsRequest { events, sequence };
        self.batches.send(batch).await.unwrap();
    }

    async fn reply(&mut self) -> Result<StreamIngestEventsResponse, Status> {
        let reply = self.replies.message().await?;
        Ok(reply.expect("a reply before the end of the stream"))
    }
}

fn outcomes(reply: &StreamIngestEventsResponse) -> Vec<IngestOutcome> {
    let results = reply.results.iter();
    results.map(|result| result.outcome()).collect()
}

fn settings(max_calls: usize, request_timeout: Duration) -> ServerSettings {
    ServerSettings {
        max_calls,
        request_timeout,
        ..ServerSettings::default()
    }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn batches_are_answered_in_order_and_an_invalid_event_fails_alone() {
    let server = TestServer::with_items(half_circle(12)).await;
    let mut feed = FeedStream::open(&server).await;
    feed.send(
        7,
        vec![liked("u", "i001"), liked("", "i001"), liked("v", "i002")],
    )
    .await;
    feed.send(3, vec![]).await;
    feed.send(
        9,
        vec![
            named("e", liked("u", "i003")),
            named("e", liked("u", "i003")),
        ],
    )
    .await;
    let first = feed.reply().await.unwrap();
    assert_eq!(first.sequence, 7);
    use IngestOutcome::{Accepted, Duplicate, Rejected};
    assert_eq!(outcomes(&first), [Accepted, Rejected, Accepted]);
    let error = first.results[1].error.as_ref().unwrap();
    assert_eq!(error.field, "events[1].user_id");
    assert_eq!(feed.reply().await.unwrap().sequence, 3);
    assert_eq!(
        outcomes(&feed.reply().await.unwrap()),
        [Accepted, Duplicate]
    );
    let (signals, _) = server.signals("u").await;
    assert_eq!(
        signals.viewed,
        ["i001", "i003"],
        "an acknowledged event is in the model"
    );
    drop(feed.batches);
    assert!(feed.replies.message().await.unwrap().is_none());
}

#[tokio::test]
async fn an_oversized_batch_ends_the_stream_and_names_the_field() {
    let server = TestServer::with_items(half_circle(12)).await;
    let mut feed = FeedStream::open(&server).await;
    feed.send(1, vec![liked("u", "i001"); 1_001]).await;
    let status = feed.reply().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status), ["events"]);
}

#[tokio::test]
async fn a_stream_may_outlast_the_call_timeout_and_exceed_the_memory_limit_in_total() {
    let settings = ServerSettings {
        max_buffered_bytes: 128 << 10,
        ..settings(512, Duration::from_secs(2))
    };
    let server = Faulty::new().serve_with(settings).await;
    let mut feed = FeedStream::open(&server).await;
    // 10 KiB each, 320 KiB in total, and a pause of two timeouts.
    for number in 0..32 {
        let mut event = named(&format!("e{number}"), liked("u", "i001"));
        event.query_text = "x".repeat(10 << 10);
        feed.send(number, vec![event]).await;
        let reply = feed.reply().await.unwrap();
        assert_eq!(outcomes(&reply), [IngestOutcome::Accepted]);
        if number == 16 {
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
    }
}

#[tokio::test]
async fn events_that_the_store_fails_are_rejected_and_the_stream_continues() {
    let stores = Faulty::new();
    let server = stores.serve_with(settings(512, LONG)).await;
    let mut feed = FeedStream::open(&server).await;
    feed.send(1, vec![liked("broken", "i001"), liked("u", "i001")])
        .await;
    let reply = feed.reply().await.unwrap();
    use IngestOutcome::{Accepted, Rejected};
    assert_eq!(outcomes(&reply), [Rejected, Accepted]);
    let error = reply.results[0].error.as_ref().unwrap();
    assert_eq!(error.code, Code::Unavailable as i32);
    feed.send(2, vec![liked("w", "i001")]).await;
    assert_eq!(outcomes(&feed.reply().await.unwrap()), [Accepted]);
}

#[tokio::test]
async fn a_batch_waits_for_a_permit_and_an_idle_stream_holds_none() {
    let stores = Faulty::new();
    let server = stores.serve_with(settings(1, LONG)).await;
    let mut idle = FeedStream::open(&server).await;
    let mut feed = FeedStream::open(&server).await;
    stores.hold_appends.store(true, Ordering::SeqCst);
    let mut client = server.recommender();
    let event = Some(liked("u", "i001"));
    let running = tokio::spawn(async move {
        let sent = client.ingest_event(IngestEventRequest { event }).await;
        sent.map(|reply| reply.into_inner().outcome())
    });
    while stores.begun.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    feed.send(1, vec![liked("v", "i001")]).await;
    let early = tokio::time::timeout(Duration::from_millis(200), feed.reply()).await;
    assert!(early.is_err(), "the only permit is held");
    stores.hold_appends.store(false, Ordering::SeqCst);
    assert_eq!(running.await.unwrap().unwrap(), IngestOutcome::Accepted);
    assert_eq!(
        outcomes(&feed.reply().await.unwrap()),
        [IngestOutcome::Accepted]
    );
    // Neither stream keeps the permit.
    server.ingest(liked("w", "i001")).await.unwrap();
    idle.send(1, vec![liked("x", "i001")]).await;
    idle.reply().await.unwrap();
}

#[tokio::test]
async fn a_batch_that_gets_no_permit_in_time_is_rejected() {
    let stores = Faulty::new();
    let server = stores.serve_with(settings(1, LONG)).await;
    let (batches, receiver) = mpsc::channel(1);
    let mut request = tonic::Request::new(ReceiverStream::new(receiver));
    request.set_timeout(Duration::from_secs(2));
    stores.hold_appends.store(true, Ordering::SeqCst);
    let replies = server.recommender().stream_ingest_events(request).await;
    let mut feed = FeedStream {
        batches,
        replies: replies.unwrap().into_inner(),
    };
    let mut client = server.recommender();
    let event = Some(liked("u", "i001"));
    let running =
        tokio::spawn(async move { client.ingest_event(IngestEventRequest { event }).await });
    while stores.begun.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    feed.send(1, vec![liked("v", "i001"), liked("w", "i001")])
        .await;
    let reply = feed.reply().await.unwrap();
    for result in &reply.results {
        assert_eq!(result.error.as_ref().unwrap().reason, "OVERLOADED");
    }
    assert_eq!(reply.results.len(), 2);
    stores.hold_appends.store(false, Ordering::SeqCst);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_stream_releases_the_memory_of_a_large_batch() {
    let settings = ServerSettings {
        max_buffered_bytes: 1_100 << 10,
        ..settings(512, Duration::from_secs(2))
    };
    let server = Faulty::new().serve_with(settings).await;
    let large = || {
        let mut event = liked("u", "i001");
        event.query_text = "x".repeat(300 << 10);
        event
    };
    let mut feed = FeedStream::open(&server).await;
    feed.send(1, vec![large()]).await;
    feed.reply().await.unwrap();
    // While the stream lasts there is no room for another such request.
    let status = server.ingest(large()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let status = feed.reply().await.unwrap_err();
    assert_eq!(reason(&status), "CONNECTION_ENDS");
    let status = server.ingest(large()).await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::InvalidArgument,
        "it is read, and too large to be stored"
    );
}

#[tokio::test]
async fn shutdown_ends_a_stream_between_two_batches() {
    let server = TestServer::with_items(half_circle(12)).await;
    let buffer = server.world.ports.events.clone();
    let mut feed = FeedStream::open(&server).await;
    feed.send(1, vec![liked("u", "i001")]).await;
    feed.reply().await.unwrap();
    server.stopped().await.unwrap();
    let status = feed.reply().await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "CONNECTION_ENDS")
    );
    let user = recsys::domain::ids::UserId::parse("u").unwrap();
    let stored = buffer.read(&user).await.unwrap();
    assert_eq!(stored.events.len(), 1);
}

fn batch(events: Vec<InteractionEvent>) -> StreamIngestEventsRequest {
    StreamIngestEventsRequest {
        events,
        sequence: 1,
    }
}

#[tokio::test]
async fn an_incomplete_batch_ends_the_stream_at_the_timeout() {
    let server = TestServer::serving_with(settings(512, Duration::from_millis(500))).await;
    let (mut client, _ended) = raw_http2::connect(server.address, 1 << 20).await;
    let (reply, mut body) = raw_http2::start_call(&mut client, STREAM);
    let mut frame = raw_http2::frame(&batch(vec![liked("u", "i001")]));
    frame.truncate(frame.len() - 1);
    body.send_data(frame, false).unwrap();
    let mut reply = reply.await.unwrap().into_body();
    assert!(reply.data().await.is_none());
    let trailers = reply.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "4", "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_client_that_reads_no_replies_is_slowed_down_and_disconnected() {
    let settings = ServerSettings {
        slow_client_timeout: Duration::from_millis(500),
        ..settings(1, LONG)
    };
    let server = TestServer::serving_with(settings).await;
    // With a window of 0, it reads no body.
    let (mut client, closed) = raw_http2::connect(server.address, 0).await;
    let (reply, mut body) = raw_http2::start_call(&mut client, STREAM);
    for _ in 0..50 {
        let _ = body.send_data(raw_http2::frame(&batch(vec![liked("", ""); 100])), false);
    }
    assert!(reply.await.is_ok());
    // The only permit is free between two batches, and while the client is slowed down.
    while server.ingest(liked("u", "i001")).await.is_err() {
        tokio::task::yield_now().await;
    }
    closed.await.unwrap();
    server.ingest(liked("u", "i002")).await.unwrap();
}
