//! Makes a list.

use std::collections::HashSet;

use tracing::{Instrument as _, debug};

use super::{
    gather::{CandidatePool, Exclusions, gather},
    metrics,
    others::{Proposals, scores},
    plan::CandidatePlan,
    recommendation::{ColdReason, Degradation, EmptyReason, Generator, Recommendation, Strategy},
    request::{Deadlines, RecommendRequest},
};
use crate::{
    domain::{
        ids::{ContentId, UserId},
        item::Items,
        ranking::{
            self, RankedItem, RankedList,
            draws::Draws,
            exploration::{self, ExplorationPool, ExplorationRequest, ExplorationSkip},
            interest::{IgnoredItems, Interest, Near},
            reason::reason,
        },
        ranking_config::{Preset, RankingConfig},
        restriction::Restriction,
    },
    engine::{
        error::EngineError,
        experiments::{Arm, Treatment},
        handle::Engine,
        models::{CurrentModel, SignalsSource},
    },
    ports::{Deadline, Found, Search, SearchOrder},
    telemetry::spans,
};

/// Whom a list is for.
struct Audience {
    interest: Interest,
    signals_source: SignalsSource,
    /// Why the list is cold, if it is.
    cold_reason: ColdReason,
    degraded: Vec<Degradation>,
}

/// The items that a list is made from.
struct ListInputs {
    pool: CandidatePool,
    /// The liked items, and those that collaborative scores come from, as far as they
    /// could be read.
    liked: Items,
    /// Whether the exploration pool is of popular items.
    explores_popular: bool,
    degraded: Vec<Degradation>,
}

/// The random draws of a list, and whether it gets an exploration item.
struct Chance {
    draws: Draws,
    slot: Result<usize, ExplorationSkip>,
}

impl Engine {
    /// Ranks what a user should see next. If the user's model cannot be read
    /// before its deadline, the list is a cold one, and `degraded` says so.
    ///
    /// # Errors
    /// [`EngineError`] if items cannot be read before their deadline, and too few
    /// are cached.
    pub async fn recommend(
        &self,
        request: &RecommendRequest,
        deadlines: Deadlines,
    ) -> Result<Recommendation, EngineError> {
        let items = &self.inner.items;
        // A model with vectors of another size must be rebuilt before it is used.
        items.learn_vector_size(deadlines.items).await?;
        let experiments = &self.inner.experiments;
        let arm = experiments.arm(request.placement.as_deref(), Some(&request.user));
        let config = &arm.config;
        let chance = self.chance(request, config);
        let mut model = self.model(&request.user, deadlines.model).await;
        let mut audience = self.audience(model.as_ref(), request);
        let mut inputs = self
            .inputs(request, &mut audience, &chance, config, deadlines)
            .await?;
        // The search can find that the catalogue was recreated with vectors of
        // another size.
        if model.is_some_and(|model| !items.fits(&model.signals)) {
            model = self.model(&request.user, deadlines.model).await;
            if model.is_some() {
                audience = self.audience(model.as_ref(), request);
                inputs = self
                    .inputs(request, &mut audience, &chance, config, deadlines)
                    .await?;
            }
        }
        let (slot, deadline) = (chance.slot, deadlines.items);
        let mut list = self
            .assemble(request, audience, inputs, slot, config, deadline)
            .await?;
        list.treatment = arm.treatment();
        if let Some(id) = self.signed_id(arm, Some(&request.user), &list.items).await {
            (list.request_id, list.is_signed) = (id, true);
        }
        metrics::count(&list);
        self.inner.activity.list(&list);
        experiments.count_list(arm, list.items.len());
        Ok(list)
    }

    async fn model(&self, user: &UserId, deadline: Deadline) -> Option<CurrentModel> {
        let model = self.inner.models.current(user);
        let model = model.instrument(spans::step("user model"));
        tokio::time::timeout(deadline.remaining(), model)
            .await
            .ok()?
            .ok()
    }

    /// A user with this model; `None` if it could not be read.
    fn audience(&self, model: Option<&CurrentModel>, request: &RecommendRequest) -> Audience {
        let mut degraded = Vec::new();
        if model.is_none_or(|model| model.incomplete) {
            debug!("recommending without a complete user model");
            degraded.push(Degradation::UserModel);
        }
        let interest = match model {
            Some(model) => {
                let ignored_items = match self.inner.config.preset {
                    Preset::Recsys => IgnoredItems::ScoredLower,
                    Preset::Reference => IgnoredItems::Hidden,
                };
                let canonical = &self.inner.canonical;
                Interest::of_user(&model.signals, canonical, ignored_items, request.seen)
            }
            None => Interest::nobody(),
        };
        let cold_reason = match model {
            None => ColdReason::UserStateUnavailable,
            Some(model) if model.source == SignalsSource::Empty => ColdReason::UnknownUser,
            Some(_) if interest.is_cold() => ColdReason::NoPositiveEvents,
            Some(_) => ColdReason::CatalogueWithoutFeatures,
        };
        let near = request.near;
        let scale_m = self.inner.config.geo_scale_m;
        Audience {
            interest: Interest {
                near: near.map(|point| Near { point, scale_m }),
                ..interest
            },
            signals_source: model.map_or(SignalsSource::Empty, |model| model.source),
            cold_reason,
            degraded,
        }
    }

    fn chance(&self, request: &RecommendRequest, config: &RankingConfig) -> Chance {
        let random = || self.inner.ports.randomness.next_u64();
        let draws = Draws::new(request.seed.map_or_else(random, u64::from));
        let config = &config.exploration;
        Chance {
            slot: exploration::decide(config, request.exploration, request.limit, &draws),
            draws,
        }
    }

    /// Reads what other users did, then the candidates and, concurrently, the liked
    /// items.
    async fn inputs(
        &self,
        request: &RecommendRequest,
        audience: &mut Audience,
        chance: &Chance,
        ranking: &RankingConfig,
        deadlines: Deadlines,
    ) -> Result<ListInputs, EngineError> {
        let associations = &self.inner.associations;
        let config = associations.config();
        let query = audience.interest.recent.iter().take(config.query_items);
        let query: Vec<ContentId> = query.map(|(item, _)| item.clone()).collect();
        let others = associations.for_list(&query, deadlines.model);
        let others = others.instrument(spans::step("associations")).await;
        if others.is_incomplete {
            audience.degraded.push(Degradation::Associations);
        }
        audience.interest.popularity = others.popular.clone();
        let interest = &audience.interest;
        let mut scored = scores(request, interest, &interest.seen, &others, config);
        let popular = others.popular.as_ref();
        let proposals = Proposals::new(request, interest, &scored, popular, ranking);

        let liked = interest.positives.iter().map(|(id, _)| id);
        let mut liked: Vec<ContentId> = liked.chain(&proposals.because).cloned().collect();
        liked.sort_unstable();
        liked.dedup();
        let (items, deadline) = (&self.inner.items, deadlines.items);
        let candidates = self.candidates(request, interest, &proposals, chance, ranking, deadline);
        let (pool, liked_items) = tokio::join!(
            candidates.instrument(spans::step("candidates")),
            items.read(&liked, deadline),
        );
        let pool = pool?;
        let mut degraded = Vec::new();
        let liked = liked_items.unwrap_or_else(|_| {
            degraded.push(Degradation::LikedItems);
            items.cached(&liked)
        });
        if pool.seen_fallback {
            scored = scores(request, interest, &[], &others, config);
        }
        let candidates = pool.items.iter().chain(pool.exploration.iter().flatten());
        let candidates = candidates.map(|item| item.id());
        audience.interest.load_collaborative(&scored, candidates);
        Ok(ListInputs {
            pool,
            liked,
            explores_popular: !proposals.elsewhere.is_empty(),
            degraded,
        })
    }

    /// Gathers the candidates: unseen items or, if there are none, seen ones
    /// (restricted request) or a random sample (unrestricted request).
    async fn candidates(
        &self,
        request: &RecommendRequest,
        interest: &Interest,
        proposals: &Proposals,
        chance: &Chance,
        config: &RankingConfig,
        deadline: Deadline,
    ) -> Result<CandidatePool, EngineError> {
        let items = &self.inner.items;
        let (draws, restriction) = (&chance.draws, &request.restriction);
        let max_in_query = self.inner.settings.max_excluded_ids;
        let unseen = Exclusions::new(&request.exclude, &interest.seen, max_in_query);
        if !restriction.is_open() {
            let plan = CandidatePlan::restricted(request, interest, proposals, draws, config);
            let mut pool = gather(&plan, restriction, &unseen, items, deadline).await?;
            if pool.items.is_empty() && config.filter_reshow_when_exhausted {
                let all = Exclusions::new(&request.exclude, &[], max_in_query);
                let degraded = std::mem::take(&mut pool.degraded);
                pool = gather(&plan, restriction, &all, items, deadline).await?;
                pool.seen_fallback = !pool.items.is_empty();
                if pool.degraded.is_empty() {
                    pool.degraded = degraded;
                }
            }
            return Ok(pool);
        }

        let explores = chance.slot.is_ok();
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

    /// Ranks the candidates.
    async fn assemble(
        &self,
        request: &RecommendRequest,
        audience: Audience,
        inputs: ListInputs,
        slot: Result<usize, ExplorationSkip>,
        config: &RankingConfig,
        deadline: Deadline,
    ) -> Result<Recommendation, EngineError> {
        let Audience {
            mut interest,
            signals_source,
            cold_reason,
            mut degraded,
        } = audience;
        let pool = inputs.pool;
        interest.load_liked(&inputs.liked);
        degraded.extend(inputs.degraded);
        degraded.extend(pool.degraded);

        let exploration = slot.map(|slot| ExplorationRequest {
            slot,
            pool: match pool.exploration {
                Some(items) if inputs.explores_popular => ExplorationPool::LowestScored(items),
                Some(items) => ExplorationPool::of_fetched(config.exploration.strategy, items),
                None => ExplorationPool::Candidates,
            },
        });
        let pool_size = pool.items.len();
        let RankedList {
            items,
            scored,
            exploration,
        } = spans::step("rank")
            .in_scope(|| ranking::rank(pool.items, &interest, exploration, request.limit, config));
        let empty = if items.is_empty() {
            Some(self.why_empty(&request.restriction, deadline).await?)
        } else {
            None
        };
        let strategy = if interest.is_cold() || pool.cold_start_fallback {
            Strategy::Cold(cold_reason)
        } else {
            Strategy::Warm
        };
        let canonical = &self.inner.canonical;
        let reasons = items.iter();
        let reasons = reasons.map(|item| reason(item, &inputs.liked, canonical));
        Ok(Recommendation {
            request_id: self.fresh_request_id(),
            is_signed: false,
            treatment: Treatment::default(),
            strategy,
            reasons: reasons.collect(),
            items,
            pool_size,
            scored,
            generators: pool.generators,
            cold_start_fallback: pool.cold_start_fallback,
            seen_fallback: pool.seen_fallback,
            empty,
            exploration,
            degraded,
            signals_source,
        })
    }

    async fn why_empty(
        &self,
        restriction: &Restriction,
        deadline: Deadline,
    ) -> Result<EmptyReason, EngineError> {
        let (unrestricted, nothing) = (Restriction::default(), HashSet::new());
        let probe = |restriction| Search {
            order: SearchOrder::Sample {
                seed: 0,
                pinned: false,
            },
            restriction,
            exclude: &nothing,
            exclude_afterwards: &nothing,
            limit: 1,
        };
        let searches = [probe(restriction), probe(&unrestricted)];
        let found = self.inner.items.search(&searches, deadline).await?;
        let any = |found: Option<&Found>| match found {
            Some(Found::Items(items) | Found::Cached(items)) => !items.is_empty(),
            Some(Found::NoIndex) | None => false,
        };
        Ok(if any(found.first()) {
            EmptyReason::AllSeenOrExcluded
        } else if any(found.get(1)) {
            EmptyReason::NoItemMatches
        } else {
            EmptyReason::CatalogueEmpty
        })
    }

    /// A signed id of a list that is made now; `None` if its arm has none, or the store
    /// does not report the time.
    async fn signed_id(
        &self,
        arm: &Arm,
        user: Option<&UserId>,
        items: &[RankedItem],
    ) -> Option<String> {
        let experiments = &self.inner.experiments;
        if !experiments.signs(arm) {
            return None;
        }
        let now = self.now().await.ok()?;
        let nonce = self.inner.ports.randomness.next_u64();
        let items = items.iter().map(|item| item.scored.item.id());
        experiments.signed_id(arm, user, items, now, nonce)
    }

    fn fresh_request_id(&self) -> String {
        let randomness = &self.inner.ports.randomness;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&randomness.next_u64().to_le_bytes());
        bytes[8..].copy_from_slice(&randomness.next_u64().to_le_bytes());
        uuid::Builder::from_random_bytes(bytes)
            .into_uuid()
            .to_string()
    }
}
