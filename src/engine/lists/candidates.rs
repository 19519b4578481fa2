//! Where candidates come from.

use std::{collections::HashSet, sync::Arc};

use crate::{
    domain::{
        ids::ContentId,
        item::CatalogueItem,
        ranking::{
            draws::Draws,
            exploration::{Wanted, wanted},
            profile::Profile,
        },
        ranking_config::RankingConfig,
        user_signals::UserSignals,
    },
    engine::{Engine, EngineError, lists::RecommendRequest},
    ports::{Deadline, Found, Search, SearchOrder},
};

pub(super) const TASTE: &str = "taste";
pub(super) const TAGS: &str = "tags";
pub(super) const DISTANCE: &str = "distance";
pub(super) const SAMPLE: &str = "sample";
pub(super) const EXPLORATION: &str = "exploration";
/// What is degraded if a generator lacks its index: this, and its name.
pub(super) const WITHOUT_INDEX: &str = "generator:";
/// What is degraded if the catalogue does not answer, and items are those that
/// this process remembers.
pub(super) const CATALOGUE: &str = "catalogue";

/// One source of candidates.
struct Generator {
    name: &'static str,
    order: SearchOrder,
    limit: usize,
}

/// The generators of a request, in the order in which they fill the pool.
pub(super) struct Plan {
    generators: Vec<Generator>,
    /// One that is run only if these leave room in the pool.
    last_resort: Option<Generator>,
    /// Where the exploration item of an open request comes from.
    explorer: Option<Generator>,
    pool_limit: usize,
}

impl Plan {
    /// Whether the candidates are a random sample and nothing else.
    pub(super) fn is_sample(&self) -> bool {
        self.generators
            .iter()
            .all(|generator| generator.name == SAMPLE)
    }
}

/// What a plan found.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub(super) items: Vec<Arc<CatalogueItem>>,
    pub(super) explorers: Option<Vec<Arc<CatalogueItem>>>,
    pub(super) generators: Vec<(&'static str, usize)>,
    pub(super) cold_start_fallback: bool,
    pub(super) seen_fallback: bool,
    pub(super) degraded: Vec<String>,
    /// Ids of the items.
    known: foldhash::HashSet<ContentId>,
}

/// What generators found.
struct Searched {
    /// By generator; `None` for one that lacks its index.
    items: Vec<Option<Vec<Arc<CatalogueItem>>>>,
    /// Whether any was answered from memory.
    remembered: bool,
}

impl Pool {
    /// Takes what generators found, up to `limit` items in all.
    fn take(&mut self, generators: &[&Generator], found: Searched, limit: usize) {
        if found.remembered && !self.degraded.iter().any(|what| what == CATALOGUE) {
            self.degraded.push(CATALOGUE.to_owned());
        }
        for (generator, items) in generators.iter().zip(found.items) {
            match items {
                None => self
                    .degraded
                    .push(format!("{WITHOUT_INDEX}{}", generator.name)),
                Some(items) if generator.name == EXPLORATION => self.explorers = Some(items),
                Some(items) => self.fill(generator.name, &items, limit),
            }
        }
    }

    /// Takes what a generator found and the pool does not hold yet, up to
    /// `limit` items in all.
    fn fill(&mut self, generator: &'static str, items: &[Arc<CatalogueItem>], limit: usize) {
        let before = self.items.len();
        for item in items {
            if self.items.len() < limit && self.known.insert(item.id().clone()) {
                self.items.push(Arc::clone(item));
            }
        }
        self.generators.push((generator, self.items.len() - before));
    }

    /// Makes up with a sample for what the generators could not find, such as
    /// items without vector and tags: candidates up to `limit`, and further
    /// exploration items.
    pub(super) fn top_up(&mut self, sample: Self, limit: usize) {
        self.fill(SAMPLE, &sample.items, limit);
        if let Some(explorers) = &mut self.explorers {
            explorers.extend(sample.items);
        }
        self.degraded.extend(sample.degraded);
    }
}

/// What a search must leave out: as much as fits into the query, and the rest
/// afterwards.
pub(super) struct Unseen {
    in_query: HashSet<ContentId>,
    afterwards: HashSet<ContentId>,
}

impl Unseen {
    /// What the request excludes and, if given, what the user has met, the
    /// latest first. The first `in_query` of each go into the query.
    pub(super) fn of(
        request: &RecommendRequest,
        signals: Option<&UserSignals>,
        in_query: usize,
    ) -> Self {
        let mut seen = signals.into_iter().flat_map(UserSignals::seen);
        let mut excluded = request.exclude.iter();
        Self {
            in_query: excluded
                .by_ref()
                .take(in_query)
                .chain(seen.by_ref().take(in_query))
                .cloned()
                .collect(),
            afterwards: excluded.chain(seen).cloned().collect(),
        }
    }
}

fn per_generator(request: &RecommendRequest, config: &RankingConfig) -> usize {
    config.pool_per_generator.max(2 * request.limit)
}

/// Open request: nearest to the taste, and most overlap with the liked tags;
/// without either, a sample.
pub(super) fn open(
    request: &RecommendRequest,
    profile: &Profile<'_>,
    draws: &Draws,
    config: &RankingConfig,
    explores: bool,
) -> Plan {
    let mut generators = by_profile(request, profile, config);
    if generators.is_empty() {
        generators = sample(request, draws, config).generators;
    }
    let explorer = explores.then(|| {
        let strategy = config.exploration.strategy;
        let (wanted, limit) = wanted(strategy, profile.taste.is_some(), request.limit);
        let order = match (wanted, profile.taste) {
            (Wanted::Farthest, Some(taste)) => SearchOrder::FarthestFrom(taste.clone()),
            (Wanted::Farthest | Wanted::Sample, _) => SearchOrder::Sample {
                seed: draws.exploration_seed,
                pinned: request.seed.is_some(),
            },
        };
        Generator {
            name: EXPLORATION,
            order,
            limit,
        }
    });
    Plan {
        generators,
        last_resort: None,
        explorer,
        pool_limit: usize::MAX,
    }
}

/// Restricted request: of what matches, nearest to the taste, then most
/// overlap with the liked tags, then closest, then a sample, until the pool is
/// full.
pub(super) fn restricted(
    request: &RecommendRequest,
    profile: &Profile<'_>,
    draws: &Draws,
    config: &RankingConfig,
) -> Plan {
    let limit = per_generator(request, config);
    let mut generators = by_profile(request, profile, config);
    generators.extend(request.near.map(|near| Generator {
        name: DISTANCE,
        order: SearchOrder::ClosestTo(near),
        limit,
    }));
    // A sample that a seed chooses looks at all that matches: for a pool that is
    // full without it, it would be drawn in vain.
    let mut last_resort = Some(sampling(request, draws, limit));
    if request.seed.is_none() || generators.is_empty() {
        generators.extend(last_resort.take());
    }
    Plan {
        generators,
        last_resort,
        explorer: None,
        pool_limit: limit,
    }
}

/// A random sample of twice a generator's size, or as many as the list takes.
pub(super) fn sample(request: &RecommendRequest, draws: &Draws, config: &RankingConfig) -> Plan {
    let limit = (2 * config.pool_per_generator).max(request.limit);
    Plan {
        generators: vec![sampling(request, draws, limit)],
        last_resort: None,
        explorer: None,
        pool_limit: limit,
    }
}

fn sampling(request: &RecommendRequest, draws: &Draws, limit: usize) -> Generator {
    let pinned = request.seed.is_some();
    Generator {
        name: SAMPLE,
        order: SearchOrder::Sample {
            seed: draws.sample_seed,
            pinned,
        },
        limit,
    }
}

fn by_profile(
    request: &RecommendRequest,
    profile: &Profile<'_>,
    config: &RankingConfig,
) -> Vec<Generator> {
    let limit = per_generator(request, config);
    let taste = profile.taste.map(|taste| Generator {
        name: TASTE,
        order: SearchOrder::NearestTo(taste.clone()),
        limit,
    });
    let tags = profile.affinity.top(config.affinity_tags);
    let tags = (!tags.is_empty()).then_some(Generator {
        name: TAGS,
        order: SearchOrder::TagOverlap(tags),
        limit,
    });
    taste.into_iter().chain(tags).collect()
}

impl Engine {
    /// Runs a plan: its generators as one batch of searches, then its last
    /// resort, if they left room in the pool.
    pub(super) async fn gather(
        &self,
        plan: &Plan,
        request: &RecommendRequest,
        unseen: &Unseen,
        deadline: Deadline,
    ) -> Result<Pool, EngineError> {
        let mut pool = Pool::default();
        let batch: Vec<&Generator> = plan.generators.iter().chain(plan.explorer.iter()).collect();
        let found = self
            .search_unseen(&batch, request, unseen, deadline)
            .await?;
        pool.take(&batch, found, plan.pool_limit);
        if plan.explorer.is_some() {
            pool.explorers.get_or_insert_default();
        }
        match &plan.last_resort {
            Some(last) if pool.items.len() < plan.pool_limit => {
                let found = self
                    .search_unseen(&[last], request, unseen, deadline)
                    .await?;
                pool.take(&[last], found, plan.pool_limit);
            }
            Some(last) => pool.fill(last.name, &[], plan.pool_limit),
            None => {}
        }
        Ok(pool)
    }

    /// Runs searches that leave out all that is seen; `None` for one that
    /// lacks its index.
    async fn search_unseen(
        &self,
        generators: &[&Generator],
        request: &RecommendRequest,
        unseen: &Unseen,
        deadline: Deadline,
    ) -> Result<Searched, EngineError> {
        let searches: Vec<Search<'_>> = generators
            .iter()
            .map(|generator| Search {
                order: generator.order.clone(),
                restriction: &request.restriction,
                exclude: &unseen.in_query,
                exclude_afterwards: &unseen.afterwards,
                limit: generator.limit,
            })
            .collect();
        let found = self.inner.ports.items.search(&searches, deadline).await;
        let mut remembered = false;
        let items = found
            .map_err(EngineError::catalogue_before(deadline))?
            .into_iter()
            .map(|found| match found {
                Found::NoIndex => None,
                Found::Items(items) => Some(items),
                Found::Cached(items) => {
                    remembered = true;
                    Some(items)
                }
            })
            .collect();
        Ok(Searched { items, remembered })
    }
}
