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
        let mut breakdown = Breakdown::default();
        let mut score = 0.0;
        let mut similar_to = None;
        for (scorer, weight) in &self.scorers {
            let value = scorer.value(&item, self.interest);
            // Adding 0 turns a negative zero into zero.
            let part = weight * value.score + 0.0;
            breakdown.scorers[*scorer as usize] = Some(part);
            score += part;
            similar_to = value.similar_to.or(similar_to);
        }
        if !self.boosts.is_empty() {
            let part = boost_part(self.boosts, &item) + 0.0;
            breakdown.boost = Some(part);
            score += part;
        }
        Scored {
            similar_to: similar_to.cloned(),
            item,
            score,
            breakdown,
        }
    }
}
