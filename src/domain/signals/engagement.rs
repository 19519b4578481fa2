//! Strength of a user's engagement with an item.

use super::item_history::ItemHistory;
use crate::domain::{item::CatalogueItem, meaning, ranking_config::RankingConfig};

/// The engagement with one item.
pub(super) struct Engagement {
    /// Reading time of the item, in seconds.
    pub(super) reading_seconds: f64,
    /// Dwell time relative to reading time, 0 to 1.
    pub(super) dwell_ratio: f64,
    /// `w_dwell·dwell_ratio`.
    pub(super) dwell: f64,
    /// `w_completion·completion`.
    pub(super) completion: f64,
    /// `w_revisit·revisit`.
    pub(super) revisit: f64,
    /// `w_survey·survey`; 0 if meanings are read.
    pub(super) survey: f64,
    /// What the user's behavior says: the sum of these parts.
    pub(super) behavior: f64,
    /// What the events say explicitly, if meanings are read.
    pub(super) explicit: Option<f64>,
    /// The strength of both.
    pub(super) strength: f64,
}

impl Engagement {
    pub(super) fn of(
        history: &ItemHistory<'_>,
        item: Option<&CatalogueItem>,
        config: &RankingConfig,
    ) -> Self {
        let reading_seconds = reading_seconds(item, config);
        let dwell_ratio = dwell_ratio(
            history.dwell_seconds(),
            reading_seconds,
            config.dwell_cap_ratio,
        );
        let weights = &config.engagement;
        let dwell = weights.dwell * dwell_ratio;
        let completion = weights.completion * config.completion.of(history.end_reason);
        let revisit = weights.revisit * (1.0 - (-(history.visits as f64) / 2.0).exp());
        let (survey, explicit) = if config.reads_meanings() {
            (0.0, history.explicit.strength())
        } else {
            let survey = history.rating.map_or(0.0, |rating| (rating - 3.0) / 2.0);
            (weights.survey * survey, None)
        };
        let behavior = dwell + completion + revisit + survey;
        Self {
            reading_seconds,
            dwell_ratio,
            dwell,
            completion,
            revisit,
            survey,
            behavior,
            explicit,
            strength: meaning::strength(explicit, behavior),
        }
    }
}

/// Reading time of an item in seconds; the shortest if it is unknown.
fn reading_seconds(item: Option<&CatalogueItem>, config: &RankingConfig) -> f64 {
    let seconds = item.map_or(0.0, |item| {
        let picture = if item.has_image() {
            config.img_extra_time
        } else {
            0.0
        };
        f64::from(item.word_count()) / config.reading_speed_wps + picture
    });
    seconds.max(config.min_reading_seconds)
}

fn dwell_ratio(dwell: Option<f64>, reading: f64, cap: f64) -> f64 {
    match dwell {
        Some(dwell) if dwell > 0.0 && reading > 0.0 => (dwell / reading).min(cap) / cap,
        Some(dwell) if dwell > 0.0 => 1.0,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::dwell_ratio;

    #[test]
    fn dwell_ratio_is_capped_and_is_1_for_an_item_without_reading_time() {
        assert_eq!(dwell_ratio(None, 10.0, 2.0), 0.0);
        assert_eq!(dwell_ratio(Some(0.0), 10.0, 2.0), 0.0);
        assert_eq!(dwell_ratio(Some(-5.0), 10.0, 2.0), 0.0);
        assert_eq!(dwell_ratio(Some(10.0), 10.0, 2.0), 0.5);
        assert_eq!(dwell_ratio(Some(1e9), 10.0, 2.0), 1.0);
        assert_eq!(dwell_ratio(Some(0.1), 0.0, 2.0), 1.0);
    }
}
