//! Which candidates to fetch for a list.

use super::{
    others::Proposals,
    recommendation::Generator,
    request::{ListKind, ListRequest, SimilarityBasis},
};
use crate::{
    domain::{
        ids::ContentId,
        ranking::{
            draws::Draws,
            exploration::{PoolOrder, pool_query},
            interest::Interest,
        },
        ranking_config::RankingConfig,
    },
    ports::SearchOrder,
};

/// Where a generator gets its candidates.
#[derive(Clone, Debug)]
pub(super) enum CandidateSource {
    /// A search of the catalogue in this order.
    Search(SearchOrder),
}

/// One generator's part of a plan.
#[derive(Clone, Debug)]
pub(super) struct CandidateQuery {
    pub(super) generator: Generator,
    pub(super) source: CandidateSource,
    /// Maximum number of candidates.
    pub(super) limit: usize,
}

impl CandidateQuery {
    fn search(generator: Generator, order: SearchOrder, limit: usize) -> Self {
        Self {
            generator,
            source: CandidateSource::Search(order),
            limit,
        }
    }

    /// `None` without ids.
    pub(super) fn by_ids(generator: Generator, ids: Vec<ContentId>) -> Option<Self> {
        let limit = ids.len();
        (limit > 0).then(|| Self::search(generator, SearchOrder::ByIds(ids), limit))
    }
}

/// What to fetch for a list.
pub(super) struct CandidatePlan {
    /// The generators, in the order in which they fill the pool.
    pub(super) queries: Vec<CandidateQuery>,
    /// A generator that runs only if the others do not fill the pool.
    pub(super) last_resort: Option<CandidateQuery>,
    /// The exploration pool of an unrestricted request.
    pub(super) exploration: Option<CandidateQuery>,
    /// Maximum size of the pool.
    pub(super) pool_limit: usize,
}

impl CandidatePlan {
    /// Unrestricted request: what other users chose, the items nearest to the taste,
    /// those with the most overlap with the liked tags and, if other users say little,
    /// the most popular ones. Without any, a sample.
    pub(super) fn unrestricted(
        request: &ListRequest,
        interest: &Interest,
        proposals: &Proposals,
        draws: &Draws,
        config: &RankingConfig,
        explores: bool,
    ) -> Self {
        let mut queries: Vec<CandidateQuery> =
            by_ids(Generator::Collaborative, &proposals.collaborative)
                .into_iter()
                .chain(by_interest(request, interest, config))
                .collect();
        if proposals.needs_popular(interest, request.limit) {
            queries.extend(by_ids(Generator::Popular, &proposals.popular));
        }
        if queries.is_empty() {
            queries = vec![Self::sample_query(request, draws, config)];
        }
        let exploration =
            explores.then(|| exploration(request, interest, proposals, draws, config));
        Self {
            queries,
            last_resort: None,
            exploration,
            pool_limit: usize::MAX,
        }
    }

    /// Restricted request: of the matching items, what other users chose; then those
    /// nearest to the taste, those with the most overlap with the liked tags, the
    /// closest, the most popular ones if other users say little, and a sample, until
    /// the pool is full.
    pub(super) fn restricted(
        request: &ListRequest,
        interest: &Interest,
        proposals: &Proposals,
        draws: &Draws,
        config: &RankingConfig,
    ) -> Self {
        let limit = per_generator(request, config);
        let mut queries: Vec<CandidateQuery> =
            by_ids(Generator::Collaborative, &proposals.collaborative)
                .into_iter()
                .chain(by_interest(request, interest, config))
                .collect();
        queries.extend(request.near.map(|near| {
            CandidateQuery::search(Generator::Distance, SearchOrder::ClosestTo(near), limit)
        }));
        if proposals.needs_popular(interest, request.limit) {
            queries.extend(by_ids(Generator::Popular, &proposals.popular));
        }
        // A sample with a seed reads all matching ids: it is drawn only if the
        // others leave room.
        let mut last_resort = Some(sample(request, draws, limit));
        if request.seed.is_none() || queries.is_empty() {
            queries.extend(last_resort.take());
        }
        Self {
            queries,
            last_resort,
            exploration: None,
            pool_limit: limit,
        }
    }

    /// Items that resemble one: what users of that item chose, and the items nearest to
    /// it and those with the most overlap with its tags, as far as the basis has them.
    pub(super) fn similar(
        request: &ListRequest,
        interest: &Interest,
        proposals: &Proposals,
        config: &RankingConfig,
    ) -> Self {
        let behavior = || by_ids(Generator::Collaborative, &proposals.collaborative);
        let content = || by_interest(request, interest, config).into_iter();
        let queries = match &request.kind {
            ListKind::SimilarTo {
                basis: SimilarityBasis::Behavior,
                ..
            } => behavior().into_iter().collect(),
            ListKind::SimilarTo {
                basis: SimilarityBasis::Content,
                ..
            } => content().collect(),
            ListKind::SimilarTo {
                basis: SimilarityBasis::Best,
                ..
            }
            | ListKind::ForUser { .. }
            | ListKind::MostPopular { .. } => behavior().into_iter().chain(content()).collect(),
        };
        Self {
            queries,
            last_resort: None,
            exploration: None,
            pool_limit: usize::MAX,
        }
    }

    /// Only a random sample.
    pub(super) fn sample(request: &ListRequest, draws: &Draws, config: &RankingConfig) -> Self {
        Self {
            queries: vec![Self::sample_query(request, draws, config)],
            last_resort: None,
            exploration: None,
            pool_limit: usize::MAX,
        }
    }

    /// To fill up: the most popular items, unless they were searched before, and a
    /// random sample.
    pub(super) fn fill_up(
        request: &ListRequest,
        interest: &Interest,
        proposals: &Proposals,
        draws: &Draws,
        config: &RankingConfig,
    ) -> Self {
        let popular = Some(&proposals.popular[..])
            .filter(|_| !proposals.needs_popular(interest, request.limit));
        let popular = popular.and_then(|items| by_ids(Generator::Popular, items));
        let sample = Self::sample_query(request, draws, config);
        Self {
            queries: popular.into_iter().chain([sample]).collect(),
            last_resort: None,
            exploration: None,
            pool_limit: usize::MAX,
        }
    }

    /// A random sample of twice a generator's size, and at least of the list's.
    fn sample_query(
        request: &ListRequest,
        draws: &Draws,
        config: &RankingConfig,
    ) -> CandidateQuery {
        let limit = (2 * config.pool_per_generator).max(request.limit);
        sample(request, draws, limit)
    }

    /// Whether the candidates are a random sample only.
    pub(super) fn is_sample(&self) -> bool {
        self.queries
            .iter()
            .all(|query| query.generator == Generator::Sample)
    }
}

fn per_generator(request: &ListRequest, config: &RankingConfig) -> usize {
    config.pool_per_generator.max(2 * request.limit)
}

fn by_interest(
    request: &ListRequest,
    interest: &Interest,
    config: &RankingConfig,
) -> Vec<CandidateQuery> {
    let limit = per_generator(request, config);
    let taste = interest.taste.clone().map(|taste| {
        CandidateQuery::search(Generator::Taste, SearchOrder::NearestTo(taste), limit)
    });
    let tags = Some(interest.affinity.top(config.affinity_tags))
        .filter(|tags| !tags.is_empty())
        .map(|tags| CandidateQuery::search(Generator::Tags, SearchOrder::TagOverlap(tags), limit));
    taste.into_iter().chain(tags).collect()
}

fn by_ids(generator: Generator, ids: &[ContentId]) -> Option<CandidateQuery> {
    CandidateQuery::by_ids(generator, ids.to_vec())
}

fn sample(request: &ListRequest, draws: &Draws, limit: usize) -> CandidateQuery {
    let order = SearchOrder::Sample {
        seed: draws.sample_seed,
        pinned: request.seed.is_some(),
    };
    CandidateQuery::search(Generator::Sample, order, limit)
}

fn exploration(
    request: &ListRequest,
    interest: &Interest,
    proposals: &Proposals,
    draws: &Draws,
    config: &RankingConfig,
) -> CandidateQuery {
    let strategy = config.exploration.strategy;
    if let Some(query) = by_ids(Generator::Exploration, &proposals.elsewhere) {
        return query;
    }
    let (order, limit) = pool_query(strategy, interest.taste.is_some(), request.limit);
    let order = match (order, &interest.taste) {
        (PoolOrder::Farthest, Some(taste)) => SearchOrder::FarthestFrom(taste.clone()),
        (PoolOrder::Farthest | PoolOrder::Sample, _) => SearchOrder::Sample {
            seed: draws.exploration_seed,
            pinned: request.seed.is_some(),
        },
    };
    CandidateQuery::search(Generator::Exploration, order, limit)
}
