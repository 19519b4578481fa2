//! What a search may change, and within which bounds.

use crate::{
    domain::{ranking::scorers::Scorer, ranking_config::RankingConfig},
    eval::dice::Dice,
};

/// A number of the ranking file that a search may change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knob {
    value: KnobValue,
    low: f64,
    high: f64,
    /// Whether 0 switches something off, which is tried, too.
    has_zero: bool,
}

#[derive(Clone, Copy, Debug)]
enum KnobValue {
    Weight(Scorer),
    MmrLambda,
    ExplorationProbability,
}

/// Probability that a knob with a zero is tried there.
const ZERO_SHARE: f64 = 0.15;

/// Weights are compared with each other, so their bounds only say how different
/// they may be. Diversity and exploration do not pay off on a log: their bounds
/// keep a search from switching them off. A log says nothing of places, so `geo`
/// is not among them.
pub(super) static KNOBS: [Knob; 7] = [
    Knob::weight(Scorer::Tag, 0.0, 2.0),
    Knob::weight(Scorer::Semantic, 0.0, 2.0),
    Knob::weight(Scorer::Affinity, 0.0, 2.0),
    Knob::weight(Scorer::Recency, 0.0, 1.0),
    Knob::weight(Scorer::Aversion, -1.0, 0.0),
    Knob {
        value: KnobValue::MmrLambda,
        low: 0.5,
        high: 1.0,
        has_zero: false,
    },
    Knob {
        value: KnobValue::ExplorationProbability,
        low: 0.05,
        high: 0.3,
        has_zero: false,
    },
];

impl Knob {
    const fn weight(scorer: Scorer, low: f64, high: f64) -> Self {
        Self {
            value: KnobValue::Weight(scorer),
            low,
            high,
            has_zero: true,
        }
    }

    /// Its key in the ranking file.
    pub(super) fn key(&self) -> String {
        match self.value {
            KnobValue::Weight(scorer) => format!("fusion.{}", scorer.name()),
            KnobValue::MmrLambda => "mmr_lambda".to_owned(),
            KnobValue::ExplorationProbability => "exploration.probability".to_owned(),
        }
    }

    fn get(&self, config: &RankingConfig) -> f64 {
        match self.value {
            KnobValue::Weight(scorer) => config.fusion[scorer],
            KnobValue::MmrLambda => config.mmr_lambda,
            KnobValue::ExplorationProbability => config.exploration.probability,
        }
    }

    fn set(&self, config: &mut RankingConfig, value: f64) {
        match self.value {
            KnobValue::Weight(scorer) => config.fusion[scorer] = value,
            KnobValue::MmrLambda => config.mmr_lambda = value,
            KnobValue::ExplorationProbability => config.exploration.probability = value,
        }
    }
}

/// A value of every knob.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate([f64; KNOBS.len()]);

impl Candidate {
    /// The values of a ranking file.
    pub(super) fn of(config: &RankingConfig) -> Self {
        Self(KNOBS.map(|knob| knob.get(config)))
    }

    /// Every knob anywhere within its bounds. What the start has switched off
    /// stays off.
    pub(super) fn random(start: &Self, dice: &mut Dice) -> Self {
        start.each(start, |knob, _| {
            if knob.has_zero && dice.chance(ZERO_SHARE) {
                0.0
            } else {
                knob.low + dice.unit() * (knob.high - knob.low)
            }
        })
    }

    /// The same with the knob of this index at 0; `None` if it has no zero or is
    /// there.
    pub(super) fn without(&self, index: usize) -> Option<Self> {
        let knob = KNOBS.get(index)?;
        if !knob.has_zero || self.0[index] == 0.0 {
            return None;
        }
        let mut without = *self;
        without.0[index] = 0.0;
        Some(without)
    }

    /// Every other knob, or so, a step away.
    pub(super) fn moved(&self, start: &Self, step: f64, dice: &mut Dice) -> Self {
        self.each(start, |knob, value| {
            if !dice.chance(0.5) {
                return value;
            }
            if knob.has_zero && dice.chance(ZERO_SHARE / 2.0) {
                return 0.0;
            }
            value + dice.normal() * step * (knob.high - knob.low) / 2.0
        })
    }

    fn each(&self, start: &Self, mut change: impl FnMut(&Knob, f64) -> f64) -> Self {
        let mut changed = *self;
        for (index, knob) in KNOBS.iter().enumerate() {
            let is_off =
                matches!(knob.value, KnobValue::ExplorationProbability) && start.0[index] == 0.0;
            let value = change(knob, self.0[index]);
            if !is_off {
                // Three places are more than a search can tell apart.
                let bounded = value.clamp(knob.low, knob.high);
                changed.0[index] = (bounded * 1e3).round() / 1e3;
            }
        }
        changed
    }

    /// A ranking file with these values.
    pub(super) fn apply(&self, base: &RankingConfig) -> RankingConfig {
        let mut config = base.clone();
        for (knob, value) in KNOBS.iter().zip(self.0) {
            knob.set(&mut config, value);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, KNOBS};
    use crate::{domain::ranking_config::RankingConfig, eval::dice::Dice};

    #[test]
    fn candidates_are_valid_ranking_files_within_bounds() {
        let base = RankingConfig::default();
        let start = Candidate::of(&base);
        assert_eq!(start.apply(&base), base);
        let mut dice = Dice::new(1, 0);
        let mut candidate = start;
        for _ in 0..200 {
            candidate = if dice.chance(0.5) {
                Candidate::random(&start, &mut dice)
            } else {
                candidate.moved(&start, 0.4, &mut dice)
            };
            candidate.apply(&base).check().unwrap();
            for (knob, value) in KNOBS.iter().zip(candidate.0) {
                let is_start = value == knob.get(&base);
                assert!(
                    (knob.low..=knob.high).contains(&value) || is_start,
                    "{}",
                    knob.key()
                );
            }
        }
    }

    #[test]
    fn a_search_does_not_switch_exploration_on() {
        let mut base = RankingConfig::default();
        base.exploration.probability = 0.0;
        let start = Candidate::of(&base);
        let mut dice = Dice::new(2, 0);
        for _ in 0..20 {
            let tried = Candidate::random(&start, &mut dice).apply(&base);
            assert_eq!(tried.exploration.probability, 0.0);
        }
    }
}
