//! Users' state in a real Redis: what is stored, what survives, and what two
//! instances see of each other.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use recsys::{
    adapters::{
        redis::{RedisEventBuffer, RedisPool, RedisSettings},
        system::SystemClock,
    },
    domain::{
        event::{EventLog, StoredEvent},
        ids::UserId,
        ranking_config::RankingConfig,
        signals,
    },
    engine::Ports,
    grpc::ServerSettings,
    ports::{Clock, EventBuffer},
    proto::{self, IngestOutcome, SignalsSource},
};
use serde_json::Value;
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    DAY, MemoryWorld, TestClock, WINDOW,
    items::half_circle,
    redis::{RedisServer, engine, instance, own_prefix, ports, shared},
    server::{NOW, TestServer, liked, named, reason},
};

const REDIS_CASES: &str = include_str!("../fixtures/conformance/redis.json");

fn id(user: &str) -> UserId {
    UserId::parse(user).unwrap()
}

#[tokio::test]
async fn keys_have_the_shared_names_shapes_and_lifetimes() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    server.ingest(liked("a:b é", "i001")).await.unwrap();

    let (evt, umodel) = (
        format!("{prefix}evt:a:b é"),
        format!("{prefix}umodel:a:b é"),
    );
    assert_eq!(redis.cli(&["TYPE", &evt]), "zset");
    assert_eq!(redis.cli(&["TYPE", &umodel]), "string");
    let days = |key: &str| redis.cli(&["TTL", key]).parse::<f64>().unwrap() / 86_400.0;
    assert!((29.9..=30.0).contains(&days(&evt)), "{}", days(&evt));
    assert!((6.9..=7.0).contains(&days(&umodel)), "{}", days(&umodel));

    let member: Value = serde_json::from_str(&redis.cli(&["ZRANGE", &evt, "0", "-1"])).unwrap();
    let model: Value = serde_json::from_str(&redis.cli(&["GET", &umodel])).unwrap();
    let reference: Value = serde_json::from_str(REDIS_CASES).unwrap();
    let parse = |value: &Value| -> Value { serde_json::from_str(value.as_str().unwrap()).unwrap() };
    let their_member = parse(&reference[0]["evt"][0]["member"]);
    let their_model = parse(&reference[0]["umodel"]);
    for (name, ours, theirs) in [
        ("member", &member, &their_member),
        ("model", &model, &their_model),
    ] {
        for (key, value) in theirs.as_object().unwrap() {
            let ours = ours
                .get(key)
                .unwrap_or_else(|| panic!("{name} lacks {key}"));
            let alike = ours.is_null()
                || value.is_null()
                || std::mem::discriminant(ours) == std::mem::discriminant(value);
            assert!(alike, "{name}.{key}: {ours} against {value}");
        }
    }
}

#[tokio::test]
async fn what_the_reference_engine_wrote_is_read() {
    let (redis, prefix) = (shared(), own_prefix());
    // Their events have dates, so the window must reach back to them from any
    // day; and their vectors are of another size than those of other tests.
    let world = MemoryWorld::new(NOW, &RankingConfig::default(), Vec::new());
    let pool = redis.pool();
    let window = 3_650 * DAY;
    let ports = Ports {
        events: Arc::new(RedisEventBuffer::new(pool.clone(), &prefix, window, 5_000)),
        ..ports(&pool, &prefix, &world)
    };
    let server = TestServer::serving(world, engine(ports), ServerSettings::default()).await;
    let reference: Value = serde_json::from_str(REDIS_CASES).unwrap();
    for case in reference.as_array().unwrap() {
        let user = case["user_id"].as_str().unwrap();
        let umodel = format!("{prefix}umodel:{user}");
        redis.cli(&["SET", &umodel, case["umodel"].as_str().unwrap()]);
        let (model, source) = server.signals(user).await;
        assert_eq!(
            source,
            SignalsSource::Materialized,
            "{user}: no buffer to rebuild from"
        );
        let theirs: Value = serde_json::from_str(case["umodel"].as_str().unwrap()).unwrap();
        let viewed: Vec<&str> = theirs["viewed"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap())
            .collect();
        assert_eq!(model.viewed, viewed);
        assert_eq!(
            model.taste_vector.is_empty(),
            theirs["taste_vector"].is_null()
        );

        let evt = format!("{prefix}evt:{user}");
        for event in case["evt"].as_array().unwrap() {
            redis.cli(&[
                "ZADD",
                &evt,
                &event["score"].to_string(),
                event["member"].as_str().unwrap(),
            ]);
        }
        let (model, source) = server.signals(user).await;
        assert_eq!(
            source,
            SignalsSource::Rebuilt,
            "{user}: their model has no version"
        );
        assert_eq!(model.viewed, viewed);
        let count = case["evt"].as_array().unwrap().len();
        assert_eq!(model.event_count as usize, count);
    }
}

#[tokio::test]
async fn naive_times_missing_and_extra_keys_are_read_and_broken_members_passed_over() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    let now = SystemClock.now();
    let evt = format!("{prefix}evt:u");
    let ts = now.minus(DAY).to_string().replace('Z', "");
    let score = format!("{}", now.minus(DAY).as_millis() / 1_000);
    for member in [
        format!("{{\"event\":\"T\",\"ts\":\"{ts}\",\"content_id\":\"i001\",\"new\":{{}}}}"),
        "{\"content_id\":\"i002\"}".to_owned(),
        "{broken".to_owned(),
        "{\"event\":\"T\",\"ts\":\"soon\",\"content_id\":\"i003\"}".to_owned(),
        "[]".to_owned(),
    ] {
        redis.cli(&["ZADD", &evt, &score, &member]);
    }
    let (model, source) = server.signals("u").await;
    assert_eq!(
        (model.viewed, source),
        (vec!["i001".into(), "i002".into()], SignalsSource::Rebuilt)
    );
}

#[tokio::test]
async fn a_model_that_is_missing_unreadable_or_of_another_ranking_is_rebuilt() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    server.ingest(liked("u", "i001")).await.unwrap();
    assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);
    let umodel = format!("{prefix}umodel:u");
    for damage in [
        vec!["DEL", &umodel],
        vec!["SET", &umodel, "{rubbish"],
        vec!["EXPIRE", &umodel, "0"],
    ] {
        redis.cli(&damage);
        let (model, source) = server.signals("u").await;
        assert_eq!(
            (model.viewed.len(), source),
            (1, SignalsSource::Rebuilt),
            "{damage:?}"
        );
        assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);
    }
    redis.cli(&["DEL", &umodel]);
    let wanted = proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    };
    let list = server.recommend(wanted).await.unwrap();
    assert_eq!(list.strategy(), proto::RecommendStrategy::Warm);
    assert_eq!(
        list.diagnostics.unwrap().signals_source(),
        SignalsSource::Rebuilt
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_on_one_user_through_two_instances_agree() {
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
    let stored = engine(ports.clone()).signals(&id("u")).await.unwrap().0;
    let snapshot = ports.events.read(&id("u")).await.unwrap();
    let log = EventLog::new(snapshot.events);
    let items = ports
        .items
        .get(&signals::items_needed(&log))
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

#[tokio::test]
async fn an_instance_that_dies_between_append_and_save_loses_nothing() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    server.ingest(liked("u", "i001")).await.unwrap();
    // The append of another instance, which then dies before its refresh.
    let buffer = RedisEventBuffer::new(redis.pool(), &prefix, WINDOW, 5_000);
    let mut event = recsys::domain::event::InteractionEvent::new(id("u"), "T", SystemClock.now());
    event.content_id = Some("i002".into());
    let event: StoredEvent = recsys::domain::member::encode(event).unwrap();
    buffer.append(&id("u"), &[event]).await.unwrap();
    let (model, source) = server.signals("u").await;
    assert_eq!((model.viewed.len(), source), (2, SignalsSource::Rebuilt));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn erasing_with_refreshes_under_way_brings_nobody_back() {
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
        assert_eq!(redis.cli(&["EXISTS", &format!("{prefix}evt:{user}")]), "0");
        let left = redis.cli(&["GET", &format!("{prefix}umodel:{user}")]);
        assert!(
            left.is_empty() || left.contains("\"erased\":true"),
            "{left}"
        );
    }
}

#[tokio::test]
async fn a_killed_redis_keeps_every_acknowledged_event_once() {
    let mut redis = RedisServer::start();
    let prefix = own_prefix();
    let server = instance(&redis.pool(), &prefix).await;
    let send =
        |number: usize,
         mut client: proto::recommender_service_client::RecommenderServiceClient<_>| async move {
            let event = Some(named(
                &number.to_string(),
                liked(&format!("u{}", number % 200), "i001"),
            ));
            client
                .ingest_event(proto::IngestEventRequest { event })
                .await
                .map(|_| number)
        };
    let mut failed = Vec::new();
    let mut killed = false;
    let numbers: Vec<usize> = (0..10_000).collect();
    for batch in numbers.chunks(100) {
        let calls: Vec<_> = batch
            .iter()
            .map(|number| tokio::spawn(send(*number, server.recommender())))
            .collect();
        if batch[0] == 5_000 {
            redis.kill();
            killed = true;
        }
        for (number, call) in batch.iter().zip(calls) {
            if let Err(status) = call.await.unwrap() {
                let retryable = [Code::Unavailable, Code::DeadlineExceeded];
                assert!(retryable.contains(&status.code()), "{status}");
                failed.push(*number);
            }
        }
        if killed && failed.len() >= 200 {
            redis.restart();
            killed = false;
        }
    }
    assert!(failed.len() >= 200, "the kill was felt");
    // Retry what failed until it is taken: it may still be loading.
    while let Some(number) = failed.pop() {
        if send(number, server.recommender()).await.is_err() {
            failed.insert(0, number);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    for user in 0..200 {
        let key = format!("{prefix}evt:u{user}");
        assert_eq!(redis.cli(&["ZCARD", &key]), "50", "user {user}");
        assert_eq!(server.signals(&format!("u{user}")).await.0.event_count, 50);
    }
}

#[tokio::test]
async fn without_redis_the_service_is_up_says_so_and_heals() {
    let mut redis = RedisServer::start();
    redis.kill();
    let server = instance(&redis.pool(), &own_prefix()).await;
    let health = async |service: &str| {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let reply = HealthClient::new(server.channel.clone())
            .check(request)
            .await
            .unwrap();
        reply.into_inner().status()
    };
    let recommender = "recsys.v1.RecommenderService";
    assert_eq!(health("liveness").await, ServingStatus::Serving);
    assert_eq!(health("readiness").await, ServingStatus::NotServing);
    assert_eq!(health(recommender).await, ServingStatus::NotServing);
    let status = server.ingest(liked("u", "i001")).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "USER_STATE_UNAVAILABLE")
    );
    let wanted = proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    };
    let list = server.recommend(wanted).await.unwrap();
    assert_eq!(list.diagnostics.unwrap().degraded, ["user_model"]);

    redis.restart();
    while health(recommender).await != ServingStatus::Serving {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(health("readiness").await, ServingStatus::Serving);
    server.ingest(liked("u", "i001")).await.unwrap();

    redis.kill();
    while health(recommender).await == ServingStatus::Serving {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        health("readiness").await,
        ServingStatus::Serving,
        "degraded answers, not an empty Service"
    );
}

#[tokio::test]
async fn a_full_redis_is_resource_exhausted_and_a_wrong_type_internal() {
    let redis = RedisServer::with(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let prefix = own_prefix();
    let server = instance(&redis.pool(), &prefix).await;
    redis.cli(&["SET", &format!("{prefix}evt:odd"), "x"]);
    redis.cli(&["LPUSH", &format!("{prefix}umodel:odd2"), "x"]);
    for user in ["odd", "odd2"] {
        let request = proto::GetUserSignalsRequest {
            user_id: user.into(),
            include_vectors: false,
        };
        if user == "odd2" {
            let status = server
                .recommender()
                .get_user_signals(request)
                .await
                .unwrap_err();
            assert_eq!(
                (status.code(), status.message()),
                (Code::Internal, "internal error")
            );
        } else {
            let status = server.ingest(liked(user, "i001")).await.unwrap_err();
            assert_eq!(
                (status.code(), status.message()),
                (Code::Internal, "internal error")
            );
        }
    }
    let full = loop {
        let mut event = liked("big", "i001");
        event.query_text = "x".repeat(60_000);
        event.event_id = uuid::Uuid::new_v4().to_string();
        if let Err(status) = server.ingest(event).await {
            break status;
        }
    };
    assert_eq!(
        (full.code(), reason(&full).as_str()),
        (Code::ResourceExhausted, "USER_STATE_FULL")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deleting_all_models_under_load_fails_no_call() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    for user in 0..50 {
        server
            .ingest(liked(&format!("u{user}"), "i001"))
            .await
            .unwrap();
    }
    for user in 0..50 {
        redis.cli(&["DEL", &format!("{prefix}umodel:u{user}")]);
    }
    let reads: Vec<_> = (0..200)
        .map(|number| {
            let mut client = server.recommender();
            tokio::spawn(async move {
                let request = proto::GetUserSignalsRequest {
                    user_id: format!("u{}", number % 50),
                    include_vectors: false,
                };
                client.get_user_signals(request).await.unwrap().into_inner()
            })
        })
        .collect();
    let mut rebuilt = 0;
    for read in reads {
        let reply = read.await.unwrap();
        rebuilt += usize::from(reply.source() == SignalsSource::Rebuilt);
        assert_eq!(reply.signals.unwrap().event_count, 1);
    }
    assert!(rebuilt >= 50, "every model came back rebuilt");
}

#[tokio::test]
async fn a_reading_takes_one_command_a_key_and_an_ingest_no_more_than_it_needs() {
    let redis = RedisServer::start();
    let server = instance(&redis.pool(), "").await;
    let other = instance(&redis.pool(), "").await;
    server.ingest(liked("u", "i001")).await.unwrap();
    let wanted = || proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    };
    // [version of the buffer, model, scripts, buffer]
    let count = || ["pexpiretime", "get", "evalsha", "zrange"].map(|command| redis.calls(command));

    redis.cli(&["CONFIG", "RESETSTAT"]);
    for _ in 0..10 {
        assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);
        server.recommend(wanted()).await.unwrap();
    }
    assert_eq!(count(), [20, 20, 0, 0], "one round trip for each reading");

    // The scripts themselves call PEXPIRETIME.
    let ingest = async |server: &TestServer, user: &str, number: usize| {
        redis.cli(&["CONFIG", "RESETSTAT"]);
        server
            .ingest(named(&number.to_string(), liked(user, "i002")))
            .await
            .unwrap();
        [redis.calls("evalsha"), redis.calls("zrange")]
    };
    for number in 0..10 {
        let [scripts, reads] = ingest(&server, "u", number).await;
        assert_eq!((scripts, reads), (2, 0), "append and save; it is known");
        let [scripts, reads] = ingest(&server, &format!("new{number}"), 0).await;
        assert_eq!((scripts, reads), (2, 0), "there was nothing to know");
    }
    assert_eq!(
        ingest(&other, "u", 10).await,
        [2, 1],
        "another process wrote"
    );
    assert_eq!(ingest(&other, "u", 11).await, [2, 0], "known from here on");
    assert_eq!(ingest(&server, "u", 12).await, [2, 1], "known no longer");
    for server in [&server, &other] {
        let (model, source) = server.signals("u").await;
        assert_eq!(
            (model.event_count, source),
            (14, SignalsSource::Materialized)
        );
    }
}

#[tokio::test]
async fn what_others_write_without_a_word_is_seen_by_the_next_ingest() {
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

#[tokio::test]
async fn processes_with_wrong_clocks_agree_with_redis() {
    let (redis, prefix) = (shared(), own_prefix());
    let real = SystemClock.now();
    let clocks = [real.plus(40 * DAY), real.minus(Duration::from_secs(7_200))];
    let mut instances = vec![instance(&redis.pool(), &prefix).await];
    for clock in clocks {
        let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(30));
        let wrong = TestClock::real();
        wrong.set(clock);
        let pool = RedisPool::new(&redis.url(), &RedisSettings::default(), wrong).unwrap();
        let engine = engine(ports(&pool, &prefix, &world));
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
                    "every save takes"
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
    // As if the last append had been made 40 days from now.
    let expiry: u64 = redis.cli(&["PEXPIRETIME", &evt]).parse().unwrap();
    let ahead = expiry + 40 * 86_400_000;
    redis.cli(&["PEXPIREAT", &evt, &ahead.to_string()]);
    server.ingest(liked("u", "i002")).await.unwrap();
    assert_eq!(
        redis.cli(&["PEXPIRETIME", &evt]),
        (ahead + 1).to_string(),
        "the version rises all the same"
    );
    assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);

    // As if a failover had lost that append, and the new master's clock were
    // behind: the model has a higher version than the buffer will have.
    redis.cli(&["PEXPIREAT", &evt, &expiry.to_string()]);
    for item in ["i003", "i004"] {
        server.ingest(liked("u", item)).await.unwrap();
        let (model, source) = server.signals("u").await;
        assert!(model.viewed.contains(&item.to_owned()), "{item} is lost");
        assert_eq!(
            source,
            SignalsSource::Rebuilt,
            "rebuilt until it catches up"
        );
    }
}

#[tokio::test]
async fn an_event_too_old_to_be_taken_does_not_make_a_buffer_forget_its_version() {
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
    assert_eq!(redis.cli(&["ZCARD", &evt]), "1", "pruned by what is taken");
}
