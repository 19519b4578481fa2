//! The tenants file and ranking files, reloaded while serving.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use recsys::proto::{self, recommender_service_client::RecommenderServiceClient};
use tonic::Code;

use crate::support::{
    program::{Served, recsys},
    server::{liked, named, reason},
    tenants::{Tenants, channel, with_headers},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tenants_file_is_reloaded_under_load_without_a_failed_call() {
    let mut tenants = Tenants::new(&["shop"]);
    let stable = tenants.key("shop", &["ingest"]);
    let original = tenants.text.clone();
    let revoked = tenants.key("shop", &["ingest"]);
    let mut served = tenants.serve(&[]);
    let channel = channel(&served).await;
    let ingest = move |key: String, number: usize| {
        let mut users = RecommenderServiceClient::new(channel.clone());
        async move {
            let event = Some(named(&number.to_string(), liked("u", "2001")));
            let headers = [("x-api-key", key.as_str())];
            let request = with_headers(&headers, proto::IngestEventRequest { event });
            users
                .ingest_event(request)
                .await
                .map(|reply| reply.into_inner())
        }
    };
    let (stop, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, calls, stable) = (stop.clone(), calls.clone(), stable.clone());
            let ingest = ingest.clone();
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let number = calls.fetch_add(1, Ordering::SeqCst);
                    ingest(stable.clone(), number).await.unwrap();
                }
            })
        })
        .collect();
    ingest(revoked.clone(), 0).await.unwrap();

    // A malformed file is refused, and all keys stay valid.
    tenants.text = "[tenants.shop".to_owned();
    tenants.write();
    served.logged("changed tenants file is refused");
    ingest(revoked.clone(), 0).await.unwrap();

    // Then one key is removed and another is added.
    tenants.text = original;
    let added = tenants.key("shop", &["ingest"]);
    tenants.write();
    served.logged("tenants file reloaded");
    let status = ingest(revoked, 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let reply = ingest(added, 0).await.unwrap();
    // The state in memory is kept: nothing changed for the tenant.
    assert!(reply.buffered_events > 0);
    let calls_before = calls.load(Ordering::SeqCst);
    while calls.load(Ordering::SeqCst) < calls_before + 100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(!served.seen.contains("panicked"), "{}", served.seen);
}

#[tokio::test]
async fn a_tenants_file_that_is_cut_between_two_tables_revokes_nothing() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["admin"]);
    tenants.write();
    let whole = std::fs::read_to_string(tenants.path()).unwrap();
    let another = "\n[tenants.other]\ncollection = \"other\"\n";
    std::fs::write(tenants.path(), format!("{whole}{another}")).unwrap();
    let mut served = Served::start(recsys(&["serve"]).env("RECSYS_TENANTS_PATH", tenants.path()));
    std::fs::write(tenants.path(), &whole).unwrap();
    served.logged("looks cut");
    // The tenant is still served: an admin may name it.
    let mut users = RecommenderServiceClient::new(channel(&served).await);
    let headers = [("x-api-key", key.as_str()), ("x-tenant-id", "other")];
    let request = proto::GetUserSignalsRequest {
        user_id: "u".into(),
        include_vectors: false,
    };
    let request = with_headers(&headers, request);
    users.get_user_signals(request).await.unwrap();
    // With another last line it is removed.
    std::fs::write(tenants.path(), format!("{whole}# end\n")).unwrap();
    served.logged("tenants file reloaded");
}

#[tokio::test]
async fn users_in_memory_survive_a_reload_of_the_ranking_file() {
    let mut tenants = Tenants::new(&["shop"]);
    tenants.add("ranking = \"shop.toml\"");
    let key = tenants.key("shop", &["admin"]);
    let ranking = tenants.folder.path().join("shop.toml");
    std::fs::write(&ranking, "default_limit = 3").unwrap();
    let mut served = tenants.serve(&[]);
    let mut users = RecommenderServiceClient::new(channel(&served).await);
    let headers = [("x-api-key", key.as_str())];
    let event = Some(named("e", liked("u", "2001")));
    let request = proto::IngestEventRequest { event };
    users
        .ingest_event(with_headers(&headers, request))
        .await
        .unwrap();

    std::fs::write(&ranking, "default_limit = 4").unwrap();
    served.logged("tenants file reloaded");
    let request = proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    };
    let list = users
        .recommend(with_headers(&headers, request))
        .await
        .unwrap();
    assert_eq!(list.into_inner().items.len(), 4);
    let request = proto::ExportUserRequest {
        user_id: "u".into(),
    };
    let export = users
        .export_user(with_headers(&headers, request))
        .await
        .unwrap();
    assert_eq!(export.into_inner().events.len(), 1);
}

#[tokio::test]
async fn a_stream_ends_when_keys_are_reloaded_and_must_authenticate_again() {
    let mut tenants = Tenants::new(&["shop"]);
    tenants.key("shop", &["admin"]);
    let without_key = tenants.text.clone();
    let key = tenants.key("shop", &["ingest"]);
    let served = tenants.serve(&[]);
    let mut client = RecommenderServiceClient::new(channel(&served).await);
    let headers = [("x-api-key", key.as_str())];
    let (batches, receiver) = tokio::sync::mpsc::channel(1);
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let opened = client
        .stream_ingest_events(with_headers(&headers, receiver))
        .await;
    let mut replies = opened.unwrap().into_inner();
    let batch = proto::StreamIngestEventsRequest {
        events: vec![named("e", liked("u", "2001"))],
        sequence: 1,
    };
    batches.send(batch).await.unwrap();
    replies.message().await.unwrap().unwrap();

    tenants.text = without_key;
    tenants.write();
    let ended = replies.message().await.unwrap_err();
    assert_eq!(
        (ended.code(), reason(&ended).as_str()),
        (Code::Unavailable, "CONNECTION_ENDS")
    );
    let again = with_headers(&headers, tokio_stream::empty());
    let refused = client.stream_ingest_events(again).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}
