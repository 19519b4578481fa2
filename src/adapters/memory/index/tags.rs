//! Which items carry a tag, and how much of it.

use std::{cell::Cell, collections::BTreeMap};

use crate::domain::{item::CatalogueItem, restriction::Restriction, tags::TagKey};

thread_local! {
    /// Room for sums. To take and give back so much memory in each call costs more
    /// than to fill it.
    static SUMS: Cell<Vec<f64>> = const { Cell::new(Vec::new()) };
}

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

    fn carriers(&self, key: &TagKey) -> &[u32] {
        self.0.get(key).map_or(&[], |carriers| &carriers.slots)
    }

    /// Slots, some maybe twice, of which are all those that a restriction admits;
    /// `None` if it is as well to look at each of so many items.
    pub(super) fn carriers_of_all(
        &self,
        restriction: &Restriction,
        items: usize,
    ) -> Option<Vec<&[u32]>> {
        let must = restriction.must.iter().map(|key| self.carriers(key));
        if let Some(fewest) = must.min_by_key(|carriers| carriers.len()) {
            return Some(vec![fewest]);
        }
        // A label is of any facet.
        let label = restriction
            .label
            .as_ref()
            .filter(|_| self.0.len() <= items)?;
        let labelled = self.0.iter().filter(|(key, _)| key.label() == label);
        Some(
            labelled
                .map(|(_, carriers)| carriers.slots.as_slice())
                .collect(),
        )
    }

    /// Gives `Σ weight · item weight` over these tags, of each of so many slots.
    /// Adds in the order of an item's tags, as `overlap` does, whose further
    /// terms are all 0: the same sum, to the last bit.
    pub(super) fn with_overlaps<T>(
        &self,
        weights: &[(TagKey, f64)],
        slots: usize,
        give: impl FnOnce(&[f64]) -> T,
    ) -> T {
        let weights: BTreeMap<_, _> = weights.iter().map(|(tag, weight)| (tag, *weight)).collect();
        let mut sums = SUMS.take();
        sums.clear();
        sums.resize(slots, 0.0);
        for (tag, weight) in weights {
            let Some(carriers) = self.0.get(tag) else {
                continue;
            };
            for (slot, item_weight) in carriers.slots.iter().zip(&carriers.weights) {
                sums[*slot as usize] += weight * item_weight;
            }
        }
        let given = give(&sums);
        SUMS.set(sums);
        given
    }
}
