//! Catalogues that processes mirror, with the users' state and the stream of changes in a
//! real Redis.

use std::{sync::Arc, time::Duration};

use recsys::{
    adapters::{
        mirror::CatalogMirror,
        qdrant::QdrantSettings,
        redis::{ItemChanges, RedisPool, RedisSettings},
    },
    domain::{ranking_config::RankingConfig, tags::Canonicalizer},
    edge::settings::ServerSettings,
    engine::Ports,
    ports::ItemStore as _,
    proto,
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{assert_catalogue_unavailable, recommend_request};
use crate::support::{
    MemoryWorld, catalogue,
    items::half_circle,
    qdrant::QdrantServer,
    redis::{RedisServer, engine, own_prefix, pool, ports, shared},
    server::{NOW, TestServer, ids},
    until,
};

/// A Qdrant with 30 items, and the settings of the processes that use it.
struct Shop {
    qdrant: QdrantServer,
    settings: QdrantSettings,
    prefix: String,
}

/// A process with a mirror that is kept current in the background.
struct Process {
    server: TestServer,
    mirror: Arc<CatalogMirror>,
}

impl Shop {
    async fn open() -> Self {
        let shop = Self {
            qdrant: QdrantServer::start().await,
            settings: QdrantSettings {
                qdrant_timeout: Duration::from_secs(5),
                ..catalogue::own_settings()
            },
            prefix: own_prefix(),
        };
        let store = catalogue::store(&shop.qdrant.url(), &shop.settings);
        store.prepare(Some(2)).await.unwrap();
        for stored in store.upsert(half_circle(30)).await.unwrap() {
            stored.unwrap();
        }
        shop
    }

    async fn process(&self, redis: &RedisPool) -> Process {
        let world = MemoryWorld::new(NOW, &RankingConfig::default(), Vec::new());
        let store = catalogue::store(&self.qdrant.url(), &self.settings);
        let collection = &self.settings.collection_name;
        let changes = ItemChanges::new(redis.clone(), &self.prefix, collection);
        let mirror = catalogue::mirror(store, Some(changes), Canonicalizer::default());
        mirror.start(0.0);
        let ports = Ports {
            items: mirror.clone(),
            ..ports(redis, &self.prefix, &world)
        };
        let server = TestServer::serving(world, engine(ports), ServerSettings::default()).await;
        Process { server, mirror }
    }

    async fn full_process(&self, redis: &RedisPool) -> Process {
        let process = self.process(redis).await;
        until("the mirror is full", async || process.mirror.is_full()).await;
        process
    }
}

impl Process {
    async fn delete(&self, id: &str) {
        let request = proto::DeleteItemsRequest {
            content_ids: vec![id.to_owned()],
        };
        self.server.catalog().delete_items(request).await.unwrap();
    }

    /// A list of all items; with what it lacked.
    async fn list(&self) -> (Vec<String>, Vec<String>) {
        let request = proto::RecommendRequest {
            limit: 100,
            ..recommend_request("somebody")
        };
        let list = self.server.recommend(request).await.unwrap();
        let ids = ids(&list).into_iter().map(str::to_owned).collect();
        (ids, list.diagnostics.unwrap().degraded)
    }

    async fn until_gone(&self, id: &str) {
        let gone = async || !self.list().await.0.contains(&id.to_owned());
        until("the removed item is in no list", gone).await;
    }

    async fn readiness(&self) -> ServingStatus {
        let request = HealthCheckRequest {
            service: "readiness".to_owned(),
        };
        let reply = HealthClient::new(self.server.channel.clone())
            .check(request)
            .await;
        reply.unwrap().into_inner().status()
    }
}

#[tokio::test]
async fn an_item_that_one_process_removes_is_in_no_list_of_another() {
    let shop = Shop::open().await;
    let redis = shared().pool();
    let (one, other) = (
        shop.full_process(&redis).await,
        shop.full_process(&redis).await,
    );
    one.delete("i003").await;
    assert!(!one.list().await.0.contains(&"i003".to_owned()), "at once");
    other.until_gone("i003").await;
}

#[tokio::test]
async fn changes_that_redis_lost_are_found_by_a_comparison() {
    let shop = Shop::open().await;
    let redis = shared().pool();
    let process = shop.full_process(&redis).await;
    // Nobody announces this one, as if the entry was lost with the stream.
    let store = catalogue::store(&shop.qdrant.url(), &shop.settings);
    store.delete(&["i003".into()]).await.unwrap();
    let stream = format!(
        "{}item_changes:{}",
        shop.prefix, shop.settings.collection_name
    );
    assert_eq!(shared().cli(&["DEL", &stream]).trim(), "1");
    process.until_gone("i003").await;
}

#[tokio::test]
async fn a_change_is_announced_when_redis_is_back() {
    let shop = Shop::open().await;
    let mut redis = RedisServer::start();
    let settings = RedisSettings::default();
    let pool = pool(&redis.url(), settings);
    let (one, other) = (
        shop.full_process(&pool).await,
        shop.full_process(&pool).await,
    );
    redis.kill();
    one.delete("i003").await;
    assert!(!one.list().await.0.contains(&"i003".to_owned()), "at once");
    redis.restart();
    other.until_gone("i003").await;
}

#[tokio::test]
async fn a_qdrant_that_stops_after_the_start_is_answered_from_the_mirror() {
    let shop = Shop::open().await;
    let redis = shared().pool();
    let process = shop.full_process(&redis).await;
    assert_eq!(process.list().await.1, [""; 0]);
    let ready = async || process.readiness().await == ServingStatus::Serving;
    until("the service is ready", ready).await;
    shop.qdrant.stop();
    let degraded = async || process.list().await.1.contains(&"catalogue".to_owned());
    until("lists say so", degraded).await;
    assert_eq!(process.list().await.0.len(), 30);
    let request = proto::DeleteItemsRequest {
        content_ids: vec!["i003".into()],
    };
    let refused = process.server.catalog().delete_items(request).await;
    assert_catalogue_unavailable(&refused.unwrap_err());
    assert_eq!(process.readiness().await, ServingStatus::Serving);
    // What another process removes right after the outage is not missed.
    shop.qdrant.restart();
    let store = catalogue::store(&shop.qdrant.url(), &shop.settings);
    let removed = async || store.delete(&["i004".into()]).await.is_ok();
    until("qdrant answers", removed).await;
    process.until_gone("i004").await;
    let whole = async || process.list().await.1.is_empty();
    until("lists are not degraded", whole).await;
}

#[tokio::test]
async fn a_process_is_ready_when_its_mirror_is_full() {
    let shop = Shop::open().await;
    shop.qdrant
        .fail_rpc("Scroll", Code::Unavailable, "injected");
    let process = shop.process(&shared().pool()).await;
    let starting = process.mirror.check().await.unwrap_err();
    assert_eq!(starting.to_string(), "catalogue mirror has 0 of 30 items");
    assert_eq!(process.readiness().await, ServingStatus::NotServing);
    // An item by a number is not read by scrolling.
    let request = proto::GetItemsRequest {
        content_ids: vec!["7".into()],
    };
    let got = process.server.catalog().get_items(request).await.unwrap();
    assert!(got.into_inner().items.is_empty());
    shop.qdrant.heal();
    until("the mirror is full", async || process.mirror.is_full()).await;
    let ready = async || process.readiness().await == ServingStatus::Serving;
    until("the service is ready", ready).await;
    assert_eq!(process.list().await.0.len(), 30);
}
