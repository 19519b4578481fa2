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
        Clock, ERASED_FOR, Erasure, MAX_WRITE_AGE, ModelSlot, ModelStore, Rank, SaveOutcome,
        StoreError, StoredModel, Version,
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
    /// With the marker's version, and the time of the last erasure; `None` if there was
    /// none, only a merge.
    Erased(Version, Option<Timestamp>),
    Present(StoredModel),
}

impl Expires for ModelEntry {
    fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

impl ModelState {
    /// Whether it stays when this model, read at this time, is saved.
    fn stays(&self, model: &StoredModel, instead_of: Option<Rank>, read_at: Timestamp) -> bool {
        match self {
            Self::Erased(version, at) => {
                model.version <= *version || at.is_some_and(|at| read_at < at)
            }
            Self::Present(stored) => {
                model.rank() <= stored.rank() && instead_of != Some(stored.rank())
            }
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

    /// Replaces a user's model by a marker.
    fn mark(
        &self,
        shard: &mut Shard<ModelEntry>,
        user: &UserId,
        version: Version,
        erased_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        let marker = ModelEntry {
            state: ModelState::Erased(version, erased_at),
            expires_at: now.plus(ERASED_FOR),
            bytes: 0,
        };
        if let Some(removed) = shard.entries.insert(user.clone(), marker) {
            self.budget.release(removed.bytes);
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
            Some(ModelState::Erased(version, _)) => ModelSlot::Erased(*version),
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
        read_at: Timestamp,
    ) -> Result<SaveOutcome, StoreError> {
        let now = self.clock.now();
        let mut shard = self.lock(user, now);
        let stored = shard.entries.get(user);
        let stays = |entry: &ModelEntry| entry.state.stays(model, instead_of, read_at);
        if read_at.plus(MAX_WRITE_AGE) < now || stored.is_some_and(stays) {
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

    async fn erase(
        &self,
        user: &UserId,
        erasure: &Erasure,
        read_at: Timestamp,
    ) -> Result<Option<bool>, StoreError> {
        let now = self.clock.now();
        let mut shard = self.lock(user, now);
        let stored = shard.entries.get(user).map(|entry| &entry.state);
        let (mut version, mut is_later) = (erasure.version, false);
        if let Some(ModelState::Erased(marked, at)) = stored {
            version = version.max(*marked);
            is_later = at.is_some_and(|at| read_at < at && at != erasure.at);
        }
        if read_at.plus(MAX_WRITE_AGE) < now || is_later {
            return Ok(None);
        }
        let had_model = matches!(stored, Some(ModelState::Present(_)));
        self.mark(&mut shard, user, version, Some(erasure.at), now);
        Ok(Some(had_model))
    }

    async fn remove_copied(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut shard = self.lock(user, now);
        let (mut version, mut erased_at) = (version, None);
        match shard.entries.get(user).map(|entry| &entry.state) {
            Some(ModelState::Present(model)) if model.version > version => return Ok(true),
            Some(ModelState::Erased(marked, at)) => {
                (version, erased_at) = (version.max(*marked), *at);
            }
            Some(ModelState::Present(_)) | None => {}
        }
        if read_at.plus(MAX_WRITE_AGE) < now || erased_at.is_some_and(|at| read_at < at) {
            return Ok(false);
        }
        self.mark(&mut shard, user, version, erased_at, now);
        Ok(true)
    }
}
