//! The current model of each user: read it, rebuild it when it is not current,
//! and save it.

mod builder;
mod refresh_request;
mod singleflight;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::{
    associations::Associations,
    error::EngineError,
    item_reader::ItemReader,
    tasks::{Tasks, panicked},
};
use crate::{
    domain::{
        ids::UserId, ranking_config::RankingConfig, time::Timestamp, user_signals::UserSignals,
    },
    ports::{
        AppendOutcome, Appended, EventBuffer, ModelSlot, ModelStore, Rank, StoredModel, Version,
    },
    telemetry::{
        meters::{self, ModelBuild, Rebuild},
        spans,
    },
};
use builder::ModelBuilder;
use refresh_request::{RefreshRequest, RefreshResult};
use singleflight::{PendingRefresh, Singleflight, result_of};

/// Where a model comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalsSource {
    /// The stored model was current.
    Materialized,
    /// The stored model was missing, stale or unreadable. It was rebuilt from the
    /// buffer.
    Rebuilt,
    /// Nothing is stored about the user.
    Empty,
}

impl SignalsSource {
    const ALL: [Self; 3] = [Self::Materialized, Self::Rebuilt, Self::Empty];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Materialized => "materialized",
            Self::Rebuilt => "rebuilt",
            Self::Empty => "empty",
        }
    }
}

pub(super) fn start_metrics() {
    for source in SignalsSource::ALL {
        meters::model_reads(source.name(), 0);
    }
}

/// A model as of its last event.
pub(super) struct CurrentModel {
    pub(super) signals: Arc<UserSignals>,
    pub(super) source: SignalsSource,
    /// Whether items could not be read when it was built.
    pub(super) incomplete: bool,
}

/// The models of all users. Clones share everything.
#[derive(Clone)]
pub(super) struct Models {
    inner: Arc<ModelsState>,
}

struct ModelsState {
    events: Arc<dyn EventBuffer>,
    models: Arc<dyn ModelStore>,
    items: ItemReader,
    builder: ModelBuilder,
    /// Fingerprint of the ranking file.
    fingerprint: u64,
    max_age: Duration,
    refreshes: Singleflight,
    tasks: Tasks,
}

impl Models {
    pub(super) fn new(
        events: Arc<dyn EventBuffer>,
        models: Arc<dyn ModelStore>,
        items: ItemReader,
        config: Arc<RankingConfig>,
        associations: Associations,
        max_age: Duration,
        tasks: Tasks,
    ) -> Self {
        let fingerprint = config.fingerprint();
        let builder = ModelBuilder::new(
            Arc::clone(&events),
            Arc::clone(&models),
            items.clone(),
            config,
            associations,
            fingerprint,
        );
        Self {
            inner: Arc::new(ModelsState {
                events,
                models,
                items,
                builder,
                fingerprint,
                max_age,
                refreshes: Singleflight::default(),
                tasks,
            }),
        }
    }

    /// Reads a user's model, rebuilding it if it is not current. An unknown user
    /// has an empty one.
    pub(super) async fn current(&self, user: &UserId) -> Result<CurrentModel, EngineError> {
        let (model, source) = self.load_or_rebuild(user).await?;
        let current = match model {
            Some(model) if !model.signals.is_blank() => CurrentModel {
                signals: model.signals,
                source,
                incomplete: model.incomplete,
            },
            Some(_) | None => CurrentModel {
                signals: Arc::new(UserSignals::empty(user.clone())),
                source: SignalsSource::Empty,
                incomplete: false,
            },
        };
        meters::model_reads(current.source.name(), 1);
        Ok(current)
    }

    /// Makes sure that the stored model is current, whoever appended the events
    /// that it lacks.
    async fn ensure_current(&self, user: &UserId) -> Result<(), EngineError> {
        self.current(user).await.map(|_| ())
    }

    /// Brings the stored model up to date with an append. Callers run to
    /// completion.
    pub(super) async fn after_append(
        &self,
        user: &UserId,
        appended: Appended,
        received: Instant,
    ) -> Result<(), EngineError> {
        let is_accepted = |outcome: &&AppendOutcome| **outcome == AppendOutcome::Accepted;
        let accepted = appended.outcomes.iter().filter(is_accepted).count();
        if let Some(version) = appended.version.filter(|_| accepted > 0) {
            let request = RefreshRequest {
                buffer: appended.contents,
                received: vec![(received, accepted)],
                ..RefreshRequest::from_version(version)
            };
            return self.refresh_inline(user, request).await.map(|_| ());
        }
        if appended.outcomes.contains(&AppendOutcome::Duplicate) {
            // The process that stored the first copy may have died before its
            // refresh.
            return self.ensure_current(user).await;
        }
        Ok(())
    }

    /// Discards what is known of a user's buffer, because it was deleted.
    pub(super) fn forget_buffer(&self, user: &UserId) {
        self.inner.refreshes.forget_buffer(user);
    }

    /// Builds and saves a user's model, and records its associations as a whole.
    /// Returns whether the user has events.
    pub(super) async fn rebuild(&self, user: &UserId) -> Result<bool, EngineError> {
        let request = RefreshRequest {
            renews: true,
            accepts_incomplete: false,
            ..RefreshRequest::from_version(Version(0))
        };
        Ok(self.refresh(user, request).await?.is_some())
    }

    async fn load_or_rebuild(
        &self,
        user: &UserId,
    ) -> Result<(Option<StoredModel>, SignalsSource), EngineError> {
        let inner = &*self.inner;
        let (slot, mut version) =
            tokio::try_join!(inner.models.load(user), inner.events.version(user))
                .map_err(EngineError::user_state)?;
        let loaded = self.judge(slot);
        if let (Some(model), Some(buffer)) = (&loaded.model, version)
            && model.version > buffer
        {
            // Either an append came between the two answers, or the buffer was
            // lost and restarted under a clock that is behind.
            let latest = inner.events.version(user).await;
            version = latest.map_err(EngineError::user_state)?;
        }
        let now = inner.events.now().await.map_err(EngineError::user_state)?;
        match (loaded.model, version) {
            (Some(model), Some(version)) if model.version == version && !model.incomplete => {
                self.keep_or_renew(user, model, now).await
            }
            (model, Some(version)) => {
                meters::model_rebuild(loaded.if_rebuilt);
                let request = RefreshRequest {
                    // The stored model is of a lost buffer, lacks its items, or is
                    // unusable here: then its version does not protect it.
                    replaces: model
                        .filter(|model| model.version > version || model.incomplete)
                        .map(|model| model.rank())
                        .or(loaded.unusable),
                    ..RefreshRequest::from_version(version)
                };
                Ok((self.refresh(user, request).await?, SignalsSource::Rebuilt))
            }
            // Without a buffer there is nothing to rebuild from. The stored model
            // counts until the buffer would have expired.
            (model, None) => Ok((
                model.filter(|model| is_within_window(model, now)),
                SignalsSource::Materialized,
            )),
        }
    }

    /// A model that has every event: kept while it is young, else rebuilt for
    /// changes of the catalogue.
    async fn keep_or_renew(
        &self,
        user: &UserId,
        model: StoredModel,
        now: Timestamp,
    ) -> Result<(Option<StoredModel>, SignalsSource), EngineError> {
        let max_age = self.inner.max_age;
        let built_at = model.signals.built_at;
        if built_at.is_some_and(|built_at| now < built_at.plus(max_age)) {
            return Ok((Some(model), SignalsSource::Materialized));
        }
        meters::model_rebuild(Rebuild::Old);
        let request = RefreshRequest {
            // Without items, the stored model is the better one.
            accepts_incomplete: false,
            renews: true,
            ..RefreshRequest::from_version(model.version)
        };
        Ok(match self.refresh(user, request).await {
            Ok(rebuilt) => (rebuilt, SignalsSource::Rebuilt),
            Err(_) => (Some(model), SignalsSource::Materialized),
        })
    }

    fn judge(&self, slot: ModelSlot) -> LoadedModel {
        let (model, unusable, if_rebuilt) = match slot {
            ModelSlot::Present(model) if self.is_usable(&model) => {
                (Some(model), None, Rebuild::Behind)
            }
            ModelSlot::Present(model) => (None, Some(model.rank()), Rebuild::Old),
            ModelSlot::Missing | ModelSlot::Erased => (None, None, Rebuild::Missing),
            ModelSlot::Unreadable => (None, None, Rebuild::Unreadable),
        };
        LoadedModel {
            model,
            unusable,
            if_rebuilt,
        }
    }

    /// Whether a model was built with this ranking file and vector size.
    fn is_usable(&self, model: &StoredModel) -> bool {
        // A model of another program has no fingerprint. It is used until there is
        // something newer to build from.
        let same_ranking = model
            .ranking
            .is_none_or(|ranking| ranking == self.inner.fingerprint);
        same_ranking && self.inner.items.fits(&model.signals)
    }

    /// Refreshes a user's model from the known buffer, if that is new enough, or
    /// from a read that starts after this call. The refresh continues if the
    /// caller goes away.
    async fn refresh(&self, user: &UserId, request: RefreshRequest) -> RefreshResult {
        let (result, is_first) = self.inner.refreshes.join(user, request);
        if is_first {
            self.run_in_background(user, None);
        }
        result_of(result).await
    }

    /// Like [`Models::refresh`], for callers that run to completion: it saves a
    /// task.
    async fn refresh_inline(&self, user: &UserId, request: RefreshRequest) -> RefreshResult {
        let refreshes = &self.inner.refreshes;
        let (result, is_first) = refreshes.join(user, request);
        if is_first && let Some(own) = refreshes.take_next(user) {
            self.run(user, own).await;
            if let Some(next) = refreshes.take_next(user) {
                self.run_in_background(user, Some(next));
            }
        }
        result_of(result).await
    }

    /// Runs the refreshes of a user in a task until none is pending.
    fn run_in_background(&self, user: &UserId, mut first: Option<PendingRefresh>) {
        let (models, user) = (self.clone(), user.clone());
        self.inner.tasks.spawn(async move {
            let refreshes = &models.inner.refreshes;
            while let Some(next) = first.take().or_else(|| refreshes.take_next(&user)) {
                models.run(&user, next).await;
            }
        });
    }

    async fn run(&self, user: &UserId, refresh: PendingRefresh) {
        let span = spans::apart("refresh", &refresh.causes);
        let build = self.inner.builder.build(user, refresh.request);
        // A panic must not end the later refreshes of the user.
        let built = AssertUnwindSafe(build).catch_unwind();
        let result = match built.instrument(span).await {
            Ok(result) => result,
            Err(_) => Err(panicked(&RefreshPanicked)),
        };
        if result.is_err() {
            meters::model_build(ModelBuild::Failed);
        }
        refresh.result.send_replace(Some(result));
    }
}

/// A stored model, judged.
struct LoadedModel {
    /// The model, if it is usable here.
    model: Option<StoredModel>,
    /// Rank of a model that is not usable here.
    unusable: Option<Rank>,
    /// The reason of a rebuild, if there is a buffer.
    if_rebuilt: Rebuild,
}

/// The panic hook has logged the panic itself.
#[derive(Debug, thiserror::Error)]
#[error("a refresh panicked")]
struct RefreshPanicked;

/// Whether the buffer of a model would still exist: its version is the time at
/// which it expires. A model of another program has the lowest version and its
/// own time to live.
fn is_within_window(model: &StoredModel, now: Timestamp) -> bool {
    let now = u64::try_from(now.as_millis()).unwrap_or_default();
    model.version == Version(0) || model.version.0 > now
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::is_within_window;
    use crate::{
        domain::{ids::UserId, time::Timestamp, user_signals::UserSignals},
        ports::{StoredModel, Version},
    };

    #[test]
    fn a_model_without_buffer_counts_until_the_buffer_would_have_expired() {
        let now = Timestamp::from_micros(5_000_999);
        for (version, counts) in [(0, true), (4_999, false), (5_000, false), (5_001, true)] {
            let model = StoredModel {
                version: Version(version),
                ranking: None,
                incomplete: false,
                signals: Arc::new(UserSignals::empty(UserId::parse("u").unwrap())),
            };
            assert_eq!(is_within_window(&model, now), counts, "{version}");
        }
    }
}
