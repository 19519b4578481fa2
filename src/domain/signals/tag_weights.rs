//! Weighted tags of liked or disliked items.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use crate::domain::{
    item::CatalogueItem,
    tags::{ModelKey, canonical_facet},
};

/// Sums tag weights under lower-case `facet:label` keys.
pub(super) struct TagWeights {
    untasted: Vec<String>,
    sums: HashMap<ModelKey, f64, RandomState>,
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

    /// Makes room for this many tags: growing step by step costs more.
    pub(super) fn reserve(&mut self, tags: usize) {
        self.sums.reserve(tags);
    }

    /// Adds each tag of an item, its weight times `weight`.
    pub(super) fn add_item(&mut self, item: Option<&CatalogueItem>, weight: f64) {
        for tag in item.into_iter().flat_map(CatalogueItem::tags) {
            if !self.is_tasted(tag.facet()) {
                continue;
            }
            let key = tag.model_key();
            let added = weight * tag.weight();
            match self.sums.get_mut(key) {
                Some(sum) => *sum += added,
                None => _ = self.sums.insert(key.clone(), added),
            }
        }
    }

    pub(super) fn add(&mut self, facet: &str, label: &str, weight: f64) {
        if self.is_tasted(facet) {
            let key = ModelKey::new(facet, label);
            *self.sums.entry(key).or_default() += weight;
        }
    }

    fn is_tasted(&self, facet: &str) -> bool {
        self.untasted.is_empty() || !self.untasted.contains(&canonical_facet(facet))
    }

    /// The sums divided by the largest one. Empty if all are 0.
    pub(super) fn normalised(mut self) -> BTreeMap<String, f64> {
        self.sums.retain(|_, sum| sum.is_finite());
        let top = self.sums.values().copied().fold(0.0, f64::max);
        if top <= 0.0 {
            return BTreeMap::new();
        }
        let mut sums: Vec<(ModelKey, f64)> = self.sums.into_iter().collect();
        sums.sort_unstable_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        let shares = sums.into_iter();
        shares
            .map(|(key, sum)| (key.as_str().to_owned(), sum / top))
            .collect()
    }
}
