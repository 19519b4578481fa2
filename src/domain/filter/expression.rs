//! Filters as trees.

use crate::domain::{tags::TagKey, time::Timestamp};

/// A filter, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// All parts hold. There are at least two.
    All(Vec<Self>),
    /// At least one part holds. There are at least two.
    Any(Vec<Self>),
    /// The part does not hold.
    Not(Box<Self>),
    /// One comparison.
    Comparison(Comparison),
}

impl Expression {
    /// The fields that it reads, in order; a field can repeat.
    #[must_use]
    pub fn fields(&self) -> Vec<&Field> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::fields).collect(),
            Self::Not(part) => part.fields(),
            Self::Comparison(comparison) => vec![&comparison.field],
        }
    }
}

/// A test of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The field.
    pub field: Field,
    /// The test of its values.
    pub test: Test,
}

/// A field of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The item's id. Every item has one.
    Id,
    /// Its type. An empty one is missing.
    ContentType,
    /// Its title. An empty one is missing.
    Title,
    /// Its length in words. Every item has one; it can be 0.
    WordCount,
    /// Whether it has a picture. Every item has this.
    HasImage,
    /// Years of its creation.
    Years,
    /// Its tags in a facet in canonical form, as `facet:label` keys.
    Tags(String),
    /// A stored attribute: the keys of nested objects, outermost first.
    Attribute(Vec<String>),
}

/// A test of a field's values. A test of a missing field fails.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// The field is present.
    Present,
    /// A value equals the literal.
    Equal(Literal),
    /// The field is present, and no value equals the literal.
    NotEqual(Literal),
    /// A value has this relation to a number.
    Number(Relation, f64),
    /// A value is a time with this relation to a time.
    Time(Relation, Timestamp),
}

/// An order relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Relation {
    /// Whether `value` has this relation to `bound`.
    pub(super) fn holds<T: PartialOrd>(self, value: &T, bound: &T) -> bool {
        match self {
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
            Self::Greater => value > bound,
            Self::GreaterOrEqual => value >= bound,
        }
    }
}

/// A value in a filter. Values of different types are never equal.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A text.
    Text(String),
    /// A finite number.
    Number(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A time.
    Time(Timestamp),
    /// A tag, for [`Field::Tags`].
    Tag(TagKey),
}
