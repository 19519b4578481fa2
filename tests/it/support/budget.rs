//! What the tests of the budget of memory share: a tenant that does no harm, and the
//! memory of a process.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use recsys::proto::{
    BatchIngestEventsRequest, RecommendRequest,
    recommender_service_client::RecommenderServiceClient,
};
use tokio::task::JoinHandle;

use super::{
    server::{connect, liked, named},
    tenants::with_headers,
    watched::Watched,
};

/// The setting `RECSYS_MAX_BUFFERED_BYTES` of these tests.
pub const BUDGET: usize = 64 << 20;
/// What the process may use besides the budget: its code, catalogue, caches and what the
/// allocator keeps.
const OTHER_BYTES: usize = 192 << 20;

pub fn assert_bounded(served: &Watched, attack: &str) {
    let held = served.value("recsys_buffered_bytes", &[]);
    assert!(held <= 1.25 * BUDGET as f64, "{attack}: {held} bytes held");
    let resident = resident_bytes(served.served.child.id());
    let most = BUDGET + OTHER_BYTES;
    assert!(resident <= most, "{attack}: {resident} bytes resident");
}

fn resident_bytes(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() << 10
}

/// Calls of a tenant that does no harm. None of them may fail.
pub struct HealthyTenant {
    stop: Arc<AtomicBool>,
    begun: Arc<AtomicUsize>,
    calling: JoinHandle<()>,
}

impl HealthyTenant {
    /// Events that it sends in each round; then it asks for a list.
    pub const EVENTS: usize = 100;
    /// Rounds of one connection; then it makes a new one.
    const CONNECTION_ROUNDS: usize = 10;

    /// Calls until it is finished.
    pub fn start(address: SocketAddr, key: String) -> Self {
        let (stop, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let calling = tokio::spawn(calls(address, key, stop.clone(), begun.clone()));
        Self {
            stop,
            begun,
            calling,
        }
    }

    /// How many rounds it has begun.
    pub fn rounds(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Waits for a few more rounds, and asserts that no call has failed.
    pub async fn finish(self) {
        let before = self.rounds();
        while self.rounds() < before + 3 && !self.calling.is_finished() {
            tokio::task::yield_now().await;
        }
        self.stop.store(true, Ordering::SeqCst);
        self.calling.await.unwrap();
    }
}

async fn calls(address: SocketAddr, key: String, stop: Arc<AtomicBool>, begun: Arc<AtomicUsize>) {
    let mut client = RecommenderServiceClient::new(connect(address).await);
    while !stop.load(Ordering::SeqCst) {
        let number = begun.fetch_add(1, Ordering::SeqCst);
        let event = |index| named(&format!("{number}-{index}"), liked("u", "2001"));
        let events = (0..HealthyTenant::EVENTS).map(event).collect();
        if number.is_multiple_of(HealthyTenant::CONNECTION_ROUNDS) {
            client = RecommenderServiceClient::new(connect(address).await);
        }
        let request = with_headers(&[("x-api-key", &key)], BatchIngestEventsRequest { events });
        let stored = client.batch_ingest_events(request).await.unwrap();
        for result in stored.into_inner().results {
            assert_eq!(result.error, None);
        }
        let request = RecommendRequest {
            user_id: "u".into(),
            include_content: true,
            ..Default::default()
        };
        let request = with_headers(&[("x-api-key", &key)], request);
        client.recommend(request).await.unwrap();
    }
}
