//! The lines of imported files that are refused.

use std::collections::BTreeSet;

/// Refused lines that are printed.
const MAX_LISTED: usize = 100;

/// The lines that are refused, the first of them with their reasons.
#[derive(Default)]
pub(super) struct RefusedLines {
    numbers: BTreeSet<u64>,
    listed: Vec<(u64, String)>,
}

impl RefusedLines {
    pub(super) fn add(&mut self, line: u64, reason: String) {
        let is_new = self.numbers.insert(line);
        if is_new && self.listed.len() < MAX_LISTED {
            self.listed.push((line, reason));
        }
    }

    pub(super) fn count(&self) -> usize {
        self.numbers.len()
    }

    pub(super) fn contains(&self, line: u64) -> bool {
        self.numbers.contains(&line)
    }

    pub(super) fn print(&self) {
        for (line, reason) in &self.listed {
            anstream::eprintln!("line {line}: {reason}");
        }
        let unlisted = self.numbers.len() - self.listed.len();
        if unlisted > 0 {
            anstream::eprintln!("and {unlisted} more lines");
        }
    }
}
