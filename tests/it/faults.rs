//! What happens when a store, the network or a caller fails.
//! `tests/fixtures/claims/faults.tsv` assigns each test here to a row of
//! `docs/operate/faults.md`.
//!
//! In every case the caller gets an error that says what to do, no acknowledged
//! event is lost or counted twice, and the service recovers without a restart.

mod callers;
mod cluster;
mod mirror;
mod qdrant;
mod redis;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use recsys::proto::{
    self, InteractionEvent, RecommendStrategy, recommender_service_client::RecommenderServiceClient,
};
use tokio::task::JoinHandle;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::support::{
    redis::RedisServer,
    server::{TestServer, liked, named, reason},
    until,
};

const PAUSE: Duration = Duration::from_millis(10);

/// Asserts that the error tells the caller to retry.
fn assert_retryable(status: &Status, code: Code, expected: &str) {
    assert_eq!(
        (status.code(), reason(status).as_str()),
        (code, expected),
        "{status}"
    );
    let retry = status.get_details_retry_info();
    assert!(retry.is_some_and(|info| info.retry_delay.is_some()));
}

fn assert_state_unavailable(status: &Status) {
    assert_retryable(status, Code::Unavailable, "USER_STATE_UNAVAILABLE");
}

fn assert_catalogue_unavailable(status: &Status) {
    assert_retryable(status, Code::Unavailable, "CATALOG_UNAVAILABLE");
}

fn assert_worth_retrying(status: &Status) {
    let retryable = [Code::Unavailable, Code::DeadlineExceeded];
    assert!(retryable.contains(&status.code()), "{status}");
}

fn recommend_request(user: &str) -> proto::RecommendRequest {
    proto::RecommendRequest {
        user_id: user.to_owned(),
        ..Default::default()
    }
}

fn signals_request(user: &str) -> proto::GetUserSignalsRequest {
    proto::GetUserSignalsRequest {
        user_id: user.to_owned(),
        include_vectors: false,
    }
}

/// An event of a user under an id.
fn event(user: &str, id: &str) -> InteractionEvent {
    named(id, liked(user, "i001"))
}

/// Sends an event until it is acknowledged, as clients with retries do.
async fn deliver(server: &TestServer, event: &InteractionEvent) -> proto::IngestEventResponse {
    loop {
        match server.ingest(event.clone()).await {
            Ok(reply) => return reply,
            Err(status) => assert_worth_retrying(&status),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asserts what every call returns while the users' state cannot be reached.
async fn assert_calls_without_state(server: &TestServer, user: &str, event_id: &str) {
    let event = event(user, event_id);
    assert_state_unavailable(&server.ingest(event.clone()).await.unwrap_err());
    let error = server.batch(vec![event]).await.unwrap().results.remove(0);
    let error = error.error.unwrap();
    assert_eq!(
        (error.code, error.reason.as_str()),
        (Code::Unavailable as i32, "USER_STATE_UNAVAILABLE")
    );
    let read = server
        .recommender()
        .get_user_signals(signals_request(user))
        .await;
    assert_state_unavailable(&read.unwrap_err());
    let list = server.recommend(recommend_request(user)).await.unwrap();
    assert_eq!(list.strategy(), RecommendStrategy::Cold);
    assert!(!list.items.is_empty());
    assert_eq!(list.diagnostics.unwrap().degraded[0], "user_model");
}

/// Events that were acknowledged, by user.
type Acknowledged = BTreeMap<String, BTreeSet<String>>;

/// Asserts that exactly the acknowledged events are stored, each once, and are in
/// the next model.
async fn assert_stored(
    server: &TestServer,
    redis: &RedisServer,
    prefix: &str,
    sent: &Acknowledged,
) {
    for (user, ids) in sent {
        let mut stored = redis.event_ids(&format!("{prefix}evt:{user}"));
        stored.sort();
        let expected: Vec<&String> = ids.iter().collect();
        assert_eq!(stored.iter().collect::<Vec<_>>(), expected, "{user}");
        let (model, _) = server.signals(user).await;
        assert_eq!(model.event_count as usize, ids.len(), "{user}");
    }
}

/// Asserts the same for one user.
async fn assert_stored_for(
    server: &TestServer,
    redis: &RedisServer,
    prefix: &str,
    user: &str,
    ids: &[&str],
) {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    assert_stored(server, redis, prefix, &[(user.to_owned(), ids)].into()).await;
}

/// Eight clients that send events of some users until they are stopped, each event
/// until it is acknowledged, and then read the user's model.
struct Load {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    writers: Vec<JoinHandle<Vec<(String, String)>>>,
}

#[derive(Default)]
struct Counts {
    acknowledged: AtomicUsize,
    failed: AtomicUsize,
}

impl Load {
    fn start(server: &TestServer, users: &[String]) -> Self {
        let (stop, counts) = (Arc::<AtomicBool>::default(), Arc::<Counts>::default());
        let writers = (0..8)
            .map(|writer| {
                let writer = Writer {
                    name: writer,
                    client: server.recommender(),
                    counts: counts.clone(),
                };
                tokio::spawn(writer.run(users.to_vec(), stop.clone()))
            })
            .collect();
        Self {
            stop,
            counts,
            writers,
        }
    }

    fn failed(&self) -> usize {
        self.counts.failed.load(Ordering::SeqCst)
    }

    /// Waits until as many more events were acknowledged.
    async fn wait_for(&self, more: usize) {
        let enough = self.counts.acknowledged.load(Ordering::SeqCst) + more;
        let reached = async || self.counts.acknowledged.load(Ordering::SeqCst) >= enough;
        until("more events are acknowledged", reached).await;
    }

    /// Lets the writers finish their events; returns all events.
    async fn end(self) -> Acknowledged {
        self.stop.store(true, Ordering::SeqCst);
        let mut sent = Acknowledged::new();
        for writer in self.writers {
            for (user, id) in writer.await.unwrap() {
                assert!(sent.entry(user).or_default().insert(id));
            }
        }
        sent
    }
}

struct Writer {
    name: usize,
    client: RecommenderServiceClient<Channel>,
    counts: Arc<Counts>,
}

impl Writer {
    async fn run(mut self, users: Vec<String>, stop: Arc<AtomicBool>) -> Vec<(String, String)> {
        let mut sent = Vec::new();
        for number in 0.. {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            let user = &users[(self.name + number) % users.len()];
            let id = format!("{}-{number}", self.name);
            let buffered = self.deliver(event(user, &id)).await;
            self.counts.acknowledged.fetch_add(1, Ordering::SeqCst);
            let modelled = self.event_count(user).await;
            assert!(
                modelled >= buffered,
                "{user}: {modelled} of {buffered} events"
            );
            sent.push((user.clone(), id));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sent
    }

    /// Sends an event until it is acknowledged; returns how many events the user has.
    async fn deliver(&mut self, event: InteractionEvent) -> u32 {
        let request = proto::IngestEventRequest { event: Some(event) };
        loop {
            match self.client.ingest_event(request.clone()).await {
                Ok(reply) => return reply.into_inner().buffered_events,
                Err(status) => self.wait_after(&status).await,
            }
        }
    }

    /// Returns how many events the user's model was built from.
    async fn event_count(&mut self, user: &str) -> u32 {
        loop {
            match self.client.get_user_signals(signals_request(user)).await {
                Ok(reply) => return reply.into_inner().signals.unwrap().event_count,
                Err(status) => self.wait_after(&status).await,
            }
        }
    }

    async fn wait_after(&self, status: &Status) {
        assert_worth_retrying(status);
        self.counts.failed.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(PAUSE).await;
    }
}

fn users(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("u{number}")).collect()
}
