//! Vectors of another size than the collection's.

use std::sync::Arc;

use recsys::{
    domain::{ids::UserId, item::Item, ranking_config::RankingConfig, restriction::Restriction},
    engine::{Engine, EngineSettings, Patience, Ports, RecommendRequest, Source},
    ports::ItemStore,
    proto::{self, ItemOutcome, SignalsSource},
};
use tonic::Code;

use super::{Shop, wanted};
use crate::support::{
    MemoryWorld, catalogue,
    items::{half_circle, item},
    server::{NOW, TestServer, liked, stored_like},
};

/// The half circle in space: with one number more.
fn in_space(count: usize) -> Vec<Item> {
    let flat = half_circle(count).into_iter();
    flat.map(|flat| {
        let vector = flat.vector.clone().unwrap();
        let built = item(flat.id.as_str()).vector(&[vector.as_slice(), &[0.5]].concat());
        Item {
            tags: flat.tags,
            ..built.build()
        }
    })
    .collect()
}

async fn refused(server: &TestServer) -> proto::ErrorDetail {
    let with_vector = |id: &str, vector: &[f32]| proto::Item {
        content_id: id.to_owned(),
        vector: vector.to_vec(),
        ..proto::Item::default()
    };
    let request = proto::UpsertItemsRequest {
        items: vec![
            with_vector("fits", &[1.0, 2.0]),
            with_vector("does not", &[1.0, 2.0, 3.0]),
        ],
    };
    let reply = server.catalog().upsert_items(request).await.unwrap();
    let results = reply.into_inner().results;
    assert_eq!(results[0].outcome(), ItemOutcome::Stored);
    assert_eq!(results[1].outcome(), ItemOutcome::Rejected);
    results[1].error.clone().unwrap()
}

#[tokio::test]
async fn an_item_of_another_size_is_refused_with_both_sizes_and_the_collections_name() {
    let shop = Shop::with(half_circle(10)).await;
    let memory = TestServer::with_items(half_circle(10)).await;
    let collection = format!("collection {:?}", shop.collection());
    for (server, name) in [(&shop.server, &*collection), (&memory, "the catalogue")] {
        let error = refused(server).await;
        assert_eq!(error.code, Code::FailedPrecondition as i32);
        assert_eq!(error.reason, "WRONG_VECTOR_SIZE");
        assert_eq!(error.field, "items[1].vector");
        let told = format!("items[1].vector has 3 numbers, those of {name} have 2");
        assert_eq!(error.message, told);
    }
}

#[tokio::test]
async fn a_collection_made_anew_with_another_size_is_taken_up_while_running() {
    let shop = Shop::with(half_circle(60)).await;
    shop.server.ingest(liked("u", "i010")).await.unwrap();
    assert_eq!(shop.server.signals("u").await.0.taste_vector.len(), 2);
    shop.list("u").await.unwrap();

    shop.qdrant.drop_collection(shop.collection());
    let other = catalogue::store(&shop.qdrant.url(), &shop.settings);
    other.prepare(Some(3)).await.unwrap();
    for stored in other.upsert(in_space(60)).await.unwrap() {
        stored.unwrap();
    }
    let list = shop.list("u").await.unwrap();
    let diagnostics = list.diagnostics.clone().unwrap();
    assert!(diagnostics.degraded.is_empty(), "{diagnostics:?}");
    assert!(diagnostics.generators["taste"] > 0, "{diagnostics:?}");
    assert_eq!(diagnostics.signals_source(), SignalsSource::Rebuilt);
    assert!(list.items[0].breakdown["semantic"] > 0.1, "{list:?}");
    let (model, source) = shop.server.signals("u").await;
    assert_eq!(
        (model.taste_vector.len(), model.recency_vector.len()),
        (3, 3)
    );
    assert_eq!(source, SignalsSource::Materialized, "it was stored");
    let list = shop.server.recommend(wanted("u")).await.unwrap();
    let source = list.diagnostics.unwrap().signals_source();
    assert_eq!(source, SignalsSource::Materialized);
}

/// The size is known only with the first answer: by then the model is read.
#[tokio::test]
async fn a_new_process_rebuilds_a_stored_model_of_another_size_for_its_first_list() {
    let shop = Shop::with(half_circle(60)).await;
    let config = RankingConfig::default();
    let world = MemoryWorld::new(NOW, &config, in_space(60));
    let before = world.engine(config.clone());
    let ingested = before.ingest_batch(vec![stored_like("u", "i010")], super::AnswerBy::WHENEVER);
    ingested.await.unwrap()[0].clone().unwrap();

    let ports = Ports {
        items: Arc::new(catalogue::store(&shop.qdrant.url(), &shop.settings)),
        ..world.ports.clone()
    };
    let engine = Engine::new(ports, config, EngineSettings::default());
    let request = RecommendRequest {
        user: UserId::parse("u").unwrap(),
        limit: 10,
        restriction: Restriction::default(),
        near: None,
        exclude: Default::default(),
        seed: None,
    };
    let list = engine
        .recommend(&request, Patience::UNLIMITED)
        .await
        .unwrap();
    assert_eq!(list.signals_source, Source::Rebuilt);
    let taste = list.generators.iter().find(|(name, _)| *name == "taste");
    assert!(taste.is_some_and(|(_, found)| *found > 0), "{list:?}");
}
