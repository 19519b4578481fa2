//! Queries: what is searched, scored, and answered.

use std::collections::{BTreeMap, BTreeSet};

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
    vectors::{NamedVectors, Stored, VectorSelection},
};

pub const DEFAULT_LIMIT: u64 = 10;

type Scored = (Id, f32);

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
        .map(|(id, score)| {
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
    let sources = level
        .prefetch
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
            Ok(run(collection, inner)?.into_iter().collect())
        })
        .collect::<Result<Vec<BTreeMap<Id, f32>>, Status>>()?;
    let candidates: BTreeSet<Id> = sources.iter().flat_map(BTreeMap::keys).copied().collect();
    match query {
        Kind::All => Err(bad_input("cannot have prefetches without a query")),
        Kind::Nearest(vector) => {
            let found = candidates.into_iter();
            nearest(collection, found, &vector, &level.using, level.threshold)
        }
        Kind::Sample => Ok(shuffled(candidates.into_iter())),
        Kind::Formula(formula) => {
            let score = formula::compile(&formula, collection)?;
            let mut scored = Vec::new();
            for id in candidates {
                let scores: Vec<Option<f32>> = sources
                    .iter()
                    .map(|source| source.get(&id).copied())
                    .collect();
                let subject = subject(collection, id);
                let value = score(&Candidate {
                    subject,
                    scores: &scores,
                })?;
                scored.push((id, value as f32));
            }
            scored.retain(|(_, score)| level.threshold.is_none_or(|least| *score >= least));
            Ok(best_first(scored, true))
        }
    }
    .map(|found| first(found, level.limit))
}

fn leaf(collection: &Collection, query: &Kind, level: Level) -> Result<Vec<Scored>, Status> {
    let test = filter::compile(&level.filter.unwrap_or_default(), collection)?;
    let found = collection
        .points
        .keys()
        .copied()
        .filter(|id| test(subject(collection, *id)));
    let found = match query {
        // Scrolled points all have this score.
        Kind::All => found.map(|id| (id, 1.0)).collect(),
        Kind::Nearest(vector) => nearest(collection, found, vector, &level.using, level.threshold)?,
        Kind::Sample => shuffled(found),
        Kind::Formula(_) => return Err(bad_input("cannot apply Formula without prefetches")),
    };
    Ok(first(found, level.limit))
}

fn subject(collection: &Collection, id: Id) -> Subject<'_> {
    let point = &collection.points[&id];
    Subject {
        id,
        payload: &point.payload,
        vectors: &point.vectors,
    }
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
    found: impl Iterator<Item = Id>,
    vector: &[f32],
    using: &str,
    threshold: Option<f32>,
) -> Result<Vec<Scored>, Status> {
    let distance = collection.space(using)?.distance()?;
    let higher_is_better = distance != Distance::Euclid;
    let mut scored: Vec<Scored> = found
        .filter_map(|id| {
            let vectors: &NamedVectors = &collection.points[&id].vectors;
            Some((
                id,
                similarity(distance, vectors.get(using)?.dense()?, vector),
            ))
        })
        .collect();
    scored.retain(|(_, score)| match threshold {
        None => true,
        Some(threshold) if higher_is_better => *score > threshold,
        Some(threshold) => *score < threshold,
    });
    Ok(best_first(scored, higher_is_better))
}

fn similarity(distance: Distance, a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b);
    if distance == Distance::Euclid {
        pairs.map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
    } else {
        pairs.map(|(a, b)| a * b).sum()
    }
}

fn best_first(mut scored: Vec<Scored>, higher_is_better: bool) -> Vec<Scored> {
    scored.sort_by(|(a, x), (b, y)| {
        let by_score = if higher_is_better {
            y.total_cmp(x)
        } else {
            x.total_cmp(y)
        };
        by_score.then(a.cmp(b))
    });
    scored
}

/// Every order is equally likely.
fn shuffled(found: impl Iterator<Item = Id>) -> Vec<Scored> {
    let mut drawn: Vec<(Uuid, Id)> = found.map(|id| (Uuid::new_v4(), id)).collect();
    drawn.sort();
    drawn.into_iter().map(|(_, id)| (id, 1.0)).collect()
}
