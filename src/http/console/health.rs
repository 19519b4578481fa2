//! The stores, and the calls of this process with their latencies.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    edge::{call::CallLayer, call::MethodLatencies},
    engine::{Engine, EngineError},
};

/// How long a store may take to answer.
const STORE_TIME: Duration = Duration::from_secs(5);

/// What the view shows. `calls` are those of all tenants together.
pub(super) async fn report(
    engine: &Engine,
    calls: Option<&CallLayer>,
    began: Instant,
    up_for: Duration,
) -> Value {
    let (users, items) = tokio::join!(
        tokio::time::timeout(STORE_TIME, engine.check_user_state()),
        tokio::time::timeout(STORE_TIME, engine.check_catalogue()),
    );
    let calls = calls.map(|calls| calls.latencies());
    let calls = calls.map(|calls| calls.iter().map(call).collect::<Vec<_>>());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeSeconds": up_for.as_secs(),
        "answeredInMs": millis(began.elapsed().as_secs_f64()),
        "stores": [store("Users", users), store("Catalogue", items)],
        "calls": calls,
    })
}

fn store(
    name: &'static str,
    checked: Result<Result<(), EngineError>, tokio::time::error::Elapsed>,
) -> Value {
    let state = match checked {
        Ok(Ok(())) => "ok",
        Ok(Err(error)) if error.is_misconfigured() => "misconfigured",
        Ok(Err(_)) | Err(_) => "down",
    };
    json!({"name": name, "state": state})
}

fn call(latencies: &MethodLatencies) -> Value {
    let method = &latencies.method;
    json!({
        "method": method.rsplit_once('.').map_or(method.as_str(), |(_, name)| name),
        "calls": latencies.calls,
        "errors": latencies.errors,
        "p50Ms": millis(latencies.median),
        "p99Ms": millis(latencies.p99),
    })
}

fn millis(seconds: f64) -> f64 {
    seconds * 1_000.0
}
