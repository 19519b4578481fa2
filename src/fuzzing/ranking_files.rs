//! Ranking files.

use serde_json::Value;

use super::{
    checks::{check_model_of, must},
    world,
};
use crate::domain::ranking_config::RankingConfig;

/// Reads a ranking file.
///
/// What is accepted has finite numbers and says the same when it is written and
/// read; the model that is built with it keeps to its bounds, and lists have
/// finite scores. What is refused is told so.
pub fn ranking_files(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    match RankingConfig::from_toml(text) {
        Ok(config) => {
            check_config(&config);
            check_model_of(&world::user(), world::events(), &config);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

fn check_config(config: &RankingConfig) {
    // JSON has no word for what is not finite.
    let value = must(serde_json::to_value(config), "cannot be written as JSON");
    check_no_null(&value);
    let text = must(toml::to_string(config), "cannot be written");
    let again = must(RankingConfig::from_toml(&text), "refused when written");
    assert_eq!(again, *config);
    assert_eq!(again.fingerprint(), config.fingerprint());
}

fn check_no_null(value: &Value) {
    match value {
        Value::Null => panic!("a number that is not finite"),
        Value::Array(values) => values.iter().for_each(check_no_null),
        Value::Object(object) => object.values().for_each(check_no_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
