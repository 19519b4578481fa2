//! Candidates + user model -> ranked list.
//!
//! [`scorers`] give a candidate numbers in \[0, 1\], [`fusion`] weighs them
//! into a score with its breakdown, [`diversity`] re-ranks by maximal marginal
//! relevance, and [`exploration`] puts one deliberately off-profile item in.

pub mod diversity;
pub mod draws;
pub mod exploration;
pub mod fusion;
pub mod profile;
pub mod scorers;

use std::sync::Arc;

use super::{
    ids::ContentId, item::CatalogueItem, ranking_config::RankingConfig, tags::TagKey, vector::wide,
};
use exploration::{Explorer, Skipped};
use fusion::Scored;
use profile::Profile;

/// Why an item is in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Ranked for the user.
    Target,
    /// Deliberately off the user's profile.
    Exploration,
}

/// One item of a list.
#[derive(Clone, Debug)]
pub struct RankedItem {
    /// The item with its score.
    pub scored: Scored,
    /// Why it is here.
    pub role: Role,
    /// Its tags that the user likes, the most telling first.
    pub matched_tags: Vec<TagKey>,
}

impl RankedItem {
    fn new(scored: Scored, role: Role, profile: &Profile<'_>) -> Self {
        let matched_tags = scorers::matched_tags(&scored.item, profile)
            .into_iter()
            .cloned()
            .collect();
        Self {
            scored,
            role,
            matched_tags,
        }
    }
}

/// The exploration item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explored {
    /// Which item.
    pub id: ContentId,
    /// Its place, from 1.
    pub slot: usize,
}

/// A finished list.
#[derive(Clone, Debug)]
pub struct RankedList {
    /// The items, best place first.
    pub items: Vec<RankedItem>,
    /// How many candidates were scored.
    pub scored: usize,
    /// The exploration item, or why there is none.
    pub exploration: Result<Explored, Skipped>,
}

/// Scores and re-ranks a pool of candidates (each once) and takes the best
/// `limit`, one of them an exploration item if `explorer` says so.
#[must_use]
pub fn rank(
    pool: Vec<Arc<CatalogueItem>>,
    profile: &Profile<'_>,
    explorer: Result<Explorer, Skipped>,
    limit: usize,
    config: &RankingConfig,
) -> RankedList {
    let count = pool.len();
    let mut scored = Vec::with_capacity(count);
    wide(
        #[inline(always)]
        || {
            for item in pool {
                scored.push(fusion::score(item, profile, &config.fusion));
            }
        },
    );
    let (mut picked, left) = diversity::rerank(scored, limit, config.mmr_lambda);

    let explored = explorer.and_then(|explorer| {
        // One place is kept for the exploration item, if there is one.
        let reserve = (picked.len() == limit).then(|| picked.pop()).flatten();
        let slot = explorer.slot;
        match explorer.choose(&picked, &left, reserve.as_ref(), profile, config) {
            Some(item) => Ok((item, slot)),
            None => {
                picked.extend(reserve);
                Err(Skipped::NoCandidate)
            }
        }
    });

    let mut items: Vec<RankedItem> = picked
        .into_iter()
        .map(|scored| RankedItem::new(scored, Role::Target, profile))
        .collect();
    let exploration = explored.map(|(scored, slot)| {
        let place = (slot - 1).min(items.len());
        let id = scored.item.id().clone();
        items.insert(place, RankedItem::new(scored, Role::Exploration, profile));
        Explored {
            id,
            slot: place + 1,
        }
    });
    RankedList {
        items,
        scored: count,
        exploration,
    }
}
