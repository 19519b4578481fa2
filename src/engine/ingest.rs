//! Ingesting events.

use std::{collections::HashMap, sync::Arc, time::Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{Instrument as _, debug};

use super::{error::EngineError, handle::Engine};
use crate::{
    domain::{event::StoredEvent, ids::UserId},
    ports::{AppendOutcome, Appended, Deadline, WaitingCaller},
    telemetry::{
        meters::{self, EventOutcome},
        spans::{self, Cause},
    },
};

/// Number of users of one batch that are written concurrently.
const CONCURRENT_USERS: usize = 32;

/// The result of ingesting an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// What the append did.
    pub outcome: AppendOutcome,
    /// Number of events in the user's buffer.
    pub buffered_events: usize,
}

impl Engine {
    /// Appends an event. The model of its user is saved later, or before this returns
    /// if [`EngineSettings::model_save_interval`](super::EngineSettings) is 0. Both run
    /// to completion, even if the caller goes away. At `deadline` an appended event is
    /// acknowledged in any case.
    ///
    /// # Errors
    /// [`EngineError`] if the event may not have been stored. A failed refresh is
    /// not an error: the next read rebuilds the model.
    pub async fn ingest(
        &self,
        event: StoredEvent,
        deadline: Deadline,
    ) -> Result<Ingested, EngineError> {
        let (engine, received) = (self.clone(), Instant::now());
        let (report, appended) = oneshot::channel();
        let (caller, _guard) = WaitingCaller::new(deadline);
        let completion = self.inner.tasks.spawn_to_completion("ingest", async move {
            let user = event.event.user_id.clone();
            match engine.append(&user, &[event], &caller).await {
                Ok(appended) => {
                    // One event in, one outcome out: the port's contract.
                    let first = ingested(&appended).next();
                    let _ = report.send(first.ok_or(EngineError::Panicked));
                    engine.refresh(&user, &appended, received).await;
                }
                Err(error) => _ = report.send(Err(error)),
            }
        });
        match tokio::time::timeout(deadline.remaining(), completion).await {
            Ok(completed) => completed?,
            Err(_) => debug!("deadline passed before the model was refreshed"),
        }
        appended.await.unwrap_or(Err(EngineError::Panicked))
    }

    /// Appends events of any users, with one append and one save per user; one
    /// result each, in order. If the store fails midway, the affected events have
    /// its error. At `deadline`, stored events are acknowledged, and the others
    /// have [`EngineError::TimedOut`]. From then on, or when the caller goes away,
    /// no append is started; those in progress run to completion.
    ///
    /// # Errors
    /// [`EngineError`] only for a bug. A failing store is an error of its events.
    pub async fn ingest_batch(
        &self,
        events: Vec<StoredEvent>,
        deadline: Deadline,
    ) -> Result<Vec<Result<Ingested, EngineError>>, EngineError> {
        let engine = self.clone();
        let (caller, _guard) = WaitingCaller::new(deadline);
        let batch = async move { engine.ingest_groups(events, &caller).await };
        let tasks = &self.inner.tasks;
        tasks.spawn_to_completion("ingest batch", batch).await
    }

    async fn ingest_groups(
        &self,
        events: Vec<StoredEvent>,
        caller: &WaitingCaller,
    ) -> Vec<Result<Ingested, EngineError>> {
        let deadline = caller.deadline();
        let (received, cause) = (Instant::now(), Cause::current());
        let mut results: Vec<EventResult> = vec![None; events.len()];
        let permits = Arc::new(Semaphore::new(CONCURRENT_USERS));
        let (report, mut reports) = mpsc::unbounded_channel();
        for (user, (positions, events)) in by_user(events) {
            let permit = Arc::clone(&permits).acquire_owned();
            let permit = tokio::time::timeout(deadline.remaining(), permit).await;
            if !caller.still_waits() {
                meters::events(EventOutcome::Failed, events.len());
                record(&mut results, (positions, Err(EngineError::TimedOut)));
                continue;
            }
            let (engine, report, caller) = (self.clone(), report.clone(), caller.clone());
            let group = async move {
                let _permit = permit;
                let appended = engine.append(&user, &events, &caller).await;
                let outcome = match &appended {
                    Ok(appended) => Ok(ingested(appended).collect()),
                    Err(error) => Err(error.clone()),
                };
                // After the deadline nobody receives it.
                let _ = report.send((positions, outcome));
                if let Ok(appended) = appended {
                    engine.refresh(&user, &appended, received).await;
                }
                // The channel closes when every group is refreshed.
                drop(report);
            };
            let span = spans::apart("ingest of a user", &cause);
            self.inner.tasks.spawn(group.instrument(span));
        }
        drop(report);
        let all_groups = async {
            while let Some(group) = reports.recv().await {
                record(&mut results, group);
            }
        };
        let completed = tokio::time::timeout(deadline.remaining(), all_groups).await;
        while let Ok(group) = reports.try_recv() {
            record(&mut results, group);
        }
        let missing = match completed {
            // Only a group that panicked sends no report.
            Ok(()) => EngineError::Panicked,
            Err(_) => EngineError::TimedOut,
        };
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(missing.clone())))
            .collect()
    }

    async fn append(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        caller: &WaitingCaller,
    ) -> Result<Appended, EngineError> {
        let appended = self.inner.ports.events.append(user, events, caller).await;
        let appended = appended.map_err(|error| {
            meters::events(EventOutcome::Failed, events.len());
            EngineError::user_state(error)
        })?;
        for outcome in &appended.outcomes {
            meters::events(event_outcome(*outcome), 1);
        }
        Ok(appended)
    }

    async fn refresh(&self, user: &UserId, appended: &Appended, received: Instant) {
        let models = &self.inner.models;
        if models.after_append(user, appended, received).await.is_err() {
            debug!("event stored, model not refreshed: the next read rebuilds it");
        }
    }
}

fn ingested(appended: &Appended) -> impl Iterator<Item = Ingested> {
    appended.outcomes.iter().map(|outcome| Ingested {
        outcome: *outcome,
        buffered_events: appended.buffered_events,
    })
}

fn event_outcome(outcome: AppendOutcome) -> EventOutcome {
    match outcome {
        AppendOutcome::Accepted => EventOutcome::Accepted,
        AppendOutcome::Duplicate => EventOutcome::Duplicate,
        AppendOutcome::OutsideWindow => EventOutcome::OutsideWindow,
    }
}

/// Events of one user with their positions in the batch.
type EventGroup = (Vec<usize>, Vec<StoredEvent>);
/// The result of a group, with the positions of its events.
type GroupResult = (Vec<usize>, Result<Vec<Ingested>, EngineError>);
/// The result of an event, once it is known.
type EventResult = Option<Result<Ingested, EngineError>>;

fn by_user(events: Vec<StoredEvent>) -> HashMap<UserId, EventGroup> {
    let mut groups: HashMap<UserId, EventGroup> = HashMap::new();
    for (position, event) in events.into_iter().enumerate() {
        let group = groups.entry(event.event.user_id.clone()).or_default();
        group.0.push(position);
        group.1.push(event);
    }
    groups
}

fn record(results: &mut [EventResult], (positions, result): GroupResult) {
    for (index, position) in positions.into_iter().enumerate() {
        results[position] = Some(match &result {
            Ok(ingested) => ingested.get(index).copied().ok_or(EngineError::Panicked),
            Err(error) => Err(error.clone()),
        });
    }
}
