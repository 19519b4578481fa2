//! A real Redis that dies, freezes, fills up, or holds nonsense.

use std::{sync::Arc, time::Duration};

use recsys::{
    adapters::{
        redis::{RedisPool, RedisSettings},
        system::SystemClock,
    },
    proto,
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    redis::{RedisServer, instance, own_prefix},
    server::{liked, named, reason},
};

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

#[tokio::test]
async fn a_frozen_redis_is_answered_for_before_the_caller_gives_up() {
    let redis = RedisServer::start();
    let settings = RedisSettings::default();
    let pool = RedisPool::new(&redis.url(), &settings, Arc::new(SystemClock)).unwrap();
    let server = instance(&pool, "").await;
    while server.ingest(liked("u", "i001")).await.is_err() {}

    redis.freeze();
    // Twice: on connections that were open, and on ones to be made.
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
        let wanted = proto::RecommendRequest {
            user_id: "u".into(),
            ..Default::default()
        };
        let list = server.recommend(wanted).await.unwrap();
        assert_eq!(list.strategy(), proto::RecommendStrategy::Cold);
        assert_eq!(list.diagnostics.unwrap().degraded, ["user_model"]);
        assert!(!list.items.is_empty());
    }

    redis.thaw();
    while server.ingest(liked("u", "i003")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (model, _) = server.signals("u").await;
    assert!(model.viewed.contains(&"i003".to_owned()), "{model:?}");
}
