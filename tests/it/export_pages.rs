//! ExportUserPages: all data of a user of any size, in small messages.

use prost::Message as _;
use recsys::proto::{
    ExportUserPagesRequest, ExportUserPagesResponse, ExportUserRequest, InteractionEvent,
};
use tonic::Code;

use crate::support::{
    items::half_circle,
    server::{TestServer, event, fields, liked, named, reason},
};

async fn pages(server: &TestServer, user: &str) -> Vec<ExportUserPagesResponse> {
    let request = ExportUserPagesRequest {
        user_id: user.to_owned(),
    };
    let reply = server.recommender().export_user_pages(request).await;
    let mut stream = reply.unwrap().into_inner();
    let mut pages = Vec::new();
    while let Some(page) = stream.message().await.unwrap() {
        assert!(page.encoded_len() <= 1 << 20, "{}", page.encoded_len());
        pages.push(page);
    }
    pages
}

#[tokio::test]
async fn the_pages_of_a_small_user_hold_what_export_user_returns() {
    let server = TestServer::with_items(half_circle(10)).await;
    for index in 0..100 {
        let event = liked("u", &format!("i{:03}", index % 10));
        server
            .ingest(named(&index.to_string(), event))
            .await
            .unwrap();
    }
    let request = ExportUserRequest {
        user_id: "u".into(),
    };
    let whole = server.recommender().export_user(request).await.unwrap();
    let whole = whole.into_inner();
    let pages = pages(&server, "u").await;
    assert_eq!(pages.len(), 1);
    assert_eq!(pages[0].events, whole.events);
    assert_eq!(pages[0].stored_events, whole.stored_events);
    assert_eq!(pages[0].stored_model, whole.stored_model);
    assert_eq!(pages[0].signals, whole.signals);
    assert_eq!(pages[0].interests, whole.interests);
    assert_eq!(whole.interests.len(), 10);
}

#[tokio::test]
async fn a_user_beyond_3_mib_is_exported_in_pages_only() {
    let server = TestServer::with_items(half_circle(10)).await;
    let large = |index: usize| InteractionEvent {
        query_text: "x".repeat(60_000),
        ..named(&index.to_string(), event("large", "T", "i001"))
    };
    for index in 0..60 {
        server.ingest(large(index)).await.unwrap();
    }
    let request = ExportUserRequest {
        user_id: "large".into(),
    };
    let status = server.recommender().export_user(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "REPLY_TOO_LARGE"),
        "{status}"
    );
    assert!(status.message().contains("ExportUserPages"), "{status}");
    let pages = pages(&server, "large").await;
    assert!(pages.len() > 6, "{}", pages.len());
    let events: Vec<&InteractionEvent> = pages.iter().flat_map(|page| &page.events).collect();
    assert_eq!(events.len(), 60);
    let stored: usize = pages.iter().map(|page| page.stored_events.len()).sum();
    assert_eq!(stored, 60);
    let signals = pages.iter().filter_map(|page| page.signals.as_ref());
    assert!(signals.into_iter().any(|signals| signals.event_count == 60));
}

#[tokio::test]
async fn an_unknown_user_has_one_empty_page_and_an_invalid_one_is_refused() {
    let server = TestServer::with_items(half_circle(10)).await;
    let pages = pages(&server, "unknown").await;
    assert_eq!(pages.len(), 1);
    assert!(pages[0].stored_events.is_empty() && pages[0].stored_model.is_empty());
    let request = ExportUserPagesRequest {
        user_id: String::new(),
    };
    let status = server.recommender().export_user_pages(request).await;
    assert_eq!(fields(&status.unwrap_err()), ["user_id"]);
}
