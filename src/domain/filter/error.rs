//! What a filter may be, and the error if it is not.

/// Longest filter, in bytes.
pub const MAX_BYTES: usize = 4 << 10;
/// Most comparisons of a filter.
pub const MAX_COMPARISONS: usize = 100;
/// Deepest nesting of parentheses and negations.
pub const MAX_DEPTH: usize = 20;

/// Where a filter is wrong, and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: expected {expected}")]
pub struct FilterError {
    /// Position in characters, from 1.
    pub column: usize,
    /// What is allowed there.
    pub expected: String,
}
