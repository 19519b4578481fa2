//! The port of the catalogue, implemented over a collection.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use qdrant_client::qdrant::{
    DeletePoints, HealthCheckRequest, PointId, PointsIdsList, PointsSelector,
    points_selector::PointsSelectorOneOf,
};

use super::{
    ids::PointKey,
    lookup::{FoundPoints, PointRef},
    query,
    store::QdrantItemStore,
};
use crate::{
    domain::{
        ids::ContentId,
        item::{CatalogueItem, Item},
        item_update::ItemUpdate,
    },
    ports::{
        Deadline, Found, ItemPage, ItemRefusal, ItemStore, PageRequest, Search, StoreError,
        StoreErrorKind,
    },
};

#[async_trait]
impl ItemStore for QdrantItemStore {
    async fn search(
        &self,
        searches: &[Search<'_>],
        deadline: Deadline,
    ) -> Result<Vec<Found>, StoreError> {
        let result = async {
            let collection = self.collection(deadline).await?;
            match self.query(&collection, searches, deadline).await {
                Err(error) => {
                    let now = self.changed(&collection, error, deadline).await?;
                    self.query(&now, searches, deadline).await
                }
                found => found,
            }
        };
        match result.await {
            Err(error)
                if matches!(
                    error.kind(),
                    StoreErrorKind::Unavailable | StoreErrorKind::Misconfigured
                ) =>
            {
                self.search_cache(searches, error, deadline)
            }
            found => found,
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
            let keys = [Some(PointKey::of(id)), self.cache.foreign_key(id)];
            let mut items = keys
                .into_iter()
                .flatten()
                .filter_map(|key| self.cache.get_stale(key));
            items.find(|item| item.id() == id)
        };
        ids.iter().map(item).collect()
    }

    async fn upsert(&self, items: Vec<Item>) -> Result<Vec<Result<(), ItemRefusal>>, StoreError> {
        let outcomes = self.put(items).await?;
        let outcomes = outcomes.into_iter().map(|outcome| outcome.map(|_| ()));
        Ok(outcomes.collect())
    }

    async fn update(
        &self,
        updates: Vec<ItemUpdate>,
    ) -> Result<Vec<Result<bool, ItemRefusal>>, StoreError> {
        self.change(&updates).await
    }

    async fn list(
        &self,
        page: PageRequest<'_>,
        deadline: Deadline,
    ) -> Result<Option<ItemPage>, StoreError> {
        self.page(page, deadline).await
    }

    async fn delete(&self, ids: &[ContentId]) -> Result<Vec<bool>, StoreError> {
        let collection = self.collection(Deadline::NONE).await?;
        let refs: Vec<PointRef<'_>> = ids
            .iter()
            .map(|id| self.point_ref(id, &collection))
            .collect();
        let points = self
            .retrieve(&refs, query::without_vectors(), Deadline::NONE)
            .await?;
        let found = FoundPoints::new(&points);
        let of_each: Vec<Vec<PointKey>> = refs
            .iter()
            .map(|point| found.keys_of(point).collect())
            .collect();
        let mut existing: HashSet<PointKey> = of_each.iter().flatten().copied().collect();
        let request = DeletePoints {
            collection_name: self.name.clone(),
            wait: Some(true),
            points: Some(PointsSelector {
                points_selector_one_of: Some(PointsSelectorOneOf::Points(PointsIdsList {
                    ids: existing.iter().map(|key| PointId::from(*key)).collect(),
                })),
            }),
            ..DeletePoints::default()
        };
        let done = if existing.is_empty() {
            Ok(())
        } else {
            let mut points = self.pool.points();
            let call = points.delete(request);
            let done = self.call("delete", Deadline::NONE, call).await;
            done.map(|_| ())
        };
        // Also after an error, as points may be gone.
        let own = ids.iter().map(PointKey::of);
        let stale: Vec<PointKey> = existing.iter().copied().chain(own).collect();
        self.cache.invalidate(&stale);
        done?;
        // Each key counts once: an id that is given twice existed once.
        let existed =
            |keys: Vec<PointKey>| keys.iter().filter(|key| existing.remove(key)).count() > 0;
        Ok(of_each.into_iter().map(existed).collect())
    }

    async fn check(&self) -> Result<(), StoreError> {
        let mut server = self.pool.server();
        let call = server.health_check(HealthCheckRequest {});
        self.pool.call("ping", Deadline::NONE, call).await?;
        // Notices changes of the collection within seconds.
        self.describe(Deadline::NONE).await.map(|_| ())
    }

    fn vector_size(&self) -> Option<usize> {
        self.described()?.vector_size
    }

    async fn learn_vector_size(&self, deadline: Deadline) -> Result<(), StoreError> {
        self.collection(deadline).await.map(|_| ())
    }
}
