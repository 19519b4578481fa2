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
    overload::{begin, framed, raw},
    support::{
        items::half_circle,
        server::{TestServer, fields, liked, named, reason},
    },
};

const STREAM: &str = "StreamIngestEvents";

/// A stream with its client's end.
struct Feed {
    batches: mpsc::Sender<StreamIngestEventsRequest>,
    answers: Streaming<StreamIngestEventsResponse>,
}

impl Feed {
    async fn open(server: &TestServer) -> Self {
        let (batches, sending) = mpsc::channel(64);
        let sending = ReceiverStream::new(sending);
        let opened = server.recommender().stream_ingest_events(sending).await;
        let answers = opened.unwrap().into_inner();
        Self { batches, answers }
    }

    async fn send(&self, sequence: u64, events: Vec<InteractionEvent>) {
        let batch = StreamIngestEventsRequest { events, sequence };
        self.batches.send(batch).await.unwrap();
    }

    async fn answer(&mut self) -> Result<StreamIngestEventsResponse, Status> {
        let answer = self.answers.message().await?;
        Ok(answer.expect("an answer, and not the end"))
    }
}

fn outcomes(answer: &StreamIngestEventsResponse) -> Vec<IngestOutcome> {
    let results = answer.results.iter();
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
async fn batches_are_answered_in_order_and_a_bad_event_fails_no_other() {
    let server = TestServer::with_items(half_circle(12)).await;
    let mut feed = Feed::open(&server).await;
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
    let first = feed.answer().await.unwrap();
    assert_eq!(first.sequence, 7);
    use IngestOutcome::{Accepted, Duplicate, Rejected};
    assert_eq!(outcomes(&first), [Accepted, Rejected, Accepted]);
    let error = first.results[1].error.as_ref().unwrap();
    assert_eq!(error.field, "events[1].user_id");
    assert_eq!(feed.answer().await.unwrap().sequence, 3);
    assert_eq!(
        outcomes(&feed.answer().await.unwrap()),
        [Accepted, Duplicate]
    );
    let (signals, _) = server.signals("u").await;
    assert_eq!(
        signals.viewed,
        ["i001", "i003"],
        "an answered event is in the model"
    );
    drop(feed.batches);
    assert!(feed.answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_batch_that_is_too_large_ends_the_stream_and_names_the_field() {
    let server = TestServer::with_items(half_circle(12)).await;
    let mut feed = Feed::open(&server).await;
    feed.send(1, vec![liked("u", "i001"); 1_001]).await;
    let status = feed.answer().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status), ["events"]);
}

#[tokio::test]
async fn a_stream_may_last_longer_than_a_call_and_hold_more_than_the_memory_has() {
    let settings = ServerSettings {
        max_buffered_bytes: 64 << 10,
        ..settings(512, Duration::from_secs(2))
    };
    let server = Faulty::new().serve_with(settings).await;
    let mut feed = Feed::open(&server).await;
    // 10 KiB each, 320 KiB in all, and a pause of two time limits.
    for number in 0..32 {
        let mut event = named(&format!("e{number}"), liked("u", "i001"));
        event.query_text = "x".repeat(10 << 10);
        feed.send(number, vec![event]).await;
        let answer = feed.answer().await.unwrap();
        assert_eq!(outcomes(&answer), [IngestOutcome::Accepted]);
        if number == 16 {
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
    }
}

#[tokio::test]
async fn without_the_store_events_are_rejected_one_by_one_and_the_stream_goes_on() {
    let stores = Faulty::new();
    let server = stores.serve_with(settings(512, LONG)).await;
    let mut feed = Feed::open(&server).await;
    feed.send(1, vec![liked("broken", "i001"), liked("u", "i001")])
        .await;
    let answer = feed.answer().await.unwrap();
    use IngestOutcome::{Accepted, Rejected};
    assert_eq!(outcomes(&answer), [Rejected, Accepted]);
    let error = answer.results[0].error.as_ref().unwrap();
    assert_eq!(error.code, Code::Unavailable as i32);
    feed.send(2, vec![liked("w", "i001")]).await;
    assert_eq!(outcomes(&feed.answer().await.unwrap()), [Accepted]);
}

#[tokio::test]
async fn a_batch_waits_for_its_turn_and_an_idle_stream_takes_none() {
    let stores = Faulty::new();
    let server = stores.serve_with(settings(1, LONG)).await;
    let mut idle = Feed::open(&server).await;
    let mut feed = Feed::open(&server).await;
    stores.hold_appends.store(true, Ordering::SeqCst);
    let mut client = server.recommender();
    let event = Some(liked("u", "i001"));
    let working = tokio::spawn(async move {
        let sent = client.ingest_event(IngestEventRequest { event }).await;
        sent.map(|reply| reply.into_inner().outcome())
    });
    while stores.begun.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    feed.send(1, vec![liked("v", "i001")]).await;
    let early = tokio::time::timeout(Duration::from_millis(200), feed.answer()).await;
    assert!(early.is_err(), "the only turn is taken");
    stores.hold_appends.store(false, Ordering::SeqCst);
    assert_eq!(working.await.unwrap().unwrap(), IngestOutcome::Accepted);
    assert_eq!(
        outcomes(&feed.answer().await.unwrap()),
        [IngestOutcome::Accepted]
    );
    // Neither stream keeps the turn.
    server.ingest(liked("w", "i001")).await.unwrap();
    idle.send(1, vec![liked("x", "i001")]).await;
    idle.answer().await.unwrap();
}

#[tokio::test]
async fn a_batch_without_a_turn_in_time_is_rejected_and_can_be_sent_again() {
    let stores = Faulty::new();
    let server = stores.serve_with(settings(1, LONG)).await;
    let (batches, sending) = mpsc::channel(1);
    let mut request = tonic::Request::new(ReceiverStream::new(sending));
    request.set_timeout(Duration::from_secs(2));
    stores.hold_appends.store(true, Ordering::SeqCst);
    let answers = server.recommender().stream_ingest_events(request).await;
    let mut feed = Feed {
        batches,
        answers: answers.unwrap().into_inner(),
    };
    let mut client = server.recommender();
    let event = Some(liked("u", "i001"));
    let working =
        tokio::spawn(async move { client.ingest_event(IngestEventRequest { event }).await });
    while stores.begun.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    feed.send(1, vec![liked("v", "i001"), liked("w", "i001")])
        .await;
    let answer = feed.answer().await.unwrap();
    for result in &answer.results {
        assert_eq!(result.error.as_ref().unwrap().reason, "OVERLOADED");
    }
    assert_eq!(answer.results.len(), 2);
    stores.hold_appends.store(false, Ordering::SeqCst);
    working.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_says_nothing_gives_the_memory_of_a_large_batch_back() {
    let settings = ServerSettings {
        max_buffered_bytes: 400 << 10,
        ..settings(512, Duration::from_secs(2))
    };
    let server = Faulty::new().serve_with(settings).await;
    let large = || {
        let mut event = liked("u", "i001");
        event.query_text = "x".repeat(300 << 10);
        event
    };
    let mut feed = Feed::open(&server).await;
    feed.send(1, vec![large()]).await;
    feed.answer().await.unwrap();
    // As long as the stream lasts there is no room for another such request.
    let status = server.ingest(large()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let status = feed.answer().await.unwrap_err();
    assert_eq!(reason(&status), "CONNECTION_ENDS");
    let status = server.ingest(large()).await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::InvalidArgument,
        "it is read, and too large to be stored"
    );
}

#[tokio::test]
async fn a_server_that_stops_ends_the_stream_between_two_batches() {
    let server = TestServer::with_items(half_circle(12)).await;
    let kept = server.world.ports.events.clone();
    let mut feed = Feed::open(&server).await;
    feed.send(1, vec![liked("u", "i001")]).await;
    feed.answer().await.unwrap();
    server.stopped().await.unwrap();
    let status = feed.answer().await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "CONNECTION_ENDS")
    );
    let user = recsys::domain::ids::UserId::parse("u").unwrap();
    let kept = kept.read(&user).await.unwrap();
    assert_eq!(kept.events.len(), 1);
}

fn batch(events: Vec<InteractionEvent>) -> StreamIngestEventsRequest {
    StreamIngestEventsRequest {
        events,
        sequence: 1,
    }
}

#[tokio::test]
async fn a_batch_that_is_never_completed_ends_the_stream_at_the_time_limit() {
    let server = TestServer::serving_with(settings(512, Duration::from_millis(500))).await;
    let (mut client, _ended) = raw(server.address, 1 << 20).await;
    let (reply, mut body) = begin(&mut client, STREAM);
    let mut frame = framed(&batch(vec![liked("u", "i001")]));
    frame.truncate(frame.len() - 1);
    body.send_data(frame, false).unwrap();
    let mut reply = reply.await.unwrap().into_body();
    assert!(reply.data().await.is_none());
    let trailers = reply.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "4", "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_slowed_down_and_ended() {
    let settings = ServerSettings {
        slow_client_timeout: Duration::from_millis(500),
        ..settings(1, LONG)
    };
    let server = TestServer::serving_with(settings).await;
    // Takes in not a byte.
    let (mut client, ended) = raw(server.address, 0).await;
    let (reply, mut body) = begin(&mut client, STREAM);
    for _ in 0..50 {
        let _ = body.send_data(framed(&batch(vec![liked("", ""); 100])), false);
    }
    assert!(reply.await.is_ok());
    // The one turn is free between two batches, and once it is slowed down.
    while server.ingest(liked("u", "i001")).await.is_err() {
        tokio::task::yield_now().await;
    }
    ended.await.unwrap();
    server.ingest(liked("u", "i002")).await.unwrap();
}
