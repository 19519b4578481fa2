//! Events of one caller: checked, ingested, with a result for each. Shared by the
//! unary calls and the stream.

use std::sync::Arc;

use crate::{
    api::{
        error::ApiError,
        limits::Limits,
        parse::{self, Checks},
        reply,
    },
    domain::{event::StoredEvent, time::Timestamp},
    edge::access::Caller,
    engine::{EngineError, Received},
    ports::Deadline,
    proto,
    telemetry::meters::{self, EventOutcome},
};

/// Ingests events of one caller.
pub(crate) struct Ingest {
    pub(crate) limits: Arc<Limits>,
    pub(crate) caller: Caller,
}

impl Ingest {
    /// Checks the number of events in a batch.
    ///
    /// # Errors
    /// INVALID_FIELD.
    pub(crate) fn check_count(&self, events: &[proto::InteractionEvent]) -> Result<(), ApiError> {
        let mut checks = Checks::new(&self.limits);
        checks.count("events", events.len(), self.limits.max_batch_events);
        checks.finish(Some(()))
    }

    /// Ingests the event of a request, within the caller's quota.
    pub(crate) async fn one(
        &self,
        event: Option<proto::InteractionEvent>,
        deadline: Deadline,
    ) -> Result<Received, ApiError> {
        self.caller.take_events(1)?;
        let now = self.caller.engine.now().await?;
        let event = self.parse(event, "event", now)?;
        Ok(self.caller.engine.receive(event, deadline).await?)
    }

    /// Ingests the events of a batch, with a result for each, in order. Does not take
    /// them from the caller's quota.
    pub(crate) async fn batch(
        &self,
        events: Vec<proto::InteractionEvent>,
        deadline: Deadline,
    ) -> Result<Vec<proto::IngestResult>, ApiError> {
        let engine = &self.caller.engine;
        let now = engine.now().await?;
        let mut valid = Vec::with_capacity(events.len());
        let parsed: Vec<Result<(), ApiError>> = events
            .into_iter()
            .enumerate()
            .map(|(index, event)| {
                let field = format!("events[{index}]");
                valid.push(self.parse(Some(event), &field, now)?);
                Ok(())
            })
            .collect();
        let received = engine.receive_batch(valid, deadline).await?;
        let mut received = received.into_iter();
        let results = parsed.into_iter().map(|parsed| {
            parsed?;
            // The engine returns one result for each event.
            let result = received.next().unwrap_or(Err(EngineError::Panicked));
            result.map_err(ApiError::from)
        });
        Ok(results.map(reply::ingest_result).collect())
    }

    fn parse(
        &self,
        event: Option<proto::InteractionEvent>,
        field: &str,
        now: Timestamp,
    ) -> Result<StoredEvent, ApiError> {
        parse::event(event, field, now, &self.limits)
            .inspect_err(|_| meters::events(EventOutcome::Invalid, 1))
    }
}
