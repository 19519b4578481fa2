//! The scorers: pure functions from a candidate and an interest to a number in
//! \[0, 1\], listed in one table.
//!
//! To add a scorer, add a row to the table and its function. The weight in the
//! ranking file, the part in the breakdown and the key in replies follow from the
//! row.

use super::interest::{Interest, LikedItem, TagMap};
use crate::domain::{
    geo::nearest_m,
    ids::ContentId,
    item::CatalogueItem,
    tags::TagKey,
    vector::{cos01, in_0_to_1},
};

/// One row of the table.
#[derive(Debug)]
pub struct ScorerDefinition {
    /// The scorer.
    pub scorer: Scorer,
    /// Its name in the ranking file and in breakdowns.
    pub name: &'static str,
    /// What it measures.
    pub description: &'static str,
    /// Its weight if the ranking file has none.
    pub default_weight: f64,
    /// Whether it scores the exploration item of an unrestricted request.
    pub scores_exploration: bool,
    /// Whether it applies to lists of this interest. If not, breakdowns lack it.
    pub applies: fn(&Interest) -> bool,
}

/// What a scorer gives a candidate.
#[derive(Clone, Copy, Debug)]
pub struct ScorerValue<'a> {
    /// The score, 0 to 1.
    pub score: f64,
    /// The liked item that the score comes from, if it comes from one.
    pub similar_to: Option<&'a ContentId>,
}

impl From<f64> for ScorerValue<'_> {
    #[inline(always)]
    fn from(score: f64) -> Self {
        Self {
            score,
            similar_to: None,
        }
    }
}

/// Defines the scorers. A function is not a field of its row: called through a
/// pointer, it would not be compiled with the vector registers of
/// [`wide`](crate::domain::vector::wide).
macro_rules! scorers {
    ($($scorer:ident {
        name: $name:literal,
        description: $description:literal,
        default_weight: $weight:literal,
        scores_exploration: $exploration:literal,
        applies: $applies:expr,
        value: $value:ident,
    })*) => {
        /// A scorer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Scorer {
            $(#[doc = $description] $scorer,)*
        }

        /// Every scorer, in the order of [`Scorer`]. Scores are added in this order.
        pub const SCORERS: [ScorerDefinition; Scorer::COUNT] = [$(
            ScorerDefinition {
                scorer: Scorer::$scorer,
                name: $name,
                description: $description,
                default_weight: $weight,
                scores_exploration: $exploration,
                applies: $applies,
            },
        )*];

        impl Scorer {
            /// Number of scorers.
            pub const COUNT: usize = [$(Self::$scorer),*].len();

            /// Scores a candidate.
            #[inline(always)]
            pub(super) fn value<'a>(
                self,
                item: &CatalogueItem,
                interest: &'a Interest,
            ) -> ScorerValue<'a> {
                match self {
                    $(Self::$scorer => $value(item, interest),)*
                }
            }
        }
    };
}

scorers! {
    Tag {
        name: "tag",
        description: "liked tags that the item carries",
        default_weight: 0.45,
        scores_exploration: true,
        applies: |_| true,
        value: tag,
    }
    Semantic {
        name: "semantic",
        description: "closeness to the taste vector",
        default_weight: 0.20,
        scores_exploration: true,
        applies: |_| true,
        value: semantic,
    }
    Affinity {
        name: "affinity",
        description: "closeness to the most similar liked item",
        default_weight: 0.10,
        scores_exploration: false,
        applies: |_| true,
        value: affinity,
    }
    Recency {
        name: "recency",
        description: "closeness to the latest item",
        default_weight: 0.05,
        scores_exploration: false,
        applies: |_| true,
        value: recency,
    }
    Aversion {
        name: "aversion",
        description: "disliked tags that the item carries",
        default_weight: -0.30,
        scores_exploration: false,
        applies: |_| true,
        value: aversion,
    }
    Geo {
        name: "geo",
        description: "nearness to the user's place, if `near` is given",
        default_weight: 0.20,
        scores_exploration: false,
        applies: |interest| interest.near.is_some(),
        value: geo,
    }
    Collaborative {
        name: "collaborative",
        description: "what other users chose together with the user's items",
        default_weight: 2.0,
        scores_exploration: false,
        applies: |interest| interest.collaborative.is_some(),
        value: collaborative,
    }
    Popularity {
        name: "popularity",
        description: "how popular the item is",
        default_weight: 0.2,
        scores_exploration: false,
        applies: |interest| interest.popularity.is_some(),
        value: popularity,
    }
}

impl Scorer {
    /// Every scorer, in order.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        SCORERS.iter().map(|row| row.scorer)
    }

    /// Its row in the table.
    #[must_use]
    pub fn definition(self) -> &'static ScorerDefinition {
        &SCORERS[self as usize]
    }

    /// Its name in the ranking file and in breakdowns.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.definition().name
    }

    /// The scorer of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|scorer| scorer.name() == name)
    }
}

/// `Σ weight(t) · item_weight[t]` over the item's tags `t`.
#[must_use]
pub fn overlap(item: &CatalogueItem, weight: impl Fn(&TagKey) -> f64) -> f64 {
    item.canonical_tags()
        .map(|(key, item_weight)| weight(key) * item_weight)
        .sum()
}

/// `Σ weight[t] · item_weight[t] / Σ weight` over the item's tags `t`, clamped
/// to \[0, 1\]; 0 for an empty map.
fn tag_share(item: &CatalogueItem, map: &TagMap) -> f64 {
    if map.total() <= 0.0 {
        return 0.0;
    }
    (overlap(item, |tag| map.weight(tag)) / map.total()).clamp(0.0, 1.0)
}

fn tag<'a>(item: &CatalogueItem, interest: &'a Interest) -> ScorerValue<'a> {
    tag_share(item, &interest.affinity).into()
}

#[inline(always)]
fn semantic<'a>(item: &CatalogueItem, interest: &'a Interest) -> ScorerValue<'a> {
    cos01(interest.taste.as_ref(), item.vector()).into()
}

/// The largest `cos01(item, liked) · share(liked)`, with the liked item that gives it,
/// of several the one with the bytewise smallest id.
#[inline(always)]
fn affinity<'a>(item: &CatalogueItem, interest: &'a Interest) -> ScorerValue<'a> {
    let mut best = ScorerValue::from(0.0);
    let Some(vector) = item.vector() else {
        return best;
    };
    // The largest shares come first: once a share is below the best score, no later one
    // can win.
    let (groups, rest) = interest.liked.as_chunks::<TOGETHER>();
    for group in groups {
        if group[0].share < best.score {
            return best;
        }
        let [a, b, c, d] = group;
        let vectors = (
            a.item.vector(),
            b.item.vector(),
            c.item.vector(),
            d.item.vector(),
        );
        let cosines = match vectors {
            (Some(a), Some(b), Some(c), Some(d)) => vector.cosines([a, b, c, d]),
            // Closures are not inlined everywhere; all liked items have vectors.
            _ => [a, b, c, d].map(|liked| vector.cosine(liked.item.vector()?)),
        };
        for (liked, cosine) in group.iter().zip(cosines) {
            take_closer(&mut best, liked, cosine);
        }
    }
    for liked in rest {
        if let Some(other) = liked.item.vector() {
            take_closer(&mut best, liked, vector.cosine(other));
        }
    }
    best
}

/// Number of liked items that a candidate is compared with together.
const TOGETHER: usize = 4;

#[inline(always)]
fn take_closer<'a>(best: &mut ScorerValue<'a>, liked: &'a LikedItem, cosine: Option<f64>) {
    let score = cosine.map_or(0.0, in_0_to_1) * liked.share;
    let is_first = |other: &ContentId| liked.item.id() < other;
    if score > best.score || score == best.score && best.similar_to.is_some_and(is_first) {
        *best = ScorerValue {
            score,
            similar_to: Some(liked.item.id()),
        };
    }
}

#[inline(always)]
fn recency<'a>(item: &CatalogueItem, interest: &'a Interest) -> ScorerValue<'a> {
    cos01(interest.recency.as_ref(), item.vector()).into()
}

/// The share of disliked tags, plus the strength with which the user ignored the
/// item, at most 1.
fn aversion<'a>(item: &CatalogueItem, interest: &'a Interest) -> ScorerValue<'a> {
    let share = tag_share(item, &interest.aversion);
    match interest.ignored.get(item.id()) {
        Some(ignored) => (share + ignored).clamp(0.0, 1.0).into(),
        None => share.into(),
    }
}

/// `exp(−distance / scale)` to the nearest of the item's places; 0 without one.
fn geo<'a>(item: &CatalogueItem, interest: &'a Interest) -> ScorerValue<'a> {
    let Some(near) = interest.near else {
        return 0.0.into();
    };
    nearest_m(near.point, item.locations())
        .map_or(0.0, |distance| (-distance / near.scale_m).exp())
        .into()
}

fn collaborative<'a>(item: &CatalogueItem, interest: &'a Interest) -> ScorerValue<'a> {
    interest.collaborative_score(item.id()).into()
}

fn popularity<'a>(item: &CatalogueItem, interest: &'a Interest) -> ScorerValue<'a> {
    let popularity = interest.popularity.as_ref();
    popularity
        .map_or(0.0, |items| items.share(item.id()))
        .into()
}

/// The item's liked tags: by affinity times item weight, largest first, ties by
/// key.
#[must_use]
pub fn matched_tags<'a>(item: &'a CatalogueItem, interest: &Interest) -> Vec<&'a TagKey> {
    let mut matched: Vec<(&TagKey, f64)> = item
        .canonical_tags()
        .map(|(key, weight)| (key, interest.affinity.weight(key) * weight))
        .filter(|(_, product)| *product > 0.0)
        .collect();
    matched.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    matched.into_iter().map(|(key, _)| key).collect()
}
