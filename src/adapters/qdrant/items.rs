//! The item store over one collection.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use qdrant_client::qdrant::{
    DeletePoints, GetCollectionInfoRequest, GetPoints, HealthCheckRequest, PayloadIncludeSelector,
    PointId, PointsIdsList, PointsSelector, QueryBatchPoints, RetrievedPoint, ScrollPoints,
    VectorsSelector, WithPayloadSelector, WithVectorsSelector,
    points_selector::PointsSelectorOneOf, with_payload_selector, with_vectors_selector,
};
use tracing::warn;

use super::{
    cache::{ItemCache, Known},
    channel::{Qdrant, QdrantSetupError},
    collection::Collection,
    ids::PointKey,
    payload::{self, CONTENT_ID},
    query,
    settings::QdrantSettings,
};
use crate::{
    adapters::exact_search::{self, sample_key},
    domain::{
        ids::ContentId,
        item::{CatalogueItem, Item},
        restriction::Restriction,
        tags::Canonicalizer,
    },
    meters,
    ports::{Found, ItemRefusal, ItemStore, Search, SearchOrder, StoreError, StoreErrorKind},
    throttle::Throttle,
};

/// Points that are read in one call: fewer than an answer can carry, if each is
/// of the largest size.
const RETRIEVED_AT_ONCE: usize = 200;
/// Ids in one page of a scroll.
const SCROLL_PAGE: u32 = 10_000;

/// The catalogue in a collection of Qdrant. Contents and vectors that were
/// read lately are kept in this process.
pub struct QdrantItemStore {
    pub(super) qdrant: Qdrant,
    pub(super) name: String,
    pub(super) canonical: Canonicalizer,
    pub(super) cache: ItemCache,
    collection: RwLock<Option<Arc<Collection>>>,
    /// Of lists that came from memory, which an outage makes of every one.
    outage: Throttle,
}

/// How a search is answered.
enum Plan {
    /// By the next of the batch.
    Batch,
    /// From all ids: the sample that a seed chooses.
    Pinned(u64),
    /// With nothing.
    Nothing,
    /// Not at all.
    NoIndex,
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

    /// Asks what the collection is like.
    pub(super) async fn describe(&self) -> Result<Arc<Collection>, StoreError> {
        let request = GetCollectionInfoRequest {
            collection_name: self.name.clone(),
        };
        let mut collections = self.qdrant.collections();
        let told = self.qdrant.call("describe", collections.get(request)).await;
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
            *known = Some(Arc::clone(&collection));
        }
        Ok(collection)
    }

    fn described(&self) -> Option<Arc<Collection>> {
        let known = self
            .collection
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    async fn collection(&self) -> Result<Arc<Collection>, StoreError> {
        match self.described() {
            Some(known) => Ok(known),
            None => self.describe().await,
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

    /// Runs searches against Qdrant.
    async fn ask(
        &self,
        collection: &Collection,
        searches: &[Search<'_>],
    ) -> Result<Vec<Found>, StoreError> {
        let mut batch = Vec::new();
        let plans: Vec<Plan> = searches
            .iter()
            .map(|search| {
                if query::fields(search)
                    .iter()
                    .any(|field| !collection.has_index(field))
                {
                    return Plan::NoIndex;
                }
                if let SearchOrder::Sample { seed, pinned: true } = search.order {
                    return Plan::Pinned(seed);
                }
                match query::query(&self.name, collection, search) {
                    Some(query) => {
                        batch.push(query);
                        Plan::Batch
                    }
                    None => Plan::Nothing,
                }
            })
            .collect();

        let mut proposed = self.query_batch(batch).await?.into_iter();
        let mut pages: Vec<Option<Vec<PointKey>>> = Vec::with_capacity(plans.len());
        for (plan, search) in plans.iter().zip(searches) {
            pages.push(match plan {
                Plan::Batch => Some(proposed.next().unwrap_or_default()),
                Plan::Pinned(seed) => Some(self.pinned_sample(search, *seed).await?),
                Plan::Nothing => Some(Vec::new()),
                Plan::NoIndex => None,
            });
        }
        let mut wanted = HashSet::new();
        let keys: Vec<PointKey> = pages
            .iter()
            .flatten()
            .flatten()
            .copied()
            .filter(|key| wanted.insert(*key))
            .collect();
        let items = self.read(&keys, collection).await?;
        let results = pages.into_iter().zip(searches).map(|(page, search)| {
            let Some(page) = page else {
                return Found::NoIndex;
            };
            let items = page.iter().filter_map(|key| items.get(key)?.clone());
            Found::Items(in_order(items.collect(), search))
        });
        Ok(results.collect())
    }

    async fn query_batch(
        &self,
        query_points: Vec<qdrant_client::qdrant::QueryPoints>,
    ) -> Result<Vec<Vec<PointKey>>, StoreError> {
        if query_points.is_empty() {
            return Ok(Vec::new());
        }
        let request = QueryBatchPoints {
            collection_name: self.name.clone(),
            query_points,
            ..QueryBatchPoints::default()
        };
        let mut points = self.qdrant.points();
        let told = self
            .qdrant
            .call("query", points.query_batch(request))
            .await
            .map_err(|error| self.explained(error))?;
        let keys = |found: qdrant_client::qdrant::BatchResult| -> Vec<PointKey> {
            let points = found.result.iter();
            points
                .filter_map(|point| PointKey::read(point.id.as_ref()))
                .collect()
        };
        Ok(told.result.into_iter().map(keys).collect())
    }

    /// Qdrant's own samples cannot be repeated: the ids that the seed puts
    /// first are picked from all that match.
    async fn pinned_sample(
        &self,
        search: &Search<'_>,
        seed: u64,
    ) -> Result<Vec<PointKey>, StoreError> {
        let include = PayloadIncludeSelector {
            fields: vec![CONTENT_ID.to_owned()],
        };
        let mut keyed: Vec<(u64, ContentId, PointKey)> = Vec::new();
        let mut offset: Option<PointId> = None;
        loop {
            let request = ScrollPoints {
                collection_name: self.name.clone(),
                filter: Some(query::filter(search)),
                offset: offset.take(),
                limit: Some(SCROLL_PAGE),
                with_payload: Some(WithPayloadSelector {
                    selector_options: Some(with_payload_selector::SelectorOptions::Include(
                        include.clone(),
                    )),
                }),
                with_vectors: Some(query::without_vectors()),
                ..ScrollPoints::default()
            };
            let mut points = self.qdrant.points();
            let page = self.qdrant.call("scroll", points.scroll(request)).await?;
            keyed.extend(page.result.into_iter().filter_map(|point| {
                let key = PointKey::read(point.id.as_ref())?;
                let id = payload::read(key, point.payload, None).id;
                Some((sample_key(&id, seed), id, key))
            }));
            offset = page.next_page_offset;
            if offset.is_none() {
                break;
            }
        }
        keyed.sort_unstable();
        let end = search.offset.saturating_add(search.limit);
        Ok(keyed.into_iter().take(end).map(|(_, _, key)| key).collect())
    }

    /// Items by point, from the cache or else read, all at once.
    async fn read(
        &self,
        keys: &[PointKey],
        collection: &Collection,
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
            None => with_vectors_selector::SelectorOptions::Enable(true),
            Some(name) => with_vectors_selector::SelectorOptions::Include(VectorsSelector {
                names: vec![name.clone()],
            }),
        };
        let mut read: HashMap<PointKey, Known> = HashMap::with_capacity(missing.len());
        for point in self.retrieve(&missing, with_vectors.into()).await? {
            if let Some(key) = PointKey::read(point.id.as_ref()) {
                let options = point.vectors.and_then(|vectors| vectors.vectors_options);
                let vector = payload::vector(options, collection.vector_name.as_deref());
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
            let told = self.qdrant.call("retrieve", points.get(request)).await;
            read.extend(told.map_err(|error| self.explained(error))?.result);
        }
        Ok(read)
    }

    /// Answers searches from what this process remembers, if that is enough
    /// for at least one of them.
    fn remembered(
        &self,
        searches: &[Search<'_>],
        error: StoreError,
    ) -> Result<Vec<Found>, StoreError> {
        let items = self.cache.items();
        let found: Vec<Vec<Arc<CatalogueItem>>> = searches
            .iter()
            .map(|search| exact_search::run(items.iter(), search))
            .collect();
        let enough = found
            .iter()
            .zip(searches)
            .any(|(found, search)| !found.is_empty() && found.len() >= search.limit);
        if !enough {
            return Err(error);
        }
        if let Some(untold) = self.outage.turn() {
            warn!(
                untold,
                error = &error as &dyn std::error::Error,
                "qdrant does not answer: recommending from the items in memory"
            );
        }
        Ok(found.into_iter().map(Found::Remembered).collect())
    }
}

/// Brings what Qdrant proposed into exact order, and cuts the page.
fn in_order(items: Vec<Arc<CatalogueItem>>, search: &Search<'_>) -> Vec<Arc<CatalogueItem>> {
    // Tags were matched by Qdrant's indexes; only the circle, which it
    // measures a little differently, is checked again. The ids are, because a
    // payload may name another than its point.
    let within = Restriction {
        within: search.restriction.within,
        ..Restriction::default()
    };
    let again = Search {
        order: search.order.clone(),
        restriction: &within,
        ..*search
    };
    if matches!(search.order, SearchOrder::Sample { pinned: false, .. }) {
        return items
            .into_iter()
            .filter(|item| !search.exclude.contains(item.id()) && within.admits(item))
            .skip(search.offset)
            .take(search.limit)
            .collect();
    }
    exact_search::run(items.iter(), &again)
}

#[async_trait]
impl ItemStore for QdrantItemStore {
    async fn search(&self, searches: &[Search<'_>]) -> Result<Vec<Found>, StoreError> {
        let asked = async {
            let collection = self.collection().await?;
            match self.ask(&collection, searches).await {
                Err(error)
                    if matches!(
                        error.kind(),
                        StoreErrorKind::Unprepared | StoreErrorKind::Corrupt
                    ) =>
                {
                    // The collection may have been made anew, or an index
                    // dropped, since it was described.
                    let now = self.describe().await?;
                    if now == collection {
                        return Err(error);
                    }
                    self.ask(&now, searches).await
                }
                asked => asked,
            }
        };
        match asked.await {
            Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                self.remembered(searches, error)
            }
            asked => asked,
        }
    }

    async fn get(&self, ids: &[ContentId]) -> Result<Vec<Option<Arc<CatalogueItem>>>, StoreError> {
        let keys: Vec<PointKey> = ids.iter().map(PointKey::of).collect();
        let collection = self.collection().await?;
        let items = self.read(&keys, &collection).await?;
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
            .retrieve(&keys, query::without_vectors())
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
            let done = self.qdrant.call("delete", points.delete(request)).await;
            done.map(|_| ())
        };
        self.cache.forget(&keys);
        done?;
        Ok(keys.iter().map(|key| there.remove(key)).collect())
    }

    async fn check(&self) -> Result<(), StoreError> {
        let mut service = self.qdrant.service();
        self.qdrant
            .call("ping", service.health_check(HealthCheckRequest {}))
            .await?;
        // What changed of the collection is noticed here, within seconds.
        self.describe().await.map(|_| ())
    }

    fn vector_size(&self) -> Option<usize> {
        self.described()?.vector_size
    }
}
