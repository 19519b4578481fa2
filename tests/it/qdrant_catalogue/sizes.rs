//! Vectors of another size than the collection's.

use std::sync::Arc;

use recsys::{
    domain::{ids::UserId, item::Item, ranking_config::RankingConfig},
    engine::{
        Deadlines, Engine, EngineSettings, Generator, ListRequest, Ports, Recommendation,
        SignalsSource,
    },
    ports::{Deadline, ItemStore},
    proto::{self, ItemOutcome},
};
use tonic::Code;

use super::Shop;
use crate::support::{
    MemoryWorld,
    items::{half_circle, item},
    server::{NOW, TestServer, stored_like},
};

/// The half circle with vectors of three numbers.
fn in_space(count: usize) -> Vec<Item> {
    let flat = half_circle(count).into_iter();
    flat.map(|flat| {
        let vector = flat.vector.clone().unwrap();
        let built = item(flat.id.as_str()).vector(&[&*vector.to_vec(), &[0.5]].concat());
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
async fn an_item_of_another_vector_size_is_refused_with_both_sizes_and_the_collection_name() {
    let shop = Shop::with(half_circle(10)).await;
    let memory = TestServer::with_items(half_circle(10)).await;
    let collection = format!("collection {:?}", shop.collection());
    for (server, name) in [(&shop.server, &*collection), (&memory, "the catalogue")] {
        let error = refused(server).await;
        assert_eq!(error.code, Code::FailedPrecondition as i32);
        assert_eq!(error.reason, "WRONG_VECTOR_SIZE");
        assert_eq!(error.field, "items[1].vector");
        let message = format!("items[1].vector has 3 numbers, those of {name} have 2");
        assert_eq!(error.message, message);
    }
}

fn request() -> ListRequest {
    ListRequest::for_user(UserId::parse("u").unwrap(), 10)
}

fn by_taste(list: &Recommendation) -> usize {
    let mut generators = list.generators.iter();
    let taste = generators.find(|(generator, _)| *generator == Generator::Taste);
    taste.map_or(0, |(_, found)| *found)
}

#[tokio::test]
async fn a_collection_recreated_with_another_vector_size_is_noticed_while_running() {
    let shop = Shop::with(half_circle(60)).await;
    let config = RankingConfig::default();
    let world = MemoryWorld::new(NOW, &config, Vec::new());
    let ports = Ports {
        items: Arc::new(shop.store()),
        ..world.ports.clone()
    };
    let engine = Engine::new(ports, config, EngineSettings::default());
    let event = stored_like("u", "i010");
    engine.ingest(event, Deadline::NONE).await.unwrap();
    let list = engine.list(&request(), Deadlines::UNLIMITED).await.unwrap();
    assert_eq!(list.signals_source, SignalsSource::Materialized);
    assert!(by_taste(&list) > 0);

    shop.qdrant.drop_collection(shop.collection());
    let other = shop.store();
    other.prepare(Some(3)).await.unwrap();
    for stored in other.upsert(in_space(60)).await.unwrap() {
        stored.unwrap();
    }
    let list = engine.list(&request(), Deadlines::UNLIMITED).await.unwrap();
    assert!(list.degraded.is_empty(), "{:?}", list.degraded);
    assert_eq!(list.signals_source, SignalsSource::Rebuilt);
    assert!(by_taste(&list) > 0);
    let (model, source) = engine.signals(&UserId::parse("u").unwrap()).await.unwrap();
    assert_eq!(source, SignalsSource::Materialized, "it was stored");
    for vector in [&model.taste_vector, &model.recency_vector] {
        assert_eq!(vector.as_ref().unwrap().size(), 3);
    }
}

/// The size is known only with Qdrant's first reply: by then the model is read.
#[tokio::test]
async fn a_new_process_rebuilds_a_stored_model_of_another_vector_size_for_its_first_list() {
    let shop = Shop::with(half_circle(60)).await;
    let config = RankingConfig::default();
    let world = MemoryWorld::new(NOW, &config, in_space(60));
    let before = world.engine(config.clone());
    let event = stored_like("u", "i010");
    before.ingest(event, Deadline::NONE).await.unwrap();

    let ports = Ports {
        items: Arc::new(shop.store()),
        ..world.ports.clone()
    };
    let engine = Engine::new(ports, config, EngineSettings::default());
    let list = engine.list(&request(), Deadlines::UNLIMITED).await.unwrap();
    assert_eq!(list.signals_source, SignalsSource::Rebuilt);
    assert!(by_taste(&list) > 0);
}
