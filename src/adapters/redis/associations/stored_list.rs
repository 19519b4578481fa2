//! The stored form of an interest list: its rank as text, then the packed list; or the
//! marker of an erased user.

use std::sync::Arc;

use crate::{
    adapters::redis::model_json::{self, RANK_LENGTH},
    ports::{ListSlot, Rank, StoredList},
};

/// What follows the rank in the marker of an erased user. A packed list begins with
/// its version, 1.
const ERASED: u8 = 0;

/// The stored form of a list.
pub(super) fn encode(list: &StoredList) -> Vec<u8> {
    let mut value = rank_text(list.rank).into_bytes();
    value.extend_from_slice(list.packed());
    value
}

/// A rank as the save script compares it.
pub(super) fn rank_text((version, built_at): Rank) -> String {
    model_json::rank(version, built_at)
}

/// Reads a stored value. That the packed list is well-formed is not checked.
pub(super) fn decode(value: Option<Vec<u8>>) -> ListSlot {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return ListSlot::Missing;
    };
    let rank = value.get(..RANK_LENGTH);
    let rank = rank.and_then(|rank| model_json::parse_rank(std::str::from_utf8(rank).ok()?));
    match (rank, value.get(RANK_LENGTH)) {
        (Some((version, _)), Some(&ERASED)) => ListSlot::Erased(version),
        (Some(rank), Some(_)) => {
            let packed: Arc<[u8]> = value.into();
            ListSlot::Present(StoredList::from_packed(rank, packed, RANK_LENGTH))
        }
        (Some(_) | None, _) => ListSlot::Unreadable,
    }
}
