//! The progress of a rebuild: shown while it runs, and saved so that an interrupted
//! run can be resumed.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::adapters::redis::ScanNode;

const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of the lines that replace the spinner where there is no terminal.
const PRINT_INTERVAL: Duration = Duration::from_secs(10);

/// The phases of a rebuild. Each needs all of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    /// Each user's model, list and membership of audiences, from the user's events.
    #[default]
    Users,
    /// Each audience, corrected by its members' lists.
    Audiences,
    /// Each item's row and popularity, from all audiences.
    Rows,
}

impl Phase {
    pub(super) fn next(self) -> Option<Self> {
        match self {
            Self::Users => Some(Self::Audiences),
            Self::Audiences => Some(Self::Rows),
            Self::Rows => None,
        }
    }
}

/// What was done, in all runs of a rebuild together. Redis may return an id twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RebuildCounts {
    /// Users with events.
    pub(super) users: u64,
    /// Audiences that were corrected.
    pub(super) audiences: u64,
    /// Items whose rows were built.
    pub(super) rows: u64,
}

/// Where a rebuild stands: before the page at `cursor` of a master.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RebuildPosition {
    /// Which keys are rebuilt: the start of the tenant's keys.
    pub(super) key_prefix: String,
    /// The masters when the phase began.
    pub(super) nodes: Vec<ScanNode>,
    pub(super) phase: Phase,
    /// The index of the master in `nodes`.
    pub(super) node: usize,
    pub(super) cursor: u64,
    pub(super) counts: RebuildCounts,
}

pub(super) struct RebuildProgress {
    path: PathBuf,
    spinner: ProgressBar,
    started: Instant,
    saved: Instant,
    printed: Instant,
    cannot_save: bool,
}

impl RebuildProgress {
    pub(super) fn new(path: &Path) -> Self {
        let now = Instant::now();
        Self {
            path: path.to_owned(),
            spinner: ProgressBar::new_spinner(),
            started: now,
            saved: now,
            printed: now,
            cannot_save: false,
        }
    }

    /// Where an earlier run was interrupted, if one was, and its cursors are valid on
    /// these masters.
    pub(super) fn load(&self, key_prefix: &str, nodes: &[ScanNode]) -> Option<RebuildPosition> {
        let text = fs::read_to_string(&self.path).ok()?;
        let saved: RebuildPosition = serde_json::from_str(&text).ok()?;
        if saved.key_prefix != key_prefix {
            return None;
        }
        let is_valid = saved.nodes == nodes && nodes.iter().all(ScanNode::is_resumable);
        if !is_valid {
            self.print(
                "the Redis servers have restarted or changed since the last run: starting with \
                 the first user",
            );
        }
        is_valid.then_some(saved)
    }

    pub(super) fn show(&mut self, counts: RebuildCounts) {
        let RebuildCounts {
            users,
            audiences,
            rows,
        } = counts;
        let seconds = self.started.elapsed().as_secs();
        let message = format!("{users} users, {audiences} audiences, {rows} rows, {seconds} s");
        if self.spinner.is_hidden() && self.printed.elapsed() >= PRINT_INTERVAL {
            self.printed = Instant::now();
            anstream::eprintln!("{message}");
        }
        self.spinner.set_message(message);
        self.spinner.tick();
    }

    /// Prints a line above the spinner.
    pub(super) fn print(&self, text: &str) {
        self.spinner.suspend(|| anstream::eprintln!("{text}"));
    }

    pub(super) fn save_periodically(&mut self, position: &RebuildPosition) {
        if self.saved.elapsed() >= SAVE_INTERVAL {
            self.save(position);
        }
    }

    pub(super) fn save(&mut self, position: &RebuildPosition) {
        self.saved = Instant::now();
        let mut new = OsString::from(&self.path);
        new.push(".new");
        let written = serde_json::to_vec(position)
            .map_err(io::Error::other)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &self.path));
        if let Err(error) = written
            && !std::mem::replace(&mut self.cannot_save, true)
        {
            let path = self.path.display();
            self.print(&format!(
                "{path} cannot be written ({error}): an interrupted rebuild cannot be resumed"
            ));
        }
    }

    /// Removes the progress file: the rebuild is complete.
    pub(super) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }

    pub(super) fn finish(&self) {
        self.spinner.finish_and_clear();
    }
}
