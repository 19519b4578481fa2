//! `recsys catalog import`: writes a catalogue file to Qdrant.
//!
//! The file is read twice, row by row: the first pass checks every row, the second
//! writes the valid ones. A file with a wrong vector size is refused before anything is
//! written, and only the ids are held in memory.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    exit,
    lines::{RefusedLines, is_file},
};
use crate::{
    adapters::qdrant::{PutOutcome, QdrantItemStore},
    app::{self, StartError},
    config::{CatalogCommand, CatalogImportFlags, Settings},
    domain::item::Item,
    ports::{StoreError, StoreErrorKind},
    tables::{CatalogueFile, InvalidMapping, ItemFile, Mapping, RefusedItem, TableError},
    telemetry::error_chain::causes,
};

/// Items per write.
const BATCH: usize = 200;
/// Attempts of a call that Qdrant does not answer, and the delay after the first,
/// which doubles with each attempt.
const ATTEMPTS: u32 = 6;
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

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
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Mapping(#[from] InvalidMapping),
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
        line: u64,
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
            | Self::Table(_)
            | Self::Mapping(_)
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
    let CatalogCommand::Import(flags) = command;
    let counts = match import(settings, flags).await {
        Ok(counts) => counts,
        Err(error) => return exit::failed(&error, error.is_bad_input()),
    };
    if flags.dry_run {
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
    flags: &CatalogImportFlags,
) -> Result<CatalogCounts, CatalogImportError> {
    let source = CatalogSource {
        path: &flags.file,
        mapping: Mapping::parse(flags.map.iter().map(String::as_str))?,
    };
    let store = app::qdrant_items(settings)?.ok_or(CatalogImportError::NoQdrant)?;
    let existing = if flags.dry_run {
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
    let checked = check(&source, collection, existing.map(Option::unwrap_or_default))?;
    checked.refused.print();
    let mut counts = CatalogCounts {
        good: checked.good,
        refused: checked.refused.count(),
        ..CatalogCounts::default()
    };
    if flags.dry_run || checked.good == 0 {
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
    let written = write(&store, &source, &checked, &mut counts, &mut refused).await;
    refused.print();
    written?;
    counts.refused += refused.count();
    if counts.written + counts.unchanged + refused.count() < checked.good {
        return Err(CatalogImportError::Changed {
            path: flags.file.clone(),
        });
    }
    Ok(counts)
}

/// The file of an import, and which of its columns is which field.
struct CatalogSource<'a> {
    path: &'a Path,
    mapping: Mapping,
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
    source: &CatalogSource<'_>,
    collection: &str,
    vector_size: Option<usize>,
) -> Result<CheckedFile, CatalogImportError> {
    let path = source.path;
    let is_file = is_file(path).map_err(|source| TableError::Io {
        path: path.to_owned(),
        source,
    })?;
    if !is_file {
        return Err(CatalogImportError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mut checked = CheckedFile::default();
    let mut file = CatalogueFile::open(path, &source.mapping, vector_size)?;
    while let Some((line, item)) = file.next_item()? {
        let item = match item {
            Ok(item) => item,
            Err(RefusedItem::VectorSize { size, expected }) => {
                return Err(CatalogImportError::VectorSize {
                    line,
                    given: size,
                    expected_by: match vector_size {
                        Some(_) => format!("those of collection {collection:?} have"),
                        None => "the first one has".to_owned(),
                    },
                    expected,
                });
            }
            Err(reason @ (RefusedItem::Invalid(_) | RefusedItem::RepeatedId { .. })) => {
                checked.refused.add(line, reason.to_string());
                continue;
            }
        };
        checked.good += 1;
        if let Some(vector) = &item.vector {
            checked.vector_size = Some(vector.size());
        }
    }
    for warning in file.warnings() {
        anstream::eprintln!("{warning}");
    }
    Ok(checked)
}

async fn write(
    store: &QdrantItemStore,
    source: &CatalogSource<'_>,
    checked: &CheckedFile,
    counts: &mut CatalogCounts,
    refused: &mut RefusedLines,
) -> Result<(), CatalogImportError> {
    let style = "{bar:30} {human_pos}/{human_len} items  {per_sec}  {eta} left";
    let bar = ProgressBar::new(checked.good as u64).with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut file = ItemFile::open(source.path, &source.mapping)?;
    loop {
        let mut lines: Vec<u64> = Vec::with_capacity(BATCH);
        let mut batch: Vec<Item> = Vec::with_capacity(BATCH);
        let mut at_end = true;
        while let Some((line, item)) = file.next_item()? {
            if let Ok(item) = item
                && !checked.refused.contains(line)
            {
                lines.push(line);
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
