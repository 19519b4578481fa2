//! The ranking file: weights, thresholds and tables of the user model and of
//! ranking. A [`Preset`] sets the defaults.

mod check;
mod commented;
mod engagement;
mod events;
mod experiments;
mod exploration;
mod fusion;
mod preset;
mod tables;

use serde::{Deserialize, Serialize, de::Error as DeError};
use toml::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::{associations::AssociationsConfig, meaning::EventTable, tags::Canonicalizer};

use check::Violations;

pub use check::MAX_WEIGHT;
pub use engagement::{CompletionWeights, EngagementWeights};
pub use experiments::{ExperimentConfig, PlacementConfig, VariantConfig};
pub use exploration::{ExplorationConfig, ExplorationStrategy};
pub use fusion::FusionWeights;
pub use preset::Preset;
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
///
/// [`RankingConfig::from_toml`] reads a file. Deserializing this type directly
/// would take the defaults of [`Preset::Recsys`] whatever the preset is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankingConfig {
    /// The defaults of all other keys.
    pub preset: Preset,
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
    /// Shortest reading time of an item in seconds; at least 0.
    pub min_reading_seconds: f64,
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
    /// What other users did.
    pub associations: AssociationsConfig,
    /// What event types say about their items: the preset's table, extended and
    /// overridden by the file's entries.
    #[serde(with = "events", default = "EventTable::empty")]
    pub events: EventTable,
    /// Survey answers that seed the model.
    pub profile: Vec<ProfileRule>,
    /// Tables for canonical labels.
    pub canonical: CanonicalTables,
    /// Where lists are shown.
    pub placements: Vec<PlacementConfig>,
    /// Variants of the ranking. At most one experiment applies to a list.
    pub experiments: Vec<ExperimentConfig>,
}

impl Default for RankingConfig {
    fn default() -> Self {
        Self::of(Preset::Recsys)
    }
}

impl RankingConfig {
    /// The defaults of a preset.
    #[must_use]
    pub fn of(preset: Preset) -> Self {
        let (min_reading_seconds, mmr_lambda) = match preset {
            Preset::Recsys => (20.0, 0.9),
            Preset::Reference => (0.0, 0.7),
        };
        Self {
            preset,
            half_life_days: 14.0,
            soft_negative_weight: 0.30,
            positive_threshold: 0.30,
            negative_threshold: -0.05,
            reading_speed_wps: 4.2,
            img_extra_time: 1.3,
            min_reading_seconds,
            dwell_cap_ratio: 2.0,
            pool_per_generator: 30,
            default_limit: 10,
            mmr_lambda,
            geo_scale_m: 300.0,
            filter_reshow_when_exhausted: true,
            affinity_tags: 20,
            untasted_facets: Vec::new(),
            engagement: EngagementWeights::default(),
            fusion: FusionWeights::of(preset),
            exploration: ExplorationConfig::of(preset),
            completion: CompletionWeights::default(),
            associations: AssociationsConfig {
                enabled: preset == Preset::Recsys,
                ..AssociationsConfig::default()
            },
            events: EventTable::of(preset),
            profile: Vec::new(),
            canonical: CanonicalTables::default(),
            placements: Vec::new(),
            experiments: Vec::new(),
        }
    }

    /// Reads a ranking file. Missing keys keep the defaults of its preset.
    ///
    /// # Errors
    /// [`RankingConfigError`] with the position of an unknown key or a wrong type,
    /// or with every value that is out of range.
    pub fn from_toml(text: &str) -> Result<Self, RankingConfigError> {
        // Reading the text itself gives errors their position.
        let Self { preset, .. } = toml::from_str(text)?;
        let defaults = Self {
            events: EventTable::empty(),
            ..Self::of(preset)
        };
        let mut keys =
            toml::Table::try_from(defaults).map_err(<toml::de::Error as DeError>::custom)?;
        overlay(&mut keys, toml::from_str(text)?);
        let mut config: Self = keys.try_into()?;
        config.events = EventTable::of(preset).extended_by(config.events);
        config.check()?;
        Ok(config)
    }

    /// The same ranking without placements and experiments.
    #[must_use]
    pub fn without_experiments(&self) -> Self {
        Self {
            placements: Vec::new(),
            experiments: Vec::new(),
            ..self.clone()
        }
    }

    /// The ranking of a variant, without placements and experiments.
    ///
    /// # Errors
    /// [`RankingConfigError`] with every value of the variant that is not valid.
    pub fn of_variant(&self, variant: &VariantConfig) -> Result<Self, RankingConfigError> {
        let base = self.without_experiments();
        let mut keys =
            toml::Table::try_from(&base).map_err(<toml::de::Error as DeError>::custom)?;
        overlay(&mut keys, variant.ranking.clone());
        let config: Self = keys.try_into()?;
        // The table of events is the base's, whatever the form in which it was written.
        let config = Self {
            events: base.events,
            ..config
        };
        config.check()?;
        Ok(config)
    }

    /// Whether the meaning of events decides which items are liked. If not, only
    /// engagement does, as in the reference engine.
    #[must_use]
    pub fn reads_meanings(&self) -> bool {
        self.preset == Preset::Recsys || !self.events.is_empty()
    }

    /// The values as a ranking file, with a comment on what each key does.
    ///
    /// # Errors
    /// A number has no form in TOML.
    pub fn to_commented_toml(&self) -> Result<String, toml::ser::Error> {
        Ok(commented::commented(&toml::Table::try_from(self)?))
    }

    /// The tag canonicalizer with this file's tables.
    #[must_use]
    pub fn canonicalizer(&self) -> Canonicalizer {
        Canonicalizer::new(&self.canonical.spellings, &self.canonical.aliases)
    }

    /// A hash of the values that build the user model. A stored model that was
    /// built with another fingerprint counts as missing.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        // Every key stands here, so that a new one is not forgotten.
        let Self {
            preset,
            half_life_days,
            soft_negative_weight,
            positive_threshold,
            negative_threshold,
            reading_speed_wps,
            img_extra_time,
            min_reading_seconds,
            dwell_cap_ratio,
            untasted_facets,
            engagement,
            completion,
            events,
            profile,
            associations,
            // These rank; they do not build the model.
            pool_per_generator: _,
            default_limit: _,
            mmr_lambda: _,
            geo_scale_m: _,
            filter_reshow_when_exhausted: _,
            affinity_tags: _,
            fusion: _,
            exploration: _,
            canonical: _,
            placements: _,
            experiments: _,
        } = self;
        let model = (
            preset,
            [
                half_life_days,
                soft_negative_weight,
                positive_threshold,
                negative_threshold,
                reading_speed_wps,
                img_extra_time,
                min_reading_seconds,
                dwell_cap_ratio,
            ],
            untasted_facets,
            engagement,
            completion,
            events.entries(),
            profile,
            (associations.enabled, associations.list_max),
        );
        // Serializing numbers, texts and maps with text keys cannot fail.
        xxh3_64(&serde_json::to_vec(&model).unwrap_or_default())
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
        violations.0.extend(self.associations.violations());
        for (index, rule) in self.profile.iter().enumerate() {
            rule.check(index, &mut violations);
        }
        experiments::check(&self.placements, &self.experiments, &mut violations);
        if violations.0.is_empty() {
            self.check_variants(&mut violations);
        }
        match violations.0 {
            none if none.is_empty() => Ok(()),
            rules => Err(RankingConfigError::Values(rules)),
        }
    }

    fn check_variants(&self, violations: &mut Violations) {
        for (index, experiment) in self.experiments.iter().enumerate() {
            for (at, variant) in experiment.variants.iter().enumerate() {
                if let Err(error) = self.of_variant(variant) {
                    let error = error.to_string();
                    let error = error.trim_end();
                    let path = format!("experiments[{index}].variants[{at}].ranking");
                    violations.require(false, format!("{path}: {error}"));
                }
            }
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
        violations.require(
            self.min_reading_seconds.is_finite() && self.min_reading_seconds >= 0.0,
            "min_reading_seconds must be at least 0",
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

/// Replaces keys by those of `file`, in tables key by key.
fn overlay(keys: &mut toml::Table, file: toml::Table) {
    for (name, value) in file {
        match (keys.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(file)) => overlay(below, file),
            (_, value) => _ = keys.insert(name, value),
        }
    }
}

#[cfg(test)]
mod tests;
