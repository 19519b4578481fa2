//! Memory of requests and replies: bounded before it is allocated.

use recsys::{
    edge::settings::ServerSettings,
    proto::{self, GetItemsRequest, Item, UpsertItemsRequest},
};
use serde_json::json;
use tonic::Code;

use crate::support::{
    attacks::send_empty,
    http::{gzip, send},
    server::{TestServer, event, fields, reason},
};

/// Settings with room for messages of a usual size.
fn small() -> ServerSettings {
    ServerSettings {
        max_buffered_bytes: 32 << 20,
        ..ServerSettings::default()
    }
}

#[tokio::test]
async fn elements_are_counted_before_a_message_is_decoded() {
    let server = TestServer::serving_with(small()).await;
    // 2 bytes each; decoded, an event or item takes 400.
    for (method, field, elements) in [
        ("RecommenderService/BatchIngestEvents", "events", 2 << 20),
        ("CatalogService/UpsertItems", "items", 3 << 20),
        ("CatalogService/UpdateItems", "updates", 3 << 20),
        ("CatalogService/GetItems", "content_ids", 1 << 20),
    ] {
        let path = format!("/recsys.v1.{method}");
        let sent = send_empty(server.channel.clone(), &path, "", elements - 1).await;
        let status = sent.unwrap_err();
        assert_eq!(fields(&status), [field], "{status}");
        let has = format!("entries, has {}", elements - 1);
        assert!(status.message().contains(&has), "{status}");
    }
}

#[tokio::test]
async fn the_memory_of_inner_elements_is_reserved_before_a_message_is_decoded() {
    let server = TestServer::serving_with(small()).await;
    let mut wide = event("u", "T", "i001");
    // 2 bytes each, and more than 24 in memory.
    wide.impressions = vec![String::new(); 1 << 20];
    let status = server.ingest(wide).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "TOO_MUCH_MEMORY"),
        "{status}"
    );
    assert_eq!(
        status.metadata().get("grpc-retry-pushback-ms").unwrap(),
        "-1"
    );
    let paths = vec![String::new(); 1 << 20];
    let update = proto::ItemUpdate {
        update_mask: Some(prost_types::FieldMask { paths }),
        ..proto::ItemUpdate::default()
    };
    let request = proto::UpdateItemsRequest {
        updates: vec![update],
    };
    let status = server.catalog().update_items(request).await.unwrap_err();
    assert_eq!(reason(&status), "TOO_MUCH_MEMORY", "{status}");
    // What fits is checked as any other event.
    let mut wide = event("u", "T", "i001");
    wide.impressions = vec!["x".to_owned(); 1_001];
    let status = server.ingest(wide).await.unwrap_err();
    assert_eq!(fields(&status), ["event.impressions"], "{status}");
    server.ingest(event("u", "T", "i001")).await.unwrap();
}

#[tokio::test]
async fn an_element_of_a_delivery_with_too_many_values_is_refused_alone_before_it_is_parsed() {
    let server = TestServer::serving_with(small()).await;
    let wide = format!("{{\"messageId\":\"1\",\"a\":[{}0]}}", "[],".repeat(1 << 20));
    let good = json!({"type": "track", "event": "Liked", "userId": "u", "messageId": "2",
                      "properties": {"content": "i001"}});
    let body = gzip(format!("[{wide},{good}]").as_bytes());
    assert!(body.len() < 16 << 10, "{}", body.len());
    let headers = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let path = "/v1/webhooks/rudderstack";
    let reply = send(server.webhook, "POST", path, &headers, &body).await;
    let report = reply.json();
    assert_eq!(reply.status, 200, "{report}");
    assert_eq!(
        (&report["accepted"], &report["invalid"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        report["not_taken"][0]["reason"],
        json!("has more than 20000 values")
    );
}

#[tokio::test]
async fn a_delivery_that_does_not_fit_into_memory_is_retried() {
    let settings = ServerSettings {
        max_buffered_bytes: 8 << 20,
        ..ServerSettings::default()
    };
    let server = TestServer::serving_with(settings).await;
    let deliver = async |elements: usize, values: usize| {
        let lists = "[],".repeat(values);
        let elements: Vec<String> = (0..elements)
            .map(|id| {
                let id = format!("\"type\":\"identify\",\"userId\":\"u\",\"messageId\":\"{id}\"");
                format!("{{{id},\"traits\":{{\"a\":[{lists}0]}}}}")
            })
            .collect();
        let body = gzip(format!("[{}]", elements.join(",")).as_bytes());
        let headers = [
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
        ];
        let path = "/v1/webhooks/rudderstack";
        send(server.webhook, "POST", path, &headers, &body).await
    };
    // 4 MB each while it is read, and a third of that until it is stored.
    let reply = deliver(6, 15_000).await;
    let report = reply.json();
    assert_eq!(reply.status, 503, "{report}");
    let count = |name: &str| report[name].as_u64().unwrap();
    assert!(count("accepted") > 0 && count("failed") > 0, "{report}");
    assert_eq!(count("accepted") + count("failed"), 6, "{report}");
    // Nothing stays counted.
    assert_eq!(deliver(1, 15_000).await.status, 200);
}

#[tokio::test]
async fn an_element_that_needs_more_memory_than_a_call_may_have_is_refused_alone() {
    let settings = ServerSettings {
        max_buffered_bytes: 2 << 20,
        ..ServerSettings::default()
    };
    let server = TestServer::serving_with(settings).await;
    let wide = format!("{{\"messageId\":\"1\",\"a\":[{}0]}}", "[],".repeat(15_000));
    let good = json!({"type": "track", "event": "Liked", "userId": "u", "messageId": "2",
                      "properties": {"content": "i001"}});
    let body = format!("[{wide},{good}]");
    let headers = [("content-type", "application/json")];
    let path = "/v1/webhooks/rudderstack";
    let reply = send(server.webhook, "POST", path, &headers, body.as_bytes()).await;
    let report = reply.json();
    assert_eq!(reply.status, 200, "{report}");
    assert_eq!(
        (&report["accepted"], &report["invalid"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn a_reply_is_bounded_before_it_is_made() {
    let server = TestServer::serving_with(ServerSettings {
        max_buffered_bytes: 128 << 20,
        ..ServerSettings::default()
    })
    .await;
    let ids: Vec<String> = (0..100).map(|index| format!("large{index}")).collect();
    for ids in ids.chunks(50) {
        let items = ids.iter().map(|id| Item {
            content_id: id.clone(),
            text: "x".repeat(250 << 10),
            ..Item::default()
        });
        let items = items.collect();
        let request = UpsertItemsRequest { items };
        server.catalog().upsert_items(request).await.unwrap();
    }
    let of = |content_ids: &[String]| GetItemsRequest {
        content_ids: content_ids.to_vec(),
    };
    let mut catalogue = server.catalog().max_decoding_message_size(usize::MAX);
    let reply = catalogue.get_items(of(&ids[..60])).await.unwrap();
    assert_eq!(reply.into_inner().items.len(), 60);
    let status = server.catalog().get_items(of(&ids)).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "REPLY_TOO_LARGE"),
        "{status}"
    );
    let list = proto::RecommendRequest {
        user_id: "u".into(),
        limit: 100,
        include_content: true,
        ..Default::default()
    };
    let status = server.recommend(list.clone()).await.unwrap_err();
    assert_eq!(reason(&status), "REPLY_TOO_LARGE", "{status}");
    let list = proto::RecommendRequest {
        include_content: false,
        ..list
    };
    assert!(!server.recommend(list).await.unwrap().items.is_empty());
}
