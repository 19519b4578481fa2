//! `[[profile]]` and `[canonical]`: tables that are empty by default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check::{MAX_WEIGHT, Violations, is_above_zero};

/// How the answer to a question seeds the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileRule {
    /// Names of the question; the first one with an answer counts.
    pub questions: Vec<String>,
    /// Key of the answer in `demographics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Facet of the affinity tag that the answer seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facet: Option<String>,
    /// Weight of the seeded tag, above 0, at most
    /// [`MAX_WEIGHT`](super::MAX_WEIGHT).
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// Label by answer. If it is not empty, other answers seed nothing; if it is
    /// empty, the answer is the label.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
}

impl ProfileRule {
    pub(super) fn check(&self, index: usize, violations: &mut Violations) {
        violations.require(
            !self.questions.is_empty() && self.questions.iter().all(|name| !name.is_empty()),
            format!("profile[{index}].questions must name one or more questions"),
        );
        violations.require(
            self.field.is_some() || self.facet.is_some(),
            format!("profile[{index}] needs a field or a facet"),
        );
        violations.require(
            self.facet.as_ref().is_none_or(|facet| !facet.contains(':')),
            format!("profile[{index}].facet must hold no colon"),
        );
        violations.require(
            is_above_zero(self.weight) && self.weight <= MAX_WEIGHT,
            format!("profile[{index}].weight must be above 0, at most 1000000"),
        );
    }
}

fn default_weight() -> f64 {
    1.0
}

/// Replacements in the canonical form of labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CanonicalTables {
    /// Replaced anywhere in a label.
    pub spellings: BTreeMap<String, String>,
    /// Replaced if they are the whole label.
    pub aliases: BTreeMap<String, String>,
}
