//! Concurrent calls about one user in a real Redis, and wrong clocks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use recsys::{
    adapters::system::SystemClock,
    domain::{
        event::{EventLog, StoredEvent},
        ids::UserId,
        ranking_config::RankingConfig,
        signals,
        time::Timestamp,
    },
    edge::settings::ServerSettings,
    engine::{Ports, SignalsSource as EngineSource},
    ports::{
        Clock, Deadline, Erasure, EventBuffer, ModelSlot, ModelStore, Rank, SaveOutcome,
        StoreError, StoredModel, Version, WaitingCaller,
    },
    proto::{self, IngestOutcome, SignalsSource},
};

use tokio::sync::Semaphore;

use crate::support::{
    DAY, MemoryWorld, WINDOW,
    items::half_circle,
    redis::{RedisServer, engine, event_buffer, instance, own_prefix, ports, shared},
    server::{NOW, TestServer, liked, named},
};

fn id(user: &str) -> UserId {
    UserId::parse(user).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_of_one_user_on_two_instances_agree() {
    let (redis, prefix) = (shared(), own_prefix());
    let instances = [
        instance(&redis.pool(), &prefix).await,
        instance(&redis.pool(), &prefix).await,
    ];
    let mut writers = Vec::new();
    for writer in 0..8 {
        let mut client = instances[writer % 2].recommender();
        let mut reader = instances[(writer + 1) % 2].recommender();
        writers.push(tokio::spawn(async move {
            for number in 0..40 {
                let event = Some(named(
                    &format!("{writer}-{number}"),
                    liked("u", &format!("i{:03}", number % 20)),
                ));
                let reply = client
                    .ingest_event(proto::IngestEventRequest { event })
                    .await
                    .unwrap()
                    .into_inner();
                assert_eq!(reply.outcome(), IngestOutcome::Accepted);
                let request = proto::GetUserSignalsRequest {
                    user_id: "u".into(),
                    include_vectors: false,
                };
                let model = reader
                    .get_user_signals(request)
                    .await
                    .unwrap()
                    .into_inner()
                    .signals
                    .unwrap();
                assert!(
                    model.event_count >= reply.buffered_events,
                    "an acknowledged event is in the next model"
                );
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(redis.cli(&["ZCARD", &format!("{prefix}evt:u")]), "320");

    let world = &instances[0].world;
    let ports = ports(&redis.pool(), &prefix, world);
    let (stored, source) = engine(ports.clone()).signals(&id("u")).await.unwrap();
    assert_eq!(source, EngineSource::Materialized, "the stored model");
    let snapshot = ports.events.read(&id("u")).await.unwrap();
    let log = EventLog::new(snapshot.events);
    let items = ports
        .items
        .get(&signals::items_needed(&log), Deadline::NONE)
        .await
        .unwrap()
        .into_iter()
        .flatten()
        .map(|item| (item.id().clone(), item))
        .collect();
    let rebuilt = signals::build(
        &id("u"),
        &log,
        &items,
        stored.built_at.unwrap(),
        &RankingConfig::default(),
    );
    assert_eq!(
        *stored, rebuilt,
        "the stored model is its rebuild as of built_at"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_among_appends_leaves_a_copy_that_they_keep_current() {
    let (redis, prefix) = (shared(), own_prefix());
    let stored = |number: usize| -> StoredEvent {
        let now = SystemClock.now();
        let mut event = recsys::domain::event::InteractionEvent::new(id("u"), "T", now);
        event.event_id = Some(format!("{number}"));
        recsys::domain::event_member::encode(event).unwrap()
    };
    let caller = WaitingCaller::without_deadline();
    // More events than an append reads to have a copy.
    let first: Vec<StoredEvent> = (0..600).map(stored).collect();
    let other_process = event_buffer(&redis.pool(), &prefix, WINDOW, 5_000);
    let appended = other_process.append(&id("u"), &first, &caller).await;
    assert_eq!(appended.unwrap().buffered_events, 600);

    let buffer = event_buffer(&redis.pool(), &prefix, WINDOW, 5_000);
    let (appends, is_over) = (
        Arc::new(AtomicUsize::new(600)),
        Arc::new(AtomicBool::new(false)),
    );
    let mut writers = Vec::new();
    for _ in 0..4 {
        let (buffer, appends, is_over) = (buffer.clone(), appends.clone(), is_over.clone());
        writers.push(tokio::spawn(async move {
            let caller = WaitingCaller::without_deadline();
            while !is_over.load(Ordering::SeqCst) {
                let event = stored(appends.fetch_add(1, Ordering::SeqCst));
                buffer.append(&id("u"), &[event], &caller).await.unwrap();
            }
        }));
    }
    let more_appends = async || {
        let before = appends.load(Ordering::SeqCst);
        while appends.load(Ordering::SeqCst) < before + 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    more_appends().await;
    let observed = buffer.version(&id("u")).await.unwrap();
    assert!(buffer.known(&id("u"), &observed).is_none(), "no copy yet");
    buffer.read(&id("u")).await.unwrap();
    more_appends().await;
    is_over.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    let observed = buffer.version(&id("u")).await.unwrap();
    let known = buffer.known(&id("u"), &observed).expect("a copy");
    assert_eq!(known.events.len(), appends.load(Ordering::SeqCst));
}

#[tokio::test]
async fn an_instance_that_dies_between_append_and_save_loses_nothing() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    server.ingest(liked("u", "i001")).await.unwrap();
    // The append of another instance that dies before its refresh.
    let buffer = event_buffer(&redis.pool(), &prefix, WINDOW, 5_000);
    let mut event = recsys::domain::event::InteractionEvent::new(id("u"), "T", SystemClock.now());
    event.content_id = Some("i002".into());
    let event: StoredEvent = recsys::domain::event_member::encode(event).unwrap();
    let caller = WaitingCaller::without_deadline();
    buffer.append(&id("u"), &[event], &caller).await.unwrap();
    let (model, source) = server.signals("u").await;
    assert_eq!((model.viewed.len(), source), (2, SignalsSource::Rebuilt));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn erasing_during_refreshes_restores_no_user() {
    let (redis, prefix) = (shared(), own_prefix());
    let instances = [
        instance(&redis.pool(), &prefix).await,
        instance(&redis.pool(), &prefix).await,
    ];
    for round in 0..20 {
        let user = format!("u{round}");
        let mut writers = Vec::new();
        for writer in 0..6 {
            let mut client = instances[writer % 2].recommender();
            let event = Some(named(&writer.to_string(), liked(&user, "i001")));
            writers.push(tokio::spawn(async move {
                client
                    .ingest_event(proto::IngestEventRequest { event })
                    .await
                    .unwrap();
            }));
        }
        instances[0].delete(&user).await;
        for writer in writers {
            writer.await.unwrap();
        }
        instances[1].delete(&user).await;
        for instance in &instances {
            assert_eq!(instance.signals(&user).await.1, SignalsSource::Empty);
        }
        assert_eq!(redis.events(&format!("{prefix}evt:{user}")), 0);
        let left = redis.cli(&["GET", &format!("{prefix}umodel:{user}")]);
        assert!(
            left.is_empty() || left.contains("\"erased\":true"),
            "{left}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deleting_all_models_under_load_fails_no_call() {
    const USERS: usize = 20;
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    let models: Vec<String> = (0..USERS)
        .map(|user| format!("{prefix}umodel:u{user}"))
        .collect();
    let delete_all = || {
        let keys = models.iter().map(String::as_str);
        redis.cli(&std::iter::once("DEL").chain(keys).collect::<Vec<_>>())
    };
    let under_load = Arc::new(AtomicBool::new(true));
    let load: Vec<_> = (0..8)
        .map(|writer| {
            let mut client = server.recommender();
            let under_load = under_load.clone();
            tokio::spawn(async move {
                let mut sent = 0;
                while under_load.load(Ordering::Relaxed) || sent < 50 {
                    let user = format!("u{}", (writer + sent) % USERS);
                    let event = named(&format!("{writer}-{sent}"), liked(&user, "i001"));
                    let request = proto::IngestEventRequest { event: Some(event) };
                    let taken = client.ingest_event(request).await.unwrap().into_inner();
                    assert_eq!(taken.outcome(), IngestOutcome::Accepted);
                    let request = proto::GetUserSignalsRequest {
                        user_id: user,
                        include_vectors: false,
                    };
                    let read = client.get_user_signals(request).await.unwrap().into_inner();
                    let known = read.signals.unwrap().event_count;
                    assert!(known >= taken.buffered_events, "the event is in the model");
                    sent += 1;
                }
            })
        })
        .collect();
    for _ in 0..50 {
        delete_all();
    }
    under_load.store(false, Ordering::Relaxed);
    for writer in load {
        writer.await.unwrap();
    }
    for user in 0..USERS {
        server.signals(&format!("u{user}")).await;
    }
    assert_eq!(delete_all(), USERS.to_string(), "every user has a model");
    for user in 0..USERS {
        let source = server.signals(&format!("u{user}")).await.1;
        assert_eq!(source, SignalsSource::Rebuilt, "u{user}");
    }
}

#[tokio::test]
async fn processes_with_wrong_clocks_agree_with_redis() {
    let (redis, prefix) = (shared(), own_prefix());
    let real = SystemClock.now();
    let clocks = [real.plus(40 * DAY), real.minus(Duration::from_secs(7_200))];
    let mut instances = vec![instance(&redis.pool(), &prefix).await];
    for clock in clocks {
        // The process's own clock: no user state may depend on it.
        let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(30));
        world.clock.set(clock);
        let engine = engine(ports(&redis.pool(), &prefix, &world));
        instances.push(TestServer::serving(world, engine, ServerSettings::default()).await);
    }
    let at = |ago: Duration| Some((SystemTime::now() - ago).into());
    let mut sent = 0;
    for round in 0..6 {
        for (number, server) in instances.iter().enumerate() {
            for (ago, expected) in [
                (Some(Duration::ZERO), IngestOutcome::Accepted),
                (Some(29 * DAY), IngestOutcome::Accepted),
                (Some(31 * DAY), IngestOutcome::OutsideWindow),
                (None, IngestOutcome::Accepted),
            ] {
                let event = proto::InteractionEvent {
                    event_time: ago.and_then(at),
                    ..named(&format!("{round}-{number}-{ago:?}"), liked("u", "i001"))
                };
                let reply = server.ingest(event).await.unwrap();
                assert_eq!(reply.outcome(), expected, "instance {number}, {ago:?} ago");
                sent += u32::from(expected == IngestOutcome::Accepted);
                assert_eq!(reply.buffered_events, sent, "nothing is pruned");
            }
            for reader in &instances {
                let (model, source) = reader.signals("u").await;
                assert_eq!(
                    (model.event_count, source),
                    (sent, SignalsSource::Materialized),
                    "every save succeeds"
                );
                let built_at = model.built_at.unwrap().seconds;
                let now = SystemClock.now().as_millis() / 1_000;
                assert!((now - built_at).abs() < 600, "{built_at} is not {now}");
            }
        }
    }
    let newest = redis.cli(&[
        "ZRANGE",
        &format!("{prefix}evt:u"),
        "-1",
        "-1",
        "WITHSCORES",
    ]);
    let newest: f64 = newest.lines().last().unwrap().parse().unwrap();
    let now = SystemClock.now().as_millis() as f64 / 1e3;
    assert!((now - newest).abs() < 600.0, "stamped by Redis's clock");
}

#[tokio::test]
async fn a_clock_of_redis_that_ran_back_loses_nothing() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    let evt = format!("{prefix}evt:u");
    server.ingest(liked("u", "i001")).await.unwrap();
    // As if the last append were made 40 days from now.
    let expiry: u64 = redis.cli(&["PEXPIRETIME", &evt]).parse().unwrap();
    let ahead = expiry + 40 * 86_400_000;
    redis.cli(&["PEXPIREAT", &evt, &ahead.to_string()]);
    server.ingest(liked("u", "i002")).await.unwrap();
    assert_eq!(
        redis.cli(&["PEXPIRETIME", &evt]),
        (ahead + 1).to_string(),
        "the version still rises"
    );
    assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);

    // As if a failover had lost that append, and the new master's clock were
    // behind: the model has a higher version than the buffer will have.
    redis.cli(&["PEXPIREAT", &evt, &expiry.to_string()]);
    for (item, expected) in [
        ("i003", SignalsSource::Rebuilt),
        ("i004", SignalsSource::Materialized),
    ] {
        server.ingest(liked("u", item)).await.unwrap();
        let (model, source) = server.signals("u").await;
        assert!(model.viewed.contains(&item.to_owned()), "{item} is lost");
        // A model without a buffer is replaced permanently.
        assert_eq!(source, expected, "{item}");
        assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);
    }
}

#[tokio::test]
async fn an_event_outside_the_window_does_not_make_a_buffer_lose_its_version() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    let evt = format!("{prefix}evt:u");
    server.ingest(liked("u", "i001")).await.unwrap();
    let version = redis.cli(&["PEXPIRETIME", &evt]);
    // As if a window had passed since that event.
    let member = redis.cli(&["ZRANGE", &evt, "0", "0"]);
    redis.cli(&["ZADD", &evt, "1000000000", &member]);
    let old = proto::InteractionEvent {
        event_time: Some((SystemTime::now() - 31 * DAY).into()),
        ..liked("u", "i002")
    };
    let reply = server.ingest(old).await.unwrap();
    assert_eq!(
        (reply.outcome(), reply.buffered_events),
        (IngestOutcome::OutsideWindow, 0)
    );
    assert_eq!(redis.cli(&["PEXPIRETIME", &evt]), version);
    server.ingest(liked("u", "i003")).await.unwrap();
    assert_eq!(
        redis.cli(&["ZCARD", &evt]),
        "1",
        "pruned by the accepted event"
    );
}
#[tokio::test]
async fn the_next_ingest_sees_what_other_programs_wrote_without_a_new_version() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    server.ingest(liked("u", "i001")).await.unwrap();
    let member = r#"{"event":"T","content_id":"i007"}"#;
    let score = (SystemClock.now().as_millis() / 1_000).to_string();
    redis.cli(&["ZADD", &format!("{prefix}evt:u"), &score, member]);
    server.ingest(liked("u", "i002")).await.unwrap();
    let (model, source) = server.signals("u").await;
    assert_eq!(
        (model.viewed, source),
        (
            vec!["i001".into(), "i002".into(), "i007".into()],
            SignalsSource::Materialized
        )
    );
}

/// A model store whose saves wait until they are released.
struct HeldSaves {
    inner: Arc<dyn ModelStore>,
    waiting: Semaphore,
    released: Semaphore,
}

#[async_trait]
impl ModelStore for HeldSaves {
    async fn load(&self, user: &UserId) -> Result<ModelSlot, StoreError> {
        self.inner.load(user).await
    }
    async fn stored(&self, user: &UserId) -> Result<Option<String>, StoreError> {
        self.inner.stored(user).await
    }
    async fn save(
        &self,
        user: &UserId,
        model: &StoredModel,
        instead_of: Option<Rank>,
        read_at: Timestamp,
    ) -> Result<SaveOutcome, StoreError> {
        self.waiting.add_permits(1);
        self.released.acquire().await.unwrap().forget();
        self.inner.save(user, model, instead_of, read_at).await
    }
    async fn erase(
        &self,
        user: &UserId,
        erasure: &Erasure,
        read_at: Timestamp,
    ) -> Result<Option<bool>, StoreError> {
        self.inner.erase(user, erasure, read_at).await
    }
    async fn remove_copied(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let models = &self.inner;
        models.remove_copied(user, version, read_at).await
    }
}

#[tokio::test]
async fn a_save_in_flight_does_not_restore_an_erased_user() {
    let (redis, prefix) = (shared(), own_prefix());
    let other = instance(&redis.pool(), &prefix).await;
    for kind in ["with expiry", "erased twice", "without expiry"] {
        let user = format!("erased {kind}");
        let evt = format!("{prefix}evt:{user}");
        other.ingest(liked(&user, "i001")).await.unwrap();
        if kind == "without expiry" {
            // As the reference engine may have left it.
            redis.cli(&["PERSIST", &evt]);
            redis.cli(&["DEL", &format!("{prefix}umodel:{user}")]);
        }
        let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(30));
        let ports = ports(&redis.pool(), &prefix, &world);
        let held = Arc::new(HeldSaves {
            inner: ports.models.clone(),
            waiting: Semaphore::new(0),
            released: Semaphore::new(0),
        });
        let engine = engine(Ports {
            models: held.clone(),
            ..ports
        });
        let server = TestServer::serving(world, engine, ServerSettings::default()).await;
        let mut client = server.recommender();
        let in_flight = if kind == "without expiry" {
            let request = proto::GetUserSignalsRequest {
                user_id: user.clone(),
                include_vectors: false,
            };
            tokio::spawn(async move { client.get_user_signals(request).await.map(|_| ()) })
        } else {
            let event = Some(liked(&user, "i002"));
            let request = proto::IngestEventRequest { event };
            tokio::spawn(async move { client.ingest_event(request).await.map(|_| ()) })
        };
        held.waiting.acquire().await.unwrap().forget();
        assert!(other.delete(&user).await);
        if kind == "erased twice" {
            other.delete(&user).await;
        }
        held.released.add_permits(1);
        in_flight.await.unwrap().unwrap();
        assert_eq!(other.signals(&user).await.1, SignalsSource::Empty, "{kind}");
        let left = redis.cli(&["GET", &format!("{prefix}umodel:{user}")]);
        assert!(left.ends_with(r#""erased":true}"#), "{kind}: {left}");
        let lives_ms: u64 = redis
            .cli(&["PTTL", &format!("{prefix}umodel:{user}")])
            .parse()
            .unwrap();
        assert!((1..=60_000).contains(&lives_ms), "{lives_ms}");
        assert_eq!(redis.events(&evt), 0, "{kind}");
    }
}

#[tokio::test]
async fn an_erasure_leaves_three_markers_without_data_for_a_minute_and_nothing_else() {
    let redis = RedisServer::start();
    // A tenant's data has a prefix before that of the settings' keys.
    for prefix in ["", "recsys:", "shop:", "recsys:shop:"] {
        let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(30));
        let ports = ports(&redis.pool(), prefix, &world);
        let held = Arc::new(HeldSaves {
            inner: ports.models.clone(),
            waiting: Semaphore::new(0),
            released: Semaphore::new(1),
        });
        let engine = engine(Ports {
            models: held.clone(),
            ..ports
        });
        let server = TestServer::serving(world, engine, ServerSettings::default()).await;
        let server = server.healthy().await;
        server.ingest(liked("zaphod42", "i001")).await.unwrap();
        held.waiting.acquire().await.unwrap().forget();
        // The buffer, the model, the interest list, and the audience of the item.
        assert_eq!(redis.cli(&["DBSIZE"]), "4");

        let mut client = server.recommender();
        let event = Some(liked("zaphod42", "i002"));
        let request = proto::IngestEventRequest { event };
        let in_flight = tokio::spawn(async move { client.ingest_event(request).await.map(|_| ()) });
        held.waiting.acquire().await.unwrap().forget();
        assert!(server.delete("zaphod42").await);
        held.released.add_permits(1);
        in_flight.await.unwrap().unwrap();

        let keys = ["evt", "lst", "umodel"].map(|kind| format!("{prefix}{kind}:zaphod42"));
        let mut left: Vec<String> = redis.cli(&["KEYS", "*"]).lines().map(Into::into).collect();
        left.sort();
        assert_eq!(left, keys, "the only keys");
        let [evt, _, umodel] = &keys;
        let marker = redis.cli(&["GET", umodel]);
        let rank = marker
            .strip_prefix(r#"{"version":""#)
            .and_then(|rest| rest.strip_suffix(r#"","erased":true}"#))
            .unwrap_or_else(|| panic!("{marker}"));
        let (version, at) = rank.split_once('-').unwrap();
        for number in [version, at] {
            assert!(number.len() == 17 && number.bytes().all(|byte| byte.is_ascii_digit()));
        }
        // Both hold the same version and time.
        let member = format!(r#"{{"erased":true,"at":"{at}","version":"{version}"}}"#);
        let members = redis.cli(&["ZRANGE", evt, "0", "-1", "WITHSCORES"]);
        assert_eq!(members, format!("{member}\n0"));
        for key in &keys {
            let lives_ms: u64 = redis.cli(&["PTTL", key]).parse().unwrap();
            assert!((1..=60_000).contains(&lives_ms), "{lives_ms}");
        }

        // Later models are built from later events only.
        held.released.add_permits(2);
        server.ingest(liked("zaphod42", "i003")).await.unwrap();
        assert_eq!(server.signals("zaphod42").await.0.viewed, ["i003"]);
        redis.cli(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn at_the_cap_an_ingest_sees_what_other_programs_wrote() {
    let (redis, prefix) = (shared(), own_prefix());
    let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(30));
    let pool = redis.pool();
    let ports = Ports {
        events: Arc::new(event_buffer(&pool, &prefix, WINDOW, 3)),
        ..ports(&pool, &prefix, &world)
    };
    let server = TestServer::serving(world, engine(ports), ServerSettings::default()).await;
    for item in ["i001", "i002", "i003"] {
        server.ingest(liked("u", item)).await.unwrap();
    }
    let score = (SystemClock.now().as_micros() as f64 / 1e6).to_string();
    let member = r#"{"event":"T","content_id":"i007"}"#;
    redis.cli(&["ZADD", &format!("{prefix}evt:u"), &score, member]);
    server.ingest(liked("u", "i004")).await.unwrap();
    let (model, source) = server.signals("u").await;
    assert_eq!(source, SignalsSource::Materialized);
    assert!(model.viewed.contains(&"i007".to_owned()), "{model:?}");
}
