//! The user's side of scoring, prepared once a request.

use crate::domain::{
    geo::GeoPoint,
    ids::ContentId,
    item::CatalogueItem,
    signals::Items,
    tags::{Canonicalizer, TagKey},
    user_signals::UserSignals,
    vector::UnitVector,
};

/// How many liked items the affinity scorer compares with, the strongest.
pub const MAX_LIKED_ITEMS: usize = 500;

/// A user's tag weights in canonical form. Keys that meet there add.
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

    /// Sum of all weights.
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

    /// How many of an item's tags are in the map.
    #[must_use]
    pub fn shared_tags(&self, item: &CatalogueItem) -> usize {
        item.canonical_tags()
            .iter()
            .filter(|(key, _)| self.weight(key) > 0.0)
            .count()
    }
}

/// A liked item that has a vector.
#[derive(Clone, Debug)]
pub struct Liked<'a> {
    /// Which item.
    pub id: &'a ContentId,
    /// Its weight, divided by the largest of all liked items: 0 to 1.
    pub share: f64,
    /// Its embedding.
    pub vector: &'a UnitVector,
}

/// All that scoring needs to know of a user and a request.
#[derive(Clone, Debug)]
pub struct Profile<'a> {
    /// Liked tags.
    pub affinity: TagMap,
    /// Disliked tags.
    pub aversion: TagMap,
    /// Where the liked items point to.
    pub taste: Option<&'a UnitVector>,
    /// Where the latest item points to.
    pub recency: Option<&'a UnitVector>,
    /// Liked items with vectors, sorted by id.
    pub liked: Vec<Liked<'a>>,
    /// Where the user is.
    pub near: Option<GeoPoint>,
    /// Distance over which the geo score falls to 1/e, in metres.
    pub geo_scale_m: f64,
}

impl<'a> Profile<'a> {
    /// Prepares a model for a request. Liked items come in by
    /// [`Profile::set_liked`], as they may have to be fetched.
    #[must_use]
    pub fn new(
        signals: &'a UserSignals,
        near: Option<GeoPoint>,
        geo_scale_m: f64,
        canonical: &Canonicalizer,
    ) -> Self {
        Self {
            affinity: TagMap::new(signals.tag_affinity.iter(), canonical),
            aversion: TagMap::new(signals.tag_aversion.iter(), canonical),
            taste: signals.taste_vector.as_ref(),
            recency: signals.recency_vector.as_ref(),
            liked: Vec::new(),
            near,
            geo_scale_m,
        }
    }

    /// Takes in the liked items; those that `items` lacks, or that have no
    /// vector, say nothing.
    pub fn set_liked(&mut self, strongest: &[(&'a ContentId, f64)], items: &'a Items) {
        let top = strongest
            .iter()
            .map(|(_, weight)| *weight)
            .fold(0.0, f64::max);
        if top <= 0.0 {
            return;
        }
        self.liked = strongest
            .iter()
            .filter_map(|(id, weight)| {
                let vector = items.get(id)?.vector()?;
                Some(Liked {
                    id,
                    share: weight / top,
                    vector,
                })
            })
            .collect();
        self.liked.sort_unstable_by_key(|liked| liked.id);
    }
}

/// The strongest liked items of a model, ties by id.
#[must_use]
pub fn strongest_positives(signals: &UserSignals) -> Vec<(&ContentId, f64)> {
    let mut positives: Vec<_> = signals
        .positives
        .iter()
        .map(|(id, weight)| (id, *weight))
        .collect();
    positives.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    positives.truncate(MAX_LIKED_ITEMS);
    positives
}
