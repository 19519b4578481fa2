//! Deadlines while a store hangs: calls reply in time with what is known by then, and
//! appends in flight are completed.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use recsys::{
    domain::{event::StoredEvent, ids::UserId, ranking_config::RankingConfig},
    edge::settings::ServerSettings,
    engine::{Deadlines, Degradation, EngineError, ListRequest, SignalsSource},
    ports::{AppendOutcome, Deadline, ModelSlot},
    proto::{self, IngestOutcome},
};
use tonic::{Code, Request};

use crate::support::{
    MemoryWorld,
    hanging::{HELD, Hanging},
    items::half_circle,
    server::{NOW, TestServer, liked, reason, stored_like},
};

/// Only to end a test that hangs.
const LONG: Duration = Duration::from_secs(60);

fn world() -> MemoryWorld {
    MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(20))
}

fn soon() -> Deadline {
    Deadline::at(Instant::now() + Duration::from_millis(50))
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(LONG, work).await;
    done.expect("it hangs")
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

#[tokio::test]
async fn an_event_is_acknowledged_while_its_refresh_hangs_and_the_refresh_completes_later() {
    let stores = Hanging::new(world().ports);
    let engine = stores.engine(RankingConfig::default());
    stores.items.store(true, Ordering::SeqCst);
    let ingested = in_time(engine.ingest(stored_like("u", "i001"), soon())).await;
    assert_eq!(ingested.unwrap().outcome, AppendOutcome::Accepted);
    let again = in_time(engine.ingest(stored_like("u", "i001"), soon())).await;
    assert_eq!(again.unwrap().outcome, AppendOutcome::Duplicate);

    stores.items.store(false, Ordering::SeqCst);
    in_time(engine.finish()).await;
    let model = stores.ports.models.load(&user("u")).await.unwrap();
    assert!(matches!(model, ModelSlot::Present(_)), "{model:?}");
    let (signals, source) = engine.signals(&user("u")).await.unwrap();
    assert_eq!(
        (signals.event_count, source),
        (1, SignalsSource::Materialized)
    );
}

#[tokio::test]
async fn a_batch_past_its_deadline_reports_what_was_stored_and_starts_nothing_more() {
    let stores = Hanging::new(world().ports);
    let engine = stores.engine(RankingConfig::default());
    for hangs in [&stores.items, &stores.state] {
        hangs.store(true, Ordering::SeqCst);
    }
    let users = ["a", HELD, "b", "a"];
    let batch = |ids: &[&str]| -> Vec<StoredEvent> {
        let events = ids.iter().enumerate();
        let event = |(index, id): (usize, &&str)| stored_like(id, &format!("i{index:03}"));
        events.map(event).collect()
    };
    // Long enough for the appends that do not hang, on any machine.
    let within_seconds = Deadline::at(Instant::now() + Duration::from_secs(3));
    let results = in_time(engine.ingest_batch(batch(&users), within_seconds)).await;
    for (user, result) in users.iter().zip(results.unwrap()) {
        match result {
            Ok(ingested) => assert_eq!(ingested.outcome, AppendOutcome::Accepted),
            Err(error) => {
                assert!(matches!(error, EngineError::TimedOut), "{error:?}");
                assert_eq!(*user, HELD);
            }
        }
    }

    let late = Deadline::at(Instant::now());
    let results = in_time(engine.ingest_batch(batch(&["late"]), late)).await;
    let results = results.unwrap();
    assert!(matches!(results[..], [Err(EngineError::TimedOut)]));

    for hangs in [&stores.items, &stores.state] {
        hangs.store(false, Ordering::SeqCst);
    }
    in_time(engine.finish()).await;
    for (id, events) in [("a", 2), ("b", 1), (HELD, 1), ("late", 0)] {
        let (signals, _) = engine.signals(&user(id)).await.unwrap();
        assert_eq!(signals.event_count, events, "{id}");
    }
}

#[tokio::test]
async fn a_list_waits_for_items_no_longer_than_its_deadline() {
    let stores = Hanging::new(world().ports);
    let engine = stores.engine(RankingConfig::default());
    stores.items.store(true, Ordering::SeqCst);
    let request = ListRequest::for_user(user("u"), 10);
    let deadlines = Deadlines {
        items: soon(),
        ..Deadlines::UNLIMITED
    };
    let failed = in_time(engine.list(&request, deadlines)).await;
    let failed = failed.unwrap_err();
    assert!(matches!(failed, EngineError::TimedOut), "{failed}");

    stores.items.store(false, Ordering::SeqCst);
    stores.state.store(true, Ordering::SeqCst);
    let deadlines = Deadlines {
        model: soon(),
        ..Deadlines::UNLIMITED
    };
    let list = in_time(engine.list(&request, deadlines)).await.unwrap();
    assert_eq!(
        (list.items.len(), list.degraded),
        (10, vec![Degradation::UserModel])
    );
}

fn within<T>(deadline: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

#[tokio::test]
async fn calls_reply_before_their_deadline_with_partial_results() {
    const DEADLINE: Duration = Duration::from_secs(6);
    let stores = Hanging::new(world().ports);
    let engine = stores.engine(RankingConfig::default());
    let server = TestServer::serving(world(), engine, ServerSettings::default()).await;
    for hangs in [&stores.items, &stores.state] {
        hangs.store(true, Ordering::SeqCst);
    }
    let mut clients = [(); 3].map(|()| server.recommender());
    let [ingesting, batching, listing] = &mut clients;
    let mut catalog = server.catalog();
    let event = proto::IngestEventRequest {
        event: Some(liked("u", "i001")),
    };
    let batch = proto::BatchIngestEventsRequest {
        events: vec![liked("v", "i001"), liked(HELD, "i001"), liked("", "i001")],
    };
    let list = proto::RecommendRequest {
        user_id: "w".into(),
        ..Default::default()
    };
    let items = proto::GetItemsRequest {
        content_ids: vec!["i001".into()],
    };
    let (mut paging, page) = (catalog.clone(), proto::ListItemsRequest::default());
    let (event, batch, list, items, page) = tokio::join!(
        ingesting.ingest_event(within(DEADLINE, event)),
        batching.batch_ingest_events(within(DEADLINE, batch)),
        listing.recommend(within(DEADLINE, list)),
        catalog.get_items(within(DEADLINE, items)),
        paging.list_items(within(DEADLINE, page)),
    );
    let event = event.unwrap().into_inner();
    assert_eq!(event.outcome(), IngestOutcome::Accepted);
    let results = batch.unwrap().into_inner().results;
    assert_eq!(results[0].outcome(), IngestOutcome::Accepted);
    let errors = results[1..].iter().map(|result| {
        let error = result.error.as_ref().unwrap();
        (error.code, error.reason.as_str())
    });
    let (late, invalid) = (Code::DeadlineExceeded as i32, Code::InvalidArgument as i32);
    assert_eq!(
        errors.collect::<Vec<_>>(),
        [(late, "DEADLINE_EXCEEDED"), (invalid, "INVALID_FIELD")]
    );
    for status in [list.unwrap_err(), items.unwrap_err(), page.unwrap_err()] {
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert_eq!(reason(&status), "DEADLINE_EXCEEDED");
    }
    for hangs in [&stores.items, &stores.state] {
        hangs.store(false, Ordering::SeqCst);
    }
    server.stopped().await.unwrap();
}
