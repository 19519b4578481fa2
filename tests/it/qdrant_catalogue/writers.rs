//! Points that other programs write, too: their payloads and vectors are kept.

use std::collections::{HashMap, HashSet};

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
use recsys::{
    domain::{ids::ContentId, restriction::Restriction, vector::UnitVector},
    ports::{Deadline, Found, ItemStore, Search, SearchOrder},
};
use serde_json::json;
use tonic::transport::{Channel, Endpoint};

use super::{Shop, recommend_request};
use crate::support::{
    catalogue,
    items::item,
    qdrant::QdrantServer,
    server::{ids, liked},
};

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

/// Creates a collection with the items' vectors under this name, and a point
/// that also has vectors of every other kind.
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
        let read = store.get(&ids, Deadline::NONE).await.unwrap();
        let stored = read[0].as_ref().unwrap();
        assert_eq!(stored.vector().unwrap().to_vec(), [0.0, 1.0]);
        assert_eq!(stored.to_item().attributes["shelf"], json!(3));
        assert!(read[1].as_ref().unwrap().vector().is_none());

        // Also without its own vector, the point keeps the others.
        store.upsert(vec![item("7").build()]).await.unwrap();
        let read = store.get(&["7".into()], Deadline::NONE).await.unwrap();
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

/// A catalogue with 40 points under numbers, whose items are SKU-0, SKU-1, ...,
/// and an item that recsys wrote.
async fn with_foreign_keys() -> Shop {
    let shop = Shop::with(vec![item("own").vector(&[-1.0, 0.0]).build()]).await;
    for number in 0..40_u64 {
        let turn = number as f32 / 40.0;
        let payload = json!({
            "content_id": format!("SKU-{number}"), "title": format!("T{number}"),
            "tags": [{"facet": "Theme", "label": "Sea"}], "tag_labels": ["theme:sea"],
        });
        let vector = Some(vec![turn.cos(), turn.sin()]);
        shop.qdrant
            .insert(shop.collection(), 1_000 + number, payload, vector);
    }
    shop
}

fn sku(number: u64) -> ContentId {
    format!("SKU-{number}").as_str().into()
}

#[tokio::test]
async fn items_under_foreign_keys_are_found_by_their_ids() {
    let shop = with_foreign_keys().await;
    let store = shop.store();
    store.check().await.unwrap();
    shop.qdrant.reset_calls();
    let requested = [
        sku(3),
        "own".into(),
        "1003".into(),
        "nowhere".into(),
        sku(7),
    ];
    for _ in 0..2 {
        let found = store.get(&requested, Deadline::NONE).await.unwrap();
        let found = found.iter().zip(&requested).map(|(found, id)| {
            let found = found.as_ref()?;
            assert_eq!(found.id(), id);
            Some(found.title())
        });
        let found: Vec<_> = found.collect();
        assert_eq!(found, [Some("T3"), Some(""), None, None, Some("T7")]);
    }
    let calls = ["Scroll", "Get"].map(|rpc| shop.qdrant.calls(rpc));
    assert_eq!(calls, [1, 0], "one call, then they are cached");

    shop.server.ingest(liked("u", "SKU-5")).await.unwrap();
    let (model, _) = shop.server.signals("u").await;
    assert!(!model.taste_vector.is_empty(), "the event's item is found");
    let list = shop.list("u").await.unwrap();
    assert_eq!(list.items.len(), 10);
    assert!(!ids(&list).contains(&"SKU-5"), "{:?}", ids(&list));
    assert_eq!(list.items[0].similar_to, "SKU-5");

    shop.qdrant.stop();
    let known = store.cached(&requested);
    assert!(known[0].is_some() && known[1].is_some() && known[3].is_none());
}

#[tokio::test]
async fn items_under_foreign_keys_are_excluded_by_the_query() {
    let shop = with_foreign_keys().await;
    let store = shop.store();
    let (open, nothing) = (Restriction::default(), HashSet::new());
    let nearest: HashSet<ContentId> = (0..30).map(sku).collect();
    let search = |order, limit| Search {
        order,
        restriction: &open,
        exclude: &nearest,
        exclude_afterwards: &nothing,
        limit,
    };
    let direction = UnitVector::new(&[1.0, 0.0]).unwrap();
    let pinned = SearchOrder::Sample {
        seed: 1,
        pinned: true,
    };
    let searches = [
        search(SearchOrder::NearestTo(direction), 5),
        search(pinned, 20),
    ];
    let found = store.search(&searches, Deadline::NONE).await.unwrap();
    let found = found.into_iter().map(|found| match found {
        Found::Items(items) => items.iter().map(|item| item.id().clone()).collect(),
        Found::NoIndex | Found::Cached(_) => panic!("nothing is missing"),
    });
    let found: Vec<Vec<ContentId>> = found.collect();
    assert_eq!(found[0], [sku(30), sku(31), sku(32), sku(33), sku(34)]);
    assert_eq!(found[1].len(), 11, "all others");
}

#[tokio::test]
async fn items_under_foreign_keys_are_written_and_deleted_under_these_keys() {
    let shop = with_foreign_keys().await;
    let store = shop.store();
    let mut new = item("SKU-3").build();
    new.title = "new".to_owned();
    for stored in store.upsert(vec![new.clone(), new]).await.unwrap() {
        stored.unwrap();
    }
    assert_eq!(
        shop.qdrant.points_count(shop.collection()),
        41,
        "no second point"
    );
    let payload = shop.qdrant.payload(shop.collection(), 1_003).unwrap();
    assert_eq!(
        (&payload["title"], &payload["content_id"]),
        (&json!("new"), &json!("SKU-3"))
    );
    let read = store.get(&[sku(3)], Deadline::NONE).await.unwrap();
    assert_eq!(read[0].as_ref().unwrap().title(), "new");

    let requested = [sku(3), "own".into(), "nowhere".into(), sku(3)];
    let deleted = store.delete(&requested).await.unwrap();
    assert_eq!(deleted, [true, true, false, false]);
    assert!(shop.qdrant.payload(shop.collection(), 1_003).is_none());
    assert_eq!(shop.qdrant.points_count(shop.collection()), 39);
    let read = store.get(&requested, Deadline::NONE).await.unwrap();
    assert!(read.iter().all(Option::is_none), "{read:?}");
    // Added again, now under the key of its id.
    store.upsert(vec![item("SKU-3").build()]).await.unwrap();
    let read = store.get(&[sku(3)], Deadline::NONE).await.unwrap();
    assert!(read[0].is_some());
}

#[tokio::test]
async fn without_the_index_of_ids_foreign_keys_are_not_found() {
    let shop = with_foreign_keys().await;
    shop.qdrant.drop_index(shop.collection(), "content_id");
    let store = shop.store();
    let requested = ["own".into(), sku(3)];
    let read = store.get(&requested, Deadline::NONE).await.unwrap();
    assert!(read[0].is_some() && read[1].is_none());
    assert_eq!(store.delete(&[sku(3)]).await.unwrap(), [false]);
    let fresh = shop.another().await;
    let list = fresh.recommend(recommend_request("u")).await.unwrap();
    assert_eq!(list.items.len(), 10, "they are still recommended");
}
