//! Sends the events of a file over one stream at a time, with several batches in
//! flight.

use std::{collections::VecDeque, path::PathBuf, time::Duration};

use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    counts::EventCounts,
    error::{EventsImportError, StreamFailure, is_final, is_over_quota},
    progress::{Progress, RowPosition},
    replace::erase_users,
    summary::FileSummary,
    target::ImportTarget,
    wrong_port::is_not_grpc,
};
use crate::{
    api::reply,
    cli::{
        import_file::{ImportFile, is_pipe},
        lines::RefusedLines,
    },
    config::{EventsImportFlags, Settings},
    proto::{
        IngestOutcome, IngestResult, InteractionEvent, StreamIngestEventsRequest,
        StreamIngestEventsResponse,
    },
    tables::{EventColumns, EventFile, NumberedRow, TableError},
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
/// How often everything is sent again because the server lost its data.
const MAX_RESTARTS: u32 = 3;
/// How long the server's end of a complete stream is awaited.
const STREAM_END: Duration = Duration::from_secs(5);

/// The result of an import.
pub(super) struct Imported {
    pub(super) counts: EventCounts,
    /// What the events of the file are about.
    pub(super) summary: FileSummary,
    /// A warning about items that the catalogue lacks.
    pub(super) missing_items: Option<String>,
}

/// Imports a file, or only checks its rows.
pub(super) async fn run(
    settings: &Settings,
    flags: &EventsImportFlags,
) -> Result<Imported, EventsImportError> {
    // Read twice, if users are erased first.
    let copy = flags.replace.then(|| ImportFile::open(&flags.file));
    let copy = copy.transpose()?;
    let path = copy.as_ref().map_or(flags.file.as_path(), ImportFile::path);
    let mut import = Import::open(path.to_owned(), flags)?;
    let mut missing_items = None;
    let done = if flags.dry_run {
        import.check()
    } else {
        let target = ImportTarget::new(settings, flags)?;
        if flags.replace {
            let erased = erase_users(path, &import.columns, &target, flags.yes).await?;
            anstream::eprintln!("{erased} users erased");
        }
        import.resume(flags, &target)?;
        let done = tokio::select! {
            done = import.send_all(&target) => done,
            _ = tokio::signal::ctrl_c() => Err(EventsImportError::Interrupted),
        };
        if done.is_ok() {
            import.progress.remove();
            missing_items = import.missing_items(&target).await;
        } else {
            import.save_progress();
        }
        done
    };
    import.progress.finish();
    // One sentence on what all rows lack, rather than one a row.
    let is_of_all_rows =
        matches!(&done, Err(EventsImportError::Table(error)) if error.is_of_all_rows());
    if !is_of_all_rows {
        import.refused.print();
        for warning in import.file.warnings() {
            anstream::eprintln!("{warning}");
        }
    }
    done.map(|()| Imported {
        counts: import.counts,
        summary: import.summary,
        missing_items,
    })
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
    path: PathBuf,
    columns: EventColumns,
    file: EventFile,
    /// What the rows so far are about.
    summary: FileSummary,
    /// The server's data that has the events so far; `None` while it is not known.
    data_id: Option<String>,
    /// How often the server lost its data.
    restarts: u32,
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
    fn open(path: PathBuf, flags: &EventsImportFlags) -> Result<Self, EventsImportError> {
        let columns = EventColumns::parse(&flags.map, flags.event_type.as_deref())?;
        let file = EventFile::open(&path, &columns)?;
        let progress = if is_pipe(&path) {
            Progress::of_stream()
        } else {
            Progress::of(&path).map_err(|source| TableError::Io {
                path: path.clone(),
                source,
            })?
        };
        Ok(Self {
            path,
            columns,
            file,
            summary: FileSummary::default(),
            data_id: None,
            restarts: 0,
            read: RowPosition::default(),
            events_per_batch: flags.batch,
            unanswered: VecDeque::new(),
            attempts: 0,
            counts: EventCounts::default(),
            refused: RefusedLines::default(),
            refused_at_end: 0,
            progress,
        })
    }

    /// Continues where an interrupted run ended.
    fn resume(
        &mut self,
        flags: &EventsImportFlags,
        target: &ImportTarget,
    ) -> Result<(), EventsImportError> {
        let saved = self.progress.load(
            target.url(),
            target.key_id(),
            flags.restart || flags.replace,
        );
        let Some((position, counts, data_id)) = saved else {
            return Ok(());
        };
        self.data_id = Some(data_id);
        while self.read.rows < position.rows && self.next_row()?.is_some() {}
        anstream::eprintln!(
            "resuming after line {} (--restart starts from the first line)",
            self.read.line
        );
        self.counts = counts;
        Ok(())
    }

    /// Reads the file from its start again: the server lost the events so far.
    fn restart(&mut self) -> Result<(), EventsImportError> {
        self.restarts += 1;
        if self.restarts > MAX_RESTARTS || is_pipe(&self.path) {
            return Err(EventsImportError::DataLost);
        }
        self.progress.print(
            "the server does not have the events that were sent before: sending everything again",
        );
        self.file = EventFile::open(&self.path, &self.columns)?;
        self.summary = FileSummary::default();
        self.data_id = None;
        self.read = RowPosition::default();
        self.unanswered.clear();
        self.counts = EventCounts::default();
        self.refused = RefusedLines::default();
        self.refused_at_end = 0;
        self.progress.restart();
        Ok(())
    }

    fn save_progress(&mut self) {
        let position = self.position();
        let data_id = self.data_id.as_deref();
        self.progress.save(position, self.counts, data_id);
    }

    /// A warning about items that the catalogue lacks, or that they were not compared.
    async fn missing_items(&self, target: &ImportTarget) -> Option<String> {
        let items = self.summary.compared();
        if items.is_empty() {
            return None;
        }
        match target.missing_items(items).await {
            Ok(missing) => self.summary.missing(&missing),
            Err(status) if status.code() == Code::PermissionDenied => Some(
                "the items are not compared with the catalogue: the key lacks the role serve"
                    .to_owned(),
            ),
            Err(status) => Some(format!(
                "the items are not compared with the catalogue: {}",
                status.message()
            )),
        }
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
        if let Ok(event) = &event {
            self.summary.add(event);
        }
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
                Err(StreamFailure::DataLost) => {
                    self.restart()?;
                    continue;
                }
                Err(StreamFailure::Status(status)) if is_not_grpc(&status) => {
                    return Err(EventsImportError::WrongPort(format!(
                        "{} is not the port of the API: give the one of RECSYS_LISTEN_ADDR, not \
                         that of the webhook, the admin port or another server",
                        target.url()
                    )));
                }
                Err(StreamFailure::Status(status)) if is_final(&status) => {
                    return Err(EventsImportError::Refused(status));
                }
                Err(StreamFailure::Status(status)) if is_over_quota(&status) => {
                    tokio::time::sleep(FIRST_BACKOFF).await;
                    continue;
                }
                Err(StreamFailure::Status(status)) => described(&status),
                Err(StreamFailure::Unreachable(cause) | StreamFailure::Retry(cause)) => cause,
                // A quota refills, however long that takes.
                Err(StreamFailure::OverQuota) => {
                    tokio::time::sleep(FIRST_BACKOFF).await;
                    continue;
                }
            };
            self.attempts += 1;
            if self.attempts == 1
                && let Some(sentence) = target.diagnose().await
            {
                return Err(EventsImportError::WrongPort(sentence));
            }
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
        let stream = target.stream(ReceiverStream::new(requests)).await?;
        let mut answers = stream.replies;
        match (&self.data_id, stream.data_id) {
            (Some(before), Some(now)) if *before != now => return Err(StreamFailure::DataLost),
            (Some(_), None) => {
                let reason = "the server's store of users' state does not answer";
                return Err(StreamFailure::Retry(reason.to_owned()));
            }
            (_, now) => self.data_id = now,
        }
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
                // The server then ends the stream, too, rather than see it cancelled.
                drop(sender);
                let _ = tokio::time::timeout(STREAM_END, answers.message()).await;
                return Ok(());
            }
            let answer = answers.message().await?;
            let answer = answer.ok_or_else(|| Status::unavailable("the stream ended"))?;
            sent = sent.saturating_sub(1);
            self.settle(answer)?;
            self.show_progress();
            let position = self.position();
            let data_id = self.data_id.as_deref();
            self.progress
                .save_periodically(position, self.counts, data_id);
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

/// What ended a stream, without the words of the HTTP library.
fn described(status: &Status) -> String {
    let is_transport = [Code::Internal, Code::Unknown, Code::Cancelled].contains(&status.code());
    if is_transport && std::error::Error::source(status).is_some() {
        return "the connection broke".to_owned();
    }
    format!("{}: {}", status.code(), status.message())
}

/// A field without its index in the batch, which means nothing to the user.
fn field(path: &str) -> &str {
    path.split_once("].").map_or(path, |(_, field)| field)
}
