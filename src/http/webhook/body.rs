//! The body of a delivery, compressed or not.

use std::io::Read as _;

use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use http::{HeaderMap, header::CONTENT_ENCODING};
use http_body_util::BodyExt as _;
use tonic::{Status, body::Body};

use crate::{edge::load::Account, http::webhook::reply::Refusal};

/// Bytes that are unpacked before it is asked whether there is room for more.
const PIECE: usize = 64 << 10;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
}

impl Packing {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
        let Some(encoding) = encodings.next() else {
            return Ok(Self::Plain);
        };
        let text = encoding.to_str().unwrap_or_default().trim();
        match text.to_ascii_lowercase().as_str() {
            _ if encodings.next().is_some() => Err(Refusal::Encoding),
            "" | "identity" => Ok(Self::Plain),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            _ => Err(Refusal::Encoding),
        }
    }
}

/// Takes in a body of at most so many bytes.
pub(crate) async fn read(mut body: Body, most: usize) -> Result<Bytes, Refusal> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Refusal::Status)?.into_data() else {
            continue;
        };
        if data.len() > most - whole.len() {
            return Err(Refusal::TooLarge { most });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Unpacks a body to at most so many bytes, all of which are on the account of
/// its call.
pub(crate) fn unpack(
    body: Bytes,
    packing: Packing,
    most: usize,
    account: Option<&Account>,
) -> Result<Bytes, Refusal> {
    if packing == Packing::Plain {
        return Ok(body);
    }
    let mut unpacked = Vec::new();
    let mut packed = MultiGzDecoder::new(&*body);
    loop {
        let before = unpacked.len();
        let read = packed
            .by_ref()
            .take(PIECE as u64)
            .read_to_end(&mut unpacked);
        read.map_err(|_| Refusal::NotGzip)?;
        let piece = unpacked.len() - before;
        if piece == 0 {
            return Ok(unpacked.into());
        }
        if unpacked.len() > most {
            return Err(Refusal::TooLarge { most });
        }
        if let Some(account) = account {
            account.hold(piece).map_err(Refusal::Status)?;
        }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use http::{HeaderMap, header::CONTENT_ENCODING};

    use super::{Packing, Refusal, unpack};

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn only_gzip_is_unpacked() {
        let of = |encodings: &[&str]| {
            let mut headers = HeaderMap::new();
            for encoding in encodings {
                headers.append(CONTENT_ENCODING, encoding.parse().unwrap());
            }
            Packing::of(&headers).ok()
        };
        assert_eq!(of(&[]), Some(Packing::Plain));
        assert_eq!(of(&["identity"]), Some(Packing::Plain));
        assert_eq!(of(&["GZIP"]), Some(Packing::Gzip));
        for other in [
            &["br"][..],
            &["gzip, gzip"],
            &["gzip", "gzip"],
            &["deflate"],
        ] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }

    #[test]
    fn what_is_unpacked_has_a_bound() {
        let unpack = |body: Vec<u8>, most| unpack(body.into(), Packing::Gzip, most, None);
        assert_eq!(unpack(packed(b"[]"), 2).unwrap(), "[]");
        let bomb = packed(&vec![b' '; 8 << 20]);
        assert!(bomb.len() < 16 << 10);
        assert!(matches!(
            unpack(bomb, 1 << 20),
            Err(Refusal::TooLarge { .. })
        ));
        let mut cut = packed(b"[1, 2, 3]");
        cut.truncate(cut.len() - 3);
        for broken in [cut, b"[]".to_vec(), vec![0x1f, 0x8b]] {
            assert!(matches!(unpack(broken, 100), Err(Refusal::NotGzip)));
        }
        let twice = [packed(b"[1,"), packed(b"2]")].concat();
        assert_eq!(unpack(twice, 100).unwrap(), "[1,2]");
    }
}
