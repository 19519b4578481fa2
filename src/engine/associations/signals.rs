//! What is known of an item.

use std::sync::Arc;

use super::state::AssociationState;
use crate::{domain::ids::ContentId, ports::StoreError};

/// Below this many users, an item's neighbours could identify single ones.
const MIN_USERS_FOR_NEIGHBORS: usize = 5;

/// What is known of an item from its users.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ItemSignals {
    /// Users of its audience.
    pub audience_size: usize,
    /// Its popularity as a share of the largest, 0 to 1.
    pub popularity: f64,
    /// The same with the half-life of trending items.
    pub trending: f64,
    /// Its neighbours with their weights, the largest first.
    pub neighbors: Vec<(ContentId, f64)>,
}

impl AssociationState {
    /// Whether an item has enough users to show its neighbours.
    pub(super) async fn has_enough_users(&self, item: &ContentId) -> Result<bool, StoreError> {
        let sizes = self
            .store
            .audience_sizes(std::slice::from_ref(item))
            .await?;
        Ok(sizes
            .first()
            .is_some_and(|size| *size >= MIN_USERS_FOR_NEIGHBORS))
    }

    pub(super) async fn item_signals(
        self: &Arc<Self>,
        item: &ContentId,
        limit: usize,
    ) -> Result<ItemSignals, StoreError> {
        let only = std::slice::from_ref(item);
        let (sizes, rows, popularity) = tokio::join!(
            self.store.audience_sizes(only),
            self.store.rows(only),
            self.popularity()
        );
        let popularity = popularity.map_err(|(error, _)| error)?;
        let audience_size = sizes?.first().copied().unwrap_or(0);
        let row = rows?.pop().flatten();
        let row = row.filter(|_| audience_size >= MIN_USERS_FOR_NEIGHBORS);
        let neighbors = row.iter().flat_map(|row| row.iter());
        Ok(ItemSignals {
            audience_size,
            popularity: popularity.popular.share(item),
            trending: popularity.trending.share(item),
            neighbors: neighbors
                .filter(|(other, _)| *other != item.as_str())
                .take(limit)
                .map(|(other, weight)| (other.into(), weight))
                .collect(),
        })
    }
}
