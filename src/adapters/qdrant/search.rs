//! Searches: Qdrant proposes ids, and the items' contents give their exact order.
//! While Qdrant does not answer, searches run over the cache.

use std::{collections::HashSet, sync::Arc};

use qdrant_client::qdrant::{BatchResult, PointId, QueryBatchPoints, QueryPoints, ScrollPoints};
use tracing::{debug, error, warn};

use super::{
    collection::Collection,
    ids::PointKey,
    lookup::PointRef,
    payload::{self, CONTENT_ID},
    query,
    store::QdrantItemStore,
    tag_vector::TagSearch,
};
use crate::{
    adapters::exact_search::{self, sample_key},
    domain::{
        ids::ContentId, item::CatalogueItem, ranking::scorers::overlap, restriction::Restriction,
        tags::TagKey,
    },
    ports::{Deadline, Found, Search, SearchOrder, StoreError, StoreErrorKind},
};

/// Ids per page of a scroll.
pub(super) const SCROLL_PAGE: u32 = 10_000;

/// The part by which Qdrant's products, in single precision, may be too small.
const ROUNDING: f64 = 1e-4;

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

/// What Qdrant proposes for a search, best first.
#[derive(Default)]
struct Page {
    keys: Vec<PointKey>,
    /// The score of the last result, dropped ones included; `None` if Qdrant has no
    /// more results.
    last_score: Option<f32>,
}

impl Page {
    fn new(keys: Vec<PointKey>) -> Self {
        Self {
            keys,
            last_score: None,
        }
    }

    fn read(found: &BatchResult, requested: usize) -> Self {
        let points = found.result.iter();
        let last = found.result.last();
        Self {
            keys: points
                .filter_map(|point| PointKey::read(point.id.as_ref()))
                .collect(),
            last_score: last
                .filter(|_| found.result.len() >= requested)
                .map(|last| last.score),
        }
    }
}

impl QdrantItemStore {
    /// Runs searches in Qdrant. Those by the vector of tags run once more, by payload,
    /// if they may have missed an item.
    pub(super) async fn query(
        &self,
        collection: &Collection,
        searches: &[Search<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError> {
        let (mut found, incomplete) = self.query_once(collection, searches, deadline).await?;
        if incomplete.is_empty() {
            return Ok(found);
        }
        let mut by_payload = collection.clone();
        by_payload.tag_search = TagSearch::Payload;
        let again: Vec<Search<'_>> = incomplete
            .iter()
            .map(|index| searches[*index].clone())
            .collect();
        debug!("searching tags by payload too: tags share a dimension, or vectors are outdated");
        let (more, _) = self.query_once(&by_payload, &again, deadline).await?;
        for (index, more) in incomplete.into_iter().zip(more) {
            if let (Found::Items(items), Found::Items(more)) = (&mut found[index], more) {
                let known: HashSet<&ContentId> = items.iter().map(|item| item.id()).collect();
                let new = more.into_iter().filter(|item| !known.contains(item.id()));
                let new: Vec<_> = new.collect();
                let all: Vec<_> = items.drain(..).chain(new).collect();
                *items = in_order(all, &searches[index]);
            }
        }
        Ok(found)
    }

    /// Runs searches in Qdrant. Also returns which of them may have missed an item.
    async fn query_once(
        &self,
        collection: &Collection,
        searches: &[Search<'_>],
        deadline: Deadline,
    ) -> Result<(Vec<Found>, Vec<usize>), StoreError> {
        let mut batch = Vec::new();
        let methods = searches.iter();
        let methods = methods.map(|search| self.method(collection, search, &mut batch));
        let methods: Vec<SearchMethod<'_>> = methods.collect::<Result<_, _>>()?;
        let proposed = self.proposed(collection, batch, deadline).await?;
        let mut proposed = proposed.into_iter();
        let mut pages: Vec<Option<Page>> = Vec::with_capacity(methods.len());
        for (method, search) in methods.iter().zip(searches) {
            pages.push(match method {
                SearchMethod::Query => Some(proposed.next().unwrap_or_default()),
                SearchMethod::PinnedSample { seed } => {
                    let sample = self.pinned_sample(search, *seed, collection, deadline);
                    Some(Page::new(sample.await?))
                }
                SearchMethod::Read(_) | SearchMethod::Empty => Some(Page::default()),
                SearchMethod::NoIndex => None,
            });
        }
        let lacking = lacking_vector(collection, searches);
        let of_pages = pages.iter().flatten().flat_map(|page| &page.keys);
        let mut keys: Vec<PointKey> = of_pages.chain(lacking).copied().collect();
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
        let item_of = |key: &PointKey| items[keys.binary_search(key).ok()?].clone();
        let mut found = Vec::with_capacity(searches.len());
        let mut incomplete = Vec::new();
        for (index, ((page, search), method)) in
            pages.into_iter().zip(searches).zip(&methods).enumerate()
        {
            if let SearchMethod::Read(ids) = method {
                let read: Vec<_> = read_by_id.by_ref().take(ids.len()).flatten().collect();
                found.push(Found::Items(exact_search::run(read.iter(), search)));
                continue;
            }
            let Some(page) = page else {
                found.push(Found::NoIndex);
                continue;
            };
            let mut proposed: Vec<_> = page.keys.iter().filter_map(item_of).collect();
            let is_by_vector = query::searches_tag_vector(search, collection);
            if is_by_vector {
                let proposed_keys: HashSet<&PointKey> = page.keys.iter().collect();
                let others = lacking.iter().filter(|key| !proposed_keys.contains(key));
                let others = others.filter_map(item_of);
                proposed.extend(others.filter(|item| search.restriction.admits(item)));
            }
            let items = in_order(proposed, search);
            if is_by_vector && !is_complete(&items, search, page.last_score) {
                incomplete.push(index);
            }
            found.push(Found::Items(items));
        }
        Ok((found, incomplete))
    }

    /// How to answer a search. Adds its query, if any, to the batch.
    fn method<'a>(
        &self,
        collection: &Collection,
        search: &'a Search<'a>,
        batch: &mut Vec<(&'a Search<'a>, QueryPoints)>,
    ) -> Result<SearchMethod<'a>, StoreError> {
        let fields = query::fields(search, collection);
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

    /// What Qdrant proposes for a batch of searches, without the ids of
    /// [`Search::exclude_afterwards`]. If too few remain, Qdrant is queried once
    /// more, for as many more as are excluded.
    async fn proposed(
        &self,
        collection: &Collection,
        batch: Vec<(&Search<'_>, QueryPoints)>,
        deadline: Deadline,
    ) -> Result<Vec<Page>, StoreError> {
        let (searches, queries): (Vec<&Search<'_>>, Vec<QueryPoints>) = batch.into_iter().unzip();
        let excluded = self.excluded_afterwards(collection, &searches);
        let mut pages = self.query_batch(queries, deadline).await?;
        let mut short = Vec::new();
        let mut longer = Vec::new();
        for (index, page) in pages.iter_mut().enumerate().take(searches.len()) {
            let (search, excluded) = (searches[index], &excluded[index]);
            let (needed, _) = query::page_size(search, collection, search.limit);
            page.keys.retain(|key| !excluded.contains(key));
            if page.last_score.is_some() && page.keys.len() < needed {
                let enough = search.limit + excluded.len();
                longer.extend(query::query(&self.name, collection, search, enough)?);
                short.push(index);
            }
        }
        for (index, mut page) in short
            .into_iter()
            .zip(self.query_batch(longer, deadline).await?)
        {
            let search = searches[index];
            let (_, requested) = query::page_size(search, collection, search.limit);
            page.keys.retain(|key| !excluded[index].contains(key));
            page.keys.truncate(requested);
            pages[index] = page;
        }
        Ok(pages)
    }

    /// The points that each search drops from its results: those of
    /// [`Search::exclude_afterwards`], and of [`Search::exclude`] if its query leaves
    /// them in. One set for searches that share their ids.
    fn excluded_afterwards(
        &self,
        collection: &Collection,
        searches: &[&Search<'_>],
    ) -> Vec<Arc<HashSet<PointKey>>> {
        let mut sets: Vec<Arc<HashSet<PointKey>>> = Vec::with_capacity(searches.len());
        let drops = |search: &Search<'_>| query::drops_excluded(search, collection);
        for search in searches {
            let shared = searches[..sets.len()].iter().position(|other| {
                std::ptr::eq(other.exclude_afterwards, search.exclude_afterwards)
                    && drops(other) == drops(search)
                    && (!drops(search) || std::ptr::eq(other.exclude, search.exclude))
            });
            sets.push(match shared {
                Some(index) => Arc::clone(&sets[index]),
                None => {
                    let dropped = drops(search).then_some(search.exclude);
                    let ids = || {
                        search
                            .exclude_afterwards
                            .iter()
                            .chain(dropped.into_iter().flatten())
                    };
                    let own = ids().map(PointKey::of);
                    let foreign = ids().filter_map(|id| self.cache.foreign_key(id));
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
    ) -> Result<Vec<Page>, StoreError> {
        if query_points.is_empty() {
            return Ok(Vec::new());
        }
        let requested: Vec<usize> = query_points
            .iter()
            .map(|query| usize::try_from(query.limit()).unwrap_or(usize::MAX))
            .collect();
        let request = QueryBatchPoints {
            collection_name: self.name.clone(),
            query_points,
            ..QueryBatchPoints::default()
        };
        let mut points = self.pool.points();
        let reply = self
            .call("query", deadline, points.query_batch(request))
            .await?;
        let results = reply.result.iter().zip(requested);
        Ok(results
            .map(|(found, requested)| Page::read(found, requested))
            .collect())
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
        let mut keyed: Vec<(u64, ContentId, PointKey)> = Vec::new();
        let mut offset: Option<PointId> = None;
        loop {
            let request = ScrollPoints {
                filter: Some(query::filter(search, collection)?),
                offset: offset.take(),
                limit: Some(SCROLL_PAGE),
                with_payload: Some(query::with_payload_fields(&[CONTENT_ID])),
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

/// The points that lack the vector of tags, if any of the searches uses it.
fn lacking_vector<'a>(collection: &'a Collection, searches: &[Search<'_>]) -> &'a [PointKey] {
    let by_vector = |search: &Search<'_>| query::searches_tag_vector(search, collection);
    match &collection.tag_search {
        TagSearch::Vector { lacking } if searches.iter().any(by_vector) => lacking,
        TagSearch::Vector { .. } | TagSearch::Payload | TagSearch::TooFewVectors => &[],
    }
}

/// Whether a search by the vector of tags cannot have missed an item: no item has more
/// in common with the search than its vector's product, and those that Qdrant left out
/// have at most the last result's.
fn is_complete(found: &[Arc<CatalogueItem>], search: &Search<'_>, last_score: Option<f32>) -> bool {
    let (Some(last_score), SearchOrder::TagOverlap(weights)) = (last_score, &search.order) else {
        return true;
    };
    let Some(last) = search.limit.checked_sub(1) else {
        return true;
    };
    found.get(last).is_some_and(|last| {
        let weight = |tag: &TagKey| {
            let found = weights.iter().find(|(of, _)| of == tag);
            found.map_or(0.0, |(_, weight)| *weight)
        };
        overlap(last, weight) >= f64::from(last_score) * (1.0 - ROUNDING)
    })
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
