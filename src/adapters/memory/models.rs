//! User models in memory.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    budget::Budget,
    shards::{Expires, Shards},
};
use crate::{
    adapters::footprint::model_bytes,
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
    models: Shards<Entry>,
}

struct Entry {
    slot: Slot,
    expires_at: Timestamp,
    bytes: usize,
}

enum Slot {
    Erased(Version),
    Present(StoredModel),
}

impl Expires for Entry {
    fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

impl Slot {
    /// What a model must exceed to take this place.
    fn rank(&self) -> Rank {
        match self {
            Self::Erased(version) => (*version, None),
            Self::Present(model) => model.rank(),
        }
    }
}

impl MemoryModelStore {
    /// An empty store whose models live for `ttl` after a save, all within
    /// `budget`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, ttl: Duration, budget: Arc<Budget>) -> Self {
        Self {
            clock,
            ttl,
            budget,
            models: Shards::new(),
        }
    }

    fn give_back(&self, entry: &Entry) {
        self.budget.give_back(entry.bytes);
    }
}

#[async_trait]
impl ModelStore for MemoryModelStore {
    async fn load(&self, user: &UserId) -> Result<ModelSlot, StoreError> {
        let shard = self
            .models
            .lock(user, self.clock.now(), |entry| self.give_back(&entry));
        Ok(match shard.entries.get(user).map(|entry| &entry.slot) {
            None => ModelSlot::Missing,
            Some(Slot::Erased(_)) => ModelSlot::Erased,
            Some(Slot::Present(model)) => ModelSlot::Present(model.clone()),
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
        let mut shard = self.models.lock(user, now, |entry| self.give_back(&entry));
        let known = shard.entries.get(user);
        let stays = |entry: &Entry| {
            let replaced = matches!(entry.slot, Slot::Present(_))
                && instead_of.is_some_and(|rank| rank == entry.slot.rank());
            model.rank() <= entry.slot.rank() && !replaced
        };
        if known.is_some_and(stays) {
            return Ok(SaveOutcome::Superseded);
        }
        let bytes = model_bytes(&model.signals);
        self.budget
            .exchange(known.map_or(0, |entry| entry.bytes), bytes)?;
        shard.entries.insert(
            user.clone(),
            Entry {
                slot: Slot::Present(model.clone()),
                expires_at: now.plus(self.ttl),
                bytes,
            },
        );
        meters::model_bytes(bytes);
        Ok(SaveOutcome::Saved)
    }

    async fn erase(&self, user: &UserId, floor: Version) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut shard = self.models.lock(user, now, |entry| self.give_back(&entry));
        let known = shard.entries.remove(user);
        known.iter().for_each(|entry| self.give_back(entry));
        let model = known.as_ref().map(|entry| entry.slot.rank().0);
        let above = model.map_or(floor, |model| model.max(floor));
        shard.entries.insert(
            user.clone(),
            Entry {
                slot: Slot::Erased(Version(above.0 + 1)),
                expires_at: now.plus(ERASED_FOR),
                bytes: 0,
            },
        );
        Ok(matches!(
            known.map(|entry| entry.slot),
            Some(Slot::Present(_))
        ))
    }
}
