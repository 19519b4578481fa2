//! Counts of an import.

use serde::{Deserialize, Serialize};

/// What became of the lines of a file, in all runs of an import together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventCounts {
    /// Events that were stored.
    pub(super) accepted: u64,
    /// Events that were stored before.
    pub(super) duplicate: u64,
    /// Events older than the server's window.
    pub(super) outside_window: u64,
    /// Lines that are not an event, or one that the server refused.
    pub(super) refused: u64,
}

impl EventCounts {
    /// All lines.
    pub(super) fn total(&self) -> u64 {
        self.accepted + self.duplicate + self.outside_window + self.refused
    }
}
