//! Filters: what a point must be like.

use qdrant_client::qdrant::{
    Condition, FieldCondition, Filter, GeoPoint, Match, PayloadSchemaType, Range, ValuesCount,
    condition::ConditionOneOf, r#match::MatchValue,
};
use serde_json::Value as Json;
use tonic::Status;

use super::{
    index::Places,
    payload::{Path, Payload},
    store::{Collection, Id, Point, unsupported},
    vectors::NamedVectors,
};

/// What conditions look at: a point, or an element of a nested array of it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The point's place in the order of ids.
    pub place: usize,
    pub payload: &'a Payload,
    pub vectors: &'a NamedVectors,
}

impl<'a> Subject<'a> {
    pub fn new(place: usize, point: &'a Point) -> Self {
        Self {
            place,
            payload: &point.payload,
            vectors: &point.vectors,
        }
    }
}

pub type Test = Box<dyn Fn(Subject<'_>) -> bool>;
type ValueTest = Box<dyn Fn(&Json) -> bool>;

/// Reads a whole filter before any point is looked at, so that what cannot be
/// done is refused even where no point would come to it.
pub fn compile(filter: &Filter, collection: &Collection) -> Result<Test, Status> {
    Compiler {
        collection,
        nested: false,
    }
    .filter(filter)
}

/// The places that the indexes of a filter's conditions leave: those of the narrowest
/// one of `must`, or else of `min_should`; `None` if there is no index.
pub fn narrowed(filter: &Filter, collection: &Collection) -> Result<Option<Places>, Status> {
    let compiler = Compiler {
        collection,
        nested: false,
    };
    let mut narrowest: Option<Places> = None;
    for condition in &filter.must {
        if let Some(places) = compiler.indexed(condition)?
            && narrowest
                .as_ref()
                .is_none_or(|other| places.len() < other.len())
        {
            narrowest = Some(places);
        }
    }
    if let Some(min) = filter.min_should.as_ref().filter(|min| min.min_count > 0) {
        let each = min.conditions.iter().map(|one| compiler.indexed(one));
        let each: Option<Vec<Places>> = each.collect::<Result<_, Status>>()?;
        narrowest = narrowest.or(each.map(|each| Places::in_so_many(&each, min.min_count)));
    }
    Ok(narrowest)
}

pub fn compile_condition(condition: &Condition, collection: &Collection) -> Result<Test, Status> {
    Compiler {
        collection,
        nested: false,
    }
    .condition(condition)
}

struct Compiler<'a> {
    collection: &'a Collection,
    nested: bool,
}

impl Compiler<'_> {
    fn filter(&self, filter: &Filter) -> Result<Test, Status> {
        let all = |conditions: &[Condition]| -> Result<Vec<Test>, Status> {
            conditions.iter().map(|one| self.condition(one)).collect()
        };
        let must = all(&filter.must)?;
        let must_not = all(&filter.must_not)?;
        let should = all(&filter.should)?;
        let (at_least, some) = match &filter.min_should {
            Some(min) => (min.min_count as usize, all(&min.conditions)?),
            None => (0, Vec::new()),
        };
        Ok(Box::new(move |subject| {
            must.iter().all(|test| test(subject))
                && !must_not.iter().any(|test| test(subject))
                && (should.is_empty() || should.iter().any(|test| test(subject)))
                && some.iter().filter(|test| test(subject)).count() >= at_least
        }))
    }

    /// The places that meet a condition, if an index tells them.
    fn indexed(&self, condition: &Condition) -> Result<Option<Places>, Status> {
        let points = &self.collection.points;
        match &condition.condition_one_of {
            _ if self.nested => Ok(None),
            Some(ConditionOneOf::HasId(has_id)) => {
                let mut places = Places::default();
                for id in Id::read_all(has_id.has_id.clone())? {
                    points
                        .place(&id)
                        .into_iter()
                        .for_each(|place| places.insert(place));
                }
                Ok(Some(places))
            }
            Some(ConditionOneOf::Field(field)) => Ok(self
                .keywords(field)
                .map(|keywords| points.with_any(&field.key, keywords))),
            _ => Ok(None),
        }
    }

    /// What a condition looks for, if it looks for keywords alone and its field has
    /// an index of them.
    fn keywords<'f>(&self, field: &'f FieldCondition) -> Option<&'f [String]> {
        let index = self.collection.indexes.get(&field.key)?;
        let rest = FieldCondition {
            key: String::new(),
            r#match: None,
            ..field.clone()
        };
        if index.data_type() != PayloadSchemaType::Keyword || rest != FieldCondition::default() {
            return None;
        }
        let wanted = field.r#match.as_ref()?.match_value.as_ref()?;
        if let MatchValue::Keyword(text) = wanted {
            return Some(std::slice::from_ref(text));
        }
        if let MatchValue::Keywords(any) = wanted {
            return Some(&any.strings);
        }
        None
    }

    fn condition(&self, condition: &Condition) -> Result<Test, Status> {
        if let Some(places) = self.indexed(condition)? {
            return Ok(Box::new(move |subject| places.contains(subject.place)));
        }
        match &condition.condition_one_of {
            None => Err(Status::invalid_argument("Malformed Condition type")),
            Some(ConditionOneOf::Field(field)) => self.field(field),
            Some(ConditionOneOf::Filter(filter)) => self.filter(filter),
            Some(ConditionOneOf::IsEmpty(is_empty)) => {
                let path = Path::parse(&is_empty.key)?;
                Ok(Box::new(move |subject| {
                    path.values(subject.payload).into_iter().all(is_empty_value)
                }))
            }
            Some(ConditionOneOf::IsNull(is_null)) => {
                let path = Path::parse(&is_null.key)?;
                Ok(Box::new(move |subject| {
                    path.values(subject.payload).into_iter().any(Json::is_null)
                }))
            }
            Some(ConditionOneOf::HasVector(_)) if self.nested => {
                Err(unsupported("conditions on the point inside of nested ones"))
            }
            // Those of points themselves have an index.
            Some(ConditionOneOf::HasId(_)) => {
                Err(unsupported("conditions on the point inside of nested ones"))
            }
            Some(ConditionOneOf::HasVector(has_vector)) => {
                let name = has_vector.has_vector.clone();
                Ok(Box::new(move |subject| subject.vectors.contains_key(&name)))
            }
            Some(ConditionOneOf::Nested(nested)) => {
                let path = Path::parse(&nested.key)?.of_elements();
                let inner = Compiler {
                    nested: true,
                    ..*self
                };
                let test = inner.filter(nested.filter.as_ref().unwrap_or(&Filter::default()))?;
                Ok(Box::new(move |subject| {
                    let elements = path.values(subject.payload);
                    elements
                        .into_iter()
                        .filter_map(Json::as_object)
                        .any(|payload| test(Subject { payload, ..subject }))
                }))
            }
            Some(ConditionOneOf::Slice(_)) => Err(unsupported("slice conditions")),
        }
    }

    fn field(&self, field: &FieldCondition) -> Result<Test, Status> {
        let path = Path::parse(&field.key)?;
        let mut tests: Vec<(ValueTest, bool)> = Vec::new();
        if let Some(wanted) = &field.r#match {
            tests.push((of_any_element(self.matching(&field.key, wanted)?), false));
        }
        if let Some(range) = field.range {
            let test =
                Box::new(move |value: &Json| value.as_f64().is_some_and(|x| within(range, x)));
            tests.push((of_any_element(test), false));
        }
        if let Some(circle) = field.geo_radius {
            let center = circle.center.unwrap_or_default();
            let test = move |value: &Json| {
                point(value).is_some_and(|at| haversine(center, at) < f64::from(circle.radius))
            };
            tests.push((of_any_element(Box::new(test)), false));
        }
        if let Some(bounds) = field.geo_bounding_box {
            let (top_left, bottom_right) = (
                bounds.top_left.unwrap_or_default(),
                bounds.bottom_right.unwrap_or_default(),
            );
            let test = move |value: &Json| {
                point(value).is_some_and(|at| inside(top_left, bottom_right, at))
            };
            tests.push((of_any_element(Box::new(test)), false));
        }
        if let Some(count) = field.values_count {
            let test = move |value: &Json| counts(count, number_of_values(value));
            tests.push((Box::new(test), false));
        }
        if let Some(wanted) = field.is_empty {
            let test = move |value: &Json| is_empty_value(value) == wanted;
            tests.push((Box::new(test), wanted));
        }
        if let Some(wanted) = field.is_null {
            // The elements of an array count here, unlike with `IsNull`.
            let test = move |value: &Json| match value.as_array() {
                Some(values) => values.iter().any(Json::is_null) == wanted,
                None => value.is_null() == wanted,
            };
            tests.push((Box::new(test), !wanted));
        }
        if field.geo_polygon.is_some() {
            return Err(unsupported("geo_polygon conditions"));
        }
        if field.datetime_range.is_some() {
            return Err(unsupported("datetime_range conditions"));
        }
        let mut tests = tests.into_iter();
        match (tests.next(), tests.next()) {
            (Some((test, if_missing)), None) => Ok(Box::new(move |subject| {
                let values = path.values(subject.payload);
                if values.is_empty() {
                    return if_missing;
                }
                values.into_iter().any(&test)
            })),
            (None, _) => Err(Status::invalid_argument(
                "At least one field condition must be specified",
            )),
            (Some(_), Some(_)) => Err(unsupported("several kinds of test in one field condition")),
        }
    }

    fn matching(&self, key: &str, wanted: &Match) -> Result<ValueTest, Status> {
        let Some(wanted) = wanted.match_value.clone() else {
            return Err(Status::invalid_argument("Malformed Match condition"));
        };
        Ok(match wanted {
            MatchValue::Keyword(text) => Box::new(move |value| value.as_str() == Some(&text)),
            MatchValue::Integer(number) => Box::new(move |value| value.as_i64() == Some(number)),
            MatchValue::Boolean(is) => Box::new(move |value| value.as_bool() == Some(is)),
            MatchValue::Keywords(any) => Box::new(move |value| {
                let text = value.as_str();
                text.is_some_and(|text| any.strings.iter().any(|one| one == text))
            }),
            MatchValue::Integers(any) => Box::new(move |value| {
                let number = value.as_i64();
                number.is_some_and(|number| any.integers.contains(&number))
            }),
            MatchValue::ExceptKeywords(except) => Box::new(move |value| {
                let excepted = |text: &str| except.strings.iter().any(|one| one == text);
                !value.is_null() && !value.as_str().is_some_and(excepted)
            }),
            MatchValue::ExceptIntegers(except) => Box::new(move |value| {
                let excepted = |number: i64| except.integers.contains(&number);
                !value.is_null() && !value.as_i64().is_some_and(excepted)
            }),
            MatchValue::Text(text) => {
                let index = self.collection.indexes.get(key);
                if index.is_some_and(|index| index.data_type() == PayloadSchemaType::Text) {
                    return Err(unsupported("match text with a full-text index"));
                }
                Box::new(move |value| value.as_str().is_some_and(|stored| stored.contains(&text)))
            }
            MatchValue::Phrase(_) => return Err(unsupported("match phrase")),
            MatchValue::TextAny(_) => return Err(unsupported("match text_any")),
            MatchValue::Prefix(_) => return Err(unsupported("match prefix")),
            MatchValue::Substring(_) => return Err(unsupported("match substring")),
        })
    }
}

fn of_any_element(test: ValueTest) -> ValueTest {
    Box::new(move |value| match value.as_array() {
        Some(values) => values.iter().any(&test),
        None => test(value),
    })
}

fn is_empty_value(value: &Json) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

fn number_of_values(value: &Json) -> u64 {
    match value {
        Json::Null => 0,
        Json::Array(values) => values.len() as u64,
        Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => 1,
    }
}

fn within(range: Range, x: f64) -> bool {
    range.lt.is_none_or(|bound| x < bound)
        && range.gt.is_none_or(|bound| x > bound)
        && range.lte.is_none_or(|bound| x <= bound)
        && range.gte.is_none_or(|bound| x >= bound)
}

fn counts(range: ValuesCount, n: u64) -> bool {
    range.lt.is_none_or(|bound| n < bound)
        && range.gt.is_none_or(|bound| n > bound)
        && range.lte.is_none_or(|bound| n <= bound)
        && range.gte.is_none_or(|bound| n >= bound)
}

fn inside(top_left: GeoPoint, bottom_right: GeoPoint, at: GeoPoint) -> bool {
    let across = if top_left.lon > bottom_right.lon {
        at.lon > top_left.lon || at.lon < bottom_right.lon
    } else {
        top_left.lon < at.lon && at.lon < bottom_right.lon
    };
    across && bottom_right.lat < at.lat && at.lat < top_left.lat
}

/// A place in a payload: an object with `lat` and `lon`.
pub fn point(value: &Json) -> Option<GeoPoint> {
    Some(GeoPoint {
        lon: value.get("lon")?.as_f64()?,
        lat: value.get("lat")?.as_f64()?,
    })
}

/// Metres along the surface of a sphere with the earth's mean radius.
pub fn haversine(a: GeoPoint, b: GeoPoint) -> f64 {
    const RADIUS: f64 = 6_371_008.8;
    let (lat_a, lat_b) = (a.lat.to_radians(), b.lat.to_radians());
    let lat = (lat_b - lat_a) / 2.0;
    let lon = (b.lon - a.lon).to_radians() / 2.0;
    let h = lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * lon.sin().powi(2);
    2.0 * RADIUS * h.sqrt().asin()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(lat: f64, lon: f64) -> GeoPoint {
        GeoPoint { lon, lat }
    }

    #[test]
    fn the_distance_of_two_places_is_that_of_the_haversine_formula() {
        let near = haversine(
            at(25.717_877_179_663_667, -100.433_832_001_567_51),
            at(25.628_482_424_190_565, -100.238_818_559_76),
        );
        // Qdrant's own tests have 21926.49.
        assert!((near - 21_926.49).abs() < 0.1, "{near}");
        let quarter = haversine(at(0.0, 0.0), at(90.0, 0.0));
        assert!((quarter - 10_007_557.22).abs() < 0.01, "{quarter}");
        assert_eq!(haversine(at(1.0, 2.0), at(1.0, 2.0)), 0.0);
    }

    #[test]
    fn an_array_matches_where_any_element_does() {
        let test = of_any_element(Box::new(|value| value.as_i64() == Some(2)));
        assert!(test(&json!([1, 2])));
        assert!(test(&json!(2)));
        assert!(!test(&json!([])));
        assert!(!test(&json!([[2]])), "an array in an array stays closed");
    }
}
