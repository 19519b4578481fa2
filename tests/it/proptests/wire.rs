//! Requests and deliveries with damaged bytes, over the wire.

#[path = "../../../benches/rig/wire.rs"]
mod raw;

use bytes::Bytes;
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use prost::Message as _;
use recsys::proto::{
    BatchIngestEventsRequest, DeleteItemsRequest, DeleteUserRequest, ExportUserRequest,
    GetItemsRequest, GetUserSignalsRequest, IngestEventRequest, IngestOutcome, ItemOutcome,
    ItemUpdate, ListItemsRequest, RecommendRequest, UpdateItemsRequest, UpsertItemsRequest,
};
use tokio::runtime::Runtime;
use tonic::{Code, Status, client::Grpc, codegen::http::uri::PathAndQuery};

use super::{
    damage::{bytes, fields, json},
    seeds,
};
use crate::support::{
    http::send,
    items::half_circle,
    server::{TestServer, liked, named, rating},
};

const USER: &str = "visitor";

/// A call with a valid message, encoded.
type Seed = (&'static str, Vec<u8>);

/// The valid messages that are damaged, one or more of each call.
fn requests() -> Vec<Seed> {
    let user_id = USER.to_owned();
    let mut view = named("e-1", liked(USER, "i001"));
    view.impressions = vec!["i002".to_owned(), "i003".to_owned()];
    view.survey_answers = Some(rating(4.5));
    let event = IngestEventRequest {
        event: Some(view.clone()),
    };
    let batch = BatchIngestEventsRequest {
        events: vec![view, liked("ada", "i002")],
    };
    let list = RecommendRequest {
        user_id: user_id.clone(),
        limit: 5,
        content_types: vec!["text_item".to_owned()],
        exclude_ids: vec!["i003".to_owned()],
        seed: Some(7),
        ..RecommendRequest::default()
    };
    let items = UpsertItemsRequest {
        items: vec![item()],
    };
    let paths = ["title", "attributes.rating", "years"];
    let update = ItemUpdate {
        item: Some(item()),
        update_mask: Some(prost_types::FieldMask {
            paths: paths.map(str::to_owned).into(),
        }),
    };
    let updates = UpdateItemsRequest {
        updates: vec![update],
    };
    let page = ListItemsRequest {
        page_size: 2,
        page_token: "AAAAAAAAAAAA".to_owned(),
        r#where: "price < 5".to_owned(),
        include_vectors: true,
    };
    let content_ids = vec!["i001".to_owned(), "é".to_owned()];
    let signals = GetUserSignalsRequest {
        user_id: user_id.clone(),
        include_vectors: true,
    };
    let delete = DeleteUserRequest {
        user_id: user_id.clone(),
    };
    vec![
        ("Recommender/IngestEvent", event.encode_to_vec()),
        ("Recommender/BatchIngestEvents", batch.encode_to_vec()),
        ("Recommender/Recommend", list.encode_to_vec()),
        ("Recommender/GetUserSignals", signals.encode_to_vec()),
        ("Recommender/DeleteUser", delete.encode_to_vec()),
        (
            "Recommender/ExportUser",
            ExportUserRequest { user_id }.encode_to_vec(),
        ),
        ("Catalog/UpsertItems", items.encode_to_vec()),
        ("Catalog/UpdateItems", updates.encode_to_vec()),
        ("Catalog/ListItems", page.encode_to_vec()),
        (
            "Catalog/GetItems",
            GetItemsRequest {
                content_ids: content_ids.clone(),
            }
            .encode_to_vec(),
        ),
        (
            "Catalog/DeleteItems",
            DeleteItemsRequest { content_ids }.encode_to_vec(),
        ),
    ]
}

fn item() -> recsys::proto::Item {
    recsys::proto::Item {
        content_id: "SKU-1".to_owned(),
        title: "T".to_owned(),
        tags: vec![recsys::proto::Tag {
            facet: "theme".to_owned(),
            label: "Ships".to_owned(),
            weight: Some(0.5),
        }],
        years: vec![1751],
        attributes: Some(rating(1.0)),
        ..recsys::proto::Item::default()
    }
}

/// A request with odd fields after its own, or with damaged bytes.
fn damaged(seeds: Vec<Seed>) -> impl Strategy<Value = Seed> {
    let extended = {
        let seeds = seeds.clone();
        // Field 1 of most requests is the message that matters.
        let nested = fields().prop_map(|fields| super::damage::delimited(1, fields));
        let added = prop_oneof![1 => fields(), 3 => nested];
        (any::<Index>(), added).prop_map(move |(seed, added)| {
            let (call, message) = seed.get(&seeds);
            (*call, [message.as_slice(), &added].concat())
        })
    };
    let cut = any::<Index>().prop_flat_map(move |seed| {
        let (call, message) = seed.get(&seeds).clone();
        bytes(vec![message]).prop_map(move |message| (call, message))
    });
    prop_oneof![3 => extended, 1 => cut]
}

async fn call(server: &TestServer, (call, message): Seed) -> Result<Bytes, Status> {
    let (service, method) = call.split_once('/').unwrap();
    let path = PathAndQuery::try_from(format!("/recsys.v1.{service}Service/{method}")).unwrap();
    let mut client = Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let request = tonic::Request::new(Bytes::from(message));
    Ok(client.unary(request, path, raw::Raw).await?.into_inner())
}

/// Tries an asynchronous property on one server.
fn check<S: Strategy>(strategy: S, property: impl AsyncFn(&TestServer, S::Value)) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(TestServer::with_items(half_circle(12)));
    TestRunner::default()
        .run(&strategy, |input| {
            runtime.block_on(property(&server, input));
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_damaged_request_is_answered_or_refused_and_never_fails_the_server() {
    check(damaged(requests()), async |server, request| {
        if let Err(status) = call(server, request).await {
            // What tonic answers to bytes that are no message.
            let undecodable = status
                .message()
                .starts_with("failed to decode Protobuf message");
            let expected = [Code::InvalidArgument, Code::OutOfRange];
            assert!(undecodable || expected.contains(&status.code()), "{status}");
        }
        let list = RecommendRequest {
            user_id: "someone else".to_owned(),
            ..RecommendRequest::default()
        };
        assert!(!server.recommend(list).await.unwrap().items.is_empty());
    });
}

#[test]
fn an_accepted_event_is_exported_as_one_that_is_the_same_when_sent_again() {
    let events = requests().into_iter().take(1).collect();
    check(damaged(events), async |server, (name, message)| {
        server.delete(USER).await;
        let Ok(request) = IngestEventRequest::decode(message.as_slice()) else {
            return;
        };
        if call(server, (name, message)).await.is_err() {
            return;
        }
        let user_id = request.event.unwrap_or_default().user_id;
        let export = ExportUserRequest {
            user_id: user_id.clone(),
        };
        let export = server.recommender().export_user(export).await.unwrap();
        for event in export.into_inner().events {
            let again = server.ingest(event).await.unwrap();
            assert_eq!(again.outcome(), IngestOutcome::Duplicate);
        }
        server.delete(&user_id).await;
    });
}

#[test]
fn a_stored_item_is_returned_as_one_that_is_the_same_when_stored_again() {
    let items = requests()
        .into_iter()
        .filter(|(name, _)| name.ends_with("UpsertItems"));
    check(damaged(items.collect()), async |server, request| {
        let Ok(UpsertItemsRequest { items }) = UpsertItemsRequest::decode(&*request.1) else {
            return;
        };
        let mut catalog = server.catalog();
        let Ok(reply) = catalog
            .upsert_items(UpsertItemsRequest {
                items: items.clone(),
            })
            .await
        else {
            return;
        };
        let results = reply.into_inner().results;
        let stored = items.into_iter().zip(results);
        let stored = stored.filter(|(_, result)| result.outcome() == ItemOutcome::Stored);
        let content_ids: Vec<String> = stored.map(|(item, _)| item.content_id).collect();
        let wanted = GetItemsRequest { content_ids };
        let held = catalog
            .get_items(wanted.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(held.missing_ids, Vec::<String>::new());
        let again = UpsertItemsRequest {
            items: held.items.clone(),
        };
        for result in catalog
            .upsert_items(again)
            .await
            .unwrap()
            .into_inner()
            .results
        {
            assert_eq!(result.outcome(), ItemOutcome::Stored, "{result:?}");
        }
        let read = catalog.get_items(wanted).await.unwrap().into_inner();
        assert_eq!(read, held);
    });
}

#[test]
fn a_damaged_delivery_is_taken_or_refused_and_never_fails_the_server() {
    let raw = seeds("deliveries")
        .into_iter()
        .map(String::into_bytes)
        .collect();
    let values = json(seeds("deliveries")).prop_map(String::into_bytes);
    let deliveries = prop_oneof![1 => bytes(raw), 3 => values];
    check(deliveries, async |server, body| {
        let headers = [("content-type", "application/json")];
        let reply = send(
            server.webhook,
            "POST",
            "/v1/webhooks/segment",
            &headers,
            &body,
        )
        .await;
        assert!([200, 400, 413, 422].contains(&reply.status), "{reply:?}");
        reply.json();
    });
}
