//! Makes a list of any kind.

use std::{collections::HashSet, sync::Arc};

use tracing::Instrument as _;

use super::{
    audience::{Audience, Context, UserState},
    candidates::{Chance, Generating},
    gather::CandidatePool,
    metrics,
    others::{Proposals, scores},
    recommendation::{Degradation, EmptyReason, Recommendation, Strategy},
    request::{Deadlines, ListKind, ListRequest, PopularityWindow, SimilarityBasis},
};
use crate::{
    domain::{
        ids::{ContentId, UserId},
        item::Items,
        ranking::{
            self, RankRules, RankedItem, RankedList,
            draws::Draws,
            exploration::{self, ExplorationPool, ExplorationRequest, ExplorationSkip},
            reason::{ListBasis, reason},
        },
        ranking_config::RankingConfig,
        restriction::Restriction,
    },
    engine::{
        associations::OtherUsers,
        error::EngineError,
        experiments::{Arm, Treatment},
        handle::Engine,
    },
    ports::{Deadline, Found, Search, SearchOrder},
    telemetry::spans,
};

/// The items that a list is made from.
struct ListInputs {
    pool: CandidatePool,
    /// The liked items and those at hand, and those that collaborative scores come from,
    /// as far as they could be read.
    liked: Items,
    /// Whether the exploration pool is of popular items.
    explores_popular: bool,
    degraded: Vec<Degradation>,
}

impl Engine {
    /// Makes a list. If the user's model cannot be read before its deadline, the list
    /// is made without it, and `degraded` says so.
    ///
    /// # Errors
    /// [`EngineError::UnknownItem`] if a list of similar items is for an item that the
    /// catalogue lacks; another [`EngineError`] if items cannot be read before their
    /// deadline, and too few are cached.
    pub async fn list(
        &self,
        request: &ListRequest,
        deadlines: Deadlines,
    ) -> Result<Recommendation, EngineError> {
        let experiments = &self.inner.experiments;
        let user = request.user.as_ref();
        let arm = experiments.arm(request.placement.as_deref(), user);
        let mut list = self.make(request, &arm.config, deadlines).await?;
        list.treatment = arm.treatment();
        let signed = self.signed_id(arm, user, &list.items, deadlines.model);
        if let Some(id) = signed.await {
            (list.request_id, list.is_signed) = (id, true);
        }
        metrics::count(&list, &request.kind);
        if let ListKind::ForUser { .. } = &request.kind {
            let cold_reason = match list.strategy {
                Strategy::Warm => None,
                Strategy::Cold(reason) => Some(reason.name()),
            };
            self.inner.activity.list(list.items.is_empty(), cold_reason);
        }
        experiments.count_list(arm, list.items.len());
        Ok(list)
    }

    /// Makes a list that is not served: it is not counted, its id is not signed, and it
    /// is ranked by `config` whatever the request's placement is.
    ///
    /// # Errors
    /// As [`Engine::list`].
    pub async fn preview(
        &self,
        request: &ListRequest,
        config: &RankingConfig,
        deadlines: Deadlines,
    ) -> Result<Recommendation, EngineError> {
        self.make(request, config, deadlines).await
    }

    async fn make(
        &self,
        request: &ListRequest,
        config: &RankingConfig,
        deadlines: Deadlines,
    ) -> Result<Recommendation, EngineError> {
        let items = &self.inner.items;
        let at_hand = request.kind.context();
        let request = &*request.without_context(&at_hand);
        let compares_vectors = match &request.kind {
            ListKind::ForUser { .. } | ListKind::SimilarTo { .. } => true,
            ListKind::MostPopular { .. } => false,
        };
        if compares_vectors {
            // A model with vectors of another size must be rebuilt before it is used.
            items.learn_vector_size(deadlines.items).await?;
        }
        let user = request.user.as_ref();
        let chance = self.chance(request, config);
        let (mut state, context) = tokio::join!(
            self.user_state(user, deadlines.model),
            self.context(&request.kind, &at_hand, deadlines.items),
        );
        let context = context?;
        let mut audience = self.audience(&state, &context, request);
        let mut inputs = self
            .inputs(request, &mut audience, &context, &chance, config, deadlines)
            .await?;
        // The search can find that the catalogue was recreated with vectors of
        // another size.
        if let UserState::Read(model) = &state
            && compares_vectors
            && !items.fits(&model.signals)
        {
            state = self.user_state(user, deadlines.model).await;
            if let UserState::Read(_) = state {
                audience = self.audience(&state, &context, request);
                inputs = self
                    .inputs(request, &mut audience, &context, &chance, config, deadlines)
                    .await?;
            }
        }
        let (slot, deadline) = (chance.slot, deadlines.items);
        let mut list = self
            .assemble(request, audience, inputs, slot, config, deadline)
            .await?;
        list.unknown_context = context.unknown;
        Ok(list)
    }

    fn chance(&self, request: &ListRequest, config: &RankingConfig) -> Chance {
        let random = || self.inner.ports.randomness.next_u64();
        let draws = Draws::new(request.seed.map_or_else(random, u64::from));
        let config = &config.exploration;
        let slot = match &request.kind {
            ListKind::ForUser { .. } => {
                exploration::decide(config, request.exploration, request.limit, &draws)
            }
            ListKind::SimilarTo { .. } | ListKind::MostPopular { .. } => {
                Err(ExplorationSkip::Disabled)
            }
        };
        Chance { draws, slot }
    }

    /// Reads what other users did, as far as a list of this kind uses it.
    async fn others(
        &self,
        request: &ListRequest,
        audience: &mut Audience,
        deadline: Deadline,
    ) -> OtherUsers {
        let associations = &self.inner.associations;
        let mut is_incomplete = false;
        let uses_rows = match &request.kind {
            ListKind::ForUser { .. } => true,
            ListKind::SimilarTo { item, basis } => match basis {
                SimilarityBasis::Best => true,
                SimilarityBasis::Content => false,
                SimilarityBasis::Behavior => {
                    let enough = associations.has_enough_users(item, deadline).await;
                    is_incomplete = enough.is_none();
                    enough.unwrap_or(false)
                }
            },
            ListKind::MostPopular { .. } => false,
        };
        let rows = if uses_rows {
            associations.config().query_items
        } else {
            0
        };
        let query = audience.interest.recent.iter().take(rows);
        let query: Vec<ContentId> = query.map(|(item, _)| item.clone()).collect();
        let others = associations.for_list(&query, deadline);
        let others = others.instrument(spans::step("associations")).await;
        if is_incomplete || others.is_incomplete {
            audience.degraded.push(Degradation::Associations);
        }
        audience.interest.popularity = match &request.kind {
            ListKind::MostPopular {
                window: PopularityWindow::Trending,
            } => others.trending.clone(),
            ListKind::MostPopular {
                window: PopularityWindow::Popular,
            }
            | ListKind::ForUser { .. }
            | ListKind::SimilarTo { .. } => others.popular.clone(),
        };
        others
    }

    /// Reads what other users did, then the candidates and, concurrently, the liked
    /// items.
    async fn inputs(
        &self,
        request: &ListRequest,
        audience: &mut Audience,
        context: &Context,
        chance: &Chance,
        ranking: &RankingConfig,
        deadlines: Deadlines,
    ) -> Result<ListInputs, EngineError> {
        let others = self.others(request, audience, deadlines.model).await;
        let config = self.inner.associations.config();
        let interest = &audience.interest;
        let popular = interest.popularity.clone();
        let mut scored = scores(request, interest, &interest.seen, &others, config);
        let proposals = match &request.kind {
            ListKind::ForUser { .. } | ListKind::SimilarTo { .. } => {
                Proposals::new(request, interest, &scored, popular.as_ref(), ranking)
            }
            ListKind::MostPopular { .. } => Proposals::default(),
        };

        let at_hand = || context.items.iter();
        let is_at_hand = |id: &ContentId| at_hand().any(|item| item.id == *id);
        let liked = interest.positives.iter().map(|(id, _)| id);
        let liked = liked.chain(&proposals.because).filter(|id| !is_at_hand(id));
        let mut liked: Vec<ContentId> = liked.cloned().collect();
        liked.sort_unstable();
        liked.dedup();
        let (items, deadline) = (&self.inner.items, deadlines.items);
        let popular = popular.as_deref();
        let generating = Generating {
            request,
            interest,
            popular,
            proposals: &proposals,
            chance,
            config: ranking,
            deadline,
        };
        let candidates = self.candidates(&generating);
        let (pool, liked_items) = tokio::join!(
            candidates.instrument(spans::step("candidates")),
            items.read(&liked, deadline),
        );
        let pool = pool?;
        let mut degraded = Vec::new();
        let mut liked = liked_items.unwrap_or_else(|_| {
            degraded.push(Degradation::LikedItems);
            items.cached(&liked)
        });
        let contents = at_hand().filter_map(|item| Some((item.id.clone(), item.content.clone()?)));
        liked.extend(contents);
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

    /// Ranks the candidates.
    async fn assemble(
        &self,
        request: &ListRequest,
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
        let boosts = request.boosts.iter().enumerate();
        let without_effect = boosts.filter(|(_, boost)| boost.names_missing_attribute(&pool.items));
        degraded.extend(without_effect.map(|(index, _)| Degradation::Boost(index)));

        let exploration = slot.map(|slot| ExplorationRequest {
            slot,
            pool: match pool.exploration {
                Some(items) if inputs.explores_popular => ExplorationPool::LowestScored(items),
                Some(items) => ExplorationPool::of_fetched(config.exploration.strategy, items),
                None => ExplorationPool::Candidates,
            },
        });
        let is_by_popularity = pool.popular_fallback || is_popular(&request.kind);
        let popularity = interest.popularity.clone();
        if is_by_popularity {
            let ids = pool.items.iter().map(|item| item.id());
            interest.popularity = popularity.as_ref().map(|items| Arc::new(items.among(ids)));
        }
        let rules = if is_by_popularity {
            RankRules::by_popularity(config, &request.boosts)
        } else {
            rules(request, config)
        };
        let pool_size = pool.items.len();
        let RankedList {
            items,
            scored,
            exploration,
        } = spans::step("rank")
            .in_scope(|| ranking::rank(pool.items, &interest, exploration, request.limit, &rules));
        let empty = match (&request.kind, items.is_empty()) {
            (_, false) => None,
            (ListKind::MostPopular { .. }, true) if popularity.is_none() => {
                Some(EmptyReason::NoPopularity)
            }
            (kind, true) => match self.why_empty(&request.restriction, deadline).await? {
                EmptyReason::AllSeenOrExcluded
                    if is_popular(kind)
                        && interest.seen.is_empty()
                        && request.exclude.is_empty() =>
                {
                    Some(EmptyReason::NoPopularity)
                }
                reason @ (EmptyReason::AllSeenOrExcluded
                | EmptyReason::NoItemMatches
                | EmptyReason::CatalogueEmpty
                | EmptyReason::NoPopularity) => Some(reason),
            },
        };
        let is_cold = interest.is_cold() || pool.cold_start_fallback || pool.popular_fallback;
        let strategy = if is_cold {
            Strategy::Cold(cold_reason)
        } else {
            Strategy::Warm
        };
        let basis = basis(&request.kind, pool.popular_fallback);
        let reasons = items.iter();
        let reasons = reasons.map(|item| reason(item, &basis, &inputs.liked));
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
            popular_fallback: pool.popular_fallback,
            unknown_context: Vec::new(),
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
    /// does not report the time before its deadline.
    async fn signed_id(
        &self,
        arm: &Arm,
        user: Option<&UserId>,
        items: &[RankedItem],
        deadline: Deadline,
    ) -> Option<String> {
        let experiments = &self.inner.experiments;
        if !experiments.signs(arm) {
            return None;
        }
        // The time is known here, unless the store has never answered.
        let now = tokio::time::timeout(deadline.remaining(), self.now());
        let now = now.await.ok()?.ok()?;
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

/// How candidates of a list that is not by popularity are ranked.
fn rules<'a>(request: &'a ListRequest, config: &RankingConfig) -> RankRules<'a> {
    let boosts = &request.boosts[..];
    match &request.kind {
        ListKind::SimilarTo { basis, .. } => match basis {
            SimilarityBasis::Best => RankRules::of(config, boosts),
            SimilarityBasis::Behavior => RankRules::by_behavior(config, boosts),
            SimilarityBasis::Content => RankRules::by_content(config, boosts),
        },
        ListKind::ForUser { .. } | ListKind::MostPopular { .. } => RankRules::of(config, boosts),
    }
}

fn is_popular(kind: &ListKind) -> bool {
    match kind {
        ListKind::MostPopular { .. } => true,
        ListKind::ForUser { .. } | ListKind::SimilarTo { .. } => false,
    }
}

/// What the reasons of a list refer to.
fn basis(kind: &ListKind, popular_fallback: bool) -> ListBasis {
    match kind {
        _ if popular_fallback => ListBasis::Popular,
        ListKind::ForUser { context } if context.is_empty() => ListBasis::Likes,
        ListKind::ForUser { context } => ListBasis::Session(context.clone()),
        ListKind::SimilarTo { item, .. } => ListBasis::Item(item.clone()),
        ListKind::MostPopular { window } => match window {
            PopularityWindow::Popular => ListBasis::Popular,
            PopularityWindow::Trending => ListBasis::Trending,
        },
    }
}
