//! An inverted index from tags to items and weights.

use std::{cell::Cell, collections::BTreeMap};

use crate::domain::{item::CatalogueItem, restriction::Restriction, tags::TagKey};

thread_local! {
    static BUFFERS: Cell<Buffers> = Cell::default();
}

/// What a search needs besides the index. Allocating and filling it in each search costs
/// more than the search.
#[derive(Default)]
struct Buffers {
    /// By slot; all 0 between searches.
    sums: Vec<f64>,
    /// The slots whose sums are not 0, some of them twice; empty between searches.
    touched: Vec<u32>,
}

/// Postings by tag.
#[derive(Default)]
pub(super) struct TagIndex(foldhash::HashMap<TagKey, Postings>);

/// The items with a tag, each once, in no order.
#[derive(Default)]
struct Postings {
    slots: Vec<u32>,
    weights: Vec<f64>,
}

impl TagIndex {
    /// Size of a tag of an item: its posting with spare capacity.
    pub(super) const BYTES_EACH: usize = 2 * (size_of::<u32>() + size_of::<f64>());

    /// Adds the tags of an item that is not in the index.
    pub(super) fn insert(&mut self, slot: u32, item: &CatalogueItem) {
        for (key, weight) in item.canonical_tags() {
            let postings = self.0.entry(key.clone()).or_default();
            postings.slots.push(slot);
            postings.weights.push(weight);
        }
    }

    /// Removes the tags of an item.
    pub(super) fn remove(&mut self, slot: u32, item: &CatalogueItem) {
        for (key, _) in item.canonical_tags() {
            let Some(postings) = self.0.get_mut(key) else {
                continue;
            };
            if let Some(at) = postings.slots.iter().position(|other| *other == slot) {
                postings.slots.swap_remove(at);
                postings.weights.swap_remove(at);
            }
            if postings.slots.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// The key of a tag, if the index has it, in the memory that the index holds.
    pub(super) fn shared(&self, key: &TagKey) -> Option<TagKey> {
        self.0.get_key_value(key).map(|(key, _)| key.clone())
    }

    fn slots(&self, key: &TagKey) -> &[u32] {
        self.0.get(key).map_or(&[], |postings| &postings.slots)
    }

    /// A superset of the slots that a restriction admits, some of them twice;
    /// `None` if the tags do not narrow it down below all `items`.
    pub(super) fn superset(&self, restriction: &Restriction, items: usize) -> Option<Vec<&[u32]>> {
        let must = restriction.must.iter().map(|key| self.slots(key));
        if let Some(fewest) = must.min_by_key(|slots| slots.len()) {
            return Some(vec![fewest]);
        }
        if !restriction.any_of.is_empty() {
            let any_of = restriction.any_of.iter().map(|key| self.slots(key));
            return Some(any_of.collect());
        }
        // A label matches in any facet: all tags are visited.
        let label = restriction
            .label
            .as_ref()
            .filter(|_| self.0.len() <= items)?;
        let labelled = self.0.iter().filter(|(key, _)| key.label() == label);
        Some(
            labelled
                .map(|(_, postings)| postings.slots.as_slice())
                .collect(),
        )
    }

    /// Passes to `visit` each slot, of this number of slots, whose sum `Σ weight · item weight`
    /// over these tags is above 0, with the sum. Adds in the order of an item's tags, as
    /// `overlap` does, whose other terms are 0: the sums are equal to the last bit.
    pub(super) fn overlaps(
        &self,
        weights: &[(TagKey, f64)],
        slots: usize,
        mut visit: impl FnMut(u32, f64),
    ) {
        let weights: BTreeMap<_, _> = weights.iter().map(|(tag, weight)| (tag, *weight)).collect();
        let Buffers {
            mut sums,
            mut touched,
        } = BUFFERS.take();
        if sums.len() < slots {
            sums.resize(slots, 0.0);
        }
        for (tag, weight) in weights {
            let Some(postings) = self.0.get(tag) else {
                continue;
            };
            for (slot, item_weight) in postings.slots.iter().zip(&postings.weights) {
                let sum = &mut sums[*slot as usize];
                if *sum == 0.0 {
                    touched.push(*slot);
                }
                *sum += weight * item_weight;
            }
        }
        // A slot is here again if its sum was 0 in between; then it is 0 from the first time.
        for slot in touched.drain(..) {
            let sum = std::mem::take(&mut sums[slot as usize]);
            if sum > 0.0 {
                visit(slot, sum);
            }
        }
        BUFFERS.set(Buffers { sums, touched });
    }
}
