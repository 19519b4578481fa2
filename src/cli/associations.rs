//! `recsys associations rebuild`: makes all associations from the events in Redis.
//!
//! It writes to the stores directly, with the settings of `serve`, in bounded memory.
//! Servers may run: every write is one that they make, too.

mod error;
mod progress;
mod rebuild;

use std::process::ExitCode;

use super::exit;
use crate::config::{AssociationsCommand, Settings};

/// Runs a command of associations.
pub(super) async fn run(settings: &Settings, command: &AssociationsCommand) -> ExitCode {
    let AssociationsCommand::Rebuild(flags) = command;
    match rebuild::run(settings, flags).await {
        Ok(counts) => {
            anstream::println!(
                "rebuilt: {} users with events, {} items",
                counts.users,
                counts.rows
            );
            ExitCode::SUCCESS
        }
        Err(error) => exit::failed(&error, error.is_bad_input()),
    }
}
