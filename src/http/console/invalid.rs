//! Errors of requests of the views.

use crate::api::error::{ApiError, Violation};

/// A field of a request breaks a rule.
pub(super) fn invalid(field: &str, rule: &str) -> ApiError {
    let violation = Violation {
        field: field.to_owned(),
        rule: rule.to_owned(),
    };
    ApiError::invalid(vec![violation], 1)
}
