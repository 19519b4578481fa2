//! JSON Lines files, read line by line, and the lines that are refused.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// Refused lines that are printed.
const MAX_LISTED: usize = 100;

/// A position between two lines of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinePosition {
    /// Bytes before it.
    pub(super) offset: u64,
    /// Lines before it.
    pub(super) lines: usize,
}

/// Reads the lines of a file; empty lines are skipped.
pub(super) struct LineReader {
    reader: BufReader<File>,
    max_line_bytes: u64,
    position: LinePosition,
    line: Vec<u8>,
}

/// A line's number, from 1, and its text or why it has none.
pub(super) type NumberedLine<'a> = (usize, Result<&'a str, String>);

impl LineReader {
    /// Opens a file; `None` if it is something that cannot be read twice, such as a
    /// pipe.
    pub(super) fn open(path: &Path, max_line_bytes: u64) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        Ok(file.metadata()?.is_file().then(|| Self {
            reader: BufReader::new(file),
            max_line_bytes,
            position: LinePosition::default(),
            line: Vec::new(),
        }))
    }

    /// The position before the next line.
    pub(super) fn position(&self) -> LinePosition {
        self.position
    }

    /// Continues at a position that an earlier reader of the same file had.
    pub(super) fn seek(&mut self, position: LinePosition) -> io::Result<()> {
        self.reader.seek(SeekFrom::Start(position.offset))?;
        self.position = position;
        Ok(())
    }

    /// The next line; an error in place of its text if it is not UTF-8 or is too long.
    pub(super) fn next(&mut self) -> io::Result<Option<NumberedLine<'_>>> {
        loop {
            self.line.clear();
            let mut part = (&mut self.reader).take(self.max_line_bytes);
            let read = part.read_until(b'\n', &mut self.line)?;
            if read == 0 {
                return Ok(None);
            }
            self.position.lines += 1;
            self.position.offset += read as u64;
            if read as u64 == self.max_line_bytes && self.line.last() != Some(&b'\n') {
                self.skip_line()?;
                let reason = format!("longer than {} bytes", self.max_line_bytes);
                return Ok(Some((self.position.lines, Err(reason))));
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let text = std::str::from_utf8(&self.line).map_err(|error| format!("not text: {error}"));
        let text = text.map(|text| match self.position.lines {
            1 => text.trim_start_matches('\u{feff}').trim(),
            _ => text.trim(),
        });
        Ok(Some((self.position.lines, text)))
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let rest = self.reader.fill_buf()?;
            let (skipped, ends) = match rest.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (rest.len(), rest.is_empty()),
            };
            self.reader.consume(skipped);
            self.position.offset += skipped as u64;
            if ends {
                return Ok(());
            }
        }
    }
}

/// The lines that are refused, the first of them with their reasons.
#[derive(Default)]
pub(super) struct RefusedLines {
    numbers: BTreeSet<usize>,
    listed: Vec<(usize, String)>,
}

impl RefusedLines {
    pub(super) fn add(&mut self, line: usize, reason: String) {
        let is_new = self.numbers.insert(line);
        if is_new && self.listed.len() < MAX_LISTED {
            self.listed.push((line, reason));
        }
    }

    pub(super) fn count(&self) -> usize {
        self.numbers.len()
    }

    pub(super) fn contains(&self, line: usize) -> bool {
        self.numbers.contains(&line)
    }

    pub(super) fn print(&self) {
        for (line, reason) in &self.listed {
            anstream::eprintln!("line {line}: {reason}");
        }
        let unlisted = self.numbers.len() - self.listed.len();
        if unlisted > 0 {
            anstream::eprintln!("and {unlisted} more lines");
        }
    }
}
