//! How tags of a collection are searched: which points lack their vector of tags.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use qdrant_client::qdrant::ScrollPoints;
use tracing::debug;

use super::{
    ids::PointKey,
    pool::QdrantPool,
    query,
    tag_vector::{self, TagSearch},
};
use crate::ports::{Deadline, StoreError};

/// Points without the vector up to which tags are searched by the vector.
const MAX_LACKING: usize = 200;
/// Interval between two searches for such points, which visit the whole collection; and
/// the shortest one, if the number of points has changed.
const INTERVAL: Duration = Duration::from_secs(30);
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// How tags of a collection that has the vector are to be searched.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn tag_search(
    pool: &QdrantPool,
    collection: &str,
    deadline: Deadline,
) -> Result<TagSearch, StoreError> {
    let request = ScrollPoints {
        collection_name: collection.to_owned(),
        filter: Some(tag_vector::is_missing()),
        limit: Some(MAX_LACKING as u32 + 1),
        with_payload: Some(query::without_payload()),
        with_vectors: Some(query::without_vectors()),
        ..ScrollPoints::default()
    };
    let mut points = pool.points();
    let page = pool
        .call("scroll", deadline, points.scroll(request))
        .await?;
    let points = page.result.iter();
    let lacking: Vec<PointKey> = points
        .filter_map(|point| PointKey::read(point.id.as_ref()))
        .collect();
    Ok(if lacking.len() > MAX_LACKING {
        TagSearch::TooFewVectors
    } else {
        TagSearch::Vector { lacking }
    })
}

#[derive(Clone)]
struct Checked {
    at: Instant,
    points: Option<u64>,
    search: TagSearch,
}

/// The last result of [`tag_search`], which is used for a while.
#[derive(Default)]
pub(super) struct TagCheck(Mutex<Option<Checked>>);

impl TagCheck {
    /// Forgets the last result: the collection's vectors have changed.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The last result, or a new one if that is due. If Qdrant does not answer, the last
    /// one.
    pub(super) async fn tag_search(
        &self,
        pool: &QdrantPool,
        collection: &str,
        points: Option<u64>,
        deadline: Deadline,
    ) -> TagSearch {
        let last = {
            let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            last.clone()
        };
        if let Some(last) = &last {
            let interval = if last.points == points {
                INTERVAL
            } else {
                MIN_INTERVAL
            };
            if last.at.elapsed() < interval {
                return last.search.clone();
            }
        }
        match tag_search(pool, collection, deadline).await {
            Ok(search) => {
                let checked = Checked {
                    at: Instant::now(),
                    points,
                    search: search.clone(),
                };
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(checked);
                search
            }
            Err(error) => {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "points without a vector of tags are unknown"
                );
                last.map_or(TagSearch::TooFewVectors, |last| last.search)
            }
        }
    }
}
