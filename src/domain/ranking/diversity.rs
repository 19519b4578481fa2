//! Re-ranking for diversity.

use std::{cmp::Ordering, collections::BinaryHeap, sync::Arc};

use super::fusion::{Draft, Scored};
use crate::domain::{
    item::CatalogueItem,
    vector::{UnitVector, wide},
};

/// Number of candidates that are compared with a picked item together.
const TOGETHER: usize = 4;

/// Picks up to `count` candidates by maximal marginal relevance (J. Carbonell
/// and J. Goldstein, "The Use of MMR", SIGIR 1998): first the best score, then
/// repeatedly the largest `λ·score − (1−λ)·max cosine to the picked ones`. The
/// cosine is raw and can be negative; it is 0 if a vector is missing. Ties go to
/// the bytewise smaller id. With `λ = 1` this is the order of the scores.
///
/// A value never grows: a draft's score is an upper bound until `complete` makes it
/// exact, and the largest cosine grows with each pick. So the largest value that is up
/// to date is the largest of all, and only values that come first need to be brought up
/// to date (M. Minoux, "Accelerated greedy algorithms for maximizing submodular set
/// functions", 1978).
///
/// Returns the picked candidates in order, and the others.
#[must_use]
pub(super) fn rerank(
    candidates: Vec<Draft>,
    count: usize,
    lambda: f64,
    complete: impl Fn(&mut Draft),
) -> (Vec<Scored>, Vec<Draft>) {
    let mut pool = Pool::new(candidates, lambda);
    wide(
        #[inline(always)]
        || {
            while pool.picked.len() < count
                && let Some(first) = pool.first()
            {
                let draft = &mut pool.drafts[first];
                if !draft.is_complete() {
                    complete(draft);
                } else if !pool.compare(first) {
                    pool.pick(first);
                    continue;
                }
                pool.contenders.push(pool.contender(first));
            }
        },
    );
    pool.split()
}

/// Candidates from which some are picked.
struct Pool {
    lambda: f64,
    drafts: Vec<Draft>,
    /// Those that are not picked, by their values, or more.
    contenders: BinaryHeap<Contender>,
    /// The largest cosine of each candidate to the picked ones it was compared with.
    closest: Vec<f64>,
    /// With how many of the picked ones each candidate was compared.
    compared: Vec<usize>,
    /// In order.
    picked: Vec<usize>,
}

/// A candidate with its value, or more.
struct Contender {
    value: f64,
    index: usize,
    item: Arc<CatalogueItem>,
}

impl Ord for Contender {
    /// By value, of several the smallest id last: a heap returns it first.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_value = self.value.total_cmp(&other.value);
        by_value.then_with(|| other.item.id().cmp(self.item.id()))
    }
}

impl PartialOrd for Contender {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Contender {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Contender {}

impl Pool {
    fn new(drafts: Vec<Draft>, lambda: f64) -> Self {
        let mut pool = Self {
            lambda,
            contenders: BinaryHeap::new(),
            closest: vec![f64::NEG_INFINITY; drafts.len()],
            compared: vec![0; drafts.len()],
            picked: Vec::new(),
            drafts,
        };
        let all = 0..pool.drafts.len();
        pool.contenders = all.map(|index| pool.contender(index)).collect();
        pool
    }

    fn contender(&self, index: usize) -> Contender {
        Contender {
            value: self.value(index),
            index,
            item: Arc::clone(&self.drafts[index].scored.item),
        }
    }

    /// Takes the candidate with the largest value, of several the one with the smallest
    /// id.
    fn first(&mut self) -> Option<usize> {
        self.contenders.pop().map(|first| first.index)
    }

    #[inline(always)]
    fn value(&self, index: usize) -> f64 {
        let score = self.drafts[index].scored.score;
        if self.picked.is_empty() || self.lambda == 1.0 {
            return score;
        }
        // Adding 0 turns a negative zero into zero.
        self.lambda * score - (1.0 - self.lambda) * self.closest[index] + 0.0
    }

    /// Compares a candidate with the picked ones that it was not compared with. Returns
    /// whether there were any.
    #[inline(always)]
    fn compare(&mut self, index: usize) -> bool {
        let before = std::mem::replace(&mut self.compared[index], self.picked.len());
        if self.lambda == 1.0 {
            return false;
        }
        let vector = self.drafts[index].scored.item.vector();
        for picked in &self.picked[before..] {
            let cosine = raw_cosine(vector, self.drafts[*picked].scored.item.vector());
            self.closest[index] = self.closest[index].max(cosine);
        }
        before < self.picked.len()
    }

    #[inline(always)]
    fn pick(&mut self, index: usize) {
        self.picked.push(index);
        // Without any cosine, values are far too large: all are compared with the first.
        if self.picked.len() == 1 && self.lambda != 1.0 {
            self.closest = self.cosines_to(index);
            self.compared.fill(1);
            let others = (0..self.drafts.len()).filter(|other| *other != index);
            self.contenders = others.map(|other| self.contender(other)).collect();
        }
    }

    #[inline(always)]
    fn cosines_to(&self, picked: usize) -> Vec<f64> {
        let vectors = self.drafts.iter().map(|draft| draft.scored.item.vector());
        let vectors: Vec<Option<&UnitVector>> = vectors.collect();
        let mut cosines = Vec::with_capacity(vectors.len());
        let (groups, rest) = vectors.as_chunks::<TOGETHER>();
        for group in groups {
            match (vectors[picked], *group) {
                (Some(vector), [Some(a), Some(b), Some(c), Some(d)]) => {
                    let together = vector.cosines([a, b, c, d]);
                    cosines.extend(together.map(|cosine| cosine.unwrap_or(0.0)));
                }
                (vector, group) => cosines.extend(group.map(|other| raw_cosine(vector, other))),
            }
        }
        let rest = rest.iter().map(|other| raw_cosine(vectors[picked], *other));
        cosines.extend(rest);
        cosines
    }

    fn split(self) -> (Vec<Scored>, Vec<Draft>) {
        let mut drafts: Vec<Option<Draft>> = self.drafts.into_iter().map(Some).collect();
        let picked = self.picked.into_iter();
        let picked = picked.filter_map(|index| Some(drafts[index].take()?.scored));
        (picked.collect(), drafts.into_iter().flatten().collect())
    }
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

    use proptest::{collection::vec, option, prop_assert_eq, proptest};

    use super::{Draft, Scored, raw_cosine};
    use crate::domain::{
        item::{CatalogueItem, Item},
        ranking::fusion::Breakdown,
        tags::Canonicalizer,
        vector::UnitVector,
    };

    fn rerank(pool: Vec<Scored>, count: usize, lambda: f64) -> (Vec<Scored>, Vec<Draft>) {
        let drafts = pool.into_iter().map(Draft::from).collect();
        super::rerank(drafts, count, lambda, |_| panic!("all are complete"))
    }

    /// The method as its definition has it: every value anew for every pick.
    fn rerank_in_full(mut left: Vec<Scored>, count: usize, lambda: f64) -> Vec<Scored> {
        let mut picked: Vec<Scored> = Vec::new();
        while picked.len() < count && !left.is_empty() {
            let value = |candidate: &Scored| {
                let cosine =
                    |picked: &Scored| raw_cosine(candidate.item.vector(), picked.item.vector());
                match picked.iter().map(cosine).reduce(f64::max) {
                    Some(closest) => lambda * candidate.score - (1.0 - lambda) * closest,
                    None => candidate.score,
                }
            };
            let best = (0..left.len()).max_by(|a, b| {
                let (a, b) = (&left[*a], &left[*b]);
                value(a).total_cmp(&value(b)).then_with(|| b.by_id(a))
            });
            picked.push(left.remove(best.unwrap()));
        }
        picked
    }

    proptest! {
        #[test]
        fn values_that_are_brought_up_to_date_late_change_no_list(
            pool in vec((0..4_u8, option::of((-3..4_i8, -3..4_i8, -3..4_i8))), 0..24),
            count in 0..12_usize,
            lambda in 0..5_u8,
        ) {
            let pool = pool.into_iter().enumerate().map(|(id, (score, vector))| {
                let vector = vector.and_then(|(x, y, z)| {
                    UnitVector::new(&[f32::from(x), f32::from(y), f32::from(z)])
                });
                item(&id.to_string(), f64::from(score) / 4.0, vector)
            });
            let pool: Vec<Scored> = pool.collect();
            let lambda = f64::from(lambda) / 4.0;
            let expected = rerank_in_full(pool.clone(), count, lambda);
            let (picked, others) = rerank(pool.clone(), count, lambda);
            prop_assert_eq!(ids(&picked), ids(&expected));
            prop_assert_eq!(picked.len() + others.len(), pool.len());
        }
    }

    fn scored(id: &str, score: f64, vector: Option<[f32; 2]>) -> Scored {
        item(
            id,
            score,
            vector.and_then(|values| UnitVector::new(&values)),
        )
    }

    fn item(id: &str, score: f64, vector: Option<UnitVector>) -> Scored {
        let mut item = Item::new(id);
        item.vector = vector;
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
        assert_eq!(others[0].scored.item.id().as_str(), "copy");
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
        assert_eq!(others[0].scored.item.id().as_str(), "b");
    }

    #[test]
    fn without_diversity_the_order_is_that_of_the_scores() {
        let pool = vec![
            scored("b", 0.5, Some([1.0, 0.0])),
            scored("d", 0.1, None),
            scored("a", 0.5, Some([1.0, 0.0])),
            scored("c", 0.9, Some([1.0, 0.0])),
        ];
        let (picked, others) = rerank(pool, 2, 1.0);
        assert_eq!(ids(&picked), ["c", "a"]);
        assert_eq!(others.len(), 2);
        assert!(rerank(Vec::new(), 3, 1.0).0.is_empty());
    }

    #[test]
    fn count_can_be_zero_or_larger_than_the_number_of_candidates() {
        assert!(rerank(Vec::new(), 5, 0.7).0.is_empty());
        assert_eq!(rerank(vec![scored("a", 0.1, None)], 5, 0.7).0.len(), 1);
        assert!(rerank(vec![scored("a", 0.1, None)], 0, 0.7).0.is_empty());
    }
}
