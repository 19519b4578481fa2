//! `recsys.v1.RecommenderService`.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    api::{
        error::ApiError,
        feed::{Answers, Feed},
        limits::Limits,
        parse::{self, Checks},
        reply, signals,
    },
    domain::{event::StoredEvent, ids::UserId, time::Timestamp},
    edge::{
        access::Caller,
        deadline::{CallTime, FOR_STORES},
        request_id::RequestId,
    },
    engine::{Deadlines, EngineError},
    ports::Deadline,
    proto::{self, recommender_service_server::RecommenderService},
    telemetry::meters::{self, EventOutcome},
};

/// The share of a call's time in which the user's model must come: a list
/// without it is better than none.
const FOR_THE_MODEL: f64 = 0.5;

/// The service, over the engines of its callers.
#[derive(Clone)]
pub(crate) struct Recommender {
    pub(crate) limits: Arc<Limits>,
}

impl Recommender {
    fn user(&self, text: &str) -> Result<UserId, ApiError> {
        let mut checks = Checks::new(&self.limits);
        let user = checks.user_id("user_id", text);
        checks.finish(user)
    }

    /// Answers GetUserSignals.
    pub(crate) async fn signals(
        &self,
        request: Request<proto::GetUserSignalsRequest>,
    ) -> Result<signals::Reply, Status> {
        let engine = Caller::of(&request)?.engine;
        let request = request.into_inner();
        let user = self.user(&request.user_id)?;
        let (model, source) = engine.signals(&user).await.map_err(ApiError::from)?;
        Ok(signals::Reply::new(&model, request.include_vectors, source))
    }

    /// Checks how many events a batch has.
    pub(crate) fn count(&self, events: &[proto::InteractionEvent]) -> Result<(), ApiError> {
        let mut checks = Checks::new(&self.limits);
        checks.count("events", events.len(), self.limits.max_batch_events);
        checks.finish(Some(()))
    }

    /// Stores the events of a batch, with a result for each.
    pub(crate) async fn store(
        &self,
        caller: &Caller,
        events: Vec<proto::InteractionEvent>,
        deadline: Deadline,
    ) -> Result<Vec<proto::IngestResult>, ApiError> {
        let now = caller.engine.now().await?;
        let mut good = Vec::with_capacity(events.len());
        let parsed: Vec<Result<(), ApiError>> = events
            .into_iter()
            .enumerate()
            .map(|(index, event)| {
                let field = format!("events[{index}]");
                good.push(self.event(Some(event), &field, now)?);
                Ok(())
            })
            .collect();
        let ingested = caller.engine.ingest_batch(good, deadline).await?;
        let mut ingested = ingested.into_iter();
        let results = parsed.into_iter().map(|parsed| {
            parsed?;
            // One event in, one result out: that is the engine's contract.
            let result = ingested.next().unwrap_or(Err(EngineError::Panicked));
            result.map_err(ApiError::from)
        });
        Ok(results.map(reply::ingest_result).collect())
    }

    fn event(
        &self,
        event: Option<proto::InteractionEvent>,
        field: &str,
        now: Timestamp,
    ) -> Result<StoredEvent, ApiError> {
        parse::event(event, field, now, &self.limits)
            .inspect_err(|_| meters::events(EventOutcome::Invalid, 1))
    }
}

#[tonic::async_trait]
impl RecommenderService for Recommender {
    async fn ingest_event(
        &self,
        request: Request<proto::IngestEventRequest>,
    ) -> Result<Response<proto::IngestEventResponse>, Status> {
        let caller = Caller::of(&request)?;
        let deadline = CallTime::share(request.extensions(), FOR_STORES);
        let event = request.into_inner().event;
        caller.send(1)?;
        let now = caller.engine.now().await.map_err(ApiError::from)?;
        let event = self.event(event, "event", now)?;
        let ingested = caller.engine.ingest(event, deadline).await;
        let ingested = ingested.map_err(ApiError::from)?;
        Ok(Response::new(reply::ingested(ingested)))
    }

    async fn batch_ingest_events(
        &self,
        request: Request<proto::BatchIngestEventsRequest>,
    ) -> Result<Response<proto::BatchIngestEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let deadline = CallTime::share(request.extensions(), FOR_STORES);
        let events = request.into_inner().events;
        self.count(&events)?;
        caller.send(events.len())?;
        let results = self.store(&caller, events, deadline).await?;
        Ok(Response::new(proto::BatchIngestEventsResponse { results }))
    }

    type StreamIngestEventsStream = Answers;

    async fn stream_ingest_events(
        &self,
        request: Request<Streaming<proto::StreamIngestEventsRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let feed = Feed::open(self.clone(), request)?;
        Ok(Response::new(feed.answers()))
    }

    async fn get_user_signals(
        &self,
        request: Request<proto::GetUserSignalsRequest>,
    ) -> Result<Response<proto::GetUserSignalsResponse>, Status> {
        // For whoever serves this without `SignalsFirst`.
        let written = self.signals(request).await?.encode_to_vec();
        let read = proto::GetUserSignalsResponse::decode(written.as_slice());
        Ok(Response::new(read.map_err(|_| {
            Status::internal("a reply that cannot be read")
        })?))
    }

    async fn recommend(
        &self,
        request: Request<proto::RecommendRequest>,
    ) -> Result<Response<proto::RecommendResponse>, Status> {
        let engine = Caller::of(&request)?.engine;
        let call = request.extensions().get::<RequestId>().cloned();
        let deadlines = Deadlines {
            model: CallTime::share(request.extensions(), FOR_THE_MODEL),
            items: CallTime::share(request.extensions(), FOR_STORES),
        };
        let request = request.into_inner();
        let include_content = request.include_content;
        let request = parse::recommend(
            request,
            &self.limits,
            engine.default_limit(),
            engine.canonicalizer(),
        )?;
        let list = engine.recommend(&request, deadlines).await;
        let mut list = list.map_err(ApiError::from)?;
        // One id for the call and its list, unless the client chose that of the
        // call: it may have come before, and lists are told apart by theirs.
        if let Some(fresh) = call.as_ref().and_then(RequestId::if_fresh) {
            fresh.clone_into(&mut list.request_id);
        }
        Ok(Response::new(reply::recommendation(list, include_content)))
    }

    async fn delete_user(
        &self,
        request: Request<proto::DeleteUserRequest>,
    ) -> Result<Response<proto::DeleteUserResponse>, Status> {
        let engine = Caller::of(&request)?.engine;
        let user = self.user(&request.into_inner().user_id)?;
        let deleted = engine.delete_user(&user).await.map_err(ApiError::from)?;
        Ok(Response::new(proto::DeleteUserResponse { deleted }))
    }

    async fn export_user(
        &self,
        request: Request<proto::ExportUserRequest>,
    ) -> Result<Response<proto::ExportUserResponse>, Status> {
        let engine = Caller::of(&request)?.engine;
        let user = self.user(&request.into_inner().user_id)?;
        let export = engine.export(&user).await.map_err(ApiError::from)?;
        Ok(Response::new(proto::ExportUserResponse {
            events: export
                .events
                .iter()
                .map(|stored| reply::event(&stored.event))
                .collect(),
            signals: Some(reply::signals(&export.signals, true)),
            stored_events: export.stored_events,
            stored_model: export.stored_model.unwrap_or_default(),
        }))
    }
}
