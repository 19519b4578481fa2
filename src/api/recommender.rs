//! `recsys.v1.RecommenderService`.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::{
    api::{
        error::ApiError,
        export::{Export, ExportParts},
        feed::{DATA_ID, Feed, FeedReplies},
        ingest::Ingest,
        limits::Limits,
        lists::ListCall,
        parse::{self, Checks},
        reply, reply_cost,
        service_traits::recommender_service_server::RecommenderService,
        signals_reply::SignalsReply,
    },
    domain::ids::UserId,
    edge::{
        access::Caller,
        deadline::{CallTime, STORE_SHARE},
        load::Account,
    },
    proto,
};

/// Largest reply of ExportUser: clients accept 4 MiB by default.
const MAX_EXPORT_BYTES: usize = 3 << 20;

/// The service. A call is answered by the engine of its caller.
#[derive(Clone)]
pub(crate) struct Recommender {
    pub(crate) limits: Arc<Limits>,
}

impl Recommender {
    fn ingest(&self, extensions: &Extensions) -> Result<Ingest, ApiError> {
        Ok(Ingest {
            limits: Arc::clone(&self.limits),
            caller: Caller::of(extensions)?,
        })
    }

    /// The users of a merge: the first one's events go to the second.
    fn users(&self, request: &proto::MergeUsersRequest) -> Result<(UserId, UserId), ApiError> {
        let mut checks = Checks::new(&self.limits);
        let from = checks.user_id("from_user_id", &request.from_user_id);
        let into = checks.user_id("into_user_id", &request.into_user_id);
        if from.is_some() && from == into {
            checks.broken("into_user_id", "must differ from from_user_id");
        }
        checks.finish(from.zip(into))
    }

    fn user(&self, text: &str) -> Result<UserId, ApiError> {
        let mut checks = Checks::new(&self.limits);
        let user = checks.user_id("user_id", text);
        checks.finish(user)
    }
}

#[tonic::async_trait]
impl RecommenderService for Recommender {
    async fn ingest_event(
        &self,
        request: Request<proto::IngestEventRequest>,
    ) -> Result<Response<proto::IngestEventResponse>, Status> {
        let deadline = CallTime::share(request.extensions(), STORE_SHARE);
        let ingest = self.ingest(request.extensions())?;
        let received = ingest.one(request.into_inner().event, deadline).await?;
        Ok(Response::new(reply::received(received)))
    }

    async fn batch_ingest_events(
        &self,
        request: Request<proto::BatchIngestEventsRequest>,
    ) -> Result<Response<proto::BatchIngestEventsResponse>, Status> {
        let deadline = CallTime::share(request.extensions(), STORE_SHARE);
        let ingest = self.ingest(request.extensions())?;
        let events = request.into_inner().events;
        ingest.check_count(&events)?;
        ingest.caller.take_events(events.len())?;
        let results = ingest.batch(events, deadline).await?;
        Ok(Response::new(proto::BatchIngestEventsResponse { results }))
    }

    type StreamIngestEventsStream = FeedReplies;

    async fn stream_ingest_events(
        &self,
        request: Request<Streaming<proto::StreamIngestEventsRequest>>,
    ) -> Result<Response<FeedReplies>, Status> {
        let ingest = self.ingest(request.extensions())?;
        let data_id = ingest.caller.engine.data_id().await;
        let feed = Feed::open(ingest, request)?;
        let mut response = Response::new(feed.replies());
        if let Some(data_id) = data_id.and_then(|id| id.parse().ok()) {
            response.metadata_mut().insert(DATA_ID, data_id);
        }
        Ok(response)
    }

    async fn get_user_signals(
        &self,
        request: Request<proto::GetUserSignalsRequest>,
    ) -> Result<Response<SignalsReply>, Status> {
        let engine = Caller::of(request.extensions())?.engine;
        let account = Account::of(request.extensions());
        let request = request.into_inner();
        let user = self.user(&request.user_id)?;
        let (model, source) = engine.signals(&user).await.map_err(ApiError::from)?;
        let bytes = reply_cost::shared_signals(&model);
        reply_cost::reserve(account.as_ref(), bytes)?;
        let reply = SignalsReply::new(model, request.include_vectors, source);
        reply_cost::check(&reply, bytes)?;
        Ok(Response::new(reply))
    }

    async fn recommend(
        &self,
        request: Request<proto::RecommendRequest>,
    ) -> Result<Response<proto::RecommendResponse>, Status> {
        let call = ListCall::of(request.extensions())?;
        let request = request.into_inner();
        let include_content = request.include_content;
        let request = parse::recommend(request, call.settings(&self.limits))?;
        Ok(Response::new(call.reply(&request, include_content).await?))
    }

    async fn similar_items(
        &self,
        request: Request<proto::SimilarItemsRequest>,
    ) -> Result<Response<proto::SimilarItemsResponse>, Status> {
        let call = ListCall::of(request.extensions())?;
        let request = request.into_inner();
        let include_content = request.include_content;
        let request = parse::similar_items(request, call.settings(&self.limits))?;
        let list = call.reply(&request, include_content).await?;
        Ok(Response::new(list.into()))
    }

    async fn popular_items(
        &self,
        request: Request<proto::PopularItemsRequest>,
    ) -> Result<Response<proto::PopularItemsResponse>, Status> {
        let call = ListCall::of(request.extensions())?;
        let request = request.into_inner();
        let include_content = request.include_content;
        let request = parse::popular_items(request, call.settings(&self.limits))?;
        let list = call.reply(&request, include_content).await?;
        Ok(Response::new(list.into()))
    }

    async fn get_item_signals(
        &self,
        request: Request<proto::GetItemSignalsRequest>,
    ) -> Result<Response<proto::GetItemSignalsResponse>, Status> {
        let engine = Caller::of(request.extensions())?.engine;
        let (item, limit) =
            parse::item_signals(request.into_inner(), &self.limits, engine.default_limit())?;
        let signals = engine.item_signals(&item, limit).await;
        let signals = signals.map_err(ApiError::from)?;
        Ok(Response::new(reply::item_signals(signals)))
    }

    async fn delete_user(
        &self,
        request: Request<proto::DeleteUserRequest>,
    ) -> Result<Response<proto::DeleteUserResponse>, Status> {
        let deadline = CallTime::share(request.extensions(), STORE_SHARE);
        let engine = Caller::of(request.extensions())?.engine;
        let user = self.user(&request.into_inner().user_id)?;
        let deleted = engine.delete_user(&user, deadline).await;
        let deleted = deleted.map_err(ApiError::from)?;
        Ok(Response::new(proto::DeleteUserResponse { deleted }))
    }

    async fn merge_users(
        &self,
        request: Request<proto::MergeUsersRequest>,
    ) -> Result<Response<proto::MergeUsersResponse>, Status> {
        let deadline = CallTime::share(request.extensions(), STORE_SHARE);
        let engine = Caller::of(request.extensions())?.engine;
        let (from, into) = self.users(request.get_ref())?;
        let merged = engine.merge_users(&from, &into, deadline).await;
        let merged = merged.map_err(ApiError::from)?;
        Ok(Response::new(reply::merged(merged)))
    }

    async fn export_user(
        &self,
        request: Request<proto::ExportUserRequest>,
    ) -> Result<Response<proto::ExportUserResponse>, Status> {
        let engine = Caller::of(request.extensions())?.engine;
        let account = Account::of(request.extensions());
        let user = self.user(&request.into_inner().user_id)?;
        reply_cost::reserve(account.as_ref(), MAX_EXPORT_BYTES)?;
        let too_large = || {
            ApiError::reply_too_large(MAX_EXPORT_BYTES, "call ExportUserPages, which streams it")
        };
        let export = engine.export(&user, MAX_EXPORT_BYTES).await;
        let export = export.map_err(ApiError::from)?.ok_or_else(too_large)?;
        reply_cost::reserve(account.as_ref(), reply_cost::signals(&export.signals))?;
        let reply = proto::ExportUserResponse {
            events: export
                .events
                .iter()
                .map(|stored| reply::event(&stored.event))
                .collect(),
            signals: Some(reply::signals(&export.signals)),
            stored_events: export.stored_events,
            stored_model: export.stored_model.unwrap_or_default(),
            interests: reply::interests(&export.interests),
        };
        if reply.encoded_len() > MAX_EXPORT_BYTES {
            return Err(too_large().into());
        }
        Ok(Response::new(reply))
    }

    type ExportUserPagesStream = ExportParts;

    async fn export_user_pages(
        &self,
        request: Request<proto::ExportUserPagesRequest>,
    ) -> Result<Response<ExportParts>, Status> {
        let caller = Caller::of(request.extensions())?;
        let account = Account::of(request.extensions());
        let user = self.user(&request.into_inner().user_id)?;
        let export = Export::start(caller, user, account.as_ref())?;
        Ok(Response::new(export.parts()))
    }
}
