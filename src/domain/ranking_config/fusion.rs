//! `[fusion]`: the weight of each scorer.

use std::{
    fmt,
    ops::{Index, IndexMut},
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
};

use super::{check::Violations, preset::Preset};
use crate::domain::ranking::scorers::{SCORERS, Scorer};

/// The weight of each scorer, from −[`MAX_WEIGHT`](super::MAX_WEIGHT) to
/// [`MAX_WEIGHT`](super::MAX_WEIGHT). In the ranking file, keys are the scorers'
/// names.
#[derive(Clone, Debug, PartialEq)]
pub struct FusionWeights {
    scorers: [f64; Scorer::COUNT],
    /// Weight of what other users chose together with the user's items.
    pub collaborative: f64,
    /// Weight of popularity.
    pub popularity: f64,
}

impl Default for FusionWeights {
    fn default() -> Self {
        Self::of(Preset::Recsys)
    }
}

impl FusionWeights {
    /// The defaults of a preset.
    pub(super) fn of(preset: Preset) -> Self {
        let (collaborative, popularity) = match preset {
            Preset::Recsys => (2.0, 0.2),
            Preset::Reference => (0.0, 0.0),
        };
        let mut weights = Self {
            scorers: [0.0; Scorer::COUNT],
            collaborative,
            popularity,
        };
        for row in &SCORERS {
            weights[row.scorer] = row.default_weight;
        }
        weights
    }

    pub(super) fn check(&self, violations: &mut Violations) {
        for key in WeightKey::all() {
            violations.require_weight(&format!("fusion.{}", key.name()), self.weight(key));
        }
    }

    fn weight(&self, key: WeightKey) -> f64 {
        match key {
            WeightKey::Scorer(scorer) => self[scorer],
            WeightKey::Collaborative => self.collaborative,
            WeightKey::Popularity => self.popularity,
        }
    }

    fn weight_mut(&mut self, key: WeightKey) -> &mut f64 {
        match key {
            WeightKey::Scorer(scorer) => &mut self[scorer],
            WeightKey::Collaborative => &mut self.collaborative,
            WeightKey::Popularity => &mut self.popularity,
        }
    }
}

impl Index<Scorer> for FusionWeights {
    type Output = f64;

    fn index(&self, scorer: Scorer) -> &f64 {
        &self.scorers[scorer as usize]
    }
}

impl IndexMut<Scorer> for FusionWeights {
    fn index_mut(&mut self, scorer: Scorer) -> &mut f64 {
        &mut self.scorers[scorer as usize]
    }
}

impl Serialize for FusionWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(WeightKey::all().map(|key| (key.name(), self.weight(key))))
    }
}

impl<'de> Deserialize<'de> for FusionWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WeightsVisitor;

        impl<'de> Visitor<'de> for WeightsVisitor {
            type Value = FusionWeights;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of weights")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FusionWeights, A::Error> {
                let mut weights = FusionWeights::default();
                while let Some(key) = map.next_key()? {
                    *weights.weight_mut(key) = map.next_value()?;
                }
                Ok(weights)
            }
        }

        deserializer.deserialize_map(WeightsVisitor)
    }
}

/// A key of the table. An unknown one is an error with its position.
#[derive(Clone, Copy)]
enum WeightKey {
    Scorer(Scorer),
    Collaborative,
    Popularity,
}

impl WeightKey {
    fn all() -> impl Iterator<Item = Self> {
        let others = [Self::Collaborative, Self::Popularity];
        Scorer::all().map(Self::Scorer).chain(others)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Scorer(scorer) => scorer.name(),
            Self::Collaborative => "collaborative",
            Self::Popularity => "popularity",
        }
    }
}

impl<'de> Deserialize<'de> for WeightKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: [&str; Scorer::COUNT + 2] = {
            let mut names = [""; Scorer::COUNT + 2];
            names[Scorer::COUNT] = "collaborative";
            names[Scorer::COUNT + 1] = "popularity";
            let mut row = 0;
            while row < SCORERS.len() {
                names[row] = SCORERS[row].name;
                row += 1;
            }
            names
        };

        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = WeightKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a scorer")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<WeightKey, E> {
                WeightKey::all()
                    .find(|key| key.name() == name)
                    .ok_or_else(|| E::unknown_field(name, &NAMES))
            }
        }

        deserializer.deserialize_identifier(KeyVisitor)
    }
}
