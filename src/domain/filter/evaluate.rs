//! Filters on items in memory.

use serde_json::Value;

use super::expression::{Comparison, Expression, Field, Literal, Test};
use crate::domain::{item::CatalogueItem, tags::canonical_facet, time::Timestamp};

/// Whether an item meets an expression.
pub(super) fn matches(expression: &Expression, item: &CatalogueItem) -> bool {
    match expression {
        Expression::All(parts) => parts.iter().all(|part| matches(part, item)),
        Expression::Any(parts) => parts.iter().any(|part| matches(part, item)),
        Expression::Not(part) => !matches(part, item),
        Expression::Comparison(comparison) => holds(comparison, item),
    }
}

/// One value of a field.
#[derive(Clone, Copy)]
enum FieldValue<'a> {
    Text(&'a str),
    Number(f64),
    Bool(bool),
    /// A tag as `facet:label`.
    Tag(&'a str),
    /// An object, or a null in a list: present, and equal to no literal.
    Other,
}

fn holds(comparison: &Comparison, item: &CatalogueItem) -> bool {
    let test = &comparison.test;
    match &comparison.field {
        Field::Id => passes(test, [FieldValue::Text(item.id().as_str())]),
        Field::ContentType => passes(test, text(item.content_type())),
        Field::Title => passes(test, text(item.title())),
        Field::WordCount => passes(test, [FieldValue::Number(item.word_count().into())]),
        Field::HasImage => passes(test, [FieldValue::Bool(item.has_image())]),
        Field::Years => {
            let years = item.years().iter();
            passes(test, years.map(|year| FieldValue::Number((*year).into())))
        }
        Field::Tags(facet) => {
            let keys = item.canonical_tags().map(|(key, _)| key.as_str());
            let of_facet = keys.filter(|key| has_facet(key, facet));
            passes(test, of_facet.map(FieldValue::Tag))
        }
        Field::Attribute(path) => match attribute(path, item) {
            None | Some(Value::Null) => false,
            Some(Value::Array(values)) => passes(test, values.iter().map(field_value)),
            Some(value) => passes(test, [field_value(value)]),
        },
    }
}

/// An empty text is a missing field.
fn text(text: &str) -> Option<FieldValue<'_>> {
    (!text.is_empty()).then_some(FieldValue::Text(text))
}

/// Whether a tag key is of a facet in canonical form.
fn has_facet(key: &str, facet: &str) -> bool {
    debug_assert_eq!(facet, canonical_facet(facet));
    key.strip_prefix(facet)
        .is_some_and(|rest| rest.starts_with(':'))
}

fn attribute<'a>(path: &[String], item: &'a CatalogueItem) -> Option<&'a Value> {
    let (first, nested) = path.split_first()?;
    nested
        .iter()
        .try_fold(item.attribute(first)?, |value, key| value.get(key))
}

fn field_value(value: &Value) -> FieldValue<'_> {
    match value {
        Value::String(text) => FieldValue::Text(text),
        Value::Number(number) => number
            .as_f64()
            .map_or(FieldValue::Other, FieldValue::Number),
        Value::Bool(flag) => FieldValue::Bool(*flag),
        Value::Null | Value::Array(_) | Value::Object(_) => FieldValue::Other,
    }
}

/// Whether the values of a field pass a test. A field without values is missing.
fn passes<'a>(test: &Test, values: impl IntoIterator<Item = FieldValue<'a>>) -> bool {
    let mut values = values.into_iter().peekable();
    if values.peek().is_none() {
        return false;
    }
    match test {
        Test::Present => true,
        Test::Equal(literal) => values.any(|value| equals(value, literal)),
        Test::NotEqual(literal) => !values.any(|value| equals(value, literal)),
        Test::Number(relation, bound) => values.any(|value| match value {
            FieldValue::Number(number) => relation.holds(&number, bound),
            FieldValue::Text(_) | FieldValue::Bool(_) | FieldValue::Tag(_) | FieldValue::Other => {
                false
            }
        }),
        Test::Time(relation, bound) => {
            values.any(|value| time(value).is_some_and(|time| relation.holds(&time, bound)))
        }
    }
}

fn equals(value: FieldValue<'_>, literal: &Literal) -> bool {
    match (value, literal) {
        (FieldValue::Text(text), Literal::Text(other)) => text == other,
        (FieldValue::Number(number), Literal::Number(other)) => number == *other,
        (FieldValue::Bool(flag), Literal::Bool(other)) => flag == *other,
        (FieldValue::Tag(key), Literal::Tag(other)) => key == other.as_str(),
        (value, Literal::Time(other)) => time(value) == Some(*other),
        _ => false,
    }
}

fn time(value: FieldValue<'_>) -> Option<Timestamp> {
    match value {
        FieldValue::Text(text) => Timestamp::parse_iso8601(text),
        FieldValue::Number(_) | FieldValue::Bool(_) | FieldValue::Tag(_) | FieldValue::Other => {
            None
        }
    }
}
