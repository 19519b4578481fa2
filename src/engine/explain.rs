//! Explaining a user's model.

use std::sync::Arc;

use super::{error::EngineError, handle::Engine};
use crate::{
    domain::{
        event::EventLog,
        ids::UserId,
        meaning::EventMeaning,
        signals::{self, ItemExplanation},
        time::Timestamp,
        user_signals::UserSignals,
    },
    ports::Deadline,
};

/// How a user's events become the model.
#[derive(Clone, Debug)]
pub struct UserExplanation {
    /// The time as of which everything is computed.
    pub now: Timestamp,
    /// Number of events by what they say, in the order of [`EventMeaning::ALL`].
    pub meanings: Vec<(EventMeaning, usize)>,
    /// The items with events, the one with the latest event first.
    pub items: Vec<ItemExplanation>,
    /// The events, oldest first.
    pub log: EventLog,
    /// What each of them says, in their order.
    pub event_meanings: Vec<EventMeaning>,
    /// The model of these events.
    pub signals: Arc<UserSignals>,
}

impl Engine {
    /// Explains how a user's events become the model, as of now. Reads the events
    /// and the items; saves nothing.
    ///
    /// # Errors
    /// [`EngineError`] if events or items cannot be read.
    pub async fn explain(&self, user: &UserId) -> Result<UserExplanation, EngineError> {
        let snapshot = self.inner.ports.events.read(user).await;
        let snapshot = snapshot.map_err(EngineError::user_state)?;
        let now = snapshot.now;
        let log = EventLog::new(snapshot.events);
        let ids = signals::items_needed(&log);
        let items = self.inner.items.read(&ids, Deadline::NONE).await?;
        let config = &self.inner.config;
        let all: Vec<EventMeaning> = log.iter().map(|event| self.meaning(event)).collect();
        let meanings = EventMeaning::ALL.into_iter().map(|meaning| {
            let count = all.iter().filter(|other| **other == meaning).count();
            (meaning, count)
        });
        Ok(UserExplanation {
            now,
            meanings: meanings.collect(),
            items: signals::explain(&log, &items, now, config),
            signals: Arc::new(signals::build(user, &log, &items, now, config)),
            log,
            event_meanings: all,
        })
    }
}
