//! Logs: the only file that sets them up. They go to standard error, so that
//! standard output is for what a command has to say.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, filter::ParseError};

/// Starts logging with a filter such as `info` or `recsys=debug,h2=warn`.
///
/// # Errors
/// [`ParseError`] if it is no filter.
pub fn start(filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}
