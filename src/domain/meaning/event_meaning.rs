//! What a single event says.

use super::rule::{EventRule, rating_strength};
use crate::domain::event::InteractionEvent;

/// What a single event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventMeaning {
    /// The user disliked an item.
    Dislike,
    /// The user liked an item.
    Like,
    /// The user viewed an item, or did something without strength.
    View,
    /// Items were on display.
    Impression,
    /// The user answered a question.
    Profile,
    /// The user searched.
    Search,
    /// Nothing that a list could use.
    None,
}

impl EventMeaning {
    /// All meanings.
    pub const ALL: [Self; 7] = [
        Self::Dislike,
        Self::Like,
        Self::View,
        Self::Impression,
        Self::Profile,
        Self::Search,
        Self::None,
    ];

    /// The first meaning that fits an event whose type has `rule`.
    ///
    /// Only an event with a `content_id` says something about an item; a `clicked_id`
    /// alone does not. Such an event is a dislike if its rating, or without one its
    /// rule, is negative; a like if its rating, or its rule unless weak, reaches
    /// `positive_threshold`; else a view. Answers that are null are no answers.
    #[must_use]
    pub fn of(event: &InteractionEvent, rule: Option<EventRule>, positive_threshold: f64) -> Self {
        if event.content_id.is_some() {
            let rating = event.rating().map(rating_strength);
            let is_negative = match rating {
                Some(rating) => rating < 0.0,
                None => rule.is_some_and(|rule| rule.strength < 0.0),
            };
            let liked = rule
                .filter(|rule| !rule.weak)
                .map(|rule| rule.strength)
                .into_iter()
                .chain(rating)
                .any(|strength| strength >= positive_threshold);
            if is_negative {
                Self::Dislike
            } else if liked {
                Self::Like
            } else {
                Self::View
            }
        } else if !event.impressions.is_empty() {
            Self::Impression
        } else if event
            .survey_answers
            .values()
            .any(|answer| !answer.is_null())
        {
            Self::Profile
        } else if event
            .query_text
            .as_ref()
            .is_some_and(|query| !query.trim().is_empty())
        {
            Self::Search
        } else {
            Self::None
        }
    }

    /// Its name in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dislike => "dislike",
            Self::Like => "like",
            Self::View => "view",
            Self::Impression => "impression",
            Self::Profile => "profile",
            Self::Search => "search",
            Self::None => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::EventMeaning;
    use crate::domain::{
        event::InteractionEvent, ids::UserId, meaning::EventTable, time::Timestamp,
    };

    fn event(event_type: &str) -> InteractionEvent {
        let user = UserId::parse("u").unwrap();
        InteractionEvent::new(user, event_type, Timestamp::from_micros(0))
    }

    fn of_item(event_type: &str, rating: Option<f64>) -> InteractionEvent {
        let mut event = event(event_type);
        event.content_id = Some("1".into());
        if let Some(rating) = rating {
            event.survey_answers.insert("rating".into(), json!(rating));
        }
        event
    }

    fn meaning(event: &InteractionEvent) -> EventMeaning {
        let table = EventTable::standard();
        EventMeaning::of(event, table.rule(&event.event_type), 0.3)
    }

    #[test]
    fn an_event_of_an_item_is_a_dislike_a_like_or_a_view() {
        for (event_type, rating, expected) in [
            ("dislike", None, EventMeaning::Dislike),
            ("Order Refunded", None, EventMeaning::Dislike),
            ("review", Some(2.0), EventMeaning::Dislike),
            ("purchase", Some(1.0), EventMeaning::Dislike),
            ("purchase", None, EventMeaning::Like),
            ("purchase", Some(3.0), EventMeaning::Like),
            ("review", Some(4.0), EventMeaning::Like),
            ("dislike", Some(5.0), EventMeaning::Like),
            ("view", None, EventMeaning::View),
            ("view", Some(3.5), EventMeaning::View),
            ("remove_from_cart", None, EventMeaning::View),
            ("dislike", Some(3.0), EventMeaning::View),
            ("CONTENT_VIEW_STARTED", None, EventMeaning::View),
        ] {
            let event = of_item(event_type, rating);
            assert_eq!(meaning(&event), expected, "{event_type} {rating:?}");
        }
        let purchase = of_item("purchase", None);
        assert_eq!(
            EventMeaning::of(&purchase, None, 0.3),
            EventMeaning::View,
            "a type without a rule"
        );
    }

    #[test]
    fn an_event_of_no_item_is_the_first_of_what_it_holds() {
        let mut full = event("purchase");
        full.clicked_id = Some("1".into());
        assert_eq!(meaning(&full), EventMeaning::None);
        full.query_text = Some("  ".into());
        assert_eq!(meaning(&full), EventMeaning::None);
        full.query_text = Some("clocks".into());
        assert_eq!(meaning(&full), EventMeaning::Search);
        full.survey_answers.insert("age".into(), json!(null));
        assert_eq!(meaning(&full), EventMeaning::Search);
        full.survey_answers.insert("rating".into(), json!(1));
        assert_eq!(meaning(&full), EventMeaning::Profile);
        full.impressions = vec!["2".into()];
        assert_eq!(meaning(&full), EventMeaning::Impression);
        full.content_id = Some("1".into());
        assert_eq!(meaning(&full), EventMeaning::Dislike);
    }

    #[test]
    fn names_differ() {
        let mut names = EventMeaning::ALL.map(EventMeaning::as_str).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 7);
    }
}
