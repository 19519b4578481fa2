//! `recsys events import`: sends a file of events to a running server, for backfills.
//! Repeating an import does no harm: an event that arrives twice counts once.

mod counts;
mod error;
mod import;
mod progress;
mod target;

use std::process::ExitCode;

use super::exit;
use crate::config::{EventsCommand, Settings};

/// Runs a command of events.
pub(super) async fn run(settings: &Settings, command: &EventsCommand) -> ExitCode {
    let EventsCommand::Import(flags) = command;
    let counts = match import::run(settings, flags).await {
        Ok(counts) => counts,
        Err(error) => return exit::failed(&error, error.is_bad_input()),
    };
    if flags.dry_run {
        anstream::println!(
            "{} events would be sent, {} lines refused",
            counts.accepted,
            counts.refused
        );
    } else {
        anstream::println!(
            "{} events stored, {} duplicates, {} outside the window, {} lines refused",
            counts.accepted,
            counts.duplicate,
            counts.outside_window,
            counts.refused
        );
        let by_meaning = counts.by_meaning();
        if !by_meaning.is_empty() {
            anstream::println!("by meaning: {by_meaning}");
        }
        if counts.not_stored > 0 {
            anstream::eprintln!(
                "{} events name no item, impression, answer or query: they were not stored. If \
                 they are about items, name these in content_id",
                counts.not_stored
            );
        }
    }
    exit::imported(counts.refused > 0)
}
