//! What goes wrong when it is told to.

use std::time::{Duration, Instant};

use qdrant_client::qdrant::{
    CountPoints, QueryBatchPoints, QueryBatchResponse, points_client::PointsClient,
};
use tonic::{Code, Request, Status, metadata::MetadataValue, transport::Endpoint};

use super::{places, points};
use crate::support::qdrant::HttpOnly;

type Client = PointsClient<tonic::transport::Channel>;

fn all_of_c() -> CountPoints {
    CountPoints {
        collection_name: "c".to_owned(),
        ..CountPoints::default()
    }
}

async fn count(client: &Client) -> Result<u64, Status> {
    let answer = client.clone().count(all_of_c()).await?;
    Ok(answer.into_inner().result.unwrap_or_default().count)
}

#[tokio::test]
async fn calls_fail_until_they_are_healed() {
    let (server, client) = places().await;
    server.fail(Code::Unavailable, "gone fishing");
    for _ in 0..2 {
        let failed = count(&client).await.unwrap_err();
        assert_eq!(failed.code(), Code::Unavailable);
        assert_eq!(failed.message(), "gone fishing");
    }
    server.heal();
    assert_eq!(count(&client).await.unwrap(), 4);
}

#[tokio::test]
async fn the_next_calls_or_those_of_one_rpc_fail() {
    let (server, mut client) = places().await;
    server.fail_next(2, Code::ResourceExhausted, "slow down");
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(count(&client).await.map_err(|status| status.code()));
    }
    let slow = Err(Code::ResourceExhausted);
    assert_eq!(codes, [slow, slow, Ok(4)]);

    server.fail_rpc("QueryBatch", Code::Internal, "broken");
    let failed = client.query_batch(QueryBatchPoints::default()).await;
    assert_eq!(failed.unwrap_err().message(), "broken");
    assert_eq!(count(&client).await.unwrap(), 4);
}

#[tokio::test]
async fn calls_are_delayed_or_never_answered() {
    let (server, mut client) = places().await;
    let started = Instant::now();
    server.delay(Duration::from_millis(200));
    assert_eq!(count(&client).await.unwrap(), 4);
    assert!(started.elapsed() >= Duration::from_millis(200));
    server.heal();

    server.hang();
    let mut request = Request::new(all_of_c());
    request.set_timeout(Duration::from_millis(200));
    let failed = client.count(request).await.unwrap_err();
    assert!(
        matches!(failed.code(), Code::Cancelled | Code::DeadlineExceeded),
        "{failed}"
    );
    server.heal();
    assert_eq!(count(&client).await.unwrap(), 4);
}

#[tokio::test]
async fn a_renamed_collection_is_missing_until_it_has_its_name_back() {
    let (server, client) = places().await;
    server.rename_collection("c", "aside");
    assert_eq!(count(&client).await.unwrap_err().code(), Code::NotFound);
    server.rename_collection("aside", "c");
    assert_eq!(count(&client).await.unwrap(), 4);
}

#[tokio::test]
async fn answers_can_be_empty() {
    let (server, mut client) = places().await;
    server.answer_empty();
    let batch = QueryBatchPoints {
        query_points: vec![super::of_c()],
        ..QueryBatchPoints::default()
    };
    let answer = client.query_batch(batch).await.unwrap().into_inner();
    assert_eq!(answer, QueryBatchResponse::default());
    assert_eq!(count(&client).await.unwrap(), 0);
}

#[tokio::test]
async fn connections_are_dropped_and_taken_again_on_the_same_port() {
    let (server, client) = places().await;
    assert_eq!(count(&client).await.unwrap(), 4);
    // A call that is on its way is cut off with the connection.
    server.hang();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { count(&client).await }
    });
    while server.calls("Count") < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.stop();
    waiting.await.unwrap().unwrap_err();
    assert_eq!(count(&client).await.unwrap_err().code(), Code::Unavailable);
    server.heal();
    server.restart();
    assert_eq!(count(&client).await.unwrap(), 4, "what was stored is there");
    assert_eq!(count(&points(&server).await).await.unwrap(), 4);
}

#[tokio::test]
async fn a_collection_can_go_away() {
    let (server, client) = places().await;
    server.drop_collection("c");
    let failed = count(&client).await.unwrap_err();
    assert_eq!(failed.code(), Code::NotFound);
    assert_eq!(failed.message(), "Not found: Collection `c` doesn't exist!");
}

#[tokio::test]
async fn an_api_key_is_wanted_in_the_metadata() {
    let (server, mut client) = places().await;
    server.require_api_key("secret");
    let failed = count(&client).await.unwrap_err();
    assert_eq!(failed.code(), Code::Unauthenticated);
    assert_eq!(
        failed.message(),
        "Must provide an API key or an Authorization bearer token"
    );
    for (name, value, works) in [
        ("api-key", "guess", false),
        ("api-key", "secret", true),
        ("authorization", "Bearer secret", true),
    ] {
        let mut request = Request::new(all_of_c());
        let value = MetadataValue::from_static(value);
        request.metadata_mut().insert(name, value);
        match client.count(request).await {
            Ok(_) => assert!(works),
            Err(failed) => {
                assert!(!works, "{failed}");
                assert_eq!(failed.code(), Code::Unauthenticated);
                assert_eq!(failed.message(), "Invalid API key or JWT");
            }
        }
    }
    server.heal();
    assert!(count(&client).await.is_err(), "the key stays wanted");
}

#[tokio::test]
async fn calls_are_counted_and_kept_to_be_looked_at() {
    let (server, mut client) = places().await;
    count(&client).await.unwrap();
    let missing = CountPoints::default();
    client.count(missing.clone()).await.unwrap_err();
    assert_eq!(server.calls("Count"), 2);
    assert_eq!(server.calls("Query"), 0);
    let kept = server.requests::<CountPoints>("Count");
    assert_eq!(kept, [all_of_c(), missing]);
    server.reset_calls();
    assert_eq!(server.all_calls(), 0);
    assert!(server.requests::<CountPoints>("Count").is_empty());
    count(&client).await.unwrap();
    assert_eq!(server.all_calls(), 1);
}

#[tokio::test]
async fn a_port_of_http_answers_no_call() {
    let port = HttpOnly::start().await;
    let endpoint = Endpoint::from_shared(port.url()).unwrap();
    let client = PointsClient::new(endpoint.connect_lazy());
    let failed = count(&client).await.unwrap_err();
    assert!(
        matches!(
            failed.code(),
            Code::Unavailable | Code::Unknown | Code::Internal
        ),
        "{failed:?}"
    );
}
