//! Reads of items that bypass the cache: the whole collection page by page, and by id.

use std::collections::HashMap;

use qdrant_client::qdrant::{PointId, RetrievedPoint, ScrollPoints, with_payload_selector};

use super::{
    collection::Collection,
    ids::PointKey,
    lookup::{FoundPoints, PointRef},
    payload::{self, CONTENT_ID},
    store::QdrantItemStore,
};
use crate::{
    domain::{ids::ContentId, item::Item},
    ports::{Deadline, StoreError},
};

/// The items' vectors of a collection. A collection that was recreated with other ones has
/// another shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VectorShape {
    name: Option<String>,
    size: Option<usize>,
}

/// An item with the key of its point.
pub(crate) struct PointItem {
    pub(crate) key: PointKey,
    pub(crate) item: Item,
}

/// Where a page of a collection starts.
#[derive(Clone, Debug)]
pub(crate) struct ScrollOffset(PointId);

/// Consecutive items of a collection, in the order of their points.
pub(crate) struct PointPage {
    pub(crate) items: Vec<PointItem>,
    /// `None` after the last page.
    pub(crate) next: Option<ScrollOffset>,
}

impl Collection {
    pub(super) fn vector_shape(&self) -> VectorShape {
        VectorShape {
            name: self.vector_name.clone(),
            size: self.vector_size,
        }
    }
}

impl QdrantItemStore {
    /// The collection's vectors, as last described; `None` until then.
    pub(crate) fn vector_shape(&self) -> Option<VectorShape> {
        Some(self.described()?.vector_shape())
    }

    /// The collection's vectors now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn describe_vectors(&self) -> Result<VectorShape, StoreError> {
        Ok(self.describe(Deadline::NONE).await?.vector_shape())
    }

    /// A page of at most `limit` items. The first starts at `None`.
    ///
    /// # Errors
    /// [`StoreError`]; of the kind `Corrupt` also if the page is too large for a reply.
    pub(crate) async fn point_page(
        &self,
        start: Option<ScrollOffset>,
        limit: u32,
    ) -> Result<PointPage, StoreError> {
        let collection = self.collection(Deadline::NONE).await?;
        let request = ScrollPoints {
            offset: start.map(|start| start.0),
            limit: Some(limit),
            with_payload: Some(with_payload_selector::SelectorOptions::Enable(true).into()),
            with_vectors: Some(collection.item_vectors()),
            ..ScrollPoints::default()
        };
        let page = self.scroll(request, Deadline::NONE).await?;
        let items = page.result.into_iter();
        Ok(PointPage {
            items: items
                .filter_map(|point| point_item(point, &collection))
                .collect(),
            next: page.next_page_offset.map(ScrollOffset),
        })
    }

    /// Reads items by id, each given once; one result each, in order. The key of an item's
    /// point is given if it is known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn read_uncached(
        &self,
        items: &[(ContentId, Option<PointKey>)],
    ) -> Result<Vec<Option<PointItem>>, StoreError> {
        let collection = self.collection(Deadline::NONE).await?;
        match self.read_points(items, &collection).await {
            Err(error) => {
                let now = self.changed(&collection, error, Deadline::NONE).await?;
                self.read_points(items, &now).await
            }
            read => read,
        }
    }

    async fn read_points(
        &self,
        items: &[(ContentId, Option<PointKey>)],
        collection: &Collection,
    ) -> Result<Vec<Option<PointItem>>, StoreError> {
        let refs: Vec<PointRef<'_>> = items
            .iter()
            .map(|(id, key)| {
                let may_be_foreign = PointKey::is_hash_of(id) && collection.has_index(CONTENT_ID);
                PointRef {
                    key: key.unwrap_or_else(|| PointKey::of(id)),
                    id: may_be_foreign.then_some(id),
                }
            })
            .collect();
        let vectors = collection.item_vectors();
        let points = self.retrieve(&refs, vectors, Deadline::NONE).await?;
        let found = FoundPoints::new(&points);
        let mut read: HashMap<PointKey, PointItem> = points
            .into_iter()
            .filter_map(|point| point_item(point, collection))
            .map(|point| (point.key, point))
            .collect();
        let items = refs.iter().zip(items);
        Ok(items
            .map(|(point, (id, _))| {
                let key = found.keys_of(point).next()?;
                let is_found = read.get(&key).is_some_and(|read| read.item.id == *id);
                is_found.then(|| read.remove(&key)).flatten()
            })
            .collect())
    }
}

fn point_item(point: RetrievedPoint, collection: &Collection) -> Option<PointItem> {
    let key = PointKey::read(point.id.as_ref())?;
    let (vector, _) = payload::vectors(point.vectors, collection.vector_name.as_deref());
    Some(PointItem {
        key,
        item: payload::read(key, point.payload, vector),
    })
}
