//! A real Redis that dies, freezes, fills up, or holds values of the wrong type.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, SystemTime},
};

use recsys::{
    adapters::redis::{RedisPool, RedisSettings},
    proto,
};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    redis::{RedisServer, instance, own_prefix, pool},
    server::{liked, named, reason},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
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
            // In the middle of the batch: some calls are answered, some in flight.
            while !calls.iter().any(|call| call.is_finished()) {
                tokio::task::yield_now().await;
            }
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
    assert!(failed.len() >= 200, "calls failed while redis was down");
    // Retry the failed ones until they are acknowledged: Redis may still be loading.
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
async fn without_redis_the_service_stays_up_reports_it_and_recovers() {
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
    let request = proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    };
    let list = server.recommend(request).await.unwrap();
    assert_eq!(list.diagnostics.unwrap().degraded[0], "user_model");

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
        "ready for degraded answers"
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

#[tokio::test]
async fn a_frozen_redis_is_reported_before_the_caller_times_out() {
    let redis = RedisServer::start();
    let settings = RedisSettings::default();
    let pool = RedisPool::new(&redis.url(), &settings).unwrap();
    let server = instance(&pool, "").await;
    while server.ingest(liked("u", "i001")).await.is_err() {}

    redis.freeze();
    // Twice: on open connections, and on new ones.
    for _ in 0..2 {
        let mut request = tonic::Request::new(proto::IngestEventRequest {
            event: Some(liked("u", "i002")),
        });
        request.set_timeout(Duration::from_secs(60));
        let status = server
            .recommender()
            .ingest_event(request)
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "USER_STATE_UNAVAILABLE")
        );
        let request = proto::RecommendRequest {
            user_id: "u".into(),
            ..Default::default()
        };
        let mut request = tonic::Request::new(request);
        request.set_timeout(Duration::from_secs(60));
        let list = server.recommender().recommend(request).await.unwrap();
        let list = list.into_inner();
        assert_eq!(list.strategy(), proto::RecommendStrategy::Cold);
        let diagnostics = list.diagnostics.unwrap();
        assert_eq!(
            diagnostics.cold_reason(),
            proto::ColdReason::UserStateUnavailable
        );
        assert_eq!(diagnostics.degraded[0], "user_model");
        assert!(!list.items.is_empty());
    }

    redis.thaw();
    while server.ingest(liked("u", "i003")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (model, _) = server.signals("u").await;
    assert!(model.viewed.contains(&"i003".to_owned()), "{model:?}");
}

#[tokio::test]
async fn a_list_without_the_model_meets_a_short_deadline() {
    let redis = RedisServer::start();
    // With timeouts longer than the caller's deadline.
    let server = instance(&redis.pool(), "").await;
    redis.freeze();
    let mut request = tonic::Request::new(proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    });
    request.set_timeout(Duration::from_secs(6));
    let list = server.recommender().recommend(request).await.unwrap();
    let diagnostics = list.into_inner().diagnostics.unwrap();
    assert_eq!(diagnostics.degraded[0], "user_model");
}

#[tokio::test]
async fn a_batch_to_a_frozen_redis_fails_event_by_event_and_is_stored_later() {
    let redis = RedisServer::start();
    let server = instance(&redis.pool(), "").await;
    server.ingest(liked("u", "i001")).await.unwrap();
    redis.freeze();
    let events = vec![liked("v", "i001"), liked("w", "i001")];
    let mut batch = tonic::Request::new(proto::BatchIngestEventsRequest { events });
    batch.set_timeout(Duration::from_secs(6));
    let reply = server.recommender().batch_ingest_events(batch).await;
    for result in reply.unwrap().into_inner().results {
        let error = result.error.unwrap();
        assert_eq!(error.code, Code::DeadlineExceeded as i32, "{error:?}");
    }
    redis.thaw();
    for user in ["v", "w"] {
        redis.until(&["ZCARD", &format!("evt:{user}")], |count| count == "1");
    }
}

/// Forwards each new connection to the current target, as a DNS name that a
/// failover repoints does.
async fn repointable(target: Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                let to = ("127.0.0.1", target.load(Ordering::SeqCst));
                let mut server = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn a_connection_to_a_replica_is_closed_at_once() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let target = Arc::new(AtomicU16::new(old.port()));
    let port = repointable(target.clone()).await;
    let pool = pool(
        &format!("redis://127.0.0.1:{port}"),
        RedisSettings::default(),
    );
    let server = instance(&pool, "").await;
    server.ingest(liked("u", "i001")).await.unwrap();
    // The old master becomes a replica; its connections stay open.
    let new_port = new.port().to_string();
    assert_eq!(old.cli(&["REPLICAOF", "127.0.0.1", &new_port]), "OK");
    target.store(new.port(), Ordering::SeqCst);
    server.ingest(liked("u", "i002")).await.unwrap();
    assert_eq!(new.cli(&["ZCARD", "evt:u"]), "1");
}

/// After a failover a buffer may have the cached version, but other events.
#[tokio::test]
async fn a_buffer_cached_over_lost_connections_is_read_again() {
    let redis = RedisServer::start();
    let server = instance(&redis.pool(), "").await;
    for user in ["u", "v"] {
        server.ingest(liked(user, "i001")).await.unwrap();
        let evt = format!("evt:{user}");
        let [version, member] = [vec!["PEXPIRETIME", &evt], vec!["ZRANGE", &evt, "0", "0"]]
            .map(|command| redis.cli(&command));
        let score = redis.cli(&["ZSCORE", &evt, &member]);
        redis.cli(&["DEL", &evt]);
        let other = member.replace("i001", "i002");
        assert_eq!(redis.cli(&["ZADD", &evt, &score, &other]), "1");
        assert_eq!(redis.cli(&["PEXPIREAT", &evt, &version]), "1");
    }
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    // The first call finds the connection lost, the second comes after it.
    for user in ["u", "v"] {
        server.ingest(liked(user, "i003")).await.unwrap();
        let (model, _) = server.signals(user).await;
        assert_eq!(model.viewed, ["i002", "i003"], "{user}");
    }
}

/// While Redis is frozen, calls with a connection each would time out waiting for
/// one.
#[tokio::test]
async fn many_events_share_one_connection() {
    let redis = RedisServer::start();
    let settings = RedisSettings {
        redis_pool_size: 1,
        redis_connect_timeout: Duration::from_secs(60),
        redis_command_timeout: Duration::from_secs(60),
        redis_wait_timeout: Duration::from_secs(2),
        ..RedisSettings::default()
    };
    let server = instance(&RedisPool::new(&redis.url(), &settings).unwrap(), "").await;
    server.ingest(liked("first", "i001")).await.unwrap();
    redis.freeze();
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let mut client = server.recommender();
            tokio::spawn(async move {
                let event = Some(liked(&format!("u{number}"), "i001"));
                client
                    .ingest_event(proto::IngestEventRequest { event })
                    .await
            })
        })
        .collect();
    tokio::time::sleep(settings.redis_wait_timeout.mul_f64(1.5)).await;
    let given_up = calls.iter().filter(|call| call.is_finished()).count();
    redis.thaw();
    assert_eq!(given_up, 0, "timed out waiting for a connection");
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_unhealthy() {
    let redis = RedisServer::start();
    let server = instance(&redis.pool(), "").await;
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let serving = async || {
        let request = HealthCheckRequest {
            service: "recsys.v1.RecommenderService".to_owned(),
        };
        let reply = HealthClient::new(server.channel.clone())
            .check(request)
            .await;
        reply.unwrap().into_inner().status() == ServingStatus::Serving
    };
    while serving().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    redis.cli(&["REPLICAOF", "NO", "ONE"]);
    while !serving().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn no_event_is_judged_before_the_time_of_redis_is_known() {
    let mut redis = RedisServer::start();
    redis.kill();
    let server = instance(&redis.pool(), "").await;
    // Ahead of every clock, which is unknown while Redis is down.
    let ahead = proto::InteractionEvent {
        event_time: Some((SystemTime::now() + Duration::from_secs(7_200)).into()),
        ..liked("u", "i001")
    };
    let status = server.ingest(ahead.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    redis.restart();
    let status = server.ingest(ahead).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}
