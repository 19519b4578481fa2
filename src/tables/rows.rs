//! The rows of a file of any form.

use std::{
    io::BufRead,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    columns::{ColumnTable, Row},
    delimited::Delimited,
    error::TableError,
    fields::Field,
    input,
    json::{JsonArray, JsonLines},
    mapping::Mapping,
};

/// The rows of a file.
pub(super) struct Rows {
    path: PathBuf,
    form: FileForm,
    columns: ColumnTable,
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
            // A file without rows is read as one, too.
            Some(b'{') | None => FileForm::Lines(JsonLines::new(reader)),
            Some(b'[') => FileForm::Array(JsonArray::new(reader).map_err(unreadable)?),
            Some(_) => {
                let delimiter = delimiter(start).ok_or_else(|| TableError::Form {
                    path: path.to_owned(),
                    reason: format!(
                        "is neither JSON (lines or an array) nor CSV or TSV: its first line is {:?}",
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
            bytes_read: Arc::default(),
        })
    }

    /// The next row.
    ///
    /// # Errors
    /// [`TableError::Io`] if the file cannot be read further.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, TableError> {
        let columns = &mut self.columns;
        match &mut self.form {
            FileForm::Lines(lines) => lines.next(columns),
            FileForm::Array(array) => array.next(columns),
            FileForm::Cells(cells) => cells.next(columns),
        }
        .map_err(|source| TableError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// Bytes of the file that were read so far, which may be ahead of the row.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Whether a field has a column, as far as is known: the rows of JSON are
    /// known once they have been read.
    #[must_use]
    pub(super) fn has_column(&self, field: usize) -> bool {
        self.columns.has(field)
    }

    /// The columns by their names in the file, as far as they are known.
    #[must_use]
    pub(super) fn column_names(&self) -> Vec<&str> {
        self.columns.names().iter().map(String::as_str).collect()
    }

    /// Warnings about the columns: those that resemble a field and are not
    /// taken, and mapped ones that no row has. Complete after the last row.
    #[must_use]
    pub(super) fn warnings(&self) -> Vec<String> {
        self.columns.warnings()
    }
}

/// The separator of a first line: a tab if there is one, else the more frequent
/// of comma and semicolon.
fn delimiter(start: &[u8]) -> Option<u8> {
    let line = start
        .split(|byte| *byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty())?;
    let count = |delimiter: u8| line.iter().filter(|byte| **byte == delimiter).count();
    [b'\t', b',', b';']
        .into_iter()
        .filter(|delimiter| count(*delimiter) > 0)
        .max_by_key(|delimiter| (*delimiter == b'\t', count(*delimiter)))
}

fn first_line(start: &[u8]) -> String {
    let text = String::from_utf8_lossy(&start[..start.len().min(80)]);
    text.trim_start()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
