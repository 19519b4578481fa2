//! A Qdrant that hangs beyond the callers' deadlines.

use std::time::Duration;

use recsys::{
    domain::ranking_config::RankingConfig,
    edge::settings::ServerSettings,
    engine::{Engine, EngineSettings, Ports},
    ports::{Deadline, ItemStore},
    proto::{self, IngestOutcome},
};
use tonic::{Code, Request, Status};

use super::{Shop, recommend_request};
use crate::support::{
    MemoryWorld, catalogue,
    items::half_circle,
    redis::{self, RedisServer},
    server::{NOW, TestServer, liked, reason},
};

/// Far shorter than the store's own timeout, and long enough for a busy machine.
const DEADLINE: Duration = Duration::from_secs(6);

fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

async fn list(server: &TestServer, user: &str) -> Result<proto::RecommendResponse, Status> {
    let list = server
        .recommender()
        .recommend(within(recommend_request(user)))
        .await?;
    Ok(list.into_inner())
}

fn all_ids(count: usize) -> proto::GetItemsRequest {
    proto::GetItemsRequest {
        content_ids: (0..count).map(|index| format!("i{index:03}")).collect(),
    }
}

#[tokio::test]
async fn calls_end_before_their_deadline_while_qdrant_hangs() {
    let shop = Shop::with(half_circle(100)).await;
    let fresh = shop.another().await;
    shop.server.ingest(liked("u", "i001")).await.unwrap();
    let mut catalog = shop.server.catalog();
    catalog.get_items(all_ids(100)).await.unwrap();

    shop.qdrant.hang();
    let mut recommender = shop.server.recommender();
    let event = proto::IngestEventRequest {
        event: Some(liked("v", "not known yet")),
    };
    let (known, unknown, event) = tokio::join!(
        list(&shop.server, "u"),
        list(&fresh, "u"),
        recommender.ingest_event(within(event)),
    );
    let known = known.unwrap();
    assert_eq!(known.items.len(), 10);
    assert_eq!(known.diagnostics.unwrap().degraded, ["catalogue"]);
    let status = unknown.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    let event = event.unwrap().into_inner();
    assert_eq!(event.outcome(), IngestOutcome::Accepted);
    shop.qdrant.heal();
}

#[tokio::test]
async fn a_list_meets_its_deadline_while_all_stores_hang() {
    let shop = Shop::with(half_circle(100)).await;
    let store = catalogue::store(&shop.qdrant.url(), &shop.settings);
    let ids: Vec<_> = (0..100)
        .map(|index| format!("i{index:03}").as_str().into())
        .collect();
    store.get(&ids, Deadline::NONE).await.unwrap();
    let redis = RedisServer::start();
    let config = RankingConfig::default();
    let world = MemoryWorld::new(NOW, &config, Vec::new());
    let ports = Ports {
        items: std::sync::Arc::new(store),
        ..redis::ports(&redis.pool(), "", &world)
    };
    let engine = Engine::new(ports, config, EngineSettings::default());
    let server = TestServer::serving(world, engine, ServerSettings::default()).await;
    server.ingest(liked("u", "i001")).await.unwrap();

    redis.freeze();
    shop.qdrant.hang();
    let list = list(&server, "u").await.unwrap();
    assert_eq!(list.items.len(), 10);
    let degraded = list.diagnostics.unwrap().degraded;
    assert_eq!(degraded, ["user_model", "associations", "catalogue"]);
}
