//! The item store over one collection.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use qdrant_client::qdrant::{
    DeletePoints, GetCollectionInfoRequest, GetPoints, HealthCheckRequest, PointId, PointsIdsList,
    PointsSelector, RetrievedPoint, VectorsSelector, WithVectorsSelector,
    points_selector::PointsSelectorOneOf, with_payload_selector, with_vectors_selector,
};
use tracing::warn;

use super::{
    cache::{ItemCache, Known},
    channel::{Qdrant, QdrantSetupError},
    collection::Collection,
    ids::PointKey,
    payload, query,
    settings::QdrantSettings,
};
use crate::{
    domain::{
        ids::ContentId,
        item::{CatalogueItem, Item},
        tags::Canonicalizer,
    },
    meters,
    ports::{AnswerBy, Found, ItemRefusal, ItemStore, Search, StoreError, StoreErrorKind},
    throttle::Throttle,
};

/// Points that are read in one call: fewer than an answer can carry, if each is
/// of the largest size.
const RETRIEVED_AT_ONCE: usize = 200;

/// The catalogue in a collection of Qdrant. Contents and vectors that were
/// read lately are kept in this process.
pub struct QdrantItemStore {
    pub(super) qdrant: Qdrant,
    pub(super) name: String,
    pub(super) canonical: Canonicalizer,
    pub(super) cache: ItemCache,
    collection: RwLock<Option<Arc<Collection>>>,
    /// Of lists that came from memory, which an outage makes of every one.
    pub(super) outage: Throttle,
}

impl QdrantItemStore {
    /// A store over the Qdrant at a URL. Connects when first used, so it can
    /// be made while Qdrant is down.
    ///
    /// # Errors
    /// [`QdrantSetupError`] if the URL, a file or the settings cannot be used.
    pub fn new(
        url: &str,
        settings: &QdrantSettings,
        canonical: Canonicalizer,
    ) -> Result<Self, QdrantSetupError> {
        Ok(Self {
            qdrant: Qdrant::new(url, settings)?,
            name: settings.collection_name.clone(),
            canonical,
            cache: ItemCache::new(settings.item_cache_max_bytes, settings.item_cache_ttl),
            collection: RwLock::default(),
            outage: Throttle::new(),
        })
    }

    /// A store over another collection, on the same connections.
    #[must_use]
    pub fn beside(
        &self,
        collection: &str,
        cache_max_bytes: u64,
        cache_ttl: Duration,
        canonical: Canonicalizer,
    ) -> Self {
        Self {
            qdrant: self.qdrant.clone(),
            name: collection.to_owned(),
            canonical,
            cache: ItemCache::new(cache_max_bytes, cache_ttl),
            collection: RwLock::default(),
            outage: Throttle::new(),
        }
    }

    /// Asks what the collection is like.
    pub(super) async fn describe(
        &self,
        answer_by: AnswerBy,
    ) -> Result<Arc<Collection>, StoreError> {
        let request = GetCollectionInfoRequest {
            collection_name: self.name.clone(),
        };
        let mut collections = self.qdrant.collections();
        let told = self
            .qdrant
            .call("describe", answer_by, collections.get(request))
            .await;
        let told = told.map_err(|error| self.explained(error))?;
        let collection = Arc::new(Collection::read(told.result.unwrap_or_default()));
        let mut known = self
            .collection
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() != Some(&*collection) {
            let missing = collection.missing_indexes();
            if !missing.is_empty() {
                warn!(
                    collection = self.name,
                    ?missing,
                    "collection lacks payload indexes: what needs them finds nothing"
                );
            }
            let was = known.replace(Arc::clone(&collection));
            if was.is_some_and(|was| !was.has_vectors_of(&collection)) {
                warn!(
                    collection = self.name,
                    vector_size = collection.vector_size,
                    "collection was made anew with other vectors"
                );
                self.cache.forget_all();
            }
        }
        Ok(collection)
    }

    /// The collection as it is now, if it is another than it was when it was
    /// described: made anew, or without an index. Otherwise the error that may
    /// have come of that.
    async fn changed(
        &self,
        was: &Collection,
        error: StoreError,
        answer_by: AnswerBy,
    ) -> Result<Arc<Collection>, StoreError> {
        if !matches!(
            error.kind(),
            StoreErrorKind::Unprepared | StoreErrorKind::Corrupt
        ) {
            return Err(error);
        }
        let now = self.describe(answer_by).await?;
        if *now == *was {
            return Err(error);
        }
        Ok(now)
    }

    fn described(&self) -> Option<Arc<Collection>> {
        let known = self
            .collection
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    async fn collection(&self, answer_by: AnswerBy) -> Result<Arc<Collection>, StoreError> {
        match self.described() {
            Some(known) => Ok(known),
            None => self.describe(answer_by).await,
        }
    }

    /// Says of a collection that is not there how to make it.
    pub(super) fn explained(&self, error: StoreError) -> StoreError {
        if error.kind() != StoreErrorKind::Unprepared {
            return error;
        }
        let text = format!(
            "collection {:?} does not exist in Qdrant; create it with: recsys catalog import FILE",
            self.name
        );
        StoreError::new(StoreErrorKind::Unprepared, text).caused_by(error)
    }

    /// Items by point, from the cache or else read, all at once.
    pub(super) async fn read(
        &self,
        keys: &[PointKey],
        collection: &Collection,
        answer_by: AnswerBy,
    ) -> Result<HashMap<PointKey, Known>, StoreError> {
        let mut known: HashMap<PointKey, Known> = HashMap::with_capacity(keys.len());
        let mut missing = Vec::new();
        for key in keys {
            match self.cache.get(*key) {
                Some(item) => {
                    known.insert(*key, item);
                }
                None => missing.push(*key),
            }
        }
        meters::item_cache(known.len(), missing.len());
        if missing.is_empty() {
            return Ok(known);
        }
        let before: Vec<u64> = missing.iter().map(|key| self.cache.writes(*key)).collect();
        let with_vectors = match &collection.vector_name {
            None => {
                let any = collection.vector_size.is_some();
                with_vectors_selector::SelectorOptions::Enable(any)
            }
            Some(name) => with_vectors_selector::SelectorOptions::Include(VectorsSelector {
                names: vec![name.clone()],
            }),
        };
        let mut read: HashMap<PointKey, Known> = HashMap::with_capacity(missing.len());
        for point in self
            .retrieve(&missing, with_vectors.into(), answer_by)
            .await?
        {
            if let Some(key) = PointKey::read(point.id.as_ref()) {
                let name = collection.vector_name.as_deref();
                let (vector, _) = payload::vectors(point.vectors, name);
                let item = payload::read(key, point.payload, vector);
                let item = CatalogueItem::new(item, &self.canonical);
                read.insert(key, Some(Arc::new(item)));
            }
        }
        for (key, writes) in missing.into_iter().zip(before) {
            let item = read.remove(&key).flatten();
            self.cache.keep(key, item.clone(), writes);
            known.insert(key, item);
        }
        Ok(known)
    }

    pub(super) async fn retrieve(
        &self,
        keys: &[PointKey],
        with_vectors: WithVectorsSelector,
        answer_by: AnswerBy,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let mut read = Vec::with_capacity(keys.len());
        for keys in keys.chunks(RETRIEVED_AT_ONCE) {
            let request = GetPoints {
                collection_name: self.name.clone(),
                ids: keys.iter().map(|key| PointId::from(*key)).collect(),
                with_payload: Some(with_payload_selector::SelectorOptions::Enable(true).into()),
                with_vectors: Some(with_vectors.clone()),
                ..GetPoints::default()
            };
            let mut points = self.qdrant.points();
            let told = self
                .qdrant
                .call("retrieve", answer_by, points.get(request))
                .await;
            read.extend(told.map_err(|error| self.explained(error))?.result);
        }
        Ok(read)
    }
}

#[async_trait]
impl ItemStore for QdrantItemStore {
    async fn search(
        &self,
        searches: &[Search<'_>],
        answer_by: AnswerBy,
    ) -> Result<Vec<Found>, StoreError> {
        let asked = async {
            let collection = self.collection(answer_by).await?;
            match self.ask(&collection, searches, answer_by).await {
                Err(error) => {
                    let now = self.changed(&collection, error, answer_by).await?;
                    self.ask(&now, searches, answer_by).await
                }
                asked => asked,
            }
        };
        match asked.await {
            Err(error)
                if matches!(
                    error.kind(),
                    StoreErrorKind::Unavailable | StoreErrorKind::Misconfigured
                ) =>
            {
                self.answer_from_memory(searches, error)
            }
            asked => asked,
        }
    }

    async fn get(
        &self,
        ids: &[ContentId],
        answer_by: AnswerBy,
    ) -> Result<Vec<Option<Arc<CatalogueItem>>>, StoreError> {
        let keys: Vec<PointKey> = ids.iter().map(PointKey::of).collect();
        let collection = self.collection(answer_by).await?;
        let items = match self.read(&keys, &collection, answer_by).await {
            Err(error) => {
                let now = self.changed(&collection, error, answer_by).await?;
                self.read(&keys, &now, answer_by).await?
            }
            read => read?,
        };
        Ok(ids
            .iter()
            .zip(keys)
            .map(|(id, key)| {
                let item = items.get(&key).cloned().flatten();
                item.filter(|item| item.id() == id)
            })
            .collect())
    }

    fn remembered(&self, ids: &[ContentId]) -> Vec<Option<Arc<CatalogueItem>>> {
        let item = |id: &ContentId| self.cache.remembered(PointKey::of(id));
        ids.iter()
            .map(|id| item(id).filter(|item| item.id() == id))
            .collect()
    }

    async fn upsert(&self, items: Vec<Item>) -> Result<Vec<Result<(), ItemRefusal>>, StoreError> {
        let put = self.put(items).await?;
        Ok(put.into_iter().map(|put| put.map(|_| ())).collect())
    }

    async fn delete(&self, ids: &[ContentId]) -> Result<Vec<bool>, StoreError> {
        let keys: Vec<PointKey> = ids.iter().map(PointKey::of).collect();
        let mut there: HashSet<PointKey> = self
            .retrieve(&keys, query::without_vectors(), AnswerBy::WHENEVER)
            .await?
            .iter()
            .filter_map(|point| PointKey::read(point.id.as_ref()))
            .collect();
        let request = DeletePoints {
            collection_name: self.name.clone(),
            wait: Some(true),
            points: Some(PointsSelector {
                points_selector_one_of: Some(PointsSelectorOneOf::Points(PointsIdsList {
                    ids: there.iter().map(|key| PointId::from(*key)).collect(),
                })),
            }),
            ..DeletePoints::default()
        };
        let done = if there.is_empty() {
            Ok(())
        } else {
            let mut points = self.qdrant.points();
            let done = self
                .qdrant
                .call("delete", AnswerBy::WHENEVER, points.delete(request))
                .await;
            done.map(|_| ())
        };
        self.cache.forget(&keys);
        done?;
        Ok(keys.iter().map(|key| there.remove(key)).collect())
    }

    async fn check(&self) -> Result<(), StoreError> {
        let mut service = self.qdrant.service();
        self.qdrant
            .call(
                "ping",
                AnswerBy::WHENEVER,
                service.health_check(HealthCheckRequest {}),
            )
            .await?;
        // What changed of the collection is noticed here, within seconds.
        self.describe(AnswerBy::WHENEVER).await.map(|_| ())
    }

    fn vector_size(&self) -> Option<usize> {
        self.described()?.vector_size
    }
}
