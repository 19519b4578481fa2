//! Errors as clients see them: a status code with a stable reason, the rules that
//! fields break, and a hint when to retry. They are written as a gRPC status
//! ([`crate::api::status`]), as [`proto::ErrorDetail`] for one element of a batch, and
//! by the webhook as JSON.
//!
//! Causes of internal errors are in the log, once, and never in an error.

use std::{
    error::Error,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tonic::Code;
use tracing::error;

use crate::{
    edge::refusal::Refusal,
    engine::{Dependency, EngineError},
    ports::{ItemRefusal, StoreErrorKind},
    proto,
};

const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Retry delays of calls that were shed, in milliseconds: at least this, plus up to
/// [`RETRY_JITTER_MS`].
const MIN_RETRY_MS: u64 = 250;
const RETRY_JITTER_MS: u64 = 500;
/// 2^32 divided by the golden ratio: its multiples modulo 2^32 are evenly
/// distributed.
const JITTER_STEP: u32 = 0x9E37_79B9;
/// Most violations in an error. Details travel in headers, and some clients accept
/// at most 8 KiB of those.
pub(crate) const MAX_VIOLATIONS: usize = 16;
/// Most violations in the message.
const MAX_IN_MESSAGE: usize = 6;
/// Longest path of a field in an error, in bytes: it can contain a name that the
/// client chose.
const MAX_FIELD_BYTES: usize = 120;

/// A rule that a field breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) field: String,
    pub(crate) rule: String,
}

/// An error as clients see it.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) code: Code,
    /// A stable name of the cause, in upper snake case.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) violations: Vec<Violation>,
    /// When a retry can succeed. `None`: not by waiting.
    pub(crate) retry_after: Option<Duration>,
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

    /// Bad input, with the first of the rules that it breaks, which are `all` together.
    pub(crate) fn invalid(mut violations: Vec<Violation>, all: usize) -> Self {
        violations.truncate(MAX_VIOLATIONS);
        for violation in &mut violations {
            truncate(&mut violation.field, MAX_FIELD_BYTES);
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

    /// A request that is not a message of its type.
    pub(crate) fn undecodable(cause: &str) -> Self {
        Self::new(Code::InvalidArgument, "INVALID_MESSAGE", cause)
    }

    /// A reply beyond a limit of its size.
    pub(crate) fn reply_too_large(max: usize, advice: &str) -> Self {
        let message = format!("the reply has more than {max} bytes: {advice}");
        Self::new(Code::ResourceExhausted, "REPLY_TOO_LARGE", message)
    }

    /// The connection of a stream is closing.
    pub(crate) fn connection_ends() -> Self {
        let message = "this connection ends: connect anew, and send again what was not answered";
        Self {
            retry_after: Some(Duration::ZERO),
            ..Self::new(Code::Unavailable, "CONNECTION_ENDS", message)
        }
    }

    /// An internal error. The cause goes to the log.
    pub(crate) fn internal(cause: &(dyn Error + 'static)) -> Self {
        error!(error = cause, "internal error");
        Self::bug()
    }

    /// An internal error whose cause is in the log already.
    fn bug() -> Self {
        Self::new(Code::Internal, "INTERNAL", "internal error")
    }

    fn retryable(code: Code, reason: &'static str, message: &str) -> Self {
        Self {
            retry_after: Some(RETRY_AFTER),
            ..Self::new(code, reason, message)
        }
    }

    fn denied(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Code::PermissionDenied, reason, message)
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

    /// Why an item was not stored; `field` is its path in the request.
    pub(crate) fn refused_item(refusal: &ItemRefusal, field: &str) -> Self {
        match refusal {
            ItemRefusal::VectorSize {
                catalogue,
                expected,
                given,
            } => {
                let violation = Violation {
                    field: format!("{field}.vector"),
                    rule: format!("has {given} numbers, those of {catalogue} have {expected}"),
                };
                let message = format!("{} {}", violation.field, violation.rule);
                Self {
                    violations: vec![violation],
                    ..Self::new(Code::FailedPrecondition, "WRONG_VECTOR_SIZE", message)
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

/// A retry delay for calls that were shed, different each time: clients that were
/// refused together must not retry together.
fn jittered_delay() -> Duration {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let jitter = (u64::from(number.wrapping_mul(JITTER_STEP)) * RETRY_JITTER_MS) >> 32;
    Duration::from_millis(MIN_RETRY_MS + jitter)
}

/// Shortens a text to at most `max` bytes, at a character boundary.
fn truncate(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unauthenticated => Self::new(
                Code::Unauthenticated,
                "KEY_UNKNOWN",
                "give a key that this server knows, in authorization: Bearer or x-api-key",
            ),
            Refusal::RoleMissing(roles) => {
                let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
                let names = names.join(" or ");
                let message = format!("this call needs a key with the role {names}");
                Self::denied("ROLE_MISSING", message)
            }
            Refusal::NoTenants => Self::denied(
                "TENANT_MISMATCH",
                "this server has no tenants: leave x-tenant-id out",
            ),
            Refusal::TenantMismatch => Self::denied(
                "TENANT_MISMATCH",
                "x-tenant-id names another tenant than the key's",
            ),
            Refusal::OverQuota { wait } => {
                let message = match wait {
                    Some(_) => "this key's quota is used up for now",
                    None => "more events than this key may send at once: send smaller batches",
                };
                Self {
                    retry_after: wait,
                    ..Self::new(Code::ResourceExhausted, "QUOTA_EXCEEDED", message)
                }
            }
            Refusal::Overloaded(_) => Self {
                retry_after: Some(jittered_delay()),
                ..Self::new(
                    Code::ResourceExhausted,
                    "OVERLOADED",
                    "too many calls at once",
                )
            },
            Refusal::TooMuchMemory { bytes, max } => {
                let message = format!(
                    "this call may take {bytes} bytes of memory, at most {max} are allowed: \
                     send fewer or smaller elements at once"
                );
                Self::new(Code::ResourceExhausted, "TOO_MUCH_MEMORY", message)
            }
            Refusal::DeadlineExceeded { budget } => {
                let message = format!("not done within {budget:?}");
                Self::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message)
            }
            Refusal::Internal => Self::bug(),
        }
    }
}

/// The engine has logged the cause already.
impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let (dependency, source) = match &error {
            EngineError::Store { dependency, source } => (dependency, source),
            EngineError::UnknownItem => {
                let message = "content_id: the catalogue has no such item";
                return Self::new(Code::NotFound, "ITEM_UNKNOWN", message);
            }
            EngineError::TimedOut => {
                let message = "not done within the call's deadline; it may be done all the same";
                return Self::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message);
            }
            EngineError::Panicked => return Self::bug(),
        };
        match (source.kind(), dependency) {
            // A misconfigured store is the operator's concern, not the client's.
            (
                StoreErrorKind::Unavailable
                | StoreErrorKind::Misconfigured
                | StoreErrorKind::Starting,
                Dependency::UserState,
            ) => Self::retryable(
                Code::Unavailable,
                "USER_STATE_UNAVAILABLE",
                "the store of user state does not answer",
            ),
            (
                StoreErrorKind::Unavailable
                | StoreErrorKind::Misconfigured
                | StoreErrorKind::Starting,
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
