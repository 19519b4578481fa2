//! What a client is told when a call fails: a gRPC code with rich details for
//! the whole call, or the same as [`proto::ErrorDetail`] for one element of a
//! batch.
//!
//! Texts of internal causes stay here: the log has them, once.

use std::{
    error::Error,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::error;

use crate::{
    engine::{Dependency, EngineError},
    ports::{ItemRefusal, StoreErrorKind},
    proto,
};

/// The domain of every ErrorInfo.
const DOMAIN: &str = "recsys.v1";
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The wait, in milliseconds, that gRPC clients with a retry policy keep to.
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// Instead of a wait: such a client does not try again.
const NEVER_AGAIN: &str = "-1";
/// Waits of clients that were refused for too many calls: from so many
/// milliseconds, over so many more.
const LEAST_RETRY_MS: u64 = 250;
const SPREAD_OVER_MS: u64 = 500;
/// The golden ratio's share of 2^32: multiples of it lie evenly.
const SPREAD_STEP: u32 = 0x9E37_79B9;
/// Broken rules that are told. Details travel in headers, and some clients
/// take no more than 8 KiB of those.
const MAX_VIOLATIONS: usize = 16;
/// Broken rules that the message lists.
const MAX_IN_MESSAGE: usize = 6;
/// Bytes of a field's path that are told: it can hold a name that came from
/// the client.
const MAX_FIELD_BYTES: usize = 120;

/// A rule that a field breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) field: String,
    pub(crate) rule: String,
}

/// A failure as clients see it.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    code: Code,
    reason: &'static str,
    message: String,
    violations: Vec<Violation>,
    retry_after: Option<Duration>,
}

impl ApiError {
    fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            violations: Vec::new(),
            retry_after: None,
        }
    }

    /// Bad input: all rules that it breaks.
    pub(crate) fn invalid(mut violations: Vec<Violation>) -> Self {
        let all = violations.len();
        violations.truncate(MAX_VIOLATIONS);
        for violation in &mut violations {
            cut(&mut violation.field, MAX_FIELD_BYTES);
        }
        let mut listed: Vec<String> = violations
            .iter()
            .take(MAX_IN_MESSAGE)
            .map(|violation| format!("{} {}", violation.field, violation.rule))
            .collect();
        if all > MAX_IN_MESSAGE {
            listed.push(format!("and {} more", all - MAX_IN_MESSAGE));
        }
        Self {
            violations,
            ..Self::new(Code::InvalidArgument, "INVALID_FIELD", listed.join("; "))
        }
    }

    /// A call took longer than it may.
    pub(crate) fn deadline_exceeded(budget: Duration) -> Self {
        let told = format!("not done within {budget:?}");
        Self::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", told)
    }

    /// There is more to do than the process can bear.
    pub(crate) fn overloaded() -> Self {
        Self {
            retry_after: Some(spread()),
            ..Self::new(
                Code::ResourceExhausted,
                "OVERLOADED",
                "too many calls at once",
            )
        }
    }

    /// The connection of a stream is to end.
    pub(crate) fn connection_ends() -> Self {
        let told = "this connection ends: connect anew, and send again what was not answered";
        Self {
            retry_after: Some(Duration::ZERO),
            ..Self::new(Code::Unavailable, "CONNECTION_ENDS", told)
        }
    }

    /// One element of a batch was not done in the call's time.
    fn not_in_time() -> Self {
        let told = "not done within the call's deadline; it may be done all the same";
        Self::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", told)
    }

    /// The caller has no key, or none that is known.
    pub(crate) fn unauthenticated() -> Self {
        Self::new(
            Code::Unauthenticated,
            "KEY_UNKNOWN",
            "give a key that this server knows, in authorization: Bearer or x-api-key",
        )
    }

    /// The caller's key does not allow it.
    pub(crate) fn permission_denied(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, reason, message)
    }

    /// The caller's key has used up its quota for so long; `None`: the call asks
    /// for more than the key may ever have at once.
    pub(crate) fn over_quota(wait: Option<Duration>) -> Self {
        let message = match wait {
            Some(_) => "this key's quota is used up for now",
            None => "more events than this key may send at once: send smaller batches",
        };
        Self {
            retry_after: wait,
            ..Self::new(Code::ResourceExhausted, "QUOTA_EXCEEDED", message)
        }
    }

    /// A bug. The cause goes to the log.
    pub(crate) fn internal(cause: &(dyn Error + 'static)) -> Self {
        error!(error = cause, "internal error");
        Self::bug()
    }

    /// A bug whose cause is in the log already.
    pub(crate) fn bug() -> Self {
        Self::new(Code::Internal, "INTERNAL", "internal error")
    }

    fn retryable(code: Code, reason: &'static str, message: &str) -> Self {
        Self {
            retry_after: Some(RETRY_AFTER),
            ..Self::new(code, reason, message)
        }
    }

    /// For one element of a batch.
    pub(crate) fn into_detail(self) -> proto::ErrorDetail {
        proto::ErrorDetail {
            code: self.code as i32,
            reason: self.reason.to_owned(),
            message: self.message,
            field: self
                .violations
                .first()
                .map(|violation| violation.field.clone())
                .unwrap_or_default(),
            violations: self
                .violations
                .into_iter()
                .map(|violation| proto::FieldViolation {
                    field: violation.field,
                    description: violation.rule,
                })
                .collect(),
        }
    }
}

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
        let overloaded = error.code == Code::ResourceExhausted;
        let mut status = Self::with_error_details(error.code, error.message, details);
        let wait = match error.retry_after {
            Some(after) => after.as_millis().to_string(),
            None => NEVER_AGAIN.to_owned(),
        };
        if overloaded && let Ok(value) = wait.parse() {
            status.metadata_mut().insert(PUSHBACK, value);
        }
        status
    }
}

/// When to try again, differently each time: clients that were refused together
/// do not come back together.
fn spread() -> Duration {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let step = (u64::from(turn.wrapping_mul(SPREAD_STEP)) * SPREAD_OVER_MS) >> 32;
    Duration::from_millis(LEAST_RETRY_MS + step)
}

/// Cuts a text to at most so many bytes, at a character.
fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
}

/// The cause is in the log already: the engine writes it where it happens.
impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let (dependency, source) = match &error {
            EngineError::Store { dependency, source } => (dependency, source),
            EngineError::TimedOut => return Self::not_in_time(),
            EngineError::Panicked => return Self::bug(),
        };
        match (source.kind(), dependency) {
            // What is wrong with the settings is for operators to know.
            (
                StoreErrorKind::Unavailable | StoreErrorKind::Misconfigured,
                Dependency::UserState,
            ) => Self::retryable(
                Code::Unavailable,
                "USER_STATE_UNAVAILABLE",
                "the store of user state does not answer",
            ),
            (
                StoreErrorKind::Unavailable | StoreErrorKind::Misconfigured,
                Dependency::Catalogue,
            ) => Self::retryable(
                Code::Unavailable,
                "CATALOG_UNAVAILABLE",
                "the catalogue does not answer",
            ),
            (StoreErrorKind::Full, Dependency::UserState) => Self::retryable(
                Code::ResourceExhausted,
                "USER_STATE_FULL",
                "the store of user state is full",
            ),
            (StoreErrorKind::Full, Dependency::Catalogue) => Self::retryable(
                Code::ResourceExhausted,
                "CATALOG_FULL",
                "the catalogue is full",
            ),
            (StoreErrorKind::Unprepared, Dependency::UserState | Dependency::Catalogue) => {
                Self::new(Code::FailedPrecondition, "NOT_SET_UP", source.to_string())
            }
            (StoreErrorKind::Corrupt, Dependency::UserState | Dependency::Catalogue) => Self::bug(),
        }
    }
}

impl ApiError {
    /// Why an item was not stored; `field` is its path in the request.
    pub(crate) fn refused_item(refusal: &ItemRefusal, field: &str) -> Self {
        match refusal {
            ItemRefusal::VectorSize {
                catalogue,
                expected,
                given,
            } => {
                let broken = Violation {
                    field: format!("{field}.vector"),
                    rule: format!("has {given} numbers, those of {catalogue} have {expected}"),
                };
                let told = format!("{} {}", broken.field, broken.rule);
                Self {
                    violations: vec![broken],
                    ..Self::new(Code::FailedPrecondition, "WRONG_VECTOR_SIZE", told)
                }
            }
            ItemRefusal::Full => Self::retryable(
                Code::ResourceExhausted,
                "CATALOG_FULL",
                "the catalogue is full",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::{Code, Status};

    use super::{ApiError, MAX_VIOLATIONS, PUSHBACK, Violation};

    #[test]
    fn clients_with_a_retry_policy_are_told_when_and_whether_to_try_again() {
        let pushback = |error: ApiError| {
            let status = Status::from(error);
            let told = status.metadata().get(PUSHBACK)?;
            Some(told.to_str().unwrap().to_owned())
        };
        let wait = Duration::from_millis(1500);
        assert_eq!(
            pushback(ApiError::over_quota(Some(wait))).as_deref(),
            Some("1500")
        );
        // However long it waits, it asks for more than there can be.
        assert_eq!(pushback(ApiError::over_quota(None)).as_deref(), Some("-1"));
        assert_eq!(pushback(ApiError::unauthenticated()), None);
    }

    #[test]
    fn a_flood_of_broken_rules_fits_into_the_headers_of_any_client() {
        let violations = (0..10_000)
            .map(|index| Violation {
                field: format!("event.survey_answers.{}[{index}]", "é".repeat(10_000)),
                rule: "must be a finite number".to_owned(),
            })
            .collect();
        let error = ApiError::invalid(violations);
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
