//! Queries: what is searched, scored, and answered.

use qdrant_client::qdrant::{
    Condition, Distance, Filter, Formula, LookupLocation, PrefetchQuery, Query, QueryPoints,
    ScoredPoint, SearchParams, VectorInput, query::Variant, vector_input,
};
use tonic::Status;
use uuid::Uuid;

use super::{
    filter::{self, Subject},
    formula::{self, Candidate},
    payload::Selection,
    store::{Collection, Id, bad_input, not_found, unsupported},
    vectors::{Stored, VectorSelection},
};

pub const DEFAULT_LIMIT: u64 = 10;

/// A point by its place in the order of ids.
type Scored = (usize, f32);

/// One level of a query: the request itself, or a prefetch of it.
struct Level {
    prefetch: Vec<PrefetchQuery>,
    query: Option<Query>,
    using: String,
    filter: Option<Filter>,
    threshold: Option<f32>,
    limit: u64,
}

pub fn query(
    collection: &Collection,
    request: QueryPoints,
    plain_vectors: bool,
) -> Result<Vec<ScoredPoint>, Status> {
    if request.shard_key_selector.is_some() {
        return Err(unsupported("shard keys"));
    }
    simple(request.params.as_ref(), request.lookup_from.as_ref())?;
    let offset = request.offset.unwrap_or_default();
    let limit = nonzero(request.limit)?;
    let payload = Selection::read(request.with_payload, false)?;
    let vectors = VectorSelection::read(request.with_vectors);
    let level = Level {
        prefetch: request.prefetch,
        query: request.query,
        using: request.using.unwrap_or_default(),
        filter: request.filter,
        threshold: request.score_threshold,
        limit: limit.saturating_add(offset),
    };
    let found = run(collection, level)?;
    Ok(found
        .into_iter()
        .skip(offset as usize)
        .map(|(place, score)| {
            let id = collection.points.ids()[place];
            let point = &collection.points[&id];
            ScoredPoint {
                id: Some(id.proto()),
                payload: payload.apply(&point.payload),
                score,
                version: point.version,
                vectors: vectors.apply(&point.vectors, plain_vectors),
                ..ScoredPoint::default()
            }
        })
        .collect())
}

/// Refuses the parameters that would change an exact answer.
fn simple(params: Option<&SearchParams>, lookup: Option<&LookupLocation>) -> Result<(), Status> {
    if lookup.is_some() {
        return Err(unsupported("lookup_from"));
    }
    match params {
        Some(params) if params.indexed_only == Some(true) => Err(unsupported("indexed_only")),
        Some(params) if params.idf.is_some() => Err(unsupported("idf")),
        _ => Ok(()),
    }
}

pub fn nonzero(limit: Option<u64>) -> Result<u64, Status> {
    match limit {
        Some(0) => Err(Status::invalid_argument(
            "Validation error in body: [limit: value 0 invalid, must be 1 or larger]",
        )),
        limit => Ok(limit.unwrap_or(DEFAULT_LIMIT)),
    }
}

fn run(collection: &Collection, mut level: Level) -> Result<Vec<Scored>, Status> {
    let query = level.query.take().map(variant).transpose()?;
    let query = resolve(collection, query, &level.using, &mut level.filter)?;
    if level.prefetch.is_empty() {
        return leaf(collection, &query, level);
    }
    let sources = std::mem::take(&mut level.prefetch)
        .into_iter()
        .map(|prefetch| {
            simple(prefetch.params.as_ref(), prefetch.lookup_from.as_ref())?;
            let inner = Level {
                prefetch: prefetch.prefetch,
                query: prefetch.query,
                using: prefetch.using.unwrap_or_default(),
                // Filters go down to where points are searched.
                filter: merged(level.filter.clone(), prefetch.filter),
                threshold: prefetch.score_threshold,
                limit: prefetch.limit.unwrap_or(DEFAULT_LIMIT),
            };
            run(collection, inner)
        })
        .collect::<Result<Vec<Vec<Scored>>, Status>>()?;
    let found = sources.iter().flatten();
    let mut candidates: Vec<usize> = found.map(|(place, _)| *place).collect();
    candidates.sort_unstable();
    candidates.dedup();
    match query {
        Kind::All => Err(bad_input("cannot have prefetches without a query")),
        Kind::Nearest(vector) => {
            let found = candidates.into_iter();
            nearest(collection, found, &vector, &level)
        }
        Kind::Sample => Ok(shuffled(candidates.into_iter())),
        Kind::Formula(formula) => {
            let score = formula::compile(&formula, collection)?;
            // By candidate, and there by prefetch.
            let width = sources.len();
            let mut scores = vec![None; width * candidates.len()];
            for (prefetch, source) in sources.iter().enumerate() {
                for (place, score) in source {
                    let candidate = candidates.partition_point(|other| other < place);
                    scores[candidate * width + prefetch] = Some(*score);
                }
            }
            let mut scored = Vec::new();
            for (place, scores) in candidates.into_iter().zip(scores.chunks(width)) {
                let value = score(&Candidate {
                    subject: subject(collection, place),
                    scores,
                })?;
                scored.push((place, value as f32));
            }
            scored.retain(|(_, score)| level.threshold.is_none_or(|least| *score >= least));
            Ok(best_first(scored, true, level.limit))
        }
    }
    .map(|found| first(found, level.limit))
}

fn leaf(collection: &Collection, query: &Kind, level: Level) -> Result<Vec<Scored>, Status> {
    let filter = level.filter.clone().unwrap_or_default();
    let test = filter::compile(&filter, collection)?;
    let narrowed = filter::narrowed(&filter, collection)?;
    let subjects: Box<dyn Iterator<Item = Subject<'_>>> = match &narrowed {
        Some(places) => Box::new(places.iter().map(|place| subject(collection, place))),
        None => Box::new(all(collection)),
    };
    let found = subjects.filter(|subject| test(*subject));
    let found = found.map(|subject| subject.place);
    let found = match query {
        // Scrolled points all have this score.
        Kind::All => {
            let first = usize::try_from(level.limit).unwrap_or(usize::MAX);
            found.take(first).map(|place| (place, 1.0)).collect()
        }
        Kind::Nearest(vector) => nearest(collection, found, vector, &level)?,
        Kind::Sample => shuffled(found),
        Kind::Formula(_) => return Err(bad_input("cannot apply Formula without prefetches")),
    };
    Ok(first(found, level.limit))
}

fn subject(collection: &Collection, place: usize) -> Subject<'_> {
    let point = &collection.points[&collection.points.ids()[place]];
    Subject::new(place, point)
}

fn all(collection: &Collection) -> impl Iterator<Item = Subject<'_>> {
    let points = collection.points.values().enumerate();
    points.map(|(place, point)| Subject::new(place, point))
}

fn first(mut found: Vec<Scored>, limit: u64) -> Vec<Scored> {
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    found
}

/// A query whose point ids have become vectors.
enum Kind {
    All,
    Nearest(Vec<f32>),
    Sample,
    Formula(Box<Formula>),
}

fn variant(query: Query) -> Result<Variant, Status> {
    let variant = query.variant;
    variant.ok_or_else(|| Status::invalid_argument("Query variant is missing"))
}

fn resolve(
    collection: &Collection,
    query: Option<Variant>,
    using: &str,
    filter: &mut Option<Filter>,
) -> Result<Kind, Status> {
    match query {
        None => Ok(Kind::All),
        Some(Variant::Nearest(VectorInput { variant })) => match variant {
            Some(vector_input::Variant::Dense(dense)) => {
                collection.space(using)?.distance()?;
                Ok(Kind::Nearest(collection.checked(using, dense.data)?))
            }
            Some(vector_input::Variant::Id(id)) => {
                let wanted = Id::read(Some(id.clone()))?;
                collection.space(using)?.distance()?;
                let vector = vector_of(collection, wanted, using)?;
                // A point is not among its own neighbours.
                let other = Filter::must_not([Condition::has_id([id])]);
                *filter = merged(filter.take(), Some(other));
                Ok(Kind::Nearest(vector))
            }
            Some(_) => Err(unsupported(
                "nearest to anything but a dense vector or an id",
            )),
            None => Err(Status::invalid_argument("VectorInput is malformed")),
        },
        // Random is the only sample there is.
        Some(Variant::Sample(0)) => Ok(Kind::Sample),
        Some(Variant::Sample(_)) => Err(Status::invalid_argument("Invalid sample value")),
        Some(Variant::Formula(formula)) => Ok(Kind::Formula(Box::new(formula))),
        Some(Variant::Recommend(_)) => Err(unsupported("recommend queries")),
        Some(Variant::Discover(_) | Variant::Context(_)) => {
            Err(unsupported("discover and context queries"))
        }
        Some(Variant::OrderBy(_)) => Err(unsupported("order_by queries")),
        Some(Variant::Fusion(_) | Variant::Rrf(_)) => Err(unsupported("fusion queries")),
        Some(Variant::NearestWithMmr(_)) => Err(unsupported("mmr queries")),
        Some(Variant::RelevanceFeedback(_)) => Err(unsupported("relevance feedback queries")),
        Some(Variant::Text(_)) => Err(unsupported("text queries")),
    }
}

fn vector_of(collection: &Collection, id: Id, using: &str) -> Result<Vec<f32>, Status> {
    let Some(point) = collection.points.get(&id) else {
        return Err(not_found(format!("No point with id {id} found")));
    };
    let vector = point.vectors.get(using).and_then(Stored::dense);
    vector.cloned().ok_or_else(|| {
        not_found(format!(
            "Vector with name {using:?} for point {id} not found"
        ))
    })
}

/// Both filters as one, list by list: so two lists of `should` become one
/// list, of which a single condition is enough.
pub fn merged(a: Option<Filter>, b: Option<Filter>) -> Option<Filter> {
    let (Some(mut a), Some(b)) = (a.clone(), b.clone()) else {
        return a.or(b);
    };
    a.must.extend(b.must);
    a.must_not.extend(b.must_not);
    a.should.extend(b.should);
    a.min_should = match (a.min_should, b.min_should) {
        (Some(mut a), Some(b)) => {
            a.conditions.extend(b.conditions);
            a.min_count = a.min_count.max(b.min_count);
            Some(a)
        }
        (a, b) => a.or(b),
    };
    Some(a)
}

fn nearest(
    collection: &Collection,
    found: impl Iterator<Item = usize>,
    vector: &[f32],
    level: &Level,
) -> Result<Vec<Scored>, Status> {
    let distance = collection.space(&level.using)?.distance()?;
    let higher_is_better = distance != Distance::Euclid;
    let stored = collection.points.dense(&level.using, vector.len());
    let mut scored: Vec<Scored> = found
        .filter_map(|place| Some((place, similarity(distance, stored.get(place)?, vector))))
        .collect();
    scored.retain(|(_, score)| match level.threshold {
        None => true,
        Some(threshold) if higher_is_better => *score > threshold,
        Some(threshold) => *score < threshold,
    });
    Ok(best_first(scored, higher_is_better, level.limit))
}

fn similarity(distance: Distance, a: &[f32], b: &[f32]) -> f32 {
    if distance == Distance::Euclid {
        sum(a, b, |a, b| (a - b) * (a - b)).sqrt()
    } else {
        sum(a, b, |a, b| a * b)
    }
}

/// In several sums side by side, which a processor takes in one step.
fn sum(a: &[f32], b: &[f32], of_two: impl Fn(f32, f32) -> f32) -> f32 {
    const WIDTH: usize = 16;
    let (a, a_rest) = a.as_chunks::<WIDTH>();
    let (b, b_rest) = b.as_chunks::<WIDTH>();
    let mut sums = [0.0; WIDTH];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += of_two(*a, *b);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| of_two(*a, *b));
    sums.into_iter().chain(rest).sum()
}

/// The first ones, without sorting what is behind them.
fn best_first(mut scored: Vec<Scored>, higher_is_better: bool, limit: u64) -> Vec<Scored> {
    let order = |(a, x): &Scored, (b, y): &Scored| {
        let by_score = if higher_is_better {
            y.total_cmp(x)
        } else {
            x.total_cmp(y)
        };
        by_score.then(a.cmp(b))
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if (1..scored.len()).contains(&limit) {
        scored.select_nth_unstable_by(limit, order);
        scored.truncate(limit);
    }
    scored.sort_unstable_by(order);
    scored
}

/// Every order is equally likely.
fn shuffled(found: impl Iterator<Item = usize>) -> Vec<Scored> {
    let mut drawn: Vec<(Uuid, usize)> = found.map(|place| (Uuid::new_v4(), place)).collect();
    drawn.sort_unstable();
    drawn.into_iter().map(|(_, place)| (place, 1.0)).collect()
}
