//! Which items carry a tag, and how much of it.

use std::collections::BTreeMap;

use crate::domain::{item::CatalogueItem, tags::TagKey};

/// Tags that are at hand have the slots of their items.
#[derive(Default)]
pub(super) struct Tags(foldhash::HashMap<TagKey, Carriers>);

/// The items that carry a tag, each once, in no order.
#[derive(Default)]
struct Carriers {
    slots: Vec<u32>,
    weights: Vec<f64>,
}

impl Tags {
    /// What a tag of an item takes here: its place among the carriers, room for
    /// more, and a share of what the tag takes itself.
    pub(super) const BYTES_EACH: usize = 60;

    /// Takes in the tags of an item that is not here yet.
    pub(super) fn insert(&mut self, slot: u32, item: &CatalogueItem) {
        for (key, weight) in item.canonical_tags() {
            let carriers = self.0.entry(key.clone()).or_default();
            carriers.slots.push(slot);
            carriers.weights.push(*weight);
        }
    }

    /// Takes out the tags of an item.
    pub(super) fn remove(&mut self, slot: u32, item: &CatalogueItem) {
        for (key, _) in item.canonical_tags() {
            let Some(carriers) = self.0.get_mut(key) else {
                continue;
            };
            if let Some(at) = carriers.slots.iter().position(|known| *known == slot) {
                carriers.slots.swap_remove(at);
                carriers.weights.swap_remove(at);
            }
            if carriers.slots.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// The items that carry a tag.
    pub(super) fn carriers(&self, key: &TagKey) -> &[u32] {
        self.0.get(key).map_or(&[], |carriers| &carriers.slots)
    }

    /// `Σ weight · item weight` over these tags, of each of so many slots. Adds
    /// in the order of an item's tags, as `overlap` does, whose further terms
    /// are all 0: the same sum, to the last bit.
    pub(super) fn overlaps(&self, weights: &[(TagKey, f64)], slots: usize) -> Vec<f64> {
        let weights: BTreeMap<_, _> = weights.iter().map(|(tag, weight)| (tag, *weight)).collect();
        let mut sums = vec![0.0; slots];
        for (tag, weight) in weights {
            let Some(carriers) = self.0.get(tag) else {
                continue;
            };
            for (slot, item_weight) in carriers.slots.iter().zip(&carriers.weights) {
                sums[*slot as usize] += weight * item_weight;
            }
        }
        sums
    }
}
