//! Adds the vector of tags to a collection, and to the points that lack it.

use qdrant_client::qdrant::{
    CreateVectorNameRequest, PointId, PointVectors, RetrievedPoint, ScrollPoints, ScrollResponse,
    SparseVectorCreationConfig, UpdatePointVectors, create_vector_name_request,
};

use super::{
    ids::PointKey,
    payload::{self, TAG_LABELS, TAGS},
    query,
    store::QdrantItemStore,
    tag_vector::{self, TAG_VECTOR},
};
use crate::{
    domain::item::CatalogueItem,
    ports::{Deadline, StoreError, StoreErrorKind},
};

/// Points per call that fills in vectors.
const FILL_PAGE: u32 = 500;
/// Attempts at a page whose points are deleted meanwhile.
const FILL_ATTEMPTS: u32 = 5;

/// What an import did about the vector of tags.
#[derive(Debug)]
pub enum TagVectors {
    /// Every point has it. It was added to this number of points.
    Complete {
        /// Points that lacked it.
        added: usize,
    },
    /// The collection has none, and Qdrant refused to add it: its version is older than
    /// 1.18, or the API key or strict mode does not allow it.
    Refused(StoreError),
}

impl QdrantItemStore {
    /// Adds the vector of tags to the collection, if it lacks it and the server can,
    /// and to each point that lacks it.
    ///
    /// # Errors
    /// [`StoreError`]; then some points may have got it. A repetition continues.
    pub async fn add_tag_vectors(&self) -> Result<TagVectors, StoreError> {
        if !self.describe(Deadline::NONE).await?.has_tag_vector {
            let request = CreateVectorNameRequest {
                collection_name: self.name.clone(),
                wait: Some(true),
                vector_name: TAG_VECTOR.to_owned(),
                vector_config: Some(create_vector_name_request::VectorConfig::SparseConfig(
                    SparseVectorCreationConfig::default(),
                )),
                ..CreateVectorNameRequest::default()
            };
            let mut points = self.pool.points();
            let call = points.create_vector_name(request);
            match self.pool.call("index", Deadline::NONE, call).await {
                Ok(_) => {}
                Err(error) => match error.kind() {
                    StoreErrorKind::Corrupt | StoreErrorKind::Misconfigured => {
                        return Ok(TagVectors::Refused(error));
                    }
                    StoreErrorKind::Unavailable
                    | StoreErrorKind::Starting
                    | StoreErrorKind::Unprepared
                    | StoreErrorKind::Full => return Err(error),
                },
            }
        }
        let mut added = 0;
        let mut offset: Option<PointId> = None;
        loop {
            let (filled, next) = self.fill_page(offset).await?;
            added += filled;
            offset = next;
            if offset.is_none() {
                break;
            }
        }
        self.tag_check.clear();
        Ok(TagVectors::Complete { added })
    }

    /// Adds the vector to the next points that lack it. Returns their number, and the
    /// point to continue with.
    async fn fill_page(
        &self,
        offset: Option<PointId>,
    ) -> Result<(usize, Option<PointId>), StoreError> {
        let mut attempts = 1;
        loop {
            let ScrollResponse {
                result,
                next_page_offset,
                ..
            } = self.page_to_fill(offset.clone()).await?;
            let count = result.len();
            if count == 0 {
                return Ok((0, next_page_offset));
            }
            match self.fill(result).await {
                Ok(()) => return Ok((count, next_page_offset)),
                // A point of the page was deleted, and Qdrant wrote to none or some.
                Err(error)
                    if error.kind() == StoreErrorKind::Unprepared && attempts < FILL_ATTEMPTS =>
                {
                    attempts += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn page_to_fill(&self, offset: Option<PointId>) -> Result<ScrollResponse, StoreError> {
        let request = ScrollPoints {
            filter: Some(tag_vector::is_missing()),
            offset,
            limit: Some(FILL_PAGE),
            with_payload: Some(query::with_payload_fields(&[TAGS, TAG_LABELS])),
            with_vectors: Some(query::without_vectors()),
            ..ScrollPoints::default()
        };
        self.scroll(request, Deadline::NONE).await
    }

    async fn fill(&self, points: Vec<RetrievedPoint>) -> Result<(), StoreError> {
        let points = points.into_iter().filter_map(|point| {
            let key = PointKey::read(point.id.as_ref())?;
            let item = payload::read(key, point.payload, None);
            let vector = tag_vector::of_item(&CatalogueItem::new(item, &self.canonicalizer));
            Some(PointVectors {
                id: point.id,
                vectors: Some(tag_vector::alone(vector)),
            })
        });
        let request = UpdatePointVectors {
            collection_name: self.name.clone(),
            wait: Some(true),
            points: points.collect(),
            // One that was written meanwhile has newer tags.
            update_filter: Some(tag_vector::is_missing()),
            ..UpdatePointVectors::default()
        };
        let mut points = self.pool.points();
        let call = points.update_vectors(request);
        self.pool.call("upsert", Deadline::NONE, call).await?;
        Ok(())
    }
}
