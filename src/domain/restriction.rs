//! What a request allows in its list.

use super::{
    geo::{Circle, nearest_m},
    item::CatalogueItem,
    tags::TagKey,
};

/// Conditions that every recommended item must meet, all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restriction {
    /// A canonical label that the item carries in any facet.
    pub label: Option<String>,
    /// Tags that the item carries, all.
    pub must: Vec<TagKey>,
    /// Tags that the item does not carry, none.
    pub must_not: Vec<TagKey>,
    /// The item is of one of these types; empty = any.
    pub content_types: Vec<String>,
    /// One of the item's places is in this circle.
    pub within: Option<Circle>,
}

impl Restriction {
    /// Whether it allows everything: the request is an open one.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an item meets all conditions.
    #[must_use]
    pub fn admits(&self, item: &CatalogueItem) -> bool {
        self.label
            .as_ref()
            .is_none_or(|label| item.has_label(label))
            && self.must.iter().all(|tag| item.has_tag(tag))
            && !self.must_not.iter().any(|tag| item.has_tag(tag))
            && (self.content_types.is_empty()
                || self.content_types.contains(&item.item().content_type))
            && self.within.is_none_or(|circle| {
                nearest_m(circle.center, &item.item().locations)
                    .is_some_and(|distance| distance <= circle.radius_m)
            })
    }
}
