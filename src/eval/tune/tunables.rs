//! What a search may change, and within which bounds.

use crate::{
    domain::{ranking::scorers::Scorer, ranking_config::RankingConfig},
    eval::rng::SeededRng,
};

/// A number of the ranking file that a search may change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tunable {
    value: TunableValue,
    low: f64,
    high: f64,
    /// Whether 0 switches something off, which is tried, too.
    has_zero: bool,
}

#[derive(Clone, Copy, Debug)]
enum TunableValue {
    Weight(Scorer),
    MmrLambda,
    ExplorationProbability,
}

/// Probability that a tunable with a zero is tried there.
const ZERO_SHARE: f64 = 0.15;

/// Weights are compared with each other, so their bounds only say how different
/// they may be. Diversity and exploration do not pay off on a log: their bounds
/// keep a search from switching them off. A log says nothing of places, so `geo`
/// is not among them.
pub(super) static TUNABLES: [Tunable; 9] = [
    Tunable::weight(Scorer::Tag, 0.0, 2.0),
    Tunable::weight(Scorer::Semantic, 0.0, 2.0),
    Tunable::weight(Scorer::Affinity, 0.0, 2.0),
    Tunable::weight(Scorer::Recency, 0.0, 1.0),
    Tunable::weight(Scorer::Aversion, -1.0, 0.0),
    Tunable::weight(Scorer::Collaborative, 0.0, 4.0),
    Tunable::weight(Scorer::Popularity, 0.0, 1.0),
    Tunable {
        value: TunableValue::MmrLambda,
        low: 0.5,
        high: 1.0,
        has_zero: false,
    },
    Tunable {
        value: TunableValue::ExplorationProbability,
        low: 0.05,
        high: 0.3,
        has_zero: false,
    },
];

impl Tunable {
    const fn weight(scorer: Scorer, low: f64, high: f64) -> Self {
        Self {
            value: TunableValue::Weight(scorer),
            low,
            high,
            has_zero: true,
        }
    }

    /// Its key in the ranking file.
    pub(super) fn key(&self) -> String {
        match self.value {
            TunableValue::Weight(scorer) => format!("fusion.{}", scorer.name()),
            TunableValue::MmrLambda => "mmr_lambda".to_owned(),
            TunableValue::ExplorationProbability => "exploration.probability".to_owned(),
        }
    }

    /// Whether a search leaves it at 0 if it starts there: exploration, and what needs
    /// associations.
    fn stays_off(&self) -> bool {
        matches!(
            self.value,
            TunableValue::ExplorationProbability
                | TunableValue::Weight(Scorer::Collaborative | Scorer::Popularity)
        )
    }

    fn get(&self, config: &RankingConfig) -> f64 {
        match self.value {
            TunableValue::Weight(scorer) => config.fusion[scorer],
            TunableValue::MmrLambda => config.mmr_lambda,
            TunableValue::ExplorationProbability => config.exploration.probability,
        }
    }

    fn set(&self, config: &mut RankingConfig, value: f64) {
        match self.value {
            TunableValue::Weight(scorer) => config.fusion[scorer] = value,
            TunableValue::MmrLambda => config.mmr_lambda = value,
            TunableValue::ExplorationProbability => config.exploration.probability = value,
        }
    }
}

/// A value of every tunable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate([f64; TUNABLES.len()]);

impl Candidate {
    /// The values of a ranking file.
    pub(super) fn of(config: &RankingConfig) -> Self {
        Self(TUNABLES.map(|tunable| tunable.get(config)))
    }

    /// Every tunable anywhere within its bounds. What the start has switched off
    /// stays off.
    pub(super) fn random(start: &Self, rng: &mut SeededRng) -> Self {
        start.each(start, |tunable, _| {
            if tunable.has_zero && rng.chance(ZERO_SHARE) {
                0.0
            } else {
                tunable.low + rng.unit() * (tunable.high - tunable.low)
            }
        })
    }

    /// The same with the tunable of this index at 0; `None` if it has no zero or is
    /// there.
    pub(super) fn without(&self, index: usize) -> Option<Self> {
        let tunable = TUNABLES.get(index)?;
        if !tunable.has_zero || self.0[index] == 0.0 {
            return None;
        }
        let mut without = *self;
        without.0[index] = 0.0;
        Some(without)
    }

    /// Every other tunable, or so, a step away.
    pub(super) fn moved(&self, start: &Self, step: f64, rng: &mut SeededRng) -> Self {
        self.each(start, |tunable, value| {
            if !rng.chance(0.5) {
                return value;
            }
            if tunable.has_zero && rng.chance(ZERO_SHARE / 2.0) {
                return 0.0;
            }
            value + rng.normal() * step * (tunable.high - tunable.low) / 2.0
        })
    }

    fn each(&self, start: &Self, mut change: impl FnMut(&Tunable, f64) -> f64) -> Self {
        let mut changed = *self;
        for (index, tunable) in TUNABLES.iter().enumerate() {
            let is_off = tunable.stays_off() && start.0[index] == 0.0;
            let value = change(tunable, self.0[index]);
            if !is_off {
                // A search cannot resolve more than three places.
                let bounded = value.clamp(tunable.low, tunable.high);
                changed.0[index] = (bounded * 1e3).round() / 1e3;
            }
        }
        changed
    }

    /// A ranking file with these values.
    pub(super) fn apply(&self, base: &RankingConfig) -> RankingConfig {
        let mut config = base.clone();
        for (tunable, value) in TUNABLES.iter().zip(self.0) {
            tunable.set(&mut config, value);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, TUNABLES};
    use crate::{domain::ranking_config::RankingConfig, eval::rng::SeededRng};

    #[test]
    fn candidates_are_valid_ranking_files_within_bounds() {
        let base = RankingConfig::default();
        let start = Candidate::of(&base);
        assert_eq!(start.apply(&base), base);
        let mut rng = SeededRng::new(1, 0);
        let mut candidate = start;
        for _ in 0..200 {
            candidate = if rng.chance(0.5) {
                Candidate::random(&start, &mut rng)
            } else {
                candidate.moved(&start, 0.4, &mut rng)
            };
            candidate.apply(&base).check().unwrap();
            for (tunable, value) in TUNABLES.iter().zip(candidate.0) {
                let is_start = value == tunable.get(&base);
                assert!(
                    (tunable.low..=tunable.high).contains(&value) || is_start,
                    "{}",
                    tunable.key()
                );
            }
        }
    }

    #[test]
    fn a_weight_can_be_left_out_and_others_stay() {
        let start = Candidate::of(&RankingConfig::default());
        for (index, tunable) in TUNABLES.iter().enumerate() {
            let Some(without) = start.without(index) else {
                assert!(!tunable.has_zero, "{}", tunable.key());
                continue;
            };
            for (other, (value, old)) in without.0.into_iter().zip(start.0).enumerate() {
                assert_eq!(value, if other == index { 0.0 } else { old });
            }
            assert_eq!(without.without(index), None, "it is at 0 already");
        }
    }

    #[test]
    fn a_search_does_not_switch_exploration_on() {
        let mut base = RankingConfig::default();
        base.exploration.probability = 0.0;
        let start = Candidate::of(&base);
        let mut rng = SeededRng::new(2, 0);
        for _ in 0..20 {
            let tried = Candidate::random(&start, &mut rng).apply(&base);
            assert_eq!(tried.exploration.probability, 0.0);
        }
    }
}
