//! Queries: what is searched, how it is scored, and in which order it is sent.

use qdrant_client::qdrant::{
    Expression, Filter, PrefetchQuery, QueryPoints, ScoredPoint, VectorInput,
    expression::Variant as Term, query::Variant, vector_input,
};
use tonic::Status;
use uuid::Uuid;

use super::{
    filter,
    payload::PayloadSelection,
    places::PlaceSet,
    store::{StoredCollection, no_other_fields, unsupported},
    vectors::VectorSelection,
};

/// A place and its score.
type ScoredPlace = (usize, f32);

pub fn query(
    collection: &StoredCollection,
    mut request: QueryPoints,
    plain_vectors: bool,
) -> Result<Vec<ScoredPoint>, Status> {
    let payload = PayloadSelection::read(request.with_payload.take(), false)?;
    let vectors = VectorSelection::read(request.with_vectors.take());
    let limit = limit(request.limit.take())?;
    let filter = request.filter.take().unwrap_or_default();
    let prefetches = std::mem::take(&mut request.prefetch);
    let using = request.using.take().unwrap_or_default();
    let query = match request.query.take() {
        None => None,
        Some(query) => Some(
            query
                .variant
                .ok_or_else(|| Status::invalid_argument("Query variant is missing"))?,
        ),
    };
    request.collection_name.clear();
    no_other_fields(&request)?;

    let found = match query {
        Some(Variant::Formula(mut formula)) => {
            let expression = formula.expression.take();
            no_other_fields(&formula)?;
            let score = expression_score(expression.as_ref(), collection)?;
            let candidates = prefetched(collection, &filter, prefetches)?;
            let scored = candidates
                .iter()
                .map(|place| (place, score.at(place) as f32));
            best_first(scored.collect(), limit)
        }
        _ if !prefetches.is_empty() => {
            return Err(unsupported("a prefetch for anything but a formula"));
        }
        // All of these have one score.
        None => {
            let places = filter::places(&filter, collection)?;
            places
                .iter()
                .take(limit)
                .map(|place| (place, 1.0))
                .collect()
        }
        Some(Variant::Nearest(VectorInput {
            variant: Some(vector_input::Variant::Dense(dense)),
        })) => {
            let vector = collection.dense(&using, dense.data)?;
            let stored = collection.points.dense_vectors(&using, vector.len());
            let places = filter::places(&filter, collection)?;
            let scored = places
                .iter()
                .filter_map(|place| Some((place, dot(stored.get(place)?, &vector))));
            best_first(scored.collect(), limit)
        }
        Some(Variant::Nearest(VectorInput {
            variant: Some(vector_input::Variant::Sparse(query)),
        })) => {
            let query = collection.sparse_query(&using, query)?;
            let places = filter::places(&filter, collection)?;
            let products = collection.points.sparse_products(&using, &query);
            let scored = products
                .into_iter()
                .filter(|(place, _)| places.contains(*place));
            best_first(scored.collect(), limit)
        }
        // Random is the only sample that Qdrant has.
        Some(Variant::Sample(0)) => {
            let places = filter::places(&filter, collection)?;
            let mut drawn: Vec<(Uuid, usize)> =
                places.iter().map(|place| (Uuid::new_v4(), place)).collect();
            drawn.sort_unstable();
            let drawn = drawn.into_iter().take(limit);
            drawn.map(|(_, place)| (place, 1.0)).collect()
        }
        Some(other) => return Err(unsupported(format!("the query {other:?}"))),
    };
    let scored_point = |(place, score): ScoredPlace| {
        let id = collection.points.ids()[place];
        let point = collection.points.get(&id).expect("a place of a point");
        ScoredPoint {
            id: Some(id.proto()),
            payload: payload.apply(&point.payload),
            score,
            vectors: vectors.apply(&point.vectors, plain_vectors),
            ..ScoredPoint::default()
        }
    };
    Ok(found.into_iter().map(scored_point).collect())
}

pub fn limit(limit: Option<u64>) -> Result<usize, Status> {
    match limit {
        Some(0) => Err(Status::invalid_argument(
            "Validation error in body: [limit: value 0 invalid, must be 1 or larger]",
        )),
        limit => Ok(usize::try_from(limit.unwrap_or(10)).unwrap_or(usize::MAX)),
    }
}

/// The places of all prefetches together. The filter of the query holds for each.
fn prefetched(
    collection: &StoredCollection,
    outer: &Filter,
    prefetches: Vec<PrefetchQuery>,
) -> Result<PlaceSet, Status> {
    let mut all = PlaceSet::none(collection.points.len());
    let outer_places = filter::places(outer, collection)?;
    for mut prefetch in prefetches {
        let inner = prefetch.filter.take().unwrap_or_default();
        let limit = limit(prefetch.limit.take())?;
        no_other_fields(&prefetch)?;
        if !outer.should.is_empty() || outer.min_should.is_some() {
            // Qdrant would join these with those of the prefetch, list by list.
            return Err(unsupported(
                "alternatives in the filter of a query with prefetches",
            ));
        }
        let mut places = filter::places(&inner, collection)?;
        places.intersect(&outer_places);
        places
            .iter()
            .take(limit)
            .for_each(|place| all.insert(place));
    }
    Ok(all)
}

/// A formula, with its conditions evaluated for all points.
enum Score {
    Constant(f64),
    Condition(PlaceSet),
    Product(Vec<Self>),
    Sum(Vec<Self>),
}

impl Score {
    fn at(&self, place: usize) -> f64 {
        match self {
            Self::Constant(number) => *number,
            Self::Condition(places) => f64::from(u8::from(places.contains(place))),
            Self::Product(parts) => parts.iter().map(|part| part.at(place)).product(),
            Self::Sum(parts) => parts.iter().map(|part| part.at(place)).sum(),
        }
    }
}

fn expression_score(
    expression: Option<&Expression>,
    collection: &StoredCollection,
) -> Result<Score, Status> {
    let all = |parts: &[Expression]| -> Result<Vec<Score>, Status> {
        let parts = parts.iter();
        parts
            .map(|part| expression_score(Some(part), collection))
            .collect()
    };
    match expression.and_then(|expression| expression.variant.as_ref()) {
        Some(Term::Constant(number)) => Ok(Score::Constant(f64::from(*number))),
        Some(Term::Condition(condition)) => {
            Ok(Score::Condition(filter::condition(condition, collection)?))
        }
        Some(Term::Mult(product)) => Ok(Score::Product(all(&product.mult)?)),
        Some(Term::Sum(sum)) => Ok(Score::Sum(all(&sum.sum)?)),
        other => Err(unsupported(format!("the expression {other:?}"))),
    }
}

/// Several sums side by side, which the compiler vectorises.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const WIDTH: usize = 16;
    let (a, a_rest) = a.as_chunks::<WIDTH>();
    let (b, b_rest) = b.as_chunks::<WIDTH>();
    let mut sums = [0.0; WIDTH];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    sums.into_iter().chain(rest).sum()
}

/// Ties are ordered by id.
fn best_first(mut scored: Vec<ScoredPlace>, limit: usize) -> Vec<ScoredPlace> {
    let order = |(a, x): &ScoredPlace, (b, y): &ScoredPlace| y.total_cmp(x).then(a.cmp(b));
    if (1..scored.len()).contains(&limit) {
        scored.select_nth_unstable_by(limit, order);
        scored.truncate(limit);
    }
    scored.sort_unstable_by(order);
    scored
}
