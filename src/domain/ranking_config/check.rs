//! Range checks of values.

/// Largest absolute weight. Scores, strengths and their sums stay finite.
pub const MAX_WEIGHT: f64 = 1e6;

/// Collects every rule that a ranking file breaks.
#[derive(Default)]
pub(super) struct Violations(pub(super) Vec<String>);

impl Violations {
    /// Records `rule` unless it holds.
    pub(super) fn require(&mut self, holds: bool, rule: impl Into<String>) {
        if !holds {
            self.0.push(rule.into());
        }
    }

    pub(super) fn require_above_zero(&mut self, name: &str, value: f64) {
        self.require(is_above_zero(value), format!("{name} must be above 0"));
    }

    pub(super) fn require_share(&mut self, name: &str, value: f64) {
        let holds = (0.0..=1.0).contains(&value);
        self.require(holds, format!("{name} must be 0 to 1"));
    }

    pub(super) fn require_weight(&mut self, name: &str, value: f64) {
        let holds = (-MAX_WEIGHT..=MAX_WEIGHT).contains(&value);
        self.require(holds, format!("{name} must be -1000000 to 1000000"));
    }
}

pub(super) fn is_above_zero(value: f64) -> bool {
    value.is_finite() && value > 0.0
}
