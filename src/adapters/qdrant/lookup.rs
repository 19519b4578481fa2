//! Reads points by their keys or by the ids of their items: from the cache, the
//! others in one call.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use qdrant_client::qdrant::{
    Condition, Filter, GetPoints, PointId, RetrievedPoint, ScrollPoints, ScrollResponse, Value,
    WithPayloadSelector, WithVectorsSelector, value::Kind, with_payload_selector,
};

use super::{
    collection::Collection,
    ids::PointKey,
    item_cache::CachedItem,
    payload::{self, CONTENT_ID},
    query,
    store::QdrantItemStore,
};
use crate::{
    domain::{ids::ContentId, item::CatalogueItem},
    ports::{Deadline, StoreError},
    telemetry::meters::{self, Cache},
};

/// Points per call: a reply has room for as many of the largest size.
const POINTS_PER_CALL: usize = 200;

/// Pages per call's ids. Several points may name one id by mistake, but not more
/// than these pages hold.
const MAX_PAGES: usize = 16;

/// A point to read.
#[derive(Clone, Copy)]
pub(super) struct PointRef<'a> {
    /// Its key, as far as that is known.
    pub(super) key: PointKey,
    /// Its item's id, if another program may have chosen the point's key and the
    /// id is indexed.
    pub(super) id: Option<&'a ContentId>,
}

/// The keys of points that were read, and the ids in their payloads.
pub(super) struct FoundPoints {
    keys: HashSet<PointKey>,
    by_id: HashMap<String, Vec<PointKey>>,
}

impl FoundPoints {
    pub(super) fn new(points: &[RetrievedPoint]) -> Self {
        let mut keys = HashSet::with_capacity(points.len());
        let mut by_id: HashMap<String, Vec<PointKey>> = HashMap::new();
        for point in points {
            let Some(key) = PointKey::read(point.id.as_ref()) else {
                continue;
            };
            keys.insert(key);
            if let Some(Value {
                kind: Some(Kind::StringValue(id)),
            }) = point.payload.get(CONTENT_ID)
            {
                by_id.entry(id.clone()).or_default().push(key);
            }
        }
        by_id.values_mut().for_each(|keys| keys.sort_unstable());
        Self { keys, by_id }
    }

    /// All keys, in no particular order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &PointKey> {
        self.keys.iter()
    }

    /// The keys of an item's points: first the one that recsys gives it, then
    /// those that other programs chose, in ascending order.
    pub(super) fn keys_of(&self, point: &PointRef<'_>) -> impl Iterator<Item = PointKey> {
        let own = point.id.map_or(point.key, PointKey::of);
        let others = point.id.and_then(|id| self.by_id.get(id.as_str()));
        let others = others.into_iter().flatten().copied();
        let found_own = self.keys.contains(&own).then_some(own);
        found_own
            .into_iter()
            .chain(others.filter(move |key| *key != own))
    }
}

impl QdrantItemStore {
    pub(super) fn point_ref<'a>(&self, id: &'a ContentId, collection: &Collection) -> PointRef<'a> {
        let may_be_foreign = PointKey::is_hash_of(id) && collection.has_index(CONTENT_ID);
        let indexed_id = may_be_foreign.then_some(id);
        let foreign = indexed_id.and_then(|id| self.cache.foreign_key(id));
        PointRef {
            key: foreign.unwrap_or_else(|| PointKey::of(id)),
            id: indexed_id,
        }
    }

    /// Items by id; one for each, in order.
    pub(super) async fn read_by_id(
        &self,
        ids: &[ContentId],
        collection: &Collection,
        deadline: Deadline,
    ) -> Result<Vec<CachedItem>, StoreError> {
        let refs: Vec<PointRef<'_>> = ids
            .iter()
            .map(|id| self.point_ref(id, collection))
            .collect();
        self.read(&refs, collection, deadline).await
    }

    /// Items of points, from the cache or else from Qdrant; one for each, in
    /// order.
    pub(super) async fn read(
        &self,
        refs: &[PointRef<'_>],
        collection: &Collection,
        deadline: Deadline,
    ) -> Result<Vec<CachedItem>, StoreError> {
        let cached = |point: &PointRef<'_>| -> Option<CachedItem> {
            let cached = self.cache.get(point.key)?;
            let is_other_item = cached
                .as_ref()
                .is_some_and(|item| point.id.is_some_and(|id| id != item.id()));
            (!is_other_item).then_some(cached)
        };
        let mut items: Vec<Option<CachedItem>> = refs.iter().map(cached).collect();
        let misses: Vec<PointRef<'_>> = refs
            .iter()
            .zip(&items)
            .filter_map(|(point, item)| item.is_none().then_some(*point))
            .collect();
        meters::cache_lookups(Cache::Items, refs.len() - misses.len(), misses.len());
        if misses.is_empty() {
            return Ok(items.into_iter().map(Option::unwrap_or_default).collect());
        }
        let before = self.cache.writes();
        let points = self
            .retrieve(&misses, collection.item_vectors(), deadline)
            .await?;
        let found = FoundPoints::new(&points);
        let mut read: HashMap<PointKey, Arc<CatalogueItem>> = HashMap::with_capacity(points.len());
        for point in points {
            if let Some(key) = PointKey::read(point.id.as_ref()) {
                let name = collection.vector_name.as_deref();
                let (vector, _) = payload::vectors(point.vectors, name);
                let item = payload::read(key, point.payload, vector);
                let item = Arc::new(CatalogueItem::new(item, &self.canonicalizer));
                self.cache.insert(key, Some(Arc::clone(&item)), &before);
                if PointKey::of(item.id()) != key && self.cache.foreign_key(item.id()).is_none() {
                    self.cache.set_foreign_key(item.id().clone(), key);
                }
                read.insert(key, item);
            }
        }
        for (point, item) in refs.iter().zip(&mut items) {
            if item.is_some() {
                continue;
            }
            let key = found.keys_of(point).next();
            *item = Some(key.and_then(|key| read.get(&key).cloned()));
            match (key, point.id) {
                (None, _) => self.cache.insert(point.key, None, &before),
                (Some(key), Some(id)) if key != point.key => {
                    self.cache.set_foreign_key(id.clone(), key);
                }
                (Some(_), _) => {}
            }
        }
        Ok(items.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Points from Qdrant, in no particular order. Those that do not exist are
    /// left out.
    pub(super) async fn retrieve(
        &self,
        refs: &[PointRef<'_>],
        with_vectors: WithVectorsSelector,
        deadline: Deadline,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let with_payload = with_payload_selector::SelectorOptions::Enable(true).into();
        self.retrieve_fields(refs, with_payload, with_vectors, deadline)
            .await
    }

    /// The same with these fields of their payloads, which include [`CONTENT_ID`].
    pub(super) async fn retrieve_fields(
        &self,
        refs: &[PointRef<'_>],
        with_payload: WithPayloadSelector,
        with_vectors: WithVectorsSelector,
        deadline: Deadline,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let mut read = Vec::with_capacity(refs.len());
        for refs in refs.chunks(POINTS_PER_CALL) {
            let keys = refs.iter().map(|point| PointId::from(point.key));
            let ids = refs.iter().filter_map(|point| point.id);
            let ids: Vec<String> = ids.map(ToString::to_string).collect();
            if ids.is_empty() {
                let request = GetPoints {
                    collection_name: self.name.clone(),
                    ids: keys.collect(),
                    with_payload: Some(with_payload.clone()),
                    with_vectors: Some(with_vectors.clone()),
                    ..GetPoints::default()
                };
                let mut points = self.pool.points();
                let reply = self.call("retrieve", deadline, points.get(request));
                read.extend(reply.await?.result);
                continue;
            }
            let mut request = ScrollPoints {
                filter: Some(Filter::should([
                    Condition::has_id(keys),
                    query::is_any(CONTENT_ID, ids),
                ])),
                limit: Some(POINTS_PER_CALL as u32),
                with_payload: Some(with_payload.clone()),
                with_vectors: Some(with_vectors.clone()),
                ..ScrollPoints::default()
            };
            // One page, unless several points name one id.
            for _ in 0..MAX_PAGES {
                let page = self.scroll(request.clone(), deadline).await?;
                read.extend(page.result);
                request.offset = page.next_page_offset;
                if request.offset.is_none() {
                    break;
                }
            }
        }
        Ok(read)
    }

    /// A page of the collection's points.
    pub(super) async fn scroll(
        &self,
        request: ScrollPoints,
        deadline: Deadline,
    ) -> Result<ScrollResponse, StoreError> {
        let request = ScrollPoints {
            collection_name: self.name.clone(),
            ..request
        };
        let mut points = self.pool.points();
        self.call("scroll", deadline, points.scroll(request)).await
    }
}
