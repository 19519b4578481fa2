//! Users' state in a real Redis: what is stored and read, and at what cost.

use std::{sync::Arc, time::Duration};

use recsys::{
    adapters::{redis::RedisSettings, system::SystemClock},
    domain::ranking_config::RankingConfig,
    edge::settings::ServerSettings,
    engine::Ports,
    ports::Clock,
    proto::{self, IngestOutcome, SignalsSource},
};
use serde_json::Value;

use crate::support::{
    DAY, MemoryWorld, WINDOW,
    items::{half_circle, item},
    redis::{
        RedisServer, engine, event_buffer, instance, instance_without_associations, own_prefix,
        pool, ports, shared,
    },
    server::{NOW, TestServer, liked, named},
};

const REDIS_CASES: &str = include_str!("../fixtures/conformance/redis.json");

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
    // The events have fixed dates: the window must reach back to them from any
    // day. Their vectors have another size than those of other tests.
    let world = MemoryWorld::new(NOW, &RankingConfig::default(), Vec::new());
    let pool = redis.pool();
    let window = 3_650 * DAY;
    let ports = Ports {
        events: Arc::new(event_buffer(&pool, &prefix, window, 5_000)),
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
async fn an_export_gives_all_that_any_writer_has_stored() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    let reference: Value = serde_json::from_str(REDIS_CASES).unwrap();
    let case = &reference[0];
    let user = case["user_id"].as_str().unwrap();
    let (evt, umodel) = (
        format!("{prefix}evt:{user}"),
        format!("{prefix}umodel:{user}"),
    );
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let theirs: Vec<String> = case["evt"].as_array().unwrap()[..2]
        .iter()
        .map(|event| text(&event["member"]))
        .collect();
    assert!(theirs[0].contains(r#""raw":{"type":"track""#));
    let model = text(&case["umodel"]);
    redis.cli(&["SET", &umodel, &model]);
    // The first is older than the window, the others are within it.
    let score = |seconds: i64| (SystemClock.now().as_millis() / 1_000 - seconds).to_string();
    let old = r#"{"event":"OLD"}"#;
    let broken = "{\"broken\": true, \"e-mail\": \"ada@";
    redis.cli(&["ZADD", &evt, "1000000000", old]);
    redis.cli(&["ZADD", &evt, &score(40), &theirs[0]]);
    redis.cli(&["ZADD", &evt, &score(30), &theirs[1]]);
    redis.cli(&["ZADD", &evt, &score(20), broken]);
    let script = "return redis.call('ZADD', KEYS[1], ARGV[1], '\\255{')";
    redis.cli(&["EVAL", script, "1", &evt, &score(10)]);

    let export = async || {
        let request = proto::ExportUserRequest {
            user_id: user.to_owned(),
        };
        let mut client = server.recommender();
        client.export_user(request).await.unwrap().into_inner()
    };
    let held = export().await;
    let expected = [old, &theirs[0], &theirs[1], broken, "\u{fffd}{"];
    assert_eq!(held.stored_events, expected);
    assert_eq!(held.stored_model, model, "as before this read");
    assert_eq!(export().await.stored_model, redis.cli(&["GET", &umodel]));

    server.delete(user).await;
    let held = export().await;
    assert!(held.stored_events.is_empty() && held.events.is_empty());
    assert_eq!(held.stored_model, "", "the marker has no data");
}

#[tokio::test]
async fn naive_times_missing_and_extra_keys_are_read_and_broken_members_skipped() {
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
    // Not UTF-8.
    let script = "return redis.call('ZADD', KEYS[1], ARGV[1], '\\255\\254{')";
    assert_eq!(redis.cli(&["EVAL", script, "1", &evt, &score]), "1");
    // Older than the window: stored until an append prunes it.
    redis.cli(&["ZADD", &evt, "1000000000", r#"{"content_id":"i009"}"#]);
    let (model, source) = server.signals("u").await;
    assert_eq!(
        (model.viewed, source),
        (vec!["i001".into(), "i002".into()], SignalsSource::Rebuilt)
    );
}

#[tokio::test]
async fn an_event_whose_score_is_not_its_time_is_pruned_by_its_score() {
    const MOST: usize = 2;
    let (redis, prefix) = (shared(), own_prefix());
    let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(30));
    let pool = redis.pool();
    let ports = Ports {
        events: Arc::new(event_buffer(&pool, &prefix, WINDOW, MOST)),
        ..ports(&pool, &prefix, &world)
    };
    let server = TestServer::serving(world, engine(ports), ServerSettings::default()).await;
    let evt = format!("{prefix}evt:u");
    let now = SystemClock.now();
    // By their own times the first is the later one.
    for (content_id, own, scored) in [("i001", 60, 7_200), ("i002", 3_600, 3_600)] {
        let ago = |seconds| now.minus(Duration::from_secs(seconds));
        let ts = ago(own);
        let member = format!(r#"{{"event":"T","ts":"{ts}","content_id":"{content_id}"}}"#);
        let micros = ago(scored).as_micros();
        let score = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        assert_eq!(redis.cli(&["ZADD", &evt, &score, &member]), "1");
    }
    // With a version, so that the buffer could be cached.
    assert_eq!(redis.cli(&["EXPIRE", &evt, "86400"]), "1");
    let (model, _) = server.signals("u").await;
    assert_eq!(model.viewed, ["i001", "i002"]);
    server.ingest(liked("u", "i003")).await.unwrap();
    let (model, source) = server.signals("u").await;
    assert_eq!(source, SignalsSource::Materialized);
    assert_eq!(model.viewed, ["i002", "i003"], "Redis pruned the first");
}

#[tokio::test]
async fn a_model_without_content_is_empty_whatever_its_source() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    // Older than the window: stored until an append prunes it.
    let evt = format!("{prefix}evt:u");
    redis.cli(&["ZADD", &evt, "1000000000", r#"{"content_id":"i001"}"#]);
    assert_eq!(redis.cli(&["EXPIRE", &evt, "86400"]), "1");
    for stored in ["0", "1"] {
        let umodel = format!("{prefix}umodel:u");
        assert_eq!(redis.cli(&["EXISTS", &umodel]), stored);
        let (model, source) = server.signals("u").await;
        assert_eq!((model.event_count, source), (0, SignalsSource::Empty));
    }
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
        vec!["SET", &umodel, r#"{"version":"zzz"}"#],
        vec!["SET", &umodel, r#"{"version":"99999999999999999-x"#],
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
    let request = proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    };
    let list = server.recommend(request).await.unwrap();
    assert_eq!(list.strategy(), proto::RecommendStrategy::Warm);
    assert_eq!(
        list.diagnostics.unwrap().signals_source(),
        SignalsSource::Rebuilt
    );
}

#[tokio::test]
async fn a_read_takes_one_command_per_key_and_an_ingest_no_more_than_it_needs() {
    let redis = RedisServer::start();
    let server = instance_without_associations(&redis.pool())
        .await
        .healthy()
        .await;
    let other = instance_without_associations(&redis.pool())
        .await
        .healthy()
        .await;
    server.ingest(liked("u", "i001")).await.unwrap();
    let request = || proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    };
    // [version of the buffer, whole model, its first bytes, scripts, buffer]
    let count = || {
        ["pexpiretime", "get", "getrange", "evalsha", "zrange"].map(|command| redis.calls(command))
    };

    redis.cli(&["CONFIG", "RESETSTAT"]);
    for _ in 0..10 {
        assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);
        server.recommend(request()).await.unwrap();
    }
    assert_eq!(
        count(),
        [20, 0, 20, 0, 0],
        "one round trip for each read; the saved model is cached"
    );

    redis.cli(&["CONFIG", "RESETSTAT"]);
    for _ in 0..10 {
        assert_eq!(other.signals("u").await.1, SignalsSource::Materialized);
    }
    assert_eq!(count(), [10, 1, 9, 0, 0], "cached after the first read");

    // The scripts themselves call PEXPIRETIME.
    let ingest = async |server: &TestServer, user: &str, number: usize| {
        redis.cli(&["CONFIG", "RESETSTAT"]);
        server
            .ingest(named(&number.to_string(), liked(user, "i002")))
            .await
            .unwrap();
        assert_eq!(redis.calls("get"), 0, "the model is not read");
        [redis.calls("evalsha"), redis.calls("zrange")]
    };
    for number in 0..10 {
        let [scripts, reads] = ingest(&server, "u", number).await;
        assert_eq!(
            (scripts, reads),
            (2, 0),
            "append and save; the buffer is cached"
        );
        let [scripts, reads] = ingest(&server, &format!("new{number}"), 0).await;
        assert_eq!((scripts, reads), (2, 0), "there was no buffer");
    }
    assert_eq!(
        ingest(&other, "u", 10).await,
        [3, 1],
        "another process wrote: the append is repeated after a read"
    );
    assert_eq!(ingest(&other, "u", 11).await, [2, 0], "cached from here on");
    assert_eq!(
        ingest(&server, "u", 12).await,
        [3, 1],
        "the cached copy is outdated"
    );
    for server in [&server, &other] {
        let (model, source) = server.signals("u").await;
        assert_eq!(
            (model.event_count, source),
            (14, SignalsSource::Materialized)
        );
    }
}

#[tokio::test]
async fn a_cached_model_is_not_used_once_another_is_stored() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    let other = instance(&redis.pool(), &prefix).await;
    for user in ["built", "written", "broken", "erased", "lost"] {
        server.ingest(liked(user, "i001")).await.unwrap();
        let (known, source) = server.signals(user).await;
        assert_eq!(
            (known.event_count, source),
            (1, SignalsSource::Materialized)
        );
    }
    let umodel = |user: &str| format!("{prefix}umodel:{user}");

    other.ingest(liked("built", "i002")).await.unwrap();
    let (model, source) = server.signals("built").await;
    assert_eq!(
        (model.event_count, source),
        (2, SignalsSource::Materialized)
    );

    // A program without versions, and no buffer.
    let theirs = r#"{"user_id":"written","positives":{"i009":0.5},"viewed":["i009"]}"#;
    redis.cli(&["DEL", &format!("{prefix}evt:written")]);
    redis.cli(&["SET", &umodel("written"), theirs]);
    let (model, _) = server.signals("written").await;
    assert_eq!(model.viewed, ["i009"]);

    redis.cli(&["SET", &umodel("broken"), "{"]);
    assert_eq!(server.signals("broken").await.1, SignalsSource::Rebuilt);

    assert!(other.delete("erased").await);
    assert_eq!(server.signals("erased").await.1, SignalsSource::Empty);

    redis.cli(&["DEL", &umodel("lost")]);
    assert_eq!(server.signals("lost").await.1, SignalsSource::Rebuilt);
}

#[tokio::test]
async fn an_event_id_appended_by_another_process_is_found_despite_a_cached_buffer() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    let other = instance(&redis.pool(), &prefix).await;
    let outcome = async |server: &TestServer, id: &str, content: &str| {
        let reply = server.ingest(named(id, liked("u", content))).await;
        reply.unwrap().outcome()
    };
    // Cached from here on, and searched by this process alone.
    assert_eq!(outcome(&server, "a", "i001").await, IngestOutcome::Accepted);
    assert_eq!(
        outcome(&server, "a", "i002").await,
        IngestOutcome::Duplicate
    );
    assert_eq!(outcome(&server, "b", "i003").await, IngestOutcome::Accepted);
    assert_eq!(outcome(&other, "c", "i004").await, IngestOutcome::Accepted);
    assert_eq!(
        outcome(&server, "c", "i005").await,
        IngestOutcome::Duplicate
    );

    // A program that does not change the version.
    let evt = format!("{prefix}evt:u");
    let member = r#"{"user_id":"u","event":"CONTENT_VIEW_ENDED","event_id":"d"}"#;
    let score = redis.cli(&["ZRANGE", &evt, "-1", "-1", "WITHSCORES"]);
    let score = score.lines().next_back().unwrap();
    assert_eq!(outcome(&server, "e", "i006").await, IngestOutcome::Accepted);
    redis.cli(&["ZADD", &evt, score, member]);
    assert_eq!(
        outcome(&server, "d", "i007").await,
        IngestOutcome::Duplicate
    );
}

#[tokio::test]
async fn a_connection_is_closed_when_it_is_too_old() {
    let redis = RedisServer::start();
    let settings = RedisSettings {
        redis_max_connection_age: Duration::from_millis(1),
        ..RedisSettings::default()
    };
    let server = instance(&pool(&redis.url(), settings), "").await;
    let connections = || {
        let stats = redis.cli(&["INFO", "stats"]);
        let total = stats
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        total.unwrap().parse::<usize>().unwrap()
    };
    let before = connections();
    for _ in 0..5 {
        server.signals("u").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // One more is that of redis-cli.
    let made = connections() - before;
    assert!(made > 5, "{made} connections were made");
}

/// `cargo test --test it memory_of_a_user -- --nocapture` prints the figures.
#[tokio::test]
async fn memory_of_a_user_is_as_the_readme_says() {
    let redis = RedisServer::start();
    let items = (0..100)
        .map(|index| {
            let vector: Vec<f32> = (0..384).map(|n| ((index * 384 + n) as f32).sin()).collect();
            let tags = (0..5).fold(item(&format!("item-{index:04}")), |item, tag| {
                item.tag(
                    "theme",
                    &format!("theme number {}", (index * 5 + tag) % 40),
                    1.0,
                )
            });
            tags.vector(&vector).words(150).build()
        })
        .collect();
    let world = MemoryWorld::new(NOW, &RankingConfig::default(), items);
    let engine = engine(ports(&redis.pool(), "", &world));
    let server = TestServer::serving(world, engine, ServerSettings::default()).await;
    let uuid = || uuid::Uuid::new_v4().to_string();
    let (session, list) = (uuid(), uuid());
    let events = (0..50)
        .map(|number| proto::InteractionEvent {
            session_id: session.clone(),
            request_id: list.clone(),
            impressions: match number % 10 {
                0 => (0..10)
                    .map(|at| format!("item-{:04}", number + at))
                    .collect(),
                _ => Vec::new(),
            },
            ..named(
                &uuid(),
                liked("user-0001", &format!("item-{:04}", number * 2)),
            )
        })
        .collect();
    server.batch(events).await.unwrap();
    assert_eq!(server.signals("user-0001").await.0.event_count, 50);
    for (key, at_most) in [("evt:user-0001", 40_000), ("umodel:user-0001", 20_000)] {
        let bytes = redis.cli(&["MEMORY", "USAGE", key, "SAMPLES", "0"]);
        println!("{key}: {bytes} bytes");
        assert!(bytes.parse::<usize>().unwrap() < at_most, "{key}: {bytes}");
    }
}
