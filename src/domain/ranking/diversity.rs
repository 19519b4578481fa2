//! Re-ranking for diversity.

use super::fusion::Scored;
use crate::domain::vector::{UnitVector, wide};

/// Picks up to `count` candidates by maximal marginal relevance (J. Carbonell
/// and J. Goldstein, "The Use of MMR", SIGIR 1998): first the best score, then
/// repeatedly the largest `λ·score − (1−λ)·max cosine to the picked ones`. The
/// cosine is raw and can be negative; it is 0 if a vector is missing. Ties go to
/// the bytewise smaller id.
///
/// Returns the picked candidates in order, and the others in id order. Computes
/// `count · candidates` cosines.
#[must_use]
pub fn rerank(
    mut candidates: Vec<Scored>,
    count: usize,
    lambda: f64,
) -> (Vec<Scored>, Vec<Scored>) {
    // In id order, the first of several equal scores has the smallest id.
    candidates.sort_unstable_by(Scored::by_id);
    let mut closest: Vec<f64> = vec![f64::NEG_INFINITY; candidates.len()];
    let mut position: Vec<Option<usize>> = vec![None; candidates.len()];

    let mut best = first_max(&position, |index| candidates[index].score);
    wide(
        #[inline(always)]
        || {
            for rank in 0..count {
                let Some(picked) = best else { break };
                position[picked] = Some(rank);
                let vector = candidates[picked].item.vector();
                for (index, candidate) in candidates.iter().enumerate() {
                    if position[index].is_none() {
                        let similarity = raw_cosine(vector, candidate.item.vector());
                        closest[index] = closest[index].max(similarity);
                    }
                }
                best = first_max(&position, |index| {
                    lambda * candidates[index].score - (1.0 - lambda) * closest[index]
                });
            }
        },
    );

    let mut picked: Vec<(usize, Scored)> = Vec::new();
    let mut others = Vec::new();
    for (position, candidate) in position.into_iter().zip(candidates) {
        match position {
            Some(rank) => picked.push((rank, candidate)),
            None => others.push(candidate),
        }
    }
    picked.sort_unstable_by_key(|(rank, _)| *rank);
    (
        picked.into_iter().map(|(_, scored)| scored).collect(),
        others,
    )
}

/// Picks the `count` best candidates by score, ties by id. Returns them in order, and
/// the others in id order.
#[must_use]
pub fn by_score(mut candidates: Vec<Scored>, count: usize) -> (Vec<Scored>, Vec<Scored>) {
    candidates.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.by_id(b)));
    let mut others = candidates.split_off(count.min(candidates.len()));
    others.sort_unstable_by(Scored::by_id);
    (candidates, others)
}

/// The first of the unpicked candidates with the largest value.
fn first_max(position: &[Option<usize>], value: impl Fn(usize) -> f64) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for index in (0..position.len()).filter(|index| position[*index].is_none()) {
        let value = value(index);
        if best.is_none_or(|(_, top)| value > top) {
            best = Some((index, value));
        }
    }
    best.map(|(index, _)| index)
}

#[inline(always)]
fn raw_cosine(a: Option<&UnitVector>, b: Option<&UnitVector>) -> f64 {
    match (a, b) {
        (Some(a), Some(b)) => a.cosine(b).unwrap_or(0.0),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{by_score, rerank};
    use crate::domain::{
        item::{CatalogueItem, Item},
        ranking::fusion::{Breakdown, Scored},
        tags::Canonicalizer,
        vector::UnitVector,
    };

    fn scored(id: &str, score: f64, vector: Option<[f32; 2]>) -> Scored {
        let mut item = Item::new(id);
        item.vector = vector.and_then(|values| UnitVector::new(&values));
        Scored {
            item: Arc::new(CatalogueItem::new(item, &Canonicalizer::default())),
            score,
            breakdown: Breakdown::default(),
            similar_to: None,
        }
    }

    fn ids(list: &[Scored]) -> Vec<&str> {
        list.iter()
            .map(|scored| scored.item.id().as_str())
            .collect()
    }

    #[test]
    fn a_near_duplicate_of_a_picked_item_ranks_below_a_different_item() {
        let pool = vec![
            scored("best", 0.9, Some([1.0, 0.0])),
            scored("copy", 0.89, Some([1.0, 0.001])),
            scored("other", 0.5, Some([0.0, 1.0])),
        ];
        let (picked, others) = rerank(pool, 2, 0.7);
        assert_eq!(ids(&picked), ["best", "other"]);
        assert_eq!(ids(&others), ["copy"]);
    }

    #[test]
    fn an_opposite_vector_adds_to_the_value_and_a_missing_one_is_neutral() {
        let pool = vec![
            scored("a", 0.9, Some([1.0, 0.0])),
            scored("opposite", 0.2, Some([-1.0, 0.0])),
            scored("none", 0.5, None),
        ];
        let (picked, _) = rerank(pool, 3, 0.7);
        assert_eq!(ids(&picked), ["a", "opposite", "none"]);
    }

    #[test]
    fn ties_go_to_the_bytewise_smaller_id() {
        let pool = vec![
            scored("b", 0.5, None),
            scored("a", 0.5, None),
            scored("10", 0.5, None),
            scored("9", 0.5, None),
        ];
        let (picked, others) = rerank(pool, 3, 0.7);
        assert_eq!(ids(&picked), ["10", "9", "a"]);
        assert_eq!(ids(&others), ["b"]);
    }

    #[test]
    fn without_diversity_the_order_is_that_of_the_scores() {
        let pool = vec![
            scored("b", 0.5, Some([1.0, 0.0])),
            scored("d", 0.1, None),
            scored("a", 0.5, Some([1.0, 0.0])),
            scored("c", 0.9, Some([1.0, 0.0])),
        ];
        let (picked, others) = by_score(pool, 2);
        assert_eq!(ids(&picked), ["c", "a"]);
        assert_eq!(ids(&others), ["b", "d"]);
        assert!(by_score(Vec::new(), 3).0.is_empty());
    }

    #[test]
    fn count_can_be_zero_or_larger_than_the_number_of_candidates() {
        assert!(rerank(Vec::new(), 5, 0.7).0.is_empty());
        assert_eq!(rerank(vec![scored("a", 0.1, None)], 5, 0.7).0.len(), 1);
        assert!(rerank(vec![scored("a", 0.1, None)], 0, 0.7).0.is_empty());
    }
}
