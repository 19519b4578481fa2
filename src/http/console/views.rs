//! What the page's views need besides the calls of the API.

use std::time::{Duration, Instant};

use http::{Method, Response, request::Parts};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tonic::{Status, body::Body};

use super::{data, explanation, reply};
use crate::{
    api::{
        connect::error_reply,
        error::{ApiError, Violation},
    },
    domain::{ids::UserId, meaning::EventMeaning, ranking_config::RankingConfig},
    edge::{
        access::Caller,
        methods::{self, Methods},
        tenants::Role,
    },
    engine::{Engine, EngineError},
    ports::Deadline,
};

pub(super) const USER: &str = "/console/user";
const DATA: &str = "/console/data";
const RANKING: &str = "/console/ranking";
const RESULTS: &str = "/console/results";
const HEALTH: &str = "/console/health";

/// The paths of the views. Looking at a user takes the role that reads profiles.
pub(super) const METHODS: Methods = Methods(&[
    methods::Method::unary(USER, &[Role::ReadProfile]),
    methods::Method::unary(DATA, &[Role::Serve]),
    methods::Method::unary(RANKING, &[Role::Serve]),
    methods::Method::unary(RESULTS, &[Role::Serve]),
    methods::Method::unary(HEALTH, &[Role::Serve]),
]);
/// How long the stores may take.
const STORE_TIME: Duration = Duration::from_secs(5);

/// Whether a view asks this path.
pub(super) fn is_path(path: &str) -> bool {
    METHODS.0.iter().any(|method| method.path == path)
}

/// Answers a view. The caller was admitted.
pub(super) async fn answer(request: &Parts, body: &[u8], began: Instant) -> Response<Body> {
    match view(request, body, began).await {
        Ok(value) => reply::json(&value),
        Err(error) => error_reply(&Status::from(error)),
    }
}

async fn view(request: &Parts, body: &[u8], began: Instant) -> Result<Value, ApiError> {
    let Caller { engine, .. } = Caller::of(&request.extensions)?;
    let deadline = Deadline::at(began + STORE_TIME);
    let is_post = request.method == Method::POST;
    match request.uri.path() {
        USER => user(&engine, body).await,
        DATA => Ok(data::report(&engine, deadline).await?),
        RANKING if is_post => changed_ranking(engine.ranking(), body),
        RANKING => ranking(engine.ranking()),
        RESULTS => Ok(results(&engine)),
        _ => Ok(health(&engine, began).await),
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

/// The weights and the whole file in effect.
fn ranking(config: &RankingConfig) -> Result<Value, ApiError> {
    let keys = serde_json::to_value(config).map_err(|error| ApiError::internal(&error))?;
    let toml = config
        .to_commented_toml()
        .map_err(|error| ApiError::internal(&error))?;
    Ok(json!({
        "preset": keys.get("preset"),
        "fusion": keys.get("fusion"),
        "mmrLambda": keys.get("mmr_lambda"),
        "poolPerGenerator": keys.get("pool_per_generator"),
        "exploration": keys.get("exploration"),
        "toml": toml,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RankingChange {
    #[serde(default)]
    fusion: Map<String, Value>,
    mmr_lambda: Option<f64>,
    #[serde(default)]
    exploration: Map<String, Value>,
}

/// The file in effect with changed weights, checked.
fn changed_ranking(config: &RankingConfig, body: &[u8]) -> Result<Value, ApiError> {
    let change: RankingChange = serde_json::from_slice(body)
        .map_err(|_| invalid("", "must be an object of fusion, mmrLambda and exploration"))?;
    let mut keys = toml::Table::try_from(config).map_err(|error| ApiError::internal(&error))?;
    for (table, changed) in [
        ("fusion", change.fusion),
        ("exploration", change.exploration),
    ] {
        let Some(toml::Value::Table(table)) = keys.get_mut(table) else {
            continue;
        };
        for (key, value) in changed {
            let value = toml::Value::try_from(&value)
                .map_err(|_| invalid(&key, "must be a number or a truth value"))?;
            table.insert(key, value);
        }
    }
    if let Some(lambda) = change.mmr_lambda {
        keys.insert("mmr_lambda".to_owned(), toml::Value::Float(lambda));
    }
    let text = toml::to_string(&keys).map_err(|error| ApiError::internal(&error))?;
    match RankingConfig::from_toml(&text) {
        Ok(config) => {
            let toml = config
                .to_commented_toml()
                .map_err(|error| ApiError::internal(&error))?;
            Ok(json!({"toml": toml}))
        }
        Err(error) => Ok(json!({"violations": [error.to_string()]})),
    }
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

async fn health(engine: &Engine, began: Instant) -> Value {
    let check = |name: &'static str, checked: Result<Result<(), EngineError>, _>| {
        let state = match checked {
            Ok(Ok(())) => "ok",
            Ok(Err(error)) if error.is_misconfigured() => "misconfigured",
            Ok(Err(_)) | Err(tokio::time::error::Elapsed { .. }) => "down",
        };
        json!({"name": name, "state": state})
    };
    let (users, items) = tokio::join!(
        tokio::time::timeout(STORE_TIME, engine.check_user_state()),
        tokio::time::timeout(STORE_TIME, engine.check_catalogue()),
    );
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "answeredInMs": began.elapsed().as_secs_f64() * 1_000.0,
        "stores": [check("Users", users), check("Catalogue", items)],
    })
}

fn invalid(field: &str, rule: &str) -> ApiError {
    let violation = Violation {
        field: field.to_owned(),
        rule: rule.to_owned(),
    };
    ApiError::invalid(vec![violation], 1)
}

/// The user that a message names.
pub(super) fn user_of(body: &[u8]) -> Option<String> {
    let request: UserRequest = serde_json::from_slice(body).ok()?;
    (!request.user_id.is_empty()).then_some(request.user_id)
}
