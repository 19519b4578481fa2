//! Intervals by bootstrap over users.
//!
//! Lists of one user are not independent of each other, users are: so users are
//! drawn with replacement, each with all lists (Efron 1979; for differences the
//! same draws count for both rankers, which pairs them).

use super::{
    measures::Measure,
    plan::{History, PlannedList},
    rng::SeededRng,
};

/// Draws that are aimed at, and the least.
const DRAWS: usize = 1_000;
const LEAST_DRAWS: usize = 200;
/// Users drawn in all, at the most, but for [`LEAST_DRAWS`].
const MOST_USERS: usize = 40_000_000;
/// Share of the draws outside of an interval, on each side.
const TAIL: f64 = 0.025;

/// Lists by history, and all of them.
const SLICES: usize = History::ALL.len() + 1;
const ALL: usize = History::ALL.len();

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// Of the data.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

/// Sums of the measures, by history and of all lists.
type Sums = [[f64; Measure::ALL.len()]; SLICES];

/// Ranks of several rankers on the same lists, resampled by users.
#[derive(Debug)]
pub struct Resampled {
    lists: [usize; SLICES],
    users: [usize; SLICES],
    /// Of each ranker, means of the data.
    means: Vec<Sums>,
    /// Of each ranker, the means of each draw.
    draws: Vec<Vec<Sums>>,
    /// Of each ranker and user, the hits.
    hits: Vec<Vec<f64>>,
}

struct UserSums {
    lists: [f64; SLICES],
    /// Of each ranker.
    sums: Vec<Sums>,
}

/// Over how many users a ranker has more, fewer and as many hits as another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct UserCounts {
    /// More hits.
    pub better: usize,
    /// Fewer hits.
    pub worse: usize,
    /// As many hits.
    pub equal: usize,
}

impl Resampled {
    /// `users` and `ranks` are by planned list; a rank of 0 is a miss.
    #[must_use]
    pub fn new(plan: &[PlannedList], users: &[u32], ranks: &[&[u8]], seed: u64) -> Self {
        let by_user = sums_by_user(plan, users, ranks);
        let mut all = UserSums::none(ranks.len());
        let mut with_lists = [0; SLICES];
        for user in &by_user {
            all.add(user);
            for (slice, count) in with_lists.iter_mut().enumerate() {
                *count += usize::from(user.lists[slice] > 0.0);
            }
        }
        let count = (MOST_USERS / by_user.len().max(1)).clamp(LEAST_DRAWS, DRAWS);
        let mut rng = SeededRng::new(seed, 0xb007);
        let mut draws = vec![Vec::with_capacity(count); ranks.len()];
        for _ in 0..count {
            let mut drawn = UserSums::none(ranks.len());
            for _ in 0..by_user.len() {
                drawn.add(&by_user[rng.below(by_user.len())]);
            }
            for (ranker, means) in drawn.means().into_iter().enumerate() {
                draws[ranker].push(means);
            }
        }
        let hits = (0..ranks.len()).map(|ranker| {
            let hits = by_user.iter().map(|user| user.sums[ranker][ALL][0]);
            hits.collect()
        });
        Self {
            lists: all.lists.map(|lists| lists as usize),
            users: with_lists,
            hits: hits.collect(),
            means: all.means(),
            draws,
        }
    }

    /// How many lists there are, of a history or of all.
    #[must_use]
    pub fn lists(&self, history: Option<History>) -> usize {
        self.lists[slice(history)]
    }

    /// How many users they are of.
    #[must_use]
    pub fn users(&self, history: Option<History>) -> usize {
        self.users[slice(history)]
    }

    /// A ranker's mean; `None` without lists.
    #[must_use]
    pub fn mean(
        &self,
        ranker: usize,
        measure: Measure,
        history: Option<History>,
    ) -> Option<Estimate> {
        let value = |sums: &Sums| sums[slice(history)][measure as usize];
        let draws = self.draws[ranker].iter().map(value);
        self.estimate(history, value(&self.means[ranker]), draws.collect())
    }

    /// A ranker's mean minus another's; `None` without lists.
    #[must_use]
    pub fn difference(
        &self,
        ranker: usize,
        other: usize,
        measure: Measure,
        history: Option<History>,
    ) -> Option<Estimate> {
        let value = |sums: &Sums| sums[slice(history)][measure as usize];
        let draws = self.draws[ranker].iter().zip(&self.draws[other]);
        let draws = draws.map(|(a, b)| value(a) - value(b)).collect();
        let difference = value(&self.means[ranker]) - value(&self.means[other]);
        self.estimate(history, difference, draws)
    }

    /// Over how many users a ranker has more hits than another.
    #[must_use]
    pub fn users_better(&self, ranker: usize, other: usize) -> UserCounts {
        let mut counts = UserCounts::default();
        for (a, b) in self.hits[ranker].iter().zip(&self.hits[other]) {
            if a > b {
                counts.better += 1;
            } else if a < b {
                counts.worse += 1;
            } else {
                counts.equal += 1;
            }
        }
        counts
    }

    fn estimate(
        &self,
        history: Option<History>,
        value: f64,
        mut draws: Vec<f64>,
    ) -> Option<Estimate> {
        if self.lists(history) == 0 {
            return None;
        }
        // A draw may hold no user with lists of this history.
        draws.retain(|draw| draw.is_finite());
        draws.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let place = (share * draws.len().saturating_sub(1) as f64).round() as usize;
            draws.get(place).copied().unwrap_or(value)
        };
        Some(Estimate {
            value,
            low: at(TAIL),
            high: at(1.0 - TAIL),
        })
    }
}

fn slice(history: Option<History>) -> usize {
    history.map_or(ALL, |history| history as usize)
}

impl UserSums {
    fn none(rankers: usize) -> Self {
        Self {
            lists: [0.0; SLICES],
            sums: vec![Sums::default(); rankers],
        }
    }

    fn add(&mut self, other: &Self) {
        for (lists, more) in self.lists.iter_mut().zip(other.lists) {
            *lists += more;
        }
        for (sums, more) in self.sums.iter_mut().zip(&other.sums) {
            for (sums, more) in sums.iter_mut().flatten().zip(more.iter().flatten()) {
                *sums += more;
            }
        }
    }

    fn means(&self) -> Vec<Sums> {
        let mean = |sums: &Sums| {
            let mut means = *sums;
            for (means, lists) in means.iter_mut().zip(self.lists) {
                means.iter_mut().for_each(|mean| *mean /= lists);
            }
            means
        };
        self.sums.iter().map(mean).collect()
    }
}

/// The sums of each user who has lists, in the order of users.
fn sums_by_user(plan: &[PlannedList], users: &[u32], ranks: &[&[u8]]) -> Vec<UserSums> {
    let most = users.iter().max().map_or(0, |user| *user as usize + 1);
    let mut by_user: Vec<Option<UserSums>> = Vec::new();
    by_user.resize_with(most, || None);
    for (index, planned) in plan.iter().enumerate() {
        let user =
            by_user[users[index] as usize].get_or_insert_with(|| UserSums::none(ranks.len()));
        for slice in [History::of(planned.earlier) as usize, ALL] {
            user.lists[slice] += 1.0;
            for (sums, ranks) in user.sums.iter_mut().zip(ranks) {
                let rank = Some(usize::from(ranks[index])).filter(|rank| *rank > 0);
                for (sum, measure) in sums[slice].iter_mut().zip(Measure::ALL) {
                    *sum += measure.of(rank);
                }
            }
        }
    }
    by_user.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::{Resampled, UserCounts};
    use crate::eval::{
        measures::Measure,
        plan::{History, PlannedList},
        rng::SeededRng,
    };

    fn planned(earlier: u32) -> PlannedList {
        PlannedList {
            event: 0,
            target: 0,
            earlier,
            obstacle: None,
        }
    }

    #[test]
    fn means_are_over_lists_and_intervals_over_users() {
        let plan: Vec<PlannedList> = [0, 1, 2, 6, 0].map(planned).to_vec();
        let users = [0, 0, 0, 0, 2];
        let (a, b) = ([1, 0, 2, 3, 0], [0, 0, 0, 0, 1]);
        let resampled = Resampled::new(&plan, &users, &[&a, &b], 1);
        let mean = |ranker, measure, history| resampled.mean(ranker, measure, history).unwrap();
        assert_eq!(mean(0, Measure::HitRate, None).value, 0.6);
        assert!(
            (mean(0, Measure::ReciprocalRank, None).value - (1.0 + 0.5 + 1.0 / 3.0) / 5.0).abs()
                < 1e-12
        );
        assert_eq!(mean(0, Measure::HitRate, Some(History::None)).value, 0.5);
        assert_eq!(mean(0, Measure::HitRate, Some(History::Few)).value, 0.5);
        assert_eq!(mean(0, Measure::HitRate, Some(History::Many)).value, 1.0);
        assert_eq!((resampled.lists(None), resampled.users(None)), (5, 2));
        assert_eq!(resampled.users(Some(History::Few)), 1);
        // Drawn are the first user twice (3/4), both (3/5), or the second twice (0).
        let interval = mean(0, Measure::HitRate, None);
        assert_eq!((interval.low, interval.high), (0.0, 0.75));
        let difference = resampled.difference(0, 1, Measure::HitRate, None).unwrap();
        assert!((difference.value - 0.4).abs() < 1e-12);
        assert_eq!((difference.low, difference.high), (-1.0, 0.75));
        let counts = UserCounts {
            better: 1,
            worse: 1,
            equal: 0,
        };
        assert_eq!(resampled.users_better(0, 1), counts);
    }

    #[test]
    fn an_interval_covers_the_truth_as_often_as_it_says() {
        let mut rng = SeededRng::new(3, 0);
        let mut covered = 0;
        for run in 0..50 {
            let plan = vec![planned(0); 120];
            let users: Vec<u32> = (0..120).map(|list| list / 3).collect();
            let ranks: Vec<u8> = (0..120).map(|_| u8::from(rng.chance(0.3))).collect();
            let resampled = Resampled::new(&plan, &users, &[&ranks], run);
            let estimate = resampled.mean(0, Measure::HitRate, None).unwrap();
            covered += usize::from(estimate.low <= 0.3 && 0.3 <= estimate.high);
        }
        assert!((42..=50).contains(&covered), "{covered} of 50");
    }

    #[test]
    fn without_lists_there_is_no_value() {
        let resampled = Resampled::new(&[], &[], &[&[]], 0);
        assert_eq!(resampled.mean(0, Measure::HitRate, None), None);
    }
}
