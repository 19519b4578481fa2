//! A stream of batches of events. Each batch is answered before the next is read, so
//! HTTP/2's flow control slows down a client that is too fast, and a stream holds at
//! most one batch in memory.
//!
//! A stream ends between two batches when its connection closes or keys are reloaded.
//! Clients reconnect and send again what was not answered.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{Stream, stream::try_unfold};
use tonic::{Request, Status, Streaming};

use crate::{
    api::{error::ApiError, ingest::Ingest, methods::STREAM_INGEST, reply},
    edge::{
        deadline::{CallTime, STORE_SHARE},
        load::OpenCall,
        panics::catch_panic,
        refusal::Refusal,
    },
    ports::Deadline,
    proto::{
        IngestResult, InteractionEvent, StreamIngestEventsRequest, StreamIngestEventsResponse,
    },
    telemetry::meters::Shed,
};

/// The response header of a stream that identifies the data which takes its events: an
/// importer that finds another value sends everything again.
pub(crate) const DATA_ID: &str = "recsys-data-id";

/// The replies to the batches of a stream, in order.
pub(crate) type FeedReplies =
    Pin<Box<dyn Stream<Item = Result<StreamIngestEventsResponse, Status>> + Send>>;

/// A stream of batches from a client.
pub(crate) struct Feed {
    ingest: Ingest,
    call: Arc<OpenCall>,
    batches: Streaming<StreamIngestEventsRequest>,
    /// Longest that one batch may take.
    budget: Duration,
    /// Whether a batch was read before.
    is_further: bool,
}

impl Feed {
    pub(crate) fn open(
        ingest: Ingest,
        request: Request<Streaming<StreamIngestEventsRequest>>,
    ) -> Result<Self, Refusal> {
        let call = request.extensions().get::<Arc<OpenCall>>();
        let budget = CallTime::budget(request.extensions());
        Ok(Self {
            ingest,
            call: call.cloned().ok_or(Refusal::Internal)?,
            budget: budget.ok_or(Refusal::Internal)?,
            batches: request.into_inner(),
            is_further: false,
        })
    }

    pub(crate) fn replies(self) -> FeedReplies {
        Box::pin(try_unfold(self, |mut feed| async move {
            let reply = catch_panic(STREAM_INGEST, feed.next()).await??;
            Ok(reply.map(|reply| (reply, feed)))
        }))
    }

    /// Reads the next batch and ingests it; `None` at the end of the stream.
    async fn next(&mut self) -> Result<Option<StreamIngestEventsResponse>, Status> {
        let Some(batch) = self.batch().await? else {
            return Ok(None);
        };
        self.ingest.check_count(&batch.events)?;
        let events = batch.events.len();
        let deadline = Deadline::at(Instant::now() + self.budget.mul_f64(STORE_SHARE));
        let results = match self.over_quota(events, deadline).await? {
            Some(over_quota) => Err(over_quota.into()),
            None => self.store(batch.events, deadline).await,
        };
        let results = results.unwrap_or_else(|error| {
            let rejected = |_| reply::ingest_result(Err(error.clone()));
            (0..events).map(rejected).collect()
        });
        self.call.release_request();
        Ok(Some(StreamIngestEventsResponse {
            results,
            sequence: batch.sequence,
        }))
    }

    /// Takes a batch from the quotas of the caller: a call for each batch but the first,
    /// which the call that opened the stream is for, and its events.
    async fn over_quota(
        &mut self,
        events: usize,
        deadline: Deadline,
    ) -> Result<Option<Refusal>, Refusal> {
        let caller = &self.ingest.caller;
        if self.is_further
            && let Some(over_quota) = caller.wait_for_call(deadline).await?
        {
            return Ok(Some(over_quota));
        }
        self.is_further = true;
        caller.wait_for_events(events, deadline).await
    }

    async fn store(
        &self,
        events: Vec<InteractionEvent>,
        deadline: Deadline,
    ) -> Result<Vec<IngestResult>, ApiError> {
        let permit = tokio::time::timeout(deadline.remaining(), self.call.permit()).await;
        let _permit = permit.map_err(|_| Refusal::Overloaded(Shed::Calls))?;
        self.ingest.batch(events, deadline).await
    }

    /// The next batch. The client may take any time to start it; once started, it must
    /// be complete within the time of one batch. An idle stream that holds the memory
    /// of a large batch is ended.
    async fn batch(&mut self) -> Result<Option<StreamIngestEventsRequest>, Status> {
        let closing = self.call.closing();
        let replaced = self.ingest.caller.replaced.clone();
        let mut started = false;
        loop {
            let message = tokio::time::timeout(self.budget, self.batches.message());
            let message = replaced.run_until_cancelled(message);
            let message = closing.run_until_cancelled(message).await;
            match message.flatten() {
                None => return Err(ApiError::connection_ends().into()),
                Some(Ok(batch)) => return batch,
                Some(Err(_)) if started => {
                    let budget = self.budget;
                    return Err(Refusal::DeadlineExceeded { budget }.into());
                }
                Some(Err(_)) => started = self.call.has_partial_request(),
            }
            if !started && self.call.is_large() {
                return Err(ApiError::connection_ends().into());
            }
        }
    }
}
