//! Copies of models, as this process read or saved them. While the stored value
//! begins like the copy's, a read need not fetch and decode the rest.

use super::{
    model_json::HEAD_BYTES,
    user_cache::{ByteSize, UserCache},
};
use crate::{
    domain::ids::UserId,
    ports::StoredModel,
    telemetry::meters::{self, Level},
};

/// Estimated size of a cached model: this, and a multiple of its text. Vectors
/// take less than their text, ids and tags more.
const ENTRY_BYTES: usize = 700;
const TEXT_FACTOR: usize = 2;

/// Models by user.
pub(super) type ModelCache = UserCache<CachedModel>;

/// A copy of a user's model, with the first bytes of its text, which contain its
/// rank.
pub(super) struct CachedModel {
    head: [u8; HEAD_BYTES],
    pub(super) model: StoredModel,
    text_bytes: usize,
}

impl ByteSize for CachedModel {
    fn byte_size(&self) -> u64 {
        (ENTRY_BYTES + TEXT_FACTOR * self.text_bytes) as u64
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
                    text_bytes: text.len(),
                };
                self.insert(user, copy, erasures);
            }
            Some(_) | None => self.remove(user),
        }
    }
}
