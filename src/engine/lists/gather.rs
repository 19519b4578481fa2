//! Fetches the candidates of a plan.

use std::{
    collections::{HashSet, hash_set},
    sync::Arc,
};

use super::{
    plan::{CandidatePlan, CandidateQuery, CandidateSource},
    recommendation::{Degradation, Generator},
};
use crate::{
    domain::{ids::ContentId, item::CatalogueItem, restriction::Restriction},
    engine::{error::EngineError, item_reader::ItemReader},
    ports::{Deadline, Found, Search},
};

/// The candidates of a list.
#[derive(Debug, Default)]
pub(super) struct CandidatePool {
    pub(super) items: Vec<Arc<CatalogueItem>>,
    /// The exploration pool of an unrestricted request.
    pub(super) exploration: Option<Vec<Arc<CatalogueItem>>>,
    /// Number of candidates by generator.
    pub(super) generators: Vec<(Generator, usize)>,
    pub(super) cold_start_fallback: bool,
    pub(super) seen_fallback: bool,
    /// Whether a list of similar items fell back to popular ones.
    pub(super) popular_fallback: bool,
    pub(super) degraded: Vec<Degradation>,
    /// Number of candidates of other users.
    collaborative: usize,
    /// Ids of `items`.
    ids: foldhash::HashSet<ContentId>,
}

impl CandidatePool {
    /// Adds what a generator found, up to `limit` items in the pool.
    pub(super) fn take(&mut self, query: &CandidateQuery, found: Found, limit: usize) {
        let items = match found {
            Found::Items(items) => items,
            Found::Cached(items) => {
                if !self.degraded.contains(&Degradation::Catalogue) {
                    self.degraded.push(Degradation::Catalogue);
                }
                items
            }
            Found::NoIndex => {
                let degradation = Degradation::Generator(query.generator);
                self.degraded.push(degradation);
                return;
            }
        };
        if query.generator == Generator::Exploration {
            self.exploration = Some(items);
        } else {
            self.fill(query.generator, &items, limit);
        }
    }

    /// Adds the items that are not in the pool yet, up to `limit` items in the
    /// pool.
    fn fill(&mut self, generator: Generator, items: &[Arc<CatalogueItem>], limit: usize) {
        let before = self.items.len();
        // Candidates of other users do not take the places of the others.
        let limit = match generator {
            Generator::Collaborative => usize::MAX,
            Generator::Taste
            | Generator::Tags
            | Generator::Distance
            | Generator::Popular
            | Generator::Sample
            | Generator::Exploration => limit.saturating_add(self.collaborative),
        };
        for item in items {
            if self.items.len() < limit && self.ids.insert(item.id().clone()) {
                self.items.push(Arc::clone(item));
            }
        }
        let added = self.items.len() - before;
        if generator == Generator::Collaborative {
            self.collaborative += added;
        }
        match self
            .generators
            .iter_mut()
            .find(|(other, _)| *other == generator)
        {
            Some((_, count)) => *count += added,
            None => self.generators.push((generator, added)),
        }
    }

    /// Fills the pool up to `limit` with the candidates of another one, for items that
    /// the first generators cannot find, such as those without vector and tags. They
    /// also extend the exploration pool.
    pub(super) fn top_up(&mut self, other: Self, limit: usize) {
        let mut rest = &other.items[..];
        for (generator, count) in other.generators {
            let part;
            (part, rest) = rest.split_at(count.min(rest.len()));
            self.fill(generator, part, limit);
        }
        if let Some(exploration) = &mut self.exploration {
            exploration.extend(other.items);
        }
        self.degraded.extend(other.degraded);
    }

    /// Whether a generator found candidates that none before it found.
    pub(super) fn has_of(&self, generator: Generator) -> bool {
        let mut generators = self.generators.iter();
        generators.any(|(other, count)| *other == generator && *count > 0)
    }
}

/// Items that must not be found.
pub(super) struct Exclusions {
    /// Excluded in the query.
    in_query: HashSet<ContentId>,
    /// Removed from the results, because there are too many for the query.
    afterwards: HashSet<ContentId>,
}

impl Exclusions {
    /// Excludes these items and, first ones first, the seen ones. At most
    /// `max_in_query` of each are part of the query.
    pub(super) fn new(
        excluded: &HashSet<ContentId>,
        seen: &[ContentId],
        max_in_query: usize,
    ) -> Self {
        let mut excluded: hash_set::Iter<'_, ContentId> = excluded.iter();
        let mut seen = seen.iter();
        Self {
            in_query: excluded
                .by_ref()
                .take(max_in_query)
                .chain(seen.by_ref().take(max_in_query))
                .cloned()
                .collect(),
            afterwards: excluded.chain(seen).cloned().collect(),
        }
    }
}

/// Runs the queries of a plan as one batch, then its last resort if they did not
/// fill the pool.
pub(super) async fn gather(
    plan: &CandidatePlan,
    restriction: &Restriction,
    exclusions: &Exclusions,
    items: &ItemReader,
    deadline: Deadline,
) -> Result<CandidatePool, EngineError> {
    let mut pool = CandidatePool::default();
    let batch: Vec<&CandidateQuery> = plan.queries.iter().chain(&plan.exploration).collect();
    let found = fetch(&batch, restriction, exclusions, items, deadline).await?;
    for (query, found) in batch.into_iter().zip(found) {
        pool.take(query, found, plan.pool_limit);
    }
    if plan.exploration.is_some() {
        pool.exploration.get_or_insert_default();
    }
    match &plan.last_resort {
        Some(last) if pool.items.len() < plan.pool_limit.saturating_add(pool.collaborative) => {
            let found = fetch(&[last], restriction, exclusions, items, deadline).await?;
            for found in found {
                pool.take(last, found, plan.pool_limit);
            }
        }
        Some(last) => pool.fill(last.generator, &[], plan.pool_limit),
        None => {}
    }
    Ok(pool)
}

/// Runs queries as one batch; one result each, in order.
pub(super) async fn fetch(
    queries: &[&CandidateQuery],
    restriction: &Restriction,
    exclusions: &Exclusions,
    items: &ItemReader,
    deadline: Deadline,
) -> Result<Vec<Found>, EngineError> {
    let searches: Vec<Search<'_>> = queries
        .iter()
        .map(|query| match &query.source {
            CandidateSource::Search(order) => Search {
                order: order.clone(),
                restriction,
                exclude: &exclusions.in_query,
                exclude_afterwards: &exclusions.afterwards,
                limit: query.limit,
            },
        })
        .collect();
    items.search(&searches, deadline).await
}
