//! Weighted sum of the scorers, with its parts.

use std::{cmp::Ordering, sync::Arc};

use super::{
    interest::Interest,
    scorers::{SCORERS, Scorer},
};
use crate::domain::{ids::ContentId, item::CatalogueItem, ranking_config::FusionWeights};

/// What each scorer added to a score: weight times value. Scorers that do not
/// apply are absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Breakdown([Option<f64>; Scorer::COUNT]);

impl Breakdown {
    /// What a scorer added; `None` if it does not apply.
    #[must_use]
    pub fn part(&self, scorer: Scorer) -> Option<f64> {
        self.0[scorer as usize]
    }

    /// The parts that apply, in the order of [`SCORERS`].
    pub fn parts(&self) -> impl Iterator<Item = (Scorer, f64)> {
        Scorer::all()
            .zip(self.0)
            .filter_map(|(scorer, part)| Some((scorer, part?)))
    }
}

/// A candidate with its score.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The candidate.
    pub item: Arc<CatalogueItem>,
    /// The sum of the breakdown.
    pub score: f64,
    /// What each scorer added.
    pub breakdown: Breakdown,
    /// The liked item that the affinity score comes from.
    pub similar_to: Option<ContentId>,
}

impl Scored {
    /// Orders by id, bytewise: the tie-break of equal scores.
    #[must_use]
    pub fn by_id(&self, other: &Self) -> Ordering {
        self.item.id().cmp(other.item.id())
    }
}

/// Scores candidates by the weighted sum of the scorers that apply.
pub struct Fusion<'a> {
    interest: &'a Interest,
    /// The scorers that apply, with their weights.
    scorers: Vec<(Scorer, f64)>,
}

impl<'a> Fusion<'a> {
    /// All scorers that apply to the interest.
    #[must_use]
    pub fn new(interest: &'a Interest, weights: &FusionWeights) -> Self {
        let rows = SCORERS.iter();
        Self {
            interest,
            scorers: rows
                .filter(|row| (row.applies)(interest))
                .map(|row| (row.scorer, weights[row.scorer]))
                .collect(),
        }
    }

    /// Only the scorers for the exploration item of an unrestricted request: those
    /// that measure the distance from the interest.
    #[must_use]
    pub fn for_exploration(interest: &'a Interest, weights: &FusionWeights) -> Self {
        let mut fusion = Self::new(interest, weights);
        fusion
            .scorers
            .retain(|(scorer, _)| scorer.definition().scores_exploration);
        fusion
    }

    /// Scores a candidate.
    #[inline(always)]
    #[must_use]
    pub fn score(&self, item: Arc<CatalogueItem>) -> Scored {
        let mut breakdown = Breakdown::default();
        let mut score = 0.0;
        let mut similar_to = None;
        for (scorer, weight) in &self.scorers {
            let value = scorer.value(&item, self.interest);
            // Adding 0 turns a negative zero into zero.
            let part = weight * value.score + 0.0;
            breakdown.0[*scorer as usize] = Some(part);
            score += part;
            similar_to = value.similar_to.or(similar_to);
        }
        Scored {
            similar_to: similar_to.cloned(),
            item,
            score,
            breakdown,
        }
    }
}
