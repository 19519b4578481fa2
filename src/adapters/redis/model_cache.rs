//! Copies of models, as this process read or saved them. While the stored value
//! begins like the copy's, a read need not fetch and decode the rest.

use super::{
    model_json::HEAD_BYTES,
    user_cache::{ByteSize, UserCache},
};
use crate::{
    adapters::memory_size::model_bytes,
    domain::ids::UserId,
    ports::StoredModel,
    telemetry::meters::{self, Level},
};

/// Models by user.
pub(super) type ModelCache = UserCache<CachedModel>;

/// A copy of a user's model, with the first bytes of its text, which contain its
/// rank.
pub(super) struct CachedModel {
    head: [u8; HEAD_BYTES],
    pub(super) model: StoredModel,
    bytes: usize,
}

impl ByteSize for CachedModel {
    fn byte_size(&self) -> u64 {
        self.bytes as u64
    }
}

impl CachedModel {
    /// Whether a stored value that begins like this is this model.
    pub(super) fn has_head(&self, head: &[u8]) -> bool {
        self.head == head
    }
}

impl ModelCache {
    /// An empty cache.
    pub(super) fn of_models(max_bytes: u64) -> Self {
        Self::new(max_bytes, Level::ModelBytes, Level::ModelEntries)
    }

    /// Counts a read as a hit or a miss.
    pub(super) fn count_lookup(is_hit: bool) {
        let hits = usize::from(is_hit);
        meters::cache_lookups(meters::Cache::Models, hits, 1 - hits);
    }

    /// Caches a model that is stored as this text. Those of other programs are
    /// not cached: their first bytes do not identify them.
    pub(super) fn insert_text(
        &self,
        user: &UserId,
        text: &[u8],
        model: &StoredModel,
        erasures: u64,
    ) {
        match text.first_chunk() {
            Some(head) if model.signals.built_at.is_some() => {
                let copy = CachedModel {
                    head: *head,
                    model: model.clone(),
                    bytes: size_of::<Self>() + model_bytes(&model.signals),
                };
                self.insert(user, copy, erasures);
            }
            Some(_) | None => self.remove(user),
        }
    }
}
