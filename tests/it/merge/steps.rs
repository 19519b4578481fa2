//! Stores that do something at one step of a merge: before or after one of the calls.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use recsys::{
    domain::{
        associations::{Audience, NeighborRow},
        event::StoredEvent,
        ids::{ContentId, UserId},
        time::Timestamp,
    },
    engine::Ports,
    ports::{
        Appended, AssociationStore, AudienceChanges, BufferSnapshot, Engagement, Erasure,
        ErasureStart, EventBuffer, ListSlot, ModelSlot, ModelStore, ObservedBuffer,
        ObservedVersion, PageStart, PopularityRanking, Rank, SaveOutcome, SavedList, StoreError,
        StoredList, StoredModel, StoredPage, Version, WaitingCaller, WriteOutcome,
    },
};

/// What happens at the step. An error is that of the call.
pub type Interruption = BoxFuture<'static, Result<(), StoreError>>;

/// Stores that count their calls.
pub struct Steps {
    inner: Ports,
    taken: AtomicUsize,
    at: usize,
    interruption: Mutex<Option<Interruption>>,
}

impl Steps {
    /// Ports that run `interruption` once, at the step `at`: step 2n is before the call
    /// n, step 2n + 1 after it.
    pub fn new(inner: &Ports, at: usize, interruption: Interruption) -> (Arc<Self>, Ports) {
        let steps = Arc::new(Self {
            inner: inner.clone(),
            taken: AtomicUsize::new(0),
            at,
            interruption: Mutex::new(Some(interruption)),
        });
        let ports = Ports {
            events: steps.clone(),
            models: steps.clone(),
            associations: steps.clone(),
            ..inner.clone()
        };
        (steps, ports)
    }

    /// Whether the step was reached.
    pub fn was_reached(&self) -> bool {
        self.interruption.lock().unwrap().is_none()
    }

    async fn step(&self) -> Result<(), StoreError> {
        if self.taken.fetch_add(1, Ordering::SeqCst) != self.at {
            return Ok(());
        }
        let interruption = self.interruption.lock().unwrap().take();
        match interruption {
            Some(interruption) => interruption.await,
            None => Ok(()),
        }
    }
}

macro_rules! around {
    ($self:ident, $call:expr) => {{
        $self.step().await?;
        let result = $call.await;
        $self.step().await?;
        result
    }};
}

#[async_trait]
impl EventBuffer for Steps {
    async fn append(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        caller: &WaitingCaller,
    ) -> Result<Appended, StoreError> {
        around!(self, self.inner.events.append(user, events, caller))
    }
    fn known(&self, user: &UserId, observed: &ObservedVersion) -> Option<BufferSnapshot> {
        self.inner.events.known(user, observed)
    }
    async fn read(&self, user: &UserId) -> Result<BufferSnapshot, StoreError> {
        around!(self, self.inner.events.read(user))
    }
    async fn stored(&self, user: &UserId) -> Result<Vec<String>, StoreError> {
        self.inner.events.stored(user).await
    }
    async fn stored_page(&self, user: &UserId, start: PageStart) -> Result<StoredPage, StoreError> {
        around!(self, self.inner.events.stored_page(user, start))
    }
    async fn version(&self, user: &UserId) -> Result<ObservedVersion, StoreError> {
        around!(self, self.inner.events.version(user))
    }
    async fn begin_erasure(&self, user: &UserId) -> Result<ErasureStart, StoreError> {
        self.inner.events.begin_erasure(user).await
    }
    async fn erase(
        &self,
        user: &UserId,
        read_at: Timestamp,
        floor: Version,
    ) -> Result<Option<Erasure>, StoreError> {
        self.inner.events.erase(user, read_at, floor).await
    }
    async fn observe(&self, user: &UserId) -> Result<ObservedBuffer, StoreError> {
        around!(self, self.inner.events.observe(user))
    }
    async fn remove_copied(
        &self,
        user: &UserId,
        copied: &ObservedBuffer,
        floor: Version,
    ) -> Result<Option<Version>, StoreError> {
        around!(self, self.inner.events.remove_copied(user, copied, floor))
    }
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.inner.events.now().await
    }
    async fn data_id(&self) -> Result<String, StoreError> {
        self.inner.events.data_id().await
    }
    async fn check(&self) -> Result<(), StoreError> {
        self.inner.events.check().await
    }
}

#[async_trait]
impl ModelStore for Steps {
    async fn load(&self, user: &UserId) -> Result<ModelSlot, StoreError> {
        around!(self, self.inner.models.load(user))
    }
    async fn stored(&self, user: &UserId) -> Result<Option<String>, StoreError> {
        self.inner.models.stored(user).await
    }
    async fn save(
        &self,
        user: &UserId,
        model: &StoredModel,
        instead_of: Option<Rank>,
        read_at: Timestamp,
    ) -> Result<SaveOutcome, StoreError> {
        around!(
            self,
            self.inner.models.save(user, model, instead_of, read_at)
        )
    }
    async fn erase(
        &self,
        user: &UserId,
        erasure: &Erasure,
        read_at: Timestamp,
    ) -> Result<Option<bool>, StoreError> {
        self.inner.models.erase(user, erasure, read_at).await
    }
    async fn remove_copied(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<bool, StoreError> {
        around!(
            self,
            self.inner.models.remove_copied(user, version, read_at)
        )
    }
}

#[async_trait]
impl AssociationStore for Steps {
    async fn join_audiences(
        &self,
        user: &UserId,
        engagements: &[Engagement],
        audience_max: usize,
        read_at: Timestamp,
    ) -> Result<Vec<ContentId>, StoreError> {
        let store = &self.inner.associations;
        around!(
            self,
            store.join_audiences(user, engagements, audience_max, read_at)
        )
    }
    async fn leave_audiences(
        &self,
        user: &UserId,
        engagements: &[Engagement],
        read_at: Timestamp,
    ) -> Result<Vec<ContentId>, StoreError> {
        let store = &self.inner.associations;
        around!(self, store.leave_audiences(user, engagements, read_at))
    }
    async fn audience(&self, item: &ContentId, max: usize) -> Result<Audience, StoreError> {
        self.inner.associations.audience(item, max).await
    }
    async fn audience_sizes(&self, items: &[ContentId]) -> Result<Vec<usize>, StoreError> {
        self.inner.associations.audience_sizes(items).await
    }
    async fn settle_audience(
        &self,
        item: &ContentId,
        changes: &AudienceChanges,
        read_at: Timestamp,
    ) -> Result<WriteOutcome, StoreError> {
        let store = &self.inner.associations;
        store.settle_audience(item, changes, read_at).await
    }
    async fn lists(&self, users: &[UserId]) -> Result<Vec<ListSlot>, StoreError> {
        around!(self, self.inner.associations.lists(users))
    }
    async fn save_list(
        &self,
        user: &UserId,
        list: &StoredList,
        replaces: Option<Rank>,
        read: Option<Rank>,
        read_at: Timestamp,
    ) -> Result<SavedList, StoreError> {
        let store = &self.inner.associations;
        around!(self, store.save_list(user, list, replaces, read, read_at))
    }
    async fn erase_list(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<Option<ListSlot>, StoreError> {
        self.inner
            .associations
            .erase_list(user, version, read_at)
            .await
    }
    async fn remove_copied_list(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<Option<ListSlot>, StoreError> {
        let store = &self.inner.associations;
        around!(self, store.remove_copied_list(user, version, read_at))
    }
    async fn rows(&self, items: &[ContentId]) -> Result<Vec<Option<NeighborRow>>, StoreError> {
        self.inner.associations.rows(items).await
    }
    async fn save_row(
        &self,
        item: &ContentId,
        row: &NeighborRow,
    ) -> Result<WriteOutcome, StoreError> {
        self.inner.associations.save_row(item, row).await
    }
    async fn rank_popularity(
        &self,
        ranking: PopularityRanking,
        item: &ContentId,
        key: Option<f64>,
    ) -> Result<(), StoreError> {
        self.inner
            .associations
            .rank_popularity(ranking, item, key)
            .await
    }
    async fn popularity(
        &self,
        ranking: PopularityRanking,
    ) -> Result<Vec<(ContentId, f64)>, StoreError> {
        self.inner.associations.popularity(ranking).await
    }
}
