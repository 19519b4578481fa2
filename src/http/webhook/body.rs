//! The body of a delivery, compressed or not.

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_ENCODING};

use crate::{
    edge::{
        body::{BodyError, gunzip},
        load::Account,
    },
    http::webhook::error::WebhookError,
};

/// The content encoding of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// The encoding that the headers state; identity if they state none.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, WebhookError> {
        let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
        let Some(encoding) = encodings.next() else {
            return Ok(Self::Identity);
        };
        let text = encoding.to_str().unwrap_or_default().trim();
        match text.to_ascii_lowercase().as_str() {
            _ if encodings.next().is_some() => Err(WebhookError::UnknownEncoding),
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            _ => Err(WebhookError::UnknownEncoding),
        }
    }
}

impl From<BodyError> for WebhookError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Unreadable(status) => status.into(),
            BodyError::TooLarge { max } => Self::TooLarge { max },
            BodyError::NotGzip => Self::NotGzip,
            BodyError::Refused(refusal) => refusal.into(),
        }
    }
}

/// Decompresses a body to at most `max` bytes, which are counted on the account of its
/// call.
pub(crate) fn decompress(
    body: Bytes,
    encoding: Encoding,
    max: usize,
    account: Option<&Account>,
) -> Result<Bytes, WebhookError> {
    match encoding {
        Encoding::Identity => Ok(body),
        Encoding::Gzip => Ok(gunzip(&body, max, account)?),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use http::{HeaderMap, header::CONTENT_ENCODING};

    use super::{Encoding, WebhookError, decompress};

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn only_gzip_is_supported() {
        let of = |encodings: &[&str]| {
            let mut headers = HeaderMap::new();
            for encoding in encodings {
                headers.append(CONTENT_ENCODING, encoding.parse().unwrap());
            }
            Encoding::of(&headers).ok()
        };
        assert_eq!(of(&[]), Some(Encoding::Identity));
        assert_eq!(of(&["identity"]), Some(Encoding::Identity));
        assert_eq!(of(&["GZIP"]), Some(Encoding::Gzip));
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
    fn decompression_is_bounded() {
        let decompress = |body: Vec<u8>, max| decompress(body.into(), Encoding::Gzip, max, None);
        assert_eq!(decompress(gzip(b"[]"), 2).unwrap(), "[]");
        let bomb = gzip(&vec![b' '; 8 << 20]);
        assert!(bomb.len() < 16 << 10);
        assert!(matches!(
            decompress(bomb, 1 << 20),
            Err(WebhookError::TooLarge { .. })
        ));
        let mut cut = gzip(b"[1, 2, 3]");
        cut.truncate(cut.len() - 3);
        for broken in [cut, b"[]".to_vec(), vec![0x1f, 0x8b]] {
            assert!(matches!(
                decompress(broken, 100),
                Err(WebhookError::NotGzip)
            ));
        }
        let twice = [gzip(b"[1,"), gzip(b"2]")].concat();
        assert_eq!(decompress(twice, 100).unwrap(), "[1,2]");
    }
}
