//! Every list of a run, for further analysis.

use std::{fmt::Write as _, path::Path};

use serde_json::json;

use super::output::{self, OutputError};
use crate::eval::summary::RunResults;

/// Writes one JSON object a line: the ranker, the user, how many events the user
/// had before, the list, the item that was liked next and its rank, or null.
pub(super) fn write(path: &Path, results: RunResults<'_>) -> Result<(), OutputError> {
    let log = results.log;
    let mut text = String::new();
    for (spec, outcome) in results.specs.iter().zip(results.outcomes) {
        for ((planned, items), rank) in results.plan.iter().zip(&outcome.lists).zip(&outcome.ranks)
        {
            let event = &log.events[planned.event as usize];
            let id = |item: u32| log.items[item as usize].as_str();
            let items: Vec<&str> = items.iter().map(|item| id(*item)).collect();
            let line = json!({
                "ranker": spec.name(),
                "list": planned.event,
                "user": log.users[event.user as usize].as_str(),
                "earlier_events": planned.earlier,
                "items": items,
                "liked_next": id(planned.target),
                "rank": Some(rank).filter(|rank| **rank > 0),
            });
            let _ = writeln!(text, "{line}");
        }
    }
    output::write(path, &text)
}
