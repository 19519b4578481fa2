//! Errors of bodies as those of gRPC, and the compression of replies.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use tonic::Status;

use crate::{
    api::error::ApiError,
    edge::{body::BodyError, load::Account},
};

impl From<BodyError> for Status {
    /// As the decoder of gRPC answers.
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Unreadable(status) => status,
            BodyError::TooLarge { max } => {
                Self::out_of_range(format!("the request has more than {max} bytes"))
            }
            BodyError::NotGzip => ApiError::undecodable("the request is not valid gzip").into(),
            BodyError::Refused(refusal) => refusal.into(),
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

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::gzip;
    use crate::edge::{body, load::Account};

    fn gunzip(
        packed: &[u8],
        max: usize,
        account: Option<&Account>,
    ) -> Result<bytes::Bytes, Status> {
        Ok(body::gunzip(packed, max, account)?)
    }

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
