//! Items by id.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;

use super::catalogue_item::CatalogueItem;
use crate::domain::ids::ContentId;

/// Items by id. Ids that the catalogue does not have are missing.
#[derive(Clone, Debug, Default)]
pub struct Items(HashMap<ContentId, Arc<CatalogueItem>, RandomState>);

impl Items {
    /// No items.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The item of an id.
    #[must_use]
    pub fn get(&self, id: &ContentId) -> Option<&Arc<CatalogueItem>> {
        self.0.get(id)
    }

    /// All items, in any order.
    pub fn values(&self) -> impl Iterator<Item = &Arc<CatalogueItem>> {
        self.0.values()
    }
}

impl Extend<(ContentId, Arc<CatalogueItem>)> for Items {
    fn extend<I: IntoIterator<Item = (ContentId, Arc<CatalogueItem>)>>(&mut self, items: I) {
        self.0.extend(items);
    }
}

impl FromIterator<(ContentId, Arc<CatalogueItem>)> for Items {
    fn from_iter<I: IntoIterator<Item = (ContentId, Arc<CatalogueItem>)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}
