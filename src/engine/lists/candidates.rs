//! The candidates of each kind of list.

use std::{collections::HashSet, sync::Arc};

use super::{
    gather::{CandidatePool, Exclusions, fetch, gather},
    others::{Proposals, candidate_count, hidden},
    plan::{CandidatePlan, CandidateQuery},
    recommendation::Generator,
    request::{ListKind, ListRequest},
};
use crate::{
    domain::{
        associations::PopularItems,
        ids::ContentId,
        ranking::{draws::Draws, exploration::ExplorationSkip, interest::Interest},
        ranking_config::RankingConfig,
    },
    engine::{error::EngineError, handle::Engine},
    ports::Deadline,
};

/// How much larger each further page of popular items is than the one before.
const PAGE_GROWTH: usize = 4;
/// Popular items that are read beyond the limit, so that a few that the catalogue lacks
/// do not require a second page.
const SPARE_POPULAR: usize = 4;

/// How a list is made: the ranking of its placement and variant, its random draws, and
/// whether it gets an exploration item.
pub(super) struct ListSetup {
    pub(super) ranking: Arc<RankingConfig>,
    pub(super) draws: Draws,
    pub(super) slot: Result<usize, ExplorationSkip>,
}

impl Engine {
    /// Gathers the candidates. Unrestricted lists have unseen ones only; restricted
    /// ones have seen ones if there are no others.
    pub(super) async fn candidates(
        &self,
        request: &ListRequest,
        interest: &Interest,
        popular: Option<&PopularItems>,
        proposals: &Proposals,
        setup: &ListSetup,
        deadline: Deadline,
    ) -> Result<CandidatePool, EngineError> {
        match &request.kind {
            ListKind::ForUser { .. } => {
                self.user_candidates(request, interest, proposals, setup, deadline)
                    .await
            }
            ListKind::SimilarTo { .. } => {
                let similar =
                    self.similar_candidates(request, interest, proposals, setup, deadline);
                let similar = similar.await?;
                if !similar.items.is_empty() {
                    return Ok(similar);
                }
                let found = self.popular_candidates(request, interest, popular, deadline);
                let mut pool = found.await?;
                pool.degraded.extend(similar.degraded);
                pool.popular_fallback = !pool.items.is_empty();
                if pool.items.is_empty() && request.restriction.is_open() {
                    let (draws, config) = (&setup.draws, &setup.ranking);
                    let plan = CandidatePlan::sample(request, draws, config);
                    let unseen = self.unseen(request, interest);
                    let (restriction, items) = (&request.restriction, &self.inner.items);
                    pool = gather(&plan, restriction, &unseen, items, deadline).await?;
                    pool.cold_start_fallback = true;
                }
                Ok(pool)
            }
            ListKind::MostPopular { .. } => {
                self.popular_candidates(request, interest, popular, deadline)
                    .await
            }
        }
    }

    fn unseen(&self, request: &ListRequest, interest: &Interest) -> Exclusions {
        let max_in_query = self.inner.settings.max_excluded_ids;
        Exclusions::new(&request.exclude, &interest.seen, max_in_query)
    }

    /// Runs a plan of a restricted list, again with seen items if there are no others.
    async fn restricted(
        &self,
        plan: &CandidatePlan,
        request: &ListRequest,
        interest: &Interest,
        deadline: Deadline,
    ) -> Result<CandidatePool, EngineError> {
        let (restriction, items) = (&request.restriction, &self.inner.items);
        let unseen = self.unseen(request, interest);
        let mut pool = gather(plan, restriction, &unseen, items, deadline).await?;
        if pool.items.is_empty() && self.inner.config.filter_reshow_when_exhausted {
            let max_in_query = self.inner.settings.max_excluded_ids;
            let all = Exclusions::new(&request.exclude, &[], max_in_query);
            let degraded = std::mem::take(&mut pool.degraded);
            pool = gather(plan, restriction, &all, items, deadline).await?;
            pool.seen_fallback = !pool.items.is_empty();
            if pool.degraded.is_empty() {
                pool.degraded = degraded;
            }
        }
        Ok(pool)
    }

    /// Unseen items or, if there are none, seen ones (restricted list) or a random
    /// sample (unrestricted list).
    async fn user_candidates(
        &self,
        request: &ListRequest,
        interest: &Interest,
        proposals: &Proposals,
        setup: &ListSetup,
        deadline: Deadline,
    ) -> Result<CandidatePool, EngineError> {
        let (config, items) = (&*setup.ranking, &self.inner.items);
        let (draws, restriction) = (&setup.draws, &request.restriction);
        if !restriction.is_open() {
            let plan = CandidatePlan::restricted(request, interest, proposals, draws, config);
            return self.restricted(&plan, request, interest, deadline).await;
        }

        let unseen = self.unseen(request, interest);
        let explores = setup.slot.is_ok();
        let plan =
            CandidatePlan::unrestricted(request, interest, proposals, draws, config, explores);
        let mut pool = gather(&plan, restriction, &unseen, items, deadline).await?;
        if plan.is_sample() {
            pool.cold_start_fallback = true;
            return Ok(pool);
        }
        let none_to_explore = pool.exploration.as_ref().is_some_and(Vec::is_empty);
        if pool.items.len() < request.limit || none_to_explore {
            let plan = CandidatePlan::fill_up(request, interest, proposals, draws, config);
            let sample = gather(&plan, restriction, &unseen, items, deadline).await?;
            pool.cold_start_fallback = pool.items.is_empty() && !sample.has_of(Generator::Popular);
            let limit = if pool.cold_start_fallback {
                usize::MAX
            } else {
                request.limit
            };
            pool.top_up(sample, limit);
        }
        Ok(pool)
    }

    /// Items that resemble the item at hand, and no others: a shorter list is better
    /// than one of random items.
    async fn similar_candidates(
        &self,
        request: &ListRequest,
        interest: &Interest,
        proposals: &Proposals,
        setup: &ListSetup,
        deadline: Deadline,
    ) -> Result<CandidatePool, EngineError> {
        let (config, items) = (&*setup.ranking, &self.inner.items);
        let plan = CandidatePlan::similar(request, interest, proposals, config);
        if plan.queries.is_empty() {
            return Ok(CandidatePool::default());
        }
        if !request.restriction.is_open() {
            return self.restricted(&plan, request, interest, deadline).await;
        }
        let unseen = self.unseen(request, interest);
        gather(&plan, &request.restriction, &unseen, items, deadline).await
    }

    /// The most popular items, at least as many as the list has places if there are
    /// that many.
    async fn popular_candidates(
        &self,
        request: &ListRequest,
        interest: &Interest,
        popular: Option<&PopularItems>,
        deadline: Deadline,
    ) -> Result<CandidatePool, EngineError> {
        let mut pool = self
            .popular_pages(request, &interest.seen, popular, deadline)
            .await?;
        let reshows = self.inner.config.filter_reshow_when_exhausted;
        if pool.items.is_empty()
            && !request.restriction.is_open()
            && reshows
            && !interest.seen.is_empty()
        {
            pool = self.popular_pages(request, &[], popular, deadline).await?;
            pool.seen_fallback = !pool.items.is_empty();
        }
        Ok(pool)
    }

    async fn popular_pages(
        &self,
        request: &ListRequest,
        seen: &[ContentId],
        popular: Option<&PopularItems>,
        deadline: Deadline,
    ) -> Result<CandidatePool, EngineError> {
        let none = Exclusions::new(&HashSet::new(), &[], 0);
        let mut pool = CandidatePool::default();
        let is_hidden = hidden(request, seen);
        let ranking = popular.map_or(&[][..], PopularItems::items).iter();
        let mut left = ranking
            .map(|(item, _)| item)
            .filter(|item| !is_hidden(item.as_str()));
        // Boosts and nearness change the order: more items can win a place.
        let is_reordered = !request.boosts.is_empty() || request.near.is_some();
        let wanted = if is_reordered {
            candidate_count(request.limit)
        } else {
            request.limit
        };
        let mut page = if request.restriction.is_open() {
            wanted + SPARE_POPULAR
        } else {
            candidate_count(request.limit)
        };
        loop {
            let ids: Vec<ContentId> = left.by_ref().take(page).cloned().collect();
            let Some(query) = CandidateQuery::by_ids(Generator::Popular, ids) else {
                return Ok(pool);
            };
            let items = &self.inner.items;
            let found = fetch(&[&query], &request.restriction, &none, items, deadline).await?;
            for found in found {
                pool.take(&query, found, usize::MAX);
            }
            if pool.items.len() >= wanted {
                return Ok(pool);
            }
            page *= PAGE_GROWTH;
        }
    }
}
