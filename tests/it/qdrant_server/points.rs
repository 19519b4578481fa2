//! Collections and points, written and read.

use std::collections::HashMap;

use qdrant_client::{
    Payload,
    qdrant::{
        CollectionExistsRequest, CollectionStatus, Condition, CountPoints, CreateCollection,
        CreateFieldIndexCollection, DeleteCollection, DeleteFieldIndexCollection,
        DeletePayloadPoints, DeletePoints, DenseVector, Distance, FacetCounts, FieldType, Filter,
        GetCollectionInfoRequest, GetPoints, HealthCheckRequest, ListCollectionsRequest,
        NamedVectors, PayloadSchemaType, PointStruct, PointVectors, PointsIdsList,
        PointsOperationResponse, PointsSelector, PointsUpdateOperation, ScrollPoints,
        SetPayloadPoints, UpdateBatchPoints, UpdatePointVectors, UpdateStatus, UpsertPoints,
        Vector, VectorParams, Vectors, VectorsConfig,
        points_selector::PointsSelectorOneOf,
        points_update_operation::{self as one, Operation},
        qdrant_client::QdrantClient,
        vector, vector_output, vectors_config,
    },
};
use serde_json::{Value as Json, json};
use tonic::Code;

use super::{UUID, channel, collections, id, places, points};
use crate::support::qdrant::QdrantServer;

fn c() -> String {
    "c".to_owned()
}

fn fields(json: Json) -> HashMap<String, qdrant_client::qdrant::Value> {
    Payload::try_from(json).unwrap().into()
}

fn vector(data: &[f32]) -> Vector {
    Vector {
        vector: Some(vector::Vector::Dense(DenseVector {
            data: data.to_vec(),
        })),
        ..Vector::default()
    }
}

fn these(ids: &[u64]) -> PointsSelector {
    let ids = ids.iter().map(|id| (*id).into()).collect();
    PointsSelector {
        points_selector_one_of: Some(PointsSelectorOneOf::Points(PointsIdsList { ids })),
    }
}

fn those(filter: Filter) -> PointsSelector {
    PointsSelector {
        points_selector_one_of: Some(PointsSelectorOneOf::Filter(filter)),
    }
}

fn upsert(points: Vec<PointStruct>) -> UpsertPoints {
    UpsertPoints {
        collection_name: c(),
        wait: Some(true),
        points,
        ..UpsertPoints::default()
    }
}

fn status(response: PointsOperationResponse) -> UpdateStatus {
    response.result.unwrap().status()
}

#[tokio::test]
async fn a_server_says_that_it_is_qdrant() {
    let server = QdrantServer::start().await;
    let mut client = QdrantClient::new(channel(&server).await);
    let reply = client.health_check(HealthCheckRequest {}).await.unwrap();
    assert!(reply.into_inner().title.starts_with("qdrant"));
}

#[tokio::test]
async fn a_collection_is_created_described_and_deleted() {
    let server = QdrantServer::start().await;
    let mut client = collections(&server).await;
    let params = VectorParams {
        size: 3,
        distance: Distance::Cosine.into(),
        ..VectorParams::default()
    };
    let config = VectorsConfig {
        config: Some(vectors_config::Config::Params(params)),
    };
    let create = CreateCollection {
        collection_name: c(),
        vectors_config: Some(config.clone()),
        ..CreateCollection::default()
    };
    assert!(
        client
            .create(create.clone())
            .await
            .unwrap()
            .into_inner()
            .result
    );
    let again = client.create(create).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    assert_eq!(
        again.message(),
        "Wrong input: Collection `c` already exists!"
    );

    server.insert("c", 1, json!({"at": 1}), None);
    server.insert("c", 2, json!({}), None);
    server.create_index("c", "at", FieldType::Geo);
    let get = GetCollectionInfoRequest {
        collection_name: c(),
    };
    let info = client.get(get.clone()).await.unwrap().into_inner();
    let info = info.result.unwrap();
    assert_eq!(info.status(), CollectionStatus::Green);
    assert_eq!(info.points_count, Some(2));
    assert_eq!(
        info.payload_schema["at"].data_type(),
        PayloadSchemaType::Geo
    );
    assert_eq!(info.payload_schema["at"].points, Some(1));
    let params = info.config.unwrap().params.unwrap();
    assert_eq!(params.vectors_config, Some(config));

    let list = client.list(ListCollectionsRequest {}).await.unwrap();
    assert_eq!(list.into_inner().collections[0].name, "c");
    let exists = CollectionExistsRequest {
        collection_name: c(),
    };
    let answer = client.collection_exists(exists.clone()).await.unwrap();
    assert!(answer.into_inner().result.unwrap().exists);
    let delete = DeleteCollection {
        collection_name: c(),
        ..DeleteCollection::default()
    };
    assert!(client.delete(delete).await.unwrap().into_inner().result);
    let answer = client.collection_exists(exists).await.unwrap();
    assert!(!answer.into_inner().result.unwrap().exists);
    let missing = client.get(get).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(
        missing.message(),
        "Not found: Collection `c` doesn't exist!"
    );
    assert_eq!(server.calls("GetCollection"), 2);
}

#[tokio::test]
async fn indexes_are_created_and_deleted() {
    let server = QdrantServer::start().await;
    server.create_collection("c", 1, Distance::Dot);
    let mut client = points(&server).await;
    let create = CreateFieldIndexCollection {
        collection_name: c(),
        wait: Some(true),
        field_name: "kind".to_owned(),
        field_type: Some(FieldType::Keyword.into()),
        ..CreateFieldIndexCollection::default()
    };
    let done = client.create_field_index(create).await.unwrap();
    assert_eq!(status(done.into_inner()), UpdateStatus::Completed);
    let get = GetCollectionInfoRequest {
        collection_name: c(),
    };
    let mut infos = collections(&server).await;
    let info = infos.get(get.clone()).await.unwrap().into_inner().result;
    let kind = info.unwrap().payload_schema["kind"].data_type();
    assert_eq!(kind, PayloadSchemaType::Keyword);
    let delete = DeleteFieldIndexCollection {
        collection_name: c(),
        field_name: "kind".to_owned(),
        ..DeleteFieldIndexCollection::default()
    };
    client.delete_field_index(delete).await.unwrap();
    let info = infos.get(get).await.unwrap().into_inner().result;
    assert!(info.unwrap().payload_schema.is_empty());
}

#[tokio::test]
async fn upserts_replace_points_and_normalise_for_cosine() {
    let server = QdrantServer::start().await;
    server.create_collection("c", 2, Distance::Cosine);
    let mut client = points(&server).await;
    let first = PointStruct::new(
        1,
        vec![3.0, 4.0],
        Payload::try_from(json!({"a": 1})).unwrap(),
    );
    let done = client.upsert(upsert(vec![first])).await.unwrap();
    assert_eq!(status(done.into_inner()), UpdateStatus::Completed);
    let without_vector = PointStruct {
        id: Some(UUID.to_uppercase().replace('-', "").into()),
        payload: fields(json!({"b": [1, 2.5, null, {"c": true}]})),
        vectors: Some(NamedVectors::default().into()),
    };
    let not_waiting = UpsertPoints {
        wait: None,
        ..upsert(vec![without_vector])
    };
    let done = client.upsert(not_waiting).await.unwrap();
    assert_eq!(status(done.into_inner()), UpdateStatus::Acknowledged);

    let get = GetPoints {
        collection_name: c(),
        ids: vec![UUID.into(), 7.into(), 1.into()],
        with_payload: Some(true.into()),
        with_vectors: Some(true.into()),
        ..GetPoints::default()
    };
    let mut found = client.get(get).await.unwrap().into_inner().result;
    assert_eq!(found.len(), 2, "unknown ids are left out");
    assert_eq!(id(found[0].id.clone().unwrap()), UUID, "in lower case");
    let wanted = json!({"b": [1, 2.5, null, {"c": true}]});
    assert_eq!(found[0].payload, fields(wanted));
    let vector = found.remove(1).vectors.unwrap().get_vector().unwrap();
    let normal = DenseVector {
        data: vec![0.6, 0.8],
    };
    assert_eq!(vector, vector_output::Vector::Dense(normal));

    let other = PointStruct::new(1, vec![1.0, 0.0], Payload::new());
    client.upsert(upsert(vec![other])).await.unwrap();
    assert_eq!(server.payload("c", 1), Some(json!({})));
    assert_eq!(server.points_count("c"), 2);
}

#[tokio::test]
async fn wrong_points_are_refused_and_nothing_is_written() {
    let server = QdrantServer::start().await;
    server.create_collection("c", 2, Distance::Dot);
    let mut client = points(&server).await;
    let good = || PointStruct::new(1, vec![1.0, 2.0], Payload::new());
    let of = |id: &str, vectors: Option<Vectors>| PointStruct {
        id: Some(id.to_owned().into()),
        vectors,
        ..PointStruct::default()
    };
    let named = HashMap::from([("other".to_owned(), vec![1.0, 2.0])]);
    let cases = [
        (
            of(UUID, Some(vec![1.0].into())),
            "Wrong input: Vector dimension error: expected dim: 2, got 1",
        ),
        (
            of(UUID, Some(named.into())),
            "Wrong input: Not existing vector name error: other",
        ),
        (of(UUID, None), "Expected some vectors"),
        (
            of("hotel-7", Some(vec![1.0, 2.0].into())),
            "Unable to parse UUID: hotel-7",
        ),
    ];
    for (wrong, message) in cases {
        let refused = client.upsert(upsert(vec![good(), wrong])).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.message(), message);
    }
    assert_eq!(server.points_count("c"), 0);
}

#[tokio::test]
async fn points_are_deleted_by_id_and_by_filter() {
    let (server, mut client) = places().await;
    let delete = |points| DeletePoints {
        collection_name: c(),
        points: Some(points),
        ..DeletePoints::default()
    };
    client.delete(delete(these(&[1, 99]))).await.unwrap();
    assert_eq!(server.points_count("c"), 3);
    let kind_a = Filter::must([Condition::matches("kind", "a".to_owned())]);
    client.delete(delete(those(kind_a))).await.unwrap();
    assert_eq!(server.points_count("c"), 2);
    assert!(server.payload("c", UUID).is_none());
}

#[tokio::test]
async fn payloads_are_set_overwritten_and_deleted() {
    let (server, mut client) = places().await;
    let write = |payload, points| SetPayloadPoints {
        collection_name: c(),
        payload: fields(payload),
        points_selector: Some(points),
        ..SetPayloadPoints::default()
    };
    let set = json!({"kind": "d", "text": null, "new": [1]});
    client.set_payload(write(set, these(&[3]))).await.unwrap();
    let wanted = json!({"kind": "d", "n": 3.5, "tags": [], "new": [1]});
    assert_eq!(server.payload("c", 3), Some(wanted));

    let kind_d = Filter::must([Condition::matches("kind", "d".to_owned())]);
    let over = write(json!({"only": {"a": 1, "b": 2}}), those(kind_d));
    client.overwrite_payload(over).await.unwrap();
    let delete = DeletePayloadPoints {
        collection_name: c(),
        keys: vec!["only.a".to_owned(), "absent".to_owned()],
        points_selector: Some(these(&[3])),
        ..DeletePayloadPoints::default()
    };
    client.delete_payload(delete).await.unwrap();
    assert_eq!(server.payload("c", 3), Some(json!({"only": {"b": 2}})));

    let missing = write(json!({}), these(&[9]));
    let missing = client.set_payload(missing).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(missing.message(), "Not found: No point with id 9 found");
}

#[tokio::test]
async fn vectors_are_updated_and_a_batch_of_updates_runs_in_its_order() {
    let (server, mut client) = places().await;
    let to = |point: u64, data: &[f32]| PointVectors {
        id: Some(point.into()),
        vectors: Some(vector(data).into()),
    };
    let update = UpdatePointVectors {
        collection_name: c(),
        points: vec![to(1, &[0.0, 2.0])],
        ..UpdatePointVectors::default()
    };
    client.update_vectors(update).await.unwrap();

    let operations = [
        Operation::Upsert(one::PointStructList {
            points: vec![PointStruct::new(5, vec![1.0, 1.0], Payload::new())],
            ..one::PointStructList::default()
        }),
        Operation::SetPayload(one::SetPayload {
            payload: fields(json!({"a": 1, "b": 2})),
            points_selector: Some(these(&[5])),
            ..one::SetPayload::default()
        }),
        Operation::DeletePayload(one::DeletePayload {
            keys: vec!["a".to_owned()],
            points_selector: Some(these(&[5])),
            ..one::DeletePayload::default()
        }),
        Operation::UpdateVectors(one::UpdateVectors {
            points: vec![to(5, &[7.0, 7.0])],
            ..one::UpdateVectors::default()
        }),
        Operation::OverwritePayload(one::OverwritePayload {
            payload: fields(json!({"over": true})),
            points_selector: Some(these(&[2])),
            ..one::OverwritePayload::default()
        }),
        Operation::DeletePoints(one::DeletePoints {
            points: Some(these(&[3])),
            ..one::DeletePoints::default()
        }),
    ];
    let batch = |operations: Vec<Operation>| UpdateBatchPoints {
        collection_name: c(),
        wait: Some(true),
        operations: operations
            .into_iter()
            .map(|operation| PointsUpdateOperation {
                operation: Some(operation),
            })
            .collect(),
        ..UpdateBatchPoints::default()
    };
    let done = client.update_batch(batch(operations.into())).await.unwrap();
    assert_eq!(done.into_inner().result.len(), 6);
    assert_eq!(server.payload("c", 5), Some(json!({"b": 2})));
    assert_eq!(server.payload("c", 2), Some(json!({"over": true})));
    assert_eq!(server.payload("c", 3), None);
    let get = GetPoints {
        collection_name: c(),
        ids: vec![1.into(), 5.into()],
        with_vectors: Some(true.into()),
        ..GetPoints::default()
    };
    let found = client.get(get).await.unwrap().into_inner().result;
    let of = |one: usize| found[one].vectors.clone().unwrap().get_vector();
    let dense = |data: Vec<f32>| Some(vector_output::Vector::Dense(DenseVector { data }));
    assert_eq!(of(0), dense(vec![0.0, 2.0]));
    assert_eq!(of(1), dense(vec![7.0, 7.0]));
    let cleared = Operation::ClearPayload(one::ClearPayload::default());
    let refused = client.update_batch(batch(vec![cleared])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}

#[tokio::test]
async fn points_are_scrolled_page_by_page_and_counted() {
    let (_server, mut client) = places().await;
    let mut request = ScrollPoints {
        collection_name: c(),
        limit: Some(2),
        with_payload: Some(vec!["kind"].into()),
        ..ScrollPoints::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = client.scroll(request.clone()).await.unwrap().into_inner();
        for point in page.result {
            assert_eq!(point.payload.len(), 1);
            seen.push(id(point.id.unwrap()));
        }
        match page.next_page_offset {
            Some(offset) => request.offset = Some(offset),
            None => break,
        }
    }
    assert_eq!(seen, ["1", "2", "3", UUID]);

    let count = |filter| CountPoints {
        collection_name: c(),
        filter,
        exact: Some(true),
        ..CountPoints::default()
    };
    let has_vector = Some(Filter::must([Condition::has_vector("")]));
    for (filter, wanted) in [(None, 4), (has_vector, 3)] {
        let answer = client.count(count(filter)).await.unwrap().into_inner();
        assert_eq!(answer.result.unwrap().count, wanted);
    }
}

#[tokio::test]
async fn calls_it_cannot_answer_are_refused_by_their_name() {
    let (server, mut client) = places().await;
    let refused = client.facet(FacetCounts::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("Facet"), "{refused}");
    assert_eq!(server.calls("Facet"), 1);
}
