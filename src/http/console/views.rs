//! What the page's views need besides the calls of the API.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::{Status, body::Body};

use super::{
    data, explanation, health,
    invalid::invalid,
    paths::{DATA, PREVIEW, RANKING, RESULTS, USER},
    ranking, reply,
};
use crate::{
    api::{connect::error_reply, error::ApiError, limits::Limits},
    domain::{ids::UserId, meaning::EventMeaning},
    edge::{
        access::{Access, Caller},
        call::CallLayer,
    },
    engine::Engine,
    ports::Deadline,
};

/// How long the stores may take.
const STORE_TIME: Duration = Duration::from_secs(5);

/// What views are made from besides the caller's engine.
pub(super) struct Views {
    pub(super) access: Arc<Access>,
    /// The calls of the API.
    pub(super) calls: CallLayer,
    pub(super) limits: Arc<Limits>,
    pub(super) started: Instant,
}

impl Views {
    /// Answers a view. The caller was admitted.
    pub(super) async fn answer(
        &self,
        request: &Parts,
        body: &[u8],
        began: Instant,
    ) -> Response<Body> {
        match self.view(request, body, began).await {
            Ok(json) => reply::json_text(StatusCode::OK, json),
            Err(status) => error_reply(&status),
        }
    }

    async fn view(&self, request: &Parts, body: &[u8], began: Instant) -> Result<Bytes, Status> {
        let Caller { engine, .. } = Caller::of(&request.extensions)?;
        let deadline = Deadline::at(began + STORE_TIME);
        let is_post = request.method == Method::POST;
        let value = match request.uri.path() {
            USER => user(&engine, body).await?,
            DATA => data::report(&engine, deadline)
                .await
                .map_err(ApiError::from)?,
            PREVIEW => return ranking::preview(&request.extensions, &self.limits, body).await,
            RANKING if is_post => ranking::changed(engine.ranking(), body)?,
            RANKING => ranking::in_effect(engine.ranking())?,
            RESULTS => results(&engine),
            _ => {
                // How much other tenants call is not shown.
                let is_alone = self.access.engines().len() == 1;
                let calls = is_alone.then_some(&self.calls);
                health::report(&engine, calls, began, self.started.elapsed()).await
            }
        };
        Ok(value.to_string().into())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserRequest {
    #[serde(default, alias = "user_id")]
    user_id: String,
}

async fn user(engine: &Engine, body: &[u8]) -> Result<Value, ApiError> {
    let request: UserRequest =
        serde_json::from_slice(body).map_err(|_| invalid("userId", "must be a text"))?;
    let user =
        UserId::parse(&request.user_id).map_err(|error| invalid("userId", &error.to_string()))?;
    let explained = engine.explain(&user).await?;
    Ok(explanation::with_events(&explained))
}

fn results(engine: &Engine) -> Value {
    let placements = engine.placement_results().into_iter().filter_map(|result| {
        let treatment = result.treatment?;
        let events = result.events.iter();
        let events = events.map(|(meaning, count)| (name(*meaning), json!(count)));
        Some(json!({
            "placement": treatment.placement.as_deref(),
            "experiment": treatment.experiment.as_deref(),
            "variant": treatment.variant.as_deref(),
            "lists": result.lists,
            "itemsServed": result.items,
            "events": Value::Object(events.collect()),
        }))
    });
    json!({
        "attribution": engine.attributes_events(),
        "placements": placements.collect::<Vec<_>>(),
    })
}

fn name(meaning: EventMeaning) -> String {
    meaning.as_str().to_uppercase()
}

/// The user that a message names, or the request in it.
pub(super) fn user_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Message {
        #[serde(default, alias = "user_id")]
        user_id: String,
        request: Option<UserRequest>,
    }
    let message: Message = serde_json::from_slice(body).ok()?;
    let inner = message.request.map(|request| request.user_id);
    let mut users = [Some(message.user_id), inner].into_iter().flatten();
    users.find(|user| !user.is_empty())
}
