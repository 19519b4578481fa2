//! What a run works on: the stores, the server, its clients, and what is known of users
//! and items.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use recsys::proto::{
    InteractionEvent, catalog_service_client::CatalogServiceClient,
    recommender_service_client::RecommenderServiceClient,
};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_client::HealthClient;

use super::{
    SoakSettings,
    calls::Recorder,
    faults::Timeline,
    items::{self, ChangingItems, DIMENSIONS},
    processes::ServerProcess,
    random::Random,
    support::{qdrant::QdrantServer, redis::RedisServer},
    users::{User, Users},
};

/// Each carries up to 256 calls at once.
const CONNECTIONS: usize = 8;
/// Users who send events at a time, for each call a second.
const USERS_PER_RATE: usize = 2;
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// An event that failed, and that its sender retries.
pub struct Retry {
    pub due: Instant,
    pub user: Arc<User>,
    pub number: u64,
    pub event: InteractionEvent,
}

// Fields are dropped in this order: the server before its stores.
pub struct World {
    server: Mutex<ServerProcess>,
    pub redis: Mutex<RedisServer>,
    pub redis_url: String,
    pub qdrant: QdrantServer,
    pub users: Users,
    pub items: ChangingItems,
    pub timeline: Timeline,
    pub recorder: Recorder,
    pub retries: Mutex<VecDeque<Retry>>,
    channels: Vec<Channel>,
    next_channel: AtomicUsize,
    next_event: AtomicU64,
}

impl World {
    /// Starts the stores, fills the catalogue, and starts the server.
    pub async fn start(settings: &SoakSettings, random: &mut Random) -> Arc<Self> {
        let redis = RedisServer::with(&["--maxmemory-policy", "noeviction"]);
        let qdrant = QdrantServer::start().await;
        let store = items::store(&qdrant.url());
        store.prepare(Some(DIMENSIONS)).await.expect("a collection");
        let redis_url = redis.url();
        let server = ServerProcess::start(settings, &redis_url, &qdrant.url());
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address));
        let endpoint = endpoint.expect("an address");
        let world = Arc::new(Self {
            server: Mutex::new(server),
            redis: Mutex::new(redis),
            redis_url,
            qdrant,
            users: Users::new(USERS_PER_RATE * settings.rate as usize, random),
            items: ChangingItems::new(),
            timeline: Timeline::default(),
            recorder: Recorder::new(Instant::now()),
            retries: Mutex::default(),
            channels: (0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect(),
            next_channel: AtomicUsize::new(0),
            next_event: AtomicU64::new(0),
        });
        items::fill(&world).await;
        world
    }

    pub fn server(&self) -> MutexGuard<'_, ServerProcess> {
        self.server.lock().unwrap()
    }

    fn channel(&self) -> Channel {
        let next = self.next_channel.fetch_add(1, Ordering::Relaxed);
        self.channels[next % self.channels.len()].clone()
    }

    pub fn recommender(&self) -> RecommenderServiceClient<Channel> {
        RecommenderServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel())
    }

    /// A number that no other event has.
    pub fn next_event_number(&self) -> u64 {
        self.next_event.fetch_add(1, Ordering::Relaxed)
    }

    pub fn events(&self) -> u64 {
        self.next_event.load(Ordering::Relaxed)
    }
}
