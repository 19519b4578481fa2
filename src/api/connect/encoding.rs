//! Bodies and their compression. A request is bounded by what it unpacks to, and its bytes
//! are counted while they are produced.

use std::io::{Read as _, Write as _};

use bytes::{Bytes, BytesMut};
use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};
use http_body_util::BodyExt as _;
use tonic::{Status, body::Body};

use crate::{api::error::ApiError, edge::load::Account};

/// Bytes that are decompressed at a time, each time within the limits.
const CHUNK_BYTES: usize = 64 << 10;
/// A buffer that grows has up to twice its bytes allocated, and once more while they are
/// moved.
const GROWTH: usize = 3;

/// Reads a body of at most `max` bytes. Its frames are counted as they arrive; the buffer
/// that they are joined in is reserved here.
pub(super) async fn read(
    mut body: Body,
    max: usize,
    account: Option<&Account>,
) -> Result<Bytes, Status> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if data.len() > max - whole.len() {
            return Err(too_large(max));
        }
        reserve(account, (GROWTH - 1) * data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Decompresses a body to at most `max` bytes.
pub(super) fn gunzip(body: &[u8], max: usize, account: Option<&Account>) -> Result<Bytes, Status> {
    let mut unpacked = Vec::new();
    let mut decoder = MultiGzDecoder::new(body);
    loop {
        let before = unpacked.len();
        reserve(account, GROWTH * CHUNK_BYTES)?;
        decoder
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut unpacked)
            .map_err(|_| ApiError::undecodable("the request is not valid gzip"))?;
        if unpacked.len() == before {
            return Ok(unpacked.into());
        }
        if unpacked.len() > max {
            return Err(too_large(max));
        }
    }
}

/// Compresses a reply. Writing to memory cannot fail; if it did, there is no reply.
pub(super) fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// Reserves memory on the account of a call.
pub(super) fn reserve(account: Option<&Account>, bytes: usize) -> Result<(), Status> {
    match account {
        Some(account) => Ok(account.reserve(bytes)?),
        None => Ok(()),
    }
}

/// As the decoder of gRPC answers.
fn too_large(max: usize) -> Status {
    Status::out_of_range(format!("the request has more than {max} bytes"))
}

#[cfg(test)]
mod tests {
    use super::{gunzip, gzip};
    use tonic::Code;

    #[test]
    fn requests_are_bounded_by_what_they_unpack_to() {
        let bomb = gzip(&vec![b' '; 8 << 20]).unwrap();
        assert!(bomb.len() < 64 << 10);
        let refused = gunzip(&bomb, 1 << 20, None).unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange);
        assert_eq!(gunzip(&gzip(b"{}").unwrap(), 2, None).unwrap(), "{}");
        for broken in [&b"{}"[..], &[0x1f, 0x8b]] {
            let refused = gunzip(broken, 100, None).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert_eq!(refused.message(), "the request is not valid gzip");
        }
    }
}
