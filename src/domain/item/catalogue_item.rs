//! An item in the form in which catalogues hold it: small, ready for matching and scoring.

use std::{iter, sync::Arc};

use serde_json::{Map, Value};

use super::description::{Item, Tag};
use crate::domain::{
    geo::GeoPoint,
    ids::ContentId,
    tags::{Canonicalizer, ModelKey, TagKey, TagSpelling},
    vector::UnitVector,
};

/// An item with its tags in canonical form. A catalogue holds many of them, so it has few
/// allocations, and shares with others what many items have.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueItem {
    id: ContentId,
    texts: Texts,
    /// As written.
    tags: Box<[ItemTag]>,
    /// The positions in `tags` of the canonical tags, sorted by key, each key once. Empty
    /// if `tags` are all of them in this order.
    canonical_order: Box<[u32]>,
    vector: Option<UnitVector>,
    /// `None` if all of its lists are empty.
    details: Option<Box<Details>>,
    word_count: u32,
    has_image: bool,
}

/// A tag of a [`CatalogueItem`].
#[derive(Clone, Debug, PartialEq)]
pub struct ItemTag {
    spelling: Arc<TagSpelling>,
    weight: f64,
}

/// What few items have.
#[derive(Clone, Debug, PartialEq)]
struct Details {
    /// Sorted by name.
    attributes: Box<[(Arc<str>, Value)]>,
    locations: Box<[GeoPoint]>,
    years: Box<[i32]>,
}

/// Which text of an item.
#[derive(Clone, Copy)]
enum TextField {
    ContentType,
    Title,
    ImageUrl,
    PublicUrl,
    Text,
}

/// The texts of an item in one allocation, in the order of [`TextField`].
#[derive(Clone, Debug, PartialEq)]
struct Texts {
    joined: Box<str>,
    /// Where each but the last one ends. What is beyond 4 GiB, which no source of items
    /// admits, is unreachable.
    ends: [u32; 4],
}

impl Texts {
    fn of(item: &Item) -> Self {
        let texts = [
            &item.content_type,
            &item.title,
            &item.image_url,
            &item.public_url,
            &item.text,
        ];
        let mut joined = String::with_capacity(texts.iter().map(|text| text.len()).sum());
        let ends = texts.map(|text| {
            joined.push_str(text);
            u32::try_from(joined.len()).unwrap_or(u32::MAX)
        });
        let [first, second, third, fourth, _] = ends;
        Self {
            joined: joined.into_boxed_str(),
            ends: [first, second, third, fourth],
        }
    }

    fn get(&self, field: TextField) -> &str {
        let place = field as usize;
        let begin = match place.checked_sub(1) {
            Some(before) => self.ends[before] as usize,
            None => 0,
        };
        let end = self.ends.get(place).map(|end| *end as usize);
        let end = end.unwrap_or(self.joined.len());
        self.joined.get(begin..end).unwrap_or_default()
    }
}

impl Details {
    fn of(
        attributes: Map<String, Value>,
        locations: Vec<GeoPoint>,
        years: Vec<i32>,
        mut name: impl FnMut(&str) -> Arc<str>,
    ) -> Option<Box<Self>> {
        if attributes.is_empty() && locations.is_empty() && years.is_empty() {
            return None;
        }
        // Maps are ordered by name.
        let attributes = attributes.into_iter();
        let attributes = attributes.map(|(given, value)| (name(&given), value));
        Some(Box::new(Self {
            attributes: attributes.collect(),
            locations: locations.into(),
            years: years.into(),
        }))
    }
}

impl ItemTag {
    /// The kind of property, as written.
    #[must_use]
    pub fn facet(&self) -> &str {
        self.spelling.facet()
    }

    /// The property, as written.
    #[must_use]
    pub fn label(&self) -> &str {
        self.spelling.label()
    }

    /// Its weight.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Its key in user models.
    #[must_use]
    pub fn model_key(&self) -> &ModelKey {
        self.spelling.model_key()
    }

    /// What it shares with equal tags of other items.
    #[must_use]
    pub fn spelling(&self) -> &Arc<TagSpelling> {
        &self.spelling
    }

    /// Its canonical key.
    #[must_use]
    pub fn key(&self) -> &TagKey {
        self.spelling.key()
    }
}

impl CatalogueItem {
    /// Prepares an item. If it has a canonical tag twice, the last weight counts.
    /// If it has an image URL, it has an image.
    #[must_use]
    pub fn new(item: Item, canonical: &Canonicalizer) -> Self {
        let spelling = |facet: &str, label: &str| {
            Arc::new(TagSpelling::new(facet, label, canonical, |_| None))
        };
        Self::sharing(item, spelling, |name: &str| Arc::from(name))
    }

    /// Like [`CatalogueItem::new`]. `spelling` returns the shared form of a facet and a
    /// label, and `name` that of an attribute's name.
    #[must_use]
    pub fn sharing(
        item: Item,
        mut spelling: impl FnMut(&str, &str) -> Arc<TagSpelling>,
        name: impl FnMut(&str) -> Arc<str>,
    ) -> Self {
        let tags = item.tags.iter().map(|tag| ItemTag {
            spelling: spelling(&tag.facet, &tag.label),
            weight: tag.weight,
        });
        let tags: Box<[ItemTag]> = tags.collect();
        Self {
            texts: Texts::of(&item),
            canonical_order: canonical_order(&tags),
            tags,
            word_count: item.word_count,
            has_image: item.has_image || !item.image_url.is_empty(),
            id: item.id,
            vector: item.vector,
            details: Details::of(item.attributes, item.locations, item.years, name),
        }
    }

    /// The item as its catalogue describes it.
    #[must_use]
    pub fn to_item(&self) -> Item {
        let tags = self.tags.iter().map(|tag| Tag {
            facet: tag.facet().to_owned(),
            label: tag.label().to_owned(),
            weight: tag.weight,
        });
        let attributes = self.attributes();
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.clone()));
        Item {
            id: self.id.clone(),
            content_type: self.content_type().to_owned(),
            title: self.title().to_owned(),
            text: self.text().to_owned(),
            tags: tags.collect(),
            word_count: self.word_count,
            has_image: self.has_image,
            locations: self.locations().to_vec(),
            image_url: self.image_url().to_owned(),
            public_url: self.public_url().to_owned(),
            years: self.years().to_vec(),
            vector: self.vector.clone(),
            attributes: attributes.collect(),
        }
    }

    /// Whether [`CatalogueItem::to_item`] would return an equal item.
    #[must_use]
    pub fn is_described_by(&self, item: &Item) -> bool {
        let Item {
            id,
            content_type,
            title,
            text,
            tags,
            word_count,
            has_image,
            locations,
            image_url,
            public_url,
            years,
            vector,
            attributes,
        } = item;
        let is_same_tag = |(own, tag): (&ItemTag, &Tag)| {
            own.weight == tag.weight && own.facet() == tag.facet && own.label() == tag.label
        };
        let attributes = attributes.iter().map(|(name, value)| (&**name, value));
        self.id == *id
            && self.content_type() == content_type
            && self.title() == title
            && self.text() == text
            && self.image_url() == image_url
            && self.public_url() == public_url
            && self.word_count == *word_count
            && self.has_image == *has_image
            && self.locations() == locations
            && self.years() == years
            && self.vector == *vector
            && self.tags.len() == tags.len()
            && self.tags.iter().zip(tags).all(is_same_tag)
            && self.attributes().eq(attributes)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ContentId {
        &self.id
    }

    /// Its type.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.texts.get(TextField::ContentType)
    }

    /// Its title.
    #[must_use]
    pub fn title(&self) -> &str {
        self.texts.get(TextField::Title)
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.texts.get(TextField::Text)
    }

    /// URL of its picture; empty if it has none.
    #[must_use]
    pub fn image_url(&self) -> &str {
        self.texts.get(TextField::ImageUrl)
    }

    /// URL of its page; empty if it has none.
    #[must_use]
    pub fn public_url(&self) -> &str {
        self.texts.get(TextField::PublicUrl)
    }

    /// Bytes of its type, title, text and URLs together.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.texts.joined.len()
    }

    /// Length of its text in words.
    #[must_use]
    pub fn word_count(&self) -> u32 {
        self.word_count
    }

    /// Whether it has a picture.
    #[must_use]
    pub fn has_image(&self) -> bool {
        self.has_image
    }

    /// Its places; there can be several.
    #[must_use]
    pub fn locations(&self) -> &[GeoPoint] {
        let details = self.details.as_ref();
        details.map_or(&[], |details| &details.locations)
    }

    /// Years of its creation.
    #[must_use]
    pub fn years(&self) -> &[i32] {
        let details = self.details.as_ref();
        details.map_or(&[], |details| &details.years)
    }

    /// Its vector.
    #[must_use]
    pub fn vector(&self) -> Option<&UnitVector> {
        self.vector.as_ref()
    }

    /// A stored field that is none of the others.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        let attributes = &self.details.as_ref()?.attributes;
        let place = attributes.binary_search_by(|(own, _)| (**own).cmp(name));
        Some(&attributes[place.ok()?].1)
    }

    /// All other stored fields, by name.
    pub fn attributes(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        let attributes = self.shared_attributes().iter();
        attributes.map(|(name, value)| (&**name, value))
    }

    /// The names of the attributes, which items share.
    pub fn attribute_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.shared_attributes().iter().map(|(name, _)| name)
    }

    fn shared_attributes(&self) -> &[(Arc<str>, Value)] {
        let details = self.details.as_ref();
        details.map_or(&[], |details| &details.attributes)
    }

    /// Its tags as written.
    #[must_use]
    pub fn tags(&self) -> &[ItemTag] {
        &self.tags
    }

    /// Its tags in canonical form with their weights, sorted, each once.
    pub fn canonical_tags(&self) -> impl Iterator<Item = (&TagKey, f64)> + Clone {
        // One of the two is empty.
        let as_written = if self.canonical_order.is_empty() {
            &*self.tags
        } else {
            &[]
        };
        let ordered = self.canonical_order.iter();
        let ordered = ordered.map(|place| &self.tags[*place as usize]);
        let all = as_written.iter().chain(ordered);
        all.map(|tag| (tag.key(), tag.weight))
    }

    /// Whether it has a tag.
    #[must_use]
    pub fn has_tag(&self, key: &TagKey) -> bool {
        let found = if self.canonical_order.is_empty() {
            self.tags.binary_search_by(|tag| tag.key().cmp(key))
        } else {
            let key_at = |place: &u32| self.tags[*place as usize].key();
            self.canonical_order
                .binary_search_by(|place| key_at(place).cmp(key))
        };
        found.is_ok()
    }

    /// Whether it has a canonical label in any facet.
    #[must_use]
    pub fn has_label(&self, label: &str) -> bool {
        self.tags.iter().any(|tag| tag.key().label() == label)
    }

    /// The sizes of its own allocations in bytes: not those that it shares with other
    /// items, and not those inside of attributes' values.
    pub fn allocations(&self) -> impl Iterator<Item = usize> {
        let own = [
            ARC_COUNTS_BYTES + size_of::<Self>(),
            ARC_COUNTS_BYTES + self.id.as_str().len(),
            self.texts.joined.len(),
            size_of_val(&*self.tags),
            size_of_val(&*self.canonical_order),
            self.vector
                .as_ref()
                .map_or(0, |vector| vector.as_bytes().len()),
        ];
        let details = self.details.as_ref().map(|details| {
            [
                size_of::<Details>(),
                size_of_val(&*details.attributes),
                size_of_val(&*details.locations),
                size_of_val(&*details.years),
            ]
        });
        own.into_iter().chain(details.into_iter().flatten())
    }
}

/// The two counts of an [`Arc`].
const ARC_COUNTS_BYTES: usize = 2 * size_of::<usize>();

/// The positions of the last tag of each key, sorted by key. Empty if these are all of the
/// tags in their order.
fn canonical_order(tags: &[ItemTag]) -> Box<[u32]> {
    let is_sorted = |(before, tag): (&ItemTag, &ItemTag)| before.key() < tag.key();
    if iter::zip(tags, tags.iter().skip(1)).all(is_sorted) {
        return Box::default();
    }
    let mut order: Vec<u32> = (0..).zip(tags).map(|(place, _)| place).collect();
    let key = |place: &u32| tags[*place as usize].key();
    // Of several equal keys the last one comes first, and stays.
    order.sort_unstable_by(|a, b| key(a).cmp(key(b)).then_with(|| b.cmp(a)));
    order.dedup_by(|later, earlier| key(later) == key(earlier));
    order.into()
}

#[cfg(test)]
mod tests;
