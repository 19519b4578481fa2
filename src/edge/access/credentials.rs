//! The key and the tenant that the headers of a call name.

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

const API_KEY: &str = "x-api-key";
pub(crate) const TENANT: &str = "x-tenant-id";
const BEARER: &str = "Bearer ";

/// The key that a call presents, in `authorization: Bearer` or `x-api-key`. Two
/// different keys count as none.
pub(crate) fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = single(headers, AUTHORIZATION.as_str())?.map(|value| {
        let text = value.to_str().ok()?;
        let (scheme, key) = text.split_at_checked(BEARER.len())?;
        scheme.eq_ignore_ascii_case(BEARER).then(|| key.trim())
    });
    let plain = single(headers, API_KEY)?.map(|value| value.to_str().ok());
    match (bearer, plain) {
        (Some(bearer), Some(plain)) if bearer != plain => None,
        (Some(key), _) | (None, Some(key)) => key,
        (None, None) => None,
    }
}

/// The value of a header, or `Some(None)` if it is absent. `None` if it is repeated
/// with different values: a proxy in front may have checked another one than we
/// would use.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<Option<&'a HeaderValue>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    values.all(|value| Some(value) == first).then_some(first)
}
