//! The current model of each user: read it, rebuild it when it is not current,
//! and save it.

mod builder;
mod built_model;
mod refresh_request;
mod refresher;
mod save_queue;
mod saver;
mod singleflight;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::debug;

use super::{
    associations::Associations, error::EngineError, item_reader::ItemReader, tasks::Tasks,
};
use crate::{
    domain::{
        ids::UserId, ranking_config::RankingConfig, time::Timestamp, user_signals::UserSignals,
    },
    ports::{
        AppendOutcome, Appended, EventBuffer, ModelSlot, ModelStore, ObservedVersion, Rank,
        StoreError, StoredModel, Version,
    },
    telemetry::meters::{self, Rebuild, Refresh},
};
use builder::ModelBuilder;
use refresh_request::RefreshRequest;
use refresher::Refresher;
use save_queue::{Noted, SaveQueue};
use saver::Saver;

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
    /// Fingerprint of the ranking file.
    fingerprint: u64,
    ages: ModelAges,
    refresher: Refresher,
    queue: Arc<SaveQueue>,
    /// The queue has a weak reference to it only.
    _saver: Arc<Saver>,
}

/// Times of models.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModelAges {
    /// Age at which a model is rebuilt even without new events.
    pub(super) max_age: Duration,
    /// Time between two saves of a user's model; 0 saves it before an event is
    /// acknowledged.
    pub(super) save_interval: Duration,
}

impl Models {
    pub(super) fn new(
        events: Arc<dyn EventBuffer>,
        models: Arc<dyn ModelStore>,
        items: ItemReader,
        config: Arc<RankingConfig>,
        associations: Associations,
        ages: ModelAges,
        tasks: &Tasks,
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
        let queue = Arc::new(SaveQueue::new(ages.save_interval));
        let refresher = Refresher::new(builder, Arc::clone(&queue), tasks.clone());
        let saver = Saver::new(
            Arc::clone(&events),
            Arc::clone(&models),
            refresher.clone(),
            tasks.clone(),
        );
        Self {
            inner: Arc::new(ModelsState {
                events,
                models,
                items,
                fingerprint,
                ages,
                refresher,
                queue,
                _saver: saver,
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

    /// Brings the stored model up to date with an append: now, or later if models are
    /// saved behind the acknowledgement. Callers run to completion.
    pub(super) async fn after_append(
        &self,
        user: &UserId,
        appended: &Appended,
        received: Instant,
    ) -> Result<(), EngineError> {
        let count = |wanted| {
            let is_wanted = |outcome: &&AppendOutcome| **outcome == wanted;
            appended.outcomes.iter().filter(is_wanted).count()
        };
        let accepted = count(AppendOutcome::Accepted);
        if accepted == 0 && count(AppendOutcome::Duplicate) == 0 {
            return Ok(());
        }
        let observed = ObservedVersion {
            version: appended.version,
            observed_at: appended.now,
        };
        let inner = &*self.inner;
        if !inner.queue.is_immediate() {
            let received = (accepted > 0).then_some((received, accepted));
            let noted = inner.queue.note(user, observed, received);
            match noted {
                Noted::Queued if accepted > 0 => meters::model_refresh(Refresh::Own),
                Noted::Joined if accepted > 0 => meters::model_refresh(Refresh::Shared),
                Noted::Queued | Noted::Joined => {}
                Noted::Dropped => debug!("model not queued: the next read builds it"),
            }
            return Ok(());
        }
        if accepted > 0 {
            let request = RefreshRequest {
                received: vec![(received, accepted)],
                ..RefreshRequest::from_version(observed)
            };
            let refreshed = inner.refresher.refresh_inline(user, request).await;
            return refreshed.map(|_| ());
        }
        // The process that stored the first copy may have died before its refresh.
        self.ensure_current(user).await
    }

    /// Forgets what is known of a user, because they were erased.
    pub(super) fn forget(&self, user: &UserId) {
        self.inner.queue.forget(user);
    }

    /// Makes all models that wait to be saved due at once, until the returned guard
    /// is dropped.
    pub(super) fn flush(&self) -> impl Drop + '_ {
        self.inner.queue.flush()
    }

    /// Builds and saves a user's model, and records its associations as a whole.
    /// Returns whether the user has events.
    pub(super) async fn rebuild(&self, user: &UserId) -> Result<bool, EngineError> {
        self.build_whole(user, false).await
    }

    /// Builds and saves the model of a user who got the events of another one, and
    /// records its associations as a whole. Without its items, if they cannot be read.
    pub(super) async fn after_merge(&self, user: &UserId) -> Result<(), EngineError> {
        self.build_whole(user, true).await.map(|_| ())
    }

    async fn build_whole(
        &self,
        user: &UserId,
        accepts_incomplete: bool,
    ) -> Result<bool, EngineError> {
        let inner = &*self.inner;
        let observed = inner.events.version(user).await;
        let request = RefreshRequest {
            renews: true,
            accepts_incomplete,
            ..RefreshRequest::from_version(observed.map_err(EngineError::user_state)?)
        };
        let builder = &inner.refresher.builder;
        let Some(built) = builder.build(user, &request).await? else {
            return Ok(false);
        };
        builder.save(user, &built, Vec::new()).await?;
        Ok(true)
    }

    async fn load_or_rebuild(
        &self,
        user: &UserId,
    ) -> Result<(Option<StoredModel>, SignalsSource), EngineError> {
        let inner = &*self.inner;
        // The model that an append of this process made necessary is built while the store
        // says whether others appended as well.
        let noted = inner.queue.unbuilt(user);
        let noted = noted.filter(|noted| inner.events.knows(user, noted));
        let ahead = noted.map(|noted| {
            let request = RefreshRequest::from_version(noted);
            (noted.version, inner.refresher.start(user, request))
        });
        let (slot, mut observed) = self.stored(user).await.map_err(EngineError::user_state)?;
        if let ModelSlot::Erased(erased) = slot
            && observed.version <= Some(erased)
        {
            inner.queue.forget(user);
            return Ok((None, SignalsSource::Empty));
        }
        let mut loaded = self.judge(slot);
        if let (Some(model), Some(buffer)) = (&loaded.model, observed.version)
            && model.version > buffer
        {
            // Either an append came between the two answers, or the buffer was
            // lost and restarted under a clock that is behind.
            let latest = inner.events.version(user).await;
            observed = latest.map_err(EngineError::user_state)?;
        }
        match ahead {
            Some((version, built)) if version == observed.version && loaded.is_behind(version) => {
                meters::model_rebuild(loaded.if_rebuilt);
                let built = built.await?;
                return Ok((built.map(|built| built.model), SignalsSource::Rebuilt));
            }
            // What is stored is as new, or must be replaced.
            Some(_) => {}
            None => loaded.prefer(self.held(user, observed.version)),
        }
        let now = inner.events.now().await.map_err(EngineError::user_state)?;
        match (loaded.model, observed.version) {
            (Some(model), Some(version)) if model.version == version && !model.incomplete => {
                self.keep_or_renew(user, model, observed, now).await
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
                    ..RefreshRequest::from_version(observed)
                };
                let built = inner.refresher.refresh(user, request).await?;
                Ok((built.map(|built| built.model), SignalsSource::Rebuilt))
            }
            // Without a buffer there is nothing to rebuild from. The stored model
            // counts until the buffer would have expired.
            (model, None) => Ok((
                model.filter(|model| is_within_window(model, now)),
                SignalsSource::Materialized,
            )),
        }
    }

    /// Reads the stored model and the version of the buffer.
    async fn stored(&self, user: &UserId) -> Result<(ModelSlot, ObservedVersion), StoreError> {
        let inner = &*self.inner;
        match inner.models.load_with_version(user).await {
            Some(read) => read,
            None => tokio::try_join!(inner.models.load(user), inner.events.version(user)),
        }
    }

    /// The model that waits to be saved, if it is of this version and usable.
    fn held(&self, user: &UserId, version: Option<Version>) -> Option<StoredModel> {
        let held = self.inner.queue.held(user)?.model;
        (Some(held.version) == version && self.is_usable(&held)).then_some(held)
    }

    /// A model that has every event: kept while it is young, else rebuilt for
    /// changes of the catalogue.
    async fn keep_or_renew(
        &self,
        user: &UserId,
        model: StoredModel,
        observed: ObservedVersion,
        now: Timestamp,
    ) -> Result<(Option<StoredModel>, SignalsSource), EngineError> {
        let max_age = self.inner.ages.max_age;
        let built_at = model.signals.built_at;
        if built_at.is_some_and(|built_at| now < built_at.plus(max_age)) {
            return Ok((Some(model), SignalsSource::Materialized));
        }
        meters::model_rebuild(Rebuild::Old);
        let request = RefreshRequest {
            // Without items, the stored model is the better one.
            accepts_incomplete: false,
            renews: true,
            ..RefreshRequest::from_version(observed)
        };
        Ok(match self.inner.refresher.refresh(user, request).await {
            Ok(built) => (built.map(|built| built.model), SignalsSource::Rebuilt),
            Err(_) => (Some(model), SignalsSource::Materialized),
        })
    }

    fn judge(&self, slot: ModelSlot) -> LoadedModel {
        let (model, unusable, if_rebuilt) = match slot {
            ModelSlot::Present(model) if self.is_usable(&model) => {
                (Some(model), None, Rebuild::Behind)
            }
            ModelSlot::Present(model) => (None, Some(model.rank()), Rebuild::Old),
            ModelSlot::Missing | ModelSlot::Erased(_) => (None, None, Rebuild::Missing),
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

impl LoadedModel {
    /// Takes the held model of the buffer's version, unless a newer one is stored.
    fn prefer(&mut self, held: Option<StoredModel>) {
        let Some(held) = held else {
            return;
        };
        let is_worse = |model: &StoredModel| {
            model.version != held.version || model.rank() < held.rank() || model.incomplete
        };
        if self.model.as_ref().is_none_or(is_worse) {
            self.model = Some(held);
        }
    }

    /// Whether a save of a model of this version replaces what is stored.
    fn is_behind(&self, version: Option<Version>) -> bool {
        let is_older = |model: &StoredModel| Some(model.version) < version;
        self.unusable.is_none() && self.model.as_ref().is_none_or(is_older)
    }
}

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
