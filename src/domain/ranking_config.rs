//! The ranking file: every weight, threshold and table of the user model and
//! of ranking, with the defaults of the reference engine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{event::EndReason, tags::Canonicalizer};

/// Largest weight, either way: scores, strengths and their sums stay finite.
pub const MAX_WEIGHT: f64 = 1e6;

/// Why a ranking file is refused.
#[derive(Debug, thiserror::Error)]
pub enum RankingConfigError {
    /// It is not TOML, has an unknown key, or a value of another type.
    #[error("{0}")]
    Toml(#[from] toml::de::Error),
    /// Values out of range, all of them.
    #[error("{}", .0.join("; "))]
    Values(Vec<String>),
}

/// All that the ranking file can say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankingConfig {
    /// Days in which an interaction loses half its weight; above 0.
    pub half_life_days: f64,
    /// Strength of an item shown and ignored, before decay; 0 to [`MAX_WEIGHT`].
    pub soft_negative_weight: f64,
    /// Strength from which an item counts as liked; above 0.
    pub positive_threshold: f64,
    /// Strength down to which an item counts as disliked; below 0.
    pub negative_threshold: f64,
    /// Reading speed in words a second; above 0.
    pub reading_speed_wps: f64,
    /// Seconds that looking at a picture takes; at least 0.
    pub img_extra_time: f64,
    /// Multiple of the reading time at which dwell stops counting; above 0.
    pub dwell_cap_ratio: f64,
    /// Candidates that each generator proposes, 1 to 10,000.
    pub pool_per_generator: usize,
    /// Items in a list when the request does not say, 1 to 100.
    pub default_limit: usize,
    /// Relevance against diversity in re-ranking, 0 to 1 (1 = relevance alone).
    pub mmr_lambda: f64,
    /// Distance in metres over which the geo score falls to 1/e; above 0.
    pub geo_scale_m: f64,
    /// Whether a restricted request with nothing unseen shows seen items.
    pub filter_reshow_when_exhausted: bool,
    /// How many of the top affinity tags generate candidates, up to 1,000.
    pub affinity_tags: usize,
    /// Facets that never enter the tag maps.
    pub untasted_facets: Vec<String>,
    /// Weights of engagement.
    pub engagement: EngagementWeights,
    /// Weights of the scorers.
    pub fusion: FusionWeights,
    /// The deliberately off-profile item.
    pub exploration: ExplorationConfig,
    /// What the end of a view says of its completion.
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

/// What makes up the strength of an engagement; each ±[`MAX_WEIGHT`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngagementWeights {
    /// Weight of the dwell ratio.
    pub dwell: f64,
    /// Weight of the completion.
    pub completion: f64,
    /// Weight of coming back.
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

/// What makes up an item's score; each ±[`MAX_WEIGHT`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FusionWeights {
    /// Weight of the liked tags it carries.
    pub tag: f64,
    /// Weight of its closeness to the taste vector.
    pub semantic: f64,
    /// Weight of its closeness to a liked item.
    pub affinity: f64,
    /// Weight of its closeness to the latest item.
    pub recency: f64,
    /// Weight of the disliked tags it carries; a penalty if negative.
    pub aversion: f64,
    /// Weight of its nearness to the user's place.
    pub geo: f64,
}

impl Default for FusionWeights {
    fn default() -> Self {
        Self {
            tag: 0.45,
            semantic: 0.20,
            affinity: 0.10,
            recency: 0.05,
            aversion: -0.30,
            geo: 0.20,
        }
    }
}

/// The deliberately off-profile item of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExplorationConfig {
    /// Whether there is one.
    pub enabled: bool,
    /// How it is chosen in an open request.
    pub strategy: ExplorationStrategy,
    /// Share of requests that have one, 0 to 1.
    pub probability: f64,
    /// Places in the list to draw from, from 1.
    pub slots: Vec<usize>,
}

impl Default for ExplorationConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            strategy: ExplorationStrategy::MaxDissimilar,
            probability: 1.0,
            slots: vec![3, 4],
        }
    }
}

/// How the exploration item of an open request is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplorationStrategy {
    /// The item farthest from the taste vector.
    MaxDissimilar,
    /// Out of a sample, the item that shares the fewest tags with the user.
    UnexploredTheme,
    /// A random item.
    Random,
}

/// What the end of a view says of its completion, −1 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompletionWeights {
    /// For going on to the next item.
    pub next_button: f64,
    /// For following a link.
    pub link: f64,
    /// For closing.
    pub close_button: f64,
    /// For walking away.
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
    /// The completion of a view that ended so; 0 if it is not known.
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
}

/// How the answer to a question seeds the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileRule {
    /// Names of the question; the first that is answered counts.
    pub questions: Vec<String>,
    /// Name under which the answer is kept in `demographics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Facet of the affinity tag that the answer seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facet: Option<String>,
    /// Weight of the seeded tag, above 0, at most [`MAX_WEIGHT`].
    #[serde(default = "one")]
    pub weight: f64,
    /// Label for each answer. With a table, other answers seed nothing;
    /// without one, the answer is the label.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
}

fn one() -> f64 {
    1.0
}

/// Tables for canonical labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CanonicalTables {
    /// Replaced anywhere in a label.
    pub spellings: BTreeMap<String, String>,
    /// Whole labels.
    pub aliases: BTreeMap<String, String>,
}

impl RankingConfig {
    /// Reads a ranking file. Keys that are left out keep their defaults.
    ///
    /// # Errors
    /// [`RankingConfigError`] with the place of an unknown key or a wrong
    /// type, or with every value that is out of range.
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

    /// A number that differs between files that rank differently. A stored
    /// model that was built under another one counts as missing.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        // Serialising numbers, texts and tables with text keys cannot fail.
        xxh3_64(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`RankingConfigError::Values`] with all that are out of range.
    pub fn check(&self) -> Result<(), RankingConfigError> {
        let mut wrong = Vec::new();
        let mut need = |holds: bool, rule: &str| {
            if !holds {
                wrong.push(rule.to_owned());
            }
        };
        let above_zero = |value: f64| value.is_finite() && value > 0.0;
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        let share = |value: f64| (0.0..=1.0).contains(&value);

        need(
            above_zero(self.half_life_days),
            "half_life_days must be above 0",
        );
        need(
            (0.0..=MAX_WEIGHT).contains(&self.soft_negative_weight),
            "soft_negative_weight must be 0 to 1000000",
        );
        need(
            above_zero(self.positive_threshold),
            "positive_threshold must be above 0",
        );
        need(
            above_zero(-self.negative_threshold),
            "negative_threshold must be below 0",
        );
        need(
            above_zero(self.reading_speed_wps),
            "reading_speed_wps must be above 0",
        );
        need(
            not_negative(self.img_extra_time),
            "img_extra_time must be at least 0",
        );
        need(
            above_zero(self.dwell_cap_ratio),
            "dwell_cap_ratio must be above 0",
        );
        need(
            (1..=10_000).contains(&self.pool_per_generator),
            "pool_per_generator must be 1 to 10000",
        );
        need(
            (1..=100).contains(&self.default_limit),
            "default_limit must be 1 to 100",
        );
        need(share(self.mmr_lambda), "mmr_lambda must be 0 to 1");
        need(above_zero(self.geo_scale_m), "geo_scale_m must be above 0");
        need(
            self.affinity_tags <= 1_000,
            "affinity_tags must be at most 1000",
        );

        for (name, value) in [
            ("engagement.dwell", self.engagement.dwell),
            ("engagement.completion", self.engagement.completion),
            ("engagement.revisit", self.engagement.revisit),
            ("engagement.survey", self.engagement.survey),
            ("fusion.tag", self.fusion.tag),
            ("fusion.semantic", self.fusion.semantic),
            ("fusion.affinity", self.fusion.affinity),
            ("fusion.recency", self.fusion.recency),
            ("fusion.aversion", self.fusion.aversion),
            ("fusion.geo", self.fusion.geo),
        ] {
            need(
                (-MAX_WEIGHT..=MAX_WEIGHT).contains(&value),
                &format!("{name} must be -1000000 to 1000000"),
            );
        }
        for (name, value) in [
            ("next_button", self.completion.next_button),
            ("link", self.completion.link),
            ("close_button", self.completion.close_button),
            ("abandon", self.completion.abandon),
        ] {
            need(
                (-1.0..=1.0).contains(&value),
                &format!("completion.{name} must be -1 to 1"),
            );
        }
        need(
            share(self.exploration.probability),
            "exploration.probability must be 0 to 1",
        );
        need(
            !self.exploration.slots.is_empty()
                && self
                    .exploration
                    .slots
                    .iter()
                    .all(|slot| (1..=100).contains(slot)),
            "exploration.slots must be one or more numbers from 1 to 100",
        );
        for (index, rule) in self.profile.iter().enumerate() {
            need(
                !rule.questions.is_empty() && rule.questions.iter().all(|name| !name.is_empty()),
                &format!("profile[{index}].questions must name one or more questions"),
            );
            need(
                rule.field.is_some() || rule.facet.is_some(),
                &format!("profile[{index}] needs a field or a facet"),
            );
            need(
                rule.facet.as_ref().is_none_or(|facet| !facet.contains(':')),
                &format!("profile[{index}].facet must hold no colon"),
            );
            need(
                above_zero(rule.weight) && rule.weight <= MAX_WEIGHT,
                &format!("profile[{index}].weight must be above 0, at most 1000000"),
            );
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(RankingConfigError::Values(wrong))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ExplorationStrategy, RankingConfig};

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(
            RankingConfig::from_toml("").unwrap(),
            RankingConfig::default()
        );
    }

    #[test]
    fn a_file_changes_what_it_names_and_keeps_the_rest() {
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
        assert_eq!((config.fusion.tag, config.fusion.semantic), (0.25, 0.20));
        assert_eq!(
            config.exploration.strategy,
            ExplorationStrategy::UnexploredTheme
        );
        assert_eq!(config.profile[0].values["25_34"], "age 25-34");
        assert_eq!(config.canonicalizer().label("Joods_Leven"), "jewish life");
        assert_ne!(config.fingerprint(), RankingConfig::default().fingerprint());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
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
    fn a_weight_whose_sums_would_not_be_finite_is_refused() {
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
    fn every_value_out_of_range_is_named_at_once() {
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
