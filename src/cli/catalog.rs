//! `recsys catalog import`: a catalogue file into Qdrant.
//!
//! The file is read twice, a line at a time: first every line is checked, then
//! the good ones are written. So nothing is written of a file that cannot be
//! what was meant, and of a large one only the ids are held in memory.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::lines::{Lines, Refused};
use crate::{
    adapters::qdrant::{PutOutcome, QdrantItemStore},
    app::{self, StartError},
    config::Settings,
    domain::{catalogue_line, ids::ContentId, item::Item},
    ports::{StoreError, StoreErrorKind},
    telemetry::error_chain::causes,
};

/// Items that are written at once.
const BATCH: usize = 200;
/// How often a batch is tried while Qdrant does not answer, and the first wait
/// in between; each is twice the one before.
const TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest line: an item of the largest size, and then some.
const MAX_LINE_BYTES: u64 = 4 << 20;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Lines that are items.
    pub good: usize,
    /// Items that were written.
    pub written: usize,
    /// Items that were there already, just so.
    pub unchanged: usize,
    /// Lines that were skipped.
    pub refused: usize,
}

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The settings or the ranking file are refused.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is nothing to import into.
    #[error("QDRANT_API_URL is not set: there is no Qdrant to import into")]
    NoQdrant,
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is read twice, which a pipe cannot be.
    #[error("{path} is not a file: give a file, not a pipe")]
    NotAFile {
        /// Which one.
        path: PathBuf,
    },
    /// The second reading found less than the first.
    #[error("{path} has changed while it was read: run the same command again")]
    Changed {
        /// Which one.
        path: PathBuf,
    },
    /// A vector is of another size than the others, or the collection's.
    #[error(
        "line {line}: vector has {given} numbers, {expected_by} {expected}; nothing was written"
    )]
    VectorSize {
        /// The line, from 1.
        line: usize,
        /// Numbers in its vector.
        given: usize,
        /// Whose vectors it does not fit.
        expected_by: String,
        /// Numbers in those.
        expected: usize,
    },
    /// Another program has made the collection since the file was checked.
    #[error(
        "the vectors have {given} numbers, those of collection {collection:?} have {expected}; \
         nothing was written"
    )]
    Collection {
        /// Its name.
        collection: String,
        /// Numbers in its vectors.
        expected: usize,
        /// Numbers in the file's.
        given: usize,
    },
    /// Qdrant failed.
    #[error("{source}{}{}", causes(source), way_out(source))]
    Store {
        /// How.
        source: StoreError,
    },
}

impl ImportError {
    /// Whether the settings or the file must be mended before a new try.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
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

impl From<StoreError> for ImportError {
    fn from(source: StoreError) -> Self {
        Self::Store { source }
    }
}

fn way_out(error: &StoreError) -> &'static str {
    if error.kind() == StoreErrorKind::Misconfigured {
        // The error itself says which settings to mend.
        return "";
    }
    " (run the same command again: what is written already is not written twice)"
}

/// Imports a file, or only checks it.
///
/// # Errors
/// [`ImportError`].
pub async fn import(
    settings: &Settings,
    path: &Path,
    dry_run: bool,
) -> Result<Imported, ImportError> {
    let store = app::qdrant_items(settings)?.ok_or(ImportError::NoQdrant)?;
    let existing = if dry_run {
        // What can be checked without Qdrant, is.
        store.existing_vector_size().await.unwrap_or_else(|error| {
            anstream::eprintln!(
                "{error}{}; the file is checked without the collection's vector size",
                causes(&error)
            );
            None
        })
    } else {
        with_patience(|| store.existing_vector_size()).await?
    };
    // A collection without vectors takes none.
    let collection = &settings.qdrant.collection_name;
    let checked = check(path, collection, existing.map(Option::unwrap_or_default))?;
    checked.refused.print();
    let mut imported = Imported {
        good: checked.good,
        refused: checked.refused.count(),
        ..Imported::default()
    };
    if dry_run || checked.good == 0 {
        return Ok(imported);
    }
    let size = with_patience(|| store.prepare(checked.vector_size)).await?;
    if let Some(given) = checked.vector_size
        && size != Some(given)
    {
        return Err(ImportError::Collection {
            collection: collection.clone(),
            expected: size.unwrap_or_default(),
            given,
        });
    }
    let mut refused = Refused::default();
    let written = write(&store, path, &checked, &mut imported, &mut refused).await;
    refused.print();
    written?;
    imported.refused += refused.count();
    if imported.written + imported.unchanged + refused.count() < checked.good {
        return Err(ImportError::Changed {
            path: path.to_owned(),
        });
    }
    Ok(imported)
}

/// What a first reading found.
#[derive(Default)]
struct Checked {
    good: usize,
    /// Numbers in the vectors; `None` if there are none.
    vector_size: Option<usize>,
    refused: Refused,
}

fn check(
    path: &Path,
    collection: &str,
    vector_size: Option<usize>,
) -> Result<Checked, ImportError> {
    let mut checked = Checked::default();
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
                return Err(ImportError::VectorSize {
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
    checked: &Checked,
    imported: &mut Imported,
    refused: &mut Refused,
) -> Result<(), ImportError> {
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
            if !checked.refused.has(number)
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
        let put = with_patience(|| store.put(batch.clone())).await?;
        for (line, put) in lines.into_iter().zip(put) {
            match put {
                Ok(PutOutcome::Written) => imported.written += 1,
                Ok(PutOutcome::Unchanged) => imported.unchanged += 1,
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

/// Tries again while Qdrant does not answer.
async fn with_patience<T, W>(work: impl Fn() -> W) -> Result<T, StoreError>
where
    W: Future<Output = Result<T, StoreError>>,
{
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match work().await {
            Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            done => return done,
        }
    }
    work().await
}

fn open(path: &Path) -> Result<Lines, ImportError> {
    let lines = Lines::open(path, MAX_LINE_BYTES).map_err(|source| unreadable(path, source))?;
    lines.ok_or_else(|| ImportError::NotAFile {
        path: path.to_owned(),
    })
}

fn unreadable(path: &Path, source: std::io::Error) -> ImportError {
    ImportError::File {
        path: path.to_owned(),
        source,
    }
}

fn for_each_line(
    path: &Path,
    mut each: impl FnMut(usize, Result<&str, String>) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let mut lines = open(path)?;
    while let Some((number, line)) = lines.next().map_err(|source| unreadable(path, source))? {
        each(number, line)?;
    }
    Ok(())
}
