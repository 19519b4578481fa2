//! What the items of a catalogue have.

use std::fmt;

use super::item::Item;

/// Numbers of items by what they have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemCounts {
    /// All items.
    pub items: usize,
    /// Those with a title.
    pub with_title: usize,
    /// Those with at least one tag.
    pub with_tags: usize,
    /// Those with a vector.
    pub with_vector: usize,
    /// Those with the URL of a picture, or marked as having one.
    pub with_picture: usize,
}

/// What to know about a catalogue whose items have no tags and no vectors.
pub const NO_FEATURES: &str = "no item has tags or a vector: until users' events connect the \
                               items, lists are random, and no item is like another";

impl ItemCounts {
    /// Counts an item.
    pub fn add(&mut self, item: &Item) {
        self.items += 1;
        self.with_title += usize::from(!item.title.is_empty());
        self.with_tags += usize::from(!item.tags.is_empty());
        self.with_vector += usize::from(item.vector.is_some());
        self.with_picture += usize::from(item.has_image || !item.image_url.is_empty());
    }

    /// Whether there are items, and nothing in them distinguishes one from another.
    #[must_use]
    pub fn lack_features(&self) -> bool {
        self.items > 0 && self.with_tags == 0 && self.with_vector == 0
    }
}

impl fmt::Display for ItemCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} items: {} with a title, {} with tags, {} with a vector, {} with a picture",
            self.items, self.with_title, self.with_tags, self.with_vector, self.with_picture
        )
    }
}
