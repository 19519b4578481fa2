//! Merging users, over every implementation of the stores.

mod calls;
mod contract;
mod faults;
mod model;
mod steps;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use recsys::{
    domain::{
        event::{InteractionEvent, StoredEvent},
        event_member,
        ids::UserId,
        ranking_config::RankingConfig,
        time::Timestamp,
    },
    engine::{Engine, MergedUsers, Ports},
    ports::Deadline,
};

use crate::support::{MemoryWorld, items::half_circle, redis, server::NOW};

fn id(user: &str) -> UserId {
    UserId::parse(user).unwrap()
}

/// An engine that saves models at once and refreshes no rows.
fn engine(ports: Ports) -> Engine {
    Engine::new(ports, RankingConfig::default(), MemoryWorld::settings())
}

/// The stores of one kind, with the time of their clock.
struct Stores {
    name: &'static str,
    ports: Ports,
    now: Timestamp,
    _world: MemoryWorld,
}

impl Stores {
    async fn memory() -> Self {
        let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(30));
        Self::new("memory", world.ports.clone(), world).await
    }

    async fn redis() -> Self {
        Self::on("redis", &redis::shared().pool()).await
    }

    async fn cluster() -> Self {
        Self::on("cluster", &redis::shared_cluster().pool()).await
    }

    async fn on(name: &'static str, pool: &recsys::adapters::redis::RedisPool) -> Self {
        let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(30));
        let ports = redis::ports(pool, &redis::own_prefix(), &world);
        Self::new(name, ports, world).await
    }

    async fn new(name: &'static str, ports: Ports, world: MemoryWorld) -> Self {
        Self {
            name,
            now: ports.events.now().await.unwrap(),
            ports,
            _world: world,
        }
    }

    async fn all() -> Vec<Self> {
        vec![
            Self::memory().await,
            Self::redis().await,
            Self::cluster().await,
        ]
    }

    fn like(&self, user: &str, item: &str, seconds_ago: u64) -> StoredEvent {
        self.named(user, item, seconds_ago, &format!("{item}-{seconds_ago}"))
    }

    fn named(&self, user: &str, item: &str, seconds_ago: u64, event_id: &str) -> StoredEvent {
        let at = self.now.minus(Duration::from_secs(seconds_ago));
        let mut event = InteractionEvent::new(id(user), "like", at);
        event.content_id = Some(item.into());
        event.event_id = Some(event_id.to_owned());
        event_member::encode(event).unwrap()
    }

    /// The ids of a user's events.
    async fn events(&self, user: &str) -> BTreeSet<String> {
        let snapshot = self.ports.events.read(&id(user)).await.unwrap();
        let ids: Vec<String> = snapshot
            .events
            .iter()
            .map(|stored| {
                assert_eq!(stored.event.user_id, id(user));
                stored.event.event_id.clone().unwrap()
            })
            .collect();
        let distinct: BTreeSet<String> = ids.iter().cloned().collect();
        assert_eq!(distinct.len(), ids.len(), "{}: {ids:?}", self.name);
        distinct
    }

    /// The users in the audience of an item.
    async fn audience(&self, item: &str) -> Vec<String> {
        let audience = self.ports.associations.audience(&item.into(), 500).await;
        let audience = audience.unwrap();
        let mut users: Vec<String> = audience
            .members()
            .iter()
            .map(|member| member.user.as_str().to_owned())
            .collect();
        users.sort();
        users
    }
}

async fn ingest(engine: &Engine, event: StoredEvent) {
    engine.ingest(event, Deadline::NONE).await.unwrap();
}

fn texts(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// A number that rises with each call, for names of users.
fn next() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Merges the first user into the second.
async fn merge(engine: &Engine, from: &str, into: &str) -> MergedUsers {
    let (from, into) = (id(from), id(into));
    let merged = engine.merge_users(&from, &into, Deadline::NONE);
    merged.await.unwrap()
}
