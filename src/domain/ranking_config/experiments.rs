//! `[[placements]]` and `[[experiments]]`: where lists are shown, and variants of their
//! ranking. Both are empty by default.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::check::Violations;

/// Longest name of a placement, an experiment or a variant, in bytes.
const MAX_NAME_BYTES: usize = 32;
/// Longest salt, in bytes.
const MAX_SALT_BYTES: usize = 64;
/// Maximum number of placements, of experiments, and of variants of one experiment.
/// Their product bounds the series of the metrics.
const MAX_PLACEMENTS: usize = 50;
const MAX_EXPERIMENTS: usize = 50;
const MAX_VARIANTS: usize = 10;
/// How far the sum of the shares may be from 1, so that 1/3 can be written as 0.333333.
const SHARE_TOLERANCE: f64 = 1e-5;
/// Values of labels in metrics that no name may have.
const RESERVED_NAMES: [&str; 2] = ["none", "other"];
/// The keys that a variant may set. None of them builds the user model.
const VARIANT_KEYS: [&str; 4] = ["exploration", "fusion", "mmr_lambda", "pool_per_generator"];

/// A place where lists are shown, such as a home page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlacementConfig {
    /// Its name: 1 to 32 of a-z, 0-9, `_` and `-`.
    pub name: String,
}

/// Variants of the ranking, of which each user gets one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentConfig {
    /// Its name, as of a placement.
    pub name: String,
    /// What the assignment of users depends on besides their ids, 1 to 64 bytes.
    pub salt: String,
    /// The placements whose lists it applies to; empty = all lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub placements: Vec<String>,
    /// Its variants.
    pub variants: Vec<VariantConfig>,
}

/// A variant of the ranking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantConfig {
    /// Its name, as of a placement.
    pub name: String,
    /// The share of users that get it, 0 to 1.
    pub share: f64,
    /// The keys of the ranking file that it sets, of `fusion`, `mmr_lambda`,
    /// `exploration` and `pool_per_generator`; the others are those of the file.
    #[serde(default)]
    pub ranking: toml::Table,
}

/// Checks names, shares and keys. The values of the variants' keys are not checked.
pub(super) fn check(
    placements: &[PlacementConfig],
    experiments: &[ExperimentConfig],
    violations: &mut Violations,
) {
    check_count("placements", placements.len(), MAX_PLACEMENTS, violations);
    let names = placements.iter().map(|placement| placement.name.as_str());
    check_names("placements", names.clone(), violations);
    let names: BTreeSet<&str> = names.collect();

    let count = experiments.len();
    check_count("experiments", count, MAX_EXPERIMENTS, violations);
    let each = experiments.iter();
    check_names(
        "experiments",
        each.map(|experiment| experiment.name.as_str()),
        violations,
    );
    for (index, experiment) in experiments.iter().enumerate() {
        let path = format!("experiments[{index}]");
        experiment.check(&path, &names, violations);
        for (other, before) in experiments[..index].iter().enumerate() {
            violations.require(
                !experiment.overlaps(before),
                format!(
                    "{path} applies to the same lists as experiments[{other}]: set the \
                     placements of both"
                ),
            );
        }
    }
}

impl ExperimentConfig {
    /// Whether it applies to the lists of a placement, or to those without one.
    #[must_use]
    pub fn applies_to(&self, placement: Option<&str>) -> bool {
        self.placements.is_empty()
            || placement.is_some_and(|name| self.placements.iter().any(|own| own == name))
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.placements.is_empty()
            || other.placements.is_empty()
            || self
                .placements
                .iter()
                .any(|name| other.placements.contains(name))
    }

    fn check(&self, path: &str, placements: &BTreeSet<&str>, violations: &mut Violations) {
        violations.require(
            (1..=MAX_SALT_BYTES).contains(&self.salt.len())
                && !self.salt.chars().any(char::is_control),
            format!("{path}.salt must be 1 to 64 bytes without control characters"),
        );
        for (index, name) in self.placements.iter().enumerate() {
            violations.require(
                placements.contains(name.as_str()),
                format!("{path}.placements[{index}] {name:?} is not a name in placements"),
            );
        }
        let variants = format!("{path}.variants");
        violations.require(
            !self.variants.is_empty(),
            format!("{variants} must not be empty"),
        );
        check_count(&variants, self.variants.len(), MAX_VARIANTS, violations);
        let names = self.variants.iter().map(|variant| variant.name.as_str());
        check_names(&variants, names, violations);
        for (index, variant) in self.variants.iter().enumerate() {
            let path = format!("{variants}[{index}]");
            violations.require_share(&format!("{path}.share"), variant.share);
            for key in variant.ranking.keys() {
                violations.require(
                    VARIANT_KEYS.contains(&key.as_str()),
                    format!(
                        "{path}.ranking.{key} cannot be set: a variant may set only {}",
                        VARIANT_KEYS.join(", ")
                    ),
                );
            }
        }
        let sum: f64 = self.variants.iter().map(|variant| variant.share).sum();
        violations.require(
            self.variants.is_empty() || (sum - 1.0).abs() <= SHARE_TOLERANCE,
            format!("the shares of {variants} must sum to 1, and sum to {sum}"),
        );
    }
}

fn check_count(path: &str, count: usize, most: usize, violations: &mut Violations) {
    violations.require(
        count <= most,
        format!("{path} must have at most {most} entries"),
    );
}

fn check_names<'a>(path: &str, names: impl Iterator<Item = &'a str>, violations: &mut Violations) {
    let mut before = BTreeSet::new();
    for (index, name) in names.enumerate() {
        let path = format!("{path}[{index}].name");
        let is_allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
        };
        violations.require(
            (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_allowed),
            format!("{path} must be 1 to 32 of a-z, 0-9, _ and -"),
        );
        violations.require(
            !RESERVED_NAMES.contains(&name),
            format!("{path} must not be {name}, which metrics use"),
        );
        violations.require(
            before.insert(name),
            format!("{path} {name:?} is there twice"),
        );
    }
}

#[cfg(test)]
mod tests;
