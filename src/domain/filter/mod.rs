//! The `where` of a request: a filter on items in the language of AIP-160.
//!
//! [`ItemFilter::parse`] reads a text into an [`Expression`]; [`ItemFilter::matches`]
//! evaluates it on an item. Stores that search on their own translate the expression.

mod error;
mod evaluate;
mod expression;
mod parser;

#[cfg(test)]
mod tests;

pub use error::{FilterError, MAX_BYTES, MAX_COMPARISONS, MAX_DEPTH};
pub use expression::{Comparison, Expression, Field, Literal, Relation, Test};

use super::{item::CatalogueItem, tags::Canonicalizer};

/// A parsed filter on items.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemFilter(Expression);

impl ItemFilter {
    /// Parses a filter. Tag labels are converted to canonical form.
    ///
    /// # Errors
    /// [`FilterError`] if the text is too long, has too many comparisons, nests too
    /// deep, or is not of the language.
    pub fn parse(text: &str, canonical: &Canonicalizer) -> Result<Self, FilterError> {
        if text.len() > MAX_BYTES {
            return Err(FilterError {
                column: 1,
                expected: format!("at most {MAX_BYTES} bytes"),
            });
        }
        parser::parse(text, canonical).map(Self)
    }

    /// The parsed expression.
    #[must_use]
    pub fn expression(&self) -> &Expression {
        &self.0
    }

    /// The names of the stored attributes that the filter reads: of nested ones the
    /// outermost.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0.fields().into_iter().filter_map(|field| match field {
            Field::Attribute(path) => path.first().map(String::as_str),
            Field::Id
            | Field::ContentType
            | Field::Title
            | Field::WordCount
            | Field::HasImage
            | Field::Years
            | Field::Tags(_) => None,
        })
    }

    /// Whether an item meets the filter.
    #[must_use]
    pub fn matches(&self, item: &CatalogueItem) -> bool {
        evaluate::matches(&self.0, item)
    }
}
