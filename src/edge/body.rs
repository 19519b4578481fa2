//! Bodies of requests, compressed or not. They are bounded by what they decompress to, and
//! their bytes are counted while they are produced, which no layer of tower-http does.

use std::io::Read as _;

use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use http_body_util::BodyExt as _;
use tonic::{Status, body::Body};

use crate::edge::{load::Account, refusal::Refusal};

/// Bytes that are decompressed at a time, each time within the limits.
const CHUNK_BYTES: usize = 64 << 10;
/// A buffer that grows has up to twice its bytes allocated, and once more while they are
/// moved.
const GROWTH: usize = 3;

/// Why a body was not read.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It ended early.
    Unreadable(Status),
    /// It is too large, decompressed.
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// It is not valid gzip.
    NotGzip,
    /// There is no memory for it.
    Refused(Refusal),
}

/// Reads a body of at most `max` bytes. Its frames are counted as they arrive; the buffer
/// that they are joined in is reserved here.
pub(crate) async fn read(
    mut body: Body,
    max: usize,
    account: Option<&Account>,
) -> Result<Bytes, BodyError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(BodyError::Unreadable)?.into_data() else {
            continue;
        };
        if data.len() > max - whole.len() {
            return Err(BodyError::TooLarge { max });
        }
        reserve(account, (GROWTH - 1) * data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Decompresses a body to at most `max` bytes. Memory is reserved for a whole chunk before
/// it is decompressed; what a shorter one does not take is released.
pub(crate) fn gunzip(
    body: &[u8],
    max: usize,
    account: Option<&Account>,
) -> Result<Bytes, BodyError> {
    let mut unpacked = Vec::new();
    let mut decoder = MultiGzDecoder::new(body);
    loop {
        let before = unpacked.len();
        reserve(account, GROWTH * CHUNK_BYTES)?;
        decoder
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut unpacked)
            .map_err(|_| BodyError::NotGzip)?;
        let chunk = unpacked.len() - before;
        if let Some(account) = account {
            account.release(GROWTH * CHUNK_BYTES.saturating_sub(chunk));
        }
        if chunk == 0 {
            return Ok(unpacked.into());
        }
        if unpacked.len() > max {
            return Err(BodyError::TooLarge { max });
        }
    }
}

fn reserve(account: Option<&Account>, bytes: usize) -> Result<(), BodyError> {
    match account {
        Some(account) => account.reserve(bytes).map_err(BodyError::Refused),
        None => Ok(()),
    }
}
