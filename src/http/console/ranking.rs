//! The ranking: its weights, the file with changed ones, and the list that they would make.

use bytes::Bytes;
use http::Extensions;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tonic::Status;

use super::invalid::invalid;
use crate::{
    api::{connect::repeated_name, error::ApiError, limits::Limits, lists::ListCall},
    domain::ranking_config::{RankingConfig, RankingConfigError},
    edge::access::Caller,
};

/// Largest request of a preview.
const MAX_PREVIEW_BYTES: usize = 64 << 10;

/// The weights and the whole file in effect.
///
/// # Errors
/// [`ApiError`] if the file cannot be written: a bug.
pub(super) fn in_effect(config: &RankingConfig) -> Result<Value, ApiError> {
    let keys = serde_json::to_value(config).map_err(|error| ApiError::internal(&error))?;
    Ok(json!({
        "preset": keys.get("preset"),
        "fusion": keys.get("fusion"),
        "mmrLambda": keys.get("mmr_lambda"),
        "poolPerGenerator": keys.get("pool_per_generator"),
        "exploration": keys.get("exploration"),
        "toml": commented(config)?,
    }))
}

/// Changes of keys that rank: none of them changes how users' models are built.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RankingChange {
    #[serde(default)]
    fusion: Map<String, Value>,
    mmr_lambda: Option<f64>,
    #[serde(default)]
    exploration: Map<String, Value>,
}

impl RankingChange {
    /// The file with these changes; the inner error names the values that it refuses.
    fn of(
        self,
        config: &RankingConfig,
    ) -> Result<Result<RankingConfig, RankingConfigError>, ApiError> {
        let mut keys = toml::Table::try_from(config).map_err(|error| ApiError::internal(&error))?;
        for (table, changed) in [("fusion", self.fusion), ("exploration", self.exploration)] {
            let Some(toml::Value::Table(table)) = keys.get_mut(table) else {
                continue;
            };
            for (key, value) in changed {
                let value = toml::Value::try_from(&value)
                    .map_err(|_| invalid(&key, "must be a number or a truth value"))?;
                table.insert(key, value);
            }
        }
        if let Some(lambda) = self.mmr_lambda {
            keys.insert("mmr_lambda".to_owned(), toml::Value::Float(lambda));
        }
        let text = toml::to_string(&keys).map_err(|error| ApiError::internal(&error))?;
        Ok(RankingConfig::from_toml(&text))
    }
}

/// The file in effect with changed weights, checked.
///
/// # Errors
/// [`ApiError`] if the request is not a change of the ranking.
pub(super) fn changed(config: &RankingConfig, body: &[u8]) -> Result<Value, ApiError> {
    let change: RankingChange = serde_json::from_slice(body)
        .map_err(|_| invalid("", "must be an object of fusion, mmrLambda and exploration"))?;
    match change.of(config)? {
        Ok(config) => Ok(json!({"toml": commented(&config)?})),
        Err(error) => Ok(json!({"violations": [error.to_string()]})),
    }
}

fn commented(config: &RankingConfig) -> Result<String, ApiError> {
    config
        .to_commented_toml()
        .map_err(|error| ApiError::internal(&error))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreviewRequest {
    /// As of the API's method Recommend.
    request: Value,
    #[serde(default)]
    ranking: RankingChange,
}

/// The list that Recommend would return if the ranking file had these changes and no
/// experiment. It is served to nobody, so it is not counted.
///
/// # Errors
/// As of Recommend; INVALID_ARGUMENT if the ranking file would be refused.
pub(super) async fn preview(
    extensions: &Extensions,
    limits: &Limits,
    body: &[u8],
) -> Result<Bytes, Status> {
    if body.len() > MAX_PREVIEW_BYTES {
        let message = format!("a preview may have {MAX_PREVIEW_BYTES} bytes");
        return Err(Status::out_of_range(message));
    }
    // The log of who was looked at must name the user whom the list is for.
    if let Some(name) = repeated_name(None, body) {
        return Err(invalid(&name, "is given more than once").into());
    }
    let PreviewRequest { request, ranking } = serde_json::from_slice(body)
        .map_err(|_| invalid("", "must be an object of request and ranking"))?;
    let config = ranking.of(Caller::of(extensions)?.engine.ranking())?;
    let config = config.map_err(|error| invalid("ranking", &error.to_string()))?;
    let call = ListCall::of(extensions)?;
    call.preview(request.to_string().as_bytes(), &config, limits)
        .await
}
