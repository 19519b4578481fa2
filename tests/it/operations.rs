//! What operators depend on: health, reflection, deadlines, shutdown, and failures of a
//! store.

mod faulty;

use std::{sync::atomic::Ordering, time::Duration};

use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use recsys::{
    api::{
        health::{LIVENESS, READINESS},
        limits::Limits,
    },
    domain::{ids::UserId, ranking_config::RankingConfig},
    edge::settings::ServerSettings,
    engine::{Engine, EngineSettings},
    ports::{Deadline, ModelSlot},
    proto::{
        self, IngestOutcome, SignalsSource, recommender_service_client::RecommenderServiceClient,
    },
};
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt as _;

use crate::support::{
    MemoryWorld,
    items::half_circle,
    server::{NOW, TestServer, connect, liked, reason, stored_like},
};

pub use faulty::Faulty;

const SERVICES: [&str; 2] = ["recsys.v1.RecommenderService", "recsys.v1.CatalogService"];

async fn health(server: &TestServer, service: &str) -> Result<ServingStatus, tonic::Status> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let reply = HealthClient::new(server.channel.clone())
        .check(request)
        .await?;
    Ok(reply.into_inner().status())
}

#[tokio::test]
async fn every_health_name_is_served() {
    let server = TestServer::with_items(half_circle(3)).await;
    for name in ["", LIVENESS, READINESS, SERVICES[0], SERVICES[1]] {
        assert_eq!(
            health(&server, name).await.unwrap(),
            ServingStatus::Serving,
            "{name:?}"
        );
    }
    assert_eq!(
        health(&server, "nobody").await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_drain_turns_readiness_off_and_leaves_liveness_on() {
    let settings = ServerSettings {
        drain_delay: Duration::from_secs(3_600),
        ..ServerSettings::default()
    };
    let config = RankingConfig::default();
    let world = MemoryWorld::new(NOW, &config, half_circle(3));
    let engine = world.engine(config);
    let server = TestServer::start(world, engine, settings, Limits::default()).await;
    let mut watches = Vec::new();
    for name in [READINESS, SERVICES[0], SERVICES[1], LIVENESS, ""] {
        let request = HealthCheckRequest {
            service: name.to_owned(),
        };
        let mut watch = HealthClient::new(server.channel.clone())
            .watch(request)
            .await
            .unwrap()
            .into_inner();
        let first = watch.next().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving, "{name:?}");
        watches.push((name, watch));
    }
    server.stop.cancel();
    for (name, watch) in &mut watches {
        let drains = *name != LIVENESS && !name.is_empty();
        if drains {
            let changed = watch.next().await.unwrap().unwrap();
            assert_eq!(changed.status(), ServingStatus::NotServing, "{name:?}");
        }
    }
    // New calls, on old connections and on new ones, are served all the while.
    let mut other = RecommenderServiceClient::new(connect(server.address).await);
    for client in [&mut server.recommender(), &mut other] {
        client.ingest_event(ingest_request("u")).await.unwrap();
    }
    assert_eq!(
        health(&server, LIVENESS).await.unwrap(),
        ServingStatus::Serving
    );

    server.no_delay.cancel();
    // Open watches do not delay it: they end with UNAVAILABLE.
    for (name, mut watch) in watches {
        let ended = watch.next().await.unwrap().unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable, "{name:?}: {ended}");
    }
    server.stopped().await.unwrap();
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let server = TestServer::with_items(half_circle(3)).await;
    let mut names = Vec::new();
    let ask = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(
            String::new(),
        )),
    };
    let mut replies =
        v1::server_reflection_client::ServerReflectionClient::new(server.channel.clone())
            .server_reflection_info(tokio_stream::once(ask))
            .await
            .unwrap()
            .into_inner();
    if let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        replies.next().await.unwrap().unwrap().message_response
    {
        names.push(
            list.service
                .into_iter()
                .map(|service| service.name)
                .collect::<Vec<_>>(),
        );
    }
    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut replies =
        v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel.clone())
            .server_reflection_info(tokio_stream::once(ask))
            .await
            .unwrap()
            .into_inner();
    if let Some(v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        replies.next().await.unwrap().unwrap().message_response
    {
        names.push(
            list.service
                .into_iter()
                .map(|service| service.name)
                .collect(),
        );
    }
    assert_eq!(names.len(), 2);
    for names in names {
        for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
            assert!(
                names.iter().any(|name| name == service),
                "{service} is not in {names:?}"
            );
        }
    }
}

fn ingest_request(user: &str) -> proto::IngestEventRequest {
    proto::IngestEventRequest {
        event: Some(proto::InteractionEvent {
            event_id: "once".into(),
            ..liked(user, "i001")
        }),
    }
}

/// Ingests with a deadline that only the server keeps: tonic's own client
/// would end the call itself.
async fn ingest_within(server: &TestServer, user: &str, timeout: &str) -> tonic::Status {
    let request = within(timeout, ingest_request(user));
    plain_client(server)
        .ingest_event(request)
        .await
        .unwrap_err()
}

fn within<T>(timeout: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("grpc-timeout", timeout.parse().unwrap());
    request
}

fn plain_client(
    server: &TestServer,
) -> RecommenderServiceClient<Client<HttpConnector, tonic::body::Body>> {
    let transport = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let origin = format!("http://{}", server.address).parse().unwrap();
    RecommenderServiceClient::with_origin(transport, origin)
}

#[tokio::test]
async fn a_batch_whose_caller_disconnects_finishes_its_append_and_starts_no_other() {
    let stores = Faulty::new();
    let engine = stores.engine();
    stores.hold_appends.store(true, Ordering::SeqCst);
    let events = (0..100)
        .map(|user| stored_like(&format!("u{user}"), "i001"))
        .collect();
    let caller = engine.clone();
    let call = tokio::spawn(async move { caller.ingest_batch(events, Deadline::NONE).await });
    // As many as are written at once.
    while stores.appends.load(Ordering::SeqCst) < 32 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());

    stores.hold_appends.store(false, Ordering::SeqCst);
    engine.finish().await;
    assert_eq!(stores.appends.load(Ordering::SeqCst), 32);
    let refreshed = stores.reads.load(Ordering::SeqCst);
    assert_eq!(refreshed, 32, "each was finished with its refresh");
}

#[tokio::test]
async fn an_expired_deadline_is_reported_and_a_started_append_finishes() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    stores.slow.store(true, Ordering::SeqCst);
    let status = ingest_within(&server, "u", "60m").await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(reason(&status), "DEADLINE_EXCEEDED");

    let status = ingest_within(&server, "v", "1n").await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");

    // Shutdown waits for started work.
    server.stopped().await.unwrap();
    let buffer = &stores.world.ports.events;
    let held = buffer.read(&UserId::parse("u").unwrap()).await.unwrap();
    assert_eq!(held.events.len(), 1);
    let model = stores
        .world
        .ports
        .models
        .load(&UserId::parse("u").unwrap())
        .await
        .unwrap();
    assert!(
        matches!(model, ModelSlot::Present(_)),
        "the refresh was finished, too"
    );
}

#[tokio::test]
async fn the_servers_own_time_limit_bounds_calls_without_deadline() {
    let stores = Faulty::new();
    let engine = Engine::new(
        recsys::engine::Ports {
            events: stores.clone(),
            ..stores.world.ports.clone()
        },
        RankingConfig::default(),
        EngineSettings::default(),
    );
    let settings = ServerSettings {
        request_timeout: Duration::from_millis(50),
        ..ServerSettings::default()
    };
    let world = MemoryWorld::new(NOW, &RankingConfig::default(), Vec::new());
    let server = TestServer::serving(world, engine, settings).await;
    stores.slow.store(true, Ordering::SeqCst);
    let status = server
        .recommender()
        .ingest_event(ingest_request("u"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn calls_in_flight_finish_when_the_server_stops() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    stores.slow.store(true, Ordering::SeqCst);
    let mut client = server.recommender();
    let call = tokio::spawn(async move { client.ingest_event(ingest_request("u")).await });
    while stores.begun.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.stopped().await.unwrap();
    let reply = call.await.unwrap().unwrap().into_inner();
    assert_eq!(reply.outcome(), IngestOutcome::Accepted);
}

#[tokio::test]
async fn a_store_that_is_down_is_unavailable_with_a_retry_hint_and_no_inner_text() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    stores.down.store(true, Ordering::SeqCst);
    let status = server
        .recommender()
        .ingest_event(ingest_request("u"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(&status), "USER_STATE_UNAVAILABLE");
    assert!(
        status
            .get_details_retry_info()
            .unwrap()
            .retry_delay
            .is_some()
    );
    assert!(!format!("{status:?}").contains("10.1.2.3"), "{status:?}");

    let reply = server
        .batch(vec![liked("u", "i001"), liked("", "i001")])
        .await
        .unwrap();
    let codes: Vec<i32> = reply
        .results
        .iter()
        .map(|result| result.error.clone().unwrap().code)
        .collect();
    assert_eq!(
        codes,
        [Code::Unavailable as i32, Code::InvalidArgument as i32]
    );

    stores.down.store(false, Ordering::SeqCst);
    server
        .recommender()
        .ingest_event(ingest_request("u"))
        .await
        .unwrap();
    assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);
}

#[tokio::test]
async fn without_the_users_state_recommend_is_cold_and_says_so() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    server.ingest(liked("u", "i001")).await.unwrap();
    stores.down.store(true, Ordering::SeqCst);
    let wanted = proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    };
    let list = server.recommend(wanted.clone()).await.unwrap();
    assert_eq!(list.items.len(), 10);
    assert_eq!(list.strategy(), proto::RecommendStrategy::Cold);
    assert_eq!(list.diagnostics.unwrap().degraded[0], "user_model");

    stores.items_down.store(true, Ordering::SeqCst);
    let status = server.recommend(wanted).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "CATALOG_UNAVAILABLE")
    );
}

#[tokio::test]
async fn an_event_is_acknowledged_even_if_its_refresh_fails_and_the_next_read_has_it() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    stores.items_down.store(true, Ordering::SeqCst);
    assert_eq!(
        server.ingest(liked("u", "i001")).await.unwrap().outcome(),
        IngestOutcome::Accepted
    );
    stores.items_down.store(false, Ordering::SeqCst);
    let (signals, source) = server.signals("u").await;
    assert_eq!((signals.viewed.len(), source), (1, SignalsSource::Rebuilt));

    stores.models_down.store(true, Ordering::SeqCst);
    assert_eq!(
        server.ingest(liked("u", "i002")).await.unwrap().outcome(),
        IngestOutcome::Accepted
    );
    stores.models_down.store(false, Ordering::SeqCst);
    let (signals, source) = server.signals("u").await;
    assert_eq!((signals.viewed.len(), source), (2, SignalsSource::Rebuilt));
    assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);
}

#[tokio::test]
async fn a_redelivery_repairs_a_model_whose_refresh_was_lost() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    stores.models_down.store(true, Ordering::SeqCst);
    server
        .recommender()
        .ingest_event(ingest_request("u"))
        .await
        .unwrap();
    stores.models_down.store(false, Ordering::SeqCst);
    let again = server
        .recommender()
        .ingest_event(ingest_request("u"))
        .await
        .unwrap();
    assert_eq!(again.into_inner().outcome(), IngestOutcome::Duplicate);
    assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);
}

#[tokio::test]
async fn a_batch_is_one_append_and_one_refresh_for_each_distinct_user() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    let events = (0..300)
        .map(|index| proto::InteractionEvent {
            event_id: index.to_string(),
            ..liked(&format!("u{}", index % 50), "i001")
        })
        .collect();
    let reply = server.batch(events).await.unwrap();
    assert_eq!(reply.results.len(), 300);
    assert_eq!(stores.appends.load(Ordering::SeqCst), 50);
    assert_eq!(stores.reads.load(Ordering::SeqCst), 50);
}

/// On one thread: an append that has ended has also joined its refresh before
/// anything else happens, so that the refreshes can be counted.
#[tokio::test]
async fn appends_that_come_together_share_refreshes_and_each_is_in_the_model_it_waited_for() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    stores.hold_reads_until.store(40, Ordering::SeqCst);
    let calls: Vec<_> = (0..40)
        .map(|index| {
            let mut client = server.recommender();
            let event = Some(proto::InteractionEvent {
                event_id: index.to_string(),
                ..liked("u", "i001")
            });
            tokio::spawn(async move {
                let request = proto::IngestEventRequest { event };
                client.ingest_event(request).await.unwrap();
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    // One that was under way while the others appended, one for them all.
    let reads = stores.reads.load(Ordering::SeqCst);
    assert!(reads <= 2, "40 appends took {reads} refreshes");
    let (signals, source) = server.signals("u").await;
    assert_eq!(
        (signals.event_count, source),
        (40, SignalsSource::Materialized)
    );
}

#[tokio::test]
async fn a_refresh_in_flight_cannot_restore_an_erased_user() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    stores.hold_saves.store(true, Ordering::SeqCst);
    let mut client = server.recommender();
    let ingest = tokio::spawn(async move { client.ingest_event(ingest_request("u")).await });
    while stores.saves_waiting.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The refresh has read the event and built the model, and is about to save.
    assert!(server.delete("u").await);
    stores.hold_saves.store(false, Ordering::SeqCst);
    ingest.await.unwrap().unwrap();

    let user = UserId::parse("u").unwrap();
    let slot = stores.world.ports.models.load(&user).await.unwrap();
    assert!(matches!(slot, ModelSlot::Erased(_)), "{slot:?}");
    assert_eq!(server.signals("u").await.1, SignalsSource::Empty);
}

#[tokio::test]
async fn a_store_that_fails_for_one_user_of_a_batch_fails_only_those_events() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    let reply = server
        .batch(vec![
            liked("a", "i001"),
            liked("broken", "i002"),
            liked("b", "i003"),
        ])
        .await
        .unwrap();
    let outcomes: Vec<IngestOutcome> = reply
        .results
        .iter()
        .map(|result| result.outcome())
        .collect();
    assert_eq!(
        outcomes,
        [
            IngestOutcome::Accepted,
            IngestOutcome::Rejected,
            IngestOutcome::Accepted
        ]
    );
    let error = reply.results[1].error.clone().unwrap();
    assert_eq!(error.code, Code::Unavailable as i32);
    assert!(error.field.is_empty());
}

#[tokio::test]
async fn a_generator_without_its_index_is_named_and_the_list_goes_on() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    server.ingest(liked("u", "i001")).await.unwrap();
    stores.no_index.store(true, Ordering::SeqCst);
    let wanted = proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    };
    let list = server.recommend(wanted).await.unwrap();
    assert_eq!(list.items.len(), 10);
    assert_eq!(list.diagnostics.unwrap().degraded, ["generator:tags"]);
}

#[tokio::test]
async fn a_model_of_another_ranking_file_counts_as_missing() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    server.ingest(liked("u", "i001")).await.unwrap();
    let other = RankingConfig {
        half_life_days: 1.0,
        ..RankingConfig::default()
    };
    let engine = Engine::new(stores.world.ports.clone(), other, EngineSettings::default());
    let user = UserId::parse("u").unwrap();
    let (_, source) = engine.signals(&user).await.unwrap();
    assert_eq!(source, recsys::engine::SignalsSource::Rebuilt);
}

#[tokio::test]
async fn an_old_model_is_better_than_none_while_the_catalogue_is_down() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    server.ingest(liked("u", "i001")).await.unwrap();
    stores.world.clock.advance(Duration::from_secs(7_200));
    stores.items_down.store(true, Ordering::SeqCst);
    let (signals, source) = server.signals("u").await;
    assert_eq!(
        (signals.viewed.len(), source),
        (1, SignalsSource::Materialized)
    );
    stores.items_down.store(false, Ordering::SeqCst);
    assert_eq!(server.signals("u").await.1, SignalsSource::Rebuilt);
}

#[tokio::test]
async fn a_panic_is_internal_for_its_call_alone() {
    let stores = Faulty::new();
    let server = stores.serve().await;
    let mut client = server.recommender();
    let of = |user: &str| proto::GetUserSignalsRequest {
        user_id: user.to_owned(),
        include_vectors: false,
    };
    let mut second = client.clone();
    let (panicked, other) = tokio::join!(
        client.get_user_signals(of("panic")),
        second.get_user_signals(of("u"))
    );
    let status = panicked.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Internal, "internal error")
    );
    assert_eq!(reason(&status), "INTERNAL");
    other.unwrap();
    client.get_user_signals(of("u")).await.unwrap();
}
