//! What to recommend, and until when.

use std::{collections::HashSet, sync::Arc};

use crate::{
    domain::{
        geo::GeoPoint,
        ids::{ContentId, UserId},
        ranking::interest::SeenPolicy,
        restriction::Restriction,
    },
    ports::Deadline,
};

/// What to recommend.
#[derive(Clone, Debug)]
pub struct RecommendRequest {
    /// The user.
    pub user: UserId,
    /// Maximum number of items, at least 1.
    pub limit: usize,
    /// Conditions on the items.
    pub restriction: Restriction,
    /// The user's position.
    pub near: Option<GeoPoint>,
    /// Items that must not be in the list.
    pub exclude: HashSet<ContentId>,
    /// Which of the user's items the list hides.
    pub seen: SeenPolicy,
    /// Whether the list gets an exploration item; `None` = as the ranking file says.
    pub exploration: Option<bool>,
    /// Where the list is shown: one of [`Engine::placements`](crate::engine::Engine), or
    /// none.
    pub placement: Option<Arc<str>>,
    /// Seed of all random draws: makes the list reproducible.
    pub seed: Option<u32>,
}

/// Deadlines of the reads for a list, so that it is ready before its caller's own
/// deadline.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For the user's model. Without it, the list is a cold one.
    pub model: Deadline,
    /// For all reads of items together. Without them, the list is made of items
    /// that are cached in this process.
    pub items: Deadline,
}

impl Deadlines {
    /// No deadlines: only the stores' own time-outs.
    pub const UNLIMITED: Self = Self {
        model: Deadline::NONE,
        items: Deadline::NONE,
    };
}
