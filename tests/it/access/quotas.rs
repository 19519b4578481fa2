//! Quotas of keys.

use std::time::Duration;

use recsys::proto::{self, recommender_service_client::RecommenderServiceClient};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    server::{liked, named, reason},
    tenants::{Tenants, channel, with_headers},
};

#[tokio::test]
async fn quotas_limit_calls_and_events_of_each_key() {
    let mut tenants = Tenants::new(&["shop"]);
    let calls = tenants.key("shop", &["ingest"]);
    tenants.add("calls_per_second = 1\ncalls_burst = 3");
    let events = tenants.key("shop", &["ingest"]);
    tenants.add("events_per_second = 1\nevents_burst = 10");
    let unlimited = tenants.key("shop", &["ingest"]);
    let served = tenants.serve(&[]);
    let mut users = RecommenderServiceClient::new(channel(&served).await);
    let mut send = async |key: &str, count: usize| {
        let events = (0..count).map(|_| liked("u", "2001")).collect();
        let headers = [("x-api-key", key)];
        let request = with_headers(&headers, proto::BatchIngestEventsRequest { events });
        users.batch_ingest_events(request).await.map(|_| ())
    };
    let mut refused = 0;
    for _ in 0..20 {
        if let Err(status) = send(&calls, 1).await {
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::ResourceExhausted, "QUOTA_EXCEEDED")
            );
            let wait = status.get_details_retry_info().unwrap().retry_delay;
            assert!(wait.unwrap() <= Duration::from_secs(1), "{wait:?}");
            refused += 1;
        }
    }
    assert!(refused > 0);
    send(&events, 10).await.unwrap();
    let status = send(&events, 10).await.unwrap_err();
    assert_eq!(reason(&status), "QUOTA_EXCEEDED");
    // More than the burst: waiting would not help.
    let status = send(&events, 11).await.unwrap_err();
    assert!(status.get_details_retry_info().is_none());
    assert!(status.message().contains("smaller batches"), "{status}");
    for _ in 0..20 {
        send(&unlimited, 100).await.unwrap();
    }
}

#[tokio::test]
async fn each_further_batch_of_a_stream_takes_a_call() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["ingest"]);
    tenants.add("calls_per_second = 1\ncalls_burst = 3");
    let served = tenants.serve(&[("RECSYS_REQUEST_TIMEOUT", "500ms")]);
    let mut client = RecommenderServiceClient::new(channel(&served).await);
    let batches = (0..20).map(|number| proto::StreamIngestEventsRequest {
        events: vec![named(&number.to_string(), liked("u", "2001"))],
        sequence: number,
    });
    let batches = tokio_stream::iter(batches.collect::<Vec<_>>());
    let headers = [("x-api-key", key.as_str())];
    let opened = client
        .stream_ingest_events(with_headers(&headers, batches))
        .await;
    let mut replies = opened.unwrap().into_inner();
    let mut refused = 0;
    while let Some(reply) = replies.message().await.unwrap() {
        if let Some(error) = &reply.results[0].error {
            assert_eq!(error.reason, "QUOTA_EXCEEDED");
            refused += 1;
        }
    }
    assert!(refused > 0, "all batches were taken at once");
}

#[tokio::test]
async fn a_batch_delayed_too_long_by_its_quota_is_rejected() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["ingest"]);
    tenants.add("events_per_second = 1\nevents_burst = 100");
    let served = tenants.serve(&[("RECSYS_REQUEST_TIMEOUT", "1s")]);
    let mut client = RecommenderServiceClient::new(channel(&served).await);
    let headers = [("x-api-key", key.as_str())];
    let events = |number: usize| {
        let event = |index| named(&format!("{number}-{index}"), liked("u", "2001"));
        (0..100).map(event).collect()
    };
    let batches = (0..2).map(|number| proto::StreamIngestEventsRequest {
        events: events(number),
        sequence: number as u64,
    });
    let batches = tokio_stream::iter(batches.collect::<Vec<_>>());
    let opened = client
        .stream_ingest_events(with_headers(&headers, batches))
        .await;
    let mut replies = opened.unwrap().into_inner();
    let first = replies.message().await.unwrap().unwrap();
    assert!(first.results.iter().all(|result| result.error.is_none()));
    let second = replies.message().await.unwrap().unwrap();
    for result in second.results {
        assert_eq!(result.error.unwrap().reason, "QUOTA_EXCEEDED");
    }
    assert!(replies.message().await.unwrap().is_none());
}
