//! Boosts: what a request adds to the scores of items of its choice.

use std::sync::Arc;

use crate::domain::{filter::ItemFilter, item::CatalogueItem};

/// Adds a weight to the scores of the items that meet a filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Boost {
    /// Which items.
    pub filter: ItemFilter,
    /// What their scores gain; negative lowers them.
    pub weight: f64,
}

/// The sum of the weights of the boosts that an item meets.
pub(super) fn boost_part(boosts: &[Boost], item: &CatalogueItem) -> f64 {
    let met = boosts.iter().filter(|boost| boost.filter.matches(item));
    met.map(|boost| boost.weight).sum()
}

impl Boost {
    /// Whether the filter names an attribute that none of the candidates has, such as a
    /// misspelled one. False without candidates.
    #[must_use]
    pub fn names_missing_attribute(&self, candidates: &[Arc<CatalogueItem>]) -> bool {
        let is_missing = |name: &str| {
            let mut attributes = candidates.iter().map(|item| item.attribute(name));
            !attributes.any(|attribute| attribute.is_some())
        };
        !candidates.is_empty() && self.filter.attributes().any(is_missing)
    }
}
