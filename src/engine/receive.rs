//! Receiving events: what they mean, and whether they are stored.

use super::{error::EngineError, handle::Engine, ingest::Ingested};
use crate::{
    domain::{
        event::{InteractionEvent, StoredEvent},
        meaning::EventMeaning,
        ranking_config::Preset,
    },
    ports::Deadline,
    telemetry::meters::{self, EventOutcome},
};

/// The result of receiving an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// What the event says.
    pub meaning: EventMeaning,
    /// The result of storing it; `None` if it says nothing and is not stored.
    pub ingested: Option<Ingested>,
}

impl Engine {
    /// What an event says, by the ranking file.
    #[must_use]
    pub fn meaning(&self, event: &InteractionEvent) -> EventMeaning {
        let config = &self.inner.config;
        let rule = config.events.rule(&event.event_type);
        EventMeaning::of(event, rule, config.positive_threshold)
    }

    /// Ingests an event, as [`Engine::ingest`] does, unless it says nothing: under
    /// the preset `recsys` the store is not called for such an event.
    ///
    /// # Errors
    /// As [`Engine::ingest`].
    pub async fn receive(
        &self,
        event: StoredEvent,
        deadline: Deadline,
    ) -> Result<Received, EngineError> {
        let meaning = self.meaning(&event.event);
        meters::event_meanings(meaning.as_str(), 1);
        let ingested = if self.stores(meaning) {
            Some(self.ingest(event, deadline).await?)
        } else {
            meters::events(EventOutcome::NotStored, 1);
            None
        };
        Ok(Received { meaning, ingested })
    }

    /// Ingests events, as [`Engine::ingest_batch`] does, except those that say
    /// nothing; one result each, in order.
    ///
    /// # Errors
    /// As [`Engine::ingest_batch`].
    pub async fn receive_batch(
        &self,
        events: Vec<StoredEvent>,
        deadline: Deadline,
    ) -> Result<Vec<Result<Received, EngineError>>, EngineError> {
        let meanings: Vec<EventMeaning> = events
            .iter()
            .map(|event| self.meaning(&event.event))
            .collect();
        for meaning in EventMeaning::ALL {
            let count = meanings.iter().filter(|other| **other == meaning).count();
            meters::event_meanings(meaning.as_str(), count);
        }
        let mut stored = events;
        let mut each = meanings.iter();
        stored.retain(|_| each.next().is_some_and(|meaning| self.stores(*meaning)));
        meters::events(EventOutcome::NotStored, meanings.len() - stored.len());
        let ingested = if stored.is_empty() {
            Vec::new()
        } else {
            self.ingest_batch(stored, deadline).await?
        };
        let mut ingested = ingested.into_iter();
        let results = meanings.into_iter().map(|meaning| {
            let ingested = if self.stores(meaning) {
                // One result for each event.
                Some(ingested.next().unwrap_or(Err(EngineError::Panicked))?)
            } else {
                None
            };
            Ok(Received { meaning, ingested })
        });
        Ok(results.collect())
    }

    fn stores(&self, meaning: EventMeaning) -> bool {
        match self.inner.config.preset {
            Preset::Recsys => meaning != EventMeaning::None,
            Preset::Reference => true,
        }
    }
}

pub(super) fn start_metrics() {
    for meaning in EventMeaning::ALL {
        meters::event_meanings(meaning.as_str(), 0);
    }
}
