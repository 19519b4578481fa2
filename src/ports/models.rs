//! The user models.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    error::StoreError,
    events::{Erasure, ObservedVersion, Version},
};
use crate::domain::{ids::UserId, time::Timestamp, user_signals::UserSignals};

/// A user model, with what is needed to decide whether it is current.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredModel {
    /// Version of the buffer that it was built from.
    pub version: Version,
    /// Fingerprint of the ranking file that it was built with; `None` if another
    /// program built it.
    pub ranking: Option<u64>,
    /// Whether its items could not be read when it was built. The next read
    /// rebuilds such a model.
    pub incomplete: bool,
    /// The model.
    pub signals: Arc<UserSignals>,
}

/// The order of a user's models: version, then build time.
pub type Rank = (Version, Option<Timestamp>);

impl StoredModel {
    /// Its position in the order of the user's models.
    #[must_use]
    pub fn rank(&self) -> Rank {
        (self.version, self.signals.built_at)
    }
}

/// The content of a user's slot in the model store.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSlot {
    /// Nothing.
    Missing,
    /// Data that is not a model. Treated as missing.
    Unreadable,
    /// The user was erased less than [`ERASED_FOR`](super::ERASED_FOR) ago, with
    /// this version. Buffers and models of higher versions are of later events.
    Erased(Version),
    /// A model.
    Present(StoredModel),
}

/// The result of a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveOutcome {
    /// The model is stored.
    Saved,
    /// Refused: the stored model is not older, the user was erased, or the model's
    /// events were read too long ago.
    Superseded,
}

/// The user models, one per user, each with a time to live.
#[async_trait]
pub trait ModelStore: Send + Sync {
    /// Reads a user's slot.
    ///
    /// # Errors
    /// [`StoreError`]. An unreadable model is `Unreadable`, not an error.
    async fn load(&self, user: &UserId) -> Result<ModelSlot, StoreError>;

    /// Reads a user's slot together with the version of the user's buffer, as
    /// [`EventBuffer::version`](super::EventBuffer::version) does, in either order.
    /// `None` if the store cannot read both at once.
    async fn load_with_version(
        &self,
        user: &UserId,
    ) -> Option<Result<(ModelSlot, ObservedVersion), StoreError>> {
        let _ = user;
        None
    }

    /// Reads the stored text of a model, even if it is unreadable as a model. Bytes
    /// that are not UTF-8 are replaced by U+FFFD. `None` if there is no model, if
    /// the user was erased, or if the store does not keep models as text: then
    /// [`ModelStore::load`] returns all that it stores.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn stored(&self, user: &UserId) -> Result<Option<String>, StoreError>;

    /// Saves a model and restarts its time to live, if its (version, built_at) is
    /// higher than that of the stored one, or if the stored one still has exactly
    /// the rank `replaces`. `read_at` is the store's time before the model's events
    /// were read. The save is refused if it is longer ago than
    /// [`MAX_WRITE_AGE`](super::MAX_WRITE_AGE), or before an erasure of the user.
    ///
    /// # Errors
    /// [`StoreError`]; then it may have been saved.
    async fn save(
        &self,
        user: &UserId,
        model: &StoredModel,
        replaces: Option<Rank>,
        read_at: Timestamp,
    ) -> Result<SaveOutcome, StoreError>;

    /// Removes a model and leaves, for [`ERASED_FOR`](super::ERASED_FOR), a marker
    /// without data, so that a save in progress cannot restore the user. `read_at`
    /// is the time of the erasure's first read. Returns whether there was a model;
    /// `None` if it is refused, as [`EventBuffer::erase`](super::EventBuffer::erase)
    /// is.
    ///
    /// # Errors
    /// [`StoreError`]; then the model may have been removed.
    async fn erase(
        &self,
        user: &UserId,
        erasure: &Erasure,
        read_at: Timestamp,
    ) -> Result<Option<bool>, StoreError>;

    /// Removes the model of a user whose events were copied to another one, and leaves a
    /// marker of this version for [`ERASED_FOR`](super::ERASED_FOR), without a time of
    /// its own; the time of an earlier erasure stays. A model of a higher version, which
    /// has later events, is not removed. Returns whether it was done: not if `read_at` is
    /// longer ago than [`MAX_WRITE_AGE`](super::MAX_WRITE_AGE) or before an erasure.
    ///
    /// # Errors
    /// [`StoreError`]; then the model may have been removed.
    async fn remove_copied(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<bool, StoreError>;
}
