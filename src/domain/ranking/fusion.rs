//! From scorers to one score: a weighted sum that keeps its parts.

use std::{cmp::Ordering, sync::Arc};

use super::{profile::Profile, scorers};
use crate::domain::{ids::ContentId, item::CatalogueItem, ranking_config::FusionWeights};

/// What each scorer added to a score: weight times value. `None` where the
/// scorer does not apply.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Breakdown {
    /// Liked tags.
    pub tag: f64,
    /// Closeness to the taste vector.
    pub semantic: f64,
    /// Closeness to a liked item.
    pub affinity: Option<f64>,
    /// Closeness to the latest item.
    pub recency: Option<f64>,
    /// Disliked tags.
    pub aversion: Option<f64>,
    /// Nearness to the user's place.
    pub geo: Option<f64>,
}

impl Breakdown {
    /// The parts that apply, by scorer name.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, f64)> {
        [
            ("tag", Some(self.tag)),
            ("semantic", Some(self.semantic)),
            ("affinity", self.affinity),
            ("recency", self.recency),
            ("aversion", self.aversion),
            ("geo", self.geo),
        ]
        .into_iter()
        .filter_map(|(name, part)| part.map(|part| (name, part)))
    }

    /// Their sum.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.parts().map(|(_, part)| part).sum()
    }
}

/// A candidate with its score.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The candidate.
    pub item: Arc<CatalogueItem>,
    /// Sum of the breakdown.
    pub score: f64,
    /// What each scorer added.
    pub breakdown: Breakdown,
    /// The liked item that gave the affinity score.
    pub similar_to: Option<ContentId>,
}

impl Scored {
    fn new(item: Arc<CatalogueItem>, breakdown: Breakdown, similar_to: Option<ContentId>) -> Self {
        Self {
            item,
            score: breakdown.total(),
            breakdown,
            similar_to,
        }
    }

    /// The order of equals: a bytewise smaller id comes first.
    #[must_use]
    pub fn by_id(&self, other: &Self) -> Ordering {
        self.item.id().cmp(other.item.id())
    }
}

/// Scores a candidate with all scorers that apply.
#[inline(always)]
#[must_use]
pub fn score(item: Arc<CatalogueItem>, profile: &Profile<'_>, weights: &FusionWeights) -> Scored {
    let (affinity, liked) = scorers::affinity(&item, &profile.liked);
    let breakdown = Breakdown {
        affinity: Some(part(weights.affinity, affinity)),
        recency: Some(part(
            weights.recency,
            scorers::closeness(&item, profile.recency),
        )),
        aversion: Some(part(
            weights.aversion,
            scorers::tag(&item, &profile.aversion),
        )),
        geo: profile
            .near
            .map(|near| part(weights.geo, scorers::geo(&item, near, profile.geo_scale_m))),
        ..profile_match(&item, profile, weights)
    };
    let similar_to = liked.map(|liked| liked.id.clone());
    Scored::new(item, breakdown, similar_to)
}

/// Scores the exploration item of an open request: only what says how far off
/// the user's profile it is.
#[must_use]
pub fn score_exploration(
    item: Arc<CatalogueItem>,
    profile: &Profile<'_>,
    weights: &FusionWeights,
) -> Scored {
    let breakdown = profile_match(&item, profile, weights);
    Scored::new(item, breakdown, None)
}

#[inline(always)]
fn profile_match(
    item: &CatalogueItem,
    profile: &Profile<'_>,
    weights: &FusionWeights,
) -> Breakdown {
    Breakdown {
        tag: part(weights.tag, scorers::tag(item, &profile.affinity)),
        semantic: part(weights.semantic, scorers::closeness(item, profile.taste)),
        ..Breakdown::default()
    }
}

/// Weight times value; adding 0 turns a negative zero into zero.
fn part(weight: f64, value: f64) -> f64 {
    weight * value + 0.0
}
