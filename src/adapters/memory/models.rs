//! User models in memory.

use std::{
    sync::{Arc, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    budget::Budget,
    shards::{Expires, Shard, Shards},
};
use crate::{
    adapters::memory_size::model_bytes,
    domain::{ids::UserId, time::Timestamp},
    ports::{
        Clock, ERASED_FOR, ModelSlot, ModelStore, Rank, SaveOutcome, StoreError, StoredModel,
        Version,
    },
    telemetry::meters,
};

/// User models in this process's memory.
pub struct MemoryModelStore {
    clock: Arc<dyn Clock>,
    ttl: Duration,
    budget: Arc<Budget>,
    models: Shards<ModelEntry>,
}

struct ModelEntry {
    state: ModelState,
    expires_at: Timestamp,
    bytes: usize,
}

enum ModelState {
    Erased(Version),
    Present(StoredModel),
}

impl Expires for ModelEntry {
    fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

impl ModelState {
    /// The rank that a model must exceed to replace it.
    fn rank(&self) -> Rank {
        match self {
            Self::Erased(version) => (*version, None),
            Self::Present(model) => model.rank(),
        }
    }
}

impl MemoryModelStore {
    /// An empty store. Models expire `ttl` after their last save.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, ttl: Duration, budget: Arc<Budget>) -> Self {
        Self {
            clock,
            ttl,
            budget,
            models: Shards::new(),
        }
    }

    fn lock(&self, user: &UserId, now: Timestamp) -> MutexGuard<'_, Shard<ModelEntry>> {
        let release = |entry: ModelEntry| self.budget.release(entry.bytes);
        self.models.lock(user, now, release)
    }
}

#[async_trait]
impl ModelStore for MemoryModelStore {
    async fn load(&self, user: &UserId) -> Result<ModelSlot, StoreError> {
        let shard = self.lock(user, self.clock.now());
        Ok(match shard.entries.get(user).map(|entry| &entry.state) {
            None => ModelSlot::Missing,
            Some(ModelState::Erased(_)) => ModelSlot::Erased,
            Some(ModelState::Present(model)) => ModelSlot::Present(model.clone()),
        })
    }

    async fn stored(&self, _: &UserId) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    async fn save(
        &self,
        user: &UserId,
        model: &StoredModel,
        instead_of: Option<Rank>,
    ) -> Result<SaveOutcome, StoreError> {
        let now = self.clock.now();
        let mut shard = self.lock(user, now);
        let stored = shard.entries.get(user);
        let stays = |entry: &ModelEntry| {
            let is_replaced = matches!(entry.state, ModelState::Present(_))
                && instead_of.is_some_and(|rank| rank == entry.state.rank());
            model.rank() <= entry.state.rank() && !is_replaced
        };
        if stored.is_some_and(stays) {
            return Ok(SaveOutcome::Superseded);
        }
        let bytes = model_bytes(&model.signals);
        self.budget
            .replace(stored.map_or(0, |entry| entry.bytes), bytes)?;
        shard.entries.insert(
            user.clone(),
            ModelEntry {
                state: ModelState::Present(model.clone()),
                expires_at: now.plus(self.ttl),
                bytes,
            },
        );
        meters::model_bytes(bytes);
        Ok(SaveOutcome::Saved)
    }

    async fn erase(&self, user: &UserId, floor: Version) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut shard = self.lock(user, now);
        let stored = shard.entries.remove(user);
        if let Some(entry) = &stored {
            self.budget.release(entry.bytes);
        }
        let version = stored.as_ref().map(|entry| entry.state.rank().0);
        let highest = version.map_or(floor, |version| version.max(floor));
        shard.entries.insert(
            user.clone(),
            ModelEntry {
                state: ModelState::Erased(Version(highest.0 + 1)),
                expires_at: now.plus(ERASED_FOR),
                bytes: 0,
            },
        );
        Ok(matches!(
            stored.map(|entry| entry.state),
            Some(ModelState::Present(_))
        ))
    }
}
