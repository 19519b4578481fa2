//! Errors as Connect writes them: JSON with a code, a message and details.

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Status, body::Body};

use crate::api::connect::json;

/// The reply that carries a status. Its code is an extension.
pub(crate) fn reply(status: &Status) -> Response<Body> {
    with_http_status(status, http_status(status.code()))
}

/// As [`reply`], with an HTTP status that says more.
pub(super) fn with_http_status(status: &Status, http: StatusCode) -> Response<Body> {
    let mut error = json!({"code": name(status.code())});
    if !status.message().is_empty() {
        error["message"] = status.message().into();
    }
    let details = tonic_types::pb::Status::decode(status.details()).unwrap_or_default();
    if !details.details.is_empty() {
        error["details"] = details.details.iter().map(detail).collect();
    }
    let mut reply = Response::new(Body::new(http_body_util::Full::from(error.to_string())));
    *reply.status_mut() = http;
    reply.extensions_mut().insert(status.code());
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, json);
    reply
}

/// A detail: its type, its bytes in base 64, and what they say.
fn detail(any: &prost_types::Any) -> Value {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let mut detail = json!({"type": name, "value": BASE64_STANDARD_NO_PAD.encode(&any.value)});
    if let Some(debug) = json::of_detail(name, &any.value) {
        detail["debug"] = debug;
    }
    detail
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Cancelled => "canceled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
        Code::Ok | Code::Unknown => "unknown",
    }
}

/// The HTTP status of a code, by Connect's table.
pub(super) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::reply;

    async fn written(status: &Status) -> (u16, Value) {
        let (head, body) = reply(status).into_parts();
        assert_eq!(head.headers["content-type"], "application/json");
        assert_eq!(head.extensions.get::<Code>(), Some(&status.code()));
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    /// Source: <https://connectrpc.com/docs/protocol#error-codes>.
    const TABLE: [(Code, &str, u16); 16] = [
        (Code::Cancelled, "canceled", 499),
        (Code::Unknown, "unknown", 500),
        (Code::InvalidArgument, "invalid_argument", 400),
        (Code::DeadlineExceeded, "deadline_exceeded", 504),
        (Code::NotFound, "not_found", 404),
        (Code::AlreadyExists, "already_exists", 409),
        (Code::PermissionDenied, "permission_denied", 403),
        (Code::ResourceExhausted, "resource_exhausted", 429),
        (Code::FailedPrecondition, "failed_precondition", 400),
        (Code::Aborted, "aborted", 409),
        (Code::OutOfRange, "out_of_range", 400),
        (Code::Unimplemented, "unimplemented", 501),
        (Code::Internal, "internal", 500),
        (Code::Unavailable, "unavailable", 503),
        (Code::DataLoss, "data_loss", 500),
        (Code::Unauthenticated, "unauthenticated", 401),
    ];

    #[tokio::test]
    async fn every_code_has_the_name_and_status_that_connect_specifies() {
        for (code, name, http) in TABLE {
            let (status, error) = written(&Status::new(code, "why")).await;
            assert_eq!(status, http, "{code:?}");
            assert_eq!(error, json!({"code": name, "message": "why"}));
        }
        let (_, error) = written(&Status::new(Code::NotFound, "")).await;
        assert_eq!(error, json!({"code": "not_found"}));
    }

    #[tokio::test]
    async fn details_have_their_type_their_bytes_and_what_they_say() {
        let mut details = ErrorDetails::new();
        details.set_error_info("WHY", "recsys.v1", [("limit".to_owned(), "9".to_owned())]);
        details.set_retry_info(Some(std::time::Duration::from_millis(1_500)));
        details.add_bad_request_violation("user_id", "must not be empty");
        let status = Status::with_error_details(Code::InvalidArgument, "no", details);
        let (_, error) = written(&status).await;
        let debug = |name: &str| {
            let details = error["details"].as_array().unwrap();
            let detail = details.iter().find(|detail| detail["type"] == name);
            let detail = detail.unwrap();
            let bytes = detail["value"].as_str().unwrap();
            assert!(!bytes.is_empty() && !bytes.ends_with('='), "{bytes}");
            detail["debug"].clone()
        };
        assert_eq!(
            debug("google.rpc.ErrorInfo"),
            json!({"reason": "WHY", "domain": "recsys.v1", "metadata": {"limit": "9"}})
        );
        assert_eq!(
            debug("google.rpc.RetryInfo"),
            json!({"retryDelay": "1.500s"})
        );
        assert_eq!(
            debug("google.rpc.BadRequest"),
            json!({"fieldViolations": [{"field": "user_id", "description": "must not be empty"}]})
        );
    }
}
