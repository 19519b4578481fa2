//! The grammar of AIP-160, without bare words, functions and adjacent terms:
//!
//! ```text
//! expression = factor {"AND" factor}
//! factor     = term {"OR" term}
//! term       = ["NOT" | "-"] (comparison | "(" expression ")")
//! comparison = path ("=" | "!=" | "<" | "<=" | ">" | ">=") literal | path ":" (literal | "*")
//! path       = segment {"." segment}
//! segment    = letter or "_" {letter | digit | "_" | "-"} | text
//! literal    = text | number | "true" | "false" | RFC 3339 time
//! text       = '"' ... '"' | "'" ... "'", with \ before quotes and \
//! ```

use winnow::{
    ModalResult, Parser as _,
    ascii::multispace0,
    combinator::{alt, fail, opt, preceded, terminated},
    error::{ContextError, StrContext, StrContextValue},
    token::{any, one_of, take_while},
};

use super::{
    error::{FilterError, MAX_COMPARISONS, MAX_DEPTH},
    expression::{Comparison, Expression, Field, Literal, Relation, Test},
};
use crate::domain::{
    tags::{Canonicalizer, canonical_facet},
    time::Timestamp,
};

/// Fields of an item that no comparison takes.
const OTHER_FIELDS: [&str; 6] = [
    "text",
    "location",
    "locations",
    "image_url",
    "public_url",
    "vector",
];

/// Parses a filter.
pub(super) fn parse(text: &str, canonical: &Canonicalizer) -> Result<Expression, FilterError> {
    let mut grammar = Grammar {
        canonical,
        comparisons: 0,
    };
    let mut whole = |input: &mut &str| {
        let expression = grammar.expression(input, 0)?;
        multispace0.parse_next(input)?;
        if input.is_empty() {
            Ok(expression)
        } else {
            expected(input, "AND, OR or the end")
        }
    };
    whole.parse(text).map_err(|error| FilterError {
        column: text[..error.offset()].chars().count() + 1,
        expected: error
            .inner()
            .context()
            .find_map(|context| {
                if let StrContext::Expected(what) = context {
                    Some(what.to_string())
                } else {
                    None
                }
            })
            .unwrap_or_else(|| "a comparison".to_owned()),
    })
}

/// Fails at the current position.
fn expected<T>(input: &mut &str, what: &'static str) -> ModalResult<T> {
    let context = StrContext::Expected(StrContextValue::Description(what));
    let result: ModalResult<T> = fail.context(context).parse_next(input);
    result.map_err(winnow::error::ErrMode::cut)
}

/// The comparison that follows a path.
#[derive(Clone, Copy)]
enum Comparator {
    Equal,
    NotEqual,
    Has,
    Order(Relation),
}

struct Grammar<'a> {
    canonical: &'a Canonicalizer,
    comparisons: usize,
}

impl Grammar<'_> {
    fn expression(&mut self, input: &mut &str, depth: usize) -> ModalResult<Expression> {
        let mut parts = vec![self.factor(input, depth)?];
        while keyword(input, "AND")? {
            parts.push(self.factor(input, depth)?);
        }
        Ok(joined(parts, Expression::All))
    }

    fn factor(&mut self, input: &mut &str, depth: usize) -> ModalResult<Expression> {
        let mut parts = vec![self.term(input, depth)?];
        while keyword(input, "OR")? {
            parts.push(self.term(input, depth)?);
        }
        Ok(joined(parts, Expression::Any))
    }

    fn term(&mut self, input: &mut &str, depth: usize) -> ModalResult<Expression> {
        multispace0.parse_next(input)?;
        if depth > MAX_DEPTH {
            return expected(input, "at most 20 levels of parentheses and NOT");
        }
        if keyword(input, "NOT")? || symbol(input, "-")? {
            let part = self.term(input, depth + 1)?;
            return Ok(Expression::Not(Box::new(part)));
        }
        if symbol(input, "(")? {
            let inner = self.expression(input, depth + 1)?;
            return if symbol(input, ")")? {
                Ok(inner)
            } else {
                expected(input, "AND, OR or )")
            };
        }
        self.comparison(input).map(Expression::Comparison)
    }

    fn comparison(&mut self, input: &mut &str) -> ModalResult<Comparison> {
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            return expected(input, "at most 100 comparisons");
        }
        let field = field(input)?;
        let Some(comparator) = comparator(input)? else {
            return expected(input, "one of = != < <= > >= :");
        };
        multispace0.parse_next(input)?;
        if matches!(comparator, Comparator::Has) && symbol(input, "*")? {
            let test = Test::Present;
            return Ok(Comparison { field, test });
        }
        let start = *input;
        let literal = literal(input)?;
        let end = std::mem::replace(input, start);
        // A type error is reported at the literal.
        let literal = self.typed(&field, literal, input)?;
        let test = match comparator {
            Comparator::Equal | Comparator::Has => Test::Equal(literal),
            Comparator::NotEqual => Test::NotEqual(literal),
            Comparator::Order(relation) => ordered(relation, literal, input)?,
        };
        *input = end;
        Ok(Comparison { field, test })
    }

    /// A literal as the field's type, which must fit.
    fn typed(&self, field: &Field, literal: Literal, input: &mut &str) -> ModalResult<Literal> {
        match (field, literal) {
            (Field::Tags(facet), Literal::Text(label)) => {
                // A label without canonical form is on no item.
                if self.canonical.label(&label).is_empty() {
                    return expected(input, "a label with a letter, a digit or a symbol");
                }
                let key = self.canonical.key(&format!("{facet}:{label}"));
                Ok(Literal::Tag(key))
            }
            (Field::Id | Field::ContentType | Field::Title, literal @ Literal::Text(_))
            | (Field::WordCount | Field::Years, literal @ Literal::Number(_))
            | (Field::HasImage, literal @ Literal::Bool(_))
            | (Field::Attribute(_), literal) => Ok(literal),
            (Field::Id | Field::ContentType | Field::Title | Field::Tags(_), _) => {
                expected(input, "a text in quotes: this field holds texts")
            }
            (Field::WordCount | Field::Years, _) => {
                expected(input, "a number: this field holds numbers")
            }
            (Field::HasImage, _) => expected(input, "true or false"),
        }
    }
}

fn ordered(relation: Relation, literal: Literal, input: &mut &str) -> ModalResult<Test> {
    match literal {
        Literal::Number(bound) => Ok(Test::Number(relation, bound)),
        Literal::Time(bound) => Ok(Test::Time(relation, bound)),
        Literal::Text(text) => match Timestamp::parse_iso8601(&text) {
            Some(bound) => Ok(Test::Time(relation, bound)),
            None => expected(input, "a number or a time: texts have no order here"),
        },
        Literal::Bool(_) | Literal::Tag(_) => expected(input, "a number or a time"),
    }
}

/// A single part as it is, or several joined.
fn joined(
    mut parts: Vec<Expression>,
    join: impl FnOnce(Vec<Expression>) -> Expression,
) -> Expression {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            join(parts)
        }
    }
}

fn field(input: &mut &str) -> ModalResult<Field> {
    let start = *input;
    let mut path = vec![segment(input)?];
    while opt(".").parse_next(input)?.is_some() {
        path.push(segment(input)?);
    }
    let nested = path.len() > 1;
    let field = match path[0].as_str() {
        "tags" if nested => Field::Tags(canonical_facet(&path[1..].join("."))),
        "id" if !nested => Field::Id,
        "content_type" if !nested => Field::ContentType,
        "title" if !nested => Field::Title,
        "word_count" if !nested => Field::WordCount,
        "has_image" if !nested => Field::HasImage,
        "years" if !nested => Field::Years,
        "tags" => {
            *input = start;
            return expected(input, "a facet, as in tags.theme");
        }
        name if OTHER_FIELDS.contains(&name) => {
            *input = start;
            return expected(
                input,
                "id, content_type, title, word_count, has_image, years, tags.FACET or an attribute",
            );
        }
        _ => Field::Attribute(path),
    };
    Ok(field)
}

fn segment(input: &mut &str) -> ModalResult<String> {
    if let Some(quoted) = text(input)? {
        return Ok(quoted);
    }
    let start = *input;
    let is_first = |c: char| c.is_alphabetic() || c == '_';
    let is_rest = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let mut name = (one_of(is_first), take_while(0.., is_rest)).take();
    let name: ModalResult<&str> = name.parse_next(input);
    match name {
        Ok("AND" | "OR" | "NOT") | Err(_) => {
            *input = start;
            expected(input, "the name of a field")
        }
        Ok(name) => Ok(name.to_owned()),
    }
}

fn comparator(input: &mut &str) -> ModalResult<Option<Comparator>> {
    multispace0.parse_next(input)?;
    // Longer ones first.
    opt(alt((
        "<=".value(Comparator::Order(Relation::LessOrEqual)),
        ">=".value(Comparator::Order(Relation::GreaterOrEqual)),
        "!=".value(Comparator::NotEqual),
        "<".value(Comparator::Order(Relation::Less)),
        ">".value(Comparator::Order(Relation::Greater)),
        "=".value(Comparator::Equal),
        ":".value(Comparator::Has),
    )))
    .parse_next(input)
}

fn literal(input: &mut &str) -> ModalResult<Literal> {
    const EXPECTED: &str = "a text in quotes, a number, true, false or an RFC 3339 time";
    if let Some(text) = text(input)? {
        return Ok(Literal::Text(text));
    }
    let start = *input;
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | ':' | '_');
    let word: &str = take_while(0.., is_part).parse_next(input)?;
    let literal = match word {
        "true" => Some(Literal::Bool(true)),
        "false" => Some(Literal::Bool(false)),
        word => number(word)
            .map(Literal::Number)
            .or_else(|| Timestamp::parse_iso8601(word).map(Literal::Time)),
    };
    match literal {
        Some(literal) => Ok(literal),
        None => {
            *input = start;
            expected(input, EXPECTED)
        }
    }
}

/// A finite decimal number. Words such as `inf` are none.
fn number(word: &str) -> Option<f64> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let number: f64 = word.parse().ok()?;
    (digits.starts_with(|c: char| c.is_ascii_digit()) && number.is_finite()).then_some(number)
}

/// A text in quotes, if one begins here.
fn text(input: &mut &str) -> ModalResult<Option<String>> {
    let quote: Option<char> = opt(one_of(['"', '\''])).parse_next(input)?;
    let Some(quote) = quote else {
        return Ok(None);
    };
    let mut text = String::new();
    loop {
        let next: ModalResult<char> = any.parse_next(input);
        match next {
            Ok(c) if c == quote => return Ok(Some(text)),
            Ok('\\') => {
                let escaped: ModalResult<char> = one_of(['"', '\'', '\\']).parse_next(input);
                match escaped {
                    Ok(c) => text.push(c),
                    Err(_) => return expected(input, "a quote or a backslash after \\"),
                }
            }
            Ok(c) => text.push(c),
            Err(_) => return expected(input, "a closing quote"),
        }
    }
}

/// Takes a symbol, after spaces, if it is next.
fn symbol(input: &mut &str, symbol: &'static str) -> ModalResult<bool> {
    let taken: Option<&str> = opt(preceded(multispace0, symbol)).parse_next(input)?;
    Ok(taken.is_some())
}

/// Takes a keyword, after spaces, if it is next and no name goes on after it.
fn keyword(input: &mut &str, word: &'static str) -> ModalResult<bool> {
    let ends = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '=' | '!'));
    let end = alt((winnow::combinator::eof.void(), one_of(ends).void()));
    let whole = terminated(word, winnow::combinator::peek(end));
    let taken: Option<&str> = opt(preceded(
        multispace0::<&str, winnow::error::ErrMode<ContextError>>,
        whole,
    ))
    .parse_next(input)?;
    Ok(taken.is_some())
}
