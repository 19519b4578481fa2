//! Payloads become events, each stored once.

use recsys::{domain::time::Timestamp, proto};
use serde_json::{Value, json};

use super::deliveries::{
    RECORDED, USERS, cases, deliver_repeatedly, liked_payload, named_payloads, payloads, post,
    recorded, stored, time_of,
};
use crate::support::{
    items::half_circle,
    redis::{self, own_prefix},
    server::{NOW, TestServer, liked},
};

#[tokio::test]
async fn every_payload_maps_to_the_event_of_the_reference_engine() {
    let server = recorded().await;
    let reply = post(server.webhook, &payloads().into()).await;
    assert_eq!(reply.status, 200);
    let report = reply.json();
    for (outcome, count) in [
        ("received", 18),
        ("accepted", 14),
        ("duplicate", 0),
        ("outside_window", 0),
        ("no_user", 1),
        ("other_type", 1),
        ("invalid", 2),
        ("failed", 0),
    ] {
        assert_eq!(report[outcome], json!(count), "{outcome}: {report}");
    }
    let mut expected: Vec<(String, Value)> = Vec::new();
    let mut skipped = Vec::new();
    for (index, case) in cases().into_iter().enumerate() {
        let Value::Object(mut event) = case["event"].clone() else {
            skipped.push(json!(index));
            continue;
        };
        let user = event["user_id"].as_str().unwrap().to_owned();
        event.insert("raw".to_owned(), json!({}));
        if let Some(id) = case["payload"].get("messageId") {
            event.insert("event_id".to_owned(), id.clone());
        }
        expected.push((user, event.into()));
    }
    for user in ["visitor-a", "visitor-b", "visitor-c", "y"] {
        let events: Vec<Value> = expected
            .iter()
            .filter(|(of, _)| of == user)
            .map(|(_, event)| event.clone())
            .collect();
        let mut stored_events = stored(&server, user).await;
        // Stored by time; compared in the order of the cases.
        stored_events.sort_by_key(|event| events.iter().position(|expected| expected == event));
        assert_eq!(stored_events, events, "{user}");
    }
    let not_taken = report["not_taken"].as_array().unwrap().iter();
    let not_taken: Vec<Value> = not_taken.map(|element| element["index"].clone()).collect();
    assert_eq!(not_taken, skipped);
}

#[tokio::test]
async fn deliveries_repeated_and_out_of_order_store_each_event_once() {
    let (once, repeated) = (recorded().await, recorded().await);
    let payloads = named_payloads(Timestamp::parse_iso8601(RECORDED).unwrap());
    for payload in &payloads {
        let report = post(once.webhook, payload).await.json();
        assert_eq!(report["accepted"], json!(1), "{report}");
    }
    deliver_repeatedly(repeated.webhook, &payloads).await;
    for user in USERS {
        assert_eq!(stored(&repeated, user).await, stored(&once, user).await);
        let (model, _) = repeated.signals(user).await;
        assert_eq!(model, once.signals(user).await.0, "{user}");
        assert_eq!(
            model.event_count as usize,
            stored(&repeated, user).await.len()
        );
    }
    let (model, _) = repeated.signals("visitor-a").await;
    assert_eq!(model.event_count, 7);
    assert!(model.positives.contains_key("1001"), "{model:?}");
    assert!(!model.positives.contains_key("1004"), "{model:?}");
}

#[tokio::test]
async fn deliveries_repeated_and_out_of_order_store_each_event_once_in_redis() {
    let (redis, prefix) = (redis::shared(), own_prefix());
    let server = redis::instance(&redis.pool(), &prefix).await;
    let payloads = named_payloads(time_of(redis));
    deliver_repeatedly(server.webhook, &payloads).await;
    let mut ids: Vec<String> = USERS
        .iter()
        .flat_map(|user| redis.event_ids(&format!("{prefix}evt:{user}")))
        .collect();
    ids.sort();
    let mut expected: Vec<String> = (0..payloads.len()).map(|n| format!("m-{n}")).collect();
    expected.sort();
    assert_eq!(ids, expected);
    let (model, _) = server.signals("visitor-a").await;
    assert_eq!(model.event_count, 7);
    assert_eq!(model.viewed, ["1001", "1004", "1005"]);
}

#[tokio::test]
async fn an_event_of_the_webhook_is_a_duplicate_over_grpc() {
    let server = TestServer::with_items(half_circle(3)).await;
    let report = post(server.webhook, &liked_payload("u", "once"))
        .await
        .json();
    assert_eq!(report["accepted"], json!(1), "{report}");
    let event = proto::InteractionEvent {
        event_id: "once".to_owned(),
        event_time: Some(prost_types::Timestamp {
            seconds: Timestamp::parse_iso8601(NOW).unwrap().to_proto_parts().0,
            nanos: 0,
        }),
        ..liked("u", "i001")
    };
    let again = server.ingest(event).await.unwrap();
    assert_eq!(again.outcome(), proto::IngestOutcome::Duplicate);
    assert_eq!(stored(&server, "u").await.len(), 1);
}
