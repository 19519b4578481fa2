//! Builds a model from the buffer and saves it.

use std::sync::Arc;

use super::refresh_request::{RefreshRequest, RefreshResult};
use crate::{
    blocking,
    domain::{event::EventLog, ids::UserId, ranking_config::RankingConfig, signals},
    engine::{
        associations::{Associations, RecordRequest},
        error::{Dependency, EngineError, log_failure},
        item_reader::ItemReader,
    },
    ports::{
        BufferSnapshot, Deadline, EventBuffer, ModelStore, Rank, SaveOutcome, StoredModel, Version,
    },
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

    /// Builds and saves a user's model. Reads the buffer unless the request has it.
    /// A model that cannot be saved is returned: the next read builds it again.
    pub(super) async fn build(&self, user: &UserId, mut request: RefreshRequest) -> RefreshResult {
        let snapshot = match request.take_buffer() {
            Some(known) => known,
            None => {
                let read = self.events.read(user).await;
                read.map_err(EngineError::user_state)?
            }
        };
        let Some(version) = snapshot.version else {
            return Ok(None);
        };
        let read_at = snapshot.now;
        let model = self
            .build_from(user, version, snapshot, request.accepts_incomplete)
            .await?;
        self.associations
            .record(RecordRequest {
                user,
                list: &model.signals.interests,
                rank: model.rank(),
                replaces: request.replaces,
                read_at,
                writes_all: request.renews,
            })
            .await;
        let outcome = self.save(user, &model, request.replaces).await;
        meters::model_build(outcome);
        // A newer stored model has these events as well.
        if outcome != ModelBuild::NotSaved {
            for (received, events) in request.received {
                meters::model_lag(received, events);
            }
        }
        Ok(Some(model))
    }

    async fn build_from(
        &self,
        user: &UserId,
        version: Version,
        snapshot: BufferSnapshot,
        accepts_incomplete: bool,
    ) -> Result<StoredModel, EngineError> {
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
        // A long build must not delay other tasks of this thread.
        let built = if log.len() > LONG_LOG {
            blocking::in_place(build)
        } else {
            build()
        };
        Ok(StoredModel {
            version,
            ranking: Some(self.fingerprint),
            incomplete,
            signals: Arc::new(built),
        })
    }

    async fn save(&self, user: &UserId, model: &StoredModel, replaces: Option<Rank>) -> ModelBuild {
        match self.models.save(user, model, replaces).await {
            Ok(SaveOutcome::Saved) => ModelBuild::Saved,
            Ok(SaveOutcome::Superseded) => ModelBuild::Superseded,
            Err(error) => {
                log_failure(Dependency::UserState, &error);
                ModelBuild::NotSaved
            }
        }
    }
}
