//! Answers a request for a list of any kind.

use bytes::Bytes;
use tonic::{Extensions, Status};

use crate::{
    api::{
        connect::{read_message, write_message},
        error::ApiError,
        limits::Limits,
        parse::{self, ListSettings},
        reply, reply_cost,
    },
    domain::ranking_config::RankingConfig,
    edge::{
        access::Caller,
        call::RequestId,
        deadline::{CallTime, STORE_SHARE},
        load::Account,
    },
    engine::{Deadlines, Engine, ListRequest, Recommendation},
    proto,
};

/// The share of a call's time within which the user's model must be read: a list
/// without it is better than none.
const MODEL_SHARE: f64 = 0.5;

/// A call for a list.
pub(crate) struct ListCall {
    engine: Engine,
    request_id: Option<RequestId>,
    account: Option<Account>,
    deadlines: Deadlines,
}

impl ListCall {
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, ApiError> {
        Ok(Self {
            engine: Caller::of(extensions)?.engine,
            request_id: extensions.get::<RequestId>().cloned(),
            account: Account::of(extensions),
            deadlines: Deadlines {
                model: CallTime::share(extensions, MODEL_SHARE),
                items: CallTime::share(extensions, STORE_SHARE),
            },
        })
    }

    /// What the request is read with.
    pub(crate) fn settings<'a>(&'a self, limits: &'a Limits) -> ListSettings<'a> {
        ListSettings {
            limits,
            engine: &self.engine,
        }
    }

    /// Makes the list, and reserves the memory of its reply.
    pub(crate) async fn reply(
        &self,
        request: &ListRequest,
        include_content: bool,
    ) -> Result<proto::RecommendResponse, Status> {
        let list = self.engine.list(request, self.deadlines).await;
        let mut list = list.map_err(ApiError::from)?;
        // The list has the id of its call, unless that is signed, or the client set it: the
        // id of a list must be unique.
        let call = self.request_id.as_ref();
        if let (false, Some(id)) = (list.is_signed, call.and_then(RequestId::if_generated)) {
            id.clone_into(&mut list.request_id);
        }
        self.convert(list, include_content)
    }

    /// Makes the list of a request by Recommend, given as JSON, as another ranking would.
    /// It is not counted, since it is served to nobody. Returns the reply as JSON.
    ///
    /// # Errors
    /// As of Recommend by Connect.
    pub(crate) async fn preview(
        &self,
        request: &[u8],
        ranking: &RankingConfig,
        limits: &Limits,
    ) -> Result<Bytes, Status> {
        let account = self.account.as_ref();
        let request: proto::RecommendRequest = read_message(request, account)?;
        let include_content = request.include_content;
        let request = parse::recommend(request, self.settings(limits))?;
        let list = self.engine.preview(&request, ranking, self.deadlines).await;
        let reply = self.convert(list.map_err(ApiError::from)?, include_content)?;
        write_message(&reply, account)
    }

    fn convert(
        &self,
        list: Recommendation,
        include_content: bool,
    ) -> Result<proto::RecommendResponse, Status> {
        let bytes = reply_cost::recommendation(&list, include_content);
        reply_cost::reserve(self.account.as_ref(), bytes)?;
        let reply = reply::recommendation(list, include_content);
        reply_cost::check(&reply, bytes)?;
        Ok(reply)
    }
}
