//! The user models.

use std::sync::Arc;

use async_trait::async_trait;

use super::{error::StoreError, events::Version};
use crate::domain::{ids::UserId, time::Timestamp, user_signals::UserSignals};

/// A user model with what is needed to tell whether it is current.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredModel {
    /// The version of the buffer that it was built from.
    pub version: Version,
    /// Fingerprint of the ranking file that it was built under; `None` if
    /// another program built it.
    pub ranking: Option<u64>,
    /// Whether it lacks what its items would have told, as they could not be
    /// read: then it is built again by the next reading.
    pub incomplete: bool,
    /// The model.
    pub signals: Arc<UserSignals>,
}

/// What orders the models of a user: version, then time of building.
pub type Rank = (Version, Option<Timestamp>);

impl StoredModel {
    /// Its place among the user's models.
    #[must_use]
    pub fn rank(&self) -> Rank {
        (self.version, self.signals.built_at)
    }
}

/// What is at a user's place in the model store.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSlot {
    /// Nothing.
    Missing,
    /// Something that is no model: as good as nothing.
    Unreadable,
    /// The user was erased a moment ago.
    Erased,
    /// A model.
    Present(StoredModel),
}

/// Whether a save took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveOutcome {
    /// The model is stored.
    Saved,
    /// What is there is as new or newer, or the user was erased; it stays.
    Superseded,
}

/// The user models, one a user, each with a time to live.
#[async_trait]
pub trait ModelStore: Send + Sync {
    /// Reads what is there.
    ///
    /// # Errors
    /// [`StoreError`]. An unreadable model is `Unreadable`, not an error.
    async fn load(&self, user: &UserId) -> Result<ModelSlot, StoreError>;

    /// Reads a model as the text that is stored, readable or not; bytes that
    /// are not UTF-8 are replaced by U+FFFD. `None` if there is none, if the
    /// user was erased, or if the store keeps models in no written form: then
    /// [`ModelStore::load`] tells all that it holds.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn stored(&self, user: &UserId) -> Result<Option<String>, StoreError>;

    /// Saves a model if its (version, built_at) is higher than that of what is
    /// there, or if what is there is still exactly `instead_of`; and starts its
    /// time to live anew.
    ///
    /// # Errors
    /// [`StoreError`]; then it may or may not have been saved.
    async fn save(
        &self,
        user: &UserId,
        model: &StoredModel,
        instead_of: Option<Rank>,
    ) -> Result<SaveOutcome, StoreError>;

    /// Removes a model and leaves, for [`ERASED_FOR`], a marker without data
    /// whose version is above that of the model and above `floor`, so that no
    /// save under way can bring the user back. Returns whether there was a
    /// model.
    ///
    /// # Errors
    /// [`StoreError`]; then the model may or may not be gone.
    async fn erase(&self, user: &UserId, floor: Version) -> Result<bool, StoreError>;
}
