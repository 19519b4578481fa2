//! Progress and files of reports.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::eval::{report, summary::EvalReport};

/// How often the progress bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(50);

/// A report cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}")]
pub(in crate::cli) struct OutputError {
    path: PathBuf,
    source: io::Error,
}

/// Fails before the work if a file could not be written after it.
pub(in crate::cli) fn check_writable<'a>(
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
pub(in crate::cli) fn with_progress<T: Send>(
    events: u64,
    work: impl FnOnce(&AtomicU64) -> T + Send,
) -> T {
    let style = "{bar:30} {human_pos}/{human_len} events  {per_sec}  {eta} left";
    let bar = ProgressBar::new(events).with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let progress = AtomicU64::new(0);
    // On a thread of its own: this one belongs to the program's runtime, and
    // replays have runtimes of their own.
    let done = thread::scope(|scope| {
        let work = scope.spawn(|| work(&progress));
        while !work.is_finished() {
            bar.set_position(progress.load(Ordering::Relaxed));
            thread::sleep(DRAW_EVERY);
        }
        bar.finish_and_clear();
        work.join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Writes a report as JSON and as a page, where that is wanted.
pub(in crate::cli) fn write_reports(
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
pub(in crate::cli) fn write(path: &Path, text: &str) -> Result<(), OutputError> {
    std::fs::write(path, text).map_err(|source| OutputError {
        path: path.to_owned(),
        source,
    })
}
