//! The rows of a file of any form.

use std::{
    io::BufRead,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::{
    columns::{ColumnTable, Row},
    delimited::Delimited,
    error::TableError,
    fields::{ColumnMeaning, Field, by_name},
    input,
    json::{JsonArray, JsonLines},
    mapping::Mapping,
};

/// The rows of a file.
pub(super) struct Rows {
    path: PathBuf,
    form: FileForm,
    columns: ColumnTable,
    /// Rows so far.
    count: u64,
    /// Whether there are no more.
    has_ended: bool,
    /// The key of the first row that holds a list of objects.
    nested: Option<String>,
    /// Bytes of the file that were read, before they are unpacked.
    bytes_read: Arc<AtomicU64>,
}

enum FileForm {
    Lines(JsonLines),
    Array(JsonArray),
    Cells(Box<Delimited>),
}

impl Rows {
    /// Opens a file (`-`: standard input) and recognises what it is.
    ///
    /// # Errors
    /// [`TableError`] if it cannot be read, is of a form that is not read, or
    /// lacks a column that the mapping names.
    pub(super) fn open(
        path: &Path,
        fields: &'static [Field],
        mapping: &Mapping,
    ) -> Result<Self, TableError> {
        let (reader, bytes_read) = input::open(path)?;
        let mut rows = Self::of(path, reader, fields, mapping)?;
        rows.bytes_read = bytes_read;
        Ok(rows)
    }

    /// The rows of a text; `path` stands for it in errors.
    pub(super) fn of(
        path: &Path,
        mut reader: Box<dyn BufRead + Send>,
        fields: &'static [Field],
        mapping: &Mapping,
    ) -> Result<Self, TableError> {
        let unreadable = |source| TableError::Io {
            path: path.to_owned(),
            source,
        };
        let mut columns = ColumnTable::new(path, fields, mapping)?;
        let start = reader.fill_buf().map_err(unreadable)?;
        let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
        let form = match first {
            Some(b'{') if spans_lines(start) => {
                return Err(TableError::Form {
                    path: path.to_owned(),
                    reason:
                        "is a JSON object over several lines: give the list of its rows alone, \
                             or one object a line, for example by jq -c '.items[]'"
                            .to_owned(),
                });
            }
            // A file without rows is read as one, too.
            Some(b'{') | None => FileForm::Lines(JsonLines::new(reader)),
            Some(b'[') => FileForm::Array(JsonArray::new(reader).map_err(unreadable)?),
            Some(_) => {
                let is_header = || by_name(fields, &first_line(start)) != ColumnMeaning::Other;
                let one_column = || is_header().then_some(b',');
                let delimiter = delimiter(start).or_else(one_column);
                let delimiter = delimiter.ok_or_else(|| TableError::Form {
                    path: path.to_owned(),
                    reason: format!(
                        "is neither JSON (lines or an array) nor CSV or TSV: its first line is {:?}; \
                         separate columns by commas, semicolons, tabs or |",
                        first_line(start)
                    ),
                })?;
                let cells = Delimited::new(path, reader, delimiter, mapping, &mut columns)?;
                FileForm::Cells(Box::new(cells))
            }
        };
        Ok(Self {
            path: path.to_owned(),
            form,
            columns,
            count: 0,
            has_ended: false,
            nested: None,
            bytes_read: Arc::default(),
        })
    }

    /// The next row.
    ///
    /// # Errors
    /// [`TableError::Io`] if the file cannot be read further.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, TableError> {
        let columns = &mut self.columns;
        let row = match &mut self.form {
            FileForm::Lines(lines) => lines.next(columns),
            FileForm::Array(array) => array.next(columns),
            FileForm::Cells(cells) => cells.next(columns),
        }
        .map_err(|source| TableError::Io {
            path: self.path.clone(),
            source,
        })?;
        let Some((_, values)) = &row else {
            self.has_ended = true;
            return Ok(None);
        };
        if let (0, Ok(values)) = (self.count, values) {
            self.nested = list_of_objects(&values.others);
        }
        self.count += 1;
        Ok(row)
    }

    /// Bytes of the file that were read so far, which may be ahead of the row.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Fails if no column is a field that rows need. `example` names a column for it in
    /// the error.
    ///
    /// # Errors
    /// [`TableError::Column`]. Never before columns are known: those of CSV are when it is
    /// opened, those of JSON once its rows are read.
    pub(super) fn require(&self, field: usize, example: &str) -> Result<(), TableError> {
        if self.columns.has(field) || self.columns.is_empty() {
            return Ok(());
        }
        if let (1, Some(key)) = (self.count, &self.nested) {
            return Err(TableError::Form {
                path: self.path.clone(),
                reason: format!(
                    "is one JSON object, with the rows in its key {key}: give that list alone, for \
                     example by jq .{key}"
                ),
            });
        }
        Err(TableError::Column {
            path: self.path.clone(),
            reason: self.columns.without(field, "", example),
        })
    }

    /// Whether the columns are known before the rows are read.
    pub(super) fn has_header(&self) -> bool {
        match self.form {
            FileForm::Cells(_) => true,
            FileForm::Lines(_) | FileForm::Array(_) => false,
        }
    }

    /// The columns so far.
    pub(super) fn columns(&self) -> &ColumnTable {
        &self.columns
    }

    /// Warnings about the columns: those that resemble a field and are not
    /// taken, and mapped ones that no row has. Complete after the last row.
    #[must_use]
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.columns.warnings();
        if self.has_ended && self.count == 0 {
            warnings.push("WARNING: the file has no rows".to_owned());
        }
        warnings
    }
}

/// Whether a first line is the beginning of an object that the next lines continue.
fn spans_lines(start: &[u8]) -> bool {
    let mut lines = start
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty());
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else {
        return false;
    };
    let is_incomplete =
        serde_json::from_slice::<IgnoredAny>(first).is_err_and(|error| error.is_eof());
    is_incomplete && !second.starts_with(b"{")
}

/// The key of a list of objects.
fn list_of_objects(row: &Map<String, Value>) -> Option<String> {
    let is_list = |value: &Value| value.get(0).is_some_and(Value::is_object);
    let mut lists = row.iter().filter(|(_, value)| is_list(value));
    lists.next().map(|(key, _)| key.clone())
}

/// The separator of a first line: a tab if there is one, else the more frequent
/// of comma and semicolon, else `|`.
fn delimiter(start: &[u8]) -> Option<u8> {
    let line = start
        .split(|byte| *byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty())?;
    let count = |delimiter: u8| line.iter().filter(|byte| **byte == delimiter).count();
    [b'\t', b',', b';']
        .into_iter()
        .filter(|delimiter| count(*delimiter) > 0)
        .max_by_key(|delimiter| (*delimiter == b'\t', count(*delimiter)))
        .or_else(|| (count(b'|') > 0).then_some(b'|'))
}

fn first_line(start: &[u8]) -> String {
    let text = String::from_utf8_lossy(&start[..start.len().min(80)]);
    text.trim_start()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
