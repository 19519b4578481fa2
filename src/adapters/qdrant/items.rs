//! The item store over one collection.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use qdrant_client::qdrant::{
    DeletePoints, GetCollectionInfoRequest, HealthCheckRequest, PointId, PointsIdsList,
    PointsSelector, points_selector::PointsSelectorOneOf,
};
use tracing::warn;

use super::{
    cache::ItemCache,
    channel::{Qdrant, QdrantSetupError},
    collection::Collection,
    ids::PointKey,
    query,
    reads::{Places, Wanted},
    settings::QdrantSettings,
};
use crate::{
    domain::{
        ids::ContentId,
        item::{CatalogueItem, Item},
        tags::Canonicalizer,
    },
    ports::{Deadline, Found, ItemRefusal, ItemStore, Search, StoreError, StoreErrorKind},
    telemetry::throttle::Throttle,
};

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
    pub(super) async fn describe(&self, deadline: Deadline) -> Result<Arc<Collection>, StoreError> {
        let request = GetCollectionInfoRequest {
            collection_name: self.name.clone(),
        };
        let mut collections = self.qdrant.collections();
        let told = self
            .qdrant
            .call("describe", deadline, collections.get(request))
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
        deadline: Deadline,
    ) -> Result<Arc<Collection>, StoreError> {
        if !matches!(
            error.kind(),
            StoreErrorKind::Unprepared | StoreErrorKind::Corrupt
        ) {
            return Err(error);
        }
        let now = self.describe(deadline).await?;
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

    async fn collection(&self, deadline: Deadline) -> Result<Arc<Collection>, StoreError> {
        match self.described() {
            Some(known) => Ok(known),
            None => self.describe(deadline).await,
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
}

#[async_trait]
impl ItemStore for QdrantItemStore {
    async fn search(
        &self,
        searches: &[Search<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError> {
        let asked = async {
            let collection = self.collection(deadline).await?;
            match self.ask(&collection, searches, deadline).await {
                Err(error) => {
                    let now = self.changed(&collection, error, deadline).await?;
                    self.ask(&now, searches, deadline).await
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
                self.answer_from_memory(searches, error, deadline)
            }
            asked => asked,
        }
    }

    async fn get(
        &self,
        ids: &[ContentId],
        deadline: Deadline,
    ) -> Result<Vec<Option<Arc<CatalogueItem>>>, StoreError> {
        let collection = self.collection(deadline).await?;
        let items = match self.read_by_id(ids, &collection, deadline).await {
            Err(error) => {
                let now = self.changed(&collection, error, deadline).await?;
                self.read_by_id(ids, &now, deadline).await?
            }
            read => read?,
        };
        let items = ids.iter().zip(items);
        Ok(items
            .map(|(id, item)| item.filter(|item| item.id() == id))
            .collect())
    }

    fn cached(&self, ids: &[ContentId]) -> Vec<Option<Arc<CatalogueItem>>> {
        let item = |id: &ContentId| {
            let places = [Some(PointKey::of(id)), self.cache.home(id)];
            let mut items = places
                .into_iter()
                .flatten()
                .filter_map(|key| self.cache.cached(key));
            items.find(|item| item.id() == id)
        };
        ids.iter().map(item).collect()
    }

    async fn upsert(&self, items: Vec<Item>) -> Result<Vec<Result<(), ItemRefusal>>, StoreError> {
        let put = self.put(items).await?;
        Ok(put.into_iter().map(|put| put.map(|_| ())).collect())
    }

    async fn delete(&self, ids: &[ContentId]) -> Result<Vec<bool>, StoreError> {
        let collection = self.collection(Deadline::NONE).await?;
        let wanted: Vec<Wanted<'_>> = ids.iter().map(|id| self.wanted(id, &collection)).collect();
        let points = self
            .retrieve(&wanted, query::without_vectors(), Deadline::NONE)
            .await?;
        let places = Places::of(&points);
        let of_each: Vec<Vec<PointKey>> = wanted
            .iter()
            .map(|wanted| places.of_item(wanted).collect())
            .collect();
        let mut there: HashSet<PointKey> = of_each.iter().flatten().copied().collect();
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
                .call("delete", Deadline::NONE, points.delete(request))
                .await;
            done.map(|_| ())
        };
        let own = ids.iter().map(PointKey::of);
        let forgotten: Vec<PointKey> = there.iter().copied().chain(own).collect();
        self.cache.forget(&forgotten);
        done?;
        // All of them are taken, so that an id that comes twice was there once.
        let was_there =
            |keys: Vec<PointKey>| keys.iter().filter(|key| there.remove(key)).count() > 0;
        Ok(of_each.into_iter().map(was_there).collect())
    }

    async fn check(&self) -> Result<(), StoreError> {
        let mut service = self.qdrant.service();
        self.qdrant
            .call(
                "ping",
                Deadline::NONE,
                service.health_check(HealthCheckRequest {}),
            )
            .await?;
        // What changed of the collection is noticed here, within seconds.
        self.describe(Deadline::NONE).await.map(|_| ())
    }

    fn vector_size(&self) -> Option<usize> {
        self.described()?.vector_size
    }

    async fn learn_vector_size(&self, deadline: Deadline) -> Result<(), StoreError> {
        self.collection(deadline).await.map(|_| ())
    }
}
