//! The user model.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    associations::InterestList,
    encoded_form::EncodedForm,
    ids::{ContentId, UserId},
    time::Timestamp,
    vector::UnitVector,
};

/// Behavior of a user. Shares and means are between 0 and 1, rounded to 4
/// places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behavior {
    /// Number of viewed items.
    pub n_views: usize,
    /// Number of liked items.
    pub n_positive: usize,
    /// Number of disliked items, including soft negatives.
    pub n_negative: usize,
    /// Mean dwell ratio of the viewed items.
    pub avg_dwell_ratio: f64,
    /// Share of the viewed items that were completed.
    pub completion_rate: f64,
    /// Share of the viewed items that were visited more than once.
    pub revisit_rate: f64,
    /// Share of the viewed items that were liked.
    pub depth: f64,
}

/// The user model: all that ranking needs to know about a user.
#[derive(Clone, Debug, PartialEq)]
pub struct UserSignals {
    /// The user.
    pub user_id: UserId,
    /// Liked items with their decayed strength, above 0.
    pub positives: BTreeMap<ContentId, f64>,
    /// Disliked items and soft negatives with their decayed strength.
    pub negatives: BTreeMap<ContentId, f64>,
    /// Items with an engagement, sorted bytewise.
    pub viewed: Vec<ContentId>,
    /// The same items, the latest first.
    pub recent_views: Vec<ContentId>,
    /// Tags of liked items as lower-case `facet:label`; the largest weight is 1.
    pub tag_affinity: BTreeMap<String, f64>,
    /// Tags of disliked items, in the same form.
    pub tag_aversion: BTreeMap<String, f64>,
    /// Weighted mean direction of the liked items.
    pub taste_vector: Option<UnitVector>,
    /// The vector of the latest item.
    pub recency_vector: Option<UnitVector>,
    /// Behavior of the user.
    pub behavior: Behavior,
    /// Profile answers by field.
    pub demographics: Map<String, Value>,
    /// The time as of which the model was built; `None` for the empty model.
    pub built_at: Option<Timestamp>,
    /// Number of events that it was built from.
    pub event_count: usize,
    /// Items that the user is done with, sorted bytewise.
    pub done: Vec<ContentId>,
    /// The items that the user recently engaged with and did not dislike; empty if
    /// associations are not kept.
    pub interests: InterestList,
    /// What replies hold of it, without vectors, as they encode it.
    pub encoded: EncodedForm,
}

impl UserSignals {
    /// The model of an unknown user.
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
            done: Vec::new(),
            interests: InterestList::default(),
            encoded: EncodedForm::default(),
        }
    }

    /// Whether the user has liked nothing yet.
    #[must_use]
    pub fn is_cold(&self) -> bool {
        self.positives.is_empty()
    }

    /// The vectors of the model.
    pub fn vectors(&self) -> impl Iterator<Item = &UnitVector> {
        [&self.taste_vector, &self.recency_vector]
            .into_iter()
            .flatten()
    }

    /// Whether it is empty: built from no event, and without data from other
    /// programs.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.event_count == 0
            && self.positives.is_empty()
            && self.negatives.is_empty()
            && self.viewed.is_empty()
            && self.tag_affinity.is_empty()
            && self.demographics.is_empty()
    }

    /// Whether the user has seen an item: liked, disliked, ignored or viewed it.
    #[must_use]
    pub fn has_seen(&self, id: &ContentId) -> bool {
        self.positives.contains_key(id)
            || self.negatives.contains_key(id)
            || self.viewed.binary_search(id).is_ok()
    }

    /// Whether the user has engaged with an item: liked or viewed it.
    #[must_use]
    pub fn has_engaged(&self, id: &ContentId) -> bool {
        self.positives.contains_key(id) || self.viewed.binary_search(id).is_ok()
    }

    /// The items that the user has engaged with, each once: viewed items, the
    /// latest first; then liked ones that another program did not list as viewed.
    pub fn engaged(&self) -> impl Iterator<Item = &ContentId> {
        let liked = self.positives.keys();
        let unlisted = liked.filter(|id| self.viewed.binary_search(id).is_err());
        self.recent_views.iter().chain(unlisted)
    }

    /// The items that the user engaged with and dislikes, by id.
    pub fn disliked(&self) -> impl Iterator<Item = &ContentId> {
        self.negatives.keys().filter(|id| self.has_engaged(id))
    }

    /// The items that the user dislikes or is done with, each once.
    pub fn disliked_or_done(&self) -> impl Iterator<Item = &ContentId> {
        let done = self.done.iter();
        let other = self
            .disliked()
            .filter(|id| self.done.binary_search(id).is_err());
        done.chain(other)
    }

    /// Items that were displayed and ignored, with their decayed strength.
    pub fn ignored(&self) -> impl Iterator<Item = (&ContentId, f64)> {
        self.negatives
            .iter()
            .filter(|(id, _)| !self.has_engaged(id))
            .map(|(id, weight)| (id, *weight))
    }

    /// The items that the user has seen, each once: viewed items, the latest
    /// first; then displayed and ignored ones by weight, which decays, so the
    /// latest first, ties by id.
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
    fn displayed_items_are_seen_and_not_engaged_with() {
        let mut model = UserSignals::empty(UserId::parse("u").unwrap());
        model.viewed = vec!["a".into(), "b".into()];
        model.recent_views = vec!["b".into(), "a".into()];
        model.positives.insert("c".into(), 0.9);
        model.negatives.insert("a".into(), 0.5);
        model.negatives.insert("d".into(), 0.3);
        let engaged: Vec<_> = model.engaged().map(ContentId::as_str).collect();
        assert_eq!(engaged, ["b", "a", "c"]);
        assert!(engaged.iter().all(|id| model.has_engaged(&(*id).into())));
        let ignored: Vec<_> = model.ignored().collect();
        assert_eq!(ignored, [(&"d".into(), 0.3)]);
        assert!(model.has_seen(&"d".into()) && !model.has_engaged(&"d".into()));
    }

    #[test]
    fn an_item_that_is_liked_and_disliked_is_listed_once_as_seen() {
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
