//! A single examination of Qdrant for `recsys doctor`. Changes nothing.

use qdrant_client::qdrant::{GetCollectionInfoRequest, HealthCheckRequest};

use super::{
    collection::Collection,
    pool::{QdrantPool, QdrantSetupError},
    settings::QdrantSettings,
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
        let report = reply.map(|reply| {
            let info = reply.result.unwrap_or_default();
            let points = info.points_count.unwrap_or_default();
            let collection = Collection::read(info);
            CollectionReport {
                points,
                vector_size: collection.vector_size,
                missing_indexes: collection.missing_indexes(),
                lacks_features: collection.lacks_features,
            }
        });
        reports.push((name.clone(), report));
    }
    Ok(Ok(QdrantExamination {
        version,
        collections: reports,
    }))
}
