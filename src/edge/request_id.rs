//! The id of a call: in its reply, in the log and in its trace alike.

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Where a client may name it, and where it is told.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest that a client may choose.
const MAX_BYTES: usize = 128;

/// The id of a call: its client's, if that gave a sane one, or a fresh one.
#[derive(Clone, Debug)]
pub(crate) struct RequestId {
    value: HeaderValue,
    fresh: bool,
}

impl RequestId {
    /// That of a call with these headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(HEADER).filter(|value| is_sane(value)) {
            Some(value) => Self {
                value: value.clone(),
                fresh: false,
            },
            None => Self::fresh(),
        }
    }

    fn fresh() -> Self {
        let id = HeaderValue::try_from(Uuid::new_v4().to_string());
        Self {
            value: id.unwrap_or(HeaderValue::from_static("none")),
            fresh: true,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.value.to_str().unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.value.clone()
    }

    /// It, unless the client chose it: then it may have been there before.
    pub(crate) fn if_fresh(&self) -> Option<&str> {
        self.fresh.then(|| self.as_str())
    }
}

/// Not too long, and nothing but visible ASCII.
fn is_sane(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=MAX_BYTES).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{HEADER, MAX_BYTES, RequestId};

    fn id(value: &[u8]) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(value).unwrap());
        RequestId::of(&headers)
    }

    #[test]
    fn a_sane_id_is_taken_and_any_other_replaced() {
        let longest = "x".repeat(MAX_BYTES);
        for sane in ["a", "018f-77:x/y=+z{}", &longest] {
            let id = id(sane.as_bytes());
            assert_eq!((id.as_str(), id.if_fresh()), (sane, None));
        }
        let too_long = "x".repeat(MAX_BYTES + 1);
        for odd in ["", "a b", "a\tb", "\u{e9}", &too_long] {
            let id = id(odd.as_bytes());
            assert_eq!(id.as_str().len(), 36, "{odd:?}");
            assert_eq!(id.if_fresh(), Some(id.as_str()));
        }
        assert_ne!(RequestId::fresh().as_str(), RequestId::fresh().as_str());
    }
}
