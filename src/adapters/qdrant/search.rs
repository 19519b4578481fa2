//! Searches: Qdrant proposes ids, and the items' contents give their exact order.
//! While Qdrant does not answer, searches run over the cache.

use std::{collections::HashSet, sync::Arc};

use qdrant_client::qdrant::{
    PayloadIncludeSelector, PointId, QueryBatchPoints, QueryPoints, ScrollPoints,
    WithPayloadSelector, with_payload_selector,
};
use tracing::{debug, error, warn};

use super::{
    collection::Collection,
    ids::PointKey,
    lookup::PointRef,
    payload::{self, CONTENT_ID},
    query,
    store::QdrantItemStore,
};
use crate::{
    adapters::exact_search::{self, sample_key},
    domain::{ids::ContentId, item::CatalogueItem, restriction::Restriction},
    ports::{Deadline, Found, Search, SearchOrder, StoreError, StoreErrorKind},
};

/// Ids per page of a scroll.
pub(super) const SCROLL_PAGE: u32 = 10_000;

/// How a search is answered.
enum SearchMethod<'a> {
    /// By the next query of the batch.
    Query,
    /// By a sample of all matching ids that can be repeated.
    PinnedSample {
        /// Chooses the sample.
        seed: u64,
    },
    /// By reading the items' points.
    Read(&'a [ContentId]),
    /// With no items: none can match.
    Empty,
    /// Not at all: an index is missing.
    NoIndex,
}

impl QdrantItemStore {
    /// Runs searches in Qdrant.
    pub(super) async fn query(
        &self,
        collection: &Collection,
        searches: &[Search<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError> {
        let mut batch = Vec::new();
        let methods = searches.iter();
        let methods = methods.map(|search| self.method(collection, search, &mut batch));
        let methods: Vec<SearchMethod<'_>> = methods.collect::<Result<_, _>>()?;
        let proposed = self.proposed(collection, batch, deadline).await?;
        let mut proposed = proposed.into_iter();
        let mut pages: Vec<Option<Vec<PointKey>>> = Vec::with_capacity(methods.len());
        for (method, search) in methods.iter().zip(searches) {
            pages.push(match method {
                SearchMethod::Query => Some(proposed.next().unwrap_or_default()),
                SearchMethod::PinnedSample { seed } => Some(
                    self.pinned_sample(search, *seed, collection, deadline)
                        .await?,
                ),
                SearchMethod::Read(_) | SearchMethod::Empty => Some(Vec::new()),
                SearchMethod::NoIndex => None,
            });
        }
        let mut keys: Vec<PointKey> = pages.iter().flatten().flatten().copied().collect();
        keys.sort_unstable();
        keys.dedup();
        let proposed = keys.iter().map(|key| PointRef {
            key: *key,
            id: None,
        });
        let by_id = methods.iter().flat_map(|method| match method {
            SearchMethod::Read(ids) => *ids,
            SearchMethod::Query
            | SearchMethod::PinnedSample { .. }
            | SearchMethod::Empty
            | SearchMethod::NoIndex => &[],
        });
        let by_id = by_id.map(|id| self.point_ref(id, collection));
        let refs: Vec<PointRef<'_>> = proposed.chain(by_id).collect();
        let mut items = self.read(&refs, collection, deadline).await?;
        let mut read_by_id = items.split_off(keys.len()).into_iter();
        let pages = pages.into_iter().zip(searches).zip(&methods);
        let results = pages.map(|((page, search), method)| {
            if let SearchMethod::Read(ids) = method {
                let read: Vec<_> = read_by_id.by_ref().take(ids.len()).flatten().collect();
                return Found::Items(exact_search::run(read.iter(), search));
            }
            let Some(page) = page else {
                return Found::NoIndex;
            };
            let places = page.iter().filter_map(|key| keys.binary_search(key).ok());
            let proposed = places.filter_map(|place| items[place].clone());
            Found::Items(in_order(proposed.collect(), search))
        });
        Ok(results.collect())
    }

    /// How to answer a search. Adds its query, if any, to the batch.
    fn method<'a>(
        &self,
        collection: &Collection,
        search: &'a Search<'a>,
        batch: &mut Vec<(&'a Search<'a>, QueryPoints)>,
    ) -> Result<SearchMethod<'a>, StoreError> {
        let fields = query::fields(search);
        if fields.iter().any(|field| !collection.has_index(field)) {
            return Ok(SearchMethod::NoIndex);
        }
        if let SearchOrder::Sample { seed, pinned: true } = search.order {
            return Ok(SearchMethod::PinnedSample { seed });
        }
        if let SearchOrder::ByIds(ids) = &search.order {
            return Ok(SearchMethod::Read(ids));
        }
        let query = query::query(&self.name, collection, search, search.limit)?;
        Ok(match query {
            Some(query) => {
                batch.push((search, query));
                SearchMethod::Query
            }
            None => SearchMethod::Empty,
        })
    }

    /// The ids that Qdrant proposes for a batch of searches, without those of
    /// [`Search::exclude_afterwards`]. If too few remain, Qdrant is queried once
    /// more, for as many more as are excluded.
    async fn proposed(
        &self,
        collection: &Collection,
        batch: Vec<(&Search<'_>, QueryPoints)>,
        deadline: Deadline,
    ) -> Result<Vec<Vec<PointKey>>, StoreError> {
        let (searches, queries): (Vec<&Search<'_>>, Vec<QueryPoints>) = batch.into_iter().unzip();
        let excluded = self.excluded_afterwards(&searches);
        let mut pages = self.query_batch(queries, deadline).await?;
        let mut short = Vec::new();
        let mut longer = Vec::new();
        for (index, page) in pages.iter_mut().enumerate().take(searches.len()) {
            let (search, excluded) = (searches[index], &excluded[index]);
            let (needed, requested) = query::page_size(search, search.limit);
            let was_full = page.len() >= requested;
            page.retain(|key| !excluded.contains(key));
            if was_full && page.len() < needed {
                let enough = search.limit + excluded.len();
                longer.extend(query::query(&self.name, collection, search, enough)?);
                short.push(index);
            }
        }
        for (index, mut page) in short
            .into_iter()
            .zip(self.query_batch(longer, deadline).await?)
        {
            let (_, requested) = query::page_size(searches[index], searches[index].limit);
            page.retain(|key| !excluded[index].contains(key));
            page.truncate(requested);
            pages[index] = page;
        }
        Ok(pages)
    }

    /// The points of each search's [`Search::exclude_afterwards`]; one set for
    /// searches that share their ids.
    fn excluded_afterwards(&self, searches: &[&Search<'_>]) -> Vec<Arc<HashSet<PointKey>>> {
        let mut sets: Vec<Arc<HashSet<PointKey>>> = Vec::with_capacity(searches.len());
        for search in searches {
            let ids = search.exclude_afterwards;
            let shared = searches[..sets.len()]
                .iter()
                .position(|other| std::ptr::eq(other.exclude_afterwards, ids));
            sets.push(match shared {
                Some(index) => Arc::clone(&sets[index]),
                None => {
                    let own = ids.iter().map(PointKey::of);
                    let foreign = ids.iter().filter_map(|id| self.cache.foreign_key(id));
                    Arc::new(own.chain(foreign).collect())
                }
            });
        }
        sets
    }

    async fn query_batch(
        &self,
        query_points: Vec<QueryPoints>,
        deadline: Deadline,
    ) -> Result<Vec<Vec<PointKey>>, StoreError> {
        if query_points.is_empty() {
            return Ok(Vec::new());
        }
        let request = QueryBatchPoints {
            collection_name: self.name.clone(),
            query_points,
            ..QueryBatchPoints::default()
        };
        let mut points = self.pool.points();
        let reply = self
            .call("query", deadline, points.query_batch(request))
            .await?;
        let keys = |found: qdrant_client::qdrant::BatchResult| -> Vec<PointKey> {
            let points = found.result.iter();
            points
                .filter_map(|point| PointKey::read(point.id.as_ref()))
                .collect()
        };
        Ok(reply.result.into_iter().map(keys).collect())
    }

    /// The sample that a seed chooses. Qdrant's own samples cannot be repeated:
    /// this one takes the first in the seed's order of all matching ids.
    async fn pinned_sample(
        &self,
        search: &Search<'_>,
        seed: u64,
        collection: &Collection,
        deadline: Deadline,
    ) -> Result<Vec<PointKey>, StoreError> {
        let include = PayloadIncludeSelector {
            fields: vec![CONTENT_ID.to_owned()],
        };
        let mut keyed: Vec<(u64, ContentId, PointKey)> = Vec::new();
        let mut offset: Option<PointId> = None;
        loop {
            let request = ScrollPoints {
                filter: Some(query::filter(search, collection)?),
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
            let page = self.scroll(request, deadline).await?;
            keyed.extend(page.result.into_iter().filter_map(|point| {
                let key = PointKey::read(point.id.as_ref())?;
                let id = payload::read(key, point.payload, None).id;
                let is_excluded =
                    search.exclude.contains(&id) || search.exclude_afterwards.contains(&id);
                (!is_excluded).then(|| (sample_key(&id, seed), id, key))
            }));
            offset = page.next_page_offset;
            if offset.is_none() {
                break;
            }
        }
        keyed.sort_unstable();
        let first = keyed.into_iter().take(search.limit);
        Ok(first.map(|(_, _, key)| key).collect())
    }

    /// Answers searches from the cache.
    ///
    /// # Errors
    /// The given error, if no search has as many results as its limit.
    pub(super) fn search_cache(
        &self,
        searches: &[Search<'_>],
        error: StoreError,
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError> {
        let visits = self.cache.len() * (searches.len() + 1);
        let found: Vec<Vec<Arc<CatalogueItem>>> = exact_search::scan(visits, || {
            let items = self.cache.stale_items();
            searches
                .iter()
                .map(|search| exact_search::run(items.iter(), search))
                .collect()
        });
        let enough = found
            .iter()
            .zip(searches)
            .any(|(found, search)| !found.is_empty() && found.len() >= search.limit);
        if !enough {
            return Err(error);
        }
        if error.kind() == StoreErrorKind::Unavailable && deadline.remaining().is_zero() {
            debug!("deadline exceeded: recommending cached items");
        } else if let Some(suppressed) = self.outage.turn() {
            let cause = &error as &dyn std::error::Error;
            if error.kind() == StoreErrorKind::Misconfigured {
                error!(
                    suppressed,
                    error = cause,
                    "qdrant settings are wrong: recommending cached items"
                );
            } else {
                warn!(
                    suppressed,
                    error = cause,
                    "qdrant does not answer: recommending cached items"
                );
            }
        }
        Ok(found.into_iter().map(Found::Cached).collect())
    }
}

/// The first items of a search among those that Qdrant proposed, in exact order.
fn in_order(items: Vec<Arc<CatalogueItem>>, search: &Search<'_>) -> Vec<Arc<CatalogueItem>> {
    // Qdrant's indexes matched the tags. The circle is checked again, as Qdrant
    // measures it a little differently, and so are the ids, as a payload may name
    // another id than its point, and the filter, as other programs may write other fields.
    let within = Restriction {
        within: search.restriction.within,
        filter: search.restriction.filter.clone(),
        ..Restriction::default()
    };
    let exact = Search {
        order: search.order.clone(),
        restriction: &within,
        ..*search
    };
    if matches!(search.order, SearchOrder::Sample { pinned: false, .. }) {
        return items
            .into_iter()
            .filter(|item| {
                !search.exclude.contains(item.id())
                    && !search.exclude_afterwards.contains(item.id())
                    && within.admits(item)
            })
            .take(search.limit)
            .collect();
    }
    exact_search::run(items.iter(), &exact)
}
