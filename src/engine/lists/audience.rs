//! Whom or what a list is for.

use tracing::{Instrument as _, debug};

use super::{
    recommendation::{ColdReason, Degradation},
    request::{ListKind, ListRequest},
};
use crate::{
    domain::{
        ids::{ContentId, UserId},
        ranking::{
            context::ContextItem,
            interest::{IgnoredItems, Interest, Near, hidden_items},
        },
        ranking_config::Preset,
    },
    engine::{
        error::EngineError,
        handle::Engine,
        models::{CurrentModel, SignalsSource},
    },
    ports::Deadline,
    telemetry::spans,
};

/// Whom or what a list is for.
pub(super) struct Audience {
    pub(super) interest: Interest,
    pub(super) signals_source: SignalsSource,
    /// Why the list is cold, if it is.
    pub(super) cold_reason: ColdReason,
    pub(super) degraded: Vec<Degradation>,
}

/// What is known of a list's user.
pub(super) enum UserState {
    /// The list has no user.
    NoUser,
    /// The model could not be read in time.
    Unavailable,
    /// The model.
    Read(CurrentModel),
}

/// The items at hand, the latest first.
#[derive(Default)]
pub(super) struct Context {
    pub(super) items: Vec<ContextItem>,
    /// Those that the catalogue lacks.
    pub(super) unknown: Vec<ContentId>,
    /// Whether contents could not be read.
    is_incomplete: bool,
}

impl Engine {
    pub(super) async fn user_state(&self, user: Option<&UserId>, deadline: Deadline) -> UserState {
        let Some(user) = user else {
            return UserState::NoUser;
        };
        let model = self.inner.models.current(user);
        let model = model.instrument(spans::step("user model"));
        match tokio::time::timeout(deadline.remaining(), model).await {
            Ok(Ok(model)) => UserState::Read(model),
            Ok(Err(_)) | Err(_) => UserState::Unavailable,
        }
    }

    /// Reads the items at hand. If the catalogue does not answer, those that are cached
    /// have their content.
    ///
    /// # Errors
    /// For a list of similar items: [`EngineError::UnknownItem`], or another one if the
    /// item can neither be read nor is cached.
    pub(super) async fn context(
        &self,
        kind: &ListKind,
        ids: &[ContentId],
        deadline: Deadline,
    ) -> Result<Context, EngineError> {
        if ids.is_empty() {
            return Ok(Context::default());
        }
        let is_required = match kind {
            ListKind::SimilarTo { .. } => true,
            ListKind::ForUser { .. } | ListKind::MostPopular { .. } => false,
        };
        let items = &self.inner.items;
        let (found, failure) = match items.read(ids, deadline).await {
            Ok(found) => (found, None),
            Err(error) => (items.cached(ids), Some(error)),
        };
        let mut context = Context::default();
        for id in ids {
            let content = found.get(id).cloned();
            match (&failure, content) {
                (None, None) if is_required => return Err(EngineError::UnknownItem),
                (None, None) => context.unknown.push(id.clone()),
                (Some(error), None) if is_required => return Err(error.clone()),
                (_, content) => {
                    context.is_incomplete |= content.is_none();
                    let id = id.clone();
                    context.items.push(ContextItem { id, content });
                }
            }
        }
        Ok(context)
    }

    pub(super) fn audience(
        &self,
        state: &UserState,
        context: &Context,
        request: &ListRequest,
    ) -> Audience {
        let config = &self.inner.config;
        let model = match state {
            UserState::Read(model) => Some(model),
            UserState::NoUser | UserState::Unavailable => None,
        };
        let mut degraded = Vec::new();
        let is_unavailable = matches!(state, UserState::Unavailable);
        if is_unavailable || model.is_some_and(|model| model.incomplete) {
            debug!("list is made without a complete user model");
            degraded.push(Degradation::UserModel);
        }
        if context.is_incomplete {
            degraded.push(Degradation::Context);
        }
        let ignored_items = match config.preset {
            Preset::Recsys => IgnoredItems::ScoredLower,
            Preset::Reference => IgnoredItems::Hidden,
        };
        let interest = match (model, &request.kind) {
            (None, _) => Interest::nobody(),
            (Some(model), ListKind::ForUser { .. }) => {
                let canonical = &self.inner.canonical;
                Interest::of_user(&model.signals, canonical, ignored_items, request.seen)
            }
            (Some(model), ListKind::SimilarTo { .. } | ListKind::MostPopular { .. }) => Interest {
                seen: hidden_items(&model.signals, ignored_items, request.seen),
                ..Interest::nobody()
            },
        };
        let interest = interest.with_context(&context.items, &config.untasted_facets);
        let cold_reason = match (state, &request.kind) {
            (_, ListKind::MostPopular { .. }) | (UserState::NoUser, ListKind::ForUser { .. })
                if interest.is_cold() =>
            {
                ColdReason::NoUser
            }
            (_, ListKind::SimilarTo { .. } | ListKind::MostPopular { .. })
            | (UserState::NoUser, ListKind::ForUser { .. }) => ColdReason::CatalogueWithoutFeatures,
            (UserState::Unavailable, ListKind::ForUser { .. }) => ColdReason::UserStateUnavailable,
            (UserState::Read(model), ListKind::ForUser { .. }) => match model.source {
                SignalsSource::Empty if interest.is_cold() => ColdReason::UnknownUser,
                SignalsSource::Materialized | SignalsSource::Rebuilt if interest.is_cold() => {
                    ColdReason::NoPositiveEvents
                }
                SignalsSource::Empty | SignalsSource::Materialized | SignalsSource::Rebuilt => {
                    ColdReason::CatalogueWithoutFeatures
                }
            },
        };
        let near = request.near;
        let scale_m = config.geo_scale_m;
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
}
