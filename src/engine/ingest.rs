//! Taking in what users do.

use std::{collections::HashMap, sync::Arc, time::Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug};

use crate::{
    domain::{event::StoredEvent, ids::UserId},
    engine::{Engine, EngineError, models::refresh::Wanted},
    ports::{AppendOutcome, Appended, Deadline},
    telemetry::{
        meters::{self, EventOutcome},
        spans,
    },
};

/// How many users of one batch are written at the same time.
const USERS_AT_ONCE: usize = 32;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// What became of it.
    pub outcome: AppendOutcome,
    /// How many events the user's buffer holds now.
    pub buffered_events: usize,
}

impl Engine {
    /// Stores an event and refreshes its user's model. Once begun, it runs to
    /// its end even if the caller goes away. A refresh that is not done by
    /// `deadline` goes on by itself, and the event is acknowledged.
    ///
    /// # Errors
    /// [`EngineError`] if the event may not have been stored. A refresh that
    /// fails is no error: the next read rebuilds.
    pub async fn ingest(
        &self,
        event: StoredEvent,
        deadline: Deadline,
    ) -> Result<Ingested, EngineError> {
        let (engine, arrived) = (self.clone(), Instant::now());
        let (tell, stored) = oneshot::channel();
        let mut done = self.to_the_end("ingest", async move {
            let user = event.event.user_id.clone();
            let appended = engine.append(&user, &[event]).await?;
            // One event in, one outcome out: that is the port's contract.
            let ingested = ingested(&appended).next().ok_or(EngineError::Panicked)?;
            let _ = tell.send(ingested);
            engine.refresh_after(&user, appended, arrived).await;
            Ok(ingested)
        });
        let in_time = tokio::time::timeout(deadline.remaining(), &mut done).await;
        if let Ok(done) = in_time {
            return done?;
        }
        match stored.await {
            Ok(ingested) => {
                debug!("event stored, model not refreshed in time: that goes on");
                Ok(ingested)
            }
            // It has ended without.
            Err(_) => done.await?,
        }
    }

    /// Stores events of any users, with one append and one refresh for each
    /// distinct user; one result each, in order. A store that fails midway is
    /// the error of the events it failed on. By `deadline` every event that
    /// was stored is answered as such, and any other is
    /// [`EngineError::TimedOut`]. Then, or if the caller goes away, what was
    /// begun is finished and nothing more is begun.
    ///
    /// # Errors
    /// [`EngineError`] only for a bug; a failing store is an event's error.
    pub async fn ingest_batch(
        &self,
        events: Vec<StoredEvent>,
        deadline: Deadline,
    ) -> Result<Vec<Result<Ingested, EngineError>>, EngineError> {
        let engine = self.clone();
        let gone = CancellationToken::new();
        let _tells = gone.clone().drop_guard();
        self.to_the_end("ingest batch", async move {
            engine.ingest_groups(events, deadline, &gone).await
        })
        .await
    }

    async fn ingest_groups(
        &self,
        events: Vec<StoredEvent>,
        deadline: Deadline,
        gone: &CancellationToken,
    ) -> Vec<Result<Ingested, EngineError>> {
        let (arrived, cause) = (Instant::now(), spans::Cause::current());
        let mut results: Vec<Outcome> = vec![None; events.len()];
        let places = Arc::new(Semaphore::new(USERS_AT_ONCE));
        let (tell, mut told) = mpsc::unbounded_channel();
        for (user, (positions, events)) in by_user(events) {
            let place = Arc::clone(&places).acquire_owned();
            let place = tokio::time::timeout(deadline.remaining(), place).await;
            if deadline.remaining().is_zero() || gone.is_cancelled() {
                meters::events(EventOutcome::Failed, events.len());
                settle(&mut results, (positions, Err(EngineError::TimedOut)));
                continue;
            }
            let (engine, tell) = (self.clone(), tell.clone());
            let of_user = async move {
                let _place = place;
                let appended = engine.append(&user, &events).await;
                let outcome = match &appended {
                    Ok(appended) => Ok(ingested(appended).collect()),
                    Err(error) => Err(error.clone()),
                };
                // Nobody hears it once the time is up.
                let _ = tell.send((positions, outcome));
                if let Ok(appended) = appended {
                    engine.refresh_after(&user, appended, arrived).await;
                }
                // All are done when nobody can tell anything more.
                drop(tell);
            };
            let span = spans::apart("ingest of a user", &cause);
            self.inner.tasks.spawn(of_user.instrument(span));
        }
        drop(tell);
        let all_told = async {
            while let Some(settled) = told.recv().await {
                settle(&mut results, settled);
            }
        };
        let in_time = tokio::time::timeout(deadline.remaining(), all_told).await;
        while let Ok(settled) = told.try_recv() {
            settle(&mut results, settled);
        }
        let untold = match in_time {
            // A group that panicked says nothing.
            Ok(()) => EngineError::Panicked,
            Err(_) => EngineError::TimedOut,
        };
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(|| Err(untold.clone())))
            .collect()
    }

    async fn append(&self, user: &UserId, events: &[StoredEvent]) -> Result<Appended, EngineError> {
        let appended = self.inner.ports.events.append(user, events).await;
        let appended = appended.map_err(|error| {
            meters::events(EventOutcome::Failed, events.len());
            EngineError::user_state(error)
        })?;
        for outcome in &appended.outcomes {
            meters::events(metered(*outcome), 1);
        }
        Ok(appended)
    }

    /// Brings the user's model up to what was appended. To be run to its end.
    async fn refresh_after(&self, user: &UserId, appended: Appended, arrived: Instant) {
        let is_accepted = |outcome: &&AppendOutcome| **outcome == AppendOutcome::Accepted;
        let accepted = appended.outcomes.iter().filter(is_accepted).count();
        let refreshed = if let Some(version) = appended.version.filter(|_| accepted > 0) {
            let wanted = Wanted {
                known: appended.contents,
                arrived: vec![(arrived, accepted)],
                ..Wanted::at(version)
            };
            self.refresh_here(user, wanted).await.map(|_| ())
        } else if appended.outcomes.contains(&AppendOutcome::Duplicate) {
            // The first delivery may have died before its refresh.
            self.signals(user).await.map(|_| ())
        } else {
            Ok(())
        };
        if refreshed.is_err() {
            debug!("event stored, model not refreshed: the next read does it");
        }
    }
}

fn ingested(appended: &Appended) -> impl Iterator<Item = Ingested> {
    appended.outcomes.iter().map(|outcome| Ingested {
        outcome: *outcome,
        buffered_events: appended.buffered_events,
    })
}

fn metered(outcome: AppendOutcome) -> EventOutcome {
    match outcome {
        AppendOutcome::Accepted => EventOutcome::Accepted,
        AppendOutcome::Duplicate => EventOutcome::Duplicate,
        AppendOutcome::OutsideWindow => EventOutcome::OutsideWindow,
    }
}

/// Events of one user with their positions in the batch.
type Group = (Vec<usize>, Vec<StoredEvent>);
/// What became of a group, with those positions.
type Settled = (Vec<usize>, Result<Vec<Ingested>, EngineError>);
/// What became of an event, once that is known.
type Outcome = Option<Result<Ingested, EngineError>>;

fn by_user(events: Vec<StoredEvent>) -> HashMap<UserId, Group> {
    let mut groups: HashMap<UserId, Group> = HashMap::new();
    for (position, event) in events.into_iter().enumerate() {
        let group = groups.entry(event.event.user_id.clone()).or_default();
        group.0.push(position);
        group.1.push(event);
    }
    groups
}

fn settle(results: &mut [Outcome], (positions, outcome): Settled) {
    for (index, position) in positions.into_iter().enumerate() {
        results[position] = Some(match &outcome {
            Ok(ingested) => ingested.get(index).copied().ok_or(EngineError::Panicked),
            Err(error) => Err(error.clone()),
        });
    }
}
