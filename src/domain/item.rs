//! What can be recommended.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use foldhash::fast::RandomState;
use serde_json::{Map, Value};

use super::{
    geo::GeoPoint,
    ids::ContentId,
    tags::{Canonicalizer, ModelKey, TagKey},
    vector::UnitVector,
};

/// A weighted property of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Tag {
    /// The kind of property.
    pub facet: String,
    /// The property.
    pub label: String,
    /// Its weight, 0 to [`MAX_TAG_WEIGHT`].
    pub weight: f64,
}

/// Largest weight of a tag. Sums over thousands of events stay finite.
pub const MAX_TAG_WEIGHT: f64 = 1e6;

impl Tag {
    /// The rules that this tag breaks, by field. A colon in the facet would make
    /// `facet:label` ambiguous; a label without canonical form never matches.
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

/// An item as the catalogue describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its id.
    pub id: ContentId,
    /// Its type.
    pub content_type: String,
    /// Its title.
    pub title: String,
    /// Its text.
    pub text: String,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Length of its text in words.
    pub word_count: u32,
    /// Whether it has a picture.
    pub has_image: bool,
    /// Its places; there can be several.
    pub locations: Vec<GeoPoint>,
    /// URL of its picture; empty if it has none.
    pub image_url: String,
    /// URL of its page; empty if it has none.
    pub public_url: String,
    /// Years of its creation.
    pub years: Vec<i32>,
    /// Its vector (embedding).
    pub vector: Option<UnitVector>,
    /// All other stored fields.
    pub attributes: Map<String, Value>,
}

impl Item {
    /// An item with an id and nothing else.
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
    /// The key of each of `item.tags` in user models.
    model_keys: Vec<ModelKey>,
    /// Canonical tags with their weights, sorted, each once.
    tags: Vec<(TagKey, f64)>,
}

impl CatalogueItem {
    /// Prepares an item. If it has a canonical tag twice, the last weight counts.
    /// If it has an image URL, it has an image.
    #[must_use]
    pub fn new(mut item: Item, canonical: &Canonicalizer) -> Self {
        item.has_image |= !item.image_url.is_empty();
        item.tags.shrink_to_fit();
        let mut model_keys = Vec::with_capacity(item.tags.len());
        let mut weights = BTreeMap::new();
        for tag in &item.tags {
            // From the joined key, as in user models: both sides split at the
            // same colon, even if the facet contains one.
            let key = canonical.key(&format!("{}:{}", tag.facet, tag.label));
            model_keys.push(ModelKey::new(&tag.facet, &tag.label).sharing(&key));
            weights.insert(key, tag.weight);
        }
        Self {
            item,
            model_keys,
            tags: weights.into_iter().collect(),
        }
    }

    /// Shares the memory of its tags' keys with equal ones that `shared` returns.
    pub fn share_tags(&mut self, shared: impl Fn(&TagKey) -> Option<TagKey>) {
        for (key, _) in &mut self.tags {
            if let Some(shared) = shared(key) {
                *key = shared;
            }
        }
        for model_key in &mut self.model_keys {
            let same = |(key, _): &(TagKey, f64)| key.as_str().cmp(model_key.as_str());
            if let Ok(place) = self.tags.binary_search_by(same) {
                *model_key = model_key.clone().sharing(&self.tags[place].0);
            }
        }
    }

    /// Prepares the next version of this item. Tags that did not change are not
    /// converted again.
    #[must_use]
    pub fn replaced_by(&self, mut item: Item, canonical: &Canonicalizer) -> Self {
        if item.tags != self.item.tags {
            return Self::new(item, canonical);
        }
        item.has_image |= !item.image_url.is_empty();
        Self {
            item,
            model_keys: self.model_keys.clone(),
            tags: self.tags.clone(),
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

    /// Its vector.
    #[must_use]
    pub fn vector(&self) -> Option<&UnitVector> {
        self.item.vector.as_ref()
    }

    /// Its tags as written, each with its key in user models.
    pub fn model_tags(&self) -> impl Iterator<Item = (&ModelKey, &Tag)> {
        self.model_keys.iter().zip(&self.item.tags)
    }

    /// Its tags in canonical form with their weights, sorted, each once.
    #[must_use]
    pub fn canonical_tags(&self) -> &[(TagKey, f64)] {
        &self.tags
    }

    /// Whether it has a tag.
    #[must_use]
    pub fn has_tag(&self, key: &TagKey) -> bool {
        self.tags
            .binary_search_by(|(known, _)| known.cmp(key))
            .is_ok()
    }

    /// Whether it has a canonical label in any facet.
    #[must_use]
    pub fn has_label(&self, label: &str) -> bool {
        self.tags.iter().any(|(key, _)| key.label() == label)
    }
}

/// Items by id. Ids that the catalogue does not have are missing.
#[derive(Clone, Debug, Default)]
pub struct Items(HashMap<ContentId, Arc<CatalogueItem>, RandomState>);

impl Items {
    /// No items.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The item of an id.
    #[must_use]
    pub fn get(&self, id: &ContentId) -> Option<&Arc<CatalogueItem>> {
        self.0.get(id)
    }

    /// All items, in any order.
    pub fn values(&self) -> impl Iterator<Item = &Arc<CatalogueItem>> {
        self.0.values()
    }
}

impl Extend<(ContentId, Arc<CatalogueItem>)> for Items {
    fn extend<I: IntoIterator<Item = (ContentId, Arc<CatalogueItem>)>>(&mut self, items: I) {
        self.0.extend(items);
    }
}

impl FromIterator<(ContentId, Arc<CatalogueItem>)> for Items {
    fn from_iter<I: IntoIterator<Item = (ContentId, Arc<CatalogueItem>)>>(items: I) -> Self {
        Self(items.into_iter().collect())
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
    fn the_last_weight_of_a_repeated_tag_counts() {
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

    /// Takes minutes if each tag is compared with all earlier ones.
    #[test]
    fn many_tags_are_prepared_quickly() {
        let mut item = Item::new("1");
        item.tags = (0..100_000)
            .map(|index| tag("theme", &index.to_string(), 1.0))
            .collect();
        let item = CatalogueItem::new(item, &Canonicalizer::default());
        assert_eq!(item.canonical_tags().len(), 100_000);
    }

    #[test]
    fn an_image_url_implies_an_image() {
        let mut item = Item::new("1");
        item.image_url = "https://a.example/1.jpg".into();
        assert!(
            CatalogueItem::new(item, &Canonicalizer::default())
                .item()
                .has_image
        );
    }
}
