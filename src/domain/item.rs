//! What can be recommended.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    geo::GeoPoint,
    ids::ContentId,
    shared_text::SharedText,
    tags::{Canonicalizer, TagKey, folded_key},
    vector::UnitVector,
};

/// A weighted property of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Tag {
    /// What kind of property.
    pub facet: String,
    /// The property.
    pub label: String,
    /// How much of it, 0 to [`MAX_TAG_WEIGHT`].
    pub weight: f64,
}

/// Largest weight of a tag: sums over thousands of events stay finite.
pub const MAX_TAG_WEIGHT: f64 = 1e6;

impl Tag {
    /// The rules that this tag breaks, by field. A facet without colon keeps
    /// `facet:label` readable; a label that has no canonical form can never be
    /// matched.
    #[must_use]
    pub fn broken_rules(&self) -> Vec<(&'static str, &'static str)> {
        let mut broken = Vec::new();
        if self.facet.contains(':') {
            broken.push(("facet", "must hold no colon"));
        }
        if Canonicalizer::default().label(&self.label).is_empty() {
            broken.push(("label", "must hold a letter, a digit or a symbol"));
        }
        if !(0.0..=MAX_TAG_WEIGHT).contains(&self.weight) {
            broken.push(("weight", "must be 0 to 1000000"));
        }
        broken
    }
}

/// A thing that can be recommended, as its catalogue describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its id.
    pub id: ContentId,
    /// What kind of thing it is.
    pub content_type: String,
    /// Its title.
    pub title: String,
    /// Its text.
    pub text: String,
    /// What it is about.
    pub tags: Vec<Tag>,
    /// Length of what there is to read, in words.
    pub word_count: u32,
    /// Whether it shows a picture.
    pub has_image: bool,
    /// Where it is; several places are possible.
    pub locations: Vec<GeoPoint>,
    /// Address of its picture; empty if there is none.
    pub image_url: String,
    /// Address of its page; empty if there is none.
    pub public_url: String,
    /// Years it dates from.
    pub years: Vec<i32>,
    /// Its embedding.
    pub vector: Option<UnitVector>,
    /// What else is stored with it.
    pub attributes: Map<String, Value>,
}

impl Item {
    /// An item of which only the id is known.
    #[must_use]
    pub fn new(id: impl Into<ContentId>) -> Self {
        Self {
            id: id.into(),
            content_type: String::new(),
            title: String::new(),
            text: String::new(),
            tags: Vec::new(),
            word_count: 0,
            has_image: false,
            locations: Vec::new(),
            image_url: String::new(),
            public_url: String::new(),
            years: Vec::new(),
            vector: None,
            attributes: Map::new(),
        }
    }
}

/// An item with its tags in canonical form, ready for matching and scoring.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueItem {
    item: Item,
    /// Of each of the item's tags, as it enters a user model.
    model_keys: Vec<SharedText>,
    tags: Vec<(TagKey, f64)>,
    labels: BTreeSet<String>,
}

impl CatalogueItem {
    /// Prepares an item. Of a canonical tag that it carries twice, the last
    /// weight counts. An image address means that it has an image.
    #[must_use]
    pub fn new(mut item: Item, canonical: &Canonicalizer) -> Self {
        item.has_image |= !item.image_url.is_empty();
        let model_key = |tag: &Tag| SharedText::of(folded_key(&tag.facet, &tag.label));
        let model_keys = item.tags.iter().map(model_key).collect();
        let mut weights = BTreeMap::new();
        for tag in &item.tags {
            // By the written key, as it enters a user model: both sides then
            // split at the same colon, even if a facet holds one.
            let key = canonical.key(&format!("{}:{}", tag.facet, tag.label));
            weights.insert(key, tag.weight);
        }
        let tags: Vec<(TagKey, f64)> = weights.into_iter().collect();
        let labels = tags.iter().map(|(key, _)| key.label().to_owned()).collect();
        Self {
            item,
            model_keys,
            tags,
            labels,
        }
    }

    /// The item as its catalogue describes it.
    #[must_use]
    pub fn item(&self) -> &Item {
        &self.item
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ContentId {
        &self.item.id
    }

    /// Its embedding.
    #[must_use]
    pub fn vector(&self) -> Option<&UnitVector> {
        self.item.vector.as_ref()
    }

    /// Its tags as they are written, each with its key in user models.
    pub fn model_tags(&self) -> impl Iterator<Item = (&SharedText, &Tag)> {
        self.model_keys.iter().zip(&self.item.tags)
    }

    /// Its tags in canonical form with their weights, sorted, each once.
    #[must_use]
    pub fn canonical_tags(&self) -> &[(TagKey, f64)] {
        &self.tags
    }

    /// Whether it carries a tag.
    #[must_use]
    pub fn has_tag(&self, key: &TagKey) -> bool {
        self.tags
            .binary_search_by(|(known, _)| known.cmp(key))
            .is_ok()
    }

    /// Whether it carries a canonical label in any facet.
    #[must_use]
    pub fn has_label(&self, label: &str) -> bool {
        self.labels.contains(label)
    }
}

#[cfg(test)]
mod tests {
    use super::{CatalogueItem, Item, Tag};
    use crate::domain::tags::Canonicalizer;

    fn tag(facet: &str, label: &str, weight: f64) -> Tag {
        Tag {
            facet: facet.into(),
            label: label.into(),
            weight,
        }
    }

    #[test]
    fn of_a_tag_carried_twice_the_last_weight_counts() {
        let canonical = Canonicalizer::default();
        let mut item = Item::new("1");
        item.tags = vec![
            tag("Theme", "Café", 0.2),
            tag("theme", "other", 1.0),
            tag("theme", "CAFE", 0.7),
        ];
        let item = CatalogueItem::new(item, &canonical);
        let tags: Vec<_> = item
            .canonical_tags()
            .iter()
            .map(|(key, weight)| (key.as_str(), *weight))
            .collect();
        assert_eq!(tags, [("theme:cafe", 0.7), ("theme:other", 1.0)]);
        assert!(item.has_label("cafe") && item.has_tag(&canonical.key("THEME:Other")));
    }

    /// Takes minutes if each tag is compared with all before it.
    #[test]
    fn any_number_of_tags_is_prepared() {
        let mut item = Item::new("1");
        item.tags = (0..100_000)
            .map(|index| tag("theme", &index.to_string(), 1.0))
            .collect();
        let item = CatalogueItem::new(item, &Canonicalizer::default());
        assert_eq!(item.canonical_tags().len(), 100_000);
    }

    #[test]
    fn an_image_address_is_an_image() {
        let mut item = Item::new("1");
        item.image_url = "https://a.example/1.jpg".into();
        assert!(
            CatalogueItem::new(item, &Canonicalizer::default())
                .item()
                .has_image
        );
    }
}
