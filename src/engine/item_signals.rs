//! What is known of items from their users.

use super::{associations::ItemSignals, error::EngineError, handle::Engine};
use crate::domain::ids::{ContentId, UserId};

impl Engine {
    /// What is known of an item from its users, with at most `limit` neighbours. An
    /// item of fewer than 5 users is shown without neighbours.
    ///
    /// # Errors
    /// [`EngineError`] if it cannot be read.
    pub async fn item_signals(
        &self,
        item: &ContentId,
        limit: usize,
    ) -> Result<ItemSignals, EngineError> {
        self.inner.associations.item_signals(item, limit).await
    }

    /// Builds a user's model and writes the whole interest list to the audiences of its
    /// items. Returns whether the user has events.
    ///
    /// # Errors
    /// [`EngineError`] if the user's events or their items cannot be read, or the
    /// audiences or the list cannot be written.
    pub async fn rebuild_user(&self, user: &UserId) -> Result<bool, EngineError> {
        self.inner.models.rebuild(user).await
    }

    /// Corrects the audiences of items by their users' lists, then builds their rows
    /// and popularity.
    ///
    /// # Errors
    /// [`EngineError`] if the store fails; it is safe to call again.
    pub async fn rebuild_items(&self, items: &[ContentId]) -> Result<(), EngineError> {
        self.inner.associations.rebuild(items).await
    }

    /// Corrects the audiences of items by their users' lists: the first half of
    /// [`Engine::rebuild_items`], for more items than fit into memory.
    ///
    /// # Errors
    /// [`EngineError`] if the store fails; it is safe to call again.
    pub async fn settle_items(&self, items: &[ContentId]) -> Result<(), EngineError> {
        self.inner.associations.settle_all(items).await
    }

    /// Builds the rows and popularity of items: the second half, once all audiences
    /// are corrected.
    ///
    /// # Errors
    /// [`EngineError`] if the store fails; it is safe to call again.
    pub async fn refresh_items(&self, items: &[ContentId]) -> Result<(), EngineError> {
        self.inner.associations.refresh_items(items).await
    }

    /// Refreshes all rows of neighbours that are due at the store's time, without a
    /// budget. Returns how many.
    ///
    /// # Errors
    /// [`EngineError`] if the store fails; then the others stay due.
    pub async fn refresh_associations(&self) -> Result<usize, EngineError> {
        self.inner.associations.refresh_all().await
    }
}
