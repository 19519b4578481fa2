//! The log of an evaluation, out of its files.

use std::path::{Path, PathBuf};

use super::notes;
use crate::{
    blocking,
    config::{ReplayFlags, SeenFlag, Settings},
    domain::item::Item,
    engine::EngineSettings,
    eval::{
        engine_ranker::EngineOptions,
        likes::LikeRule,
        log::{LogBuilder, LogPart, ReplayLog},
        plan::{FirstList, ListRules, SeenItems},
    },
    tables::{
        CatalogueFile, EventColumns, EventFile, InvalidMapping, Mapping, MappingOption, TableError,
    },
};

/// Rows that are listed when they are refused.
const MAX_LISTED: usize = 20;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Mapping(#[from] InvalidMapping),
    #[error("give standard input (-) to one of the files only")]
    TwoStandardInputs,
    #[error("{path}: no row is {what}; the first reason: {reason}")]
    NoRows {
        path: PathBuf,
        what: &'static str,
        reason: String,
    },
    #[error("{0}")]
    Unusable(String),
}

/// A log with warnings on its files.
pub(crate) struct ReplayInput {
    pub(crate) log: ReplayLog,
    pub(crate) notes: Vec<String>,
}

impl ReplayInput {
    /// Reads all files of a log. Refused rows are listed on standard error.
    pub(crate) fn read(flags: &ReplayFlags, rule: LikeRule) -> Result<Self, InputError> {
        let files = [
            Some(&flags.events),
            flags.train.as_ref(),
            flags.catalog.as_ref(),
        ];
        let inputs = files.into_iter().flatten();
        if inputs.filter(|path| path.as_os_str() == "-").count() > 1 {
            return Err(InputError::TwoStandardInputs);
        }
        let columns = EventColumns::parse(&flags.map, flags.event_type.as_deref())?;
        let catalog_map = Mapping::parse(
            MappingOption::CatalogMap,
            flags.catalog_map.iter().map(String::as_str),
        )?;
        let mut notes = Vec::new();
        let catalogue = flags
            .catalog
            .as_deref()
            .map(|path| read_items(path, &catalog_map, &mut notes))
            .transpose()?;
        let mut log = LogBuilder::new(rule);
        if let Some(train) = &flags.train {
            read_events(train, &columns, LogPart::Training, &mut log, &mut notes)?;
        }
        read_events(
            &flags.events,
            &columns,
            LogPart::Evaluation,
            &mut log,
            &mut notes,
        )?;
        let event_types = log.event_types();
        let log = log.finish(catalogue);
        notes::check(&log, flags, &event_types).map_err(InputError::Unusable)?;
        notes.extend(notes::of(&log, flags));
        Ok(Self { log, notes })
    }
}

/// The rules of lists that flags give.
pub(crate) fn rules(flags: &ReplayFlags) -> ListRules {
    let first = match (flags.from_event, flags.from, flags.warmup) {
        (Some(number), _, _) => FirstList::Event(number),
        (None, Some(time), _) => FirstList::Time(time),
        (None, None, Some(share)) => FirstList::Share(share),
        (None, None, None) => FirstList::Event(1),
    };
    ListRules {
        k: flags.k,
        seen: match flags.seen {
            SeenFlag::Hide => SeenItems::Hide,
            SeenFlag::Allow => SeenItems::Allow,
        },
        exclude_last: flags.exclude_last,
        first,
        min_history: flags.min_history,
        seed: flags.seed,
    }
}

/// What the engine is set to: the window is all of the log unless flags say
/// otherwise.
pub(crate) fn engine_options(
    settings: &Settings,
    flags: &ReplayFlags,
    log: &ReplayLog,
) -> EngineOptions {
    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);
    EngineOptions {
        window: flags
            .window_days
            .unwrap_or_else(|| DAY * (log.span_days() as u32 + 1)),
        max_events_per_user: settings.max_events_per_user,
        engine: EngineSettings {
            model_max_age: settings.model_max_age,
            ..EngineSettings::default()
        },
    }
}

/// How many replays run at the same time.
pub(crate) fn threads(flags: &ReplayFlags) -> usize {
    flags.threads.unwrap_or_else(blocking::processors)
}

/// Rows of one file that were refused.
struct RefusedRows<'a> {
    path: &'a Path,
    count: usize,
    listed: Vec<String>,
}

impl<'a> RefusedRows<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            count: 0,
            listed: Vec::new(),
        }
    }

    fn add(&mut self, line: u64, reason: &str) {
        if self.count < MAX_LISTED {
            self.listed.push(format!("line {line}: {reason}"));
        }
        self.count += 1;
    }

    /// Lists the rows, and adds notes on the file; an error if it has no valid row.
    fn finish(
        self,
        what: &'static str,
        taken: usize,
        warnings: Vec<String>,
        notes: &mut Vec<String>,
    ) -> Result<(), InputError> {
        let path = self.path;
        notes.extend(
            warnings
                .iter()
                .map(|warning| format!("{}: {warning}", path.display())),
        );
        for line in &self.listed {
            anstream::eprintln!("{} {line}", path.display());
        }
        if self.count > MAX_LISTED {
            anstream::eprintln!("and {} more rows", self.count - MAX_LISTED);
        }
        if taken == 0 {
            return Err(InputError::NoRows {
                path: path.to_owned(),
                what,
                reason: self
                    .listed
                    .into_iter()
                    .next()
                    .unwrap_or_else(|| "there are no rows".to_owned()),
            });
        }
        if self.count > 0 {
            notes.push(format!(
                "{}: {} of {} rows were refused and left out",
                path.display(),
                self.count,
                self.count + taken
            ));
        }
        Ok(())
    }
}

fn read_items(
    path: &Path,
    mapping: &Mapping,
    notes: &mut Vec<String>,
) -> Result<Vec<Item>, InputError> {
    let mut file = CatalogueFile::open(path, mapping, None)?;
    let mut refused = RefusedRows::new(path);
    let mut items: Vec<Item> = Vec::new();
    while let Some((line, item)) = file.next_item()? {
        match item {
            Ok(item) => items.push(item),
            Err(reason) => refused.add(line, &reason.to_string()),
        }
    }
    refused.finish("an item", items.len(), file.warnings(), notes)?;
    Ok(items)
}

fn read_events(
    path: &Path,
    columns: &EventColumns,
    part: LogPart,
    log: &mut LogBuilder,
    notes: &mut Vec<String>,
) -> Result<(), InputError> {
    let mut file = EventFile::open(path, columns)?;
    let mut refused = RefusedRows::new(path);
    let mut taken = 0;
    while let Some((line, event)) = file.next_event()? {
        let added = event.and_then(|event| {
            let added = log.add(event, part);
            added.map_err(|_| "survey_answers: nests too deep".to_owned())
        });
        match added {
            Ok(()) => taken += 1,
            Err(reason) => refused.add(line, &reason),
        }
    }
    refused.finish("an event", taken, file.warnings(), notes)
}
