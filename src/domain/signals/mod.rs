//! Events + items + now -> user model.
//!
//! [`EventLog`] fixes the order of events, and sums are added in the order of
//! sorted keys, so the model is identical to the last bit for every order of
//! delivery.

mod decay;
mod engagement;
mod explanation;
mod item_history;
mod opinion;
mod profile;
mod tag_weights;

use std::{collections::HashSet, sync::Arc};

use foldhash::fast::RandomState;

use super::{
    associations::{InterestEntry, InterestList, InterestStrength},
    encoded_form::EncodedForm,
    event::{EndReason, EventLog},
    ids::{ContentId, UserId},
    item::{CatalogueItem, Items},
    ranking_config::RankingConfig,
    time::Timestamp,
    user_signals::{Behavior, UserSignals},
    vector::{UnitVector, wide},
};
use decay::decay;
use engagement::Engagement;
pub use explanation::{ItemEvent, ItemExplanation, explain};
use item_history::{ItemHistories, ItemHistory};
pub use opinion::Opinion;
use tag_weights::TagWeights;

/// Maximum number of soft negatives in a model: the newest ones.
pub const MAX_SOFT_NEGATIVES: usize = 5_000;

/// Tags of liked items for which there is room at first.
const TAGS_PER_ITEM: usize = 4;
const MAX_RESERVED_TAGS: usize = 1_000;

/// The items that a model of these events depends on: those with an engagement,
/// each once, in the order of their first events.
#[must_use]
pub fn items_needed(log: &EventLog) -> Vec<ContentId> {
    let mut seen: HashSet<&ContentId, RandomState> =
        HashSet::with_capacity_and_hasher(log.len(), RandomState::default());
    log.iter()
        .filter_map(|event| event.content_id.as_ref())
        .filter(|id| seen.insert(*id))
        .cloned()
        .collect()
}

/// Builds the model of `user_id` as of `now`. An item that is missing in `items`
/// has the shortest reading time, no tags and no vector.
#[must_use]
pub fn build(
    user_id: &UserId,
    log: &EventLog,
    items: &Items,
    now: Timestamp,
    config: &RankingConfig,
) -> UserSignals {
    let table = Some(&config.events).filter(|_| config.reads_meanings());
    let mut histories = ItemHistories::of(log, MAX_SOFT_NEGATIVES, table);
    histories.sort_by_id();

    let mut affinity = TagWeights::new(&config.untasted_facets);
    let mut aversion = TagWeights::new(&config.untasted_facets);
    let tags = TAGS_PER_ITEM * histories.items.len();
    affinity.reserve(tags.min(MAX_RESERVED_TAGS));
    // Collected as lists: inserting into the maps one by one would dominate the
    // cost of a build.
    let mut positives = Vec::new();
    let mut negatives = Vec::new();
    let mut liked: Vec<(&UnitVector, f64)> = Vec::new();
    let mut interests = Vec::new();
    let mut dwell_ratios = 0.0;

    for history in &histories.items {
        let item = items.get(history.content_id).map(Arc::as_ref);
        let engagement = Engagement::of(history, item, config);
        dwell_ratios += engagement.dwell_ratio;
        let opinion = Opinion::of(engagement.strength, config);
        if config.associations.enabled && opinion != Opinion::Disliked {
            interests.push(InterestEntry {
                item: history.content_id.clone(),
                time: history.last,
                strength: InterestStrength::of(engagement.strength),
            });
        }
        let age_decay = decay(history.last, now, config.half_life_days);
        let weight = engagement.strength.abs() * age_decay;
        match opinion {
            Opinion::Liked => {
                positives.push((history.content_id.clone(), weight));
                affinity.add_item(item, weight);
                liked.extend(
                    item.and_then(CatalogueItem::vector)
                        .map(|vector| (vector, weight)),
                );
            }
            Opinion::Disliked => {
                negatives.push((history.content_id.clone(), weight));
                aversion.add_item(item, weight);
            }
            Opinion::Neutral => {}
        }
    }
    for (id, time) in histories.ignored() {
        let weight = config.soft_negative_weight * decay(*time, now, config.half_life_days);
        negatives.push(((*id).clone(), weight));
    }

    let answers = profile::answers(log, config);
    for seed in &answers.seeds {
        affinity.add(seed.facet, &seed.label, seed.weight);
    }

    let recent = histories.latest_first();
    let behavior = behavior(
        &histories.items,
        positives.len(),
        negatives.len(),
        dwell_ratios,
    );
    UserSignals {
        user_id: user_id.clone(),
        recency_vector: recent
            .first()
            .and_then(|id| items.get(id))
            .and_then(|item| item.vector().cloned()),
        recent_views: recent.into_iter().cloned().collect(),
        viewed: histories
            .items
            .iter()
            .map(|history| history.content_id.clone())
            .collect(),
        positives: positives.into_iter().collect(),
        negatives: negatives.into_iter().collect(),
        tag_affinity: affinity.normalised(),
        tag_aversion: aversion.normalised(),
        taste_vector: UnitVector::from_f64(&wide(|| weighted_sum(&liked))),
        behavior,
        demographics: answers.demographics,
        built_at: Some(now),
        event_count: log.len(),
        done: histories
            .items
            .iter()
            .filter(|history| history.explicit.is_done())
            .map(|history| history.content_id.clone())
            .collect(),
        interests: InterestList::new(interests, config.associations.list_max),
        encoded: EncodedForm::default(),
    }
}

/// The weighted sum of vectors. It has the size of the first one; vectors of
/// other sizes are left out.
#[inline(always)]
fn weighted_sum(vectors: &[(&UnitVector, f64)]) -> Vec<f64> {
    let mut sum = vec![0.0; vectors.first().map_or(0, |(vector, _)| vector.size())];
    for (vector, weight) in vectors {
        if vector.size() == sum.len() {
            for (total, value) in sum.iter_mut().zip(vector.values()) {
                *total += weight * f64::from(value);
            }
        }
    }
    sum
}

fn behavior(
    histories: &[ItemHistory<'_>],
    n_positive: usize,
    n_negative: usize,
    dwell_ratios: f64,
) -> Behavior {
    let n_views = histories.len();
    let share = |count: usize| rounded(ratio(count as f64, n_views));
    Behavior {
        n_views,
        n_positive,
        n_negative,
        avg_dwell_ratio: rounded(ratio(dwell_ratios, n_views)),
        completion_rate: share(
            histories
                .iter()
                .filter(|history| history.end_reason == Some(EndReason::NextButton))
                .count(),
        ),
        revisit_rate: share(
            histories
                .iter()
                .filter(|history| history.visits > 1)
                .count(),
        ),
        depth: share(n_positive),
    }
}

fn ratio(sum: f64, count: usize) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// Rounds to 4 places, exact halves to even. Formatting rounds the exact value;
/// multiplying first would round twice.
fn rounded(value: f64) -> f64 {
    format!("{value:.4}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn rounds_to_four_places_and_exact_halves_to_even() {
        assert_eq!(rounded(0.03125), 0.0312);
        assert_eq!(rounded(0.09375), 0.0938);
        assert_eq!(rounded(2.0 / 3.0), 0.6667);
        assert_eq!(rounded(0.00005), 0.0001);
        assert_eq!(rounded(1.0), 1.0);
    }
}
