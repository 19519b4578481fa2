//! The cases of `associations.json` through the engine: events in, rows, popularity and
//! scores out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use recsys::{
    domain::{
        associations::{AssociationsConfig, popularity_at},
        event::{InteractionEvent, StoredEvent},
        event_member,
        ids::{ContentId, UserId},
        item::Item,
        ranking::scorers::Scorer,
        ranking_config::RankingConfig,
        time::Timestamp,
    },
    engine::{Deadlines, Engine, ListRequest, Ports},
    ports::{Clock as _, Deadline, ListSlot, PopularityRanking},
};
use serde::Deserialize;

use crate::support::{MemoryWorld, redis};

const CASES: &str = include_str!("../fixtures/conformance/associations.json");
const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct CaseFile {
    cases: Vec<EngineCase>,
}

#[derive(Deserialize)]
struct EngineCase {
    name: String,
    constants: serde_json::Map<String, serde_json::Value>,
    now: f64,
    lists: BTreeMap<String, Vec<Engaged>>,
    expected: Values,
}

#[derive(Deserialize)]
struct Engaged {
    item: String,
    time: f64,
    strength: f64,
}

type Numbers = BTreeMap<String, f64>;

#[derive(Deserialize)]
struct Values {
    lists: BTreeMap<String, Vec<String>>,
    audiences: BTreeMap<String, Vec<String>>,
    rows: BTreeMap<String, Numbers>,
    popularity: Numbers,
    scores: BTreeMap<String, ListScores>,
}

#[derive(Deserialize)]
struct ListScores {
    hide_seen: Numbers,
}

#[expect(clippy::cast_possible_truncation, reason = "times of this century")]
fn time(seconds: f64) -> Timestamp {
    Timestamp::from_micros((seconds * 1e6).round() as i64)
}

impl EngineCase {
    fn config(&self) -> RankingConfig {
        let mut constants = self.constants.clone();
        let floor = constants.remove("floor").unwrap();
        constants.insert("score_floor".into(), floor);
        let mut config = RankingConfig {
            associations: serde_json::from_value(constants.into()).unwrap(),
            ..RankingConfig::default()
        };
        config.exploration.enabled = false;
        config.check().unwrap();
        config
    }

    fn events(&self) -> Vec<StoredEvent> {
        let of_user = |(user, list): (&String, &Vec<Engaged>)| {
            let event = |engaged: &Engaged| {
                let kind = if engaged.strength == 1.0 {
                    "like"
                } else {
                    "view"
                };
                let user = UserId::parse(user).unwrap();
                let mut event = InteractionEvent::new(user, kind, time(engaged.time));
                event.content_id = Some(engaged.item.as_str().into());
                event_member::encode(event).unwrap()
            };
            list.iter().map(event).collect::<Vec<_>>()
        };
        self.lists.iter().flat_map(of_user).collect()
    }

    fn items(&self) -> Vec<ContentId> {
        let items = self.lists.values().flatten();
        let items: BTreeSet<&str> = items.map(|engaged| engaged.item.as_str()).collect();
        items.into_iter().map(ContentId::from).collect()
    }

    fn compare(&self, what: &str, ours: &Numbers, expected: &Numbers) {
        let name = &self.name;
        assert!(
            ours.keys().eq(expected.keys()),
            "{name}, {what}: {ours:?} {expected:?}"
        );
        for (key, number) in expected {
            let difference = (ours[key] - number).abs();
            assert!(
                difference <= TOLERANCE,
                "{name}, {what}, {key}: {difference}"
            );
        }
    }

    async fn rebuild_users(&self, engine: &Engine) {
        for (user, list) in &self.lists {
            let user = UserId::parse(user).unwrap();
            assert_eq!(engine.rebuild_user(&user).await.unwrap(), !list.is_empty());
        }
    }

    async fn check(&self, ports: &Ports, engine: &Engine) {
        let config = AssociationsConfig::clone(&self.config().associations);
        for (user, expected) in &self.expected.lists {
            let user = UserId::parse(user).unwrap();
            let slots = ports.associations.lists(&[user]).await.unwrap();
            let ours: Vec<String> = match slots[0].present() {
                Some(list) => {
                    let list = list.list().unwrap();
                    list.iter().map(|entry| entry.item.to_owned()).collect()
                }
                None => Vec::new(),
            };
            assert_eq!(&ours, expected, "{}", self.name);
        }
        for (item, expected) in &self.expected.audiences {
            let item = ContentId::from(item.as_str());
            let audience = ports.associations.audience(&item, config.audience_max);
            let audience = audience.await.unwrap();
            let ours = audience.members().iter();
            let ours: Vec<&str> = ours.map(|member| member.user.as_str()).collect();
            assert_eq!(&ours, expected, "{}, {item}", self.name);
        }
        for (item, expected) in &self.expected.rows {
            let rows = ports
                .associations
                .rows(&[item.as_str().into()])
                .await
                .unwrap();
            let ours = rows[0].iter().flat_map(|row| row.iter());
            let ours = ours.map(|(id, weight)| (id.to_owned(), weight)).collect();
            self.compare(&format!("row of {item}"), &ours, expected);
        }
        let keys = ports.associations.popularity(PopularityRanking::Popular);
        let half_life = config.popularity_half_life_days;
        let ours = keys.await.unwrap().into_iter().map(|(item, key)| {
            let popularity = popularity_at(key, time(self.now), half_life);
            (item.to_string(), popularity)
        });
        self.compare("popularity", &ours.collect(), &self.expected.popularity);
        // An item that was cut from a list is seen nevertheless.
        let is_whole = |user: &str| self.lists[user].len() <= config.list_max;
        let scores = self.expected.scores.iter();
        for (user, expected) in scores.filter(|(user, _)| is_whole(user)) {
            let request = ListRequest {
                seed: Some(1),
                ..ListRequest::for_user(UserId::parse(user).unwrap(), 100)
            };
            let list = engine.list(&request, Deadlines::UNLIMITED).await.unwrap();
            assert_eq!(list.degraded, []);
            let parts = list.items.iter().filter_map(|item| {
                let part = item.scored.breakdown.part(Scorer::Collaborative)?;
                Some((item.scored.item.id().to_string(), part / 2.0))
            });
            let ours = parts.filter(|(_, score)| *score > 0.0).collect();
            self.compare(&format!("scores of {user}"), &ours, &expected.hide_seen);
        }
    }
}

fn synchronous(ports: Ports, config: RankingConfig) -> Engine {
    Engine::new(ports, config, MemoryWorld::settings())
}

fn world(case: &EngineCase) -> MemoryWorld {
    let items = case.items().into_iter();
    let items = items.map(|id| Item::new(id.as_str())).collect();
    let world = MemoryWorld::new("2026-06-10T12:00:00Z", &case.config(), items);
    world.clock.set(time(case.now));
    world
}

#[tokio::test]
async fn every_case_is_reproduced_by_ingesting_and_rebuilding() {
    let file: CaseFile = serde_json::from_str(CASES).unwrap();
    for case in &file.cases {
        let world = world(case);
        let engine = synchronous(world.ports.clone(), case.config());
        for event in case.events() {
            engine.ingest(event, Deadline::NONE).await.unwrap();
        }
        assert!(engine.refresh_associations().await.unwrap() > 0);
        // An audience that overflowed may lack members of before.
        case.rebuild_users(&engine).await;
        engine.rebuild_items(&case.items()).await.unwrap();
        case.check(&world.ports, &engine).await;
    }
    assert_eq!(file.cases.len(), 6);
}

#[tokio::test]
async fn every_case_without_overflow_is_reproduced_by_ingesting_and_refreshing() {
    let file: CaseFile = serde_json::from_str(CASES).unwrap();
    let fits = |case: &&EngineCase| {
        let config = case.config().associations;
        case.lists
            .values()
            .all(|list| list.len() <= config.list_max)
            && case.lists.len() <= config.audience_max
    };
    let mut checked = 0;
    for case in file.cases.iter().filter(fits) {
        let world = world(case);
        let engine = synchronous(world.ports.clone(), case.config());
        let mut events = case.events();
        events.reverse();
        for batch in events.chunks(7) {
            let results = engine.ingest_batch(batch.to_vec(), Deadline::NONE).await;
            assert!(results.unwrap().iter().all(Result::is_ok));
        }
        engine.refresh_associations().await.unwrap();
        case.check(&world.ports, &engine).await;
        assert_eq!(engine.refresh_associations().await.unwrap(), 0);
        checked += 1;
    }
    assert_eq!(checked, 4);
}

#[tokio::test]
async fn a_rebuild_from_events_makes_everything_that_was_lost() {
    let file: CaseFile = serde_json::from_str(CASES).unwrap();
    for case in &file.cases {
        let world = world(case);
        let engine = synchronous(world.ports.clone(), case.config());
        for event in case.events() {
            engine.ingest(event, Deadline::NONE).await.unwrap();
        }
        let budget = Arc::new(recsys::adapters::memory::Budget::new(64 << 20));
        let ports = Ports {
            associations: Arc::new(recsys::adapters::memory::MemoryAssociationStore::new(
                world.clock.clone(),
                crate::support::WINDOW,
                budget,
            )),
            ..world.ports.clone()
        };
        let engine = synchronous(ports.clone(), case.config());
        case.rebuild_users(&engine).await;
        engine.rebuild_items(&case.items()).await.unwrap();
        case.check(&ports, &engine).await;
    }
}

#[tokio::test]
async fn a_case_is_the_same_in_redis() {
    // Redis has its own clock: the case is moved to it.
    let file: CaseFile = serde_json::from_str(CASES).unwrap();
    let mut case = file.cases.into_iter().next().unwrap();
    for pool in [redis::shared().pool(), redis::shared_cluster().pool()] {
        let now = std::time::SystemTime::now();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as f64;
        let later = now - case.now;
        case.now = now;
        let lists = case.lists.values_mut().flatten();
        lists.for_each(|engaged| engaged.time += later);
        let world = world(&case);
        let ports = redis::ports(&pool, &redis::own_prefix(), &world);
        let engine = synchronous(ports.clone(), case.config());
        let events = case.events();
        for batch in events.chunks(100) {
            let results = engine.ingest_batch(batch.to_vec(), Deadline::NONE).await;
            assert!(results.unwrap().iter().all(Result::is_ok));
        }
        engine.refresh_associations().await.unwrap();
        // Popularity is of the moment of the refresh.
        case.expected.popularity.clear();
        let keys = ports.associations.popularity(PopularityRanking::Popular);
        let half_life = case.config().associations.popularity_half_life_days;
        for (item, key) in keys.await.unwrap() {
            let popularity = popularity_at(key, time(case.now), half_life);
            case.expected
                .popularity
                .insert(item.to_string(), popularity);
        }
        assert_eq!(
            case.expected.popularity.len(),
            case.expected.audiences.len()
        );
        case.check(&ports, &engine).await;
    }
}

fn event(user: &str, item: &str, at: Timestamp) -> StoredEvent {
    let user = UserId::parse(user).unwrap();
    let mut event = InteractionEvent::new(user, "like", at);
    event.content_id = Some(item.into());
    event_member::encode(event).unwrap()
}

/// Two users of two items, with their rows.
async fn two_users(ports: &Ports, now: Timestamp) -> Engine {
    let engine = synchronous(ports.clone(), RankingConfig::default());
    for (user, item, age) in [
        ("u", "a", 30),
        ("v", "a", 25),
        ("u", "b", 20),
        ("v", "c", 15),
    ] {
        let at = now.minus(Duration::from_secs(age));
        engine
            .ingest(event(user, item, at), Deadline::NONE)
            .await
            .unwrap();
    }
    engine.refresh_associations().await.unwrap();
    engine
}

async fn neighbors(ports: &Ports, item: &str) -> Vec<String> {
    let rows = ports.associations.rows(&[item.into()]).await.unwrap();
    let neighbors = rows[0].iter().flat_map(|row| row.iter());
    neighbors.map(|(id, _)| id.to_owned()).collect()
}

#[tokio::test]
async fn an_erased_user_leaves_audiences_at_once_and_rows_at_the_next_refresh() {
    let world = MemoryWorld::new(
        "2026-06-10T12:00:00Z",
        &RankingConfig::default(),
        Vec::new(),
    );
    let (ports, erased) = (&world.ports, UserId::parse("u").unwrap());
    let engine = two_users(ports, world.clock.now()).await;
    assert!(neighbors(ports, "a").await.contains(&"b".to_owned()));

    assert!(engine.delete_user(&erased, Deadline::NONE).await.unwrap());
    let items = ["a", "b", "c"].map(ContentId::from);
    let sizes = ports.associations.audience_sizes(&items).await.unwrap();
    assert_eq!(sizes, [1, 0, 1]);
    let slots = ports
        .associations
        .lists(std::slice::from_ref(&erased))
        .await
        .unwrap();
    assert!(matches!(slots[0], ListSlot::Erased(_)));

    world.clock.advance(Duration::from_secs(60));
    assert_eq!(engine.refresh_associations().await.unwrap(), 0);
    world.clock.advance(Duration::from_secs(1));
    assert!(engine.refresh_associations().await.unwrap() > 0);
    assert!(!neighbors(ports, "a").await.contains(&"b".to_owned()));
    assert!(neighbors(ports, "b").await.is_empty());
    assert!(
        !engine.delete_user(&erased, Deadline::NONE).await.unwrap(),
        "nothing is left"
    );
}

#[tokio::test]
async fn no_key_of_redis_holds_an_erased_user() {
    let world = MemoryWorld::new(
        "2026-06-10T12:00:00Z",
        &RankingConfig::default(),
        Vec::new(),
    );
    let (server, prefix) = (redis::shared(), redis::own_prefix());
    let ports = redis::ports(&server.pool(), &prefix, &world);
    let engine = synchronous(ports.clone(), RankingConfig::default());
    let now = ports.events.now().await.unwrap();
    for (user, item) in [("gone-user", "a"), ("stays", "a"), ("gone-user", "b")] {
        let at = now.minus(Duration::from_secs(5));
        engine
            .ingest(event(user, item, at), Deadline::NONE)
            .await
            .unwrap();
    }
    engine.refresh_associations().await.unwrap();
    assert!(
        engine
            .delete_user(&UserId::parse("gone-user").unwrap(), Deadline::NONE)
            .await
            .unwrap()
    );
    let keys = server.cli(&["KEYS", &format!("{prefix}*")]);
    for key in keys.lines() {
        let kind = server.cli(&["TYPE", key]);
        let value = match kind.as_str() {
            "zset" => server.cli(&["ZRANGE", key, "0", "-1"]),
            // Escaped: lists and rows are packed.
            _ => server.cli(&["--no-raw", "GET", key]),
        };
        let is_marker = key.ends_with("gone-user");
        assert!(!value.contains("gone-user"), "{key}: {value}");
        assert!(!is_marker || !value.contains("like"), "{key}: {value}");
    }
    assert!(keys.contains("aud:a") && !keys.contains("aud:b"), "{keys}");
}
