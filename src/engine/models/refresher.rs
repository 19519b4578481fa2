//! Refreshes of models: each builds a model, and saves it or holds it until it is
//! saved.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt as _;
use tracing::Instrument as _;

use super::{
    builder::ModelBuilder,
    refresh_request::{RefreshRequest, RefreshResult},
    save_queue::SaveQueue,
    singleflight::{PendingRefresh, Singleflight, result_of},
};
use crate::{
    domain::ids::UserId,
    engine::tasks::{Tasks, panicked},
    telemetry::{
        meters::{self, ModelBuild},
        spans,
    },
};

/// Runs refreshes. Clones share everything.
#[derive(Clone)]
pub(super) struct Refresher {
    pub(super) builder: Arc<ModelBuilder>,
    pub(super) queue: Arc<SaveQueue>,
    refreshes: Arc<Singleflight>,
    tasks: Tasks,
}

impl Refresher {
    pub(super) fn new(builder: ModelBuilder, queue: Arc<SaveQueue>, tasks: Tasks) -> Self {
        Self {
            builder: Arc::new(builder),
            queue,
            refreshes: Arc::default(),
            tasks,
        }
    }

    /// Refreshes a user's model from the known buffer, if that is new enough, or
    /// from a read that starts after this call. The refresh continues if the
    /// caller goes away.
    pub(super) async fn refresh(&self, user: &UserId, request: RefreshRequest) -> RefreshResult {
        self.start(user, request).await
    }

    /// Starts a [`Refresher::refresh`], and returns what waits for it.
    pub(super) fn start(
        &self,
        user: &UserId,
        request: RefreshRequest,
    ) -> impl Future<Output = RefreshResult> + use<> {
        let (result, is_first) = self.refreshes.join(user, request);
        if is_first {
            self.run_in_background(user, None);
        }
        result_of(result)
    }

    /// Like [`Refresher::refresh`], for callers that run to completion: it saves a
    /// task.
    pub(super) async fn refresh_inline(
        &self,
        user: &UserId,
        request: RefreshRequest,
    ) -> RefreshResult {
        let (result, is_first) = self.refreshes.join(user, request);
        if is_first && let Some(own) = self.refreshes.take_next(user) {
            self.run(user, own).await;
            if let Some(next) = self.refreshes.take_next(user) {
                self.run_in_background(user, Some(next));
            }
        }
        result_of(result).await
    }

    /// Runs the refreshes of a user in a task until none is pending.
    fn run_in_background(&self, user: &UserId, mut first: Option<PendingRefresh>) {
        let (refresher, user) = (self.clone(), user.clone());
        self.tasks.spawn(async move {
            let refreshes = &refresher.refreshes;
            while let Some(next) = first.take().or_else(|| refreshes.take_next(&user)) {
                refresher.run(&user, next).await;
            }
        });
    }

    async fn run(&self, user: &UserId, refresh: PendingRefresh) {
        let span = spans::apart("refresh", &refresh.causes);
        let (request, sender) = (refresh.request, refresh.result);
        // A panic must not end the later refreshes of the user.
        let built = AssertUnwindSafe(self.build(user, request)).catch_unwind();
        let result = match built.instrument(span).await {
            Ok(result) => result,
            Err(_) => Err(panicked(&RefreshPanicked)),
        };
        if result.is_err() {
            meters::model_build(ModelBuild::Failed);
        }
        sender.send_replace(Some(result));
    }

    /// Builds a model, and saves it unless it can be held until later.
    async fn build(&self, user: &UserId, request: RefreshRequest) -> RefreshResult {
        let built = self.builder.build(user, &request).await?;
        if let Some(built) = &built
            && (self.queue.is_immediate() || !self.queue.hold(user, built.clone()))
        {
            // The next build records associations that this one could not.
            let _ = self.builder.save(user, built, request.received).await;
        }
        Ok(built)
    }
}

/// The panic hook has logged the panic itself.
#[derive(Debug, thiserror::Error)]
#[error("a refresh panicked")]
struct RefreshPanicked;
