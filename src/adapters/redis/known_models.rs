//! Models that this process knows: as it read or saved them. A model of ours is
//! told by the first bytes of its text, which hold its rank: a reading whose first
//! bytes are those of the copy need not fetch and decode the rest.

use std::sync::Arc;

use super::{
    kept::{Kept, Weigh},
    model_json::HEAD_BYTES,
};
use crate::{
    domain::ids::UserId,
    ports::StoredModel,
    telemetry::meters::{self, Level},
};

/// What a cached model takes: this, and its text so many times, roughly. Vectors
/// take less than their text, ids and tags more.
const ENTRY_BYTES: usize = 700;
const TIMES_TEXT: usize = 2;

/// Models by user.
pub(super) struct KnownModels {
    kept: Kept<KnownModel>,
}

/// A model, and how its text begins.
pub(super) struct KnownModel {
    head: [u8; HEAD_BYTES],
    pub(super) model: StoredModel,
    text_bytes: usize,
}

impl Weigh for KnownModel {
    fn bytes(&self) -> u64 {
        (ENTRY_BYTES + TIMES_TEXT * self.text_bytes) as u64
    }
}

impl KnownModel {
    /// Whether a text that begins so is that of this model.
    pub(super) fn begins(&self, head: &[u8]) -> bool {
        self.head == head
    }
}

impl KnownModels {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            kept: Kept::new(max_bytes, Level::ModelBytes, Level::ModelEntries),
        }
    }

    /// The copy of a user's model, if there is one.
    pub(super) fn get(&self, user: &UserId) -> Option<Arc<KnownModel>> {
        self.kept.get(user)
    }

    /// Notes whether a reading could do with its copy.
    pub(super) fn note(is_hit: bool) {
        let hits = usize::from(is_hit);
        meters::cache_lookups(meters::Cache::Models, hits, 1 - hits);
    }

    /// To be asked before a read or a save, and told to [`KnownModels::keep`]
    /// after it.
    pub(super) fn removals(&self) -> u64 {
        self.kept.removals()
    }

    /// Keeps a model that is stored as this text. One of another program is not
    /// told by its first bytes, and not kept.
    pub(super) fn keep(&self, user: &UserId, text: &[u8], model: &StoredModel, removals: u64) {
        let head = text.first_chunk().copied();
        match head.filter(|_| model.signals.built_at.is_some()) {
            Some(head) => {
                let known = KnownModel {
                    head,
                    model: model.clone(),
                    text_bytes: text.len(),
                };
                self.kept.keep(user, known, removals);
            }
            None => self.forget(user),
        }
    }

    pub(super) fn forget(&self, user: &UserId) {
        self.kept.forget(user);
    }

    /// Forgets a user whose model this process has removed.
    pub(super) fn removed(&self, user: &UserId) {
        self.kept.removed(user);
    }
}
