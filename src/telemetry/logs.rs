//! Log lines: text at a terminal, JSON otherwise.

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

use super::{json_line::JsonLine, log_format::LogFormat};

/// The filter of log lines, which can be changed while the process runs. Clones share
/// it.
#[derive(Clone)]
pub struct LogFilter {
    current: Arc<Mutex<String>>,
    handle: reload::Handle<EnvFilter, Registry>,
}

impl LogFilter {
    /// The current filter.
    #[must_use]
    pub fn current(&self) -> String {
        let current = self.current.lock();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// The reason if the filter is invalid; the current one stays.
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

/// A log filter is invalid.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Its syntax is wrong.
    #[error("is not understood: give a level, or NAME=LEVEL, several separated by commas")]
    Form(#[from] ParseError),
    /// A word is not a level: it would select a module that does not exist, and silence
    /// all others.
    #[error(
        "{0:?} is neither a level (error, warn, info, debug, trace, off) nor recsys; for another \
         module give its level, too: NAME=LEVEL"
    )]
    Word(String),
}

fn parse(filter: &str) -> Result<EnvFilter, FilterError> {
    let parts: Vec<&str> = filter.split(',').map(str::trim).collect();
    for part in &parts {
        let is_word = !part.contains(['=', '[']) && !part.contains("::");
        if is_word && *part != "recsys" && part.parse::<LevelFilter>().is_err() {
            return Err(FilterError::Word((*part).to_owned()));
        }
    }
    Ok(EnvFilter::try_new(parts.join(","))?)
}

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// The layer that writes lines, and its filter.
pub(super) fn lines(filter: &str, format: LogFormat) -> Result<(Lines, LogFilter), FilterError> {
    let (which, handle) = reload::Layer::new(parse(filter)?);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines: Lines = if format.is_json() {
        lines.event_format(JsonLine).boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    // Spans are for traces; formatting them would cost every call.
    let events =
        filter_fn(|line: &Metadata<'_>| line.is_event()).with_max_level_hint(LevelFilter::TRACE);
    let filter = LogFilter {
        current: Arc::new(Mutex::new(filter.to_owned())),
        handle,
    };
    Ok((lines.with_filter(which.and(events)).boxed(), filter))
}

#[cfg(test)]
mod tests {
    use super::{FilterError, parse};

    #[test]
    fn a_bare_word_is_a_level_or_this_program() {
        for good in [
            "info",
            "WARN",
            "off",
            "recsys",
            "info,recsys=debug",
            "info, h2=warn",
            "recsys::engine",
            "recsys[call]",
            "[{user}]=trace",
            "debug,",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for wrong in ["inof", "info,deubg", "h2", "recsy"] {
            assert!(matches!(parse(wrong), Err(FilterError::Word(_))), "{wrong}");
        }
        assert!(matches!(parse("recsys=loud"), Err(FilterError::Form(_))));
        assert_eq!(
            parse("warn, recsys=debug").unwrap().to_string(),
            "recsys=debug,warn"
        );
    }
}
