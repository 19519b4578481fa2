//! `recsys events import`: sends a file of events to a running server, for backfills.
//! Repeating an import does no harm: an event that arrives twice counts once.

mod counts;
mod error;
mod import;
mod progress;
mod replace;
mod summary;
mod target;
mod wrong_port;

use std::{
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use super::exit;
use crate::{
    config::{EventsCommand, Settings},
    domain::time::Timestamp,
};
use counts::EventCounts;

/// Runs a command of events.
pub(super) async fn run(settings: &Settings, command: &EventsCommand) -> ExitCode {
    let EventsCommand::Import(flags) = command;
    let imported = match import::run(settings, flags).await {
        Ok(imported) => imported,
        Err(error) => return exit::failed(&error, error.is_bad_input()),
    };
    let (counts, summary) = (imported.counts, imported.summary);
    let about = summary.to_string();
    if flags.dry_run {
        anstream::println!(
            "{} events would be sent, {} lines refused",
            counts.accepted,
            counts.refused
        );
        if !about.is_empty() {
            anstream::println!("{about}");
        }
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
        if !about.is_empty() {
            anstream::println!("{about}");
        }
        if let Some(missing) = imported.missing_items {
            anstream::eprintln!("{missing}");
        }
        if let Some(advice) = outside_window(&counts, summary.oldest()) {
            anstream::eprintln!("{advice}");
        }
        if counts.not_stored > 0 {
            anstream::eprintln!(
                "{} events name no item, impression, answer or query: they were not stored. If \
                 they are about items, name these in content_id",
                counts.not_stored
            );
        }
    }
    exit::imported(counts.refused > 0 || counts.all_outside_window())
}

/// What to set if events are older than the server's window.
fn outside_window(counts: &EventCounts, oldest: Option<Timestamp>) -> Option<String> {
    if counts.outside_window == 0 {
        return None;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = Timestamp::from_micros(0).plus(now.unwrap_or_default());
    let days = oldest.map_or(0.0, |oldest| now.days_since(oldest)).ceil() as u64 + 1;
    let text = format!(
        "{} events are older than the server's window (EVENT_WINDOW_DAYS, by default 30) or than \
         the newest MAX_EVENTS_PER_USER of their users, and were not stored",
        counts.outside_window
    );
    Some(match crate::parsers::parse_days(&days.to_string()) {
        Ok(_) => format!(
            "{text}. To store all of them, start the server with EVENT_WINDOW_DAYS={days} and \
             import the file again"
        ),
        Err(rule) => format!(
            "{text}. The oldest is {} days old; EVENT_WINDOW_DAYS {rule}. recsys eval reads events \
             of any age; to see lists of a log that ended long ago, add the same number of days to \
             all its times",
            days - 1
        ),
    })
}
