//! Which candidates to fetch for a list.

use super::{recommendation::Generator, request::RecommendRequest};
use crate::{
    domain::{
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
    /// Unrestricted request: the items nearest to the taste, and those with the
    /// most overlap with the liked tags. Without either, a sample.
    pub(super) fn unrestricted(
        request: &RecommendRequest,
        interest: &Interest,
        draws: &Draws,
        config: &RankingConfig,
        explores: bool,
    ) -> Self {
        let mut queries = by_interest(request, interest, config);
        if queries.is_empty() {
            queries = Self::sample(request, draws, config).queries;
        }
        let exploration = explores.then(|| exploration(request, interest, draws, config));
        Self {
            queries,
            last_resort: None,
            exploration,
            pool_limit: usize::MAX,
        }
    }

    /// Restricted request: of the matching items, those nearest to the taste, then
    /// those with the most overlap with the liked tags, then the closest, then a
    /// sample, until the pool is full.
    pub(super) fn restricted(
        request: &RecommendRequest,
        interest: &Interest,
        draws: &Draws,
        config: &RankingConfig,
    ) -> Self {
        let limit = per_generator(request, config);
        let mut queries = by_interest(request, interest, config);
        queries.extend(request.near.map(|near| {
            CandidateQuery::search(Generator::Distance, SearchOrder::ClosestTo(near), limit)
        }));
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

    /// A random sample of twice a generator's size, and at least of the list's.
    pub(super) fn sample(
        request: &RecommendRequest,
        draws: &Draws,
        config: &RankingConfig,
    ) -> Self {
        let limit = (2 * config.pool_per_generator).max(request.limit);
        Self {
            queries: vec![sample(request, draws, limit)],
            last_resort: None,
            exploration: None,
            pool_limit: limit,
        }
    }

    /// Whether the candidates are a random sample only.
    pub(super) fn is_sample(&self) -> bool {
        self.queries
            .iter()
            .all(|query| query.generator == Generator::Sample)
    }
}

fn per_generator(request: &RecommendRequest, config: &RankingConfig) -> usize {
    config.pool_per_generator.max(2 * request.limit)
}

fn by_interest(
    request: &RecommendRequest,
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

fn sample(request: &RecommendRequest, draws: &Draws, limit: usize) -> CandidateQuery {
    let order = SearchOrder::Sample {
        seed: draws.sample_seed,
        pinned: request.seed.is_some(),
    };
    CandidateQuery::search(Generator::Sample, order, limit)
}

fn exploration(
    request: &RecommendRequest,
    interest: &Interest,
    draws: &Draws,
    config: &RankingConfig,
) -> CandidateQuery {
    let strategy = config.exploration.strategy;
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
