//! `recsys catalog import`: writes a catalogue file to Qdrant.
//!
//! The file is read twice, row by row: the first pass checks every row, the second
//! writes the valid ones. A file with a wrong vector size is refused before anything is
//! written, and only the ids are held in memory.

mod index;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use tokio::task::{JoinError, JoinHandle};

use super::{exit, import_file::ImportFile, lines::RefusedLines};
use crate::{
    adapters::qdrant::{PutOutcome, QdrantItemStore, TagVectors},
    app::{self, StartError},
    config::{CatalogCommand, CatalogImportFlags, Settings},
    domain::{
        item::Item,
        item_counts::{ItemCounts, NO_FEATURES},
    },
    ports::{ItemRefusal, StoreError, StoreErrorKind},
    tables::{
        CatalogueFile, InvalidMapping, ItemFile, Mapping, MappingOption, RefusedItem, TableError,
    },
    telemetry::error_chain::causes,
};

/// Items per write.
const BATCH: usize = 200;
/// Writes in flight: while Qdrant stores some, the next ones are read and compared.
const IN_FLIGHT: usize = 4;
/// Attempts of a call that Qdrant does not answer, and the delay after the first,
/// which doubles with each attempt.
const ATTEMPTS: u32 = 6;
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// Counts of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct CatalogCounts {
    /// What the valid items have.
    items: ItemCounts,
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
    /// A write panicked: a bug.
    #[error(
        "a write failed (run the same command again: items that are written already are skipped)"
    )]
    Task(#[from] JoinError),
}

impl CatalogImportError {
    /// Whether a setting or the file must be fixed before the next try.
    fn is_bad_input(&self) -> bool {
        match self {
            Self::Start(error) => error.is_bad_input(),
            Self::NoQdrant
            | Self::Table(_)
            | Self::Mapping(_)
            | Self::VectorSize { .. }
            | Self::Collection { .. } => true,
            Self::Store { source } => source.kind() == StoreErrorKind::Misconfigured,
            Self::Changed { .. } | Self::Task(_) => false,
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
    let flags = match command {
        CatalogCommand::Import(flags) => flags,
        CatalogCommand::Index(flags) => return index::run(settings, flags).await,
    };
    let counts = match import(settings, flags).await {
        Ok(counts) => counts,
        Err(error) => return exit::failed(&error, error.is_bad_input()),
    };
    if flags.dry_run {
        anstream::println!(
            "{} items would be imported, {} lines refused; nothing was written",
            counts.items.items,
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
    anstream::println!("{}", counts.items);
    if counts.items.lack_features() {
        anstream::eprintln!(
            "WARNING: {NO_FEATURES}. Name the column that has them, for example --map tags=COLUMN"
        );
    }
    exit::imported(counts.refused > 0)
}

/// Imports a file, or only checks it.
async fn import(
    settings: &Settings,
    flags: &CatalogImportFlags,
) -> Result<CatalogCounts, CatalogImportError> {
    let mapping = Mapping::parse(MappingOption::Map, flags.map.iter().map(String::as_str))?;
    let store = app::qdrant_items(settings)?.map(Arc::new);
    if store.is_none() && !flags.dry_run {
        return Err(CatalogImportError::NoQdrant);
    }
    let source = CatalogSource {
        file: ImportFile::open(&flags.file)?,
        mapping,
    };
    let existing = match &store {
        // A check of the file alone needs no Qdrant.
        None => None,
        Some(store) if flags.dry_run => {
            store.existing_vector_size().await.unwrap_or_else(|error| {
                anstream::eprintln!(
                    "{error}{}; the file is checked without the collection's vector size",
                    causes(&error)
                );
                None
            })
        }
        Some(store) => with_retries(|| store.existing_vector_size()).await?,
    };
    // A collection without vectors has vector size 0.
    let collection = &settings.qdrant.collection_name;
    let checked = check(&source, collection, existing.map(Option::unwrap_or_default))?;
    checked.refused.print();
    let mut counts = CatalogCounts {
        items: checked.items,
        refused: checked.refused.count(),
        ..CatalogCounts::default()
    };
    let Some(store) = store.filter(|_| !flags.dry_run && checked.items.items > 0) else {
        return Ok(counts);
    };
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
    match with_retries(|| store.add_tag_vectors()).await? {
        TagVectors::Complete { added: 0 } => {}
        TagVectors::Complete { added } => {
            anstream::eprintln!("the vector of tags was added to {added} items");
        }
        TagVectors::Refused(error) => anstream::eprintln!(
            "collection {collection:?} gets no vector of tags, so that lists by tags take longer: \
             Qdrant older than 1.18 cannot add it to an existing collection: {error}{}",
            causes(&error)
        ),
    }
    let mut refused = RefusedLines::default();
    let written = write(&store, &source, &checked, &mut counts, &mut refused).await;
    refused.print();
    // Also after an error, since a part is written.
    if counts.written > 0 || written.is_err() {
        announce(settings).await;
    }
    written?;
    counts.refused += refused.count();
    if counts.written + counts.unchanged + refused.count() < checked.items.items {
        return Err(CatalogImportError::Changed {
            path: flags.file.clone(),
        });
    }
    Ok(counts)
}

/// Announces the import to running servers.
async fn announce(settings: &Settings) {
    let failed = match app::announce_all_items(settings).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => causes(&error),
        Err(error) => format!(": {error}"),
    };
    anstream::eprintln!(
        "running servers were not notified of the import{failed}; they see it within their \
         ITEM_CACHE_TTL"
    );
}

/// The file of an import, and which of its columns is which field.
struct CatalogSource {
    file: ImportFile,
    mapping: Mapping,
}

impl CatalogSource {
    fn path(&self) -> &Path {
        self.file.path()
    }

    /// An error with the path that the user gave.
    fn named(&self) -> impl Fn(TableError) -> TableError {
        |error| error.of(self.file.named())
    }
}

/// The result of the first pass.
#[derive(Default)]
struct CheckedFile {
    items: ItemCounts,
    /// Size of the vectors; `None` if no item has one.
    vector_size: Option<usize>,
    refused: RefusedLines,
}

fn check(
    source: &CatalogSource,
    collection: &str,
    vector_size: Option<usize>,
) -> Result<CheckedFile, CatalogImportError> {
    let named = source.named();
    let mut checked = CheckedFile::default();
    let opened = CatalogueFile::open(source.path(), &source.mapping, vector_size);
    let mut file = opened.map_err(&named)?;
    while let Some((line, item)) = file.next_item().map_err(&named)? {
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
        checked.items.add(&item);
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
    store: &Arc<QdrantItemStore>,
    source: &CatalogSource,
    checked: &CheckedFile,
    counts: &mut CatalogCounts,
    refused: &mut RefusedLines,
) -> Result<(), CatalogImportError> {
    let style = "{bar:30} {human_pos}/{human_len} items  {per_sec}  {eta} left";
    let bar = ProgressBar::new(checked.items.items as u64).with_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let named = source.named();
    let mut file = ItemFile::open(source.path(), &source.mapping).map_err(&named)?;
    let mut writes: VecDeque<BatchWrite> = VecDeque::new();
    let mut at_end = false;
    // The first write alone: a collection that takes no item is found before more are
    // sent.
    let mut in_flight = 1;
    loop {
        while !at_end && writes.len() < in_flight {
            let mut batch = ItemBatch::default();
            while batch.items.len() < BATCH {
                let Some((line, item)) = file.next_item().map_err(&named)? else {
                    at_end = true;
                    break;
                };
                if let Ok(item) = item
                    && !checked.refused.contains(line)
                {
                    batch.lines.push(line);
                    batch.items.push(item);
                }
            }
            if !batch.items.is_empty() {
                writes.push_back(BatchWrite::start(store, batch));
            }
        }
        let Some(write) = writes.pop_front() else {
            bar.finish_and_clear();
            return Ok(());
        };
        let put = write.put.await??;
        bar.inc(put.len() as u64);
        for (line, put) in write.lines.into_iter().zip(put) {
            match put {
                Ok(PutOutcome::Written) => counts.written += 1,
                Ok(PutOutcome::Unchanged) => counts.unchanged += 1,
                Err(refusal) => refused.add(line, refusal.to_string()),
            }
        }
        in_flight = IN_FLIGHT;
    }
}

/// Items with their line numbers.
#[derive(Default)]
struct ItemBatch {
    lines: Vec<u64>,
    items: Vec<Item>,
}

/// The outcome of each item of a batch.
type PutOutcomes = Vec<Result<PutOutcome, ItemRefusal>>;

/// A write in flight.
struct BatchWrite {
    lines: Vec<u64>,
    put: JoinHandle<Result<PutOutcomes, StoreError>>,
}

impl BatchWrite {
    fn start(store: &Arc<QdrantItemStore>, batch: ItemBatch) -> Self {
        let (store, items) = (Arc::clone(store), batch.items);
        let put = async move { with_retries(|| store.put(items.clone())).await };
        Self {
            lines: batch.lines,
            put: tokio::spawn(put),
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
