//! All that a run works on.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
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
    observer::Observer,
    people::{People, Person},
    rig::Rig,
    shelf::Shelf,
};

/// Each may carry 256 calls at once.
const CONNECTIONS: usize = 8;

/// An event that failed, and will be sent again.
pub struct Again {
    pub due: Instant,
    pub person: Arc<Person>,
    pub number: u64,
    pub event: InteractionEvent,
}

pub struct World {
    pub rig: Rig,
    pub people: People,
    pub shelf: Shelf,
    pub observer: Observer,
    pub again: Mutex<VecDeque<Again>>,
    channels: Vec<Channel>,
    next_channel: AtomicUsize,
    next_event: AtomicU64,
    fat: AtomicBool,
}

impl World {
    pub fn new(rig: Rig, people: People) -> Arc<Self> {
        let url = format!("http://{}", rig.server.lock().unwrap().address);
        let endpoint = Endpoint::from_shared(url).expect("an address");
        Arc::new(Self {
            rig,
            people,
            shelf: Shelf::new(),
            observer: Observer::new(Instant::now()),
            again: Mutex::default(),
            channels: (0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect(),
            next_channel: AtomicUsize::new(0),
            next_event: AtomicU64::new(0),
            fat: AtomicBool::new(false),
        })
    }

    fn channel(&self) -> Channel {
        let next = self.next_channel.fetch_add(1, Ordering::Relaxed);
        self.channels[next % self.channels.len()].clone()
    }

    pub fn recommender(&self) -> RecommenderServiceClient<Channel> {
        RecommenderServiceClient::new(self.channel()).max_decoding_message_size(64 << 20)
    }

    pub fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel()).max_decoding_message_size(64 << 20)
    }

    pub fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel())
    }

    /// A number that no event has.
    pub fn event_number(&self) -> u64 {
        self.next_event.fetch_add(1, Ordering::Relaxed)
    }

    pub fn events(&self) -> u64 {
        self.next_event.load(Ordering::Relaxed)
    }

    /// From now on events are large.
    pub fn fatten(&self) {
        self.fat.store(true, Ordering::Relaxed);
    }

    pub fn is_fat(&self) -> bool {
        self.fat.load(Ordering::Relaxed)
    }
}
