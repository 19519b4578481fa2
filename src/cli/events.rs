//! `recsys events import`: a file of events into a running server, for
//! backfills. Nothing is lost by running it twice: events are sent again only if
//! it is not known that they arrived, and what arrived twice counts once.

mod line;
mod progress;
mod server;

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use self::{progress::Progress, server::Server};
use super::lines::{Lines, Place, Refused};
use crate::{
    config::{EventsImport, Settings},
    proto::{
        IngestOutcome, IngestResult, InteractionEvent, StreamIngestEventsRequest,
        StreamIngestEventsResponse,
    },
};

pub use server::ServerError;

/// Longest line: an event of the largest size, and then some.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Most bytes of lines in one batch, but for its last line.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that are sent before the first of them is answered.
const AHEAD: usize = 4;
/// How often it is tried without anything done in between, and the first wait;
/// each is twice the one before.
const TRIES: u32 = 8;
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// The reason of what a quota holds up.
const OVER_QUOTA: &str = "QUOTA_EXCEEDED";

/// What an import did, runs that it goes on from included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Imported {
    /// Events that were stored.
    pub accepted: u64,
    /// Events that were known already.
    pub duplicate: u64,
    /// Events too old to matter.
    pub outside_window: u64,
    /// Lines that are no event, or one that the server refused.
    pub refused: u64,
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum EventsImportError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It may be read twice, which a pipe cannot be.
    #[error("{path} is not a file: give a file, not a pipe")]
    NotAFile {
        /// Which one.
        path: PathBuf,
    },
    /// The server cannot be called as told.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server does not take the events, and would not a second time.
    #[error("the server refuses: {}: {}{}", .0.code(), .0.message(), way_out(.0))]
    Refused(Box<Status>),
    /// Somebody pressed Ctrl-C.
    #[error("broken off: the same command goes on from there")]
    Interrupted,
    /// The server does not answer, or its stores do not.
    #[error("{cause}; gave up at line {line} (run the same command again: it goes on from there)")]
    GaveUp {
        /// The first line that is not known to have arrived.
        line: usize,
        /// What happened last.
        cause: String,
    },
}

impl EventsImportError {
    /// Whether settings or the file must be mended before a new try.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        !matches!(self, Self::GaveUp { .. } | Self::Interrupted)
    }
}

fn way_out(status: &Status) -> &'static str {
    let code = status.code();
    if code == Code::Unauthenticated {
        " (RECSYS_KEY)"
    } else if code == Code::PermissionDenied {
        " (the key needs the role ingest)"
    } else if code == Code::Unimplemented {
        " (is it a recsys server, and of this version?)"
    } else if [
        Code::ResourceExhausted,
        Code::OutOfRange,
        Code::InvalidArgument,
    ]
    .contains(&code)
    {
        " (--batch N sends less at once)"
    } else {
        ""
    }
}

/// Imports a file, or only checks its lines.
///
/// # Errors
/// [`EventsImportError`].
pub async fn import(
    settings: &Settings,
    how: &EventsImport,
) -> Result<Imported, EventsImportError> {
    let mut import = Import::open(how)?;
    let done = if how.dry_run {
        import.check()
    } else {
        let server = Server::new(settings, how)?;
        import.resume(how, &server);
        let done = tokio::select! {
            done = import.send_all(&server) => done,
            _ = tokio::signal::ctrl_c() => Err(EventsImportError::Interrupted),
        };
        if done.is_ok() {
            import.progress.forget();
        } else {
            import.progress.save(import.place(), import.counts);
        }
        done
    };
    import.progress.finish();
    import.refused.print();
    done.map(|()| import.counts)
}

/// Lines that are sent and answered together.
struct Batch {
    /// Where the first of them begins.
    start: Place,
    lines: Vec<usize>,
    events: Vec<InteractionEvent>,
    /// Lines among them that are no events.
    refused: u64,
}

struct Import<'a> {
    path: &'a Path,
    lines: Lines,
    events_at_once: usize,
    /// Batches that were read and are not answered yet, in order.
    waiting: VecDeque<Batch>,
    /// How many of them are to be waited for before they are sent again.
    tries: u32,
    counts: Imported,
    refused: Refused,
    /// Lines after the last event that are none.
    refused_at_end: u64,
    progress: Progress,
}

impl<'a> Import<'a> {
    fn open(how: &'a EventsImport) -> Result<Self, EventsImportError> {
        let path = how.file.as_path();
        let unreadable = |source| EventsImportError::File {
            path: path.to_owned(),
            source,
        };
        let lines = Lines::open(path, MAX_LINE_BYTES).map_err(unreadable)?;
        Ok(Self {
            path,
            lines: lines.ok_or_else(|| EventsImportError::NotAFile {
                path: path.to_owned(),
            })?,
            events_at_once: how.batch,
            waiting: VecDeque::new(),
            tries: 0,
            counts: Imported::default(),
            refused: Refused::default(),
            refused_at_end: 0,
            progress: Progress::of(path).map_err(unreadable)?,
        })
    }

    /// Goes on where an earlier run ended.
    fn resume(&mut self, how: &EventsImport, server: &Server) {
        let saved = self
            .progress
            .saved(server.url(), server.key_id(), how.restart);
        let Some((place, counts)) = saved else {
            return;
        };
        if let Err(error) = self.lines.go_to(place) {
            anstream::eprintln!("cannot go on at line {}: {error}", place.lines + 1);
            return;
        }
        anstream::eprintln!(
            "going on after line {} (--restart begins anew)",
            place.lines
        );
        self.counts = counts;
    }

    fn check(&mut self) -> Result<(), EventsImportError> {
        while let Some(batch) = self.read()? {
            self.counts.accepted += batch.events.len() as u64;
            self.counts.refused += batch.refused;
            self.progress.show(self.lines.place(), self.counts);
        }
        self.counts.refused += self.refused_at_end;
        Ok(())
    }

    /// The place before all that is not known to have arrived.
    fn place(&self) -> Place {
        let waiting = self.waiting.iter().map(|batch| batch.start).min();
        waiting.unwrap_or_else(|| self.lines.place())
    }

    /// The next batch; `None` at the file's end.
    fn read(&mut self) -> Result<Option<Batch>, EventsImportError> {
        let mut batch = Batch {
            start: self.lines.place(),
            lines: Vec::new(),
            events: Vec::new(),
            refused: 0,
        };
        let mut bytes = 0;
        while batch.events.len() < self.events_at_once && bytes < BATCH_BYTES {
            let line = match self.lines.next() {
                Ok(line) => line,
                Err(source) => {
                    // Not sent yet, so another run is to begin with it.
                    self.waiting.push_back(batch);
                    return Err(EventsImportError::File {
                        path: self.path.to_owned(),
                        source,
                    });
                }
            };
            let Some((number, text)) = line else { break };
            let size = text.as_ref().map_or(0, |text| text.len());
            match text.and_then(line::parse) {
                Ok(event) => {
                    bytes += size;
                    batch.lines.push(number);
                    batch.events.push(event);
                }
                Err(reason) => {
                    self.refused.add(number, reason);
                    batch.refused += 1;
                }
            }
        }
        if batch.events.is_empty() {
            self.refused_at_end += batch.refused;
            return Ok(None);
        }
        Ok(Some(batch))
    }

    async fn send_all(&mut self, server: &Server) -> Result<(), EventsImportError> {
        loop {
            let cause = match self.send(server).await {
                Ok(()) => return Ok(()),
                Err(Stopped::File(error)) => return Err(error),
                Err(Stopped::Status(status)) if is_final(&status) => {
                    return Err(EventsImportError::Refused(status));
                }
                Err(Stopped::Status(status)) if is_over_quota(&status) => {
                    tokio::time::sleep(FIRST_WAIT).await;
                    continue;
                }
                Err(Stopped::Status(status)) => {
                    format!("{}: {}", status.code(), status.message())
                }
                Err(Stopped::Unreachable(cause)) => cause,
                Err(Stopped::Again(cause)) => cause,
                // It passes with time, however long that is.
                Err(Stopped::OverQuota) => {
                    tokio::time::sleep(FIRST_WAIT).await;
                    continue;
                }
            };
            self.tries += 1;
            if self.tries >= TRIES {
                return Err(EventsImportError::GaveUp {
                    line: self.place().lines + 1,
                    cause,
                });
            }
            self.progress.say(&cause);
            tokio::time::sleep(FIRST_WAIT * 2_u32.pow(self.tries - 1)).await;
        }
    }

    /// Sends on one stream until all is answered, or the stream ends.
    async fn send(&mut self, server: &Server) -> Result<(), Stopped> {
        let (send, sending) = mpsc::channel(AHEAD);
        let mut answers = server.stream(ReceiverStream::new(sending)).await?;
        let mut sent = 0;
        loop {
            while self.waiting.len() < AHEAD {
                match self.read().map_err(Stopped::File)? {
                    Some(batch) => self.waiting.push_back(batch),
                    None => break,
                }
            }
            while let Some(batch) = self.waiting.get(sent)
                && let Ok(place) = send.try_reserve()
            {
                place.send(StreamIngestEventsRequest {
                    events: batch.events.clone(),
                    sequence: batch.start.offset,
                });
                sent += 1;
            }
            if self.waiting.is_empty() {
                self.counts.refused += self.refused_at_end;
                return Ok(());
            }
            let answer = answers.message().await.map_err(Stopped::from)?;
            let answer = answer.ok_or_else(|| Status::unavailable("the stream ended"))?;
            sent = sent.saturating_sub(1);
            self.settle(answer)?;
            self.progress.show(self.place(), self.counts);
            self.progress.save_sometimes(self.place(), self.counts);
        }
    }

    /// Counts what became of the oldest batch. What is to be sent again waits on.
    fn settle(&mut self, answer: StreamIngestEventsResponse) -> Result<(), Stopped> {
        let batch = self.waiting.pop_front();
        let batch = batch.filter(|batch| {
            answer.sequence == batch.start.offset && answer.results.len() == batch.events.len()
        });
        let Some(batch) = batch else {
            let told = "the server answered something that was not asked";
            return Err(Status::internal(told).into());
        };
        let mut again = Batch {
            start: batch.start,
            lines: Vec::new(),
            events: Vec::new(),
            refused: batch.refused,
        };
        let mut cause = String::new();
        let events = batch.events.into_iter().zip(batch.lines);
        for ((event, line), result) in events.zip(answer.results) {
            match self.count(line, &result) {
                None => self.tries = 0,
                Some(why) => {
                    cause = why;
                    again.lines.push(line);
                    again.events.push(event);
                }
            }
        }
        if again.events.is_empty() {
            self.counts.refused += batch.refused;
            return Ok(());
        }
        // In front, so that no later batch is taken for it.
        self.waiting.push_front(again);
        Err(if cause.starts_with(OVER_QUOTA) {
            Stopped::OverQuota
        } else {
            Stopped::Again(cause)
        })
    }

    /// Counts what became of an event; why it is to be sent again, if it is.
    fn count(&mut self, line: usize, result: &IngestResult) -> Option<String> {
        match result.outcome() {
            IngestOutcome::Accepted => self.counts.accepted += 1,
            IngestOutcome::Duplicate => self.counts.duplicate += 1,
            IngestOutcome::OutsideWindow => self.counts.outside_window += 1,
            IngestOutcome::Rejected | IngestOutcome::Unspecified => {
                let error = result.error.clone().unwrap_or_default();
                if matches!(
                    Code::from(error.code),
                    Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded
                ) {
                    return Some(format!("{}: {}", error.reason, error.message));
                }
                let rules: Vec<String> = error
                    .violations
                    .iter()
                    .map(|broken| format!("{} {}", field(&broken.field), broken.description))
                    .collect();
                let reason = match rules.as_slice() {
                    [] => error.message,
                    rules => rules.join("; "),
                };
                self.refused.add(line, reason);
                self.counts.refused += 1;
            }
        }
        None
    }
}

/// A field without its place in the batch, which nobody but us knows.
fn field(path: &str) -> &str {
    path.split_once("].").map_or(path, |(_, field)| field)
}

/// Why a stream was not sent to its end.
pub(super) enum Stopped {
    /// The file cannot be read.
    File(EventsImportError),
    /// The server ended it.
    Status(Box<Status>),
    /// There is no connection.
    Unreachable(String),
    /// Some events are to be sent again.
    Again(String),
    /// So are some, as the key's quota is used up for now.
    OverQuota,
}

impl From<Status> for Stopped {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// Whether a second try would end the same.
fn is_final(status: &Status) -> bool {
    let mended_first = [
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::Unimplemented,
        Code::InvalidArgument,
        Code::OutOfRange,
    ];
    // A batch that is larger than the key's quota ever is: no wait would do.
    let too_large = is_over_quota(status) && status.get_details_retry_info().is_none();
    mended_first.contains(&status.code()) || too_large
}

fn is_over_quota(status: &Status) -> bool {
    let details = status.get_details_error_info();
    details.is_some_and(|info| info.reason == OVER_QUOTA)
}
