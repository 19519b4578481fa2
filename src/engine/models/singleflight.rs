//! At most one refresh of a user at a time in this process.
//!
//! A caller joins the user's next refresh, never the running one, which may have
//! read the buffer before the caller's append. So each caller waits for at most two
//! refreshes, and the model that it gets has its event.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::refresh_request::{RefreshRequest, RefreshResult};
use crate::{
    domain::ids::UserId,
    engine::error::EngineError,
    telemetry::{
        meters::{self, Refresh},
        spans::Cause,
    },
};

/// The running and pending refreshes, by user.
#[derive(Default)]
pub(super) struct Singleflight {
    by_user: Mutex<HashMap<UserId, Flight>>,
}

/// Exists while a task runs refreshes of its user.
struct Flight {
    /// The next refresh, if a caller waits for one.
    next: Option<PendingRefresh>,
}

/// A refresh that has not started.
pub(super) struct PendingRefresh {
    pub(super) request: RefreshRequest,
    /// Sends the result to all callers.
    pub(super) result: watch::Sender<Option<RefreshResult>>,
    /// The traced operations of the callers.
    pub(super) causes: Vec<Cause>,
}

/// Waits for the result of a refresh.
pub(super) async fn result_of(
    mut receiver: watch::Receiver<Option<RefreshResult>>,
) -> RefreshResult {
    match receiver.wait_for(Option::is_some).await {
        Ok(result) => result.clone().unwrap_or(Err(EngineError::Panicked)),
        Err(_) => Err(EngineError::Panicked),
    }
}

impl Singleflight {
    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Flight>> {
        // Changes are single steps, so a panic leaves it consistent.
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the user's next refresh. If this returns true, no task runs the
    /// user's refreshes, and the caller must start one.
    pub(super) fn join(
        &self,
        user: &UserId,
        request: RefreshRequest,
    ) -> (watch::Receiver<Option<RefreshResult>>, bool) {
        let mut flights = self.lock();
        let is_first = !flights.contains_key(user);
        let flight = flights.entry(user.clone()).or_insert(Flight { next: None });
        if !request.received.is_empty() {
            meters::model_refresh(match flight.next {
                Some(_) => Refresh::Shared,
                None => Refresh::Own,
            });
        }
        let receiver = match &mut flight.next {
            Some(next) => {
                next.request.merge(request);
                next.causes.extend(Cause::current());
                next.result.subscribe()
            }
            none => {
                let result = watch::Sender::new(None);
                let receiver = result.subscribe();
                let causes = Vec::from_iter(Cause::current());
                *none = Some(PendingRefresh {
                    request,
                    result,
                    causes,
                });
                receiver
            }
        };
        (receiver, is_first)
    }

    /// Takes the user's next refresh to run it: nobody joins it any more. If there
    /// is none, the task that runs the user's refreshes must end.
    pub(super) fn take_next(&self, user: &UserId) -> Option<PendingRefresh> {
        let mut flights = self.lock();
        let next = flights.get_mut(user).and_then(|flight| flight.next.take());
        if next.is_none() {
            flights.remove(user);
        }
        next
    }
}
