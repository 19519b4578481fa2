//! JSON Lines and JSON arrays.

use std::io::{self, BufRead};

use serde_json::Value;

use super::columns::{ColumnTable, Row, Values};
use crate::domain::json::not_json;

/// Longest row, in bytes: an item of the largest size, and some more.
const MAX_ROW_BYTES: usize = 4 << 20;

const NOT_UTF8: &str = "not text in UTF-8; save the file as UTF-8";

/// One object a line.
pub(super) struct JsonLines {
    reader: Box<dyn BufRead + Send>,
    number: u64,
    line: Vec<u8>,
}

impl JsonLines {
    pub(super) fn new(reader: Box<dyn BufRead + Send>) -> Self {
        Self {
            reader,
            number: 0,
            line: Vec::new(),
        }
    }

    pub(super) fn next(&mut self, columns: &mut ColumnTable) -> io::Result<Option<Row>> {
        loop {
            self.line.clear();
            let limit = MAX_ROW_BYTES as u64;
            let read = io::Read::take(&mut self.reader, limit).read_until(b'\n', &mut self.line)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if read as u64 == limit && self.line.last() != Some(&b'\n') {
                self.reader.skip_until(b'\n')?;
                return Ok(Some((self.number, Err(too_long()))));
            }
            // Editors and JSON printers leave separators behind.
            let line = self.line.trim_ascii();
            let line = line.strip_suffix(b",").unwrap_or(line);
            if !line.is_empty() {
                return Ok(Some((self.number, object(line, columns))));
            }
        }
    }
}

/// The elements of a JSON array, each cut out before it is parsed, so that a
/// bad one does not affect the others.
pub(super) struct JsonArray {
    reader: Box<dyn BufRead + Send>,
    line: u64,
    element: Vec<u8>,
}

impl JsonArray {
    /// Reads past the opening bracket.
    pub(super) fn new(mut reader: Box<dyn BufRead + Send>) -> io::Result<Self> {
        let mut before = Vec::new();
        reader.read_until(b'[', &mut before)?;
        Ok(Self {
            reader,
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64,
            element: Vec::new(),
        })
    }

    pub(super) fn next(&mut self, columns: &mut ColumnTable) -> io::Result<Option<Row>> {
        self.element.clear();
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        let mut start = self.line;
        let mut is_too_long = false;
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                // The file ends inside of the array.
                return Ok((!self.element.is_empty()).then(|| {
                    (
                        start,
                        Err("the file ends in the middle of this object".to_owned()),
                    )
                }));
            }
            let mut used = 0;
            for byte in chunk {
                used += 1;
                self.line += u64::from(*byte == b'\n');
                let is_between = depth == 0 && !in_text;
                if is_between && matches!(byte, b',' | b']') {
                    let ends = *byte == b']';
                    if self.element.trim_ascii().is_empty() {
                        if ends {
                            self.reader.consume(used);
                            return Ok(None);
                        }
                        continue;
                    }
                    // The separator stays: the end is to be found again.
                    self.reader.consume(used - 1);
                    let row = if is_too_long {
                        Err(too_long())
                    } else {
                        object(self.element.trim_ascii(), columns)
                    };
                    return Ok(Some((start, row)));
                }
                if self.element.is_empty() {
                    if byte.is_ascii_whitespace() {
                        continue;
                    }
                    start = self.line;
                }
                if in_text {
                    in_text = escaped || *byte != b'"';
                    escaped = !escaped && *byte == b'\\';
                } else {
                    match byte {
                        b'"' => in_text = true,
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                }
                if self.element.len() < MAX_ROW_BYTES {
                    self.element.push(*byte);
                } else {
                    is_too_long = true;
                }
            }
            self.reader.consume(used);
        }
    }
}

fn too_long() -> String {
    format!("longer than {MAX_ROW_BYTES} bytes")
}

fn object(text: &[u8], columns: &mut ColumnTable) -> Result<Values, String> {
    let text = std::str::from_utf8(text).map_err(|_| NOT_UTF8.to_owned())?;
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(columns.of_object(object)),
        Ok(_) => Err("not a JSON object".to_owned()),
        Err(error) => Err(not_json(text, &error)),
    }
}
