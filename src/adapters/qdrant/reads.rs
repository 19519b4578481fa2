//! Points read by their keys or by the ids of their items: from the cache, or
//! else all at once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use qdrant_client::qdrant::{
    Condition, Filter, GetPoints, PointId, RetrievedPoint, ScrollPoints, ScrollResponse, Value,
    VectorsSelector, WithPayloadSelector, WithVectorsSelector, value::Kind, with_payload_selector,
    with_vectors_selector,
};

use super::{
    cache::Known,
    collection::Collection,
    ids::PointKey,
    items::QdrantItemStore,
    payload::{self, CONTENT_ID},
    query,
};
use crate::{
    domain::{ids::ContentId, item::CatalogueItem},
    ports::{Deadline, StoreError},
    telemetry::meters::{self, Cache},
};

/// Points that are read in one call: fewer than an answer can carry, if each is
/// of the largest size.
const RETRIEVED_AT_ONCE: usize = 200;

/// Calls for as many ids: more points than these can carry do not name one id
/// by mistake.
const MAX_PAGES: usize = 16;

/// A point to be read.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Its key, as far as that is known.
    pub(super) key: PointKey,
    /// The id of its item, if another program may have put that under a key of
    /// its own, where it can be looked up.
    pub(super) id: Option<&'a ContentId>,
}

/// Where items are, of points that were read.
pub(super) struct Places {
    keys: HashSet<PointKey>,
    /// By the id that is in their payload.
    by_id: HashMap<String, Vec<PointKey>>,
}

impl Places {
    pub(super) fn of(points: &[RetrievedPoint]) -> Self {
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

    /// The keys of an item's points: its own first, and then, smallest first,
    /// those that others chose.
    pub(super) fn of_item(&self, wanted: &Wanted<'_>) -> impl Iterator<Item = PointKey> {
        let own = wanted.id.map_or(wanted.key, PointKey::of);
        let others = wanted.id.and_then(|id| self.by_id.get(id.as_str()));
        let others = others.into_iter().flatten().copied();
        let own_is_there = self.keys.contains(&own).then_some(own);
        own_is_there
            .into_iter()
            .chain(others.filter(move |key| *key != own))
    }
}

impl QdrantItemStore {
    pub(super) fn wanted<'a>(&self, id: &'a ContentId, collection: &Collection) -> Wanted<'a> {
        let can_be_elsewhere = PointKey::hides(id) && collection.has_index(CONTENT_ID);
        let id_if_elsewhere = can_be_elsewhere.then_some(id);
        let home = id_if_elsewhere.and_then(|id| self.cache.home(id));
        Wanted {
            key: home.unwrap_or_else(|| PointKey::of(id)),
            id: id_if_elsewhere,
        }
    }

    /// Items by id; one for each, in order.
    pub(super) async fn read_by_id(
        &self,
        ids: &[ContentId],
        collection: &Collection,
        deadline: Deadline,
    ) -> Result<Vec<Known>, StoreError> {
        let wanted: Vec<Wanted<'_>> = ids.iter().map(|id| self.wanted(id, collection)).collect();
        self.read(&wanted, collection, deadline).await
    }

    /// Items, from the cache or else read; one for each, in order.
    pub(super) async fn read(
        &self,
        wanted: &[Wanted<'_>],
        collection: &Collection,
        deadline: Deadline,
    ) -> Result<Vec<Known>, StoreError> {
        let cached = |wanted: &Wanted<'_>| -> Option<Known> {
            let known = self.cache.get(wanted.key)?;
            let moved = known
                .as_ref()
                .is_some_and(|item| wanted.id.is_some_and(|id| id != item.id()));
            (!moved).then_some(known)
        };
        let mut known: Vec<Option<Known>> = wanted.iter().map(cached).collect();
        let missing: Vec<Wanted<'_>> = wanted
            .iter()
            .zip(&known)
            .filter_map(|(wanted, known)| known.is_none().then_some(*wanted))
            .collect();
        meters::cache_lookups(Cache::Items, wanted.len() - missing.len(), missing.len());
        if missing.is_empty() {
            return Ok(known.into_iter().map(Option::unwrap_or_default).collect());
        }
        let before = self.cache.writes();
        let with_vectors = match &collection.vector_name {
            None => {
                let any = collection.vector_size.is_some();
                with_vectors_selector::SelectorOptions::Enable(any)
            }
            Some(name) => with_vectors_selector::SelectorOptions::Include(VectorsSelector {
                names: vec![name.clone()],
            }),
        };
        let points = self
            .retrieve(&missing, with_vectors.into(), deadline)
            .await?;
        let places = Places::of(&points);
        let mut read: HashMap<PointKey, Known> = HashMap::with_capacity(points.len());
        for point in points {
            if let Some(key) = PointKey::read(point.id.as_ref()) {
                let name = collection.vector_name.as_deref();
                let (vector, _) = payload::vectors(point.vectors, name);
                let item = payload::read(key, point.payload, vector);
                let item = Arc::new(CatalogueItem::new(item, &self.canonical));
                self.cache.keep(key, Some(Arc::clone(&item)), &before);
                if PointKey::of(item.id()) != key && self.cache.home(item.id()).is_none() {
                    self.cache.set_home(item.id().clone(), key);
                }
                read.insert(key, Some(item));
            }
        }
        for (wanted, known) in wanted.iter().zip(&mut known) {
            if known.is_some() {
                continue;
            }
            let place = places.of_item(wanted).next();
            *known = Some(match place {
                Some(key) => read.get(&key).cloned().flatten(),
                None => None,
            });
            match (place, wanted.id) {
                (None, _) => self.cache.keep(wanted.key, None, &before),
                (Some(key), Some(id)) if key != wanted.key => {
                    self.cache.set_home(id.clone(), key);
                }
                (Some(_), _) => {}
            }
        }
        Ok(known.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Points as they are; those that do not exist are left out.
    pub(super) async fn retrieve(
        &self,
        wanted: &[Wanted<'_>],
        with_vectors: WithVectorsSelector,
        deadline: Deadline,
    ) -> Result<Vec<RetrievedPoint>, StoreError> {
        let with_payload: WithPayloadSelector =
            with_payload_selector::SelectorOptions::Enable(true).into();
        let mut read = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(RETRIEVED_AT_ONCE) {
            let keys = wanted.iter().map(|wanted| PointId::from(wanted.key));
            let ids = wanted.iter().filter_map(|wanted| wanted.id);
            let ids: Vec<String> = ids.map(ToString::to_string).collect();
            if ids.is_empty() {
                let request = GetPoints {
                    collection_name: self.name.clone(),
                    ids: keys.collect(),
                    with_payload: Some(with_payload.clone()),
                    with_vectors: Some(with_vectors.clone()),
                    ..GetPoints::default()
                };
                let mut points = self.qdrant.points();
                let told = self
                    .qdrant
                    .call("retrieve", deadline, points.get(request))
                    .await;
                read.extend(told.map_err(|error| self.explained(error))?.result);
                continue;
            }
            let mut request = ScrollPoints {
                filter: Some(Filter::should([
                    Condition::has_id(keys),
                    query::is_any(CONTENT_ID, ids),
                ])),
                limit: Some(RETRIEVED_AT_ONCE as u32),
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

    pub(super) async fn scroll(
        &self,
        request: ScrollPoints,
        deadline: Deadline,
    ) -> Result<ScrollResponse, StoreError> {
        let request = ScrollPoints {
            collection_name: self.name.clone(),
            ..request
        };
        let mut points = self.qdrant.points();
        let told = self
            .qdrant
            .call("scroll", deadline, points.scroll(request))
            .await;
        told.map_err(|error| self.explained(error))
    }
}
