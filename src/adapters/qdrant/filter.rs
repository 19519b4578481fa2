//! The filter language as conditions of Qdrant. They match exactly the points whose
//! items meet the filter, as long as the payload was written by this program.

use qdrant_client::qdrant::{
    Condition, DatetimeRange, Filter, PointId, Range, r#match::MatchValue,
};

use super::{
    collection::Collection,
    ids::PointKey,
    payload::{
        CONTENT_ID, CONTENT_TYPE, HAS_IMAGE, TAG_FACETS, TAG_LABELS, TITLE, WORD_COUNTS, YEARS,
        fields::is_item_field,
    },
};
use crate::{
    domain::{
        filter::{Comparison, Expression, Field, ItemFilter, Literal, Relation, Test},
        ids::ContentId,
        time::Timestamp,
    },
    ports::{StoreError, StoreErrorKind},
};

/// The condition that a point's item meets the filter.
///
/// # Errors
/// [`StoreErrorKind::Unprepared`] if it reads a field that only our import writes, and the
/// collection has no index of it: then points may lack the field.
pub(super) fn condition(
    filter: &ItemFilter,
    collection: &Collection,
) -> Result<Condition, StoreError> {
    of_expression(filter.expression(), collection)
}

fn of_expression(
    expression: &Expression,
    collection: &Collection,
) -> Result<Condition, StoreError> {
    let parts = |parts: &[Expression]| {
        let parts = parts.iter().map(|part| of_expression(part, collection));
        parts.collect::<Result<Vec<_>, _>>()
    };
    Ok(match expression {
        Expression::All(all) => Filter::must(parts(all)?).into(),
        Expression::Any(any) => Filter::should(parts(any)?).into(),
        Expression::Not(part) => not(of_expression(part, collection)?),
        Expression::Comparison(comparison) => of_comparison(comparison, collection)?,
    })
}

fn of_comparison(
    comparison: &Comparison,
    collection: &Collection,
) -> Result<Condition, StoreError> {
    let test = &comparison.test;
    Ok(match &comparison.field {
        Field::Id => of_id(test),
        Field::ContentType => of_text(CONTENT_TYPE, test),
        Field::Title => of_text(TITLE, test),
        Field::WordCount => of_word_count(test),
        Field::HasImage => {
            needs(collection, HAS_IMAGE, "has_image")?;
            of_has_image(test)
        }
        Field::Years => {
            needs(collection, YEARS, "years")?;
            of_values(YEARS, test)
        }
        Field::Tags(facet) => of_tags(facet, test, collection)?,
        Field::Attribute(path) => match path.first() {
            // No attribute has the name of a field of the item itself.
            Some(first) if !is_item_field(first) => of_values(&attribute_path(path)?, test),
            Some(_) | None => never(),
        },
    })
}

/// Values of any type, and the elements of lists.
fn of_values(key: &str, test: &Test) -> Condition {
    match test {
        Test::Present => present(key),
        Test::Equal(literal) => equal(key, literal),
        Test::NotEqual(literal) => all([present(key), not(equal(key, literal))]),
        Test::Number(relation, bound) => Condition::range(key, number_range(*relation, *bound)),
        Test::Time(relation, bound) => {
            Condition::datetime_range(key, time_range(*relation, *bound))
        }
    }
}

/// A text, which is missing if it is empty.
fn of_text(key: &str, test: &Test) -> Condition {
    let is_empty = || keyword(key, "");
    match test {
        Test::Present => all([present(key), not(is_empty())]),
        Test::NotEqual(literal) => all([present(key), not(is_empty()), not(equal(key, literal))]),
        Test::Equal(Literal::Text(text)) if text.is_empty() => never(),
        Test::Equal(_) | Test::Number(..) | Test::Time(..) => of_values(key, test),
    }
}

fn of_id(test: &Test) -> Condition {
    let is = |literal: &Literal| match literal {
        Literal::Text(id) => {
            let id = ContentId::from(id.as_str());
            let point = Condition::has_id([PointId::from(PointKey::of(&id))]);
            let named = || keyword(CONTENT_ID, id.as_str());
            // The payload's id wins.
            any([all([point, not(present(CONTENT_ID))]), named()])
        }
        Literal::Number(_) | Literal::Bool(_) | Literal::Time(_) | Literal::Tag(_) => never(),
    };
    match test {
        Test::Present => always(),
        Test::Equal(literal) => is(literal),
        Test::NotEqual(literal) => not(is(literal)),
        Test::Number(..) | Test::Time(..) => never(),
    }
}

/// A number that is 0 if it is missing.
fn of_word_count(test: &Test) -> Condition {
    let [first, second] = WORD_COUNTS;
    let missing = |key| not(present(key));
    let in_range = |range: Range, has_zero: bool| {
        let zero = if has_zero {
            all([missing(first), missing(second)])
        } else {
            never()
        };
        let of_first = Condition::range(first, range);
        any([
            of_first,
            all([missing(first), Condition::range(second, range)]),
            zero,
        ])
    };
    let is = |literal: &Literal| match literal {
        Literal::Number(number) => in_range(exactly(*number), *number == 0.0),
        Literal::Text(_) | Literal::Bool(_) | Literal::Time(_) | Literal::Tag(_) => never(),
    };
    match test {
        Test::Present => always(),
        Test::Equal(literal) => is(literal),
        Test::NotEqual(literal) => not(is(literal)),
        Test::Number(relation, bound) => {
            let has_zero = match relation {
                Relation::Less => 0.0 < *bound,
                Relation::LessOrEqual => 0.0 <= *bound,
                Relation::Greater => 0.0 > *bound,
                Relation::GreaterOrEqual => 0.0 >= *bound,
            };
            in_range(number_range(*relation, *bound), has_zero)
        }
        Test::Time(..) => never(),
    }
}

fn of_has_image(test: &Test) -> Condition {
    let is = |literal: &Literal| match literal {
        Literal::Bool(true) => Condition::matches(HAS_IMAGE, true),
        Literal::Bool(false) => not(Condition::matches(HAS_IMAGE, true)),
        Literal::Text(_) | Literal::Number(_) | Literal::Time(_) | Literal::Tag(_) => never(),
    };
    match test {
        Test::Present => always(),
        Test::Equal(literal) => is(literal),
        Test::NotEqual(literal) => not(is(literal)),
        Test::Number(..) | Test::Time(..) => never(),
    }
}

fn of_tags(facet: &str, test: &Test, collection: &Collection) -> Result<Condition, StoreError> {
    let is = |literal: &Literal| match literal {
        Literal::Tag(tag) => keyword(TAG_LABELS, tag.as_str()),
        Literal::Text(_) | Literal::Number(_) | Literal::Bool(_) | Literal::Time(_) => never(),
    };
    let has_facet = || {
        needs(collection, TAG_FACETS, &format!("tags.{facet}:*"))?;
        Ok(keyword(TAG_FACETS, facet))
    };
    Ok(match test {
        Test::Present => has_facet()?,
        Test::Equal(literal) => is(literal),
        Test::NotEqual(literal) => all([has_facet()?, not(is(literal))]),
        Test::Number(..) | Test::Time(..) => never(),
    })
}

/// Requires the index of a field that our import writes to each point.
fn needs(collection: &Collection, key: &str, field: &str) -> Result<(), StoreError> {
    if collection.has_index(key) {
        return Ok(());
    }
    let message = format!(
        "where: {field} needs payload fields that recsys catalog import writes, and the \
         collection has no index of {key}: import the catalogue again with recsys catalog \
         import FILE"
    );
    Err(StoreError::new(StoreErrorKind::Unprepared, message))
}

fn equal(key: &str, literal: &Literal) -> Condition {
    match literal {
        Literal::Text(text) => keyword(key, text),
        Literal::Number(number) => Condition::range(key, exactly(*number)),
        Literal::Bool(flag) => Condition::matches(key, *flag),
        Literal::Time(time) => Condition::datetime_range(
            key,
            DatetimeRange {
                gte: Some(timestamp(*time)),
                lte: Some(timestamp(*time)),
                ..DatetimeRange::default()
            },
        ),
        Literal::Tag(_) => never(),
    }
}

fn exactly(number: f64) -> Range {
    Range {
        gte: Some(number),
        lte: Some(number),
        ..Range::default()
    }
}

fn number_range(relation: Relation, bound: f64) -> Range {
    let bound = Some(bound);
    let none = Range::default();
    match relation {
        Relation::Less => Range { lt: bound, ..none },
        Relation::LessOrEqual => Range { lte: bound, ..none },
        Relation::Greater => Range { gt: bound, ..none },
        Relation::GreaterOrEqual => Range { gte: bound, ..none },
    }
}

fn time_range(relation: Relation, bound: Timestamp) -> DatetimeRange {
    let bound = Some(timestamp(bound));
    let none = DatetimeRange::default();
    match relation {
        Relation::Less => DatetimeRange { lt: bound, ..none },
        Relation::LessOrEqual => DatetimeRange { lte: bound, ..none },
        Relation::Greater => DatetimeRange { gt: bound, ..none },
        Relation::GreaterOrEqual => DatetimeRange { gte: bound, ..none },
    }
}

fn timestamp(time: Timestamp) -> qdrant_client::qdrant::Timestamp {
    let micros = time.as_micros();
    qdrant_client::qdrant::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        // Below 10^9.
        nanos: i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or_default(),
    }
}

/// The path of nested keys. Keys of other characters are quoted. `None` if Qdrant has no
/// spelling of a key.
pub(super) fn json_path(path: &[String]) -> Option<String> {
    let is_plain = |key: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !key.is_empty() && key.chars().all(plain)
    };
    let mut joined = String::new();
    for key in path {
        if !joined.is_empty() {
            joined.push('.');
        }
        if is_plain(key) {
            joined.push_str(key);
        } else if key.contains(['"', '\\']) {
            return None;
        } else {
            joined.push('"');
            joined.push_str(key);
            joined.push('"');
        }
    }
    Some(joined)
}

fn attribute_path(path: &[String]) -> Result<String, StoreError> {
    json_path(path).ok_or_else(|| {
        let message = format!(
            "where: Qdrant cannot search by the attribute {:?}",
            path.join(".")
        );
        StoreError::new(StoreErrorKind::Unprepared, message)
    })
}

fn keyword(key: &str, text: &str) -> Condition {
    Condition::matches(key, MatchValue::Keyword(text.to_owned()))
}

/// The field holds something else than null and an empty list.
fn present(key: &str) -> Condition {
    not(Condition::is_empty(key))
}

fn not(condition: Condition) -> Condition {
    Filter::must_not([condition]).into()
}

fn all<const N: usize>(conditions: [Condition; N]) -> Condition {
    Filter::must(conditions).into()
}

fn any<const N: usize>(conditions: [Condition; N]) -> Condition {
    Filter::should(conditions).into()
}

/// Meets no point.
fn never() -> Condition {
    Condition::has_id(std::iter::empty::<PointId>())
}

fn always() -> Condition {
    not(never())
}
