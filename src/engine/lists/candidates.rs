//! The candidates of each kind of list.

use std::collections::HashSet;

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

/// The random draws of a list, and whether it gets an exploration item.
pub(super) struct Chance {
    pub(super) draws: Draws,
    pub(super) slot: Result<usize, ExplorationSkip>,
}

/// What candidates are gathered for.
pub(super) struct Generating<'a> {
    pub(super) request: &'a ListRequest,
    pub(super) interest: &'a Interest,
    /// The items by popularity, if there are any.
    pub(super) popular: Option<&'a PopularItems>,
    pub(super) proposals: &'a Proposals,
    pub(super) chance: &'a Chance,
    pub(super) config: &'a RankingConfig,
    pub(super) deadline: Deadline,
}

impl Engine {
    /// Gathers the candidates. Unrestricted lists have unseen ones only; restricted
    /// ones have seen ones if there are no others.
    pub(super) async fn candidates(
        &self,
        list: &Generating<'_>,
    ) -> Result<CandidatePool, EngineError> {
        match &list.request.kind {
            ListKind::ForUser { .. } => self.user_candidates(list).await,
            ListKind::SimilarTo { .. } => {
                let similar = self.similar_candidates(list).await?;
                if !similar.items.is_empty() {
                    return Ok(similar);
                }
                let mut pool = self.popular_candidates(list).await?;
                pool.degraded.extend(similar.degraded);
                pool.popular_fallback = !pool.items.is_empty();
                if pool.items.is_empty() && list.request.restriction.is_open() {
                    let draws = &list.chance.draws;
                    let plan = CandidatePlan::sample(list.request, draws, list.config);
                    pool = self.unseen(&plan, list).await?;
                    pool.cold_start_fallback = true;
                }
                Ok(pool)
            }
            ListKind::MostPopular { .. } => self.popular_candidates(list).await,
        }
    }

    /// Runs a plan without what the user has seen.
    async fn unseen(
        &self,
        plan: &CandidatePlan,
        list: &Generating<'_>,
    ) -> Result<CandidatePool, EngineError> {
        self.gather_without(&list.interest.seen, plan, list).await
    }

    async fn gather_without(
        &self,
        seen: &[ContentId],
        plan: &CandidatePlan,
        list: &Generating<'_>,
    ) -> Result<CandidatePool, EngineError> {
        let max_in_query = self.inner.settings.max_excluded_ids;
        let exclusions = Exclusions::new(&list.request.exclude, seen, max_in_query);
        let (restriction, items) = (&list.request.restriction, &self.inner.items);
        gather(plan, restriction, &exclusions, items, list.deadline).await
    }

    /// Runs a plan of a restricted list, again with seen items if there are no others.
    async fn restricted(
        &self,
        plan: &CandidatePlan,
        list: &Generating<'_>,
    ) -> Result<CandidatePool, EngineError> {
        let mut pool = self.unseen(plan, list).await?;
        if pool.items.is_empty() && list.config.filter_reshow_when_exhausted {
            let degraded = std::mem::take(&mut pool.degraded);
            pool = self.gather_without(&[], plan, list).await?;
            pool.seen_fallback = !pool.items.is_empty();
            if pool.degraded.is_empty() {
                pool.degraded = degraded;
            }
        }
        Ok(pool)
    }

    /// Unseen items or, if there are none, seen ones (restricted list) or a random
    /// sample (unrestricted list).
    async fn user_candidates(&self, list: &Generating<'_>) -> Result<CandidatePool, EngineError> {
        let &Generating {
            request,
            interest,
            proposals,
            chance,
            config,
            ..
        } = list;
        let draws = &chance.draws;
        if !request.restriction.is_open() {
            let plan = CandidatePlan::restricted(request, interest, proposals, draws, config);
            return self.restricted(&plan, list).await;
        }

        let explores = chance.slot.is_ok();
        let plan =
            CandidatePlan::unrestricted(request, interest, proposals, draws, config, explores);
        let mut pool = self.unseen(&plan, list).await?;
        if plan.is_sample() {
            pool.cold_start_fallback = true;
            return Ok(pool);
        }
        let none_to_explore = pool.exploration.as_ref().is_some_and(Vec::is_empty);
        if pool.items.len() < request.limit || none_to_explore {
            let plan = CandidatePlan::fill_up(request, interest, proposals, draws, config);
            let sample = self.unseen(&plan, list).await?;
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
        list: &Generating<'_>,
    ) -> Result<CandidatePool, EngineError> {
        let (request, interest) = (list.request, list.interest);
        let plan = CandidatePlan::similar(request, interest, list.proposals, list.config);
        if plan.queries.is_empty() {
            Ok(CandidatePool::default())
        } else if request.restriction.is_open() {
            self.unseen(&plan, list).await
        } else {
            self.restricted(&plan, list).await
        }
    }

    /// The most popular items, at least as many as the list has places if there are
    /// that many.
    async fn popular_candidates(
        &self,
        list: &Generating<'_>,
    ) -> Result<CandidatePool, EngineError> {
        let seen = &list.interest.seen;
        let mut pool = self.popular_pages(list, seen).await?;
        let reshows =
            !list.request.restriction.is_open() && list.config.filter_reshow_when_exhausted;
        if pool.items.is_empty() && reshows && !seen.is_empty() {
            pool = self.popular_pages(list, &[]).await?;
            pool.seen_fallback = !pool.items.is_empty();
        }
        Ok(pool)
    }

    async fn popular_pages(
        &self,
        list: &Generating<'_>,
        seen: &[ContentId],
    ) -> Result<CandidatePool, EngineError> {
        let (request, deadline) = (list.request, list.deadline);
        let none = Exclusions::new(&HashSet::new(), &[], 0);
        let mut pool = CandidatePool::default();
        let is_hidden = hidden(request, seen);
        let ranking = list.popular.map_or(&[][..], PopularItems::items).iter();
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
