//! The tags of an item as a sparse vector of its point.
//!
//! A tag is a dimension, and the item's weight is the value there. The scalar product
//! with the weights of a search is then the weighted overlap that the search orders by,
//! and Qdrant's inverted index finds the largest ones exactly.
//!
//! The dimension is a hash, so different tags can share one. Their values are added, in
//! items and in searches: weights are never negative, so a product is then too large,
//! never too small. Searches check it: the exact overlaps come from the items' contents,
//! and if the last result has less than the first point that Qdrant left out could have,
//! tags are searched by payload as well.

use std::collections::BTreeMap;

use qdrant_client::qdrant::{
    Condition, Filter, HasVectorCondition, Modifier, NamedVectors, SparseVector,
    SparseVectorConfig, SparseVectorParams, Vector, Vectors, condition::ConditionOneOf, vector,
};
use xxhash_rust::xxh3::xxh3_64;

use super::ids::PointKey;
use crate::domain::{item::CatalogueItem, tags::TagKey};

/// The name of the vector. Each point that recsys writes has it, also one without tags.
pub(super) const TAG_VECTOR: &str = "recsys_tags";

/// How tags are searched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum TagSearch {
    /// By the keywords in the payload: the collection has no vector of tags.
    #[default]
    Payload,
    /// The same, as too many points lack their vector.
    TooFewVectors,
    /// By the vector of tags. The points that lack it, which other programs wrote, are
    /// compared one by one.
    Vector {
        /// Their keys.
        lacking: Vec<PointKey>,
    },
}

/// The dimension of a tag. Must never change: stored vectors would no longer match.
fn dimension(tag: &TagKey) -> u32 {
    // The lower half of the hash.
    xxh3_64(tag.as_str().as_bytes()) as u32
}

/// A vector of weighted tags, its dimensions in ascending order.
fn sparse<'a>(weights: impl IntoIterator<Item = (&'a TagKey, f64)>) -> SparseVector {
    let mut values: BTreeMap<u32, f64> = BTreeMap::new();
    for (tag, weight) in weights {
        if weight != 0.0 {
            *values.entry(dimension(tag)).or_default() += weight;
        }
    }
    // A weight that rounds to 0 still counts.
    let single = |value: f64| match value as f32 {
        0.0 => f32::MIN_POSITIVE.copysign(value as f32),
        single => single,
    };
    SparseVector {
        indices: values.keys().copied().collect(),
        values: values.into_values().map(single).collect(),
    }
}

/// The vector of an item.
pub(super) fn of_item(item: &CatalogueItem) -> SparseVector {
    sparse(item.canonical_tags())
}

/// The vector of a search; `None` if no item can have anything in common with it.
pub(super) fn of_search(weights: &[(TagKey, f64)]) -> Option<SparseVector> {
    let vector = sparse(weights.iter().map(|(tag, weight)| (tag, *weight)));
    (!vector.indices.is_empty()).then_some(vector)
}

/// The configuration of the vector in a new collection.
pub(super) fn config() -> SparseVectorConfig {
    let params = SparseVectorParams::default();
    SparseVectorConfig {
        map: [(TAG_VECTOR.to_owned(), params)].into(),
    }
}

/// Whether a collection has the vector, with products that are not rescaled.
pub(super) fn is_in(config: &SparseVectorConfig) -> bool {
    let params = config.map.get(TAG_VECTOR);
    params.is_some_and(|params| params.modifier() == Modifier::None)
}

/// Matches the points that lack the vector.
pub(super) fn is_missing() -> Filter {
    let has_vector = HasVectorCondition {
        has_vector: TAG_VECTOR.to_owned(),
    };
    Filter::must_not([Condition {
        condition_one_of: Some(ConditionOneOf::HasVector(has_vector)),
    }])
}

/// The vector as a write takes it.
pub(super) fn as_vector(sparse: SparseVector) -> Vector {
    Vector {
        vector: Some(vector::Vector::Sparse(sparse)),
        ..Vector::default()
    }
}

/// The vector as the only one that a write changes.
pub(super) fn alone(sparse: SparseVector) -> Vectors {
    let vectors = [(TAG_VECTOR.to_owned(), as_vector(sparse))];
    let vectors = NamedVectors {
        vectors: vectors.into(),
    };
    vectors.into()
}

#[cfg(test)]
mod tests {
    use super::{dimension, of_item, of_search};
    use crate::domain::{
        item::{CatalogueItem, Item, Tag},
        tags::Canonicalizer,
    };

    #[test]
    fn the_dimension_of_a_tag_never_changes() {
        let canonical = Canonicalizer::default();
        for (tag, expected) in [
            ("theme:jazz", 1_984_315_958),
            ("theme:Très calme", 863_870_467),
            (":", 2_166_219_724),
        ] {
            assert_eq!(dimension(&canonical.key(tag)), expected, "{tag}");
        }
    }

    #[test]
    fn a_vector_has_each_dimension_once_in_order_and_no_zeros() {
        let canonical = Canonicalizer::default();
        let tag = |label: &str, weight| Tag {
            facet: "t".to_owned(),
            label: label.to_owned(),
            weight,
        };
        let mut item = Item::new("1");
        item.tags = vec![
            tag("b", 0.5),
            tag("a", 2.0),
            tag("c", 0.0),
            tag("d", 1e-300),
        ];
        let vector = of_item(&CatalogueItem::new(item, &canonical));
        assert!(vector.indices.is_sorted_by(|a, b| a < b));
        let value = |label: &str| {
            let place = vector
                .indices
                .binary_search(&dimension(&canonical.key(label)));
            place.ok().map(|place| vector.values[place])
        };
        assert_eq!(
            ["t:a", "t:b", "t:c", "t:d"].map(value),
            [Some(2.0), Some(0.5), None, Some(f32::MIN_POSITIVE)]
        );
        assert!(of_search(&[(canonical.key("t:a"), 0.0)]).is_none());
    }
}
