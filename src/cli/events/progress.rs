//! How far an import is: shown while it runs, and kept beside the file so that a
//! run that was broken off can go on.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, UNIX_EPOCH},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::{Imported, Place};

const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How often a line is written where there is no terminal for a bar.
const SAY_EVERY: Duration = Duration::from_secs(10);
const STYLE: &str = "{bar:30} {bytes}/{total_bytes}  {msg}  {eta} left";

/// What is kept of a run.
#[derive(Serialize, Deserialize)]
struct Saved {
    /// What tells whether the file is still the same.
    bytes: u64,
    modified_ms: u128,
    to: String,
    /// As whom: what a key is known by. Another one may be another tenant's.
    key_id: Option<String>,
    offset: u64,
    lines: usize,
    counts: Imported,
}

pub(super) struct Progress {
    path: PathBuf,
    bytes: u64,
    modified_ms: u128,
    to: String,
    key_id: Option<String>,
    bar: ProgressBar,
    begun: Instant,
    done_before: u64,
    saved: Instant,
    said: Instant,
    cannot_save: bool,
}

impl Progress {
    pub(super) fn of(file: &Path) -> io::Result<Self> {
        let about = fs::metadata(file)?;
        let modified = about.modified()?.duration_since(UNIX_EPOCH);
        let mut name = OsString::from(file);
        name.push(".progress");
        let style =
            ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar());
        let now = Instant::now();
        Ok(Self {
            path: name.into(),
            bytes: about.len(),
            modified_ms: modified.unwrap_or_default().as_millis(),
            to: String::new(),
            key_id: None,
            bar: ProgressBar::new(about.len()).with_style(style),
            begun: now,
            done_before: 0,
            saved: now,
            said: now,
            cannot_save: false,
        })
    }

    /// Where a run to this server, with this key, was broken off, if it was with this
    /// file.
    pub(super) fn saved(
        &mut self,
        to: &str,
        key_id: Option<&str>,
        anew: bool,
    ) -> Option<(Place, Imported)> {
        self.to = to.to_owned();
        self.key_id = key_id.map(str::to_owned);
        let text = fs::read_to_string(&self.path).ok()?;
        let saved: Saved = serde_json::from_str(&text).ok()?;
        if anew || saved.to != to || saved.key_id != self.key_id {
            return None;
        }
        if saved.bytes != self.bytes || saved.modified_ms != self.modified_ms {
            anstream::eprintln!("the file has changed since the last run: beginning anew");
            return None;
        }
        self.done_before = done(&saved.counts);
        self.bar.set_position(saved.offset);
        self.bar.reset_eta();
        let place = Place {
            offset: saved.offset,
            lines: saved.lines,
        };
        Some((place, saved.counts))
    }

    pub(super) fn show(&mut self, place: Place, counts: Imported) {
        let rate = (done(&counts) - self.done_before) as f64
            / self.begun.elapsed().as_secs_f64().max(0.001);
        let message = format!("{} events, {rate:.0}/s", done(&counts));
        if self.bar.is_hidden() && self.said.elapsed() >= SAY_EVERY {
            self.said = Instant::now();
            let percent = 100.0 * place.offset as f64 / self.bytes.max(1) as f64;
            anstream::eprintln!("{percent:.0} %: {message}");
        }
        self.bar.set_position(place.offset);
        self.bar.set_message(message);
    }

    /// Says why it has to wait.
    pub(super) fn say(&self, what: &str) {
        self.bar
            .suspend(|| anstream::eprintln!("{what}; trying again"));
    }

    pub(super) fn save_sometimes(&mut self, place: Place, counts: Imported) {
        if self.saved.elapsed() >= SAVE_EVERY {
            self.save(place, counts);
        }
    }

    pub(super) fn save(&mut self, place: Place, counts: Imported) {
        if place == Place::default() {
            return;
        }
        self.saved = Instant::now();
        let saved = Saved {
            bytes: self.bytes,
            modified_ms: self.modified_ms,
            to: self.to.clone(),
            key_id: self.key_id.clone(),
            offset: place.offset,
            lines: place.lines,
            counts,
        };
        let mut beside = OsString::from(&self.path);
        beside.push(".new");
        let written = serde_json::to_vec(&saved)
            .map_err(io::Error::other)
            .and_then(|text| fs::write(&beside, text))
            .and_then(|()| fs::rename(&beside, &self.path));
        if let Err(error) = written
            && !std::mem::replace(&mut self.cannot_save, true)
        {
            let path = self.path.display();
            self.bar.suspend(|| {
                anstream::eprintln!(
                    "{path} cannot be written ({error}): if this is broken off, it begins anew"
                );
            });
        }
    }

    /// All is done: there is nothing to go on with.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(&self.path);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn done(counts: &Imported) -> u64 {
    counts.accepted + counts.duplicate + counts.outside_window + counts.refused
}
