//! Opening a file: standard input, gzip, byte order marks.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;

use super::error::TableError;

/// Bytes that are read at once; recognition looks no further than this.
pub(super) const CHUNK: usize = 64 << 10;

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// First bytes of forms that are not read, with what to do about each.
const REFUSED: [(&[u8], &str); 11] = [
    (
        b"PK\x03\x04",
        "is a zip archive: unpack it first; if it is an Excel workbook, save its sheet as CSV",
    ),
    (
        b"\xd0\xcf\x11\xe0",
        "is an Excel workbook or another Office file: save its sheet as CSV",
    ),
    (
        b"SQLite format 3\0",
        "is a SQLite database: export a table as CSV, for example with sqlite3 -csv -header",
    ),
    (b"Obj\x01", "is Avro: export it as JSON Lines or CSV"),
    (b"ARROW1", "is Arrow: export it as CSV"),
    (
        b"\x28\xb5\x2f\xfd",
        "is compressed with zstd: `zstd -d` it first, or use gzip",
    ),
    (
        b"BZh",
        "is compressed with bzip2: unpack it first, or use gzip",
    ),
    (
        b"\xfd7zXZ",
        "is compressed with xz: unpack it first, or use gzip",
    ),
    (
        b"PAR1",
        "is Parquet: export it as CSV, for example with DuckDB's COPY … TO 'events.csv'",
    ),
    (b"\xff\xfe", "is UTF-16: save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16: save it as UTF-8"),
];

/// What is in the file, if it is neither text nor of a form that has a signature at its
/// start.
fn not_text(start: &[u8]) -> Option<&'static str> {
    const TAR_SIGNATURE: usize = 257;
    if start
        .get(TAR_SIGNATURE..)
        .is_some_and(|rest| rest.starts_with(b"ustar"))
    {
        return Some("is a tar archive: unpack it first");
    }
    if start.contains(&0) {
        return Some("is not text: export it as CSV or JSON Lines in UTF-8");
    }
    let text = start.strip_prefix(UTF8_MARK).unwrap_or(start);
    text.trim_ascii_start()
        .starts_with(b"<")
        .then_some("is XML or HTML: export it as CSV or JSON Lines")
}

/// Counts the bytes that are read from a file.
struct CountedRead<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for CountedRead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Unpacks gzip; an error says that the data is damaged, in no library's words.
struct Unpacked<R>(MultiGzDecoder<R>);

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| {
            if error.raw_os_error().is_some() {
                return error;
            }
            io::Error::new(
                io::ErrorKind::InvalidData,
                "its gzip data is damaged or incomplete",
            )
        })
    }
}

/// A reader with the number of bytes that it has read from its file.
pub(super) type OpenedInput = (Box<dyn BufRead + Send>, Arc<AtomicU64>);

/// The bytes of a file, or of standard input for `-`; unpacked if they are
/// gzipped, without a byte order mark.
pub(super) fn open(path: &Path) -> Result<OpenedInput, TableError> {
    let unreadable = |source| TableError::Io {
        path: path.to_owned(),
        source,
    };
    if path.is_dir() {
        return Err(TableError::Form {
            path: path.to_owned(),
            reason: "is a directory: name a file".to_owned(),
        });
    }
    let raw: Box<dyn Read + Send> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = CountedRead {
        inner: raw,
        bytes: Arc::clone(&bytes),
    };
    let mut packed = BufReader::with_capacity(CHUNK, counted);
    let is_gzip = packed
        .fill_buf()
        .map_err(unreadable)?
        .starts_with(b"\x1f\x8b");
    let mut reader: Box<dyn BufRead + Send> = if is_gzip {
        let unpacked = Unpacked(MultiGzDecoder::new(packed));
        Box::new(BufReader::with_capacity(CHUNK, unpacked))
    } else {
        Box::new(packed)
    };
    let start = reader.fill_buf().map_err(unreadable)?;
    for (magic, reason) in REFUSED {
        if start.starts_with(magic) {
            return Err(TableError::Form {
                path: path.to_owned(),
                reason: reason.to_owned(),
            });
        }
    }
    if let Some(reason) = not_text(start) {
        return Err(TableError::Form {
            path: path.to_owned(),
            reason: reason.to_owned(),
        });
    }
    if start.starts_with(UTF8_MARK) {
        reader.consume(UTF8_MARK.len());
    }
    Ok((reader, bytes))
}
