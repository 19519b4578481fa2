//! Weighted tags of liked or disliked items.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use foldhash::fast::RandomState;

use crate::domain::{
    item::CatalogueItem,
    tags::{canonical_facet, folded_key},
};

/// Sums tag weights under lower-case `facet:label` keys.
pub(super) struct TagWeights {
    untasted: Vec<String>,
    sums: HashMap<Arc<str>, f64, RandomState>,
}

impl TagWeights {
    pub(super) fn new(untasted_facets: &[String]) -> Self {
        Self {
            untasted: untasted_facets
                .iter()
                .map(|facet| canonical_facet(facet))
                .collect(),
            sums: HashMap::default(),
        }
    }

    /// Adds each tag of an item, its weight times `weight`.
    pub(super) fn add_item(&mut self, item: Option<&CatalogueItem>, weight: f64) {
        for (key, tag) in item.into_iter().flat_map(CatalogueItem::model_tags) {
            if self.is_tasted(&tag.facet) {
                match self.sums.get_mut(key) {
                    Some(sum) => *sum += weight * tag.weight,
                    None => {
                        self.sums.insert(Arc::clone(key), weight * tag.weight);
                    }
                }
            }
        }
    }

    pub(super) fn add(&mut self, facet: &str, label: &str, weight: f64) {
        if self.is_tasted(facet) {
            *self
                .sums
                .entry(folded_key(facet, label).into())
                .or_default() += weight;
        }
    }

    fn is_tasted(&self, facet: &str) -> bool {
        self.untasted.is_empty() || !self.untasted.contains(&canonical_facet(facet))
    }

    /// Divided by the largest, so that the top is 1. Empty if all are 0.
    pub(super) fn normalised(mut self) -> BTreeMap<String, f64> {
        self.sums.retain(|_, sum| sum.is_finite());
        let top = self.sums.values().copied().fold(0.0, f64::max);
        if top <= 0.0 {
            return BTreeMap::new();
        }
        let shares = self.sums.into_iter();
        shares
            .map(|(key, sum)| ((*key).to_owned(), sum / top))
            .collect()
    }
}
