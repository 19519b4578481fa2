//! What other users' behavior proposes for a list.

use std::sync::Arc;

use foldhash::HashSet;

use super::request::ListRequest;
use crate::{
    domain::{
        associations::{
            AssociationsConfig, CollaborativeScores, PopularItems, collaborative_scores,
        },
        ids::ContentId,
        ranking::{exploration::POPULAR_SAMPLE, interest::Interest},
        ranking_config::{ExplorationStrategy, RankingConfig},
    },
    engine::associations::OtherUsers,
};

/// Candidates of each of the two generators: at least these, and this multiple of the
/// list's length.
const MIN_CANDIDATES: usize = 100;
const CANDIDATES_PER_PLACE: usize = 4;
/// The popular items are not needed if there are this many collaborative candidates
/// for each place of the list.
const ENOUGH_PER_PLACE: usize = 2;

/// How many items each of the two generators proposes for a list of this length.
pub(super) fn candidate_count(limit: usize) -> usize {
    MIN_CANDIDATES.max(CANDIDATES_PER_PLACE * limit)
}

/// Items that other users' behavior proposes, without hidden ones.
#[derive(Default)]
pub(super) struct Proposals {
    /// With the best collaborative scores, the best first.
    pub(super) collaborative: Vec<ContentId>,
    /// The most popular ones.
    pub(super) popular: Vec<ContentId>,
    /// Those from which the exploration item of an unrestricted request is chosen;
    /// empty if it is chosen otherwise.
    pub(super) elsewhere: Vec<ContentId>,
    /// The user's items that the collaborative ones come from.
    pub(super) because: Vec<ContentId>,
}

impl Proposals {
    pub(super) fn new(
        request: &ListRequest,
        interest: &Interest,
        scores: &CollaborativeScores<'_>,
        popular: Option<&Arc<PopularItems>>,
        config: &RankingConfig,
    ) -> Self {
        let count = candidate_count(request.limit);
        let best = scores.best(count);
        let mut because: Vec<ContentId> = best
            .iter()
            .filter_map(|(_, score)| Some(interest.recent.get(score.strongest)?.0.clone()))
            .collect();
        because.sort_unstable();
        because.dedup();
        let is_hidden = hidden(request, &interest.seen);
        let popular: Vec<ContentId> = popular
            .into_iter()
            .flat_map(|items| items.items())
            .map(|(item, _)| item)
            .filter(|item| !is_hidden(item.as_str()))
            .take(count)
            .cloned()
            .collect();
        let elsewhere = match config.exploration.strategy {
            ExplorationStrategy::PopularElsewhere => {
                popular.iter().take(POPULAR_SAMPLE).cloned().collect()
            }
            ExplorationStrategy::MaxDissimilar
            | ExplorationStrategy::UnexploredTheme
            | ExplorationStrategy::Random => Vec::new(),
        };
        Self {
            collaborative: best.into_iter().map(|(item, _)| item.into()).collect(),
            popular,
            elsewhere,
            because,
        }
    }

    /// Whether the popular items are candidates from the start: for cold users, and
    /// where other users say little.
    pub(super) fn needs_popular(&self, interest: &Interest, limit: usize) -> bool {
        interest.is_cold() || self.collaborative.len() < ENOUGH_PER_PLACE * limit
    }
}

/// The collaborative scores of all items that are neither excluded nor `seen`.
pub(super) fn scores<'a>(
    request: &ListRequest,
    interest: &Interest,
    seen: &[ContentId],
    others: &'a OtherUsers,
    config: &AssociationsConfig,
) -> CollaborativeScores<'a> {
    let rows = others.rows.iter().map(Option::as_deref);
    let strengths = interest.recent.iter().map(|(_, strength)| *strength);
    collaborative_scores(strengths.zip(rows), hidden_ids(request, seen), config)
}

/// Whether a list must not contain an item.
pub(super) fn hidden<'a>(
    request: &'a ListRequest,
    seen: &'a [ContentId],
) -> impl Fn(&str) -> bool + use<'a> {
    let hidden: HashSet<&str> = hidden_ids(request, seen).collect();
    move |item: &str| hidden.contains(item)
}

/// The items that a list must not contain.
fn hidden_ids<'a>(
    request: &'a ListRequest,
    seen: &'a [ContentId],
) -> impl Iterator<Item = &'a str> {
    request.exclude.iter().chain(seen).map(ContentId::as_str)
}
