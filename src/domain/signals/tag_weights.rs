//! Weighted tags of liked or disliked items.

use std::collections::BTreeMap;

use crate::domain::{
    item::CatalogueItem,
    tags::{canonical_facet, folded_key},
};

/// Sums tag weights under lower-case `facet:label` keys.
pub(super) struct TagWeights {
    untasted: Vec<String>,
    sums: BTreeMap<String, f64>,
}

impl TagWeights {
    pub(super) fn new(untasted_facets: &[String]) -> Self {
        Self {
            untasted: untasted_facets
                .iter()
                .map(|facet| canonical_facet(facet))
                .collect(),
            sums: BTreeMap::new(),
        }
    }

    /// Adds each tag of an item, its weight times `weight`.
    pub(super) fn add_item(&mut self, item: Option<&CatalogueItem>, weight: f64) {
        for tag in item.iter().flat_map(|item| &item.item().tags) {
            self.add(&tag.facet, &tag.label, weight * tag.weight);
        }
    }

    pub(super) fn add(&mut self, facet: &str, label: &str, weight: f64) {
        if self.untasted.is_empty() || !self.untasted.contains(&canonical_facet(facet)) {
            *self.sums.entry(folded_key(facet, label)).or_default() += weight;
        }
    }

    /// Divided by the largest, so that the top is 1. Empty if all are 0.
    pub(super) fn normalised(mut self) -> BTreeMap<String, f64> {
        self.sums.retain(|_, sum| sum.is_finite());
        let top = self.sums.values().copied().fold(0.0, f64::max);
        if top > 0.0 {
            self.sums.values_mut().for_each(|sum| *sum /= top);
            self.sums
        } else {
            BTreeMap::new()
        }
    }
}
