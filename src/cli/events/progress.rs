//! The progress of an import: shown while it runs, and saved beside the file so that
//! an interrupted run can be resumed.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, UNIX_EPOCH},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::counts::EventCounts;

const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of the lines that replace the bar where there is no terminal.
const PRINT_INTERVAL: Duration = Duration::from_secs(10);
const STREAM_STYLE: &str = "{spinner} {bytes}  {msg}";
const STYLE: &str = "{bar:30} {bytes}/{total_bytes}  {msg}  {eta} left";

/// A position between two rows of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowPosition {
    /// Rows before it.
    pub(super) rows: u64,
    /// The line on which the last of them begins.
    pub(super) line: u64,
}

/// The progress file.
#[derive(Serialize, Deserialize)]
struct SavedProgress {
    /// Size and modification time of the events file, to detect changes.
    bytes: u64,
    modified_ms: u128,
    to: String,
    /// Another key may be another tenant's.
    key_id: Option<String>,
    /// The server's data that has the events.
    #[serde(default)]
    data_id: Option<String>,
    rows: u64,
    line: u64,
    counts: EventCounts,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

pub(super) struct Progress {
    /// Where it is saved; `None` for a pipe, which cannot be read again.
    path: Option<PathBuf>,
    bytes: u64,
    modified_ms: u128,
    to: String,
    key_id: Option<String>,
    bar: ProgressBar,
    started: Instant,
    /// Lines that earlier runs sent.
    earlier: u64,
    saved: Instant,
    printed: Instant,
    cannot_save: bool,
}

impl Progress {
    pub(super) fn of(file: &Path) -> io::Result<Self> {
        let about = fs::metadata(file)?;
        let modified = about.modified()?.duration_since(UNIX_EPOCH);
        let mut name = OsString::from(file);
        name.push(".progress");
        let bar = ProgressBar::new(about.len()).with_style(style(STYLE));
        Ok(Self {
            path: Some(name.into()),
            bytes: about.len(),
            modified_ms: modified.unwrap_or_default().as_millis(),
            ..Self::of_pipe(bar)
        })
    }

    /// Progress of an unknown length that is not saved.
    pub(super) fn of_stream() -> Self {
        Self::of_pipe(ProgressBar::new_spinner().with_style(style(STREAM_STYLE)))
    }

    fn of_pipe(bar: ProgressBar) -> Self {
        let now = Instant::now();
        Self {
            path: None,
            bytes: 0,
            modified_ms: 0,
            to: String::new(),
            key_id: None,
            bar,
            started: now,
            earlier: 0,
            saved: now,
            printed: now,
            cannot_save: false,
        }
    }

    /// Where an earlier run with this file, server and key was interrupted, if one was,
    /// and which data of the server has the events before.
    pub(super) fn load(
        &mut self,
        to: &str,
        key_id: Option<&str>,
        restart: bool,
    ) -> Option<(RowPosition, EventCounts, String)> {
        self.to = to.to_owned();
        self.key_id = key_id.map(str::to_owned);
        let text = fs::read_to_string(self.path.as_ref()?).ok()?;
        let saved: SavedProgress = serde_json::from_str(&text).ok()?;
        if restart || saved.to != to || saved.key_id != self.key_id {
            return None;
        }
        if saved.bytes != self.bytes || saved.modified_ms != self.modified_ms {
            anstream::eprintln!(
                "the file has changed since the last run: starting from the first line"
            );
            return None;
        }
        let data_id = saved.data_id?;
        self.earlier = saved.counts.total();
        let position = RowPosition {
            rows: saved.rows,
            line: saved.line,
        };
        Some((position, saved.counts, data_id))
    }

    /// Starts from the first line again.
    pub(super) fn restart(&mut self) {
        self.earlier = 0;
        self.started = Instant::now();
    }

    pub(super) fn show(&mut self, bytes_read: u64, counts: EventCounts) {
        let rate = (counts.total() - self.earlier) as f64
            / self.started.elapsed().as_secs_f64().max(0.001);
        let message = format!("{} events, {rate:.0}/s", counts.total());
        if self.bar.is_hidden() && self.printed.elapsed() >= PRINT_INTERVAL {
            self.printed = Instant::now();
            if self.bytes > 0 {
                let percent = 100.0 * bytes_read as f64 / self.bytes as f64;
                anstream::eprintln!("{percent:.0} %: {message}");
            } else {
                anstream::eprintln!("{message}");
            }
        }
        self.bar.set_position(bytes_read);
        self.bar.set_message(message);
    }

    /// Prints a line above the bar.
    pub(super) fn print(&self, text: &str) {
        self.bar.suspend(|| anstream::eprintln!("{text}"));
    }

    pub(super) fn save_periodically(
        &mut self,
        position: RowPosition,
        counts: EventCounts,
        data_id: Option<&str>,
    ) {
        if self.saved.elapsed() >= SAVE_INTERVAL {
            self.save(position, counts, data_id);
        }
    }

    pub(super) fn save(
        &mut self,
        position: RowPosition,
        counts: EventCounts,
        data_id: Option<&str>,
    ) {
        let Some(path) = &self.path else { return };
        if position == RowPosition::default() {
            return;
        }
        self.saved = Instant::now();
        let saved = SavedProgress {
            bytes: self.bytes,
            modified_ms: self.modified_ms,
            to: self.to.clone(),
            key_id: self.key_id.clone(),
            data_id: data_id.map(str::to_owned),
            rows: position.rows,
            line: position.line,
            counts,
        };
        let mut new = OsString::from(path);
        new.push(".new");
        let written = serde_json::to_vec(&saved)
            .map_err(io::Error::other)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, path));
        if let Err(error) = written
            && !std::mem::replace(&mut self.cannot_save, true)
        {
            let path = path.display();
            self.bar.suspend(|| {
                anstream::eprintln!(
                    "{path} cannot be written ({error}): an interrupted import cannot be resumed"
                );
            });
        }
    }

    /// Removes the progress file: the import is complete.
    pub(super) fn remove(&self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
