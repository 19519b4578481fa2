//! What is known of a user.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    ids::{ContentId, UserId},
    time::Timestamp,
    vector::UnitVector,
};

/// How a user behaves. Shares and means are rounded to 4 places, 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behavior {
    /// Items seen.
    pub n_views: usize,
    /// Items liked.
    pub n_positive: usize,
    /// Items disliked, soft negatives included.
    pub n_negative: usize,
    /// Mean dwell ratio over the items seen.
    pub avg_dwell_ratio: f64,
    /// Share of the items seen that were completed.
    pub completion_rate: f64,
    /// Share of the items seen that were visited more than once.
    pub revisit_rate: f64,
    /// Share of the items seen that were liked.
    pub depth: f64,
}

/// The user model: all that ranking needs to know of a user.
#[derive(Clone, Debug, PartialEq)]
pub struct UserSignals {
    /// Whose model this is.
    pub user_id: UserId,
    /// Liked items with their decayed strength, above 0.
    pub positives: BTreeMap<ContentId, f64>,
    /// Disliked items and soft negatives with their decayed strength.
    pub negatives: BTreeMap<ContentId, f64>,
    /// Items engaged with, sorted bytewise.
    pub viewed: Vec<ContentId>,
    /// The same, the latest first.
    pub recent_views: Vec<ContentId>,
    /// Tags of liked items as lower-case `facet:label`; the top one is 1.
    pub tag_affinity: BTreeMap<String, f64>,
    /// Tags of disliked items, likewise.
    pub tag_aversion: BTreeMap<String, f64>,
    /// Where the liked items point to.
    pub taste_vector: Option<UnitVector>,
    /// The vector of the latest item.
    pub recency_vector: Option<UnitVector>,
    /// How the user behaves.
    pub behavior: Behavior,
    /// Profile answers by field.
    pub demographics: Map<String, Value>,
    /// The time that the model was built for; `None` for the empty model.
    pub built_at: Option<Timestamp>,
    /// How many events it was built from.
    pub event_count: usize,
}

impl UserSignals {
    /// The model of a user of whom nothing is known.
    #[must_use]
    pub fn empty(user_id: UserId) -> Self {
        Self {
            user_id,
            positives: BTreeMap::new(),
            negatives: BTreeMap::new(),
            viewed: Vec::new(),
            recent_views: Vec::new(),
            tag_affinity: BTreeMap::new(),
            tag_aversion: BTreeMap::new(),
            taste_vector: None,
            recency_vector: None,
            behavior: Behavior::default(),
            demographics: Map::new(),
            built_at: None,
            event_count: 0,
        }
    }

    /// Whether the user has liked nothing yet.
    #[must_use]
    pub fn is_cold(&self) -> bool {
        self.positives.is_empty()
    }

    /// Whether it says nothing at all: no event went into it, and nothing
    /// came from elsewhere.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.event_count == 0
            && self.positives.is_empty()
            && self.negatives.is_empty()
            && self.viewed.is_empty()
            && self.tag_affinity.is_empty()
            && self.demographics.is_empty()
    }

    /// Whether the user has met an item: liked, disliked, ignored or viewed.
    #[must_use]
    pub fn has_seen(&self, id: &ContentId) -> bool {
        self.positives.contains_key(id)
            || self.negatives.contains_key(id)
            || self.viewed.binary_search(id).is_ok()
    }

    /// The items that the user has met, each once: the viewed ones with the
    /// latest first, then those shown and ignored, the latest first (their
    /// weights only fade), ties by id.
    pub fn seen(&self) -> impl Iterator<Item = &ContentId> {
        let liked = self.positives.iter();
        let mut others: Vec<(&ContentId, f64)> = self
            .negatives
            .iter()
            .chain(liked.filter(|(id, _)| !self.negatives.contains_key(*id)))
            .filter(|(id, _)| self.viewed.binary_search(id).is_err())
            .map(|(id, weight)| (id, *weight))
            .collect();
        others.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        self.recent_views
            .iter()
            .chain(others.into_iter().map(|(id, _)| id))
    }
}

#[cfg(test)]
mod tests {
    use super::UserSignals;
    use crate::domain::ids::{ContentId, UserId};

    #[test]
    fn an_item_that_is_both_liked_and_disliked_is_seen_once() {
        let mut model = UserSignals::empty(UserId::parse("u").unwrap());
        for (id, liked, disliked) in [
            ("a", Some(0.9), Some(0.1)),
            ("b", None, Some(0.5)),
            ("c", Some(0.2), None),
        ] {
            model
                .positives
                .extend(liked.map(|weight| (ContentId::from(id), weight)));
            model
                .negatives
                .extend(disliked.map(|weight| (ContentId::from(id), weight)));
        }
        let seen: Vec<_> = model.seen().map(ContentId::as_str).collect();
        assert_eq!(seen, ["b", "c", "a"]);
    }
}
