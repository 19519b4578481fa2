//! Replies of the console, and the headers that all of them have.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use serde_json::Value;
use tonic::{Code, Status, body::Body};

use crate::api::connect::error_reply;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Headers of every reply. The policy allows the page's own files alone, and pictures of
/// items.
const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: http: data:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Adds the headers that every reply has.
pub(super) fn secure(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

pub(super) fn bytes(status: StatusCode, bytes: &'static [u8]) -> Response<Body> {
    let mut reply = Response::new(Body::new(Full::new(Bytes::from_static(bytes))));
    *reply.status_mut() = status;
    reply
}

/// A reply with JSON.
pub(super) fn json(value: &Value) -> Response<Body> {
    json_text(StatusCode::OK, value.to_string().into())
}

/// A reply with the text of a JSON value.
pub(super) fn json_text(status: StatusCode, text: Bytes) -> Response<Body> {
    let mut reply = Response::new(Body::new(Full::new(text)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

/// An error in the form of Connect: a code and a message.
pub(super) fn error(code: Code, message: &str) -> Response<Body> {
    error_reply(&Status::new(code, message))
}
