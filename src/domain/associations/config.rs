//! The ranking file's `[associations]`.

use serde::{Deserialize, Serialize};

/// Bounds and constants of associations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AssociationsConfig {
    /// Whether associations are kept and used.
    pub enabled: bool,
    /// Users that the audience of an item keeps, the newest, 1 to 10,000.
    pub audience_max: usize,
    /// Users of an audience whose lists make a row, the newest, 1 to 10,000.
    pub refresh_users: usize,
    /// Items that a user's interest list keeps, the newest, 1 to 1,000.
    pub list_max: usize,
    /// Positions in a list between two items that still count as a pair, 1 to 1,000.
    pub pair_span: usize,
    /// Neighbours that a row keeps, the largest, 1 to 1,000.
    pub row_max: usize,
    /// Items of a list that score others, the latest, 1 to 1,000.
    pub query_items: usize,
    /// Size from which on audiences count as equally large, 1 to 10,000.
    pub count_cap: usize,
    /// Added to the audience size of a neighbour: how much small audiences are
    /// discounted; above 0.
    pub shrink: f64,
    /// Added to the largest weight of a row before dividing by it; at least 0.
    pub row_offset: f64,
    /// The largest score counts as at least this; above 0.
    pub score_floor: f64,
    /// Weight of an item as its own neighbour; at least 0.
    pub self_weight: f64,
    /// Users that must have both items of a pair, 1 to 10,000.
    pub min_common_users: usize,
    /// Days in which an engagement loses half its weight for popularity; above 0.
    pub popularity_half_life_days: f64,
    /// The same for trending items; above 0.
    pub trending_half_life_days: f64,
}

impl Default for AssociationsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            audience_max: 500,
            refresh_users: 200,
            list_max: 200,
            pair_span: 50,
            row_max: 100,
            query_items: 50,
            count_cap: 500,
            shrink: 10.0,
            row_offset: 0.05,
            score_floor: 0.05,
            self_weight: 0.3,
            min_common_users: 1,
            popularity_half_life_days: 7.0,
            trending_half_life_days: 1.0,
        }
    }
}

/// Largest constant that is not a count: sums stay finite.
const MAX_CONSTANT: f64 = 1e6;
/// Shortest half-life, 86 milliseconds: keys of forward decay stay precise.
const MIN_HALF_LIFE_DAYS: f64 = 1e-6;

impl AssociationsConfig {
    /// What is out of range, each text with the key's name; empty if nothing is.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let counts = [
            ("audience_max", self.audience_max, 10_000),
            ("refresh_users", self.refresh_users, 10_000),
            ("list_max", self.list_max, 1_000),
            ("pair_span", self.pair_span, 1_000),
            ("row_max", self.row_max, 1_000),
            ("query_items", self.query_items, 1_000),
            ("count_cap", self.count_cap, 10_000),
            ("min_common_users", self.min_common_users, 10_000),
        ]
        .into_iter()
        .filter(|(_, value, most)| !(1..=*most).contains(value))
        .map(|(name, _, most)| format!("associations.{name} must be 1 to {most}"));
        let above_zero = [("shrink", self.shrink), ("score_floor", self.score_floor)]
            .into_iter()
            .filter(|(_, value)| !(*value > 0.0 && *value <= MAX_CONSTANT))
            .map(|(name, _)| format!("associations.{name} must be above 0, at most 1000000"));
        let not_negative = [
            ("row_offset", self.row_offset),
            ("self_weight", self.self_weight),
        ]
        .into_iter()
        .filter(|(_, value)| !(0.0..=MAX_CONSTANT).contains(value))
        .map(|(name, _)| format!("associations.{name} must be 0 to 1000000"));
        let half_lives = [
            ("popularity_half_life_days", self.popularity_half_life_days),
            ("trending_half_life_days", self.trending_half_life_days),
        ]
        .into_iter()
        .filter(|(_, value)| !(MIN_HALF_LIFE_DAYS..=MAX_CONSTANT).contains(value))
        .map(|(name, _)| format!("associations.{name} must be 0.000001 to 1000000"));
        counts
            .chain(above_zero)
            .chain(not_negative)
            .chain(half_lives)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::AssociationsConfig;

    #[test]
    fn an_empty_table_is_the_defaults_and_they_are_in_range() {
        let config: AssociationsConfig = toml::from_str("").unwrap();
        assert_eq!(config, AssociationsConfig::default());
        assert_eq!(config.violations(), [""; 0]);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = toml::from_str::<AssociationsConfig>("row_maximum = 5").unwrap_err();
        assert!(error.to_string().contains("row_maximum"), "{error}");
    }

    #[test]
    fn every_value_out_of_range_is_named() {
        let config: AssociationsConfig = toml::from_str(
            "
            audience_max = 0
            refresh_users = 10001
            list_max = 0
            pair_span = 1001
            row_max = 0
            query_items = 0
            count_cap = 0
            shrink = 0.0
            row_offset = -0.1
            score_floor = nan
            self_weight = inf
            min_common_users = 0
            popularity_half_life_days = 0.0
            trending_half_life_days = -1.0
            ",
        )
        .unwrap();
        let violations = config.violations();
        assert_eq!(violations.len(), 14, "{violations:#?}");
        assert!(
            violations
                .iter()
                .all(|text| text.starts_with("associations."))
        );
    }
}
