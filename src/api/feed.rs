//! A stream of batches of events. Each is answered before the next is taken, so
//! HTTP/2's own flow control slows down a client that is too fast, and a stream
//! holds no more than one batch.
//!
//! It ends between two batches when its connection is to close, or keys are
//! exchanged: clients connect anew and go on with what was not answered.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{Stream, stream::try_unfold};
use tonic::{Request, Status, Streaming};

use crate::{
    api::{error::ApiError, methods::STREAM_INGEST, recommender::Recommender, reply},
    edge::{
        access::Caller,
        deadline::{CallTime, FOR_STORES},
        load::OpenCall,
        panics,
    },
    ports::Deadline,
    proto::{
        IngestResult, InteractionEvent, StreamIngestEventsRequest, StreamIngestEventsResponse,
    },
};

/// The answers to the batches of a stream, in order.
pub(crate) type Answers =
    Pin<Box<dyn Stream<Item = Result<StreamIngestEventsResponse, Status>> + Send>>;

/// A stream of batches that comes in.
pub(crate) struct Feed {
    recommender: Recommender,
    caller: Caller,
    call: Arc<OpenCall>,
    batches: Streaming<StreamIngestEventsRequest>,
    /// Longest that one batch may take.
    each: Duration,
}

impl Feed {
    pub(crate) fn open(
        recommender: Recommender,
        request: Request<Streaming<StreamIngestEventsRequest>>,
    ) -> Result<Self, ApiError> {
        let call = request.extensions().get::<Arc<OpenCall>>();
        let each = CallTime::budget(request.extensions());
        Ok(Self {
            recommender,
            caller: Caller::of(&request)?,
            call: call.cloned().ok_or_else(ApiError::bug)?,
            each: each.ok_or_else(ApiError::bug)?,
            batches: request.into_inner(),
        })
    }

    pub(crate) fn answers(self) -> Answers {
        Box::pin(try_unfold(self, |mut feed| async move {
            let answer = panics::caught(STREAM_INGEST, feed.next()).await??;
            Ok(answer.map(|answer| (answer, feed)))
        }))
    }

    /// Takes the next batch and stores it; `None` at the stream's end.
    async fn next(&mut self) -> Result<Option<StreamIngestEventsResponse>, Status> {
        let Some(batch) = self.batch().await? else {
            return Ok(None);
        };
        self.recommender.count(&batch.events)?;
        let events = batch.events.len();
        let deadline = Deadline::at(Instant::now() + self.each.mul_f64(FOR_STORES));
        let stored = match self.caller.send_when_allowed(events, deadline).await? {
            Some(over_quota) => Err(over_quota),
            None => self.store(batch.events, deadline).await,
        };
        let results = stored.unwrap_or_else(|error| {
            let rejected = |_| reply::ingest_result(Err(error.clone()));
            (0..events).map(rejected).collect()
        });
        self.call.release_request();
        Ok(Some(StreamIngestEventsResponse {
            results,
            sequence: batch.sequence,
        }))
    }

    async fn store(
        &self,
        events: Vec<InteractionEvent>,
        deadline: Deadline,
    ) -> Result<Vec<IngestResult>, ApiError> {
        let turn = tokio::time::timeout(deadline.remaining(), self.call.turn()).await;
        let _turn = turn.map_err(|_| ApiError::overloaded())?;
        self.recommender.store(&self.caller, events, deadline).await
    }

    /// The next batch, however long the client takes to begin it. Once begun, it
    /// has as long as any request. A stream that says nothing gives back the memory
    /// of a large batch by its end.
    async fn batch(&mut self) -> Result<Option<StreamIngestEventsRequest>, Status> {
        let (closing, exchanged) = (self.call.closing(), self.caller.exchanged.clone());
        let mut begun = false;
        loop {
            let message = tokio::time::timeout(self.each, self.batches.message());
            let message = exchanged.run_until_cancelled(message);
            let message = closing.run_until_cancelled(message).await;
            match message.flatten() {
                None => return Err(ApiError::connection_ends().into()),
                Some(Ok(batch)) => return batch,
                Some(Err(_)) if begun => {
                    return Err(ApiError::deadline_exceeded(self.each).into());
                }
                Some(Err(_)) => begun = self.call.has_begun_a_request(),
            }
            if !begun && self.call.keeps_much() {
                return Err(ApiError::connection_ends().into());
            }
        }
    }
}
