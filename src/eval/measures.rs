//! Measures of one list whose right answer is one item.

use serde::Serialize;

/// A measure of the rank of the liked item in a list; the mean over lists is
/// reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Measure {
    /// 1 if the item is in the list, else 0.
    HitRate,
    /// 1 / log2(1 + rank), 0 if it is not in the list: the discounted cumulative
    /// gain, whose ideal is 1 where one item is right (Järvelin and Kekäläinen
    /// 2002).
    Ndcg,
    /// 1 / rank, 0 if it is not in the list.
    ReciprocalRank,
}

impl Measure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HitRate, Self::Ndcg, Self::ReciprocalRank];

    /// Its value for a rank from 1; `None`: the item is not in the list.
    #[must_use]
    pub fn of(self, rank: Option<usize>) -> f64 {
        let Some(rank) = rank else { return 0.0 };
        let rank = rank as f64;
        match self {
            Self::HitRate => 1.0,
            Self::Ndcg => 1.0 / (1.0 + rank).log2(),
            Self::ReciprocalRank => 1.0 / rank,
        }
    }

    /// Its name for lists of `k` items, such as `HR@10`.
    #[must_use]
    pub fn name(self, k: usize) -> String {
        let name = match self {
            Self::HitRate => "HR",
            Self::Ndcg => "NDCG",
            Self::ReciprocalRank => "MRR",
        };
        format!("{name}@{k}")
    }
}

#[cfg(test)]
mod tests {
    use super::Measure;

    #[test]
    fn values_are_those_computed_by_hand() {
        for (rank, hit, ndcg, reciprocal) in [
            (Some(1), 1.0, 1.0, 1.0),
            (Some(2), 1.0, 0.630_929_753_571_457_4, 0.5),
            (Some(3), 1.0, 0.5, 1.0 / 3.0),
            (Some(7), 1.0, 1.0 / 3.0, 1.0 / 7.0),
            (Some(10), 1.0, 0.289_064_826_317_887_8, 0.1),
            (None, 0.0, 0.0, 0.0),
        ] {
            for (measure, expected) in Measure::ALL.into_iter().zip([hit, ndcg, reciprocal]) {
                let value = measure.of(rank);
                assert!(
                    (value - expected).abs() < 1e-12,
                    "{measure:?} {rank:?} {value}"
                );
            }
        }
        assert_eq!(Measure::Ndcg.name(10), "NDCG@10");
    }
}
