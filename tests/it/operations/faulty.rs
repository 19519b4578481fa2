//! Stores that can be made slow or failing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use recsys::{
    domain::{
        event::StoredEvent,
        ids::{ContentId, UserId},
        item::{CatalogueItem, Item},
        item_update::ItemUpdate,
        ranking_config::RankingConfig,
        time::Timestamp,
    },
    edge::settings::ServerSettings,
    engine::{Engine, EngineSettings},
    ports::{
        Appended, BufferSnapshot, Deadline, Erasure, ErasureStart, EventBuffer, Found, ItemPage,
        ItemRefusal, ItemStore, ModelSlot, ModelStore, ObservedBuffer, ObservedVersion,
        PageRequest, PageStart, Rank, SaveOutcome, Search, SearchOrder, StoreError, StoreErrorKind,
        StoredModel, StoredPage, Version, WaitingCaller,
    },
};

use crate::support::{
    MemoryWorld,
    items::half_circle,
    server::{NOW, TestServer},
};

/// Stores that can be made slow or failing.
pub struct Faulty {
    pub world: MemoryWorld,
    pub slow: AtomicBool,
    pub down: AtomicBool,
    pub models_down: AtomicBool,
    pub items_down: AtomicBool,
    pub appends: AtomicUsize,
    pub reads: AtomicUsize,
    /// Reads of buffers wait for this number of appends.
    pub hold_reads_until: AtomicUsize,
    /// Saves of models wait until this is false.
    pub hold_saves: AtomicBool,
    pub saves_waiting: AtomicUsize,
    /// Appends wait until this is false.
    pub hold_appends: AtomicBool,
    /// How many calls reached the user state.
    pub begun: AtomicUsize,
    /// The user whose events cannot be appended.
    broken_user: &'static str,
    pub no_index: AtomicBool,
}

impl Faulty {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            world: MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(20)),
            slow: AtomicBool::new(false),
            down: AtomicBool::new(false),
            models_down: AtomicBool::new(false),
            items_down: AtomicBool::new(false),
            appends: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            hold_reads_until: AtomicUsize::new(0),
            hold_saves: AtomicBool::new(false),
            saves_waiting: AtomicUsize::new(0),
            hold_appends: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            broken_user: "broken",
            no_index: AtomicBool::new(false),
        })
    }

    pub fn engine(self: &Arc<Self>) -> Engine {
        let mut ports = self.world.ports.clone();
        ports.events = self.clone();
        ports.models = self.clone();
        ports.items = self.clone();
        Engine::new(ports, RankingConfig::default(), EngineSettings::default())
    }

    pub async fn serve(self: &Arc<Self>) -> TestServer {
        self.serve_with(ServerSettings {
            request_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(5),
            ..ServerSettings::default()
        })
        .await
    }

    pub async fn serve_with(self: &Arc<Self>, settings: ServerSettings) -> TestServer {
        let engine = self.engine();
        let world = MemoryWorld::new(NOW, &RankingConfig::default(), Vec::new());
        TestServer::serving(world, engine, settings).await
    }

    async fn state(&self) -> Result<(), StoreError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if self.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        answer(&self.down)
    }

    fn models(&self) -> Result<(), StoreError> {
        answer(&self.models_down)
    }
}

fn answer(down: &AtomicBool) -> Result<(), StoreError> {
    if down.load(Ordering::SeqCst) {
        return Err(StoreError::new(
            StoreErrorKind::Unavailable,
            "connection refused by 10.1.2.3",
        ));
    }
    Ok(())
}

#[async_trait]
impl EventBuffer for Faulty {
    async fn append(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        caller: &WaitingCaller,
    ) -> Result<Appended, StoreError> {
        self.state().await?;
        if user.as_str() == self.broken_user {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "broken"));
        }
        self.appends.fetch_add(1, Ordering::SeqCst);
        while self.hold_appends.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.world.ports.events.append(user, events, caller).await
    }
    async fn read(&self, user: &UserId) -> Result<BufferSnapshot, StoreError> {
        answer(&self.down)?;
        self.reads.fetch_add(1, Ordering::SeqCst);
        while self.appends.load(Ordering::SeqCst) < self.hold_reads_until.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.world.ports.events.read(user).await
    }
    async fn stored_page(&self, user: &UserId, start: PageStart) -> Result<StoredPage, StoreError> {
        self.state().await?;
        self.world.ports.events.stored_page(user, start).await
    }
    async fn stored(&self, user: &UserId) -> Result<Vec<String>, StoreError> {
        self.state().await?;
        self.world.ports.events.stored(user).await
    }
    async fn version(&self, user: &UserId) -> Result<ObservedVersion, StoreError> {
        assert_ne!(user.as_str(), "panic", "a bug, for a test");
        self.state().await?;
        self.world.ports.events.version(user).await
    }
    async fn begin_erasure(&self, user: &UserId) -> Result<ErasureStart, StoreError> {
        self.state().await?;
        self.world.ports.events.begin_erasure(user).await
    }
    async fn erase(
        &self,
        user: &UserId,
        read_at: Timestamp,
        floor: Version,
    ) -> Result<Option<Erasure>, StoreError> {
        self.state().await?;
        self.world.ports.events.erase(user, read_at, floor).await
    }
    async fn observe(&self, user: &UserId) -> Result<ObservedBuffer, StoreError> {
        self.state().await?;
        self.world.ports.events.observe(user).await
    }
    async fn remove_copied(
        &self,
        user: &UserId,
        copied: &ObservedBuffer,
        floor: Version,
    ) -> Result<Option<Version>, StoreError> {
        self.state().await?;
        let events = &self.world.ports.events;
        events.remove_copied(user, copied, floor).await
    }
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.world.ports.events.now().await
    }
    async fn data_id(&self) -> Result<String, StoreError> {
        answer(&self.down)?;
        self.world.ports.events.data_id().await
    }
    async fn check(&self) -> Result<(), StoreError> {
        answer(&self.down)
    }
}

#[async_trait]
impl ModelStore for Faulty {
    async fn load(&self, user: &UserId) -> Result<ModelSlot, StoreError> {
        self.models()?;
        self.world.ports.models.load(user).await
    }
    async fn stored(&self, user: &UserId) -> Result<Option<String>, StoreError> {
        self.models()?;
        self.world.ports.models.stored(user).await
    }
    async fn save(
        &self,
        user: &UserId,
        model: &StoredModel,
        instead_of: Option<Rank>,
        read_at: Timestamp,
    ) -> Result<SaveOutcome, StoreError> {
        self.models()?;
        self.saves_waiting.fetch_add(1, Ordering::SeqCst);
        while self.hold_saves.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let models = &self.world.ports.models;
        models.save(user, model, instead_of, read_at).await
    }
    async fn erase(
        &self,
        user: &UserId,
        erasure: &Erasure,
        read_at: Timestamp,
    ) -> Result<Option<bool>, StoreError> {
        self.models()?;
        let models = &self.world.ports.models;
        models.erase(user, erasure, read_at).await
    }
    async fn remove_copied(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.models()?;
        let models = &self.world.ports.models;
        models.remove_copied(user, version, read_at).await
    }
}

#[async_trait]
impl ItemStore for Faulty {
    fn cached(&self, ids: &[ContentId]) -> Vec<Option<Arc<CatalogueItem>>> {
        vec![None; ids.len()]
    }
    async fn search(
        &self,
        searches: &[Search<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError> {
        answer(&self.items_down)?;
        let found = self.world.ports.items.search(searches, deadline).await?;
        let lacking = self.no_index.load(Ordering::SeqCst);
        Ok(searches
            .iter()
            .zip(found)
            .map(|(search, found)| {
                if lacking && matches!(search.order, SearchOrder::TagOverlap(_)) {
                    Found::NoIndex
                } else {
                    found
                }
            })
            .collect())
    }
    async fn get(
        &self,
        ids: &[ContentId],
        deadline: Deadline,
    ) -> Result<Vec<Option<Arc<CatalogueItem>>>, StoreError> {
        answer(&self.items_down)?;
        self.world.ports.items.get(ids, deadline).await
    }
    async fn upsert(&self, items: Vec<Item>) -> Result<Vec<Result<(), ItemRefusal>>, StoreError> {
        answer(&self.items_down)?;
        self.world.ports.items.upsert(items).await
    }
    async fn update(
        &self,
        updates: Vec<ItemUpdate>,
    ) -> Result<Vec<Result<bool, ItemRefusal>>, StoreError> {
        answer(&self.items_down)?;
        self.world.ports.items.update(updates).await
    }
    async fn list(
        &self,
        page: PageRequest<'_>,
        deadline: Deadline,
    ) -> Result<Option<ItemPage>, StoreError> {
        answer(&self.items_down)?;
        self.world.ports.items.list(page, deadline).await
    }
    async fn delete(&self, ids: &[ContentId]) -> Result<Vec<bool>, StoreError> {
        answer(&self.items_down)?;
        self.world.ports.items.delete(ids).await
    }
    async fn check(&self) -> Result<(), StoreError> {
        answer(&self.items_down)
    }
    fn vector_size(&self) -> Option<usize> {
        self.world.ports.items.vector_size()
    }
}
