//! An item of a list.

use super::{
    fusion::Scored,
    interest::Interest,
    scorers::{self, Scorer},
};
use crate::domain::{ids::ContentId, tags::TagKey};

/// Why an item is in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemRole {
    /// It was ranked.
    Target,
    /// It is the exploration item.
    Exploration,
}

/// One item of a list.
#[derive(Clone, Debug)]
pub struct RankedItem {
    /// The item with its score.
    pub scored: Scored,
    /// Why it is in the list.
    pub role: ItemRole,
    /// Its liked tags, by their part of the tag score, largest first.
    pub matched_tags: Vec<TagKey>,
    /// The user's item that added most to the collaborative score.
    pub similar_because: Option<ContentId>,
}

impl RankedItem {
    pub(super) fn new(scored: Scored, role: ItemRole, interest: &Interest) -> Self {
        let matched_tags = scorers::matched_tags(&scored.item, interest)
            .into_iter()
            .cloned()
            .collect();
        let similar_because = interest
            .similar_because(scored.item.id())
            .filter(|_| scored.breakdown.part(Scorer::Collaborative).is_some())
            .cloned();
        Self {
            scored,
            role,
            matched_tags,
            similar_because,
        }
    }
}
