//! What a client is told when a call fails: a gRPC code with rich details for
//! the whole call, or the same as [`proto::ErrorDetail`] for one element of a
//! batch.
//!
//! Texts of internal causes stay here: the log has them, once.

use std::{error::Error, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tracing::{error, warn};

use crate::{
    engine::{Dependency, EngineError},
    ports::{ItemRefusal, StoreErrorKind},
    proto,
};

/// The domain of every ErrorInfo.
const DOMAIN: &str = "recsys.v1";
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A rule that a field breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) field: String,
    pub(super) rule: String,
}

/// A failure as clients see it.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
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
    pub(super) fn invalid(violations: Vec<Violation>) -> Self {
        let listed: Vec<String> = violations
            .iter()
            .map(|violation| format!("{} {}", violation.field, violation.rule))
            .collect();
        Self {
            violations,
            ..Self::new(Code::InvalidArgument, "INVALID_FIELD", listed.join("; "))
        }
    }

    /// A bug. The cause goes to the log.
    pub(super) fn internal(cause: &(dyn Error + 'static)) -> Self {
        error!(error = cause, "internal error");
        Self::new(Code::Internal, "INTERNAL", "internal error")
    }

    fn retryable(code: Code, reason: &'static str, message: &str) -> Self {
        Self {
            retry_after: Some(RETRY_AFTER),
            ..Self::new(code, reason, message)
        }
    }

    /// For one element of a batch.
    pub(super) fn into_detail(self) -> proto::ErrorDetail {
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
        Self::with_error_details(error.code, error.message, details)
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let EngineError::Store { dependency, source } = &error else {
            return Self::internal(&error);
        };
        let kind = source.kind();
        if kind != StoreErrorKind::Corrupt {
            warn!(error = &error as &dyn Error, "store failed");
        }
        match (kind, dependency) {
            (StoreErrorKind::Unavailable, Dependency::UserState) => Self::retryable(
                Code::Unavailable,
                "USER_STATE_UNAVAILABLE",
                "the store of user state does not answer",
            ),
            (StoreErrorKind::Unavailable, Dependency::Catalogue) => Self::retryable(
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
            (StoreErrorKind::Corrupt, Dependency::UserState | Dependency::Catalogue) => {
                Self::internal(&error)
            }
        }
    }
}

impl ApiError {
    /// Why an item was not stored; `field` is its path in the request.
    pub(super) fn refused_item(refusal: &ItemRefusal, field: &str) -> Self {
        match refusal {
            ItemRefusal::VectorSize { expected, given } => Self::invalid(vec![Violation {
                field: format!("{field}.vector"),
                rule: format!("has {given} numbers, the catalogue's vectors have {expected}"),
            }]),
            ItemRefusal::Full => Self::retryable(
                Code::ResourceExhausted,
                "CATALOG_FULL",
                "the catalogue is full",
            ),
        }
    }
}
