//! Files of one JSON object a line, and the lines of them that are not taken.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// Refused lines that are listed.
const MAX_LISTED: usize = 100;

/// A place between two lines of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Bytes before it.
    pub(super) offset: u64,
    /// Lines before it.
    pub(super) lines: usize,
}

/// The lines of a file with their numbers, from 1; empty ones are passed over.
pub(super) struct Lines {
    reader: BufReader<File>,
    most_bytes: u64,
    place: Place,
    line: Vec<u8>,
}

/// A line's number, and its text or why it has none.
pub(super) type Line<'a> = (usize, Result<&'a str, String>);

impl Lines {
    /// Opens a file whose lines are at most so long; `None` if it is something
    /// that cannot be read twice, such as a pipe.
    pub(super) fn open(path: &Path, most_bytes: u64) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        Ok(file.metadata()?.is_file().then(|| Self {
            reader: BufReader::new(file),
            most_bytes,
            place: Place::default(),
            line: Vec::new(),
        }))
    }

    /// Where the next line begins.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Goes on from a place where a line begins.
    pub(super) fn go_to(&mut self, place: Place) -> io::Result<()> {
        self.reader.seek(SeekFrom::Start(place.offset))?;
        self.place = place;
        Ok(())
    }

    /// The next line; an error in its place if it is not text, or too long.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.line.clear();
            let mut part = (&mut self.reader).take(self.most_bytes);
            let read = part.read_until(b'\n', &mut self.line)?;
            if read == 0 {
                return Ok(None);
            }
            self.place.lines += 1;
            self.place.offset += read as u64;
            if read as u64 == self.most_bytes && self.line.last() != Some(&b'\n') {
                self.skip_line()?;
                let reason = format!("longer than {} bytes", self.most_bytes);
                return Ok(Some((self.place.lines, Err(reason))));
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let text = std::str::from_utf8(&self.line).map_err(|error| format!("not text: {error}"));
        let text = text.map(|text| match self.place.lines {
            1 => text.trim_start_matches('\u{feff}').trim(),
            _ => text.trim(),
        });
        Ok(Some((self.place.lines, text)))
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let rest = self.reader.fill_buf()?;
            let (skipped, ends) = match rest.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (rest.len(), rest.is_empty()),
            };
            self.reader.consume(skipped);
            self.place.offset += skipped as u64;
            if ends {
                return Ok(());
            }
        }
    }
}

/// Lines that are not taken, and of the first ones why.
#[derive(Default)]
pub(super) struct Refused {
    lines: BTreeSet<usize>,
    listed: Vec<(usize, String)>,
}

impl Refused {
    pub(super) fn add(&mut self, line: usize, reason: String) {
        let is_new = self.lines.insert(line);
        if is_new && self.listed.len() < MAX_LISTED {
            self.listed.push((line, reason));
        }
    }

    pub(super) fn count(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn has(&self, line: usize) -> bool {
        self.lines.contains(&line)
    }

    pub(super) fn print(&self) {
        for (line, reason) in &self.listed {
            anstream::eprintln!("line {line}: {reason}");
        }
        let unlisted = self.lines.len() - self.listed.len();
        if unlisted > 0 {
            anstream::eprintln!("and {unlisted} more lines");
        }
    }
}
