//! What a user should see next, and why.
//!
//! The usual path is one read of the user's state and one batch of searches;
//! the liked items are read beside it. A second batch comes only when the
//! first left nothing, or room for a sample that a seed chooses.

mod candidates;
mod tally;

use std::{collections::HashSet, sync::Arc};

use tracing::{Instrument as _, debug};

use crate::{
    domain::{
        geo::GeoPoint,
        ids::{ContentId, UserId},
        ranking::{
            self, Explored, RankedItem, RankedList,
            draws::Draws,
            exploration::{self, Explorer, Skipped, Source as ExplorerSource},
            profile::{Profile, strongest_positives},
        },
        restriction::Restriction,
        user_signals::UserSignals,
    },
    engine::{Engine, EngineError, Source, models::signals::Known},
    ports::{Deadline, Found, Search, SearchOrder},
    telemetry::spans,
};
use candidates::{Pool, Unseen};

/// What is degraded if the user's model could not be read, or not be built from
/// all that it needs.
const USER_MODEL: &str = "user_model";
/// What is degraded if the liked items could not be read.
const LIKED_ITEMS: &str = "liked_items";

/// What to recommend.
#[derive(Clone, Debug)]
pub struct RecommendRequest {
    /// For whom.
    pub user: UserId,
    /// How many items, at least 1.
    pub limit: usize,
    /// What may be in the list.
    pub restriction: Restriction,
    /// Where the user is.
    pub near: Option<GeoPoint>,
    /// What must not be in the list.
    pub exclude: HashSet<ContentId>,
    /// Makes the answer reproducible.
    pub seed: Option<u32>,
}

/// By when the parts of a list must be there, so that one is made in its
/// caller's time.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// The user's model. Without it the list is a cold one.
    pub model: Deadline,
    /// The items, in all searches together. Without them the list is made of
    /// those that this process remembers.
    pub items: Deadline,
}

impl Deadlines {
    /// However long the stores' own time-outs allow.
    pub const UNLIMITED: Self = Self {
        model: Deadline::NONE,
        items: Deadline::NONE,
    };
}

/// How much the user model could say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Ranked by what the user liked.
    Warm,
    /// The user has liked nothing, or the list is a random sample.
    Cold,
}

/// Why a list is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyReason {
    /// There are no items.
    CatalogueEmpty,
    /// No item meets the restrictions.
    NoItemMatches,
    /// All items that would do are seen or excluded.
    AllSeenOrExcluded,
}

/// A list, and how it came about.
#[derive(Clone, Debug)]
pub struct Recommendation {
    /// A fresh id of the list.
    pub request_id: String,
    /// How much the user model could say.
    pub strategy: Strategy,
    /// The list, best place first.
    pub items: Vec<RankedItem>,
    /// How many candidates there were.
    pub pool_size: usize,
    /// How many candidates were scored.
    pub scored: usize,
    /// How many candidates each generator brought in; one that two propose
    /// counts for the first.
    pub generators: Vec<(&'static str, usize)>,
    /// Whether an open request fell back to a random sample.
    pub cold_start_fallback: bool,
    /// Whether a restricted request fell back to seen items.
    pub seen_fallback: bool,
    /// Why the list is empty; `None` if it is not.
    pub empty: Option<EmptyReason>,
    /// The exploration item, or why there is none.
    pub exploration: Result<Explored, Skipped>,
    /// What could not be used.
    pub degraded: Vec<String>,
    /// Where the user model came from.
    pub signals_source: Source,
}

impl Engine {
    /// Ranks what a user should see next. If the user's model cannot be read, or
    /// not in time, the list is a cold one and says so in `degraded`.
    ///
    /// # Errors
    /// [`EngineError`] if items cannot be read, or not in time, and too few are
    /// remembered.
    pub async fn recommend(
        &self,
        request: &RecommendRequest,
        deadlines: Deadlines,
    ) -> Result<Recommendation, EngineError> {
        let known = self.known_in_time(&request.user, deadlines.model).await;
        let list = self.list(request, known.as_ref(), deadlines.items).await?;
        let fits = known.is_none_or(|known| self.fits_catalogue(&known.signals));
        let list = if fits {
            list
        } else {
            // How long the catalogue's vectors are is known only by now, or is
            // not what it was: this reading builds the model anew.
            let known = self.known_in_time(&request.user, deadlines.model).await;
            match known {
                Some(known) => self.list(request, Some(&known), deadlines.items).await?,
                None => list,
            }
        };
        tally::count(&list);
        Ok(list)
    }

    async fn known_in_time(&self, user: &UserId, deadline: Deadline) -> Option<Known> {
        let known = self.known(user).instrument(spans::step("user model"));
        tokio::time::timeout(deadline.remaining(), known)
            .await
            .ok()?
            .ok()
    }

    /// A list by what is known of the user; by nothing if that could not be
    /// read.
    async fn list(
        &self,
        request: &RecommendRequest,
        known: Option<&Known>,
        deadline: Deadline,
    ) -> Result<Recommendation, EngineError> {
        let config = &self.inner.config;
        let mut degraded = Vec::new();
        if known.is_none_or(|known| known.incomplete) {
            debug!("recommending without the whole user model");
            degraded.push(USER_MODEL.to_owned());
        }
        let (signals, signals_source) = match known {
            Some(known) => (Arc::clone(&known.signals), known.source),
            None => {
                let blank = UserSignals::empty(request.user.clone());
                (Arc::new(blank), Source::Empty)
            }
        };
        let seed = request
            .seed
            .map_or_else(|| self.inner.ports.randomness.next_u64(), u64::from);
        let draws = Draws::new(seed);
        let slot = exploration::decide(&config.exploration, request.limit, &draws);

        let mut profile = Profile::new(
            &signals,
            request.near,
            config.geo_scale_m,
            &self.inner.canonical,
        );
        let liked = strongest_positives(&signals);
        let liked_ids: Vec<ContentId> = liked.iter().map(|(id, _)| (*id).clone()).collect();
        let (pool, liked_items) = tokio::join!(
            self.candidates(request, &signals, &profile, &draws, slot.is_ok(), deadline)
                .instrument(spans::step("candidates")),
            self.items(&liked_ids, deadline),
        );
        let pool = pool?;
        let liked_items = liked_items.unwrap_or_else(|_| {
            degraded.push(LIKED_ITEMS.to_owned());
            self.cached_items(&liked_ids)
        });
        profile.set_liked(&liked, &liked_items);

        let explorer = slot.map(|slot| Explorer {
            slot,
            source: match pool.explorers {
                Some(found) => ExplorerSource::among(config.exploration.strategy, found),
                None => ExplorerSource::Leftover,
            },
        });
        let pool_size = pool.items.len();
        let RankedList {
            items,
            scored,
            exploration,
        } = spans::step("rank")
            .in_scope(|| ranking::rank(pool.items, &profile, explorer, request.limit, config));
        let empty = if items.is_empty() {
            Some(self.why_empty(&request.restriction, deadline).await?)
        } else {
            None
        };
        degraded.extend(pool.degraded);
        let cold = signals.is_cold() || pool.cold_start_fallback;
        Ok(Recommendation {
            request_id: self.fresh_request_id(),
            strategy: if cold { Strategy::Cold } else { Strategy::Warm },
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

    /// Gathers the candidates: unseen ones, and where there are none, seen
    /// ones (restricted request) or a random sample (open request).
    async fn candidates(
        &self,
        request: &RecommendRequest,
        signals: &UserSignals,
        profile: &Profile<'_>,
        draws: &Draws,
        explores: bool,
        deadline: Deadline,
    ) -> Result<Pool, EngineError> {
        let config = &self.inner.config;
        let in_query = self.inner.settings.max_excluded_ids;
        let unseen = Unseen::of(request, Some(signals), in_query);
        if !request.restriction.is_open() {
            let plan = candidates::restricted(request, profile, draws, config);
            let mut pool = self.gather(&plan, request, &unseen, deadline).await?;
            if pool.items.is_empty() && config.filter_reshow_when_exhausted {
                let all = Unseen::of(request, None, in_query);
                let degraded = std::mem::take(&mut pool.degraded);
                pool = self.gather(&plan, request, &all, deadline).await?;
                pool.seen_fallback = !pool.items.is_empty();
                if pool.degraded.is_empty() {
                    pool.degraded = degraded;
                }
            }
            return Ok(pool);
        }

        let plan = candidates::open(request, profile, draws, config, explores);
        let mut pool = self.gather(&plan, request, &unseen, deadline).await?;
        if plan.is_sample() {
            pool.cold_start_fallback = true;
            return Ok(pool);
        }
        let none_to_explore = pool.explorers.as_ref().is_some_and(Vec::is_empty);
        if pool.items.len() < request.limit || none_to_explore {
            let sample = candidates::sample(request, draws, config);
            let gathered = self.gather(&sample, request, &unseen, deadline).await?;
            pool.cold_start_fallback = pool.items.is_empty();
            let room = if pool.cold_start_fallback {
                usize::MAX
            } else {
                request.limit
            };
            pool.top_up(gathered, room);
        }
        Ok(pool)
    }

    async fn why_empty(
        &self,
        restriction: &Restriction,
        deadline: Deadline,
    ) -> Result<EmptyReason, EngineError> {
        let (open, nothing) = (Restriction::default(), HashSet::new());
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
        let found = self
            .inner
            .ports
            .items
            .search(&[probe(restriction), probe(&open)], deadline)
            .await
            .map_err(EngineError::catalogue_before(deadline))?;
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
