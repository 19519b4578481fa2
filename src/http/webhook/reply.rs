//! Replies to senders: JSON over HTTP.

use std::time::Duration;

use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use tonic::{Code, body::Body};

use crate::{
    api::error::ApiError,
    edge::refusal::{Protocol, Refusal},
    http::webhook::{elements::DeliveryError, error::WebhookError, report::ReportJson},
};

/// The retry delay where no other is known.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

/// Writes refusals as JSON over HTTP.
pub(crate) struct JsonHttp;

impl Protocol for JsonHttp {
    fn reply(&self, refusal: Refusal) -> Response<Body> {
        of_api_error(&refusal.into())
    }
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

/// The reply to a request that failed.
pub(crate) fn of_error(error: &WebhookError) -> Response<Body> {
    let (code, reason, message) = match error {
        WebhookError::Api(error) => return of_api_error(error),
        WebhookError::UnknownSecret => (
            StatusCode::UNAUTHORIZED,
            "SECRET_UNKNOWN",
            "give the secret in x-webhook-secret, or as the password of basic authentication"
                .to_owned(),
        ),
        WebhookError::NotFound => (
            StatusCode::NOT_FOUND,
            "NOT_FOUND",
            "deliveries go to /v1/webhooks/rudderstack".to_owned(),
        ),
        WebhookError::MethodNotAllowed(allowed) => (
            StatusCode::METHOD_NOT_ALLOWED,
            "METHOD_NOT_ALLOWED",
            format!("deliveries come by POST; allowed here: {allowed}"),
        ),
        WebhookError::NotJson => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "NOT_JSON",
            "content-type must be application/json".to_owned(),
        ),
        WebhookError::UnknownEncoding => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "ENCODING_UNKNOWN",
            "content-encoding must be gzip, or none".to_owned(),
        ),
        WebhookError::NotGzip => (
            StatusCode::BAD_REQUEST,
            "NOT_GZIP",
            "the body cannot be unpacked".to_owned(),
        ),
        WebhookError::TooLarge { max } => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "TOO_LARGE",
            format!("the body has more than {max} bytes, unpacked"),
        ),
        WebhookError::Unreadable(status) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "BODY_UNREADABLE",
            status.message().to_owned(),
        ),
        WebhookError::Delivery(error) => {
            let code = match error {
                DeliveryError::TooMany { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                DeliveryError::Batch
                | DeliveryError::Encoding
                | DeliveryError::Form
                | DeliveryError::Object(_)
                | DeliveryError::List => StatusCode::BAD_REQUEST,
            };
            (code, "NO_DELIVERY", error.to_string())
        }
    };
    let mut reply = failure(code, reason, &message);
    if let WebhookError::MethodNotAllowed(allowed) = error {
        reply
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(allowed));
    }
    reply
}

/// An error of the API, over HTTP.
fn of_api_error(error: &ApiError) -> Response<Body> {
    let (code, retry_after) = match error.code {
        Code::Unauthenticated => (StatusCode::UNAUTHORIZED, None),
        Code::PermissionDenied => (StatusCode::FORBIDDEN, None),
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, None),
        Code::ResourceExhausted if error.reason == "QUOTA_EXCEEDED" => match error.retry_after {
            Some(_) => (StatusCode::TOO_MANY_REQUESTS, error.retry_after),
            // No delay helps.
            None => (StatusCode::PAYLOAD_TOO_LARGE, None),
        },
        // No delay helps.
        Code::ResourceExhausted if error.reason == "TOO_MUCH_MEMORY" => {
            (StatusCode::PAYLOAD_TOO_LARGE, None)
        }
        Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded => {
            let after = error.retry_after.or(Some(DEFAULT_RETRY));
            (StatusCode::SERVICE_UNAVAILABLE, after)
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
    let mut reply = failure(code, error.reason, &error.message);
    if let Some(after) = retry_after {
        set_retry_after(&mut reply, after);
    }
    reply
}

/// The reply to a delivery. The sender should retry it if a store was unavailable for
/// some elements.
pub(crate) fn of_report(report: &ReportJson) -> Response<Body> {
    let code = if report.retry {
        StatusCode::SERVICE_UNAVAILABLE
    } else if report.counts.failed > 0 {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::OK
    };
    let mut reply = json(code, report);
    if report.retry {
        set_retry_after(&mut reply, DEFAULT_RETRY);
    }
    reply
}

/// The reply to GET and HEAD: a check of the credentials.
pub(crate) fn ok() -> Response<Body> {
    #[derive(Serialize)]
    struct Status {
        status: &'static str,
    }
    json(StatusCode::OK, &Status { status: "ok" })
}

fn set_retry_after(reply: &mut Response<Body>, after: Duration) {
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
    // Texts and numbers always serialize.
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

    use super::JsonHttp;
    use crate::{
        edge::{
            refusal::{Protocol as _, Refusal},
            tenants::Role,
        },
        telemetry::meters::Shed,
    };

    #[test]
    fn refusals_have_a_status_and_a_retry_delay_if_waiting_helps() {
        let over_quota = |wait| Refusal::OverQuota { wait };
        let budget = Duration::from_secs(1);
        for (refusal, code, after) in [
            (Refusal::Unauthenticated, 401, None),
            (Refusal::RoleMissing(&[Role::Ingest]), 403, None),
            (Refusal::NoTenants, 403, None),
            (Refusal::TenantMismatch, 403, None),
            (Refusal::Overloaded(Shed::Calls), 503, Some("1")),
            (
                over_quota(Some(Duration::from_millis(2_001))),
                429,
                Some("3"),
            ),
            (over_quota(None), 413, None),
            (Refusal::DeadlineExceeded { budget }, 503, Some("1")),
            (Refusal::Internal, 500, None),
        ] {
            let reply = JsonHttp.reply(refusal);
            assert_eq!(reply.status().as_u16(), code);
            let header = reply.headers().get(RETRY_AFTER);
            assert_eq!(header.map(|value| value.to_str().unwrap()), after, "{code}");
        }
    }
}
