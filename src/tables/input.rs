//! Opening a file: standard input, gzip, byte order marks.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use super::error::TableError;

/// Bytes that are read at once; recognition looks no further than this.
pub(super) const CHUNK: usize = 64 << 10;

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// First bytes of forms that are not read, with what to do about each.
const REFUSED: [(&[u8], &str); 7] = [
    (b"PK\x03\x04", "is a zip archive: unpack it first"),
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

/// The bytes of a file, or of standard input for `-`; unpacked if they are
/// gzipped, without a byte order mark.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, TableError> {
    let unreadable = |source| TableError::Io {
        path: path.to_owned(),
        source,
    };
    let raw: Box<dyn Read + Send> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    let mut packed = BufReader::with_capacity(CHUNK, raw);
    let is_gzip = packed
        .fill_buf()
        .map_err(unreadable)?
        .starts_with(b"\x1f\x8b");
    let mut reader: Box<dyn BufRead + Send> = if is_gzip {
        Box::new(BufReader::with_capacity(CHUNK, MultiGzDecoder::new(packed)))
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
    if start.starts_with(UTF8_MARK) {
        reader.consume(UTF8_MARK.len());
    }
    Ok(reader)
}
