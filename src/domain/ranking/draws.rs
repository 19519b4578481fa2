//! The random draws of one request.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use crate::domain::ranking_config::ExplorationConfig;

/// All random numbers of one request. They are drawn together in a fixed order,
/// so that the same seed gives the same list on every code path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draws {
    /// Seed of the sample of candidates.
    pub sample_seed: u64,
    /// Seed of the sample of exploration items.
    pub exploration_seed: u64,
    /// Uniform in \[0, 1): the request explores if it is below the probability.
    chance: f64,
    /// Uniform: selects the slot.
    slot: u64,
}

impl Draws {
    /// The draws of a seed, from ChaCha with 8 rounds: the same on every
    /// platform and in every version.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut stream = ChaCha8Rng::seed_from_u64(seed);
        Self {
            sample_seed: stream.next_u64(),
            exploration_seed: stream.next_u64(),
            chance: (stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64,
            slot: stream.next_u64(),
        }
    }

    /// Whether this request explores.
    #[must_use]
    pub fn explores(&self, config: &ExplorationConfig) -> bool {
        self.chance < config.probability
    }

    /// The slot of the exploration item, uniformly from the configured ones.
    #[must_use]
    pub fn slot(&self, config: &ExplorationConfig) -> usize {
        let slots = &config.slots;
        let drawn = (u128::from(self.slot) * slots.len() as u128) >> 64;
        slots
            .get(usize::try_from(drawn).unwrap_or_default())
            .copied()
            .unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::Draws;
    use crate::domain::ranking_config::ExplorationConfig;

    #[test]
    fn the_same_seed_draws_the_same() {
        assert_eq!(Draws::new(0), Draws::new(0));
        assert_ne!(Draws::new(0), Draws::new(1));
    }

    #[test]
    fn slots_and_chances_are_uniform() {
        let config = ExplorationConfig {
            probability: 0.25,
            slots: vec![3, 4],
            ..ExplorationConfig::default()
        };
        let draws: Vec<Draws> = (0..4_000).map(Draws::new).collect();
        let third = draws.iter().filter(|draw| draw.slot(&config) == 3).count();
        let fourth = draws.iter().filter(|draw| draw.slot(&config) == 4).count();
        assert_eq!(third + fourth, 4_000);
        assert!((1_800..2_200).contains(&third), "{third} of 4000 in slot 3");
        let explored = draws.iter().filter(|draw| draw.explores(&config)).count();
        assert!(
            (850..1_150).contains(&explored),
            "{explored} of 4000 explored"
        );
    }

    #[test]
    fn probability_one_always_and_zero_never_explores() {
        let (mut always, mut never) = (ExplorationConfig::default(), ExplorationConfig::default());
        always.probability = 1.0;
        never.probability = 0.0;
        for seed in 0..1_000 {
            assert!(Draws::new(seed).explores(&always));
            assert!(!Draws::new(seed).explores(&never));
        }
    }
}
