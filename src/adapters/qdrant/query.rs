//! Searches as Qdrant queries. They return ids alone, a few more than needed: the
//! exact order comes from the items' contents afterwards.

use qdrant_client::qdrant::{
    Condition, DenseVector, Expression, Filter, Formula, GeoPoint as QdrantPoint, GeoRadius,
    MultExpression, PayloadIncludeSelector, PointId, PrefetchQuery, Query, QueryPoints,
    RepeatedStrings, Sample, SumExpression, VectorInput, WithPayloadSelector, WithVectorsSelector,
    expression, r#match::MatchValue, query, vector_input, with_payload_selector,
    with_vectors_selector,
};

use super::{
    collection::Collection,
    filter,
    ids::PointKey,
    payload::{CONTENT_ID, CONTENT_TYPE, LOCATIONS, TAG_LABELS, TAG_VALUES},
    tag_vector::{self, TAG_VECTOR, TagSearch},
};
use crate::{
    domain::{geo::GeoPoint, restriction::Restriction, tags::TagKey, vector::UnitVector},
    ports::{Search, SearchOrder, StoreError},
};

/// Extra results of a search by cosine, so that equal cosines at the end of the
/// page are ordered among each other.
const EXTRA_BY_COSINE: usize = 8;
/// Results of a search that Qdrant orders only roughly: this multiple of those
/// needed, and at least this minimum.
const FORMULA_FACTOR: usize = 4;
const MIN_BY_FORMULA: usize = 200;
/// Extra results of a search by the vector of tags: for equal overlaps at the end of the
/// page, and for tags that share a dimension.
const EXTRA_BY_TAG_VECTOR: usize = 70;
/// Excluded ids that a search by the vector of tags requests and drops afterwards; more
/// are excluded in the query. With any condition, Qdrant checks each point that shares a
/// tag, which takes longer than a page with that many more ids: for 10,000 points, 3.5 ms
/// of CPU time instead of 1.2 with 50 ids, 5.4 instead of 4.2 with 2,000.
const MAX_DROPPED: usize = 2_000;
/// By tags in the payload, Qdrant scores the results of a few prefetches, each limited to the first
/// in the order of ids: items with any of the tags, items with each of the weightiest
/// tags, and items with several of the weightiest. An item with much in common with the
/// user carries the weightiest tag or several weighty ones, so a prefetch finds it,
/// unless more items than its limit share as much; then those found are nearly as good.
/// In generated catalogues of 10,000 to 100,000 items the best 30 found had 92 to 99 % of
/// the weight of the best 30 of all; in one of a million items with a few frequent tags,
/// 83 %. An item that shares only light tags may be missed.
///
/// Scoring costs Qdrant most, so limits are low. It estimates the result size of a
/// `min_should` by each combination: all twenty tags have too many.
const BY_ANY_TAG: u64 = 200;
const BY_ONE_TAG: u64 = 300;
const WEIGHTIEST_TAGS: usize = 3;
/// `min_should` prefetches: how many of how many weightiest tags, and the limit.
const BY_SHARED_TAGS: [(u64, usize, u64); 3] = [(2, 5, 400), (3, 8, 400), (4, 8, 300)];
/// Radii of the circles by which distances are ordered, in metres: each a multiple of
/// the one before, up to half the Earth's circumference.
const FIRST_RADIUS_M: f64 = 100.0;
const RADIUS_GROWTH: f64 = 2.0;
const LAST_RADIUS_M: f64 = 20_100_000.0;
/// Smallest radius: in single precision a smaller one may become 0.
const MIN_RADIUS_M: f64 = 1.0;
/// Qdrant may take the Earth to be a little larger or smaller. Results are checked
/// exactly afterwards.
const RADIUS_ALLOWANCE: f64 = 1.005;

/// The payload fields that a search filters or ranks by, which need an index.
pub(super) fn fields(search: &Search<'_>, collection: &Collection) -> Vec<&'static str> {
    let restriction = search.restriction;
    let tagged = !restriction.must.is_empty()
        || !restriction.must_not.is_empty()
        || !restriction.any_of.is_empty();
    let by_tags = matches!(search.order, SearchOrder::TagOverlap(_))
        && !searches_tag_vector(search, collection);
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

/// Whether a search is by tags, and these by their vector.
pub(super) fn searches_tag_vector(search: &Search<'_>, collection: &Collection) -> bool {
    matches!(search.order, SearchOrder::TagOverlap(_))
        && matches!(collection.tag_search, TagSearch::Vector { .. })
}

/// Whether the excluded ids are dropped from the results instead of by the query.
pub(super) fn drops_excluded(search: &Search<'_>, collection: &Collection) -> bool {
    searches_tag_vector(search, collection)
        && search.restriction.is_open()
        && search.exclude.len() <= MAX_DROPPED
}

/// How many ids must be known to determine the first `limit` results of a search,
/// and how many to request.
pub(super) fn page_size(
    search: &Search<'_>,
    collection: &Collection,
    limit: usize,
) -> (usize, usize) {
    match &search.order {
        SearchOrder::NearestTo(_) | SearchOrder::FarthestFrom(_) => {
            (limit, limit + EXTRA_BY_COSINE)
        }
        SearchOrder::TagOverlap(_) if searches_tag_vector(search, collection) => {
            let dropped = match drops_excluded(search, collection) {
                true => search.exclude.len(),
                false => 0,
            };
            (limit, limit + EXTRA_BY_TAG_VECTOR + dropped)
        }
        SearchOrder::TagOverlap(_) | SearchOrder::ClosestTo(_) => {
            let needed = limit * FORMULA_FACTOR;
            (needed, needed.max(MIN_BY_FORMULA))
        }
        SearchOrder::ByIds(_) | SearchOrder::Sample { .. } => (limit, limit),
    }
}

/// The query for the first `limit` results of a search; `None` if it has none, as
/// the collection's vectors have another length than the search's, or no item can have
/// a tag of the search.
///
/// # Errors
/// As [`filter`].
pub(super) fn query(
    collection_name: &str,
    collection: &Collection,
    search: &Search<'_>,
    limit: usize,
) -> Result<Option<QueryPoints>, StoreError> {
    let (_, page) = page_size(search, collection, limit);
    let page = page as u64;
    // Qdrant applies the filter to the prefetches, too.
    let base = QueryPoints {
        collection_name: collection_name.to_owned(),
        // Qdrant searches a sparse vector another way if there is any filter.
        filter: Some(filter(search, collection)?).filter(|filter| *filter != Filter::default()),
        with_payload: Some(without_payload()),
        with_vectors: Some(without_vectors()),
        limit: Some(page),
        ..QueryPoints::default()
    };
    let by_vector = |base: QueryPoints, values: Vec<f32>| {
        (collection.vector_size == Some(values.len())).then(|| QueryPoints {
            query: Some(nearest(vector_input::Variant::Dense(DenseVector {
                data: values,
            }))),
            using: collection.vector_name.clone(),
            ..base
        })
    };
    Ok(match &search.order {
        SearchOrder::NearestTo(vector) => by_vector(base, vector.to_vec()),
        SearchOrder::FarthestFrom(vector) => by_vector(base, opposite(vector)),
        SearchOrder::TagOverlap(weights) if searches_tag_vector(search, collection) => {
            tag_vector::of_search(weights).map(|tags| QueryPoints {
                query: Some(nearest(vector_input::Variant::Sparse(tags))),
                using: Some(TAG_VECTOR.to_owned()),
                ..base
            })
        }
        SearchOrder::TagOverlap(weights) => Some(QueryPoints {
            prefetch: by_tags(weights, page),
            query: Some(formula(weights.iter().map(|(tag, weight)| {
                let carries = is(TAG_LABELS, tag.as_str());
                (*weight, carries)
            }))),
            ..base
        }),
        SearchOrder::ClosestTo(point) => Some(QueryPoints {
            prefetch: circles(*point)
                .map(|circle| prefetch(Filter::must([circle]), page))
                .collect(),
            query: Some(formula(circles(*point).map(|circle| (1.0, circle)))),
            ..base
        }),
        // Read by id, not searched.
        SearchOrder::ByIds(_) => None,
        SearchOrder::Sample { .. } => Some(QueryPoints {
            query: Some(Query {
                variant: Some(query::Variant::Sample(Sample::Random.into())),
            }),
            ..base
        }),
    })
}

/// The filter of a search: its restriction and, unless they are dropped from the
/// results, excluded ids.
///
/// # Errors
/// [`StoreErrorKind::Unprepared`](crate::ports::StoreErrorKind::Unprepared) if the collection
/// lacks what the restriction's filter needs.
pub(super) fn filter(search: &Search<'_>, collection: &Collection) -> Result<Filter, StoreError> {
    if drops_excluded(search, collection) {
        return Ok(Filter::default());
    }
    let Restriction {
        label,
        must,
        must_not,
        any_of,
        content_types,
        within,
        filter,
    } = search.restriction;
    let keys = |tags: &[TagKey]| -> Vec<String> {
        tags.iter().map(|tag| tag.as_str().to_owned()).collect()
    };
    let mut required: Vec<Condition> = keys(must)
        .into_iter()
        .map(|key| is(TAG_LABELS, &key))
        .collect();
    required.extend(label.iter().map(|label| is(TAG_VALUES, label)));
    if !content_types.is_empty() {
        required.push(is_any(CONTENT_TYPE, content_types.clone()));
    }
    required.extend(
        within.map(|circle| within_radius(circle.center, circle.radius_m * RADIUS_ALLOWANCE)),
    );
    if !any_of.is_empty() {
        required.push(is_any(TAG_LABELS, keys(any_of)));
    }
    if let Some(filter) = filter {
        required.push(filter::condition(filter, collection)?);
    }
    let mut excluded = Vec::new();
    if !must_not.is_empty() {
        excluded.push(is_any(TAG_LABELS, keys(must_not)));
    }
    if !search.exclude.is_empty() {
        let ids = search
            .exclude
            .iter()
            .map(|id| PointId::from(PointKey::of(id)));
        excluded.push(Condition::has_id(ids));
    }
    let hashed = search.exclude.iter().filter(|id| PointKey::is_hash_of(id));
    let hashed: Vec<String> = hashed.map(ToString::to_string).collect();
    if !hashed.is_empty() && collection.has_index(CONTENT_ID) {
        // Other programs may have chosen other keys for these items.
        excluded.push(is_any(CONTENT_ID, hashed));
    }
    Ok(Filter {
        must: required,
        must_not: excluded,
        ..Filter::default()
    })
}

/// Matches the whole text. The client's own conversion would match any word of a
/// text with spaces.
fn is(field: &str, text: &str) -> Condition {
    Condition::matches(field, MatchValue::Keyword(text.to_owned()))
}

pub(super) fn is_any(field: &str, strings: Vec<String>) -> Condition {
    Condition::matches(field, MatchValue::Keywords(RepeatedStrings { strings }))
}

/// The first items that a filter matches, in the order of ids.
fn prefetch(filter: Filter, limit: u64) -> PrefetchQuery {
    PrefetchQuery {
        filter: Some(filter),
        limit: Some(limit),
        ..PrefetchQuery::default()
    }
}

/// The prefetches of a search by tags. `weights` are in descending order; at least
/// one prefetch is as long as the page.
fn by_tags(weights: &[(TagKey, f64)], page: u64) -> Vec<PrefetchQuery> {
    let keys: Vec<String> = weights
        .iter()
        .map(|(tag, _)| tag.as_str().to_owned())
        .collect();
    let carries = |key: &String| is(TAG_LABELS, key);
    let one = keys.iter().take(WEIGHTIEST_TAGS);
    let one = one.map(|key| prefetch(Filter::must([carries(key)]), BY_ONE_TAG));
    let several = BY_SHARED_TAGS
        .into_iter()
        .filter(|(least, ..)| *least <= keys.len() as u64)
        .map(|(least, of, limit)| {
            let tags = keys.iter().take(of).map(carries);
            prefetch(Filter::min_should(least, tags), limit)
        });
    let mut prefetches: Vec<PrefetchQuery> = one.chain(several).collect();
    prefetches.push(prefetch(
        Filter::must([is_any(TAG_LABELS, keys.clone())]),
        BY_ANY_TAG.max(page),
    ));
    prefetches
}

/// Circles of growing radius. The number of circles around an item approximates its
/// distance; unlike a formula's distance, it is defined for several locations and for
/// none.
fn circles(around: GeoPoint) -> impl Iterator<Item = Condition> {
    std::iter::successors(Some(FIRST_RADIUS_M), |radius| Some(radius * RADIUS_GROWTH))
        .take_while(|radius| *radius < LAST_RADIUS_M * RADIUS_GROWTH)
        .map(move |radius| within_radius(around, radius))
}

/// Matches items within a radius, which is clamped to what Qdrant takes.
fn within_radius(around: GeoPoint, radius_m: f64) -> Condition {
    Condition::geo_radius(
        LOCATIONS,
        GeoRadius {
            center: Some(QdrantPoint {
                lat: around.latitude(),
                lon: around.longitude(),
            }),
            radius: radius_m.clamp(MIN_RADIUS_M, LAST_RADIUS_M) as f32,
        },
    )
}

/// Scores items by the sum of the weights of the conditions that they meet.
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

fn nearest(vector: vector_input::Variant) -> Query {
    Query {
        variant: Some(query::Variant::Nearest(VectorInput {
            variant: Some(vector),
        })),
    }
}

fn opposite(vector: &UnitVector) -> Vec<f32> {
    vector.values().map(|value| -value).collect()
}

pub(super) fn without_payload() -> WithPayloadSelector {
    with_payload_selector::SelectorOptions::Enable(false).into()
}

pub(super) fn with_payload_fields(fields: &[&str]) -> WithPayloadSelector {
    with_payload_selector::SelectorOptions::Include(PayloadIncludeSelector {
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
    })
    .into()
}

pub(super) fn without_vectors() -> WithVectorsSelector {
    with_vectors_selector::SelectorOptions::Enable(false).into()
}

#[cfg(test)]
mod tests {
    use qdrant_client::qdrant::condition::ConditionOneOf;

    use super::{GeoPoint, LAST_RADIUS_M, RADIUS_ALLOWANCE, within_radius};

    #[test]
    fn a_circle_of_any_radius_has_a_valid_radius_in_single_precision() {
        let here = GeoPoint::new(1.5, 2.5).unwrap();
        for radius_m in [f64::MIN_POSITIVE, 1e-60, 150.0, 1e39, f64::MAX] {
            let condition = within_radius(here, radius_m * RADIUS_ALLOWANCE);
            let Some(ConditionOneOf::Field(field)) = condition.condition_one_of else {
                panic!("a condition on a field");
            };
            let radius = f64::from(field.geo_radius.unwrap().radius);
            assert!(radius > 0.0 && radius <= LAST_RADIUS_M, "{radius} m");
            assert!(radius >= radius_m.min(LAST_RADIUS_M), "{radius} m");
        }
    }
}
