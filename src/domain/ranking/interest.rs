//! What a list is made for: likes, dislikes, vectors and place in one form,
//! wherever they come from.

use std::sync::Arc;

use crate::domain::{
    associations::{CollaborativeScore, CollaborativeScores, PopularItems},
    geo::GeoPoint,
    ids::ContentId,
    item::{CatalogueItem, Items},
    tags::{Canonicalizer, TagKey},
    user_signals::UserSignals,
    vector::UnitVector,
};

/// Maximum number of liked items that the affinity scorer compares with: the
/// strongest ones.
pub const MAX_LIKED_ITEMS: usize = 500;

/// Tag weights by canonical key. Weights of keys with the same canonical form
/// are added.
#[derive(Clone, Debug, Default)]
pub struct TagMap {
    weights: foldhash::HashMap<TagKey, f64>,
    total: f64,
}

impl TagMap {
    fn new<'a>(
        folded: impl ExactSizeIterator<Item = (&'a String, &'a f64)>,
        canonical: &Canonicalizer,
    ) -> Self {
        let mut map = Self::default();
        map.weights.reserve(folded.len());
        for (key, weight) in folded {
            *map.weights.entry(canonical.key(key)).or_default() += weight;
            map.total += weight;
        }
        map
    }

    /// The weight of a tag, 0 if it is not in the map.
    #[must_use]
    pub fn weight(&self, tag: &TagKey) -> f64 {
        self.weights.get(tag).copied().unwrap_or(0.0)
    }

    /// The sum of all weights.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.total
    }

    /// The `count` heaviest tags, ties by key.
    #[must_use]
    pub fn top(&self, count: usize) -> Vec<(TagKey, f64)> {
        let mut tags: Vec<(&TagKey, f64)> = self
            .weights
            .iter()
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(key, weight)| (key, *weight))
            .collect();
        let heavier =
            |a: &(&TagKey, f64), b: &(&TagKey, f64)| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0));
        if count < tags.len() {
            tags.select_nth_unstable_by(count, heavier);
            tags.truncate(count);
        }
        tags.sort_unstable_by(heavier);
        tags.into_iter()
            .map(|(key, weight)| (key.clone(), weight))
            .collect()
    }

    /// `share · self + Σ added`, with the largest weight scaled to 1.
    pub(super) fn blended<'a>(
        self,
        share: f64,
        added: impl Iterator<Item = (&'a TagKey, f64)>,
    ) -> Self {
        let mut map = self;
        map.total *= share;
        for weight in map.weights.values_mut() {
            *weight *= share;
        }
        for (tag, weight) in added {
            *map.weights.entry(tag.clone()).or_default() += weight;
            map.total += weight;
        }
        let largest = map.weights.values().copied().fold(0.0, f64::max);
        if largest > 0.0 {
            map.total /= largest;
            for weight in map.weights.values_mut() {
                *weight /= largest;
            }
        }
        map
    }

    /// How many of an item's tags are in the map.
    #[must_use]
    pub fn shared_tags(&self, item: &CatalogueItem) -> usize {
        item.canonical_tags()
            .filter(|(key, _)| self.weight(key) > 0.0)
            .count()
    }
}

/// A liked item that has a vector.
#[derive(Clone, Debug)]
pub struct LikedItem {
    /// Its weight divided by the largest weight of all liked items, 0 to 1.
    pub share: f64,
    /// The item.
    pub item: Arc<CatalogueItem>,
}

/// Where the user is, for the geo scorer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// The user's position.
    pub point: GeoPoint,
    /// Distance in metres over which the geo score falls to 1/e.
    pub scale_m: f64,
}

/// What becomes of items that were displayed and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoredItems {
    /// They count as seen.
    Hidden,
    /// Their scores are lower.
    ScoredLower,
}

/// Which of a user's items a list hides. What the user disliked is always hidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeenPolicy {
    /// What the user engaged with.
    #[default]
    Hide,
    /// What the user is done with.
    HideDone,
    /// Nothing else.
    Allow,
}

/// The items of a user that a list hides, the latest first.
#[must_use]
pub fn hidden_items(
    signals: &UserSignals,
    ignored_items: IgnoredItems,
    policy: SeenPolicy,
) -> Vec<ContentId> {
    match (policy, ignored_items) {
        (SeenPolicy::Hide, IgnoredItems::Hidden) => signals.seen().cloned().collect(),
        (SeenPolicy::Hide, IgnoredItems::ScoredLower) => signals.engaged().cloned().collect(),
        (SeenPolicy::HideDone, _) => signals.disliked_or_done().cloned().collect(),
        (SeenPolicy::Allow, _) => signals.disliked().cloned().collect(),
    }
}

/// All that candidate generators and scorers know of whom or what a list is for.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    /// Liked tags.
    pub affinity: TagMap,
    /// Disliked tags.
    pub aversion: TagMap,
    /// Weighted mean direction of the liked items.
    pub taste: Option<UnitVector>,
    /// Vector of the latest item.
    pub recency: Option<UnitVector>,
    /// Liked items with their weights, the strongest first, ties by id; at most
    /// [`MAX_LIKED_ITEMS`].
    pub positives: Vec<(ContentId, f64)>,
    /// Those of `positives` whose vectors are loaded, in their order: the largest share
    /// first.
    pub liked: Vec<LikedItem>,
    /// Items that an unrestricted list must not contain, the latest first.
    pub seen: Vec<ContentId>,
    /// Items that were displayed and ignored, with their strength: their scores
    /// are lower. Empty if they are among the seen ones.
    pub ignored: foldhash::HashMap<ContentId, f64>,
    /// Position of the user, if the request has one.
    pub near: Option<Near>,
    /// Items that the user recently engaged with and did not dislike, the latest
    /// first, with their strengths.
    pub recent: Vec<(ContentId, f64)>,
    /// The collaborative scores of the candidates that have one, by `recent`; `None`
    /// without any.
    pub collaborative: Option<foldhash::HashMap<ContentId, CollaborativeScore>>,
    /// The popularity of items; `None` if there is none.
    pub popularity: Option<Arc<PopularItems>>,
}

impl Interest {
    /// The interest of a user. The vectors of liked items are added by
    /// [`Interest::load_liked`].
    #[must_use]
    pub fn of_user(
        signals: &UserSignals,
        canonical: &Canonicalizer,
        ignored_items: IgnoredItems,
        policy: SeenPolicy,
    ) -> Self {
        let mut positives: Vec<(&ContentId, f64)> = signals
            .positives
            .iter()
            .map(|(id, weight)| (id, *weight))
            .collect();
        positives.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        positives.truncate(MAX_LIKED_ITEMS);
        let mut ignored = foldhash::HashMap::default();
        if ignored_items == IgnoredItems::ScoredLower {
            ignored.extend(signals.ignored().map(|(id, weight)| (id.clone(), weight)));
        }
        Self {
            affinity: TagMap::new(signals.tag_affinity.iter(), canonical),
            aversion: TagMap::new(signals.tag_aversion.iter(), canonical),
            taste: signals.taste_vector.clone(),
            recency: signals.recency_vector.clone(),
            positives: positives
                .into_iter()
                .map(|(id, weight)| (id.clone(), weight))
                .collect(),
            liked: Vec::new(),
            seen: hidden_items(signals, ignored_items, policy),
            ignored,
            near: None,
            recent: signals
                .interests
                .latest_first()
                .map(|entry| (entry.item.clone(), entry.strength.value()))
                .collect(),
            collaborative: None,
            popularity: None,
        }
    }

    /// Sets the collaborative scores of these candidates, whose query was
    /// [`Interest::recent`].
    pub fn load_collaborative<'a>(
        &mut self,
        scores: &CollaborativeScores<'_>,
        candidates: impl Iterator<Item = &'a ContentId>,
    ) {
        if scores.is_empty() {
            self.collaborative = None;
            return;
        }
        let scored = |item: &ContentId| Some((item.clone(), scores.get(item.as_str())?));
        self.collaborative = Some(candidates.filter_map(scored).collect());
    }

    /// The collaborative score of a candidate; 0 if it has none.
    #[must_use]
    pub fn collaborative_score(&self, item: &ContentId) -> f64 {
        let scores = self.collaborative.as_ref();
        let score = scores.and_then(|scores| scores.get(item));
        score.map_or(0.0, |score| score.score)
    }

    /// The user's item that added most to the collaborative score of a candidate.
    #[must_use]
    pub fn similar_because(&self, item: &ContentId) -> Option<&ContentId> {
        let score = self.collaborative.as_ref()?.get(item)?;
        let (because, _) = self.recent.get(score.strongest)?;
        Some(because)
    }

    /// No interest: nothing is liked, disliked or seen.
    #[must_use]
    pub fn nobody() -> Self {
        Self::default()
    }

    /// Whether nothing is liked.
    #[must_use]
    pub fn is_cold(&self) -> bool {
        self.positives.is_empty()
    }

    /// Adds the vectors of the liked items. Items that `items` lacks, or that
    /// have no vector, add nothing to the affinity score.
    pub fn load_liked(&mut self, items: &Items) {
        // Positives are sorted: the first one has the largest weight.
        let Some(largest) = self.positives.first().map(|(_, weight)| *weight) else {
            return;
        };
        if largest <= 0.0 {
            return;
        }
        self.liked = self
            .positives
            .iter()
            .filter_map(|(id, weight)| {
                let item = items.get(id)?;
                item.vector()?;
                Some(LikedItem {
                    share: weight / largest,
                    item: Arc::clone(item),
                })
            })
            .collect();
    }
}
