//! Decay of interactions over time.

use crate::domain::time::Timestamp;

/// Exponential decay `0.5 ^ (age_days / half_life_days)`, above 0, at most 1.
/// Times in the future have age 0.
pub(super) fn decay(then: Timestamp, now: Timestamp, half_life_days: f64) -> f64 {
    0.5_f64.powf(now.days_since(then) / half_life_days)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::decay;
    use crate::domain::time::Timestamp;

    #[test]
    fn decay_halves_with_each_half_life_and_never_exceeds_1() {
        let then = Timestamp::from_micros(0);
        let now = then.plus(Duration::from_secs(28 * 86_400));
        assert_eq!(decay(then, now, 14.0), 0.25);
        assert_eq!(decay(now, then, 14.0), 1.0);
    }
}
