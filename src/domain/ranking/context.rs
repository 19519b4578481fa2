//! The items at hand: those of a session, a basket, a product page.

use std::{collections::HashSet, sync::Arc};

use super::interest::{Interest, MAX_LIKED_ITEMS};
use crate::domain::{
    ids::ContentId,
    item::CatalogueItem,
    tags::{TagKey, canonical_facet},
    vector::UnitVector,
};

/// The weight of an item at hand, as a liked item and in the interest list.
const CONTEXT_WEIGHT: f64 = 1.0;
/// The weight of what is stored of the user, beside a context.
const STORED_SHARE: f64 = 0.5;

/// An item at hand.
#[derive(Clone, Debug)]
pub struct ContextItem {
    /// Its id.
    pub id: ContentId,
    /// Its content; `None` if it could not be read.
    pub content: Option<Arc<CatalogueItem>>,
}

impl Interest {
    /// This interest together with the items at hand, the latest first, each once:
    ///
    /// ```text
    /// recent    = the context, each with strength 1, then the stored list
    /// positives = the context, each with weight 1, and 0.5 · stored
    /// taste     = normalised(0.5 · stored + mean of the context's vectors)
    /// affinity  = 0.5 · stored + Σ the context's tags, the largest scaled to 1
    /// recency   = the vector of the latest item at hand that has one
    /// ```
    ///
    /// An item that is at hand and stored counts as at hand. Tags of `untasted_facets`
    /// are left out. Without items, the interest stays as it is.
    #[must_use]
    pub fn with_context(mut self, context: &[ContextItem], untasted_facets: &[String]) -> Self {
        if context.is_empty() {
            return self;
        }
        let at_hand: HashSet<&ContentId> = context.iter().map(|item| &item.id).collect();
        let ids = context.iter().map(|item| (item.id.clone(), CONTEXT_WEIGHT));
        let stored = std::mem::take(&mut self.recent);
        let stored = stored.into_iter().filter(|(id, _)| !at_hand.contains(id));
        self.recent = ids.clone().chain(stored).collect();

        let stored = std::mem::take(&mut self.positives);
        let stored = stored.into_iter().filter(|(id, _)| !at_hand.contains(id));
        let stored = stored.map(|(id, weight)| (id, STORED_SHARE * weight));
        self.positives = ids.chain(stored).collect();
        self.positives
            .sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        self.positives.truncate(MAX_LIKED_ITEMS);

        let contents = || context.iter().filter_map(|item| item.content.as_deref());
        let vectors: Vec<&UnitVector> = contents().filter_map(CatalogueItem::vector).collect();
        if let Some(latest) = vectors.first() {
            self.recency = Some((*latest).clone());
            let taste = blended(self.taste.as_ref(), &vectors);
            self.taste = taste.or(self.taste);
        }

        let untasted: Vec<String> = untasted_facets
            .iter()
            .map(|facet| canonical_facet(facet))
            .collect();
        let is_tasted = |tag: &TagKey| {
            let facet = tag.as_str().split_once(':').map_or("", |(facet, _)| facet);
            !untasted.iter().any(|other| other == facet)
        };
        let tags = contents().flat_map(CatalogueItem::canonical_tags);
        let tags = tags.filter(|(tag, _)| is_tasted(tag));
        self.affinity = self.affinity.blended(STORED_SHARE, tags);
        self
    }
}

/// `normalised(0.5 · stored + mean of the others)`. `None` if that has no direction.
/// Vectors of another size than the first one are ignored.
fn blended(stored: Option<&UnitVector>, vectors: &[&UnitVector]) -> Option<UnitVector> {
    let size = vectors.first()?.size();
    let fitting = || vectors.iter().filter(|vector| vector.size() == size);
    let share = 1.0 / fitting().count() as f64;
    let mut sum = vec![0.0_f64; size];
    let stored = stored.filter(|stored| stored.size() == size);
    let stored = stored.map(|stored| (STORED_SHARE, stored));
    let parts = stored
        .into_iter()
        .chain(fitting().map(|vector| (share, *vector)));
    for (weight, vector) in parts {
        for (sum, value) in sum.iter_mut().zip(vector.values()) {
            *sum += weight * f64::from(value);
        }
    }
    UnitVector::from_f64(&sum)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::ContextItem;
    use crate::domain::{
        ids::UserId,
        item::{CatalogueItem, Item, Tag},
        ranking::interest::{IgnoredItems, Interest, SeenPolicy},
        tags::Canonicalizer,
        user_signals::UserSignals,
        vector::UnitVector,
    };

    fn at_hand(id: &str, vector: Option<[f32; 2]>, tags: &[(&str, &str, f64)]) -> ContextItem {
        let mut item = Item::new(id);
        item.vector = vector.and_then(|vector| UnitVector::new(&vector));
        item.tags = tags
            .iter()
            .map(|(facet, label, weight)| Tag {
                facet: (*facet).into(),
                label: (*label).into(),
                weight: *weight,
            })
            .collect();
        ContextItem {
            id: id.into(),
            content: Some(Arc::new(CatalogueItem::new(
                item,
                &Canonicalizer::default(),
            ))),
        }
    }

    fn stored() -> Interest {
        let mut signals = UserSignals::empty(UserId::parse("u").unwrap());
        signals.positives.insert("liked".into(), 0.6);
        signals.positives.insert("both".into(), 0.4);
        signals.tag_affinity.insert("theme:clocks".into(), 1.0);
        signals.tag_affinity.insert("theme:rare".into(), 0.2);
        signals.taste_vector = UnitVector::new(&[1.0, 0.0]);
        signals.recency_vector = UnitVector::new(&[1.0, 0.0]);
        let canonical = &Canonicalizer::default();
        let mut interest = Interest::of_user(
            &signals,
            canonical,
            IgnoredItems::ScoredLower,
            SeenPolicy::Hide,
        );
        interest.recent = vec![("both".into(), 0.5), ("liked".into(), 1.0)];
        interest
    }

    #[test]
    fn stored_likes_count_half_beside_the_items_at_hand() {
        let context = [
            at_hand("new", Some([0.0, 1.0]), &[("Theme", "Boats", 1.0)]),
            at_hand(
                "both",
                None,
                &[("theme", "clocks", 0.5), ("size", "L", 1.0)],
            ),
        ];
        let interest = stored().with_context(&context, &["Size".to_owned()]);
        let weights = |list: &[(crate::domain::ids::ContentId, f64)]| -> Vec<(String, f64)> {
            list.iter()
                .map(|(id, weight)| (id.to_string(), *weight))
                .collect()
        };
        let expected = |list: &[(&str, f64)]| -> Vec<(String, f64)> {
            list.iter()
                .map(|(id, weight)| ((*id).to_owned(), *weight))
                .collect()
        };
        assert_eq!(
            weights(&interest.recent),
            expected(&[("new", 1.0), ("both", 1.0), ("liked", 1.0)])
        );
        assert_eq!(
            weights(&interest.positives),
            expected(&[("both", 1.0), ("new", 1.0), ("liked", 0.3)])
        );
        // 0.5 · (1, 0) + (0, 1): one of two items has a vector.
        let taste = UnitVector::new(&[0.5, 1.0]).unwrap();
        assert_eq!(interest.taste, Some(taste));
        assert_eq!(interest.recency, UnitVector::new(&[0.0, 1.0]));
        let tag = |key: &str| interest.affinity.weight(&Canonicalizer::default().key(key));
        assert_eq!(tag("theme:boats"), 1.0);
        assert_eq!(tag("theme:clocks"), 1.0);
        assert_eq!(tag("theme:rare"), 0.1);
        assert_eq!(tag("size:l"), 0.0);
        assert!((interest.affinity.total() - 2.1).abs() < 1e-12);
    }

    #[test]
    fn a_visitor_without_stored_likes_has_the_taste_of_the_items_at_hand() {
        let context = [
            at_hand("a", Some([1.0, 0.0]), &[("theme", "clocks", 0.25)]),
            at_hand("b", Some([0.0, 1.0]), &[("theme", "boats", 0.5)]),
        ];
        let interest = Interest::nobody().with_context(&context, &[]);
        assert_eq!(interest.taste, UnitVector::new(&[1.0, 1.0]));
        assert_eq!(interest.recency, UnitVector::new(&[1.0, 0.0]));
        let tag = |key: &str| interest.affinity.weight(&Canonicalizer::default().key(key));
        assert_eq!((tag("theme:boats"), tag("theme:clocks")), (1.0, 0.5));
        assert!(!interest.is_cold());
    }

    #[test]
    fn items_that_could_not_be_read_still_stand_in_the_interest_list() {
        let unread = ContextItem {
            id: "x".into(),
            content: None,
        };
        let interest = stored().with_context(&[unread], &[]);
        assert_eq!(interest.recent[0], ("x".into(), 1.0));
        assert_eq!(interest.taste, UnitVector::new(&[1.0, 0.0]));
        let unchanged = stored().with_context(&[], &[]);
        assert_eq!(unchanged.positives, stored().positives);
    }
}
