//! Limits of the size of messages, batches and replies, and the settings of limits.

use std::time::Duration;

use recsys::{
    api::limits::Limits,
    proto::{self, InteractionEvent, Item, RecommendRequest, SignalsSource},
};
use tonic::Code;

use crate::support::{
    items::half_circle,
    server::{TestServer, event, fields},
};

fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// 2026-06-10T12:00:00Z, the fixed time of the test servers.
const NOW: i64 = 1_781_092_800;

#[tokio::test]
async fn a_message_of_exactly_4_mib_is_read_and_one_byte_more_is_not() {
    use prost::Message as _;
    let server = TestServer::with_items(half_circle(10)).await;
    let request_of = |bytes: usize| {
        let mut request = proto::IngestEventRequest {
            event: Some(event("edge", "T", "i000")),
        };
        let text = |request: &mut proto::IngestEventRequest, length: usize| {
            request.event.as_mut().unwrap().query_text = "x".repeat(length);
        };
        text(&mut request, bytes - 100);
        let missing = bytes - request.encoded_len();
        text(&mut request, bytes - 100 + missing);
        assert_eq!(request.encoded_len(), bytes);
        request
    };
    let mut client = server.recommender();
    let most = client.ingest_event(request_of(4 << 20)).await.unwrap_err();
    assert_eq!(
        most.code(),
        Code::InvalidArgument,
        "it is read, and refused for its stored size"
    );
    let more = client
        .ingest_event(request_of((4 << 20) + 1))
        .await
        .unwrap_err();
    assert_eq!(more.code(), Code::OutOfRange);
    assert_eq!(server.signals("edge").await.1, SignalsSource::Empty);
}

#[tokio::test]
async fn upserts_accept_messages_of_up_to_16_mib() {
    let server = TestServer::with_items(half_circle(10)).await;
    // Several items, since a single one may not be that large.
    let upsert = |bytes: usize| proto::UpsertItemsRequest {
        items: (0..bytes / 250_000)
            .map(|index| Item {
                content_id: format!("big{index}"),
                text: "x".repeat(250_000),
                ..Item::default()
            })
            .collect(),
    };
    let reply = server
        .catalog()
        .upsert_items(upsert(15 << 20))
        .await
        .unwrap();
    assert_eq!(
        reply.get_ref().results[0].outcome(),
        proto::ItemOutcome::Stored
    );
    let status = server
        .catalog()
        .upsert_items(upsert(17 << 20))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn a_stored_event_of_exactly_64_kib_is_accepted_and_one_byte_more_is_not() {
    let server = TestServer::with_items(half_circle(10)).await;
    let of = |length: usize| {
        let mut event = event("edge", "T", "i000");
        event.query_text = "x".repeat(length);
        event
    };
    let refused = server.ingest(of(70_000)).await.unwrap_err();
    let size: usize = refused
        .message()
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap();
    let spare = (64 << 10) - (size - 70_000);
    let reply = server.ingest(of(spare)).await.unwrap();
    assert_eq!(reply.outcome(), proto::IngestOutcome::Accepted);
    let status = server.ingest(of(spare + 1)).await.unwrap_err();
    assert_eq!(fields(&status), ["event"]);
}

#[tokio::test]
async fn a_batch_of_1000_events_is_accepted_and_1001_are_refused() {
    let server = TestServer::with_items(half_circle(10)).await;
    let events: Vec<_> = (0..1_001)
        .map(|index| InteractionEvent {
            event_id: index.to_string(),
            ..event("batch", "T", "i000")
        })
        .collect();
    let status = server.batch(events.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status), ["events"]);
    assert_eq!(server.signals("batch").await.1, SignalsSource::Empty);

    let reply = server.batch(events[..1_000].to_vec()).await.unwrap();
    assert_eq!(reply.results.len(), 1_000);
    assert_eq!(server.signals("batch").await.0.event_count, 1_000);
    assert!(server.batch(Vec::new()).await.unwrap().results.is_empty());
}

#[tokio::test]
async fn a_short_request_cannot_cause_a_huge_reply() {
    let server = TestServer::with_items(Vec::new()).await;
    let of = |bytes: usize| proto::UpsertItemsRequest {
        items: vec![Item {
            content_id: "big".into(),
            text: "x".repeat(bytes),
            ..Item::default()
        }],
    };
    let reply = server.catalog().upsert_items(of(256 << 10)).await.unwrap();
    let error = reply.into_inner().results.remove(0).error.unwrap();
    assert_eq!(error.field, "items[0]");
    server.catalog().upsert_items(of(255 << 10)).await.unwrap();
    let request = proto::GetItemsRequest {
        content_ids: vec!["big".into(); 500],
    };
    let reply = server.catalog().get_items(request).await.unwrap();
    assert_eq!(reply.into_inner().items.len(), 1, "each item once");

    let ids = proto::GetItemsRequest {
        content_ids: vec!["x".repeat(400); 12_000],
    };
    let status = server.catalog().get_items(ids).await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::OutOfRange,
        "only upserts may be larger"
    );
}

#[tokio::test]
async fn limits_are_configurable() {
    let limits = Limits {
        max_batch_events: 1,
        max_user_id_bytes: 3,
        max_limit: 20,
        max_event_ahead: Duration::from_secs(1),
        max_request_bytes: 1_000,
        ..Limits::default()
    };
    let server = TestServer::with_limits(half_circle(10), limits).await;
    assert_eq!(
        fields(&server.ingest(event("four", "T", "")).await.unwrap_err()),
        ["event.user_id"]
    );
    let mut ahead = event("u", "T", "");
    ahead.event_time = time(NOW + 2);
    assert_eq!(
        fields(&server.ingest(ahead).await.unwrap_err()),
        ["event.event_time"]
    );
    let mut large = event("u", "T", "");
    large.query_text = "x".repeat(1_000);
    let status = server.ingest(large).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    let list = RecommendRequest {
        user_id: "u".into(),
        limit: 21,
        ..RecommendRequest::default()
    };
    assert_eq!(
        fields(&server.recommend(list).await.unwrap_err()),
        ["limit"]
    );
    let status = server
        .batch(vec![event("u", "T", ""); 2])
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["events"]);
}
