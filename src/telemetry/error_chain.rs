//! An error with its causes, in one line.

use std::error::Error;

/// An error's text and those of its causes, each after a colon. A text that an earlier
/// one contains is left out.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    append_causes(error.to_string(), error)
}

/// The causes alone, each after a colon.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    append_causes(String::new(), error)
}

fn append_causes(mut text: String, error: &dyn Error) -> String {
    let mut next = error.source();
    while let Some(cause) = next {
        // The text of a gRPC status repeats its causes.
        let of_cause = match cause.downcast_ref::<tonic::Status>() {
            Some(status) => format!("{:?}: {}", status.code(), status.message()),
            None => cause.to_string(),
        };
        if !text.contains(&of_cause) {
            text = format!("{text}: {of_cause}");
        }
        next = cause.source();
    }
    text
}
