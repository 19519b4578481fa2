//! `[exploration]`: the deliberately off-profile item of a list.

use serde::{Deserialize, Serialize};

use super::{check::Violations, preset::Preset};

/// Whether and how a list gets an exploration item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExplorationConfig {
    /// Whether lists have one.
    pub enabled: bool,
    /// How it is chosen for an unrestricted request.
    pub strategy: ExplorationStrategy,
    /// Share of requests that get one, 0 to 1.
    pub probability: f64,
    /// Positions in the list to draw from, from 1.
    pub slots: Vec<usize>,
}

impl Default for ExplorationConfig {
    fn default() -> Self {
        Self::of(Preset::Recsys)
    }
}

impl ExplorationConfig {
    /// The defaults of a preset.
    pub(super) fn of(preset: Preset) -> Self {
        match preset {
            Preset::Recsys => Self {
                enabled: true,
                strategy: ExplorationStrategy::PopularElsewhere,
                probability: 0.2,
                slots: vec![6, 7, 8],
            },
            Preset::Reference => Self {
                enabled: true,
                strategy: ExplorationStrategy::MaxDissimilar,
                probability: 1.0,
                slots: vec![3, 4],
            },
        }
    }

    pub(super) fn check(&self, violations: &mut Violations) {
        violations.require_share("exploration.probability", self.probability);
        violations.require(
            !self.slots.is_empty() && self.slots.iter().all(|slot| (1..=100).contains(slot)),
            "exploration.slots must be one or more numbers from 1 to 100",
        );
    }
}

/// How the exploration item of an unrestricted request is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplorationStrategy {
    /// Of the most popular items, the one with the lowest score for this user.
    /// Without popularity, as [`UnexploredTheme`](Self::UnexploredTheme).
    PopularElsewhere,
    /// The item farthest from the taste vector.
    MaxDissimilar,
    /// The item of a sample that shares the fewest tags with the user.
    UnexploredTheme,
    /// A random item.
    Random,
}
