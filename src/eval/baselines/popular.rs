//! The most popular items, recent likes counting more.

use std::collections::BTreeSet;

use crate::{
    domain::time::Timestamp,
    eval::{
        log::{ReplayEvent, ReplayLog},
        ranker::{ListQuery, ListRanker, ListedItems, RankerError},
    },
};

/// Days in which a like loses half its weight.
const HALF_LIFE_DAYS: f64 = 7.0;
/// Exponent at which weights are scaled down, so that they stay finite.
const RESCALE_AT: f64 = 500.0;

/// Items by their likes, newer ones counting more: Σ 2^(−age / 7 days). An item
/// without likes is in no list.
#[derive(Debug, Default)]
pub struct Popular {
    /// Time whose weight is 1. Later likes weigh more instead of earlier ones
    /// less, so only the liked item's weight changes (forward decay).
    landmark: Option<Timestamp>,
    weights: Vec<f64>,
    /// By (bits of the weight, item), from the end: positive floats compare as
    /// their bits do.
    order: BTreeSet<(u64, std::cmp::Reverse<u32>)>,
}

impl Popular {
    /// Adds a like.
    pub(super) fn add(&mut self, log: &ReplayLog, item: u32, time: Timestamp) {
        self.weights.resize(log.items.len(), 0.0);
        let landmark = *self.landmark.get_or_insert(time);
        let mut exponent = time.days_since(landmark) / HALF_LIFE_DAYS;
        if exponent > RESCALE_AT {
            self.rescale(exponent);
            self.landmark = Some(time);
            exponent = 0.0;
        }
        let weight = &mut self.weights[item as usize];
        let old = (weight.to_bits(), std::cmp::Reverse(item));
        *weight += exponent.exp2();
        let new = (weight.to_bits(), std::cmp::Reverse(item));
        if log.is_in_catalogue(item) {
            self.order.remove(&old);
            self.order.insert(new);
        }
    }

    fn rescale(&mut self, exponent: f64) {
        let factor = (-exponent).exp2();
        let order = std::mem::take(&mut self.order);
        for weight in &mut self.weights {
            *weight *= factor;
        }
        let rescaled = order
            .into_iter()
            .map(|(_, item)| (self.weights[item.0 as usize].to_bits(), item));
        self.order = rescaled.collect();
    }

    /// An item's weight, to compare with others'.
    pub(super) fn weight(&self, item: u32) -> f64 {
        self.weights.get(item as usize).copied().unwrap_or_default()
    }

    /// The items from the most popular one on.
    pub(super) fn items(&self) -> impl Iterator<Item = u32> {
        self.order.iter().rev().map(|(_, item)| item.0)
    }
}

impl ListRanker for Popular {
    fn list(&mut self, query: &ListQuery<'_>) -> Result<ListedItems, RankerError> {
        let shown = self.items().filter(|item| query.may_show(*item));
        Ok(ListedItems {
            items: shown.take(query.rules.k).collect(),
            cold: None,
        })
    }

    fn learn(&mut self, log: &ReplayLog, event: &ReplayEvent) -> Result<(), RankerError> {
        if let Some(item) = event.item.filter(|_| event.is_like) {
            self.add(log, item, event.time);
        }
        Ok(())
    }
}
