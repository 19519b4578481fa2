//! The list of all items, in the order of their points' ids.

use std::{collections::HashSet, sync::Arc};

use qdrant_client::qdrant::{
    CountPoints, Filter, PointId, ScrollPoints, ScrollResponse, with_payload_selector,
};
use uuid::Uuid;

use super::{collection::Collection, ids::PointKey, payload, query, store::QdrantItemStore};
use crate::{
    domain::item::CatalogueItem,
    ports::{
        Deadline, ItemPage, ItemTotal, ListPosition, ListedItem, PageRequest, Search, SearchOrder,
        StoreError,
    },
};

impl QdrantItemStore {
    /// A page of the list of all items; `None` if the position is not one of this store.
    pub(super) async fn page(
        &self,
        page: PageRequest<'_>,
        deadline: Deadline,
    ) -> Result<Option<ItemPage>, StoreError> {
        let last = page.after.map(key_at);
        let begin = match last {
            None => None,
            Some(None) => return Ok(None),
            // After the last of all UUIDs, which is no UUID of a version, there is nothing.
            Some(Some(last)) => Some(next_key(last).unwrap_or(last)),
        };
        let collection = self.collection(deadline).await?;
        let read = match self.read_page(page, begin, &collection, deadline).await {
            Err(error) => {
                let now = self.changed(&collection, error, deadline).await?;
                self.read_page(page, begin, &now, deadline).await?
            }
            read => read?,
        };
        Ok(Some(read))
    }

    async fn read_page(
        &self,
        page: PageRequest<'_>,
        begin: Option<PointKey>,
        collection: &Collection,
        deadline: Deadline,
    ) -> Result<ItemPage, StoreError> {
        let filter = filter(page, collection)?;
        let with_vectors = if page.with_vectors {
            collection.item_vectors()
        } else {
            query::without_vectors()
        };
        let scroll = ScrollPoints {
            filter: Some(filter.clone()),
            offset: begin.map(PointId::from),
            limit: Some(u32::try_from(page.limit).unwrap_or(u32::MAX)),
            with_payload: Some(with_payload_selector::SelectorOptions::Enable(true).into()),
            with_vectors: Some(with_vectors),
            ..ScrollPoints::default()
        };
        let scroll = self.scroll(scroll, deadline);
        let count = async {
            match page.with_total {
                // Exact counts visit every point: only the first page has one.
                true => self
                    .total(filter, begin.is_none(), deadline)
                    .await
                    .map(Some),
                false => Ok(None),
            }
        };
        let (read, total) = tokio::try_join!(scroll, count)?;
        let next = last_key(&read).filter(|_| read.next_page_offset.is_some());
        let name = collection.vector_name.as_deref();
        let items = read.result.into_iter().filter_map(|point| {
            let key = PointKey::read(point.id.as_ref())?;
            let (vector, _) = payload::vectors(point.vectors, name);
            let item = payload::read(key, point.payload, vector);
            let item = Arc::new(CatalogueItem::new(item, &self.canonicalizer));
            // Other programs may have written fields that Qdrant compares differently.
            page.restriction.admits(&item).then(|| ListedItem {
                item,
                position: position_of(key),
            })
        });
        Ok(ItemPage {
            items: items.collect(),
            next: next.map(position_of),
            total,
        })
    }

    /// The number of points that a filter matches.
    async fn total(
        &self,
        filter: Filter,
        is_exact: bool,
        deadline: Deadline,
    ) -> Result<ItemTotal, StoreError> {
        let request = CountPoints {
            collection_name: self.name.clone(),
            filter: Some(filter),
            exact: Some(is_exact),
            ..CountPoints::default()
        };
        let mut points = self.pool.points();
        let reply = self.call("count", deadline, points.count(request)).await?;
        Ok(ItemTotal {
            items: reply.result.unwrap_or_default().count,
            is_estimate: !is_exact,
        })
    }
}

fn filter(page: PageRequest<'_>, collection: &Collection) -> Result<Filter, StoreError> {
    let nothing = HashSet::new();
    let search = Search {
        order: SearchOrder::ByIds(Vec::new()),
        restriction: page.restriction,
        exclude: &nothing,
        exclude_afterwards: &nothing,
        limit: page.limit,
    };
    query::filter(&search, collection)
}

fn last_key(read: &ScrollResponse) -> Option<PointKey> {
    PointKey::read(read.result.last()?.id.as_ref())
}

/// The position after a point.
fn position_of(key: PointKey) -> ListPosition {
    ListPosition(match key {
        PointKey::Number(number) => format!("n{number}"),
        PointKey::Uuid(uuid) => format!("u{}", uuid.as_simple()),
    })
}

/// The point before a position; `None` if another store made the position.
fn key_at(position: &ListPosition) -> Option<PointKey> {
    let key = match position.0.split_at_checked(1)? {
        ("n", number) => PointKey::Number(number.parse().ok()?),
        ("u", uuid) => PointKey::Uuid(Uuid::try_parse(uuid).ok()?),
        _ => return None,
    };
    (position_of(key) == *position).then_some(key)
}

/// The least id of a point after this one. Qdrant orders numbers before UUIDs.
fn next_key(key: PointKey) -> Option<PointKey> {
    match key {
        PointKey::Number(number) => Some(
            number
                .checked_add(1)
                .map_or(PointKey::Uuid(Uuid::nil()), PointKey::Number),
        ),
        PointKey::Uuid(uuid) => {
            let next = uuid.as_u128().checked_add(1)?;
            Some(PointKey::Uuid(Uuid::from_u128(next)))
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{key_at, next_key, position_of};
    use crate::{adapters::qdrant::ids::PointKey, ports::ListPosition};

    #[test]
    fn a_position_is_read_as_it_is_written() {
        for key in [
            PointKey::Number(0),
            PointKey::Number(u64::MAX),
            PointKey::Uuid(Uuid::nil()),
            PointKey::Uuid(Uuid::max()),
        ] {
            assert_eq!(key_at(&position_of(key)), Some(key));
        }
        for other in ["", "7", "n", "n-1", "n+1", "n01", "u7", "é", "uSKU-1"] {
            assert_eq!(key_at(&ListPosition(other.to_owned())), None, "{other}");
        }
    }

    #[test]
    fn the_next_id_is_the_least_of_all_that_follow() {
        let uuid = |bits| PointKey::Uuid(Uuid::from_u128(bits));
        assert_eq!(next_key(PointKey::Number(7)), Some(PointKey::Number(8)));
        assert_eq!(next_key(PointKey::Number(u64::MAX)), Some(uuid(0)));
        assert_eq!(next_key(uuid(7)), Some(uuid(8)));
        assert_eq!(next_key(uuid(u128::MAX)), None);
    }
}
