//! The scorers: pure functions from a candidate and a user's profile to a
//! number in \[0, 1\].

use super::profile::{Liked, Profile, TagMap};
use crate::domain::{
    geo::{GeoPoint, nearest_m},
    item::CatalogueItem,
    tags::TagKey,
    vector::{UnitVector, cos01},
};

/// `Σ weight[t] · item_weight[t] / Σ weight` over the item's tags `t`, clamped
/// to \[0, 1\]; 0 for an empty map.
#[must_use]
pub fn tag(item: &CatalogueItem, map: &TagMap) -> f64 {
    if map.total() <= 0.0 {
        return 0.0;
    }
    (overlap(item, |tag| map.weight(tag)) / map.total()).clamp(0.0, 1.0)
}

/// `Σ weight(t) · item_weight[t]` over the item's tags `t`.
#[must_use]
pub fn overlap(item: &CatalogueItem, weight: impl Fn(&TagKey) -> f64) -> f64 {
    item.canonical_tags()
        .iter()
        .map(|(key, item_weight)| weight(key) * item_weight)
        .sum()
}

/// Closeness to a vector of the user: `(cosine + 1) / 2`.
#[inline(always)]
#[must_use]
pub fn closeness(item: &CatalogueItem, vector: Option<&UnitVector>) -> f64 {
    cos01(vector, item.vector())
}

/// The largest `cos01(item, liked) · share(liked)`, with the liked item that
/// gives it; the bytewise smaller id wins a tie. `liked` is sorted by id.
#[inline(always)]
#[must_use]
pub fn affinity<'l, 'a>(
    item: &CatalogueItem,
    liked: &'l [Liked<'a>],
) -> (f64, Option<&'l Liked<'a>>) {
    let mut best = (0.0, None);
    for candidate in liked {
        let score = cos01(Some(candidate.vector), item.vector()) * candidate.share;
        if score > best.0 {
            best = (score, Some(candidate));
        }
    }
    best
}

/// `exp(−distance / scale)` to the nearest of the item's places; 0 without one.
#[must_use]
pub fn geo(item: &CatalogueItem, near: GeoPoint, scale_m: f64) -> f64 {
    nearest_m(near, &item.item().locations).map_or(0.0, |distance| (-distance / scale_m).exp())
}

/// The item's liked tags, the most telling first: by affinity times item
/// weight, ties by key.
#[must_use]
pub fn matched_tags<'a>(item: &'a CatalogueItem, profile: &Profile<'_>) -> Vec<&'a TagKey> {
    let mut matched: Vec<(&TagKey, f64)> = item
        .canonical_tags()
        .iter()
        .map(|(key, weight)| (key, profile.affinity.weight(key) * weight))
        .filter(|(_, telling)| *telling > 0.0)
        .collect();
    matched.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    matched.into_iter().map(|(key, _)| key).collect()
}
