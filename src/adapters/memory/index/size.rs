//! Estimated memory of the index.

use super::{tags::TagIndex, vectors::VectorIndex};
use crate::domain::item::CatalogueItem;

/// Memory of an item in the index besides its tags and vector: its slot, the head of
/// its id, and its entries in two maps with spare capacity.
const SLOT_BYTES: usize = 152;

/// Memory of an item in the index.
pub(crate) fn index_bytes(item: &CatalogueItem) -> usize {
    let vector = item.vector();
    SLOT_BYTES
        + vector.map_or(0, |vector| VectorIndex::bytes(vector.size()))
        + TagIndex::BYTES_EACH * item.tags().len()
}

#[cfg(test)]
mod tests {
    use super::index_bytes;
    use crate::{
        adapters::memory_size::item_bytes,
        domain::{
            item::{CatalogueItem, Item, Tag},
            tags::Canonicalizer,
            vector::UnitVector,
        },
    };

    /// docs/operate/sizing.md has this figure.
    #[test]
    fn an_item_takes_little_more_than_its_vector_and_its_row() {
        let mut item = Item::new("item-00001");
        item.title = "Item 00001".to_owned();
        item.vector = UnitVector::new(&[0.5; 384]);
        let tags = ["t205", "t88", "t45", "t119", "t248"].map(|label| Tag {
            facet: "theme".to_owned(),
            label: label.to_owned(),
            weight: 1.0,
        });
        item.tags = tags.into();
        let item = CatalogueItem::new(item, &Canonicalizer::default());
        let bytes = item_bytes(&item) + index_bytes(&item);
        assert!((2_400..2_500).contains(&bytes), "{bytes}");
    }
}
