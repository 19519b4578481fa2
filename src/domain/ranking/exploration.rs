//! One deliberately off-profile item, so that a list can surprise and the model
//! can learn something new.

use std::sync::Arc;

use super::{
    draws::Draws,
    fusion::{Draft, Fusion, Scored},
    interest::Interest,
    rules::RankRules,
};
use crate::domain::{
    item::CatalogueItem,
    ranking_config::{ExplorationConfig, ExplorationStrategy},
    vector::wide,
};

/// Size of the sample that `unexplored_theme` chooses from.
pub const THEME_SAMPLE: usize = 20;
/// How many popular items `popular_elsewhere` chooses from.
pub const POPULAR_SAMPLE: usize = 50;
/// The smallest list that gets an exploration item.
pub const MIN_LIMIT: usize = 3;

/// Why a list has no exploration item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplorationSkip {
    /// Exploration is disabled.
    Disabled,
    /// The limit is below [`MIN_LIMIT`].
    LimitTooSmall,
    /// The random draw was negative.
    NotDrawn,
    /// No item is available.
    NoCandidate,
}

/// Items that the exploration item is chosen from.
#[derive(Clone, Debug)]
pub enum ExplorationPool {
    /// Restricted request: the lowest-scored candidate that is not listed.
    Candidates,
    /// Unrestricted request: the first of these unseen items that is not listed.
    FirstOf(Vec<Arc<CatalogueItem>>),
    /// Unrestricted request: of the first [`THEME_SAMPLE`] that are not listed,
    /// the one that shares the fewest tags with the affinity.
    FewestSharedTags(Vec<Arc<CatalogueItem>>),
    /// Unrestricted request: of these popular unseen items, the one with the lowest
    /// score, ties by id.
    LowestScored(Vec<Arc<CatalogueItem>>),
}

/// An exploration item to choose.
#[derive(Clone, Debug)]
pub struct ExplorationRequest {
    /// Its position in the list, from 1.
    pub slot: usize,
    /// The items to choose from.
    pub pool: ExplorationPool,
}

/// Decides whether a request explores, and at which position. `requested` overrides
/// whether and how often the ranking file explores.
///
/// # Errors
/// [`ExplorationSkip`] if it does not.
pub fn decide(
    config: &ExplorationConfig,
    requested: Option<bool>,
    limit: usize,
    draws: &Draws,
) -> Result<usize, ExplorationSkip> {
    if !requested.unwrap_or(config.enabled) {
        return Err(ExplorationSkip::Disabled);
    }
    if limit < MIN_LIMIT {
        return Err(ExplorationSkip::LimitTooSmall);
    }
    if requested.is_none() && !draws.explores(config) {
        return Err(ExplorationSkip::NotDrawn);
    }
    Ok(draws.slot(config))
}

/// Which unseen items to fetch for the exploration pool of an unrestricted
/// request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolOrder {
    /// The items farthest from the taste vector.
    Farthest,
    /// A random sample.
    Sample,
}

/// What to fetch for the pool of an unrestricted request and how many items, so
/// that enough remain without the listed ones.
#[must_use]
pub fn pool_query(
    strategy: ExplorationStrategy,
    has_taste: bool,
    limit: usize,
) -> (PoolOrder, usize) {
    match strategy {
        ExplorationStrategy::MaxDissimilar if has_taste => (PoolOrder::Farthest, limit),
        ExplorationStrategy::MaxDissimilar | ExplorationStrategy::Random => {
            (PoolOrder::Sample, limit)
        }
        ExplorationStrategy::UnexploredTheme | ExplorationStrategy::PopularElsewhere => {
            (PoolOrder::Sample, limit + THEME_SAMPLE)
        }
    }
}

impl ExplorationPool {
    /// The pool of an unrestricted request with the items fetched for it.
    #[must_use]
    pub fn of_fetched(strategy: ExplorationStrategy, items: Vec<Arc<CatalogueItem>>) -> Self {
        match strategy {
            ExplorationStrategy::MaxDissimilar | ExplorationStrategy::Random => {
                Self::FirstOf(items)
            }
            ExplorationStrategy::UnexploredTheme | ExplorationStrategy::PopularElsewhere => {
                Self::FewestSharedTags(items)
            }
        }
    }
}

impl ExplorationRequest {
    /// Chooses an item that is not in `listed`. `unlisted` are the candidates that are
    /// not in the list.
    pub(super) fn choose(
        self,
        listed: &[Scored],
        unlisted: impl Iterator<Item = Draft>,
        interest: &Interest,
        rules: &RankRules<'_>,
    ) -> Option<Scored> {
        let fusion = Fusion::new(interest, rules);
        let lower = |a: &Scored, b: &Scored| a.score.total_cmp(&b.score).then_with(|| a.by_id(b));
        let is_unlisted =
            |item: &Arc<CatalogueItem>| !listed.iter().any(|scored| scored.item.id() == item.id());
        let chosen = match self.pool {
            ExplorationPool::Candidates => {
                let mut unlisted: Vec<Draft> = unlisted.collect();
                wide(
                    #[inline(always)]
                    || {
                        for draft in &mut unlisted {
                            fusion.complete(draft);
                        }
                    },
                );
                let unlisted = unlisted.into_iter().map(|draft| draft.scored);
                return unlisted.min_by(lower);
            }
            ExplorationPool::FirstOf(items) => items.into_iter().find(is_unlisted),
            ExplorationPool::FewestSharedTags(items) => items
                .into_iter()
                .filter(is_unlisted)
                .take(THEME_SAMPLE)
                .min_by_key(|item| (interest.affinity.shared_tags(item), item.id().clone())),
            ExplorationPool::LowestScored(items) => {
                let mut scored = Vec::with_capacity(items.len());
                wide(
                    #[inline(always)]
                    || {
                        for item in items.into_iter().filter(is_unlisted) {
                            scored.push(fusion.score(item));
                        }
                    },
                );
                let lowest = scored.into_iter().min_by(lower);
                lowest.map(|scored| scored.item)
            }
        };
        chosen.map(|item| Fusion::for_exploration(interest, rules).score(item))
    }
}
