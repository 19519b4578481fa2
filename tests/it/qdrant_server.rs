//! The test server of Qdrant's protocol does as Qdrant does, over the wire.

mod faults;
mod filters;
mod points;
mod queries;
mod strict;

use qdrant_client::qdrant::{
    Distance, Filter, PointId, QueryPoints, ScoredPoint, ScrollPoints,
    collections_client::CollectionsClient, point_id::PointIdOptions, points_client::PointsClient,
};
use serde_json::json;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::support::qdrant::QdrantServer;

const UUID: &str = "936da01f-9abd-4d9d-80c7-02af85c822a8";

/// Three points around a quarter of a circle, and one without a vector.
async fn places() -> (QdrantServer, PointsClient<Channel>) {
    let server = QdrantServer::start().await;
    server.create_collection("c", 2, Distance::Dot);
    let berlin = json!({
        "kind": "a", "n": 1, "on": true, "tags": ["x", "y"], "nights": [3, 9],
        "at": {"lat": 52.52, "lon": 13.405}, "inner": {"n": 10},
        "rooms": [{"beds": 1, "sea": true}, {"beds": 2, "sea": false}],
    });
    let munich = json!({
        "kind": "b", "n": 2, "on": false, "tags": ["y"], "gone": null,
        "at": [{"lat": 48.137, "lon": 11.575}, {"lat": 0.0, "lon": 179.5}],
        "rooms": [{"beds": 2, "sea": true}],
    });
    let nowhere = json!({"kind": "c", "n": 3.5, "tags": [], "text": "a quiet place"});
    server.insert("c", 1, berlin, Some(vec![1.0, 0.0]));
    server.insert("c", 2, munich, Some(vec![0.8, 0.6]));
    server.insert("c", 3, nowhere, Some(vec![0.0, 1.0]));
    server.insert("c", UUID, json!({"kind": "a", "gone": [null]}), None);
    let client = points(&server).await;
    (server, client)
}

async fn points(server: &QdrantServer) -> PointsClient<Channel> {
    PointsClient::new(channel(server).await)
}

async fn collections(server: &QdrantServer) -> CollectionsClient<Channel> {
    CollectionsClient::new(channel(server).await)
}

async fn channel(server: &QdrantServer) -> Channel {
    let endpoint = Endpoint::from_shared(server.url()).unwrap();
    endpoint.connect().await.unwrap()
}

fn id(id: PointId) -> String {
    match id.point_id_options.unwrap() {
        PointIdOptions::Num(number) => number.to_string(),
        PointIdOptions::Uuid(uuid) => uuid,
    }
}

fn ids(found: Vec<ScoredPoint>) -> Vec<String> {
    found.into_iter().map(|one| id(one.id.unwrap())).collect()
}

/// A query of the collection "c".
fn of_c() -> QueryPoints {
    QueryPoints {
        collection_name: "c".to_owned(),
        ..QueryPoints::default()
    }
}

async fn query(
    client: &PointsClient<Channel>,
    request: QueryPoints,
) -> Result<Vec<ScoredPoint>, Status> {
    let answer = client.clone().query(request).await?;
    Ok(answer.into_inner().result)
}

async fn matching(
    client: &PointsClient<Channel>,
    filter: impl Into<Filter>,
) -> Result<Vec<String>, Status> {
    let request = ScrollPoints {
        collection_name: "c".to_owned(),
        filter: Some(filter.into()),
        ..ScrollPoints::default()
    };
    let answer = client.clone().scroll(request).await?.into_inner();
    Ok(answer
        .result
        .into_iter()
        .map(|one| id(one.id.unwrap()))
        .collect())
}
