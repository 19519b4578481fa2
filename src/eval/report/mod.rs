//! Reports of a run: tables for the terminal, JSON for programs, an HTML page for
//! product owners.

mod html;
mod svg;
mod text;
mod words;

pub use html::html;
pub use text::text;

use super::summary::EvalReport;

/// A report as JSON, with a line break at its end.
///
/// # Errors
/// Never; the type is serde's.
pub fn json(report: &EvalReport) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(text)
}
