//! An item as a catalogue describes it.

use serde_json::{Map, Value};

use crate::domain::{geo::GeoPoint, ids::ContentId, tags::Canonicalizer, vector::UnitVector};

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
