//! Conditions on the items of a list.

use super::{
    geo::{Circle, nearest_m},
    item::CatalogueItem,
    tags::TagKey,
};

/// Conditions that every recommended item must meet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restriction {
    /// A canonical label that the item has in any facet.
    pub label: Option<String>,
    /// Tags that the item has, all of them.
    pub must: Vec<TagKey>,
    /// Tags that the item has none of.
    pub must_not: Vec<TagKey>,
    /// The item has one of these types; empty means any.
    pub content_types: Vec<String>,
    /// At least one of the item's places is in this circle.
    pub within: Option<Circle>,
}

impl Restriction {
    /// Whether there are no conditions: the request is unrestricted.
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
