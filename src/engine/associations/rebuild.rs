//! Making audiences, rows and popularity from the interest lists.

use super::{
    refresh::too_late,
    state::{AssociationState, failed},
};
use crate::{
    domain::ids::ContentId,
    engine::error::EngineError,
    ports::{StoreError, WriteOutcome},
};

impl AssociationState {
    /// Corrects the audiences of items by their members' lists.
    pub(super) async fn settle_all(&self, items: &[ContentId]) -> Result<(), EngineError> {
        for item in items {
            self.settle(item).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Refreshes items, whatever changed.
    pub(super) async fn refresh_items(&self, items: &[ContentId]) -> Result<(), EngineError> {
        self.sizes.clear();
        for item in items {
            self.refresh(item).await.map_err(failed)?;
        }
        self.popularity.touch(None);
        Ok(())
    }

    /// Corrects the audience of an item by its members' lists.
    async fn settle(&self, item: &ContentId) -> Result<(), StoreError> {
        let read_at = self.now().await?;
        let read = self.read_audience(item).await?;
        let checked = self.check(item, &read).await?;
        let settled = self
            .store
            .settle_audience(item, &checked.changes, read_at)
            .await?;
        if settled == WriteOutcome::TooOld {
            return Err(too_late());
        }
        Ok(())
    }
}
