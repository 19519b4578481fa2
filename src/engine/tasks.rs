//! Tasks that run to completion, even if their callers go away.

use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, error};

use super::error::EngineError;
use crate::telemetry::{
    meters,
    spans::{self, Cause},
};

/// The tasks of an engine. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Tasks(TaskTracker);

impl Tasks {
    /// Starts a task for the current call. The returned future waits for its
    /// result; the task continues if that future is dropped.
    pub(super) fn spawn_to_completion<W>(
        &self,
        name: &'static str,
        work: W,
    ) -> impl Future<Output = Result<W::Output, EngineError>> + Send + use<W>
    where
        W: Future<Output: Send> + Send + 'static,
    {
        let span = spans::apart(name, &Cause::current());
        let task = self.0.spawn(work.instrument(span));
        async move { task.await.map_err(|failure| panicked(&failure)) }
    }

    /// Starts a task that nobody waits for.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(work);
    }

    /// Whether no task is running.
    pub(super) fn is_idle(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until all tasks have ended. New ones can still be started.
    pub(super) async fn finish(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

/// Counts and logs a panic of a task.
pub(super) fn panicked(failure: &(dyn std::error::Error + 'static)) -> EngineError {
    meters::panicked();
    error!(error = failure, "task failed");
    EngineError::Panicked
}
