//! Counts of an import.

use serde::{Deserialize, Serialize};

use crate::proto::EventMeaning;

/// What became of the lines of a file, in all runs of an import together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventCounts {
    /// Events that were stored.
    pub(super) accepted: u64,
    /// Events that were stored before.
    pub(super) duplicate: u64,
    /// Events older than the server's window.
    pub(super) outside_window: u64,
    /// Events that say nothing that a list could use.
    #[serde(default)]
    pub(super) not_stored: u64,
    /// Lines that are not an event, or one that the server refused.
    pub(super) refused: u64,
    /// Events that the server did not refuse, by the number of their meaning.
    #[serde(default)]
    meanings: [u64; MEANINGS],
}

/// Number of meanings, the unspecified one included.
const MEANINGS: usize = 8;

impl EventCounts {
    /// Counts the meaning of an event.
    pub(super) fn add_meaning(&mut self, meaning: EventMeaning) {
        if let Some(count) = self.meanings.get_mut(meaning as usize) {
            *count += 1;
        }
    }

    /// The events by meaning, such as `12 like, 3 view`; empty without events.
    pub(super) fn by_meaning(&self) -> String {
        let texts = (0_i32..).zip(self.meanings).filter_map(|(number, count)| {
            let meaning = EventMeaning::try_from(number).ok()?;
            let name = meaning.as_str_name().strip_prefix("EVENT_MEANING_")?;
            (count > 0).then(|| format!("{count} {}", name.to_lowercase()))
        });
        texts.collect::<Vec<_>>().join(", ")
    }

    /// Whether there were events, and the server's window has none of them.
    pub(super) fn all_outside_window(&self) -> bool {
        self.outside_window > 0 && self.accepted + self.duplicate + self.not_stored == 0
    }

    /// All lines.
    pub(super) fn total(&self) -> u64 {
        self.accepted + self.duplicate + self.outside_window + self.not_stored + self.refused
    }
}
