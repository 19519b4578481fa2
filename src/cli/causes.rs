//! What is behind an error, for people.

use std::error::Error;

/// The texts of an error's causes, each after a colon, but for what has been said.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut told = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        next = cause.source();
    }
    told
}
