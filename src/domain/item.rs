//! What can be recommended.

mod catalogue_item;
mod description;
mod items;

pub use catalogue_item::{CatalogueItem, ItemTag};
pub use description::{Item, MAX_TAG_WEIGHT, Tag};
pub use items::Items;
