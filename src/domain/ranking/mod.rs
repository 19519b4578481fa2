//! Candidates + [`Interest`] -> ranked list.
//!
//! [`scorers`] give a candidate numbers in \[0, 1\], [`fusion`] adds them up by
//! weight, [`diversity`] re-ranks by maximal marginal relevance, and
//! [`exploration`] inserts one deliberately off-profile item.

mod boost;
pub mod context;
pub mod diversity;
pub mod draws;
pub mod exploration;
pub mod fusion;
pub mod interest;
mod ranked_item;
pub mod reason;
mod rules;
pub mod scorers;

use std::sync::Arc;

use super::{ids::ContentId, item::CatalogueItem, vector::wide};
use exploration::{ExplorationRequest, ExplorationSkip};
use fusion::{Draft, Fusion};
use interest::Interest;

pub use boost::Boost;
pub use ranked_item::{ItemRole, RankedItem};
pub use rules::RankRules;

/// The exploration item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplorationItem {
    /// Its id.
    pub id: ContentId,
    /// Its position in the list, from 1.
    pub slot: usize,
}

/// A ranked list.
#[derive(Clone, Debug)]
pub struct RankedList {
    /// The items, first position first.
    pub items: Vec<RankedItem>,
    /// How many candidates were scored.
    pub scored: usize,
    /// The exploration item, or why there is none.
    pub exploration: Result<ExplorationItem, ExplorationSkip>,
}

/// Scores and re-ranks candidates (each once) and takes the best `limit`,
/// including an exploration item if `exploration` requests one.
#[must_use]
pub fn rank(
    candidates: Vec<Arc<CatalogueItem>>,
    interest: &Interest,
    exploration: Result<ExplorationRequest, ExplorationSkip>,
    limit: usize,
    rules: &RankRules<'_>,
) -> RankedList {
    let count = candidates.len();
    let fusion = Fusion::new(interest, rules);
    let mut drafts = Vec::with_capacity(count);
    wide(
        #[inline(always)]
        || {
            for item in candidates {
                drafts.push(fusion.draft(item));
            }
        },
    );
    let (mut picked, unlisted) = diversity::rerank(
        drafts,
        limit,
        rules.mmr_lambda,
        #[inline(always)]
        |draft| fusion.complete(draft),
    );

    let chosen = exploration.and_then(|request| {
        // The exploration item takes one position of a full list.
        let reserve = (picked.len() == limit).then(|| picked.pop()).flatten();
        let slot = request.slot;
        let unlisted = unlisted.into_iter().chain(reserve.clone().map(Draft::from));
        match request.choose(&picked, unlisted, interest, rules) {
            Some(item) => Ok((item, slot)),
            None => {
                picked.extend(reserve);
                Err(ExplorationSkip::NoCandidate)
            }
        }
    });

    let mut items: Vec<RankedItem> = picked
        .into_iter()
        .map(|scored| RankedItem::new(scored, ItemRole::Target, interest))
        .collect();
    let exploration = chosen.map(|(scored, slot)| {
        let index = (slot - 1).min(items.len());
        let id = scored.item.id().clone();
        items.insert(
            index,
            RankedItem::new(scored, ItemRole::Exploration, interest),
        );
        ExplorationItem {
            id,
            slot: index + 1,
        }
    });
    RankedList {
        items,
        scored: count,
        exploration,
    }
}
