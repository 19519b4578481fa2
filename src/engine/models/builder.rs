//! Builds a model from the buffer, and saves one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    built_model::BuiltModel,
    refresh_request::{RefreshRequest, RefreshResult},
};
use crate::{
    blocking,
    domain::{event::EventLog, ids::UserId, ranking_config::RankingConfig, signals},
    engine::{
        associations::{Associations, RecordRequest},
        error::{Dependency, EngineError, log_failure},
        item_reader::ItemReader,
    },
    ports::{BufferSnapshot, Deadline, EventBuffer, ModelStore, SaveOutcome, StoredModel, Version},
    telemetry::meters::{self, ModelBuild},
};

/// Number of events above which building a model takes milliseconds.
const LONG_LOG: usize = 1_000;

pub(super) struct ModelBuilder {
    events: Arc<dyn EventBuffer>,
    models: Arc<dyn ModelStore>,
    items: ItemReader,
    config: Arc<RankingConfig>,
    associations: Associations,
    fingerprint: u64,
}

impl ModelBuilder {
    pub(super) fn new(
        events: Arc<dyn EventBuffer>,
        models: Arc<dyn ModelStore>,
        items: ItemReader,
        config: Arc<RankingConfig>,
        associations: Associations,
        fingerprint: u64,
    ) -> Self {
        Self {
            events,
            models,
            items,
            config,
            associations,
            fingerprint,
        }
    }

    /// Builds a user's model. Reads the buffer unless the store knows it.
    pub(super) async fn build(&self, user: &UserId, request: &RefreshRequest) -> RefreshResult {
        let snapshot = match self.events.known(user, &request.observed) {
            Some(known) => known,
            None => {
                let read = self.events.read(user).await;
                read.map_err(EngineError::user_state)?
            }
        };
        let (Some(version), read_at) = (snapshot.version, snapshot.read_at) else {
            return Ok(None);
        };
        let (model, cost) = self
            .build_from(user, version, snapshot, request.accepts_incomplete)
            .await?;
        Ok(Some(BuiltModel {
            model,
            read_at,
            replaces: request.replaces,
            renews: request.renews,
            cost,
        }))
    }

    /// Saves a model after its associations, and counts the lag of the events that it
    /// has. If it cannot be saved, the next read builds it again.
    ///
    /// # Errors
    /// [`EngineError`] if the associations were not recorded; the model may be saved
    /// nevertheless.
    pub(super) async fn save(
        &self,
        user: &UserId,
        built: &BuiltModel,
        received: Vec<(Instant, usize)>,
    ) -> Result<(), EngineError> {
        let recorded = self
            .associations
            .record(RecordRequest {
                user,
                list: &built.model.signals.interests,
                rank: built.model.rank(),
                replaces: built.replaces,
                read_at: built.read_at,
                writes_all: built.renews,
            })
            .await;
        let saved = self
            .models
            .save(user, &built.model, built.replaces, built.read_at);
        let outcome = match saved.await {
            Ok(SaveOutcome::Saved) => ModelBuild::Saved,
            Ok(SaveOutcome::Superseded) => ModelBuild::Superseded,
            Err(error) => {
                log_failure(Dependency::UserState, &error);
                ModelBuild::NotSaved
            }
        };
        meters::model_build(outcome);
        // A newer stored model has these events as well.
        if outcome != ModelBuild::NotSaved {
            for (received, events) in received {
                meters::model_lag(received, events);
            }
        }
        recorded
    }

    async fn build_from(
        &self,
        user: &UserId,
        version: Version,
        snapshot: BufferSnapshot,
        accepts_incomplete: bool,
    ) -> Result<(StoredModel, Duration), EngineError> {
        let log = EventLog::new(snapshot.events);
        let ids = signals::items_needed(&log);
        // Several callers share it, so it is bounded by the store's own time-outs
        // and not by the deadline of one of them.
        let (items, incomplete) = match self.items.read(&ids, Deadline::NONE).await {
            Ok(items) => (items, false),
            Err(_) if accepts_incomplete => (self.items.cached(&ids), true),
            Err(error) => return Err(error),
        };
        if !incomplete {
            meters::model_items(ids.len(), items.values().count());
        }
        let build = || signals::build(user, &log, &items, snapshot.now, &self.config);
        let started = Instant::now();
        // A long build must not delay other tasks of this thread.
        let built = if log.len() > LONG_LOG {
            blocking::in_place(build)
        } else {
            build()
        };
        let model = StoredModel {
            version,
            ranking: Some(self.fingerprint),
            incomplete,
            signals: Arc::new(built),
        };
        Ok((model, started.elapsed()))
    }
}
