//! The store itself: its collection, its connections and its cache.

use std::{
    error::Error as _,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use qdrant_client::qdrant::GetCollectionInfoRequest;
use tonic::{Response, Status};
use tracing::{info, warn};

use super::{
    collection::Collection, item_cache::ItemCache, pool::QdrantPool, tag_points::TagCheck,
    tag_vector::TagSearch,
};
use crate::{
    domain::{item_counts::NO_FEATURES, tags::Canonicalizer},
    ports::{Deadline, StoreError, StoreErrorKind},
    telemetry::throttle::Throttle,
};

/// How a catalogue in Qdrant is kept.
#[derive(Clone, Debug)]
pub struct QdrantItemOptions {
    /// The collection that holds the items.
    pub collection: String,
    /// Memory for contents and vectors of items in this process, in bytes.
    pub cache_max_bytes: u64,
    /// How long cached contents are used without reading them again.
    pub cache_ttl: Duration,
    /// The canonical form of tags.
    pub canonicalizer: Canonicalizer,
}

/// The catalogue in a collection of Qdrant, a point for each item. Contents and
/// vectors that were read lately are cached in this process.
pub struct QdrantItemStore {
    pub(super) pool: QdrantPool,
    pub(super) name: String,
    pub(super) canonicalizer: Canonicalizer,
    pub(super) cache: ItemCache,
    pub(super) tag_check: TagCheck,
    /// As last described; `None` until then.
    collection: RwLock<Option<Arc<Collection>>>,
    /// The number of points, as last described.
    points: AtomicU64,
    /// Throttles the log of lists from the cache: in an outage, of every list.
    pub(super) outage: Throttle,
}

impl QdrantItemStore {
    /// A store over a collection of the Qdrant of a pool.
    #[must_use]
    pub fn new(pool: QdrantPool, options: QdrantItemOptions) -> Self {
        Self {
            pool,
            name: options.collection,
            canonicalizer: options.canonicalizer,
            cache: ItemCache::new(options.cache_max_bytes, options.cache_ttl),
            tag_check: TagCheck::default(),
            collection: RwLock::default(),
            points: AtomicU64::new(0),
            outage: Throttle::new(),
        }
    }

    /// Reads the collection's vectors and indexes from Qdrant, and now and then which
    /// points lack their vector of tags. If the items' vectors changed, the cache is
    /// cleared.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unprepared`] if there is no such collection.
    pub(super) async fn describe(&self, deadline: Deadline) -> Result<Arc<Collection>, StoreError> {
        let request = GetCollectionInfoRequest {
            collection_name: self.name.clone(),
        };
        let mut collections = self.pool.collections();
        let info = self
            .call("describe", deadline, collections.get(request))
            .await?;
        let info = info.result.unwrap_or_default();
        let points = info.points_count;
        self.points
            .store(points.unwrap_or_default(), Ordering::Relaxed);
        let mut collection = Collection::read(info);
        if collection.has_tag_vector {
            let check = self
                .tag_check
                .tag_search(&self.pool, &self.name, points, deadline);
            collection.tag_search = check.await;
        } else {
            self.tag_check.clear();
        }
        let collection = Arc::new(collection);
        let mut last = self
            .collection
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if last.as_deref() != Some(&*collection) {
            let missing = collection.missing_indexes();
            if !missing.is_empty() {
                warn!(
                    collection = self.name,
                    ?missing,
                    "collection lacks payload indexes: searches that need them find nothing"
                );
            }
            if collection.lacks_features {
                warn!(collection = self.name, "{NO_FEATURES}");
            }
            let before = last.replace(Arc::clone(&collection));
            self.log_tag_search(before.as_deref(), &collection);
            if before.is_some_and(|before| !before.has_vectors_of(&collection)) {
                warn!(
                    collection = self.name,
                    vector_size = collection.vector_size,
                    "collection was recreated with other vectors"
                );
                self.cache.clear();
            }
        }
        Ok(collection)
    }

    /// Logs how tags are searched, when that changes.
    fn log_tag_search(&self, before: Option<&Collection>, now: &Collection) {
        let kind = |collection: &Collection| std::mem::discriminant(&collection.tag_search);
        if before.map(kind) == Some(kind(now)) {
            return;
        }
        let collection = &self.name;
        match &now.tag_search {
            TagSearch::Vector { lacking } => {
                let lacking = lacking.len();
                info!(
                    collection,
                    lacking, "tags are searched by their sparse vector"
                );
            }
            TagSearch::Payload => info!(
                collection,
                "collection has no sparse vector of tags: tags are searched by payload, which \
                 takes Qdrant longer; recsys catalog import adds the vector"
            ),
            TagSearch::TooFewVectors => warn!(
                collection,
                "many points lack the sparse vector of their tags: tags are searched by payload, \
                 which takes Qdrant longer; recsys catalog import adds the vectors"
            ),
        }
    }

    /// The collection's new description, if an error may be due to a change of
    /// it, such as a new size of vectors or a dropped index.
    ///
    /// # Errors
    /// The error itself, if the collection has not changed.
    pub(super) async fn changed(
        &self,
        before: &Collection,
        error: StoreError,
        deadline: Deadline,
    ) -> Result<Arc<Collection>, StoreError> {
        if !matches!(
            error.kind(),
            StoreErrorKind::Unprepared | StoreErrorKind::Corrupt
        ) {
            return Err(error);
        }
        let now = self.describe(deadline).await?;
        if *now == *before {
            return Err(error);
        }
        Ok(now)
    }

    /// The collection as last described.
    pub(super) fn described(&self) -> Option<Arc<Collection>> {
        let last = self
            .collection
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    /// The name of the collection.
    pub(crate) fn collection_name(&self) -> &str {
        &self.name
    }

    /// Drops all cached items.
    pub(crate) fn clear_cache(&self) {
        self.cache.clear();
    }

    /// Approximate number of points, as last described; 0 until then.
    pub(crate) fn points_count(&self) -> u64 {
        self.points.load(Ordering::Relaxed)
    }

    /// The collection as last described, or else as Qdrant describes it.
    pub(super) async fn collection(
        &self,
        deadline: Deadline,
    ) -> Result<Arc<Collection>, StoreError> {
        match self.described() {
            Some(collection) => Ok(collection),
            None => self.describe(deadline).await,
        }
    }

    /// Waits for the reply to a call about this collection. If there is no such
    /// collection, the error says how to create it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn call<T>(
        &self,
        operation: &'static str,
        deadline: Deadline,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, StoreError> {
        let reply = self.pool.call(operation, deadline, call).await;
        reply.map_err(|error| match error.kind() {
            StoreErrorKind::Unprepared if !is_missing_index(&error) => StoreError::new(
                StoreErrorKind::Unprepared,
                format!(
                    "collection {:?} does not exist in Qdrant; create it with: recsys catalog \
                     import FILE",
                    self.name
                ),
            )
            .caused_by(error),
            StoreErrorKind::Unprepared
            | StoreErrorKind::Unavailable
            | StoreErrorKind::Misconfigured
            | StoreErrorKind::Full
            | StoreErrorKind::Corrupt
            | StoreErrorKind::Starting => error,
        })
    }
}

/// Whether a search failed as strict mode requires an index.
fn is_missing_index(error: &StoreError) -> bool {
    let status = error
        .source()
        .and_then(|cause| cause.downcast_ref::<Status>());
    status.is_some_and(|status| super::error::field_without_index(status).is_some())
}
