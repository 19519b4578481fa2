//! Stores that do not answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use recsys::{
    domain::{
        associations::{Audience, NeighborRow},
        event::StoredEvent,
        ids::{ContentId, UserId},
        item::{CatalogueItem, Item},
        item_update::ItemUpdate,
        ranking_config::RankingConfig,
        time::Timestamp,
    },
    engine::{Engine, EngineSettings, Ports},
    ports::{
        Appended, AssociationStore, AudienceChanges, BufferSnapshot, Deadline, Engagement, Erasure,
        ErasureStart, EventBuffer, Found, ItemPage, ItemRefusal, ItemStore, ListSlot,
        ObservedBuffer, ObservedVersion, PageRequest, PageStart, PopularityRanking, Rank,
        SavedList, Search, StoreError, StoreErrorKind, StoredList, StoredPage, Version,
        WaitingCaller, WriteOutcome,
    },
};

/// The user whose events are not appended while the state hangs.
pub const HELD: &str = "held";

/// Stores that can be made to hang.
pub struct Hanging {
    pub ports: Ports,
    /// Whether searches and reads of items hang.
    pub items: AtomicBool,
    /// Whether reads of users' models, and appends for [`HELD`], hang.
    pub state: AtomicBool,
    /// Whether the reads of associations for lists hang.
    pub associations: AtomicBool,
    /// Whether writes of interest lists hang.
    pub lists: AtomicBool,
}

impl Hanging {
    pub fn new(ports: Ports) -> Arc<Self> {
        Arc::new(Self {
            ports,
            items: AtomicBool::new(false),
            state: AtomicBool::new(false),
            associations: AtomicBool::new(false),
            lists: AtomicBool::new(false),
        })
    }

    pub fn ports(self: &Arc<Self>) -> Ports {
        Ports {
            events: self.clone(),
            items: self.clone(),
            associations: self.clone(),
            ..self.ports.clone()
        }
    }

    pub fn engine(self: &Arc<Self>, config: RankingConfig) -> Engine {
        Engine::new(self.ports(), config, EngineSettings::default())
    }

    fn associations(&self) -> &dyn AssociationStore {
        &*self.ports.associations
    }

    /// As the port requires, a read ends at its deadline.
    async fn items(&self, deadline: Deadline) -> Result<(), StoreError> {
        if !released(&self.items, deadline).await {
            let text = "no answer in time";
            return Err(StoreError::new(StoreErrorKind::Unavailable, text));
        }
        Ok(())
    }
}

async fn released(hangs: &AtomicBool, deadline: Deadline) -> bool {
    while hangs.load(Ordering::SeqCst) {
        if deadline.remaining().is_zero() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    true
}

#[async_trait]
impl EventBuffer for Hanging {
    async fn append(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        caller: &WaitingCaller,
    ) -> Result<Appended, StoreError> {
        if user.as_str() == HELD {
            released(&self.state, Deadline::NONE).await;
        }
        self.ports.events.append(user, events, caller).await
    }
    async fn read(&self, user: &UserId) -> Result<BufferSnapshot, StoreError> {
        self.ports.events.read(user).await
    }
    async fn stored_page(&self, user: &UserId, start: PageStart) -> Result<StoredPage, StoreError> {
        self.ports.events.stored_page(user, start).await
    }
    async fn stored(&self, user: &UserId) -> Result<Vec<String>, StoreError> {
        self.ports.events.stored(user).await
    }
    async fn version(&self, user: &UserId) -> Result<ObservedVersion, StoreError> {
        released(&self.state, Deadline::NONE).await;
        self.ports.events.version(user).await
    }
    async fn begin_erasure(&self, user: &UserId) -> Result<ErasureStart, StoreError> {
        self.ports.events.begin_erasure(user).await
    }
    async fn erase(
        &self,
        user: &UserId,
        read_at: Timestamp,
        floor: Version,
    ) -> Result<Option<Erasure>, StoreError> {
        self.ports.events.erase(user, read_at, floor).await
    }
    async fn observe(&self, user: &UserId) -> Result<ObservedBuffer, StoreError> {
        self.ports.events.observe(user).await
    }
    async fn remove_copied(
        &self,
        user: &UserId,
        copied: &ObservedBuffer,
        floor: Version,
    ) -> Result<Option<Version>, StoreError> {
        let events = &self.ports.events;
        events.remove_copied(user, copied, floor).await
    }
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.ports.events.now().await
    }
    async fn data_id(&self) -> Result<String, StoreError> {
        self.ports.events.data_id().await
    }
    async fn check(&self) -> Result<(), StoreError> {
        self.ports.events.check().await
    }
}

#[async_trait]
impl ItemStore for Hanging {
    async fn search(
        &self,
        searches: &[Search<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError> {
        self.items(deadline).await?;
        self.ports.items.search(searches, deadline).await
    }
    async fn get(
        &self,
        ids: &[ContentId],
        deadline: Deadline,
    ) -> Result<Vec<Option<Arc<CatalogueItem>>>, StoreError> {
        self.items(deadline).await?;
        self.ports.items.get(ids, deadline).await
    }
    fn cached(&self, ids: &[ContentId]) -> Vec<Option<Arc<CatalogueItem>>> {
        vec![None; ids.len()]
    }
    async fn upsert(&self, items: Vec<Item>) -> Result<Vec<Result<(), ItemRefusal>>, StoreError> {
        self.ports.items.upsert(items).await
    }
    async fn update(
        &self,
        updates: Vec<ItemUpdate>,
    ) -> Result<Vec<Result<bool, ItemRefusal>>, StoreError> {
        self.ports.items.update(updates).await
    }
    async fn list(
        &self,
        page: PageRequest<'_>,
        deadline: Deadline,
    ) -> Result<Option<ItemPage>, StoreError> {
        self.items(deadline).await?;
        self.ports.items.list(page, deadline).await
    }
    async fn delete(&self, ids: &[ContentId]) -> Result<Vec<bool>, StoreError> {
        self.ports.items.delete(ids).await
    }
    async fn check(&self) -> Result<(), StoreError> {
        self.ports.items.check().await
    }
    fn vector_size(&self) -> Option<usize> {
        self.ports.items.vector_size()
    }
}

#[async_trait]
impl AssociationStore for Hanging {
    async fn join_audiences(
        &self,
        user: &UserId,
        engagements: &[Engagement],
        audience_max: usize,
        read_at: Timestamp,
    ) -> Result<Vec<ContentId>, StoreError> {
        let store = self.associations();
        store
            .join_audiences(user, engagements, audience_max, read_at)
            .await
    }
    async fn leave_audiences(
        &self,
        user: &UserId,
        engagements: &[Engagement],
        read_at: Timestamp,
    ) -> Result<Vec<ContentId>, StoreError> {
        let store = self.associations();
        store.leave_audiences(user, engagements, read_at).await
    }
    async fn audience(
        &self,
        item: &ContentId,
        audience_max: usize,
    ) -> Result<Audience, StoreError> {
        self.associations().audience(item, audience_max).await
    }
    async fn audience_sizes(&self, items: &[ContentId]) -> Result<Vec<usize>, StoreError> {
        released(&self.associations, Deadline::NONE).await;
        self.associations().audience_sizes(items).await
    }
    async fn settle_audience(
        &self,
        item: &ContentId,
        changes: &AudienceChanges,
        read_at: Timestamp,
    ) -> Result<WriteOutcome, StoreError> {
        self.associations()
            .settle_audience(item, changes, read_at)
            .await
    }
    async fn lists(&self, users: &[UserId]) -> Result<Vec<ListSlot>, StoreError> {
        self.associations().lists(users).await
    }
    async fn save_list(
        &self,
        user: &UserId,
        list: &StoredList,
        replaces: Option<Rank>,
        read: Option<Rank>,
        read_at: Timestamp,
    ) -> Result<SavedList, StoreError> {
        released(&self.lists, Deadline::NONE).await;
        self.associations()
            .save_list(user, list, replaces, read, read_at)
            .await
    }
    async fn erase_list(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<Option<ListSlot>, StoreError> {
        self.associations().erase_list(user, version, read_at).await
    }
    async fn remove_copied_list(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<Option<ListSlot>, StoreError> {
        let store = self.associations();
        store.remove_copied_list(user, version, read_at).await
    }
    async fn rows(&self, items: &[ContentId]) -> Result<Vec<Option<NeighborRow>>, StoreError> {
        released(&self.associations, Deadline::NONE).await;
        self.associations().rows(items).await
    }
    async fn save_row(
        &self,
        item: &ContentId,
        row: &NeighborRow,
    ) -> Result<WriteOutcome, StoreError> {
        self.associations().save_row(item, row).await
    }
    async fn rank_popularity(
        &self,
        ranking: PopularityRanking,
        item: &ContentId,
        key: Option<f64>,
    ) -> Result<(), StoreError> {
        self.associations()
            .rank_popularity(ranking, item, key)
            .await
    }
    async fn popularity(
        &self,
        ranking: PopularityRanking,
    ) -> Result<Vec<(ContentId, f64)>, StoreError> {
        released(&self.associations, Deadline::NONE).await;
        self.associations().popularity(ranking).await
    }
}
