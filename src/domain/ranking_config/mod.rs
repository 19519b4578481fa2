//! The ranking file: weights, thresholds and tables of the user model and of
//! ranking. Defaults are those of the reference engine.

mod check;
mod engagement;
mod exploration;
mod fusion;
mod tables;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::tags::Canonicalizer;

use check::Violations;

pub use check::MAX_WEIGHT;
pub use engagement::{CompletionWeights, EngagementWeights};
pub use exploration::{ExplorationConfig, ExplorationStrategy};
pub use fusion::FusionWeights;
pub use tables::{CanonicalTables, ProfileRule};

/// A ranking file is rejected.
#[derive(Debug, thiserror::Error)]
pub enum RankingConfigError {
    /// It is not TOML, or has an unknown key or a value of the wrong type.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// Values are out of range: all of them.
    #[error("{}", .0.join("; "))]
    Values(Vec<String>),
}

/// The keys of the ranking file. All are optional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankingConfig {
    /// Days in which an interaction loses half its weight; above 0.
    pub half_life_days: f64,
    /// Strength of an item that was displayed and ignored, before decay; 0 to
    /// [`MAX_WEIGHT`].
    pub soft_negative_weight: f64,
    /// Strength at and above which an item counts as liked; above 0.
    pub positive_threshold: f64,
    /// Strength at and below which an item counts as disliked; below 0.
    pub negative_threshold: f64,
    /// Reading speed in words per second; above 0.
    pub reading_speed_wps: f64,
    /// Reading time of a picture in seconds; at least 0.
    pub img_extra_time: f64,
    /// Multiple of the reading time at which the dwell time is capped; above 0.
    pub dwell_cap_ratio: f64,
    /// Number of candidates of each generator, 1 to 10,000.
    pub pool_per_generator: usize,
    /// Number of items in a list if the request has no limit, 1 to 100.
    pub default_limit: usize,
    /// Weight of relevance against diversity in re-ranking, 0 to 1 (1 = relevance
    /// only).
    pub mmr_lambda: f64,
    /// Distance in metres over which the geo score falls to 1/e; above 0.
    pub geo_scale_m: f64,
    /// Whether a restricted request shows seen items if no unseen item matches.
    pub filter_reshow_when_exhausted: bool,
    /// Number of top affinity tags that generate candidates, at most 1,000.
    pub affinity_tags: usize,
    /// Facets that are left out of the tag maps.
    pub untasted_facets: Vec<String>,
    /// Weights of engagement.
    pub engagement: EngagementWeights,
    /// Weights of the scorers.
    pub fusion: FusionWeights,
    /// The deliberately off-profile item.
    pub exploration: ExplorationConfig,
    /// Completion by end reason.
    pub completion: CompletionWeights,
    /// Survey answers that seed the model.
    pub profile: Vec<ProfileRule>,
    /// Tables for canonical labels.
    pub canonical: CanonicalTables,
}

impl Default for RankingConfig {
    fn default() -> Self {
        Self {
            half_life_days: 14.0,
            soft_negative_weight: 0.30,
            positive_threshold: 0.30,
            negative_threshold: -0.05,
            reading_speed_wps: 4.2,
            img_extra_time: 1.3,
            dwell_cap_ratio: 2.0,
            pool_per_generator: 30,
            default_limit: 10,
            mmr_lambda: 0.7,
            geo_scale_m: 300.0,
            filter_reshow_when_exhausted: true,
            affinity_tags: 20,
            untasted_facets: Vec::new(),
            engagement: EngagementWeights::default(),
            fusion: FusionWeights::default(),
            exploration: ExplorationConfig::default(),
            completion: CompletionWeights::default(),
            profile: Vec::new(),
            canonical: CanonicalTables::default(),
        }
    }
}

impl RankingConfig {
    /// Reads a ranking file. Missing keys keep their defaults.
    ///
    /// # Errors
    /// [`RankingConfigError`] with the position of an unknown key or a wrong type,
    /// or with every value that is out of range.
    pub fn from_toml(text: &str) -> Result<Self, RankingConfigError> {
        let config: Self = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    /// The tag canonicalizer with this file's tables.
    #[must_use]
    pub fn canonicalizer(&self) -> Canonicalizer {
        Canonicalizer::new(&self.canonical.spellings, &self.canonical.aliases)
    }

    /// A hash of all values. A stored model that was built with another
    /// fingerprint counts as missing.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        // Serializing numbers, strings and maps with string keys cannot fail.
        xxh3_64(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`RankingConfigError::Values`] with all that are out of range.
    pub fn check(&self) -> Result<(), RankingConfigError> {
        let mut violations = Violations::default();
        self.check_values(&mut violations);
        self.engagement.check(&mut violations);
        self.fusion.check(&mut violations);
        self.completion.check(&mut violations);
        self.exploration.check(&mut violations);
        for (index, rule) in self.profile.iter().enumerate() {
            rule.check(index, &mut violations);
        }
        match violations.0 {
            none if none.is_empty() => Ok(()),
            rules => Err(RankingConfigError::Values(rules)),
        }
    }

    fn check_values(&self, violations: &mut Violations) {
        violations.require_above_zero("half_life_days", self.half_life_days);
        violations.require(
            (0.0..=MAX_WEIGHT).contains(&self.soft_negative_weight),
            "soft_negative_weight must be 0 to 1000000",
        );
        violations.require_above_zero("positive_threshold", self.positive_threshold);
        violations.require(
            check::is_above_zero(-self.negative_threshold),
            "negative_threshold must be below 0",
        );
        violations.require_above_zero("reading_speed_wps", self.reading_speed_wps);
        violations.require(
            self.img_extra_time.is_finite() && self.img_extra_time >= 0.0,
            "img_extra_time must be at least 0",
        );
        violations.require_above_zero("dwell_cap_ratio", self.dwell_cap_ratio);
        violations.require(
            (1..=10_000).contains(&self.pool_per_generator),
            "pool_per_generator must be 1 to 10000",
        );
        violations.require(
            (1..=100).contains(&self.default_limit),
            "default_limit must be 1 to 100",
        );
        violations.require_share("mmr_lambda", self.mmr_lambda);
        violations.require_above_zero("geo_scale_m", self.geo_scale_m);
        violations.require(
            self.affinity_tags <= 1_000,
            "affinity_tags must be at most 1000",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{ExplorationStrategy, RankingConfig};
    use crate::domain::ranking::scorers::Scorer;

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(
            RankingConfig::from_toml("").unwrap(),
            RankingConfig::default()
        );
    }

    #[test]
    fn missing_keys_keep_their_defaults() {
        let config = RankingConfig::from_toml(
            r#"
            mmr_lambda = 0.9
            [fusion]
            tag = 0.25
            [exploration]
            strategy = "unexplored_theme"
            [[profile]]
            questions = ["q:age", "age_group"]
            field = "age"
            facet = "person_who.age_group"
            weight = 0.5
            values = { "25_34" = "age 25-34" }
            [canonical]
            spellings = { "labour" = "labor" }
            aliases = { "joods leven" = "jewish life" }
            "#,
        )
        .unwrap();
        assert_eq!(config.mmr_lambda, 0.9);
        assert_eq!(
            (config.fusion[Scorer::Tag], config.fusion[Scorer::Semantic]),
            (0.25, 0.20)
        );
        assert_eq!(
            config.exploration.strategy,
            ExplorationStrategy::UnexploredTheme
        );
        assert_eq!(config.profile[0].values["25_34"], "age 25-34");
        assert_eq!(config.canonicalizer().label("Joods_Leven"), "jewish life");
        assert_ne!(config.fingerprint(), RankingConfig::default().fingerprint());
    }

    #[test]
    fn an_unknown_key_is_rejected_with_its_line() {
        let error = RankingConfig::from_toml("mmr_lambda = 0.5\nmmr_lamda = 0.7\n").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("mmr_lamda") && text.contains("line 2"),
            "{text}"
        );
        let nested = RankingConfig::from_toml("[fusion]\ntags = 1.0\n").unwrap_err();
        assert!(nested.to_string().contains("tags"), "{nested}");
    }

    #[test]
    fn a_weight_whose_sums_could_overflow_is_rejected() {
        for (text, name) in [
            ("soft_negative_weight = 1e308", "soft_negative_weight"),
            ("engagement.dwell = 1e308", "engagement.dwell"),
            ("fusion.aversion = -1e308", "fusion.aversion"),
            (
                "profile = [{ questions = ['q'], facet = 'f', weight = 1e308 }]",
                "profile[0].weight",
            ),
        ] {
            let error = RankingConfig::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(RankingConfig::from_toml("fusion.tag = -1e6").is_ok());
    }

    #[test]
    fn every_value_out_of_range_is_reported() {
        let error = RankingConfig::from_toml(
            r#"
            half_life_days = 0.0
            reading_speed_wps = nan
            positive_threshold = -0.3
            negative_threshold = 0.05
            pool_per_generator = 0
            default_limit = 101
            mmr_lambda = 1.5
            geo_scale_m = inf
            [fusion]
            geo = nan
            [exploration]
            probability = 2.0
            slots = [0]
            [[profile]]
            questions = []
            weight = 0.0
            "#,
        )
        .unwrap_err()
        .to_string();
        for name in [
            "half_life_days",
            "reading_speed_wps",
            "positive_threshold",
            "negative_threshold",
            "pool_per_generator",
            "default_limit",
            "mmr_lambda",
            "geo_scale_m",
            "fusion.geo",
            "exploration.probability",
            "exploration.slots",
            "profile[0].questions",
            "profile[0] needs",
            "profile[0].weight",
        ] {
            assert!(error.contains(name), "{name} is missing in: {error}");
        }
    }
}
