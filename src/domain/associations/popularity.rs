//! How many users recently engaged with an item, with decay.

use std::f64::consts::LN_2;

use super::audience::Audience;
use crate::domain::time::Timestamp;

const SECONDS_PER_DAY: f64 = 86_400.0;
/// Shortest span in the rate of a full audience.
const MIN_SPAN_DAYS: f64 = 1.0 / 24.0;

/// The popularity of an item: the sum over its audience of `2^(-age / half-life)`,
/// no age below 0.
///
/// An audience of `audience_max` members may have lost older ones. It counts as at
/// least `audience_max / span · half-life / ln 2`, where the span is the age of its
/// oldest member, at least an hour: the sum for users that arrive at this rate
/// indefinitely.
#[must_use]
pub fn popularity(
    audience: &Audience,
    now: Timestamp,
    half_life_days: f64,
    audience_max: usize,
) -> f64 {
    let members = audience.members();
    let sum: f64 = members
        .iter()
        .map(|member| (-now.days_since(member.time) / half_life_days).exp2())
        .sum();
    match members.last() {
        Some(oldest) if members.len() >= audience_max => {
            let span = now.days_since(oldest.time).max(MIN_SPAN_DAYS);
            sum.max(audience_max as f64 / span * half_life_days / LN_2)
        }
        _ => sum,
    }
}

/// The sort key of an item's popularity: `log2(popularity) + t /
/// half-life`, with `t` the days from the Unix epoch to `at`, the time of the
/// popularity. Keys of different times compare, because all decay alike (forward
/// decay). `None` if the popularity is 0.
#[must_use]
pub fn popularity_key(popularity: f64, at: Timestamp, half_life_days: f64) -> Option<f64> {
    (popularity > 0.0).then(|| popularity.log2() + days(at) / half_life_days)
}

/// The popularity as of `now` of an item with this key.
#[must_use]
pub fn popularity_at(key: f64, now: Timestamp, half_life_days: f64) -> f64 {
    (key - days(now) / half_life_days).exp2()
}

/// The popularity of an item as a share of the largest, 0 to 1, from both keys.
#[must_use]
pub fn share_of_largest(key: f64, largest_key: f64) -> f64 {
    (key - largest_key).exp2().min(1.0)
}

fn days(time: Timestamp) -> f64 {
    time.seconds_since(Timestamp::from_micros(0)) / SECONDS_PER_DAY
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prop_assert, proptest};

    use super::{
        Audience, LN_2, Timestamp, popularity, popularity_at, popularity_key, share_of_largest,
    };
    use crate::domain::{associations::AudienceMember, ids::UserId};

    const DAY: i64 = 86_400_000_000;
    const NOW: Timestamp = Timestamp::from_micros(20_000 * DAY);

    fn audience(ages_days: &[f64]) -> Audience {
        let members = ages_days.iter().enumerate().map(|(n, age)| AudienceMember {
            user: UserId::parse(&format!("u{n}")).unwrap(),
            time: Timestamp::from_micros(NOW.as_micros() - (age * DAY as f64) as i64),
        });
        Audience::new(members.collect(), 1_000)
    }

    #[test]
    fn an_engagement_halves_with_each_half_life_and_never_grows() {
        assert_eq!(popularity(&audience(&[]), NOW, 7.0, 500), 0.0);
        assert_eq!(
            popularity(&audience(&[0.0, 7.0, 14.0]), NOW, 7.0, 500),
            1.75
        );
        assert_eq!(popularity(&audience(&[-3.0]), NOW, 7.0, 500), 1.0);
    }

    #[test]
    fn a_full_audience_counts_by_its_rate() {
        let fast = audience(&[0.0, 0.5, 1.0]);
        let by_rate = 3.0 / 1.0 * 7.0 / LN_2;
        assert_eq!(popularity(&fast, NOW, 7.0, 3), by_rate);
        assert!(popularity(&fast, NOW, 7.0, 4) < 3.0);
        let within_a_minute = audience(&[0.0, 0.0, 0.0]);
        assert_eq!(popularity(&within_a_minute, NOW, 7.0, 3), by_rate * 24.0);
        let slow = audience(&[0.0, 0.0, 1_000.0]);
        assert!(popularity(&slow, NOW, 7.0, 3) >= 2.0);
    }

    #[test]
    fn a_key_gives_the_popularity_back_and_shares() {
        let [key, larger] = [3.0, 12.0].map(|sum| popularity_key(sum, NOW, 7.0).unwrap());
        assert!((popularity_at(key, NOW, 7.0) - 3.0).abs() < 1e-9);
        let week_later = Timestamp::from_micros(NOW.as_micros() + 7 * DAY);
        assert!((popularity_at(key, week_later, 7.0) - 1.5).abs() < 1e-9);
        assert!((share_of_largest(key, larger) - 0.25).abs() < 1e-9);
        assert_eq!(share_of_largest(larger, larger), 1.0);
        assert_eq!(popularity_key(0.0, NOW, 7.0), None);
    }

    proptest! {
        #[test]
        fn keys_of_different_times_compare_as_popularities_of_one_time(
            ages in vec(0.0..60.0_f64, 1..20),
            later_days in 0.0..30.0_f64,
        ) {
            let audience = audience(&ages);
            let later = Timestamp::from_micros(NOW.as_micros() + (later_days * DAY as f64) as i64);
            let then = popularity_key(popularity(&audience, NOW, 7.0, 500), NOW, 7.0).unwrap();
            let now = popularity_key(popularity(&audience, later, 7.0, 500), later, 7.0).unwrap();
            prop_assert!((then - now).abs() < 1e-9);
        }
    }
}
