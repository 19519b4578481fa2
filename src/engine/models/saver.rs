//! Saves models behind the acknowledgement of events.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tracing::{Instrument as _, debug};

use super::{
    built_model::BuiltModel,
    refresh_request::{RefreshRequest, RefreshResult},
    refresher::Refresher,
    save_queue::{Next, SaveQueue, SaveWork},
};
use crate::{
    domain::{ids::UserId, time::Timestamp},
    engine::{error::EngineError, tasks::Tasks},
    ports::{EventBuffer, ModelSlot, ModelStore, Version},
    telemetry::spans,
};

/// Number of models that are saved concurrently.
const CONCURRENT_SAVES: usize = 8;
/// A version that was observed longer ago is confirmed before a save: a save whose
/// data is too old is refused.
const CONFIRMED_FOR: Duration = Duration::from_secs(5);

/// Saves the models of the users in a queue, each when it is due.
pub(super) struct Saver {
    events: Arc<dyn EventBuffer>,
    models: Arc<dyn ModelStore>,
    refresher: Refresher,
    tasks: Tasks,
    permits: Arc<Semaphore>,
}

impl Saver {
    /// The saver of a refresher's queue. It works while the queue is not empty.
    pub(super) fn new(
        events: Arc<dyn EventBuffer>,
        models: Arc<dyn ModelStore>,
        refresher: Refresher,
        tasks: Tasks,
    ) -> Arc<Self> {
        let queue = Arc::clone(&refresher.queue);
        let saver = Arc::new(Self {
            events,
            models,
            refresher,
            tasks,
            permits: Arc::new(Semaphore::new(CONCURRENT_SAVES)),
        });
        let starter: Weak<Self> = Arc::downgrade(&saver);
        queue.set_starter(Box::new(move || {
            if let Some(saver) = starter.upgrade() {
                let tasks = saver.tasks.clone();
                tasks.spawn(saver.run());
            }
        }));
        saver
    }

    fn queue(&self) -> &SaveQueue {
        &self.refresher.queue
    }

    /// Saves what is due until the queue is empty.
    async fn run(self: Arc<Self>) {
        loop {
            match self.queue().next(Instant::now()) {
                Next::Save(user, work) => {
                    let permit = Arc::clone(&self.permits).acquire_owned().await;
                    let saver = Arc::clone(&self);
                    let span = spans::apart("model save", &work.causes);
                    let save = async move {
                        let _permit = permit;
                        saver.save(&user, work).await;
                    };
                    self.tasks.spawn(save.instrument(span));
                }
                Next::Wait(due) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(due.into()) => {}
                        () = self.queue().changed() => {}
                    }
                }
                Next::End => return,
            }
        }
    }

    async fn save(&self, user: &UserId, mut work: SaveWork) {
        let received = std::mem::take(&mut work.received);
        let is_known = received.is_empty();
        let (mut saved, mut cost) = (None, Duration::ZERO);
        match self.built(user, &work, is_known).await {
            Ok(Some(built)) => {
                let started = Instant::now();
                // The next build records associations that this one could not.
                let _ = self.refresher.builder.save(user, &built, received).await;
                saved = Some(built.model.rank());
                cost = built.cost + started.elapsed();
            }
            Ok(None) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                debug!(error, "model not saved: the next read builds it");
            }
        }
        self.queue().finish(user, saved, cost);
    }

    /// The model to save: the held one, if it is current, else a new one. `None` if
    /// there is nothing to save.
    async fn built(&self, user: &UserId, work: &SaveWork, is_known: bool) -> RefreshResult {
        let recent = self.now().await?.minus(CONFIRMED_FOR);
        let mut observed = work
            .observed
            .filter(|observed| observed.observed_at >= recent);
        let held = self.queue().held(user);
        let noted = work.observed.and_then(|observed| observed.version);
        if let Some(held) = held
            && Some(held.model.version) >= noted
        {
            if held.read_at >= recent {
                return Ok(Some(held));
            }
            let confirmed = self.events.version(user).await;
            let confirmed = confirmed.map_err(EngineError::user_state)?;
            if confirmed.version == Some(held.model.version) {
                return Ok(Some(BuiltModel {
                    read_at: confirmed.observed_at,
                    ..held
                }));
            }
            observed = Some(confirmed);
        }
        // The buffer may have got a later version without an append of this process.
        let observed = observed.filter(|observed| self.events.knows(user, observed));
        let observed = match observed {
            Some(observed) => observed,
            None => {
                let observed = self.events.version(user).await;
                observed.map_err(EngineError::user_state)?
            }
        };
        let Some(version) = observed.version else {
            return Ok(None);
        };
        // A redelivery: the process that stored the first copy may have died before
        // its save.
        if is_known && self.is_stored(user, version).await? {
            return Ok(None);
        }
        let request = RefreshRequest::from_version(observed);
        self.refresher.refresh_inline(user, request).await
    }

    async fn is_stored(&self, user: &UserId, version: Version) -> Result<bool, EngineError> {
        let slot = self.models.load(user).await;
        let slot = slot.map_err(EngineError::user_state)?;
        Ok(matches!(slot, ModelSlot::Present(model) if model.version >= version))
    }

    async fn now(&self) -> Result<Timestamp, EngineError> {
        let now = self.events.now().await;
        now.map_err(EngineError::user_state)
    }
}
