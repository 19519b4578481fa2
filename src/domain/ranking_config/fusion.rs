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
pub struct FusionWeights([f64; Scorer::COUNT]);

impl Default for FusionWeights {
    fn default() -> Self {
        Self::of(Preset::Recsys)
    }
}

impl FusionWeights {
    /// The defaults of a preset.
    pub(super) fn of(preset: Preset) -> Self {
        let mut weights = Self([0.0; Scorer::COUNT]);
        for row in &SCORERS {
            weights[row.scorer] = row.default_weight;
        }
        if preset == Preset::Reference {
            weights[Scorer::Collaborative] = 0.0;
            weights[Scorer::Popularity] = 0.0;
        }
        weights
    }

    pub(super) fn check(&self, violations: &mut Violations) {
        for scorer in Scorer::all() {
            violations.require_weight(&format!("fusion.{}", scorer.name()), self[scorer]);
        }
    }
}

impl Index<Scorer> for FusionWeights {
    type Output = f64;

    fn index(&self, scorer: Scorer) -> &f64 {
        &self.0[scorer as usize]
    }
}

impl IndexMut<Scorer> for FusionWeights {
    fn index_mut(&mut self, scorer: Scorer) -> &mut f64 {
        &mut self.0[scorer as usize]
    }
}

impl Serialize for FusionWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Scorer::all().map(|scorer| (scorer.name(), self[scorer])))
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
                while let Some(WeightKey(scorer)) = map.next_key()? {
                    weights[scorer] = map.next_value()?;
                }
                Ok(weights)
            }
        }

        deserializer.deserialize_map(WeightsVisitor)
    }
}

/// A key of the table. An unknown one is an error with its position.
struct WeightKey(Scorer);

impl<'de> Deserialize<'de> for WeightKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const NAMES: [&str; Scorer::COUNT] = {
            let mut names = [""; Scorer::COUNT];
            let mut row = 0;
            while row < names.len() {
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
                let scorer = Scorer::from_name(name);
                scorer
                    .map(WeightKey)
                    .ok_or_else(|| E::unknown_field(name, &NAMES))
            }
        }

        deserializer.deserialize_identifier(KeyVisitor)
    }
}
