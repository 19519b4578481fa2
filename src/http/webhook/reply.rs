//! What senders are told, over HTTP.

use std::time::Duration;

use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use crate::http::webhook::{delivery::Told, elements::NoDelivery};

/// Seconds after which to try again, where nothing else is known.
const SOON: Duration = Duration::from_secs(1);

/// Why a request is not answered as it wishes.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// As a call of the API would be told.
    Status(Status),
    /// It does not carry the secret.
    Secret,
    /// There is nothing at its path.
    Path,
    /// Its method is another than these.
    Method(&'static str),
    /// Its body is of another type than JSON.
    Type,
    /// Its body is packed in a way that is not known.
    Encoding,
    /// Its body is not what it is said to be packed in.
    NotGzip,
    /// Its body is too large, unpacked.
    TooLarge {
        /// So many bytes there may be.
        most: usize,
    },
    /// Its body is no delivery.
    Delivery(NoDelivery),
}

#[derive(Serialize)]
struct Failure<'a> {
    error: FailureText<'a>,
}

#[derive(Serialize)]
struct FailureText<'a> {
    reason: &'a str,
    message: &'a str,
}

impl Refusal {
    pub(crate) fn reply(&self) -> Response<Body> {
        let (code, reason, message) = match self {
            Self::Status(status) => return of_status(status),
            Self::Secret => (
                StatusCode::UNAUTHORIZED,
                "SECRET_UNKNOWN",
                "give the secret in x-webhook-secret, or as the password of basic authentication"
                    .to_owned(),
            ),
            Self::Path => (
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "deliveries go to /v1/webhooks/rudderstack".to_owned(),
            ),
            Self::Method(allowed) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                format!("deliveries come by POST; allowed here: {allowed}"),
            ),
            Self::Type => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "NOT_JSON",
                "content-type must be application/json".to_owned(),
            ),
            Self::Encoding => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "ENCODING_UNKNOWN",
                "content-encoding must be gzip, or none".to_owned(),
            ),
            Self::NotGzip => (
                StatusCode::BAD_REQUEST,
                "NOT_GZIP",
                "the body cannot be unpacked".to_owned(),
            ),
            Self::TooLarge { most } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "TOO_LARGE",
                format!("the body has more than {most} bytes, unpacked"),
            ),
            Self::Delivery(why) => {
                let code = match why {
                    NoDelivery::TooMany { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    NoDelivery::Encoding
                    | NoDelivery::Form
                    | NoDelivery::Object(_)
                    | NoDelivery::List => StatusCode::BAD_REQUEST,
                };
                (code, "NO_DELIVERY", why.to_string())
            }
        };
        let mut reply = failure(code, reason, &message);
        if let Self::Method(allowed) = self {
            reply
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allowed));
        }
        reply
    }
}

/// What a call of the API would be told, over HTTP.
pub(crate) fn of_status(status: &Status) -> Response<Body> {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    let reason = reason.unwrap_or_default();
    let retry_after = details.retry_info().and_then(|info| info.retry_delay);
    let (code, retry_after) = match status.code() {
        Code::Unauthenticated => (StatusCode::UNAUTHORIZED, None),
        Code::PermissionDenied => (StatusCode::FORBIDDEN, None),
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, None),
        Code::ResourceExhausted if reason == "QUOTA_EXCEEDED" => match retry_after {
            Some(_) => (StatusCode::TOO_MANY_REQUESTS, retry_after),
            // It will never do.
            None => (StatusCode::PAYLOAD_TOO_LARGE, None),
        },
        Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded => {
            (StatusCode::SERVICE_UNAVAILABLE, retry_after.or(Some(SOON)))
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => (StatusCode::INTERNAL_SERVER_ERROR, None),
    };
    let mut reply = failure(code, reason, status.message());
    if let Some(after) = retry_after {
        retry(&mut reply, after);
    }
    reply
}

/// What became of a delivery. One with elements that were not stored for want
/// of a store is to be sent again.
pub(crate) fn told(told: &Told) -> Response<Body> {
    let code = if told.again {
        StatusCode::SERVICE_UNAVAILABLE
    } else if told.counts.failed > 0 {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    let mut reply = json(code, told);
    if told.again {
        retry(&mut reply, SOON);
    }
    reply
}

/// For those who ask whether they would be let in.
pub(crate) fn welcome() -> Response<Body> {
    #[derive(Serialize)]
    struct Welcome {
        status: &'static str,
    }
    json(StatusCode::OK, &Welcome { status: "ok" })
}

fn retry(reply: &mut Response<Body>, after: Duration) {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    reply
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
}

fn failure(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    let error = FailureText { reason, message };
    let mut reply = json(code, &Failure { error });
    if code == StatusCode::UNAUTHORIZED {
        let basic = HeaderValue::from_static("Basic realm=\"recsys\"");
        reply.headers_mut().insert(WWW_AUTHENTICATE, basic);
    }
    reply
}

fn json(code: StatusCode, value: &impl Serialize) -> Response<Body> {
    // Only texts and numbers: that cannot fail.
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut reply = Response::new(Body::new(http_body_util::Full::from(text)));
    *reply.status_mut() = code;
    let of_json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, of_json);
    reply
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::RETRY_AFTER;
    use tonic::Status;

    use super::of_status;
    use crate::api::error::ApiError;

    #[test]
    fn a_refusal_says_over_http_whether_to_come_again() {
        for (error, code, after) in [
            (ApiError::unauthenticated(), 401, None),
            (ApiError::permission_denied("ROLE_MISSING", "x"), 403, None),
            (ApiError::overloaded(), 503, Some("1")),
            (
                ApiError::over_quota(Some(Duration::from_millis(2_001))),
                429,
                Some("3"),
            ),
            (ApiError::over_quota(None), 413, None),
            (
                ApiError::deadline_exceeded(Duration::from_secs(1)),
                503,
                Some("1"),
            ),
            (ApiError::bug(), 500, None),
        ] {
            let reply = of_status(&Status::from(error));
            assert_eq!(reply.status().as_u16(), code);
            let told = reply.headers().get(RETRY_AFTER);
            assert_eq!(told.map(|value| value.to_str().unwrap()), after, "{code}");
        }
    }
}
