//! The id of a call: in its reply, its log line and its trace.

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Where a client may set the id, and where the reply has it.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that a client may set.
const MAX_BYTES: usize = 128;

/// The id of a call: an extension of its request.
#[derive(Clone, Debug)]
pub(crate) struct RequestId {
    value: HeaderValue,
    is_generated: bool,
}

impl RequestId {
    /// The id that the client set, if it is valid, or a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(HEADER).filter(|value| is_valid(value)) {
            Some(value) => Self {
                value: value.clone(),
                is_generated: false,
            },
            None => Self::generate(),
        }
    }

    fn generate() -> Self {
        let id = HeaderValue::try_from(Uuid::new_v4().to_string());
        Self {
            value: id.unwrap_or(HeaderValue::from_static("none")),
            is_generated: true,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.value.to_str().unwrap_or_default()
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.value.clone()
    }

    /// The id, unless the client set it: such an id need not be unique.
    pub(crate) fn if_generated(&self) -> Option<&str> {
        self.is_generated.then(|| self.as_str())
    }
}

/// Of a limited length, and visible ASCII only.
fn is_valid(value: &HeaderValue) -> bool {
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
    fn a_valid_id_is_kept_and_any_other_is_replaced() {
        let longest = "x".repeat(MAX_BYTES);
        for valid in ["a", "018f-77:x/y=+z{}", &longest] {
            let id = id(valid.as_bytes());
            assert_eq!((id.as_str(), id.if_generated()), (valid, None));
        }
        let too_long = "x".repeat(MAX_BYTES + 1);
        for invalid in ["", "a b", "a\tb", "\u{e9}", &too_long] {
            let id = id(invalid.as_bytes());
            assert_eq!(id.as_str().len(), 36, "{invalid:?}");
            assert_eq!(id.if_generated(), Some(id.as_str()));
        }
        assert_ne!(
            RequestId::generate().as_str(),
            RequestId::generate().as_str()
        );
    }
}
