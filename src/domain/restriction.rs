//! Conditions on the items of a list.

use super::{
    filter::ItemFilter,
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
    /// Tags that the item has at least one of; empty means any.
    pub any_of: Vec<TagKey>,
    /// The item has one of these types; empty means any.
    pub content_types: Vec<String>,
    /// At least one of the item's places is in this circle.
    pub within: Option<Circle>,
    /// The item meets this filter.
    pub filter: Option<ItemFilter>,
}

impl Restriction {
    /// Whether there are no conditions: the request is unrestricted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.admits_all_before_filter() && self.filter.is_none()
    }

    /// Whether an item meets all conditions.
    #[must_use]
    pub fn admits(&self, item: &CatalogueItem) -> bool {
        self.admits_before_filter(item) && self.passes_filter(item)
    }

    /// Whether an item meets the filter, if there is one.
    #[must_use]
    pub fn passes_filter(&self, item: &CatalogueItem) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.matches(item))
    }

    /// Whether [`admits_before_filter`](Self::admits_before_filter) holds for every item.
    #[must_use]
    pub fn admits_all_before_filter(&self) -> bool {
        let Self {
            label,
            must,
            must_not,
            any_of,
            content_types,
            within,
            filter: _,
        } = self;
        label.is_none()
            && must.is_empty()
            && must_not.is_empty()
            && any_of.is_empty()
            && content_types.is_empty()
            && within.is_none()
    }

    /// Whether an item meets all other conditions.
    #[must_use]
    pub fn admits_before_filter(&self, item: &CatalogueItem) -> bool {
        self.label
            .as_ref()
            .is_none_or(|label| item.has_label(label))
            && self.must.iter().all(|tag| item.has_tag(tag))
            && !self.must_not.iter().any(|tag| item.has_tag(tag))
            && (self.any_of.is_empty() || self.any_of.iter().any(|tag| item.has_tag(tag)))
            && (self.content_types.is_empty()
                || self
                    .content_types
                    .iter()
                    .any(|admitted| admitted == item.content_type()))
            && self.within.is_none_or(|circle| {
                nearest_m(circle.center, item.locations())
                    .is_some_and(|distance| distance <= circle.radius_m)
            })
    }
}
