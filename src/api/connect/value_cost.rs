//! What the values of a message by its descriptor cost.

use prost_reflect::Value;

pub(super) const VALUE_BYTES: usize = size_of::<Value>();
/// Overhead of an allocation.
pub(super) const ALLOCATION_BYTES: usize = 32;
/// A list that grows has up to twice its values allocated, and once more while they are
/// moved.
pub(super) const GROWTH: usize = 3;
/// A message keeps its fields in a tree, whose first node has room for eleven.
pub(super) const MESSAGE_BYTES: usize = 11 * (VALUE_BYTES + 16) + ALLOCATION_BYTES;
