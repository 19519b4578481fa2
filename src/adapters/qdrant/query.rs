//! Searches as Qdrant's queries. They ask for ids alone, a few more than
//! wanted: what Qdrant proposes is brought into exact order here, from the
//! items' contents.

use qdrant_client::qdrant::{
    Condition, DenseVector, Expression, Filter, Formula, GeoPoint as QdrantPoint, GeoRadius,
    MultExpression, PointId, PrefetchQuery, Query, QueryPoints, RepeatedStrings, Sample,
    SumExpression, VectorInput, WithPayloadSelector, WithVectorsSelector, expression,
    r#match::MatchValue, query, vector_input, with_payload_selector, with_vectors_selector,
};

use super::{
    collection::Collection,
    ids::PointKey,
    payload::{CONTENT_ID, CONTENT_TYPE, LOCATIONS, TAG_LABELS, TAG_VALUES},
};
use crate::{
    domain::{geo::GeoPoint, restriction::Restriction, tags::TagKey, vector::UnitVector},
    ports::{Search, SearchOrder},
};

/// More than wanted from a search by cosine, so that equals at the end of the
/// page are ordered among each other.
const MORE_BY_COSINE: usize = 8;
/// How many times as many as wanted from a search that Qdrant orders only
/// roughly, and how many at least.
const TIMES_BY_FORMULA: usize = 4;
const LEAST_BY_FORMULA: usize = 200;
/// By tags Qdrant scores what a few short looks find, each the first so many in the
/// order of ids: items with any of the tags, with each of the weightiest, and with so
/// many of so many weightiest. What has most in common with the user carries the
/// weightiest tag or several weighty ones, so a look finds it, unless more items than the
/// look takes share as much; then those found are nearly as good. In made-up catalogues
/// of 10,000 to 100,000 items the thirty best found had 92 to 99 % of the weight of the
/// thirty best there were; of a million with a few tags that many carry, 83 %. An item
/// may be missed if all that it shares is light.
///
/// Scoring costs Qdrant most, so looks are short. It estimates the result of a look for
/// so many of so many by each combination: of all twenty tags there are too many.
const BY_ANY_TAG: u64 = 200;
const BY_ONE_TAG: u64 = 300;
const WEIGHTIEST_TAGS: usize = 3;
/// How many of how many tags, and how many items.
const BY_SHARED_TAGS: [(u64, usize, u64); 3] = [(2, 5, 400), (3, 8, 400), (4, 8, 300)];
/// Radii of the rings by which places are ordered, in metres: each so many
/// times the one before, up to halfway round the Earth.
const FIRST_RING_M: f64 = 100.0;
const RING_GROWTH: f64 = 2.0;
const LAST_RING_M: f64 = 20_100_000.0;
/// No circle is asked for that is smaller: single precision would make it a
/// point.
const LEAST_RADIUS_M: f64 = 1.0;
/// Qdrant's Earth may be a little larger or smaller than ours: what is within
/// is checked again here.
const RADIUS_ALLOWANCE: f64 = 1.005;

/// The payload fields that a search filters or ranks by, which need an index.
pub(super) fn fields(search: &Search<'_>) -> Vec<&'static str> {
    let restriction = search.restriction;
    let tagged = !restriction.must.is_empty() || !restriction.must_not.is_empty();
    let by_tags = matches!(search.order, SearchOrder::TagOverlap(_));
    let by_place = matches!(search.order, SearchOrder::ClosestTo(_));
    [
        (tagged || by_tags, TAG_LABELS),
        (restriction.label.is_some(), TAG_VALUES),
        (!restriction.content_types.is_empty(), CONTENT_TYPE),
        (restriction.within.is_some() || by_place, LOCATIONS),
    ]
    .into_iter()
    .filter_map(|(needed, field)| needed.then_some(field))
    .collect()
}

/// How many ids a search needs so that its first `wanted` can be told: at
/// least, and better.
pub(super) fn needed(search: &Search<'_>, wanted: usize) -> (usize, usize) {
    match &search.order {
        SearchOrder::NearestTo(_) | SearchOrder::FarthestFrom(_) => {
            (wanted, wanted + MORE_BY_COSINE)
        }
        SearchOrder::TagOverlap(_) | SearchOrder::ClosestTo(_) => {
            let times = wanted * TIMES_BY_FORMULA;
            (times, times.max(LEAST_BY_FORMULA))
        }
        SearchOrder::Sample { .. } => (wanted, wanted),
    }
}

/// The query for the first `wanted` of a search; `None` if nothing can be
/// found, as no vector of the collection has the size of the one asked for.
pub(super) fn query(
    collection_name: &str,
    collection: &Collection,
    search: &Search<'_>,
    wanted: usize,
) -> Option<QueryPoints> {
    let (_, limit) = needed(search, wanted);
    let limit = limit as u64;
    // Of a query with prefetches, the filter holds for these.
    let base = QueryPoints {
        collection_name: collection_name.to_owned(),
        filter: Some(filter(search, collection)),
        with_payload: Some(without_payload()),
        with_vectors: Some(without_vectors()),
        limit: Some(limit),
        ..QueryPoints::default()
    };
    let by_vector = |base: QueryPoints, values: Vec<f32>| {
        (collection.vector_size == Some(values.len())).then(|| QueryPoints {
            query: Some(nearest(values)),
            using: collection.vector_name.clone(),
            ..base
        })
    };
    match &search.order {
        SearchOrder::NearestTo(vector) => by_vector(base, vector.as_slice().to_vec()),
        SearchOrder::FarthestFrom(vector) => by_vector(base, opposite(vector)),
        SearchOrder::TagOverlap(weights) => Some(QueryPoints {
            prefetch: by_tags(weights, limit),
            query: Some(formula(weights.iter().map(|(tag, weight)| {
                let carries = is(TAG_LABELS, tag.as_str());
                (*weight, carries)
            }))),
            ..base
        }),
        SearchOrder::ClosestTo(point) => Some(QueryPoints {
            prefetch: rings(*point)
                .map(|ring| look(Filter::must([ring]), limit))
                .collect(),
            query: Some(formula(rings(*point).map(|ring| (1.0, ring)))),
            ..base
        }),
        SearchOrder::Sample { .. } => Some(QueryPoints {
            query: Some(Query {
                variant: Some(query::Variant::Sample(Sample::Random.into())),
            }),
            ..base
        }),
    }
}

/// What may be found at all.
pub(super) fn filter(search: &Search<'_>, collection: &Collection) -> Filter {
    let Restriction {
        label,
        must,
        must_not,
        content_types,
        within,
    } = search.restriction;
    let keys = |tags: &[TagKey]| -> Vec<String> {
        tags.iter().map(|tag| tag.as_str().to_owned()).collect()
    };
    let mut wanted: Vec<Condition> = keys(must)
        .into_iter()
        .map(|key| is(TAG_LABELS, &key))
        .collect();
    wanted.extend(label.iter().map(|label| is(TAG_VALUES, label)));
    if !content_types.is_empty() {
        wanted.push(is_any(CONTENT_TYPE, content_types.clone()));
    }
    wanted.extend(within.map(|circle| ring(circle.center, circle.radius_m * RADIUS_ALLOWANCE)));
    let mut unwanted = Vec::new();
    if !must_not.is_empty() {
        unwanted.push(is_any(TAG_LABELS, keys(must_not)));
    }
    if !search.exclude.is_empty() {
        let ids = search
            .exclude
            .iter()
            .map(|id| PointId::from(PointKey::of(id)));
        unwanted.push(Condition::has_id(ids));
    }
    let hidden = search.exclude.iter().filter(|id| PointKey::hides(id));
    let hidden: Vec<String> = hidden.map(ToString::to_string).collect();
    if !hidden.is_empty() && collection.has_index(CONTENT_ID) {
        // Other programs may have put them under keys of their own.
        unwanted.push(is_any(CONTENT_ID, hidden));
    }
    Filter {
        must: wanted,
        must_not: unwanted,
        ..Filter::default()
    }
}

/// The text as a whole: the client's own conversion would search a text that
/// holds a space for its words.
fn is(field: &str, text: &str) -> Condition {
    Condition::matches(field, MatchValue::Keyword(text.to_owned()))
}

pub(super) fn is_any(field: &str, strings: Vec<String>) -> Condition {
    Condition::matches(field, MatchValue::Keywords(RepeatedStrings { strings }))
}

/// The first items of a filter, in the order of ids.
fn look(filter: Filter, limit: u64) -> PrefetchQuery {
    PrefetchQuery {
        filter: Some(filter),
        limit: Some(limit),
        ..PrefetchQuery::default()
    }
}

/// `weights` come with the weightiest first. One look at least is as long as the page.
fn by_tags(weights: &[(TagKey, f64)], page: u64) -> Vec<PrefetchQuery> {
    let keys: Vec<String> = weights
        .iter()
        .map(|(tag, _)| tag.as_str().to_owned())
        .collect();
    let carries = |key: &String| is(TAG_LABELS, key);
    let one = keys.iter().take(WEIGHTIEST_TAGS);
    let one = one.map(|key| look(Filter::must([carries(key)]), BY_ONE_TAG));
    let several = BY_SHARED_TAGS
        .into_iter()
        .filter(|(least, ..)| *least <= keys.len() as u64)
        .map(|(least, of, limit)| {
            let tags = keys.iter().take(of).map(carries);
            look(Filter::min_should(least, tags), limit)
        });
    let mut looks: Vec<PrefetchQuery> = one.chain(several).collect();
    looks.push(look(
        Filter::must([is_any(TAG_LABELS, keys.clone())]),
        BY_ANY_TAG.max(page),
    ));
    looks
}

/// How many of the rings a place is in tells about how close it is: unlike the
/// distance of a formula, that holds for several places and for none.
fn rings(around: GeoPoint) -> impl Iterator<Item = Condition> {
    std::iter::successors(Some(FIRST_RING_M), |radius| Some(radius * RING_GROWTH))
        .map(move |radius| (radius.min(LAST_RING_M), radius < LAST_RING_M * RING_GROWTH))
        .take_while(|(_, more)| *more)
        .map(move |(radius, _)| ring(around, radius))
}

fn ring(around: GeoPoint, radius_m: f64) -> Condition {
    Condition::geo_radius(
        LOCATIONS,
        GeoRadius {
            center: Some(QdrantPoint {
                lat: around.latitude(),
                lon: around.longitude(),
            }),
            radius: radius_m.clamp(LEAST_RADIUS_M, LAST_RING_M) as f32,
        },
    )
}

/// The sum of the weights of those conditions that hold.
fn formula(terms: impl Iterator<Item = (f64, Condition)>) -> Query {
    let term = |(weight, condition): (f64, Condition)| {
        let weight = of(expression::Variant::Constant(weight as f32));
        let holds = of(expression::Variant::Condition(condition));
        of(expression::Variant::Mult(MultExpression {
            mult: vec![weight, holds],
        }))
    };
    Query {
        variant: Some(query::Variant::Formula(Formula {
            expression: Some(of(expression::Variant::Sum(SumExpression {
                sum: terms.map(term).collect(),
            }))),
            ..Formula::default()
        })),
    }
}

fn of(variant: expression::Variant) -> Expression {
    Expression {
        variant: Some(variant),
    }
}

fn nearest(values: Vec<f32>) -> Query {
    let dense = vector_input::Variant::Dense(DenseVector { data: values });
    Query {
        variant: Some(query::Variant::Nearest(VectorInput {
            variant: Some(dense),
        })),
    }
}

fn opposite(vector: &UnitVector) -> Vec<f32> {
    vector.as_slice().iter().map(|value| -value).collect()
}

pub(super) fn without_payload() -> WithPayloadSelector {
    with_payload_selector::SelectorOptions::Enable(false).into()
}

pub(super) fn without_vectors() -> WithVectorsSelector {
    with_vectors_selector::SelectorOptions::Enable(false).into()
}

#[cfg(test)]
mod tests {
    use qdrant_client::qdrant::condition::ConditionOneOf;

    use super::{GeoPoint, LAST_RING_M, RADIUS_ALLOWANCE, ring};

    #[test]
    fn a_circle_of_any_radius_is_one_in_single_precision() {
        let here = GeoPoint::new(1.5, 2.5).unwrap();
        for radius_m in [f64::MIN_POSITIVE, 1e-60, 150.0, 1e39, f64::MAX] {
            let condition = ring(here, radius_m * RADIUS_ALLOWANCE);
            let Some(ConditionOneOf::Field(field)) = condition.condition_one_of else {
                panic!("a condition on a field");
            };
            let radius = f64::from(field.geo_radius.unwrap().radius);
            assert!(radius > 0.0 && radius <= LAST_RING_M, "{radius} m");
            assert!(radius >= radius_m.min(LAST_RING_M), "{radius} m");
        }
    }
}
