//! A stream of batches of events. Each is answered before the next is taken, so
//! HTTP/2's own flow control slows down a client that is too fast, and a stream
//! holds no more than one batch.
//!
//! It ends between two batches when its connection is to close: clients connect
//! anew and go on with what was not answered.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{Stream, stream::try_unfold};
use tonic::{Request, Status, Streaming};

use super::{
    STREAM_INGEST,
    access::Caller,
    deadline::{CallTime, FOR_STORES},
    error::ApiError,
    load::OpenCall,
    panics,
    recommender::Recommender,
    reply,
};
use crate::{
    ports::AnswerBy,
    proto::{StreamIngestEventsRequest, StreamIngestEventsResponse},
};

/// The answers to the batches of a stream, in order.
pub(super) type Answers =
    Pin<Box<dyn Stream<Item = Result<StreamIngestEventsResponse, Status>> + Send>>;

/// A stream of batches that comes in.
pub(super) struct Feed {
    recommender: Recommender,
    caller: Caller,
    call: Arc<OpenCall>,
    batches: Streaming<StreamIngestEventsRequest>,
    /// Longest that one batch may take.
    each: Duration,
}

impl Feed {
    pub(super) fn open(
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

    pub(super) fn answers(self) -> Answers {
        Box::pin(try_unfold(self, |mut feed| async move {
            let answer = panics::caught(STREAM_INGEST, feed.next()).await??;
            Ok(answer.map(|answer| (answer, feed)))
        }))
    }

    /// Takes the next batch and stores it; `None` at the stream's end.
    async fn next(&mut self) -> Result<Option<StreamIngestEventsResponse>, Status> {
        let closing = self.call.closing();
        let Some(batch) = closing.run_until_cancelled(self.batch()).await else {
            return Err(ApiError::connection_ends().into());
        };
        let Some(batch) = batch? else {
            return Ok(None);
        };
        self.recommender.count(&batch.events)?;
        let events = batch.events.len();
        let allowed = self.caller.send_when_allowed(events);
        let Some(allowed) = closing.run_until_cancelled(allowed).await else {
            return Err(ApiError::connection_ends().into());
        };
        allowed?;

        let answer_by = AnswerBy::at(Instant::now() + self.each.mul_f64(FOR_STORES));
        let stored = match tokio::time::timeout(answer_by.left(), self.call.turn()).await {
            Ok(_turn) => {
                self.recommender
                    .store(&self.caller, batch.events, answer_by)
                    .await
            }
            Err(_) => Err(ApiError::overloaded()),
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

    /// The next batch, however long the client takes to begin it. Once begun, it
    /// has as long as any request.
    async fn batch(&mut self) -> Result<Option<StreamIngestEventsRequest>, Status> {
        let mut begun = false;
        loop {
            match tokio::time::timeout(self.each, self.batches.message()).await {
                Ok(batch) => return batch,
                Err(_) if begun => return Err(ApiError::deadline_exceeded(self.each).into()),
                Err(_) => begun = self.call.has_begun_a_request(),
            }
        }
    }
}
