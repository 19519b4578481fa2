//! Scores of items from the neighbour rows of a user's items.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
};

use super::{
    config::AssociationsConfig,
    hashed_id::{HashedId, StoredHashes},
    neighbor_row::NeighborRow,
};

/// The collaborative score of an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CollaborativeScore {
    /// 0 to 1.
    pub score: f64,
    /// The position in the query of the item that added most; of several the first.
    pub strongest: usize,
}

/// The collaborative scores of all items that have one.
#[derive(Clone, Debug, Default)]
pub struct CollaborativeScores<'a> {
    sums: HashMap<HashedId<'a>, Sum, StoredHashes>,
    divisor: f64,
}

/// The sum for one item over the query's rows.
#[derive(Clone, Copy, Debug)]
struct Sum {
    total: f64,
    largest: f64,
    strongest: u32,
}

impl<'a> CollaborativeScores<'a> {
    /// The score of an item; `None` if it is in no row of the query, or hidden.
    #[must_use]
    pub fn get(&self, item: &str) -> Option<CollaborativeScore> {
        let sum = self.sums.get(&HashedId::new(item))?;
        Some(self.score(sum))
    }

    /// How many items have a score.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether no item has a score.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// The `count` items with the best scores, the best first, ties in the order of
    /// their ids.
    #[must_use]
    pub fn best(&self, count: usize) -> Vec<(&'a str, CollaborativeScore)> {
        let least = self.least_of_best(count);
        let best = self.sums.iter().map(|(id, sum)| (id.id(), self.score(sum)));
        let mut best: Vec<_> = best.filter(|(_, score)| score.score >= least).collect();
        best.sort_unstable_by(|a, b| -> Ordering {
            b.1.score.total_cmp(&a.1.score).then_with(|| a.0.cmp(b.0))
        });
        best.truncate(count);
        best
    }

    /// The score of the last of the `count` best.
    fn least_of_best(&self, count: usize) -> f64 {
        if self.len() <= count {
            return 0.0;
        }
        let scores = self.sums.values().map(|sum| self.score(sum).score);
        let mut scores: Vec<f64> = scores.collect();
        let (_, least, _) = scores.select_nth_unstable_by(count, |a, b| b.total_cmp(a));
        *least
    }

    fn score(&self, sum: &Sum) -> CollaborativeScore {
        CollaborativeScore {
            score: sum.total / self.divisor,
            strongest: sum.strongest as usize,
        }
    }
}

/// Scores the neighbours of a user's items. The query holds, the latest item first,
/// each item's strength and its row, if there is one; items after the first
/// `query_items` are ignored. `hidden` items get no score, and do not count as the
/// largest.
///
/// With `p` the position in the query, from 0:
///
/// ```text
/// x(j)     = Σ_p strength_p / (1 + p) · row_p[j]
/// score(j) = x(j) / max(score_floor, the largest x)
/// ```
#[must_use]
pub fn collaborative_scores<'a, 'h>(
    query: impl IntoIterator<Item = (f64, Option<&'a NeighborRow>)>,
    hidden: impl IntoIterator<Item = &'h str>,
    config: &AssociationsConfig,
) -> CollaborativeScores<'a> {
    let query: Vec<_> = query.into_iter().take(config.query_items).collect();
    let neighbors = query.iter().map(|(_, row)| row.map_or(0, NeighborRow::len));
    // Rows of one user's items have many neighbours in common.
    let mut sums: HashMap<HashedId<'_>, Sum, StoredHashes> =
        HashMap::with_capacity_and_hasher(neighbors.sum::<usize>() / 2, StoredHashes::default());
    for (position, (strength, row)) in query.into_iter().enumerate() {
        let Some(row) = row else { continue };
        let weight = strength / (1 + position) as f64;
        let strongest = u32::try_from(position).unwrap_or(u32::MAX);
        for (id, share) in row.hashed() {
            let added = weight * share;
            let sum = sums.entry(id).or_insert(Sum {
                total: 0.0,
                largest: added,
                strongest,
            });
            sum.total += added;
            if added > sum.largest {
                sum.largest = added;
                sum.strongest = strongest;
            }
        }
    }
    if !sums.is_empty() {
        let hidden = hidden.into_iter().map(HashedId::new);
        let hidden: HashSet<HashedId<'_>, StoredHashes> = hidden.collect();
        sums.retain(|item, _| !hidden.contains(item));
    }
    let largest = sums.values().map(|sum| sum.total).fold(0.0, f64::max);
    CollaborativeScores {
        sums,
        divisor: largest.max(config.score_floor),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::any, prop_assert, prop_assert_eq, proptest};

    use super::{AssociationsConfig, CollaborativeScores, NeighborRow, collaborative_scores};
    use crate::domain::{
        associations::{InterestEntry, InterestList, InterestStrength, neighbor_row},
        time::Timestamp,
    };

    /// The row of `item` from the list of one user.
    fn row(item: &str, list: &[&str]) -> NeighborRow {
        let entries = (0..).zip(list).map(|(micros, item)| InterestEntry {
            item: (*item).into(),
            time: Timestamp::from_micros(micros),
            strength: InterestStrength::Full,
        });
        let list = InterestList::new(entries.collect(), 100);
        let config = AssociationsConfig::default();
        let now = Timestamp::from_micros(0);
        neighbor_row(item, [list.iter()], |id| id, |_| 1, now, &config)
    }

    fn weight(row: &NeighborRow, item: &str) -> f64 {
        row.iter().find(|(id, _)| *id == item).unwrap().1
    }

    fn scored<'a>(
        query: &[(f64, Option<&'a NeighborRow>)],
        hidden: &[&str],
    ) -> CollaborativeScores<'a> {
        let config = AssociationsConfig::default();
        collaborative_scores(query.iter().copied(), hidden.iter().copied(), &config)
    }

    #[test]
    fn scores_add_over_the_query_and_the_best_of_those_left_is_1() {
        let [a, b] = [row("a", &["a", "x", "y"]), row("b", &["b", "y", "z"])];
        let scores = scored(
            &[(0.5, Some(&a)), (1.0, None), (1.0, Some(&b))],
            &["a", "b"],
        );
        let sums = [
            ("x", 0.5 * weight(&a, "x")),
            ("y", 0.5 * weight(&a, "y") + weight(&b, "y") / 3.0),
            ("z", weight(&b, "z") / 3.0),
        ];
        let largest = sums[1].1;
        for (id, sum) in sums {
            let score = scores.get(id).unwrap().score;
            assert!((score - sum / largest).abs() < 1e-12, "{id}");
        }
        assert_eq!((scores.len(), scores.get("a")), (3, None));
        let strongest = ["x", "y", "z"].map(|id| scores.get(id).unwrap().strongest);
        assert_eq!(strongest, [0, 0, 2]);
        let best: Vec<_> = scores.best(2).into_iter().map(|(id, _)| id).collect();
        assert_eq!(best, ["y", "x"]);
    }

    #[test]
    fn a_weak_sum_stays_under_the_floor() {
        let rows = [row("a", &["a", "x"])];
        let mut query = vec![(1.0, None); 49];
        query.push((0.5, Some(&rows[0])));
        let score = scored(&query, &["a"]).get("x").unwrap();
        let expected = 0.5 / 50.0 * weight(&rows[0], "x") / 0.05;
        assert!((score.score - expected).abs() < 1e-12);
        assert_eq!(score.strongest, 49);
        // The 51st item does not count.
        query.insert(0, (1.0, None));
        assert!(scored(&query, &[]).is_empty());
    }

    #[test]
    fn ties_are_in_the_order_of_ids_and_the_latest_item_is_the_strongest() {
        let a = row("a", &["x", "a", "w"]);
        let scores = scored(&[(0.5, Some(&a)), (1.0, Some(&a))], &["a"]);
        let best = scores.best(9);
        assert_eq!((best[0].0, best[1].0, best.len()), ("w", "x", 2));
        assert_eq!((best[0].1.score, best[0].1.strongest), (1.0, 0));
    }

    proptest! {
        #[test]
        fn scores_are_shares_and_hidden_items_have_none(
            lists in vec(vec("[a-h]", 1..6), 0..6),
            strengths in vec(option::of(any::<bool>()), 6),
            hidden in vec("[a-h]", 0..4),
            count in 0_usize..6,
        ) {
            let rows: Vec<_> = lists
                .iter()
                .map(|list| row(&list[0], &list.iter().map(String::as_str).collect::<Vec<_>>()))
                .collect();
            let query: Vec<_> = rows
                .iter()
                .zip(strengths)
                .map(|(row, strength)| match strength {
                    Some(is_full) => (if is_full { 1.0 } else { 0.5 }, Some(row)),
                    None => (1.0, None),
                })
                .collect();
            let hidden: Vec<_> = hidden.iter().map(String::as_str).collect();
            let scores = scored(&query, &hidden);
            let all = scores.best(usize::MAX);
            prop_assert_eq!(all.len(), scores.len());
            prop_assert!(all.is_sorted_by(|(a, x), (b, y)| x.score > y.score || (x.score == y.score && a < b)));
            for (id, score) in &all {
                prop_assert!((0.0..=1.0).contains(&score.score));
                prop_assert!(!hidden.contains(id));
                prop_assert!(query[score.strongest].1.unwrap().iter().any(|(other, _)| other == *id));
            }
            prop_assert_eq!(&scores.best(count)[..], &all[..count.min(all.len())]);
        }
    }
}
