//! A single examination of Qdrant for `recsys doctor`. Changes nothing.

use qdrant_client::qdrant::{CollectionInfo, GetCollectionInfoRequest, HealthCheckRequest};

use super::{
    collection::Collection,
    pool::{QdrantPool, QdrantSetupError},
    settings::QdrantSettings,
    tag_points,
    tag_vector::TagSearch,
};
use crate::ports::{Deadline, StoreError};

/// What the examination of a Qdrant found.
#[derive(Debug)]
pub struct QdrantExamination {
    /// Its version.
    pub version: String,
    /// Each collection with its name.
    pub collections: Vec<(String, Result<CollectionReport, StoreError>)>,
}

/// The properties of a collection that searches depend on.
#[derive(Debug)]
pub struct CollectionReport {
    /// Number of points.
    pub points: u64,
    /// Size of the vectors; `None` if there are none.
    pub vector_size: Option<usize>,
    /// Payload fields without the index that searches need.
    pub missing_indexes: Vec<&'static str>,
    /// Whether there are points, and none of them has tags or a vector.
    pub lacks_features: bool,
    /// How tags are searched.
    pub tag_search: TagSearchReport,
}

/// How the tags of a collection are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagSearchReport {
    /// By the sparse vector of tags.
    Vector {
        /// Points that lack the vector, and are compared one by one.
        lacking: usize,
    },
    /// By payload: the collection has no such vector.
    Payload,
    /// By payload: too many points lack the vector.
    TooFewVectors,
}

impl From<TagSearch> for TagSearchReport {
    fn from(search: TagSearch) -> Self {
        match search {
            TagSearch::Payload => Self::Payload,
            TagSearch::TooFewVectors => Self::TooFewVectors,
            TagSearch::Vector { lacking } => Self::Vector {
                lacking: lacking.len(),
            },
        }
    }
}

/// Examines the Qdrant of a URL, and these collections.
///
/// # Errors
/// The outer one if the URL, a file or the settings cannot be used; the inner one if
/// Qdrant does not answer.
pub async fn examine(
    url: &str,
    settings: &QdrantSettings,
    collections: &[String],
    deadline: Deadline,
) -> Result<Result<QdrantExamination, StoreError>, QdrantSetupError> {
    let qdrant = QdrantPool::new(url, settings)?;
    let mut service = qdrant.server();
    let health = service.health_check(HealthCheckRequest {});
    let version = match qdrant.call("ping", deadline, health).await {
        Ok(reply) => reply.version,
        Err(error) => return Ok(Err(error)),
    };
    let mut reports = Vec::new();
    for name in collections {
        let request = GetCollectionInfoRequest {
            collection_name: name.clone(),
        };
        let mut client = qdrant.collections();
        let reply = qdrant.call("describe", deadline, client.get(request)).await;
        let report = match reply {
            Ok(reply) => {
                let info = reply.result.unwrap_or_default();
                report(&qdrant, name, info, deadline).await
            }
            Err(error) => Err(error),
        };
        reports.push((name.clone(), report));
    }
    Ok(Ok(QdrantExamination {
        version,
        collections: reports,
    }))
}

async fn report(
    qdrant: &QdrantPool,
    name: &str,
    info: CollectionInfo,
    deadline: Deadline,
) -> Result<CollectionReport, StoreError> {
    let points = info.points_count.unwrap_or_default();
    let collection = Collection::read(info);
    let tag_search = match collection.has_tag_vector {
        true => tag_points::tag_search(qdrant, name, deadline).await?,
        false => TagSearch::Payload,
    };
    Ok(CollectionReport {
        points,
        vector_size: collection.vector_size,
        missing_indexes: collection.missing_indexes(),
        lacks_features: collection.lacks_features,
        tag_search: tag_search.into(),
    })
}
