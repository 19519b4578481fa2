//! `[engagement]` and `[completion]`: how strongly the events of an item count.

use serde::{Deserialize, Serialize};

use super::check::Violations;
use crate::domain::event::EndReason;

/// Weights of the parts of an engagement's strength, each from
/// −[`MAX_WEIGHT`](super::MAX_WEIGHT) to [`MAX_WEIGHT`](super::MAX_WEIGHT).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngagementWeights {
    /// Weight of the dwell ratio.
    pub dwell: f64,
    /// Weight of the completion.
    pub completion: f64,
    /// Weight of repeated visits.
    pub revisit: f64,
    /// Weight of the rating.
    pub survey: f64,
}

impl Default for EngagementWeights {
    fn default() -> Self {
        Self {
            dwell: 0.4,
            completion: 0.3,
            revisit: 0.2,
            survey: 0.1,
        }
    }
}

impl EngagementWeights {
    pub(super) fn check(&self, violations: &mut Violations) {
        for (name, weight) in [
            ("dwell", self.dwell),
            ("completion", self.completion),
            ("revisit", self.revisit),
            ("survey", self.survey),
        ] {
            violations.require_weight(&format!("engagement.{name}"), weight);
        }
    }
}

/// The completion of a view by its end reason, −1 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompletionWeights {
    /// The user went on to the next item.
    pub next_button: f64,
    /// The user followed a link.
    pub link: f64,
    /// The user closed the item.
    pub close_button: f64,
    /// The user abandoned the item.
    pub abandon: f64,
}

impl Default for CompletionWeights {
    fn default() -> Self {
        Self {
            next_button: 1.0,
            link: 0.6,
            close_button: 0.0,
            abandon: -0.5,
        }
    }
}

impl CompletionWeights {
    /// The completion of a view that ended for this reason; 0 without a reason.
    #[must_use]
    pub fn of(&self, end_reason: Option<EndReason>) -> f64 {
        match end_reason {
            Some(EndReason::NextButton) => self.next_button,
            Some(EndReason::Link) => self.link,
            Some(EndReason::CloseButton) => self.close_button,
            Some(EndReason::Abandon) => self.abandon,
            None => 0.0,
        }
    }

    pub(super) fn check(&self, violations: &mut Violations) {
        for (name, completion) in [
            ("next_button", self.next_button),
            ("link", self.link),
            ("close_button", self.close_button),
            ("abandon", self.abandon),
        ] {
            violations.require(
                (-1.0..=1.0).contains(&completion),
                format!("completion.{name} must be -1 to 1"),
            );
        }
    }
}
