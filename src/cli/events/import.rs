//! Sends the events of a file over one stream at a time, with several batches in
//! flight.

use std::{collections::VecDeque, time::Duration};

use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    counts::EventCounts,
    error::{EventsImportError, StreamFailure, is_final, is_over_quota},
    progress::{Progress, RowPosition},
    target::ImportTarget,
};
use crate::{
    api::reply,
    cli::lines::{RefusedLines, is_file},
    config::{EventsImportFlags, Settings},
    proto::{
        IngestOutcome, IngestResult, InteractionEvent, StreamIngestEventsRequest,
        StreamIngestEventsResponse,
    },
    tables::{EventFile, Mapping, NumberedRow, TableError},
};

/// Size of the largest event, in bytes: more than a server stores.
const MAX_EVENT_BYTES: usize = 1 << 20;
/// Bytes of events at which a batch is full.
const BATCH_BYTES: usize = 1 << 20;
/// Batches in flight.
const IN_FLIGHT: usize = 4;
/// Attempts in a row without progress, and the delay after the first, which doubles
/// with each attempt.
const ATTEMPTS: u32 = 8;
const FIRST_BACKOFF: Duration = Duration::from_millis(250);

/// Imports a file, or only checks its rows.
pub(super) async fn run(
    settings: &Settings,
    flags: &EventsImportFlags,
) -> Result<EventCounts, EventsImportError> {
    let mut import = Import::open(flags)?;
    let done = if flags.dry_run {
        import.check()
    } else {
        let target = ImportTarget::new(settings, flags)?;
        import.resume(flags, &target)?;
        let done = tokio::select! {
            done = import.send_all(&target) => done,
            _ = tokio::signal::ctrl_c() => Err(EventsImportError::Interrupted),
        };
        if done.is_ok() {
            import.progress.remove();
        } else {
            import.progress.save(import.position(), import.counts);
        }
        done
    };
    import.progress.finish();
    import.refused.print();
    for warning in import.file.warnings() {
        anstream::eprintln!("{warning}");
    }
    done.map(|()| import.counts)
}

/// Events that are sent and answered together.
struct Batch {
    /// The position before its first row.
    start: RowPosition,
    /// The events' line numbers.
    lines: Vec<u64>,
    events: Vec<InteractionEvent>,
    /// Rows of the same range that are refused.
    refused: u64,
}

struct Import {
    file: EventFile,
    /// The position before the next row.
    read: RowPosition,
    events_per_batch: usize,
    /// Batches that were read and are not answered yet, in order.
    unanswered: VecDeque<Batch>,
    /// Attempts since the last progress.
    attempts: u32,
    counts: EventCounts,
    refused: RefusedLines,
    /// Refused rows after the last event.
    refused_at_end: u64,
    progress: Progress,
}

impl Import {
    fn open(flags: &EventsImportFlags) -> Result<Self, EventsImportError> {
        let path = flags.file.as_path();
        let unreadable = |source| {
            EventsImportError::Table(TableError::Io {
                path: path.to_owned(),
                source,
            })
        };
        if !is_file(path).map_err(unreadable)? {
            return Err(EventsImportError::NotAFile {
                path: path.to_owned(),
            });
        }
        let mapping = Mapping::parse(flags.map.iter().map(String::as_str))?;
        Ok(Self {
            file: EventFile::open(path, &mapping)?,
            read: RowPosition::default(),
            events_per_batch: flags.batch,
            unanswered: VecDeque::new(),
            attempts: 0,
            counts: EventCounts::default(),
            refused: RefusedLines::default(),
            refused_at_end: 0,
            progress: Progress::of(path).map_err(unreadable)?,
        })
    }

    /// Continues where an interrupted run ended.
    fn resume(
        &mut self,
        flags: &EventsImportFlags,
        target: &ImportTarget,
    ) -> Result<(), EventsImportError> {
        let saved = self
            .progress
            .load(target.url(), target.key_id(), flags.restart);
        let Some((position, counts)) = saved else {
            return Ok(());
        };
        while self.read.rows < position.rows && self.next_row()?.is_some() {}
        anstream::eprintln!(
            "resuming after line {} (--restart starts from the first line)",
            self.read.line
        );
        self.counts = counts;
        Ok(())
    }

    /// The next row: its line number, and its event or why it has none.
    fn next_row(&mut self) -> Result<Option<NumberedRow<InteractionEvent>>, EventsImportError> {
        let Some((line, event)) = self.file.next_event()? else {
            return Ok(None);
        };
        self.read = RowPosition {
            rows: self.read.rows + 1,
            line,
        };
        let event = event.map(|event| reply::event(&event));
        let event = event.and_then(|event| match event.encoded_len() {
            ..=MAX_EVENT_BYTES => Ok(event),
            _ => Err(format!("longer than {MAX_EVENT_BYTES} bytes")),
        });
        Ok(Some((line, event)))
    }

    fn check(&mut self) -> Result<(), EventsImportError> {
        while let Some(batch) = self.read()? {
            self.counts.accepted += batch.events.len() as u64;
            self.counts.refused += batch.refused;
            self.show_progress();
        }
        self.counts.refused += self.refused_at_end;
        Ok(())
    }

    /// The position before the first row that is not known to have arrived.
    fn position(&self) -> RowPosition {
        let unanswered = self.unanswered.iter().map(|batch| batch.start).min();
        unanswered.unwrap_or(self.read)
    }

    fn show_progress(&mut self) {
        self.progress.show(self.file.bytes_read(), self.counts);
    }

    /// The next batch; `None` at the file's end.
    fn read(&mut self) -> Result<Option<Batch>, EventsImportError> {
        let mut batch = Batch {
            start: self.read,
            lines: Vec::new(),
            events: Vec::new(),
            refused: 0,
        };
        let mut bytes = 0;
        while batch.events.len() < self.events_per_batch && bytes < BATCH_BYTES {
            let row = match self.next_row() {
                Ok(row) => row,
                Err(error) => {
                    // Unanswered, so that the next run starts with it.
                    self.unanswered.push_back(batch);
                    return Err(error);
                }
            };
            let Some((line, event)) = row else { break };
            match event {
                Ok(event) => {
                    bytes += event.encoded_len();
                    batch.lines.push(line);
                    batch.events.push(event);
                }
                Err(reason) => {
                    self.refused.add(line, reason);
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

    async fn send_all(&mut self, target: &ImportTarget) -> Result<(), EventsImportError> {
        loop {
            let cause = match self.send(target).await {
                Ok(()) => return Ok(()),
                Err(StreamFailure::File(error)) => return Err(error),
                Err(StreamFailure::Status(status)) if is_final(&status) => {
                    return Err(EventsImportError::Refused(status));
                }
                Err(StreamFailure::Status(status)) if is_over_quota(&status) => {
                    tokio::time::sleep(FIRST_BACKOFF).await;
                    continue;
                }
                Err(StreamFailure::Status(status)) => {
                    format!("{}: {}", status.code(), status.message())
                }
                Err(StreamFailure::Unreachable(cause) | StreamFailure::Retry(cause)) => cause,
                // A quota refills, however long that takes.
                Err(StreamFailure::OverQuota) => {
                    tokio::time::sleep(FIRST_BACKOFF).await;
                    continue;
                }
            };
            self.attempts += 1;
            if self.attempts >= ATTEMPTS {
                return Err(EventsImportError::GaveUp {
                    line: self.position().line + 1,
                    cause,
                });
            }
            self.progress.print(&format!("{cause}; retrying"));
            tokio::time::sleep(FIRST_BACKOFF * 2_u32.pow(self.attempts - 1)).await;
        }
    }

    /// Sends on one stream until everything is answered, or the stream fails.
    async fn send(&mut self, target: &ImportTarget) -> Result<(), StreamFailure> {
        let (sender, requests) = mpsc::channel(IN_FLIGHT);
        let mut answers = target.stream(ReceiverStream::new(requests)).await?;
        let mut sent = 0;
        loop {
            while self.unanswered.len() < IN_FLIGHT {
                match self.read().map_err(StreamFailure::File)? {
                    Some(batch) => self.unanswered.push_back(batch),
                    None => break,
                }
            }
            while let Some(batch) = self.unanswered.get(sent)
                && let Ok(slot) = sender.try_reserve()
            {
                slot.send(StreamIngestEventsRequest {
                    events: batch.events.clone(),
                    sequence: batch.start.rows,
                });
                sent += 1;
            }
            if self.unanswered.is_empty() {
                self.counts.refused += self.refused_at_end;
                return Ok(());
            }
            let answer = answers.message().await?;
            let answer = answer.ok_or_else(|| Status::unavailable("the stream ended"))?;
            sent = sent.saturating_sub(1);
            self.settle(answer)?;
            self.show_progress();
            self.progress
                .save_periodically(self.position(), self.counts);
        }
    }

    /// Counts the results of the oldest batch. Its events to retry stay unanswered.
    fn settle(&mut self, answer: StreamIngestEventsResponse) -> Result<(), StreamFailure> {
        let batch = self.unanswered.pop_front();
        let batch = batch.filter(|batch| {
            answer.sequence == batch.start.rows && answer.results.len() == batch.events.len()
        });
        let Some(batch) = batch else {
            return Err(Status::internal("the server's answer is to no request").into());
        };
        let mut retried = Batch {
            start: batch.start,
            lines: Vec::new(),
            events: Vec::new(),
            refused: batch.refused,
        };
        let mut reason = String::new();
        let events = batch.events.into_iter().zip(batch.lines);
        for ((event, line), result) in events.zip(answer.results) {
            match self.count(line, &result) {
                None => self.attempts = 0,
                Some(why) => {
                    reason = why;
                    retried.lines.push(line);
                    retried.events.push(event);
                }
            }
        }
        if retried.events.is_empty() {
            self.counts.refused += batch.refused;
            return Ok(());
        }
        // In front, so that batches stay in the order of the answers.
        self.unanswered.push_front(retried);
        Err(StreamFailure::retry(reason))
    }

    /// Counts the result of an event; the reason if it must be sent again.
    fn count(&mut self, line: u64, result: &IngestResult) -> Option<String> {
        match result.outcome() {
            IngestOutcome::NotStored => self.counts.not_stored += 1,
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
                return None;
            }
        }
        self.counts.add_meaning(result.meaning());
        None
    }
}

/// A field without its index in the batch, which means nothing to the user.
fn field(path: &str) -> &str {
    path.split_once("].").map_or(path, |(_, field)| field)
}
