//! What counts as a like.

use crate::domain::{
    event::InteractionEvent,
    meaning::{EventMeaning, EventTable},
    ranking_config::RankingConfig,
};

/// Lowest rating that counts as a like.
const LIKED_RATING: f64 = 4.0;

/// Decides which events count as likes: those that lists should predict.
#[derive(Clone, Debug)]
pub struct LikeRule {
    table: EventTable,
    positive_threshold: f64,
}

impl LikeRule {
    /// By a ranking file's positive threshold and event types; without any, as in the
    /// preset `reference`, by the types of the preset `recsys`.
    #[must_use]
    pub fn new(config: &RankingConfig) -> Self {
        let table = if config.events.is_empty() {
            EventTable::standard()
        } else {
            config.events.clone()
        };
        Self {
            table,
            positive_threshold: config.positive_threshold,
        }
    }

    /// Whether an event counts as a like of its item: its rating is at least 4,
    /// or the strength of its type at least the positive threshold, weak ones
    /// included, and it is no dislike.
    #[must_use]
    pub fn is_like(&self, event: &InteractionEvent) -> bool {
        if event.content_id.is_none() {
            return false;
        }
        if event.rating().is_some_and(|rating| rating >= LIKED_RATING) {
            return true;
        }
        let rule = self.table.rule(&event.event_type);
        let meaning = EventMeaning::of(event, rule, self.positive_threshold);
        meaning != EventMeaning::Dislike
            && rule.is_some_and(|rule| rule.strength >= self.positive_threshold)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::LikeRule;
    use crate::domain::{
        event::InteractionEvent, ids::UserId, ranking_config::RankingConfig, time::Timestamp,
    };

    #[test]
    fn likes_are_strong_events_and_high_ratings() {
        let rule = LikeRule::new(&RankingConfig::default());
        for (kind, rating, expected) in [
            ("purchase", None, true),
            ("Product Viewed", None, true),
            ("click", None, true),
            ("rating", Some(4.0), true),
            ("rating", Some(3.5), false),
            ("purchase", Some(1.0), false),
            ("purchase", Some(3.0), true),
            ("remove_from_cart", None, false),
            ("dislike", None, false),
            ("anything", None, false),
        ] {
            let user = UserId::parse("u").unwrap();
            let mut event = InteractionEvent::new(user, kind, Timestamp::from_micros(0));
            assert!(!rule.is_like(&event), "an event of no item");
            event.content_id = Some("i".into());
            if let Some(rating) = rating {
                event
                    .survey_answers
                    .insert("rating".to_owned(), json!(rating));
            }
            assert_eq!(rule.is_like(&event), expected, "{kind} {rating:?}");
        }
    }

    #[test]
    fn the_ranking_file_says_which_types_are_likes() {
        let likes = |config: &str| {
            let rule = LikeRule::new(&RankingConfig::from_toml(config).unwrap());
            let user = UserId::parse("u").unwrap();
            let mut event = InteractionEvent::new(user, "Lesson Done", Timestamp::from_micros(0));
            event.content_id = Some("i".into());
            let lesson = rule.is_like(&event);
            event.event_type = "view".to_owned();
            (lesson, rule.is_like(&event))
        };
        assert_eq!(likes(""), (false, true));
        assert_eq!(likes("preset = 'reference'"), (false, true));
        let lessons = "events = [{ types = ['lesson done'], strength = 0.9 }]";
        assert_eq!(likes(lessons), (true, true));
        assert_eq!(likes("positive_threshold = 0.5"), (false, false));
    }
}
