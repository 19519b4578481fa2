//! `recsys settings`, and so `recsys help settings`: every setting.

use std::process::ExitCode;

use crate::config;

/// Prints all settings.
#[must_use]
pub(super) fn run() -> ExitCode {
    anstream::print!("{}", config::all_settings());
    ExitCode::SUCCESS
}
