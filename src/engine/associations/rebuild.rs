//! Making audiences, rows and popularity from the interest lists.

use super::state::{AssociationState, failed};
use crate::{domain::ids::ContentId, engine::error::EngineError, ports::StoreError};

impl AssociationState {
    /// Corrects the audiences of items by their members' lists.
    pub(super) async fn settle_all(&self, items: &[ContentId]) -> Result<(), EngineError> {
        for item in items {
            self.settle_item(item).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Refreshes items, whatever changed.
    pub(super) async fn refresh_items(&self, items: &[ContentId]) -> Result<(), EngineError> {
        self.items.forget_sizes();
        for item in items {
            self.refresh(item).await.map_err(failed)?;
        }
        self.popularity.touch(None);
        Ok(())
    }

    async fn settle_item(&self, item: &ContentId) -> Result<(), StoreError> {
        let read_at = self.now().await?;
        let read = self.read_audience(item).await?;
        let lists = self.member_lists(item, &read);
        self.settle(item, &read, &lists, read_at).await.map(|_| ())
    }
}
