//! How candidates become a list.

use super::{boost::Boost, scorers::Scorer};
use crate::domain::ranking_config::{FusionWeights, RankingConfig};

/// How candidates become a list.
#[derive(Clone, Debug)]
pub struct RankRules<'a> {
    /// The weights of the scorers.
    pub weights: FusionWeights,
    /// The scorers that are used, as far as they apply; `None` means all.
    pub scorers: Option<&'static [Scorer]>,
    /// The share of the score in the re-ranking for diversity, 0 to 1; 1 orders by score
    /// alone.
    pub mmr_lambda: f64,
    /// What the request adds to scores.
    pub boosts: &'a [Boost],
}

impl<'a> RankRules<'a> {
    /// The rules of a ranking file.
    #[must_use]
    pub fn of(config: &RankingConfig, boosts: &'a [Boost]) -> Self {
        Self {
            weights: config.fusion.clone(),
            scorers: None,
            mmr_lambda: config.mmr_lambda,
            boosts,
        }
    }

    /// Only the popularity, as it is, and what the request itself adds.
    #[must_use]
    pub fn by_popularity(config: &RankingConfig, boosts: &'a [Boost]) -> Self {
        let mut weights = config.fusion.clone();
        weights[Scorer::Popularity] = 1.0;
        Self {
            weights,
            scorers: Some(&[Scorer::Geo, Scorer::Popularity]),
            mmr_lambda: 1.0,
            boosts,
        }
    }

    /// Only what other users chose, and what the request itself adds. A weight that
    /// switches the scorer off in other lists is replaced by 1.
    #[must_use]
    pub fn by_behavior(config: &RankingConfig, boosts: &'a [Boost]) -> Self {
        let mut weights = config.fusion.clone();
        if weights[Scorer::Collaborative] <= 0.0 {
            weights[Scorer::Collaborative] = 1.0;
        }
        Self {
            weights,
            scorers: Some(&[Scorer::Geo, Scorer::Collaborative]),
            ..Self::of(config, boosts)
        }
    }

    /// Only vectors and tags, and what the request itself adds.
    #[must_use]
    pub fn by_content(config: &RankingConfig, boosts: &'a [Boost]) -> Self {
        Self {
            scorers: Some(&[Scorer::Tag, Scorer::Semantic, Scorer::Geo]),
            ..Self::of(config, boosts)
        }
    }
}
