//! CSV and TSV.

use std::{
    io::{self, BufRead, Read},
    path::Path,
};

use serde_json::Value;

use super::{
    cells,
    columns::{ColumnTable, Row, Values, listed},
    error::TableError,
    mapping::Mapping,
};

/// Counts the quotes that are read: an odd number at the end of a file is one that is not
/// closed.
struct CountedQuotes {
    inner: Box<dyn BufRead + Send>,
    count: u64,
    /// Whether everything was read.
    has_ended: bool,
}

impl Read for CountedQuotes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let quotes = buffer[..read].iter().filter(|byte| **byte == b'"');
        self.count += quotes.count() as u64;
        self.has_ended |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

/// The rows of CSV or TSV.
pub(super) struct Delimited {
    reader: csv::Reader<CountedQuotes>,
    record: csv::ByteRecord,
    header: Vec<HeaderCell>,
    /// Whether cells may be in quotes.
    has_quotes: bool,
    /// Whether numbers may have a comma before their fraction.
    has_decimal_commas: bool,
}

struct HeaderCell {
    name: String,
    /// Whether it is no field.
    is_attribute: bool,
    /// A column of RecBole's `token_seq` type: texts separated by spaces.
    is_sequence: bool,
}

impl Delimited {
    pub(super) fn new(
        path: &Path,
        reader: Box<dyn BufRead + Send>,
        delimiter: u8,
        mapping: &Mapping,
        columns: &mut ColumnTable,
    ) -> Result<Self, TableError> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            // A quote in a TSV is a character like any other.
            .quoting(delimiter != b'\t')
            .has_headers(false)
            // A carriage return before it is trimmed with the last cell.
            .terminator(csv::Terminator::Any(b'\n'))
            .flexible(true)
            .from_reader(CountedQuotes {
                inner: reader,
                count: 0,
                has_ended: false,
            });
        let mut record = csv::ByteRecord::new();
        let unreadable = |error: csv::Error| TableError::Io {
            path: path.to_owned(),
            source: error.into(),
        };
        let mut header = match mapping.positions() {
            Some(positions) => by_position(&positions),
            None => {
                reader.read_byte_record(&mut record).map_err(unreadable)?;
                let names: Vec<String> = record
                    .iter()
                    .map(|cell| String::from_utf8_lossy(cell).trim().to_owned())
                    .collect();
                header(names)
            }
        };
        for cell in header.iter_mut().filter(|cell| !cell.name.is_empty()) {
            cell.is_attribute = columns.is_other(&cell.name);
        }
        let missing = columns.missing_entries();
        if !missing.is_empty() {
            return Err(TableError::Column {
                path: path.to_owned(),
                reason: format!(
                    "{}: there is no such column; the columns are {}",
                    columns.option().with(&missing.join(",")),
                    listed(header.iter().map(|cell| cell.name.as_str()))
                ),
            });
        }
        Ok(Self {
            reader,
            record,
            header,
            has_quotes: delimiter != b'\t',
            has_decimal_commas: delimiter == b';',
        })
    }

    pub(super) fn next(&mut self, columns: &mut ColumnTable) -> io::Result<Option<Row>> {
        loop {
            if !self.reader.read_byte_record(&mut self.record)? {
                return Ok(None);
            }
            let number = self.line_number();
            if self.record.iter().all(|cell| cell.trim_ascii().is_empty()) {
                continue;
            }
            if self.ends_in_quotes() {
                let reason = "a quote that opens in this row is not closed until the file ends";
                return Ok(Some((number, Err(reason.to_owned()))));
            }
            return Ok(Some((number, self.values(columns))));
        }
    }

    /// Whether the record has the rest of the file in a cell, because a quote is not
    /// closed.
    fn ends_in_quotes(&self) -> bool {
        let quotes = self.reader.get_ref();
        self.has_quotes
            && quotes.has_ended
            && quotes.count % 2 == 1
            && self.record.as_slice().contains(&b'\n')
    }

    /// The line on which the record begins. The parser counts from the end of
    /// the record before, so empty lines in between are found from the end.
    fn line_number(&self) -> u64 {
        let start = self.record.position().map_or(0, csv::Position::line);
        let breaks = self
            .record
            .as_slice()
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        let end = self.reader.position().line();
        start.max(end.saturating_sub(1 + breaks as u64))
    }

    fn values(&self, columns: &mut ColumnTable) -> Result<Values, String> {
        if self.record.len() > self.header.len() && !self.header.is_empty() {
            let surplus = self.record.iter().skip(self.header.len());
            if surplus
                .into_iter()
                .any(|cell| !cell.trim_ascii().is_empty())
                && !is_positional(&self.header)
            {
                return Err(format!(
                    "has {} values, the header {} columns",
                    self.record.len(),
                    self.header.len()
                ));
            }
        }
        let mut values = Values::default();
        values.untyped = true;
        for (cell, column) in self.record.iter().zip(&self.header) {
            if column.name.is_empty() {
                continue;
            }
            let text = std::str::from_utf8(cell)
                .map_err(|_| format!("{}: not UTF-8; save the file as UTF-8", column.name))?;
            let value = if column.is_sequence {
                let words = text.trim().split(' ').filter(|word| !word.is_empty());
                Some(Value::Array(words.map(Value::from).collect()))
            } else if column.is_attribute {
                let attribute = |cell| cells::attribute(cell, self.has_decimal_commas);
                cells::cell(text).map(attribute)
            } else {
                cells::cell(text)
            };
            if let Some(value) = value {
                columns.put(&mut values, &column.name, value);
            }
        }
        values.fields.resize(columns.fields.len(), None);
        Ok(values)
    }
}

/// The header of a file that has none: each mapped column has its position as
/// its name, the others have none.
fn by_position(positions: &[(&str, usize)]) -> Vec<HeaderCell> {
    let count = positions.iter().map(|(_, position)| position + 1).max();
    let mut header: Vec<HeaderCell> = (0..count.unwrap_or_default())
        .map(|_| HeaderCell {
            name: String::new(),
            is_attribute: false,
            is_sequence: false,
        })
        .collect();
    for (_, position) in positions {
        header[*position].name = (position + 1).to_string();
    }
    header
}

fn is_positional(header: &[HeaderCell]) -> bool {
    header
        .iter()
        .all(|cell| cell.name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A header; in RecBole's atomic files every name carries its type.
fn header(names: Vec<String>) -> Vec<HeaderCell> {
    let typed = |name: &String| {
        let (name, kind) = name.rsplit_once(':')?;
        ["token", "token_seq", "float", "float_seq"]
            .contains(&kind)
            .then(|| HeaderCell {
                name: name.to_owned(),
                is_attribute: false,
                is_sequence: kind.ends_with("_seq"),
            })
    };
    let atomic: Option<Vec<HeaderCell>> = names.iter().map(typed).collect();
    atomic.unwrap_or_else(|| {
        names
            .into_iter()
            .map(|name| HeaderCell {
                name,
                is_attribute: false,
                is_sequence: false,
            })
            .collect()
    })
}
