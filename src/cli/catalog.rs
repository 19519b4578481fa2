//! `recsys catalog import`: writes a catalogue file to Qdrant.
//!
//! The file is read twice, line by line: the first pass checks every line, the second
//! writes the valid ones. A file with a wrong vector size is refused before anything is
//! written, and only the ids are held in memory.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    exit,
    lines::{LineReader, RefusedLines},
};
use crate::{
    adapters::qdrant::{PutOutcome, QdrantItemStore},
    app::{self, StartError},
    config::{CatalogCommand, CatalogImportFlags, Settings},
    domain::{catalogue_line, ids::ContentId, item::Item},
    ports::{StoreError, StoreErrorKind},
    telemetry::error_chain::causes,
};

/// Items per write.
const BATCH: usize = 200;
/// Attempts of a call that Qdrant does not answer, and the delay after the first,
/// which doubles with each attempt.
const ATTEMPTS: u32 = 6;
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Longest line: more than the largest item takes.
const MAX_LINE_BYTES: u64 = 4 << 20;

/// Counts of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct CatalogCounts {
    /// Lines that hold a valid item.
    good: usize,
    written: usize,
    unchanged: usize,
    /// Lines that were refused.
    refused: usize,
}

/// The import failed.
#[derive(Debug, thiserror::Error)]
enum CatalogImportError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("QDRANT_API_URL is not set: there is no Qdrant to import into")]
    NoQdrant,
    #[error("cannot read {path}: {source}")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not a file: give a file, not a pipe")]
    NotAFile { path: PathBuf },
    /// The second pass found fewer lines than the first.
    #[error("{path} has changed while it was read: run the same command again")]
    Changed { path: PathBuf },
    /// A vector has another size than the others, or than those of the collection.
    #[error(
        "line {line}: vector has {given} numbers, {expected_by} {expected}; nothing was written"
    )]
    VectorSize {
        line: usize,
        given: usize,
        expected_by: String,
        expected: usize,
    },
    /// Another program created the collection after the file was checked.
    #[error(
        "the vectors have {given} numbers, those of collection {collection:?} have {expected}; \
         nothing was written"
    )]
    Collection {
        collection: String,
        expected: usize,
        given: usize,
    },
    #[error("{source}{}{}", causes(source), advice(source))]
    Store { source: StoreError },
}

impl CatalogImportError {
    /// Whether a setting or the file must be fixed before the next try.
    fn is_bad_input(&self) -> bool {
        match self {
            Self::Start(error) => error.is_bad_input(),
            Self::NoQdrant
            | Self::File { .. }
            | Self::NotAFile { .. }
            | Self::VectorSize { .. }
            | Self::Collection { .. } => true,
            Self::Store { source } => source.kind() == StoreErrorKind::Misconfigured,
            Self::Changed { .. } => false,
        }
    }
}

impl From<StoreError> for CatalogImportError {
    fn from(source: StoreError) -> Self {
        Self::Store { source }
    }
}

fn advice(error: &StoreError) -> &'static str {
    if error.kind() == StoreErrorKind::Misconfigured {
        // The error names the settings to fix.
        return "";
    }
    " (run the same command again: items that are written already are skipped)"
}

/// Runs a command of the catalogue.
pub(super) async fn run(settings: &Settings, command: &CatalogCommand) -> ExitCode {
    let CatalogCommand::Import(CatalogImportFlags { file, dry_run }) = command;
    let counts = match import(settings, file, *dry_run).await {
        Ok(counts) => counts,
        Err(error) => return exit::failed(&error, error.is_bad_input()),
    };
    if *dry_run {
        anstream::println!(
            "{} items would be imported, {} lines refused; nothing was written",
            counts.good,
            counts.refused
        );
    } else {
        anstream::println!(
            "{} items written, {} unchanged, {} lines refused",
            counts.written,
            counts.unchanged,
            counts.refused
        );
    }
    exit::imported(counts.refused > 0)
}

/// Imports a file, or only checks it.
async fn import(
    settings: &Settings,
    path: &Path,
    dry_run: bool,
) -> Result<CatalogCounts, CatalogImportError> {
    let store = app::qdrant_items(settings)?.ok_or(CatalogImportError::NoQdrant)?;
    let existing = if dry_run {
        // A check of the file alone needs no Qdrant.
        store.existing_vector_size().await.unwrap_or_else(|error| {
            anstream::eprintln!(
                "{error}{}; the file is checked without the collection's vector size",
                causes(&error)
            );
            None
        })
    } else {
        with_retries(|| store.existing_vector_size()).await?
    };
    // A collection without vectors has vector size 0.
    let collection = &settings.qdrant.collection_name;
    let checked = check(path, collection, existing.map(Option::unwrap_or_default))?;
    checked.refused.print();
    let mut counts = CatalogCounts {
        good: checked.good,
        refused: checked.refused.count(),
        ..CatalogCounts::default()
    };
    if dry_run || checked.good == 0 {
        return Ok(counts);
    }
    let size = with_retries(|| store.prepare(checked.vector_size)).await?;
    if let Some(given) = checked.vector_size
        && size != Some(given)
    {
        return Err(CatalogImportError::Collection {
            collection: collection.clone(),
            expected: size.unwrap_or_default(),
            given,
        });
    }
    let mut refused = RefusedLines::default();
    let written = write(&store, path, &checked, &mut counts, &mut refused).await;
    refused.print();
    written?;
    counts.refused += refused.count();
    if counts.written + counts.unchanged + refused.count() < checked.good {
        return Err(CatalogImportError::Changed {
            path: path.to_owned(),
        });
    }
    Ok(counts)
}

/// The result of the first pass.
#[derive(Default)]
struct CheckedFile {
    good: usize,
    /// Size of the vectors; `None` if no item has one.
    vector_size: Option<usize>,
    refused: RefusedLines,
}

fn check(
    path: &Path,
    collection: &str,
    vector_size: Option<usize>,
) -> Result<CheckedFile, CatalogImportError> {
    let mut checked = CheckedFile::default();
    let mut first_lines: HashMap<ContentId, usize> = HashMap::new();
    let expected_by = match vector_size {
        Some(_) => format!("those of collection {collection:?} have"),
        None => "the first one has".to_owned(),
    };
    let mut expected = vector_size;
    for_each_line(path, |number, line| {
        let parsed =
            line.and_then(|line| catalogue_line::parse(line).map_err(|error| error.to_string()));
        let item = match parsed {
            Ok(item) => item,
            Err(reason) => {
                checked.refused.add(number, reason);
                return Ok(());
            }
        };
        if let Some(vector) = &item.vector {
            let expected = *expected.get_or_insert(vector.size());
            if vector.size() != expected {
                return Err(CatalogImportError::VectorSize {
                    line: number,
                    given: vector.size(),
                    expected_by: expected_by.clone(),
                    expected,
                });
            }
            checked.vector_size = Some(expected);
        }
        match first_lines.insert(item.id, number) {
            Some(first) => {
                let reason = format!("id: the same as in line {first}");
                checked.refused.add(number, reason);
            }
            None => checked.good += 1,
        }
        Ok(())
    })?;
    Ok(checked)
}

async fn write(
    store: &QdrantItemStore,
    path: &Path,
    checked: &CheckedFile,
    counts: &mut CatalogCounts,
    refused: &mut RefusedLines,
) -> Result<(), CatalogImportError> {
    let style = "{bar:30} {human_pos}/{human_len} items  {per_sec}  {eta} left";
    let bar = ProgressBar::new(checked.good as u64).with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut reader = open(path)?;
    loop {
        let mut lines: Vec<usize> = Vec::with_capacity(BATCH);
        let mut batch: Vec<Item> = Vec::with_capacity(BATCH);
        let mut at_end = true;
        while let Some((number, line)) = reader.next().map_err(|source| unreadable(path, source))? {
            if !checked.refused.contains(number)
                && let Ok(line) = line
                && let Ok(item) = catalogue_line::parse(line)
            {
                lines.push(number);
                batch.push(item);
            }
            if batch.len() == BATCH {
                at_end = false;
                break;
            }
        }
        let size = batch.len() as u64;
        let put = with_retries(|| store.put(batch.clone())).await?;
        for (line, put) in lines.into_iter().zip(put) {
            match put {
                Ok(PutOutcome::Written) => counts.written += 1,
                Ok(PutOutcome::Unchanged) => counts.unchanged += 1,
                Err(refusal) => refused.add(line, refusal.to_string()),
            }
        }
        bar.inc(size);
        if at_end {
            bar.finish_and_clear();
            return Ok(());
        }
    }
}

/// Retries while Qdrant does not answer.
async fn with_retries<T, W>(work: impl Fn() -> W) -> Result<T, StoreError>
where
    W: Future<Output = Result<T, StoreError>>,
{
    let mut backoff = FIRST_BACKOFF;
    for _ in 1..ATTEMPTS {
        match work().await {
            Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                tokio::time::sleep(backoff).await;
                backoff *= 2;
            }
            done => return done,
        }
    }
    work().await
}

fn open(path: &Path) -> Result<LineReader, CatalogImportError> {
    let lines =
        LineReader::open(path, MAX_LINE_BYTES).map_err(|source| unreadable(path, source))?;
    lines.ok_or_else(|| CatalogImportError::NotAFile {
        path: path.to_owned(),
    })
}

fn unreadable(path: &Path, source: std::io::Error) -> CatalogImportError {
    CatalogImportError::File {
        path: path.to_owned(),
        source,
    }
}

fn for_each_line(
    path: &Path,
    mut each: impl FnMut(usize, Result<&str, String>) -> Result<(), CatalogImportError>,
) -> Result<(), CatalogImportError> {
    let mut lines = open(path)?;
    while let Some((number, line)) = lines.next().map_err(|source| unreadable(path, source))? {
        each(number, line)?;
    }
    Ok(())
}
