//! Taking in what users do.

use std::collections::HashMap;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Engine, EngineError, refresh::Wanted};
use crate::{
    domain::{event::StoredEvent, ids::UserId},
    meters::{self, EventOutcome},
    ports::AppendOutcome,
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
    /// its end even if the caller goes away.
    ///
    /// # Errors
    /// [`EngineError`] if the event may not have been stored. A refresh that
    /// fails is no error: the next read rebuilds.
    pub async fn ingest(&self, event: StoredEvent) -> Result<Ingested, EngineError> {
        let engine = self.clone();
        self.to_the_end(async move {
            let user = event.event.user_id.clone();
            let ingested = engine.ingest_for(&user, &[event]).await?;
            // One event in, one outcome out: that is the port's contract.
            ingested.first().copied().ok_or(EngineError::Panicked)
        })
        .await?
    }

    /// Stores events of any users, with one append and one refresh for each
    /// distinct user; one result each, in order. A store that fails midway is
    /// the error of the events it failed on. If the caller goes away, what was
    /// begun is finished and nothing more is begun.
    ///
    /// # Errors
    /// [`EngineError`] only for a bug; a failing store is an event's error.
    pub async fn ingest_batch(
        &self,
        events: Vec<StoredEvent>,
    ) -> Result<Vec<Result<Ingested, EngineError>>, EngineError> {
        let engine = self.clone();
        let gone = CancellationToken::new();
        let _tells = gone.clone().drop_guard();
        self.to_the_end(async move { engine.ingest_groups(events, &gone).await })
            .await
    }

    async fn ingest_groups(
        &self,
        events: Vec<StoredEvent>,
        gone: &CancellationToken,
    ) -> Vec<Result<Ingested, EngineError>> {
        let mut results: Vec<Result<Ingested, EngineError>> =
            events.iter().map(|_| Err(EngineError::Panicked)).collect();
        let mut running = JoinSet::new();
        for (user, (positions, events)) in by_user(events) {
            if running.len() >= USERS_AT_ONCE
                && let Some(finished) = running.join_next().await
            {
                settle(&mut results, finished);
            }
            if gone.is_cancelled() {
                break;
            }
            let engine = self.clone();
            running.spawn(async move { (positions, engine.ingest_for(&user, &events).await) });
        }
        while let Some(finished) = running.join_next().await {
            settle(&mut results, finished);
        }
        results
    }

    async fn ingest_for(
        &self,
        user: &UserId,
        events: &[StoredEvent],
    ) -> Result<Vec<Ingested>, EngineError> {
        let appended = self.inner.ports.events.append(user, events).await;
        let appended = appended.map_err(|error| {
            meters::events(EventOutcome::Failed, events.len());
            EngineError::user_state(error)
        })?;
        for outcome in &appended.outcomes {
            meters::events(metered(*outcome), 1);
        }
        let accepted = appended.outcomes.contains(&AppendOutcome::Accepted);
        let refreshed = if let Some(version) = appended.version.filter(|_| accepted) {
            let wanted = Wanted {
                known: appended.contents,
                ..Wanted::at(version)
            };
            self.refresh(user, wanted).await.map(|_| ())
        } else if appended.outcomes.contains(&AppendOutcome::Duplicate) {
            // The first delivery may have died before its refresh.
            self.signals(user).await.map(|_| ())
        } else {
            Ok(())
        };
        if refreshed.is_err() {
            debug!("event stored, model not refreshed: the next read does it");
        }
        Ok(appended
            .outcomes
            .into_iter()
            .map(|outcome| Ingested {
                outcome,
                buffered_events: appended.buffered_events,
            })
            .collect())
    }
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

fn by_user(events: Vec<StoredEvent>) -> HashMap<UserId, Group> {
    let mut groups: HashMap<UserId, Group> = HashMap::new();
    for (position, event) in events.into_iter().enumerate() {
        let group = groups.entry(event.event.user_id.clone()).or_default();
        group.0.push(position);
        group.1.push(event);
    }
    groups
}

fn settle(results: &mut [Result<Ingested, EngineError>], finished: Result<Settled, JoinError>) {
    // A group that panicked keeps its events' first value: an internal error.
    let Ok((positions, outcome)) = finished else {
        return;
    };
    for (index, position) in positions.into_iter().enumerate() {
        results[position] = match &outcome {
            Ok(ingested) => ingested.get(index).copied().ok_or(EngineError::Panicked),
            Err(error) => Err(error.clone()),
        };
    }
}
