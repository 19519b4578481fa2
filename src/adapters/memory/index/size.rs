//! Estimated memory of the index.

use super::{tags::TagIndex, vectors::VectorIndex};
use crate::domain::item::CatalogueItem;

/// Memory of an item in the index besides its tags and vector: its slot, and its entries in
/// two maps with spare capacity.
const SLOT_BYTES: usize = 128;

/// Memory of an item in the index.
pub(crate) fn index_bytes(item: &CatalogueItem) -> usize {
    let vector = item.vector();
    SLOT_BYTES
        + vector.map_or(0, |vector| VectorIndex::bytes(vector.size()))
        + TagIndex::BYTES_EACH * item.tags().len()
}
