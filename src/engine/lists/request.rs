//! What to list, and until when.

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use crate::{
    domain::{
        geo::GeoPoint,
        ids::{ContentId, UserId},
        ranking::{Boost, interest::SeenPolicy},
        restriction::Restriction,
    },
    ports::Deadline,
};

/// What to list.
#[derive(Clone, Debug)]
pub struct ListRequest {
    /// What the list is made from.
    pub kind: ListKind,
    /// The user, if the list is for one.
    pub user: Option<UserId>,
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
    /// What the scores of some items gain.
    pub boosts: Vec<Boost>,
    /// Whether the list gets an exploration item; `None` = as the ranking file says.
    /// Only lists of [`ListKind::ForUser`] have one.
    pub exploration: Option<bool>,
    /// Where the list is shown: one of [`Engine::placements`](crate::engine::Engine), or
    /// none.
    pub placement: Option<Arc<str>>,
    /// Seed of all random draws: makes the list reproducible.
    pub seed: Option<u32>,
}

/// What a list is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// The user's model, and the items at hand: those of a session or a basket, the
    /// latest last. Without either, popularity.
    ForUser {
        /// The items at hand.
        context: Vec<ContentId>,
    },
    /// One item. The user's likes play no part.
    SimilarTo {
        /// The item.
        item: ContentId,
        /// What makes others similar to it.
        basis: SimilarityBasis,
    },
    /// Popularity. The user's likes play no part.
    MostPopular {
        /// Over which time.
        window: PopularityWindow,
    },
}

/// What makes items similar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SimilarityBasis {
    /// Behavior and content.
    #[default]
    Best,
    /// That the same users chose them.
    Behavior,
    /// Their vectors and tags.
    Content,
}

/// The time over which popularity is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PopularityWindow {
    /// With the half-life of popularity, 7 days.
    #[default]
    Popular,
    /// With the half-life of trends, 1 day.
    Trending,
}

impl ListKind {
    /// The items at hand, the latest first, each once.
    pub(super) fn context(&self) -> Vec<ContentId> {
        let given = match self {
            Self::ForUser { context } => &context[..],
            Self::SimilarTo { item, .. } => std::slice::from_ref(item),
            Self::MostPopular { .. } => &[],
        };
        let mut met = HashSet::new();
        let latest_first = given.iter().rev();
        latest_first
            .filter(|item| met.insert(*item))
            .cloned()
            .collect()
    }
}

impl ListRequest {
    /// A request with no user and no conditions.
    #[must_use]
    pub fn new(kind: ListKind, limit: usize) -> Self {
        Self {
            kind,
            user: None,
            limit,
            restriction: Restriction::default(),
            near: None,
            exclude: HashSet::new(),
            seen: SeenPolicy::default(),
            boosts: Vec::new(),
            exploration: None,
            placement: None,
            seed: None,
        }
    }

    /// A request for a user's list.
    #[must_use]
    pub fn for_user(user: UserId, limit: usize) -> Self {
        let context = Vec::new();
        Self {
            user: Some(user),
            ..Self::new(ListKind::ForUser { context }, limit)
        }
    }

    /// This request, which also excludes the items at hand.
    pub(super) fn without_context(&self, context: &[ContentId]) -> Cow<'_, Self> {
        if context.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut request = self.clone();
        request.exclude.extend(context.iter().cloned());
        Cow::Owned(request)
    }
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
