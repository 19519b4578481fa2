//! Shared by tests: fixed clocks, seeded randomness, servers, stand-ins and clients.

pub mod associations;
pub mod attacks;
pub mod budget;
pub mod catalogue;
pub mod certificates;
pub mod hanging;
pub mod http;
pub mod items;
pub mod plain;
pub mod program;
pub mod proxy;
pub mod qdrant;
pub mod raw_http2;
pub mod redis;
pub mod server;
pub mod state_attacks;
pub mod tenants;
pub mod watched;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use recsys::{
    adapters::{
        memory::{
            Budget, MemoryAssociationStore, MemoryEventBuffer, MemoryItemStore, MemoryModelStore,
        },
        system::SystemClock,
    },
    domain::{item::Item, ranking_config::RankingConfig, time::Timestamp},
    engine::{AssociationSettings, Engine, EngineSettings, Ports},
    ports::{Clock, Randomness},
};

pub const DAY: Duration = Duration::from_secs(86_400);
pub const WINDOW: Duration = Duration::from_secs(30 * 86_400);

/// Waits until a condition holds. The time limit is long: only a hang exceeds it.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), polling).await;
    assert!(waited.is_ok(), "waited too long: {what}");
}

/// A clock that stands still until it is set.
#[derive(Debug)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// At the time of the machine.
    pub fn real() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(SystemClock.now().as_micros())))
    }

    pub fn at(text: &str) -> Arc<Self> {
        let now = Timestamp::parse_iso8601(text).expect("an ISO 8601 time");
        Arc::new(Self(AtomicI64::new(now.as_micros())))
    }

    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_micros(), Ordering::SeqCst);
    }

    pub fn advance(&self, span: Duration) {
        self.set(self.now().plus(span));
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Pseudorandom numbers, the same in every run.
#[derive(Debug, Default)]
pub struct TestRandomness(AtomicU64);

impl Randomness for TestRandomness {
    fn next_u64(&self) -> u64 {
        let step = self.0.fetch_add(1, Ordering::SeqCst);
        (step + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// All stores in memory, with a test clock. Clones share everything.
#[derive(Clone)]
pub struct MemoryWorld {
    pub clock: Arc<TestClock>,
    pub ports: Ports,
    pub items: Arc<MemoryItemStore>,
}

impl MemoryWorld {
    pub fn new(now: &str, config: &RankingConfig, items: Vec<Item>) -> Self {
        let clock = TestClock::at(now);
        let budget = Arc::new(Budget::new(256 << 20));
        let store = Arc::new(MemoryItemStore::new(config.canonicalizer(), 256 << 20));
        for item in items {
            store.put(item).expect("a valid item");
        }
        let ports = Ports {
            events: Arc::new(MemoryEventBuffer::new(
                clock.clone(),
                WINDOW,
                5_000,
                budget.clone(),
            )),
            models: Arc::new(MemoryModelStore::new(
                clock.clone(),
                7 * DAY,
                budget.clone(),
            )),
            associations: Arc::new(MemoryAssociationStore::new(clock.clone(), WINDOW, budget)),
            items: store.clone(),
            randomness: Arc::new(TestRandomness::default()),
        };
        Self {
            clock,
            ports,
            items: store,
        }
    }

    pub fn engine(&self, config: RankingConfig) -> Engine {
        Engine::new(self.ports.clone(), config, Self::settings())
    }

    /// Nothing changes between two calls: rows of associations are not refreshed in the
    /// background.
    pub fn settings() -> EngineSettings {
        EngineSettings {
            associations: AssociationSettings {
                background: false,
                ..AssociationSettings::default()
            },
            ..EngineSettings::default()
        }
    }
}
