//! The log's filter, shown and changed on the admin port.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{DefaultBodyLimit, RawQuery, State},
    routing::{MethodRouter, get},
};
use http::StatusCode;
use tokio::{sync::Mutex, task::AbortHandle};
use tracing::warn;

use crate::parsers::parse_duration;

/// Longest filter.
const MAX_BYTES: usize = 4 << 10;

type ChangeFilter = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// Which log lines are written, as those who set it up give it.
#[derive(Clone)]
pub struct LogFilter {
    /// Tells it.
    pub show: Arc<dyn Fn() -> String + Send + Sync>,
    /// Changes it, or says what is wrong with the new one.
    pub change: Arc<ChangeFilter>,
}

struct Control {
    filter: LogFilter,
    /// What is to come back after a change for a time, and what does it.
    before: Mutex<Option<(String, AbortHandle)>>,
}

type Reply = (StatusCode, String);

/// `GET` shows it, `PUT` changes it.
pub(crate) fn route<S>(filter: LogFilter) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let control = Arc::new(Control {
        filter,
        before: Mutex::default(),
    });
    get(async |State(control): State<Arc<Control>>| (control.filter.show)() + "\n")
        .put(put)
        .layer(DefaultBodyLimit::max(MAX_BYTES))
        .with_state(control)
}

async fn put(
    State(control): State<Arc<Control>>,
    RawQuery(query): RawQuery,
    body: String,
) -> Reply {
    let lasting = match lasting(query.as_deref().unwrap_or_default()) {
        Ok(lasting) => lasting,
        Err(wrong) => return refused(&wrong),
    };
    match control.change(body.trim(), lasting).await {
        Ok(told) => (StatusCode::OK, told),
        Err(wrong) => refused(&wrong),
    }
}

/// For how long: `for=10m`; `None`: until the next change.
fn lasting(query: &str) -> Result<Option<Duration>, String> {
    if query.is_empty() {
        return Ok(None);
    }
    let Some(span) = query.strip_prefix("for=") else {
        return Err("of queries only ?for=10m is understood".to_owned());
    };
    parse_duration(span)
        .map(Some)
        .map_err(|wrong| format!("for: {wrong}"))
}

fn refused(wrong: &str) -> Reply {
    (StatusCode::BAD_REQUEST, format!("{wrong}\n"))
}

impl Control {
    async fn change(
        self: &Arc<Self>,
        filter: &str,
        lasting: Option<Duration>,
    ) -> Result<String, String> {
        if filter.is_empty() {
            return Err("give a filter, such as info,recsys=debug".to_owned());
        }
        let mut before = self.before.lock().await;
        let current = (self.filter.show)();
        (self.filter.change)(filter).map_err(|wrong| {
            format!("{filter:?} is no filter such as info,recsys=debug: {wrong}")
        })?;
        // What one change for a time has left is what the next one leaves.
        let lasted = before.take().map_or(current, |(earlier, reverts)| {
            reverts.abort();
            earlier
        });
        let Some(lasting) = lasting else {
            warn!(filter, "log filter changed");
            return Ok(format!("{filter}\n"));
        };
        let lasting_s = lasting.as_secs_f64();
        warn!(filter, lasting_s, "log filter changed for a time");
        let told = format!("{filter} for {lasting:?}, then {lasted}\n");
        let reverts = tokio::spawn(Arc::clone(self).revert(lasting, lasted.clone()));
        *before = Some((lasted, reverts.abort_handle()));
        Ok(told)
    }

    async fn revert(self: Arc<Self>, lasting: Duration, filter: String) {
        tokio::time::sleep(lasting).await;
        let mut before = self.before.lock().await;
        // Nothing stops it from here on: it was a filter before.
        let _ = (self.filter.change)(&filter);
        *before = None;
        warn!(filter, "log filter is what it was before");
    }
}
