//! A model that was built and may not be saved yet.

use std::time::Duration;

use crate::{
    domain::{time::Timestamp, vector::UnitVector},
    ports::{Rank, StoredModel},
};

/// A model with what its save needs.
#[derive(Clone, Debug)]
pub(super) struct BuiltModel {
    pub(super) model: StoredModel,
    /// The store's time before its events were read, or its version confirmed.
    pub(super) read_at: Timestamp,
    /// A stored model to replace, even if its version is higher.
    pub(super) replaces: Option<Rank>,
    /// Whether its associations are written whether or not they changed.
    pub(super) renews: bool,
    /// Time that the computation took.
    pub(super) cost: Duration,
}

impl BuiltModel {
    /// Estimated size in memory with the encoded form, which the model may get later, in
    /// bytes.
    pub(super) fn byte_size(&self) -> usize {
        const BASE: usize = 1_000;
        const ENTRY: usize = 150;
        let signals = &self.model.signals;
        let entries = signals.positives.len()
            + signals.negatives.len()
            + signals.viewed.len()
            + signals.recent_views.len()
            + signals.tag_affinity.len()
            + signals.tag_aversion.len()
            + signals.demographics.len();
        let vectors = [&signals.taste_vector, &signals.recency_vector];
        let numbers: usize = vectors.into_iter().flatten().map(UnitVector::size).sum();
        BASE + ENTRY * entries + size_of::<f32>() * numbers
    }
}
