//! Points that other programs write, too: what they left is kept.

use std::collections::HashMap;

use qdrant_client::{
    Payload,
    qdrant::{
        CreateCollection, DenseVector, Distance, GetPoints, MultiDenseVector, MultiVectorConfig,
        NamedVectors, PointStruct, SparseVector, SparseVectorConfig, SparseVectorParams,
        UpsertPoints, Vector, VectorParams, VectorParamsMap, VectorsConfig,
        collections_client::CollectionsClient, points_client::PointsClient, vector, vector_output,
        vectors_config::Config,
    },
};
use recsys::ports::{AnswerBy, ItemStore};
use serde_json::json;
use tonic::transport::{Channel, Endpoint};

use crate::support::{catalogue, items::item, qdrant::QdrantServer};

async fn channel(server: &QdrantServer) -> Channel {
    let endpoint = Endpoint::from_shared(server.url()).unwrap();
    endpoint.connect().await.unwrap()
}

fn params(size: u64) -> VectorParams {
    VectorParams {
        size,
        distance: Distance::Dot.into(),
        ..VectorParams::default()
    }
}

fn of(vector: vector::Vector) -> Vector {
    Vector {
        vector: Some(vector),
        ..Vector::default()
    }
}

fn dense(data: &[f32]) -> DenseVector {
    DenseVector {
        data: data.to_vec(),
    }
}

/// Makes a collection with the items' vectors under this name, and a point in
/// it with vectors of every kind besides.
async fn with_other_vectors(server: &QdrantServer, collection: &str, name: &str) {
    let sparse = SparseVectorConfig {
        map: HashMap::from([("words".to_owned(), SparseVectorParams::default())]),
    };
    let several = VectorParams {
        multivector_config: Some(MultiVectorConfig::default()),
        ..params(2)
    };
    let mut vectors = HashMap::from([("words".to_owned(), of(vector::Vector::Sparse(words())))]);
    vectors.insert(
        name.to_owned(),
        of(vector::Vector::Dense(dense(&[1.0, 0.0]))),
    );
    let config = if name.is_empty() {
        Config::Params(params(2))
    } else {
        vectors.insert("late".to_owned(), of(vector::Vector::MultiDense(late())));
        vectors.insert("zoom".to_owned(), of(vector::Vector::Dense(dense(&ZOOM))));
        let named = [(name, params(2)), ("late", several), ("zoom", params(3))];
        let map = named.map(|(name, params)| (name.to_owned(), params));
        Config::ParamsMap(VectorParamsMap { map: map.into() })
    };
    let create = CreateCollection {
        collection_name: collection.to_owned(),
        vectors_config: Some(VectorsConfig {
            config: Some(config),
        }),
        sparse_vectors_config: Some(sparse),
        ..CreateCollection::default()
    };
    let mut collections = CollectionsClient::new(channel(server).await);
    collections.create(create).await.unwrap();
    let upsert = UpsertPoints {
        collection_name: collection.to_owned(),
        points: vec![PointStruct {
            id: Some(7.into()),
            payload: Payload::try_from(json!({"title": "old", "shelf": 3}))
                .unwrap()
                .into(),
            vectors: Some(NamedVectors { vectors }.into()),
        }],
        ..UpsertPoints::default()
    };
    let mut points = PointsClient::new(channel(server).await);
    points.upsert(upsert).await.unwrap();
}

const ZOOM: [f32; 3] = [1.0, 2.0, 3.0];

fn words() -> SparseVector {
    SparseVector {
        indices: vec![3, 700],
        values: vec![0.5, 0.25],
    }
}

fn late() -> MultiDenseVector {
    MultiDenseVector {
        vectors: vec![dense(&[1.0, 2.0]), dense(&[3.0, 4.0]), dense(&[5.0, 6.0])],
    }
}

#[tokio::test]
async fn writing_an_item_keeps_the_other_vectors_of_its_point() {
    for (name, plain) in [("", false), ("dense", false), ("dense", true)] {
        let server = QdrantServer::start().await;
        let settings = catalogue::own_settings();
        let collection = settings.collection_name.clone();
        with_other_vectors(&server, &collection, name).await;
        if plain {
            server.answer_plain_vectors();
        }
        let store = catalogue::store(&server.url(), &settings);
        // The second replaces what the first one wrote in the same call.
        let first = item("7").vector(&[1.0, 1.0]).build();
        let second = item("7").vector(&[0.0, 1.0]).build();
        for stored in store.upsert(vec![first, second]).await.unwrap() {
            stored.unwrap();
        }
        let bare = store.upsert(vec![item("8").build()]).await.unwrap();
        assert_eq!(bare, [Ok(())]);

        let get = GetPoints {
            collection_name: collection.clone(),
            ids: vec![7.into()],
            with_vectors: Some(true.into()),
            ..GetPoints::default()
        };
        let mut points = PointsClient::new(channel(&server).await);
        let found = points.get(get).await.unwrap().into_inner().result;
        let held = found[0].vectors.clone().unwrap();
        let held = |name: &str| held.get_vector_by_name(name);
        let expected = vector_output::Vector::Dense(dense(&[0.0, 1.0]));
        assert_eq!(held(name), Some(expected), "{name:?}");
        let expected = vector_output::Vector::Sparse(words());
        assert_eq!(held("words"), Some(expected), "{name:?}");
        if !name.is_empty() {
            let expected = vector_output::Vector::MultiDense(late());
            assert_eq!(held("late"), Some(expected));
            let expected = vector_output::Vector::Dense(dense(&ZOOM));
            assert_eq!(held("zoom"), Some(expected));
        }
        let ids = ["7".into(), "8".into()];
        let read = store.get(&ids, AnswerBy::WHENEVER).await.unwrap();
        let stored = read[0].as_ref().unwrap();
        assert_eq!(stored.vector().unwrap().as_slice(), [0.0, 1.0]);
        assert_eq!(stored.item().attributes["shelf"], json!(3));
        assert!(read[1].as_ref().unwrap().vector().is_none());

        // Without its own vector, too, the point keeps the others.
        store.upsert(vec![item("7").build()]).await.unwrap();
        let read = store.get(&["7".into()], AnswerBy::WHENEVER).await.unwrap();
        assert!(read[0].as_ref().unwrap().vector().is_none());
        let get = GetPoints {
            collection_name: collection,
            ids: vec![7.into()],
            with_vectors: Some(true.into()),
            ..GetPoints::default()
        };
        let found = points.get(get).await.unwrap().into_inner().result;
        let words_held = found[0]
            .vectors
            .clone()
            .unwrap()
            .get_vector_by_name("words");
        assert!(words_held.is_some(), "{name:?}");
    }
}
