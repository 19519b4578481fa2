//! Weighted sum of the scorers, with its parts.

use std::{cmp::Ordering, sync::Arc};

use super::{
    boost::{Boost, boost_part},
    interest::Interest,
    rules::RankRules,
    scorers::{SCORERS, Scorer},
};
use crate::domain::{ids::ContentId, item::CatalogueItem};

/// The name of what boosts added.
const BOOST: &str = "boost";

/// What each scorer added to a score, weight times value, and what the request's
/// boosts added. Scorers that do not apply are absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Breakdown {
    scorers: [Option<f64>; Scorer::COUNT],
    boost: Option<f64>,
}

impl Breakdown {
    /// What a scorer added; `None` if it does not apply.
    #[must_use]
    pub fn part(&self, scorer: Scorer) -> Option<f64> {
        self.scorers[scorer as usize]
    }

    /// What boosts added; `None` if the request has none.
    #[must_use]
    pub fn boost(&self) -> Option<f64> {
        self.boost
    }

    /// All parts by their names in replies: those of scorers, then that of boosts.
    pub fn named_parts(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let scorers = self.parts().map(|(scorer, part)| (scorer.name(), part));
        scorers.chain(self.boost.map(|part| (BOOST, part)))
    }

    /// The score. Numbers are added in the same order whatever was known first.
    #[inline(always)]
    fn sum(&self) -> f64 {
        let parts = self.scorers.iter().chain([&self.boost]);
        parts.flatten().fold(0.0, |sum, part| sum + part)
    }

    /// The parts of scorers that apply, in the order of [`SCORERS`].
    pub fn parts(&self) -> impl Iterator<Item = (Scorer, f64)> {
        Scorer::all()
            .zip(self.scorers)
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

/// A candidate whose affinity may be missing.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The candidate. Its score is an upper bound while the affinity is missing: sums of
    /// larger parts in the same order are never smaller.
    pub(super) scored: Scored,
    /// The weight of the affinity, if it is missing.
    missing_affinity: Option<f64>,
}

impl Draft {
    /// Whether the score is exact.
    pub(super) fn is_complete(&self) -> bool {
        self.missing_affinity.is_none()
    }
}

impl From<Scored> for Draft {
    fn from(scored: Scored) -> Self {
        Self {
            scored,
            missing_affinity: None,
        }
    }
}

/// Scores candidates by the weighted sum of the scorers that apply.
pub struct Fusion<'a> {
    interest: &'a Interest,
    /// The scorers that apply, with their weights.
    scorers: Vec<(Scorer, f64)>,
    boosts: &'a [Boost],
}

impl<'a> Fusion<'a> {
    /// All scorers of the rules that apply to the interest, and the boosts.
    #[must_use]
    pub fn new(interest: &'a Interest, rules: &RankRules<'a>) -> Self {
        let is_used = |scorer| rules.scorers.is_none_or(|used| used.contains(&scorer));
        let rows = SCORERS.iter();
        Self {
            interest,
            scorers: rows
                .filter(|row| (row.applies)(interest) && is_used(row.scorer))
                .map(|row| (row.scorer, rules.weights[row.scorer]))
                .collect(),
            boosts: rules.boosts,
        }
    }

    /// Only the scorers for the exploration item of an unrestricted request: those
    /// that measure the distance from the interest.
    #[must_use]
    pub fn for_exploration(interest: &'a Interest, rules: &RankRules<'a>) -> Self {
        let mut fusion = Self::new(interest, rules);
        fusion.boosts = &[];
        fusion
            .scorers
            .retain(|(scorer, _)| scorer.definition().scores_exploration);
        fusion
    }

    /// Scores a candidate.
    #[inline(always)]
    #[must_use]
    pub fn score(&self, item: Arc<CatalogueItem>) -> Scored {
        let mut draft = self.draft(item);
        self.complete(&mut draft);
        draft.scored
    }

    /// Scores a candidate as if its affinity were the best possible. The affinity takes
    /// most of the time, and few of a list's candidates can still win a place.
    #[inline(always)]
    #[must_use]
    pub(super) fn draft(&self, item: Arc<CatalogueItem>) -> Draft {
        let mut breakdown = Breakdown::default();
        let mut missing_affinity = None;
        for (scorer, weight) in &self.scorers {
            let value = if *scorer == Scorer::Affinity {
                missing_affinity = Some(*weight);
                let can_be_close = item.vector().is_some() && !self.interest.liked.is_empty();
                f64::from(can_be_close && *weight > 0.0)
            } else {
                scorer.value(&item, self.interest).score
            };
            breakdown.scorers[*scorer as usize] = Some(part(*weight, value));
        }
        if !self.boosts.is_empty() {
            breakdown.boost = Some(boost_part(self.boosts, &item) + 0.0);
        }
        Draft {
            scored: Scored {
                item,
                score: breakdown.sum(),
                breakdown,
                similar_to: None,
            },
            missing_affinity,
        }
    }

    /// Scores the affinity of a draft, if it is missing.
    #[inline(always)]
    pub(super) fn complete(&self, draft: &mut Draft) {
        let Some(weight) = draft.missing_affinity.take() else {
            return;
        };
        let scored = &mut draft.scored;
        let value = Scorer::Affinity.value(&scored.item, self.interest);
        scored.breakdown.scorers[Scorer::Affinity as usize] = Some(part(weight, value.score));
        scored.score = scored.breakdown.sum();
        scored.similar_to = value.similar_to.cloned();
    }
}

/// What a scorer adds to the score. Adding 0 turns a negative zero into zero.
#[inline(always)]
fn part(weight: f64, value: f64) -> f64 {
    weight * value + 0.0
}
