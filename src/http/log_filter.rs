//! Reads and changes the log filter on the admin port.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{DefaultBodyLimit, RawQuery, State},
    routing::{MethodRouter, get},
};
use http::StatusCode;
use tokio::{sync::Mutex, task::AbortHandle};
use tracing::warn;

use crate::{parsers::parse_duration, telemetry::LogFilter};

/// Longest filter, in bytes.
const MAX_BYTES: usize = 4 << 10;

struct Control {
    filter: LogFilter,
    /// The filter that a temporary change will restore, and the task that does.
    restores: Mutex<Option<(String, AbortHandle)>>,
}

type HttpReply = (StatusCode, String);

/// `GET` returns the filter, `PUT` changes it.
pub(crate) fn route<S>(filter: LogFilter) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let control = Arc::new(Control {
        filter,
        restores: Mutex::default(),
    });
    get(async |State(control): State<Arc<Control>>| control.filter.current() + "\n")
        .put(put)
        .layer(DefaultBodyLimit::max(MAX_BYTES))
        .with_state(control)
}

async fn put(
    State(control): State<Arc<Control>>,
    RawQuery(query): RawQuery,
    body: String,
) -> HttpReply {
    let duration = match duration(query.as_deref().unwrap_or_default()) {
        Ok(duration) => duration,
        Err(error) => return bad_request(&error),
    };
    match control.change(body.trim(), duration).await {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => bad_request(&error),
    }
}

/// How long a change lasts, from `for=10m`. `None`: until the next change.
fn duration(query: &str) -> Result<Option<Duration>, String> {
    if query.is_empty() {
        return Ok(None);
    }
    let Some(span) = query.strip_prefix("for=") else {
        return Err("of queries only ?for=10m is understood".to_owned());
    };
    parse_duration(span)
        .map(Some)
        .map_err(|error| format!("for: {error}"))
}

fn bad_request(error: &str) -> HttpReply {
    (StatusCode::BAD_REQUEST, format!("{error}\n"))
}

impl Control {
    async fn change(
        self: &Arc<Self>,
        filter: &str,
        duration: Option<Duration>,
    ) -> Result<String, String> {
        if filter.is_empty() {
            return Err("give a filter, such as info,recsys=debug".to_owned());
        }
        let mut restores = self.restores.lock().await;
        let current = self.filter.current();
        self.filter.change(filter).map_err(|error| {
            format!("{filter:?} is no filter such as info,recsys=debug: {error}")
        })?;
        // During a temporary change the filter before it is the one to restore.
        let permanent = restores.take().map_or(current, |(earlier, task)| {
            task.abort();
            earlier
        });
        let Some(duration) = duration else {
            warn!(filter, "log filter changed");
            return Ok(format!("{filter}\n"));
        };
        let duration_s = duration.as_secs_f64();
        warn!(filter, duration_s, "log filter changed temporarily");
        let reply = format!("{filter} for {duration:?}, then {permanent}\n");
        let task = tokio::spawn(Arc::clone(self).restore(duration, permanent.clone()));
        *restores = Some((permanent, task.abort_handle()));
        Ok(reply)
    }

    async fn restore(self: Arc<Self>, duration: Duration, filter: String) {
        tokio::time::sleep(duration).await;
        let mut restores = self.restores.lock().await;
        // It was valid before, so it is valid now.
        let _ = self.filter.change(&filter);
        *restores = None;
        warn!(filter, "log filter restored");
    }
}
