//! gRPC statuses of errors.

use http::{HeaderMap, Response};
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    api::error::ApiError,
    edge::refusal::{BoxError, Protocol, Refusal},
};

/// The domain of every ErrorInfo.
const DOMAIN: &str = "recsys.v1";
/// The retry delay in milliseconds, which gRPC clients with a retry policy obey.
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// A pushback that means: do not retry.
const NO_RETRY: &str = "-1";

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(error.reason, DOMAIN, [] as [(String, String); 0]);
        for violation in &error.violations {
            details.add_bad_request_violation(&violation.field, &violation.rule);
        }
        if let Some(after) = error.retry_after {
            details.set_retry_info(Some(after));
        }
        let mut status = Self::with_error_details(error.code, error.message, details);
        let pushback = match error.retry_after {
            Some(after) => after.as_millis().to_string(),
            None => NO_RETRY.to_owned(),
        };
        if error.code == Code::ResourceExhausted
            && let Ok(value) = pushback.parse()
        {
            status.metadata_mut().insert(PUSHBACK, value);
        }
        status
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        ApiError::from(refusal).into()
    }
}

/// Writes refusals as gRPC statuses.
pub(crate) struct Grpc;

impl Protocol for Grpc {
    fn reply(&self, refusal: Refusal) -> Response<Body> {
        Status::from(refusal).into_http()
    }

    fn body_error(&self, refusal: Refusal) -> BoxError {
        Status::from(refusal).into()
    }

    fn closing_trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        // Fails only for a message that is no header value.
        let _ = Status::unavailable("this connection ends: connect anew").add_header(&mut trailers);
        trailers
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::{Code, Status};

    use super::{Grpc, PUSHBACK};
    use crate::{
        api::error::{ApiError, MAX_VIOLATIONS, Violation},
        edge::refusal::{Protocol as _, Refusal},
    };

    #[test]
    fn clients_with_a_retry_policy_get_a_delay_or_are_told_not_to_retry() {
        let pushback = |refusal: Refusal| {
            let status = Status::from(refusal);
            let value = status.metadata().get(PUSHBACK)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let wait = Some(Duration::from_millis(1500));
        assert_eq!(
            pushback(Refusal::OverQuota { wait }).as_deref(),
            Some("1500")
        );
        // No delay helps: the batch is larger than the quota ever allows.
        let never = Refusal::OverQuota { wait: None };
        assert_eq!(pushback(never).as_deref(), Some("-1"));
        assert_eq!(pushback(Refusal::Unauthenticated), None);
    }

    #[test]
    fn a_refused_call_is_answered_with_a_status_in_the_headers() {
        let reply = Grpc.reply(Refusal::Internal);
        let status = Status::from_header_map(reply.headers()).unwrap();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Internal, "internal error")
        );
        let error = Grpc.body_error(Refusal::Unauthenticated);
        let status = error.downcast::<Status>().unwrap();
        assert_eq!(status.code(), Code::Unauthenticated);
        let trailers = Grpc.closing_trailers();
        assert_eq!(trailers["grpc-status"], "14");
    }

    #[test]
    fn many_violations_fit_into_the_headers_of_any_client() {
        let violations: Vec<Violation> = (0..10_000)
            .map(|index| Violation {
                field: format!("event.survey_answers.{}[{index}]", "é".repeat(10_000)),
                rule: "must be a finite number".to_owned(),
            })
            .collect();
        let error = ApiError::invalid(violations, 10_000);
        let detail = error.clone().into_detail();
        assert_eq!(detail.violations.len(), MAX_VIOLATIONS);
        let status = Status::from(error);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(
            status.message().ends_with("and 9994 more"),
            "{}",
            status.message()
        );
        // In headers the details are in base 64 and the message is escaped.
        let size = status.details().len() * 4 / 3 + 3 * status.message().len();
        assert!(size < 8 << 10, "{size} bytes of headers");
    }
}
