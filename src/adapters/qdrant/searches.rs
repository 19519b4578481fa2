//! Searches: proposed by Qdrant as ids, brought into exact order from the
//! items' contents; or answered from memory while Qdrant does not answer.

use std::{collections::HashSet, sync::Arc};

use qdrant_client::qdrant::{
    PayloadIncludeSelector, PointId, QueryBatchPoints, QueryPoints, ScrollPoints,
    WithPayloadSelector, with_payload_selector,
};
use tracing::{debug, error, warn};

use super::{
    collection::Collection,
    ids::PointKey,
    items::QdrantItemStore,
    payload::{self, CONTENT_ID},
    query,
    reads::Wanted,
};
use crate::{
    adapters::exact_search::{self, sample_key},
    domain::{ids::ContentId, item::CatalogueItem, restriction::Restriction},
    ports::{Deadline, Found, Search, SearchOrder, StoreError, StoreErrorKind},
};

/// Ids in one page of a scroll.
pub(super) const SCROLL_PAGE: u32 = 10_000;

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
    /// Runs searches against Qdrant.
    pub(super) async fn ask(
        &self,
        collection: &Collection,
        searches: &[Search<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError> {
        let mut batch = Vec::new();
        let plans: Vec<Plan> = searches
            .iter()
            .map(|search| self.plan(collection, search, &mut batch))
            .collect();
        let proposed = self.proposed(collection, batch, deadline).await?;
        let mut proposed = proposed.into_iter();
        let mut pages: Vec<Option<Vec<PointKey>>> = Vec::with_capacity(plans.len());
        for (plan, search) in plans.iter().zip(searches) {
            pages.push(match plan {
                Plan::Batch => Some(proposed.next().unwrap_or_default()),
                Plan::Pinned(seed) => Some(
                    self.pinned_sample(search, *seed, collection, deadline)
                        .await?,
                ),
                Plan::Nothing => Some(Vec::new()),
                Plan::NoIndex => None,
            });
        }
        let mut keys: Vec<PointKey> = pages.iter().flatten().flatten().copied().collect();
        keys.sort_unstable();
        keys.dedup();
        let wanted: Vec<Wanted<'_>> = keys
            .iter()
            .map(|key| Wanted {
                key: *key,
                id: None,
            })
            .collect();
        let items = self.read(&wanted, collection, deadline).await?;
        let results = pages.into_iter().zip(searches).map(|(page, search)| {
            let Some(page) = page else {
                return Found::NoIndex;
            };
            let found = page.iter().filter_map(|key| keys.binary_search(key).ok());
            let items = found.filter_map(|place| items[place].clone());
            Found::Items(in_order(items.collect(), search))
        });
        Ok(results.collect())
    }

    fn plan<'a>(
        &self,
        collection: &Collection,
        search: &'a Search<'a>,
        batch: &mut Vec<(&'a Search<'a>, QueryPoints)>,
    ) -> Plan {
        let fields = query::fields(search);
        if fields.iter().any(|field| !collection.has_index(field)) {
            return Plan::NoIndex;
        }
        if let SearchOrder::Sample { seed, pinned: true } = search.order {
            return Plan::Pinned(seed);
        }
        match query::query(&self.name, collection, search, search.limit) {
            Some(query) => {
                batch.push((search, query));
                Plan::Batch
            }
            None => Plan::Nothing,
        }
    }

    /// The ids that Qdrant proposes for the searches that are batched, without
    /// those that are left out afterwards. Where these take away too much, it is
    /// asked once more, for enough to make up for all of them.
    async fn proposed(
        &self,
        collection: &Collection,
        batch: Vec<(&Search<'_>, QueryPoints)>,
        deadline: Deadline,
    ) -> Result<Vec<Vec<PointKey>>, StoreError> {
        let (searches, queries): (Vec<&Search<'_>>, Vec<QueryPoints>) = batch.into_iter().unzip();
        let left_out = self.left_out_afterwards(&searches);
        let mut pages = self.query_batch(queries, deadline).await?;
        let mut short = Vec::new();
        let mut longer = Vec::new();
        for (index, page) in pages.iter_mut().enumerate().take(searches.len()) {
            let (search, left_out) = (searches[index], &left_out[index]);
            let (least, asked) = query::needed(search, search.limit);
            let full = page.len() >= asked;
            page.retain(|key| !left_out.contains(key));
            if full && page.len() < least {
                let enough = search.limit + left_out.len();
                longer.extend(query::query(&self.name, collection, search, enough));
                short.push(index);
            }
        }
        for (index, mut page) in short
            .into_iter()
            .zip(self.query_batch(longer, deadline).await?)
        {
            let (_, asked) = query::needed(searches[index], searches[index].limit);
            page.retain(|key| !left_out[index].contains(key));
            page.truncate(asked);
            pages[index] = page;
        }
        Ok(pages)
    }

    /// The points that are left out of each search's proposals; searches that
    /// share their ids share them.
    fn left_out_afterwards(&self, searches: &[&Search<'_>]) -> Vec<Arc<HashSet<PointKey>>> {
        let mut made: Vec<Arc<HashSet<PointKey>>> = Vec::with_capacity(searches.len());
        for search in searches {
            let ids = search.exclude_afterwards;
            let shared = searches[..made.len()]
                .iter()
                .position(|other| std::ptr::eq(other.exclude_afterwards, ids));
            made.push(match shared {
                Some(index) => Arc::clone(&made[index]),
                None => {
                    let own = ids.iter().map(PointKey::of);
                    let homes = ids.iter().filter_map(|id| self.cache.home(id));
                    Arc::new(own.chain(homes).collect())
                }
            });
        }
        made
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
        let mut points = self.qdrant.points();
        let told = self
            .qdrant
            .call("query", deadline, points.query_batch(request))
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
                filter: Some(query::filter(search, collection)),
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
                let left_out =
                    search.exclude.contains(&id) || search.exclude_afterwards.contains(&id);
                (!left_out).then(|| (sample_key(&id, seed), id, key))
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

    /// Answers searches from what this process remembers, if that is enough
    /// for at least one of them.
    pub(super) fn answer_from_memory(
        &self,
        searches: &[Search<'_>],
        error: StoreError,
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError> {
        let looks = self.cache.len() * (searches.len() + 1);
        let found: Vec<Vec<Arc<CatalogueItem>>> = exact_search::scan(looks, || {
            let items = self.cache.items();
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
            debug!("the caller's time is up: recommending from the items in memory");
        } else if let Some(untold) = self.outage.turn() {
            let cause = &error as &dyn std::error::Error;
            if error.kind() == StoreErrorKind::Misconfigured {
                error!(
                    untold,
                    error = cause,
                    "settings of qdrant are wrong: recommending from the items in memory"
                );
            } else {
                warn!(
                    untold,
                    error = cause,
                    "qdrant does not answer: recommending from the items in memory"
                );
            }
        }
        Ok(found.into_iter().map(Found::Cached).collect())
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
            .filter(|item| {
                !search.exclude.contains(item.id())
                    && !search.exclude_afterwards.contains(item.id())
                    && within.admits(item)
            })
            .take(search.limit)
            .collect();
    }
    exact_search::run(items.iter(), &again)
}
