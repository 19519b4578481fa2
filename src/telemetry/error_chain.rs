//! What is behind an error, in one line.

use std::error::Error;

/// An error's text and its causes', each after a colon, but for what has been said.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    followed(error.to_string(), error)
}

/// The causes alone, for after a text of one's own.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    followed(String::new(), error)
}

fn followed(mut told: String, error: &dyn Error) -> String {
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
