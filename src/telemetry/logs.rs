//! Logs: lines for people at a terminal, JSON for all else.

use std::{
    io::IsTerminal as _,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt as _, ParseError, filter_fn},
    fmt, reload,
};

use super::{LogFormat, json_line::JsonLine};

/// Which log lines are written; can be changed while the process runs. Clones
/// share it.
#[derive(Clone)]
pub struct LogFilter {
    current: Arc<Mutex<String>>,
    handle: reload::Handle<EnvFilter, Registry>,
}

impl LogFilter {
    /// The filter as it was given.
    #[must_use]
    pub fn current(&self) -> String {
        let current = self.current.lock();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes by another filter from now on.
    ///
    /// # Errors
    /// What is wrong with it; then nothing has changed.
    pub fn change(&self, filter: &str) -> Result<(), String> {
        let parsed = parse(filter).map_err(|error| error.to_string())?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.handle
            .reload(parsed)
            .map_err(|error| error.to_string())?;
        filter.clone_into(&mut current);
        Ok(())
    }
}

fn parse(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(filter)
}

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// What writes lines, and what it goes by.
pub(super) fn lines(filter: &str, format: LogFormat) -> Result<(Lines, LogFilter), ParseError> {
    let (which, handle) = reload::Layer::new(parse(filter)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines: Lines = if format.is_json() {
        lines.event_format(JsonLine).boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    // Spans are for traces, and would be paid for by every call.
    let events =
        filter_fn(|line: &Metadata<'_>| line.is_event()).with_max_level_hint(LevelFilter::TRACE);
    let filter = LogFilter {
        current: Arc::new(Mutex::new(filter.to_owned())),
        handle,
    };
    Ok((lines.with_filter(which.and(events)).boxed(), filter))
}
