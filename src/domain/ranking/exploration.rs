//! One deliberately off-profile item, so that a list can surprise and the
//! model can learn what it does not know yet.

use std::sync::Arc;

use super::{
    draws::Draws,
    fusion::{self, Scored},
    profile::Profile,
};
use crate::domain::{
    item::CatalogueItem,
    ranking_config::{ExplorationConfig, ExplorationStrategy, RankingConfig},
};

/// Size of the sample that `unexplored_theme` chooses from.
pub const THEME_SAMPLE: usize = 20;
/// The smallest list that gets an exploration item.
pub const MIN_LIMIT: usize = 3;

/// Why a list has no exploration item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It is switched off.
    Disabled,
    /// The limit is below [`MIN_LIMIT`].
    LimitTooSmall,
    /// The draw went against it.
    NotDrawn,
    /// No item was left over.
    NoCandidate,
}

/// Where the exploration item comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Restricted request: the lowest-scored candidate left over.
    Leftover,
    /// Open request: the first of these unseen items that is not listed.
    FirstOf(Vec<Arc<CatalogueItem>>),
    /// Open request: of the first [`THEME_SAMPLE`] that are not listed, the
    /// one that shares the fewest tags with the user's affinity.
    FewestSharedTags(Vec<Arc<CatalogueItem>>),
}

/// An exploration item to be chosen.
#[derive(Clone, Debug)]
pub struct Explorer {
    /// Its place in the list, from 1.
    pub slot: usize,
    /// Where it comes from.
    pub source: Source,
}

/// Decides whether a request explores, and at which slot.
///
/// # Errors
/// [`Skipped`] says why it does not.
pub fn decide(config: &ExplorationConfig, limit: usize, draws: &Draws) -> Result<usize, Skipped> {
    if !config.enabled {
        return Err(Skipped::Disabled);
    }
    if limit < MIN_LIMIT {
        return Err(Skipped::LimitTooSmall);
    }
    if !draws.explores(config) {
        return Err(Skipped::NotDrawn);
    }
    Ok(draws.slot(config))
}

/// Which unseen items an open request explores among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The ones farthest from the taste vector.
    Farthest,
    /// A random sample.
    Sample,
}

/// What to fetch for an open request, and how many, so that enough are left
/// when the listed ones are taken out.
#[must_use]
pub fn wanted(strategy: ExplorationStrategy, has_taste: bool, limit: usize) -> (Wanted, usize) {
    match strategy {
        ExplorationStrategy::MaxDissimilar if has_taste => (Wanted::Farthest, limit),
        ExplorationStrategy::MaxDissimilar | ExplorationStrategy::Random => (Wanted::Sample, limit),
        ExplorationStrategy::UnexploredTheme => (Wanted::Sample, limit + THEME_SAMPLE),
    }
}

impl Source {
    /// The source for an open request among what was fetched for it.
    #[must_use]
    pub fn among(strategy: ExplorationStrategy, found: Vec<Arc<CatalogueItem>>) -> Self {
        match strategy {
            ExplorationStrategy::MaxDissimilar | ExplorationStrategy::Random => {
                Self::FirstOf(found)
            }
            ExplorationStrategy::UnexploredTheme => Self::FewestSharedTags(found),
        }
    }
}

impl Explorer {
    /// Chooses the item: none that is in `listed`. `left` and `reserve` are
    /// the candidates that did not make the list.
    pub(super) fn choose(
        self,
        listed: &[Scored],
        left: &[Scored],
        reserve: Option<&Scored>,
        profile: &Profile<'_>,
        config: &RankingConfig,
    ) -> Option<Scored> {
        let unlisted =
            |item: &Arc<CatalogueItem>| !listed.iter().any(|scored| scored.item.id() == item.id());
        let chosen = match self.source {
            Source::Leftover => {
                return left
                    .iter()
                    .chain(reserve)
                    .min_by(|a, b| a.score.total_cmp(&b.score).then_with(|| a.by_id(b)))
                    .cloned();
            }
            Source::FirstOf(items) => items.into_iter().find(unlisted),
            Source::FewestSharedTags(items) => items
                .into_iter()
                .filter(unlisted)
                .take(THEME_SAMPLE)
                .min_by_key(|item| (profile.affinity.shared_tags(item), item.id().clone())),
        };
        chosen.map(|item| fusion::score_exploration(item, profile, &config.fusion))
    }
}
