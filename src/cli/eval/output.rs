//! Progress and files of reports.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread::{self, Thread},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::eval::{report, summary::EvalReport};

/// How often the progress bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(50);

/// A report cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}")]
pub(crate) struct OutputError {
    path: PathBuf,
    source: io::Error,
}

/// Fails before the work if a file could not be written after it.
pub(crate) fn check_writable<'a>(
    paths: impl IntoIterator<Item = &'a Path>,
) -> Result<(), OutputError> {
    for path in paths {
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let fault = if path.is_dir() {
            Some(io::Error::from(io::ErrorKind::IsADirectory))
        } else if directory.is_dir() {
            None
        } else {
            Some(io::Error::new(
                io::ErrorKind::NotFound,
                "there is no such directory",
            ))
        };
        if let Some(source) = fault {
            return Err(OutputError {
                path: path.to_owned(),
                source,
            });
        }
    }
    Ok(())
}

/// Does the work with a progress bar over so many events.
pub(crate) fn with_progress<T>(events: u64, work: impl FnOnce(&AtomicU64) -> T) -> T {
    let style = "{bar:30} {human_pos}/{human_len} events  {per_sec}  {eta} left";
    let bar = ProgressBar::new(events).with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let progress = AtomicU64::new(0);
    thread::scope(|scope| {
        let drawing = scope.spawn(|| {
            while !bar.is_finished() {
                bar.set_position(progress.load(Ordering::Relaxed));
                thread::park_timeout(DRAW_EVERY);
            }
        });
        // Also if the work panics: the scope waits for the thread.
        let _ends_drawing = EndsDrawing {
            bar: &bar,
            thread: drawing.thread().clone(),
        };
        work(&progress)
    })
}

struct EndsDrawing<'a> {
    bar: &'a ProgressBar,
    thread: Thread,
}

impl Drop for EndsDrawing<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.thread.unpark();
    }
}

/// Writes a report as JSON and as a page, if there are paths for them.
pub(crate) fn write_reports(
    report: &EvalReport,
    json: Option<&Path>,
    html: Option<&Path>,
) -> Result<(), OutputError> {
    if let Some(path) = json {
        let text = report::json(report).map_err(|error| OutputError {
            path: path.to_owned(),
            source: error.into(),
        })?;
        write(path, &text)?;
    }
    if let Some(path) = html {
        write(path, &report::html(report))?;
    }
    Ok(())
}

/// Writes a file.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), OutputError> {
    std::fs::write(path, text).map_err(|source| OutputError {
        path: path.to_owned(),
        source,
    })
}
