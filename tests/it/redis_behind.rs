//! Models that are saved behind the acknowledgement of events: whatever happens in
//! between, each read has every acknowledged event.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use recsys::{
    adapters::{
        redis::{RedisPool, RedisSettings},
        system::SystemClock,
    },
    domain::{
        event::{EventLog, InteractionEvent, StoredEvent},
        event_member,
        ids::UserId,
        ranking_config::RankingConfig,
        signals,
        user_signals::UserSignals,
    },
    engine::{Engine, EngineSettings, Ports, SignalsSource as EngineSource},
    ports::{AppendOutcome, Clock, Deadline, ModelSlot},
    proto::{IngestOutcome, SignalsSource},
};

use crate::support::{
    MemoryWorld,
    items::half_circle,
    redis::{RedisServer, engine_saving_after, instance_saving_after, own_prefix, ports, shared},
    server::{NOW, liked, named},
    until,
};

/// Nothing is saved within a test.
const NEVER: Duration = Duration::from_secs(3_600);

fn id(user: &str) -> UserId {
    UserId::parse(user).unwrap()
}

fn world() -> MemoryWorld {
    MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(30))
}

fn event(user: &str, content_id: &str, event_id: &str) -> StoredEvent {
    let mut event = InteractionEvent::new(id(user), "CONTENT_VIEW_ENDED", SystemClock.now());
    event.content_id = Some(content_id.into());
    event.dwell_seconds = Some(60.0);
    event.event_id = Some(event_id.to_owned());
    event_member::encode(event).unwrap()
}

async fn ingest(engine: &Engine, event: &StoredEvent) -> AppendOutcome {
    let ingested = engine.ingest(event.clone(), Deadline::NONE).await;
    ingested.unwrap().outcome
}

#[tokio::test]
async fn a_process_killed_between_acknowledgement_and_save_loses_nothing() {
    let (redis, prefix) = (shared(), own_prefix());
    let killed = instance_saving_after(&redis.pool(), &prefix, NEVER).await;
    for number in ["1", "2"] {
        let reply = killed
            .ingest(named(number, liked("u", "i001")))
            .await
            .unwrap();
        assert_eq!(reply.outcome(), IngestOutcome::Accepted);
    }
    drop(killed);
    let umodel = format!("{prefix}umodel:u");
    assert_eq!(redis.cli(&["EXISTS", &umodel]), "0", "it was not saved");
    let other = instance_saving_after(&redis.pool(), &prefix, NEVER).await;
    let (model, source) = other.signals("u").await;
    assert_eq!((model.event_count, source), (2, SignalsSource::Rebuilt));
}

#[tokio::test]
async fn two_processes_that_take_turns_on_one_user_read_every_event() {
    let (redis, prefix) = (shared(), own_prefix());
    let instances = [
        instance_saving_after(&redis.pool(), &prefix, Duration::from_millis(5)).await,
        instance_saving_after(&redis.pool(), &prefix, NEVER).await,
    ];
    for number in 1..=60_u32 {
        let writer = &instances[number as usize % 2];
        let event = named(
            &number.to_string(),
            liked("u", &format!("i{:03}", number % 30)),
        );
        let reply = writer.ingest(event.clone()).await.unwrap();
        assert_eq!(reply.outcome(), IngestOutcome::Accepted, "{number}");
        assert_eq!(reply.buffered_events, number);
        for reader in &instances {
            assert_eq!(reader.signals("u").await.0.event_count, number);
        }
        // The other process finds the event, too.
        let again = instances[(number as usize + 1) % 2].ingest(event).await;
        assert_eq!(again.unwrap().outcome(), IngestOutcome::Duplicate);
    }
}

#[tokio::test]
async fn a_model_is_saved_after_the_interval_and_does_not_drift_until_then() {
    let (redis, prefix) = (shared(), own_prefix());
    let engine = engine_saving_after(ports(&redis.pool(), &prefix, &world()), NEVER);
    ingest(&engine, &event("u", "i001", "1")).await;
    let (first, source) = engine.signals(&id("u")).await.unwrap();
    assert_eq!(source, EngineSource::Rebuilt);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (again, source) = engine.signals(&id("u")).await.unwrap();
        assert_eq!((again, source), (first.clone(), EngineSource::Materialized));
    }
    let umodel = format!("{prefix}umodel:u");
    assert_eq!(redis.cli(&["EXISTS", &umodel]), "0");
    assert!(!engine.is_idle(), "a model waits to be saved");
    engine.finish().await;
    assert!(engine.is_idle());
    let (saved, source) = engine.signals(&id("u")).await.unwrap();
    assert_eq!((saved, source), (first, EngineSource::Materialized));
    assert_eq!(redis.cli(&["EXISTS", &umodel]), "1");

    // Without a read and without a stop.
    let soon = Duration::from_millis(20);
    let engine = engine_saving_after(ports(&redis.pool(), &prefix, &world()), soon);
    ingest(&engine, &event("v", "i001", "1")).await;
    let umodel = format!("{prefix}umodel:v");
    let is_saved = async || redis.cli(&["EXISTS", &umodel]) == "1";
    until("the model is saved", is_saved).await;
}

#[tokio::test]
async fn the_model_of_an_own_append_is_built_while_redis_is_asked_for_those_of_others() {
    let redis = RedisServer::start();
    let pool = RedisPool::new(&redis.url(), &RedisSettings::default()).unwrap();
    let engine = engine_saving_after(ports(&pool, "", &world()), NEVER);
    ingest(&engine, &event("u", "i001", "1")).await;
    redis.freeze();
    engine.signals(&id("u")).await.unwrap_err();
    redis.thaw();
    let (model, source) = loop {
        match engine.signals(&id("u")).await {
            Ok(read) => break read,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!((model.event_count, source), (1, EngineSource::Materialized));
}

#[tokio::test]
async fn a_stop_saves_what_waits() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance_saving_after(&redis.pool(), &prefix, NEVER).await;
    for user in 0..20 {
        server
            .ingest(liked(&format!("u{user}"), "i001"))
            .await
            .unwrap();
    }
    let umodel = |user| format!("{prefix}umodel:u{user}");
    assert_eq!(redis.cli(&["EXISTS", &umodel(7)]), "0");
    server.stopped().await.unwrap();
    for user in 0..20 {
        let model = redis.cli(&["GET", &umodel(user)]);
        assert!(model.contains(r#""event_count":1"#), "u{user}: {model}");
    }
}

#[tokio::test]
async fn without_an_interval_the_model_is_saved_before_the_acknowledgement() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance_saving_after(&redis.pool(), &prefix, Duration::ZERO).await;
    for count in 1..=3 {
        server
            .ingest(liked("u", &format!("i00{count}")))
            .await
            .unwrap();
        let model = redis.cli(&["GET", &format!("{prefix}umodel:u")]);
        assert!(
            model.contains(&format!(r#""event_count":{count}"#)),
            "{model}"
        );
        assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);
    }
}

#[tokio::test]
async fn a_full_queue_of_saves_loses_no_event() {
    const USERS: usize = 10_050;
    let world = world();
    let settings = EngineSettings {
        model_save_interval: NEVER,
        ..EngineSettings::default()
    };
    let engine = Engine::new(world.ports.clone(), RankingConfig::default(), settings);
    let stored = |user: usize| {
        let time = world.clock.now();
        let mut event = InteractionEvent::new(id(&format!("u{user}")), "T", time);
        event.content_id = Some("i001".into());
        event_member::encode(event).unwrap()
    };
    for users in (0..USERS).collect::<Vec<_>>().chunks(1_000) {
        let events = users.iter().map(|user| stored(*user)).collect();
        let results = engine.ingest_batch(events, Deadline::NONE).await.unwrap();
        assert!(results.iter().all(Result::is_ok));
    }
    let mut missing = Vec::new();
    engine.finish().await;
    for user in 0..USERS {
        let user = id(&format!("u{user}"));
        match world.ports.models.load(&user).await.unwrap() {
            ModelSlot::Present(model) => assert_eq!(model.signals.event_count, 1),
            ModelSlot::Missing | ModelSlot::Unreadable | ModelSlot::Erased(_) => {
                missing.push(user);
            }
        }
    }
    assert_eq!(missing.len(), USERS - 10_000);
    for user in missing {
        let (model, source) = engine.signals(&user).await.unwrap();
        assert_eq!((model.event_count, source), (1, EngineSource::Rebuilt));
    }
}

#[tokio::test]
async fn an_ingest_is_one_script_and_nothing_else() {
    let redis = RedisServer::start();
    let server = instance_saving_after(&redis.pool(), "", NEVER).await;
    let server = server.healthy().await;
    let commands = || {
        let stats = redis.cli(&["INFO", "commandstats"]);
        let own = ["config", "info", "client", "hello", "time", "unlink"];
        // The script's own commands are counted apart.
        let in_script = [
            "pexpiretime",
            "zcard",
            "zrangebyscore",
            "zadd",
            "zcount",
            "pexpireat",
        ];
        let mut sent = BTreeMap::new();
        for line in stats
            .lines()
            .filter_map(|line| line.strip_prefix("cmdstat_"))
        {
            let (name, rest) = line.split_once(":calls=").unwrap();
            let calls: usize = rest.split(',').next().unwrap().parse().unwrap();
            let name = name.split('|').next().unwrap();
            if !own.contains(&name) && !in_script.contains(&name) {
                *sent.entry(name.to_owned()).or_insert(0) += calls;
            }
        }
        sent
    };
    server.ingest(named("0", liked("u", "i001"))).await.unwrap();
    redis.cli(&["CONFIG", "RESETSTAT"]);
    for number in 1..=10 {
        server
            .ingest(named(&number.to_string(), liked("u", "i001")))
            .await
            .unwrap();
        server
            .ingest(named("1", liked(&format!("new{number}"), "i001")))
            .await
            .unwrap();
        let without_id = server.ingest(liked("v", &format!("i{number:03}"))).await;
        without_id.unwrap();
    }
    let expected = BTreeMap::from([("evalsha".to_owned(), 30)]);
    assert_eq!(commands(), expected);
    // A batch takes one for each user and hundred events.
    redis.cli(&["CONFIG", "RESETSTAT"]);
    let events = (0..300).map(|number| {
        let user = if number < 250 { "large" } else { "small" };
        named(&number.to_string(), liked(user, "i001"))
    });
    server.batch(events.collect()).await.unwrap();
    assert_eq!(commands(), BTreeMap::from([("evalsha".to_owned(), 4)]));
}

/// What each user of the model of the service should have.
struct Expected {
    ports: Ports,
    acknowledged: Vec<StoredEvent>,
}

impl Expected {
    async fn assert_read(&self, read: &UserSignals, step: usize) {
        let events: Vec<Arc<StoredEvent>> =
            self.acknowledged.iter().cloned().map(Arc::new).collect();
        if events.is_empty() {
            assert_eq!(*read, UserSignals::empty(id("u")), "step {step}");
            return;
        }
        let log = EventLog::new(events);
        let needed = signals::items_needed(&log);
        let items = self.ports.items.get(&needed, Deadline::NONE).await.unwrap();
        let items = items
            .into_iter()
            .flatten()
            .map(|item| (item.id().clone(), item))
            .collect();
        let built_at = read.built_at.unwrap();
        let config = RankingConfig::default();
        let rebuilt = signals::build(&id("u"), &log, &items, built_at, &config);
        assert_eq!(*read, rebuilt, "step {step}");
    }
}

#[tokio::test]
async fn whatever_two_processes_do_each_read_is_the_rebuild_of_what_was_acknowledged() {
    for seed in 0..6 {
        let (redis, prefix) = (shared(), own_prefix());
        let (pool, world) = (redis.pool(), world());
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |below: u32| random.next_u32() % below;
        let start = |interval| engine_saving_after(ports(&pool, &prefix, &world), interval);
        let mut engines = [start(NEVER), start(Duration::from_millis(1))];
        let mut expected = Expected {
            ports: ports(&pool, &prefix, &world),
            acknowledged: Vec::new(),
        };
        for step in 0..120 {
            let process = draw(2) as usize;
            let engine = &engines[process];
            match draw(20) {
                0..=8 => {
                    let item = format!("i{:03}", draw(30));
                    let event = event("u", &item, &step.to_string());
                    assert_eq!(ingest(engine, &event).await, AppendOutcome::Accepted);
                    expected.acknowledged.push(event);
                }
                9 if !expected.acknowledged.is_empty() => {
                    let known = draw(expected.acknowledged.len() as u32) as usize;
                    let again = expected.acknowledged[known].clone();
                    assert_eq!(ingest(engine, &again).await, AppendOutcome::Duplicate);
                }
                10..=15 => {
                    let (read, _) = engine.signals(&id("u")).await.unwrap();
                    expected.assert_read(&read, step).await;
                }
                16 => engine.finish().await,
                17 => engines[process] = start([NEVER, Duration::ZERO][draw(2) as usize]),
                18 => {
                    redis.cli(&["DEL", &format!("{prefix}umodel:u")]);
                }
                19 if draw(3) == 0 => {
                    let deleted = engine.delete_user(&id("u"), Deadline::NONE).await.unwrap();
                    assert!(deleted || expected.acknowledged.is_empty(), "step {step}");
                    expected.acknowledged.clear();
                }
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
        for engine in &engines {
            let (read, _) = engine.signals(&id("u")).await.unwrap();
            expected.assert_read(&read, 120).await;
        }
    }
}
