//! Receiving events: what they mean, and whether they are stored.

use super::{error::EngineError, experiments::Attribution, handle::Engine, ingest::Ingested};
use crate::{
    domain::{
        event::{InteractionEvent, StoredEvent},
        meaning::EventMeaning,
        ranking_config::Preset,
    },
    ports::{AppendOutcome, Deadline},
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
        self.count(&event.event, meaning);
        meters::event_meanings(meaning.as_str(), 1);
        let ingested = if self.stores(meaning) {
            let attribution = self.inner.experiments.attribution(&event.event);
            let ingested = self.ingest(event, deadline).await?;
            self.attribute(attribution.as_ref(), meaning, ingested)
                .await;
            Some(ingested)
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
        for (event, meaning) in events.iter().zip(&meanings) {
            self.count(&event.event, *meaning);
        }
        let mut stored = events;
        let mut each = meanings.iter();
        stored.retain(|_| each.next().is_some_and(|meaning| self.stores(*meaning)));
        meters::events(EventOutcome::NotStored, meanings.len() - stored.len());
        let experiments = &self.inner.experiments;
        let attributions: Vec<Option<Attribution>> = stored
            .iter()
            .map(|event| experiments.attribution(&event.event))
            .collect();
        let ingested = if stored.is_empty() {
            Vec::new()
        } else {
            self.ingest_batch(stored, deadline).await?
        };
        let mut ingested = ingested.into_iter().zip(attributions);
        let mut results = Vec::with_capacity(meanings.len());
        for meaning in meanings {
            let result = if self.stores(meaning) {
                // One result for each event.
                match ingested.next() {
                    Some((Ok(ingested), attribution)) => {
                        self.attribute(attribution.as_ref(), meaning, ingested)
                            .await;
                        Ok(Some(ingested))
                    }
                    Some((Err(error), _)) => Err(error),
                    None => Err(EngineError::Panicked),
                }
            } else {
                Ok(None)
            };
            results.push(result.map(|ingested| Received { meaning, ingested }));
        }
        Ok(results)
    }

    /// Counts an accepted event for the list that it results from. A repeated one is not
    /// accepted again.
    async fn attribute(
        &self,
        attribution: Option<&Attribution>,
        meaning: EventMeaning,
        ingested: Ingested,
    ) {
        let (Some(attribution), AppendOutcome::Accepted) = (attribution, ingested.outcome) else {
            return;
        };
        // The append has learned the store's time.
        if let Ok(now) = self.now().await {
            let experiments = &self.inner.experiments;
            experiments.count_event(attribution, meaning, now);
        }
    }

    fn count(&self, event: &InteractionEvent, meaning: EventMeaning) {
        if self.inner.activity.is_enabled() {
            let rule = self.inner.config.events.rule(&event.event_type);
            self.inner.activity.event(event, meaning, rule);
        }
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
