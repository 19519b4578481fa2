//! The contract of `ItemStore::list`, for every implementation of it.

use std::collections::{BTreeSet, HashSet};

use recsys::{
    domain::{
        filter::ItemFilter,
        ids::ContentId,
        item::Item,
        item_update::{AttributeMask, ItemMask, ItemUpdate},
        restriction::Restriction,
        tags::Canonicalizer,
    },
    ports::{Deadline, ItemPage, ItemStore, ItemTotal, ListPosition, PageRequest},
};
use serde_json::{Map, json};
use uuid::Uuid;

use crate::support::{
    catalogue,
    items::{half_circle, item},
};

fn priced(id: &str, price: u32) -> Item {
    let mut priced = item(id).vector(&[1.0, 0.5]).build();
    priced.attributes = Map::from_iter([("price".to_owned(), json!(price))]);
    priced
}

fn repriced(id: &str, price: u32) -> ItemUpdate {
    let mask = ItemMask {
        fields: BTreeSet::new(),
        attributes: AttributeMask::Paths(vec![vec!["price".to_owned()]]),
    };
    ItemUpdate::new(priced(id, price), mask)
}

fn cheaper_than(price: u32) -> Restriction {
    let text = format!("price < {price}");
    Restriction {
        filter: Some(ItemFilter::parse(&text, &Canonicalizer::default()).unwrap()),
        ..Restriction::default()
    }
}

async fn page(
    store: &dyn ItemStore,
    restriction: &Restriction,
    after: Option<&ListPosition>,
    limit: usize,
) -> ItemPage {
    let page = PageRequest {
        restriction,
        after,
        limit,
        with_vectors: false,
        with_total: true,
    };
    let read = store.list(page, Deadline::NONE).await.unwrap();
    read.expect("a position of this store")
}

/// Reads all pages, and does something between them.
async fn walk(
    store: &dyn ItemStore,
    restriction: &Restriction,
    limit: usize,
    mut between: impl AsyncFnMut(),
) -> Vec<String> {
    let mut ids = Vec::new();
    let mut after: Option<ListPosition> = None;
    loop {
        let read = page(store, restriction, after.as_ref(), limit).await;
        assert!(read.items.len() <= limit);
        ids.extend(read.items.iter().map(|listed| listed.item.id().to_string()));
        match read.next {
            None => return ids,
            next => after = next,
        }
        between().await;
    }
}

/// Ids of every kind.
fn any_ids(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|number| match number % 3 {
        0 => number.to_string(),
        1 => Uuid::from_u128(u128::from(number) << 100).to_string(),
        _ => format!("SKU-{number}"),
    })
}

#[tokio::test]
async fn pages_of_any_size_have_every_item_once_in_one_order() {
    for store in catalogue::stores().await {
        let nobody = page(&*store, &Restriction::default(), None, 10).await;
        assert!(nobody.items.is_empty() && nobody.next.is_none());
        let ids: BTreeSet<String> = any_ids(50).collect();
        let items = ids.iter().zip(0..).map(|(id, price)| priced(id, price));
        catalogue::fill(&*store, items.collect()).await;
        let open = Restriction::default();
        let order = walk(&*store, &open, 100, async || {}).await;
        assert_eq!(order.iter().cloned().collect::<BTreeSet<_>>(), ids);
        assert_eq!(order.len(), ids.len());
        for limit in [1, 7, 49, 50, 51] {
            assert_eq!(walk(&*store, &open, limit, async || {}).await, order);
        }
        let cheap = cheaper_than(20);
        let expected: BTreeSet<&String> = ids.iter().take(20).collect();
        let expected: Vec<&String> = order.iter().filter(|id| expected.contains(*id)).collect();
        for limit in [1, 7, 20, 100] {
            let found = walk(&*store, &cheap, limit, async || {}).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        }
        let total = |items| {
            let is_estimate = false;
            Some(ItemTotal { items, is_estimate })
        };
        assert_eq!(page(&*store, &open, None, 3).await.total, total(50));
        assert_eq!(page(&*store, &cheap, None, 3).await.total, total(20));
        let uncounted = PageRequest {
            restriction: &open,
            after: None,
            limit: 2,
            with_vectors: true,
            with_total: false,
        };
        let uncounted = store
            .list(uncounted, Deadline::NONE)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(uncounted.total, None);
        assert!(
            uncounted
                .items
                .iter()
                .all(|listed| listed.item.vector().is_some())
        );
        // The position after an item continues within a page.
        let whole = page(&*store, &open, None, 10).await;
        let rest = page(&*store, &open, Some(&whole.items[3].position), 6).await;
        assert_eq!(rest.items, whole.items[4..]);
    }
}

#[tokio::test]
async fn items_that_stay_are_listed_exactly_once_while_others_come_and_go() {
    for store in catalogue::stores().await {
        for seed in 0..5_u32 {
            let staying: BTreeSet<String> = any_ids(60).collect();
            let others: Vec<String> = any_ids(160).skip(60).collect();
            let build = |id: &String| priced(id, 1);
            catalogue::fill(&*store, staying.iter().map(build).collect()).await;
            catalogue::fill(&*store, others.iter().take(40).map(build).collect()).await;
            let mut step = seed;
            let between = async || {
                step += 7;
                for number in 0..10 {
                    let other = &others[(step * 31 + number * 17) as usize % others.len()];
                    if (step + number) % 2 == 0 {
                        store.delete(&[other.as_str().into()]).await.unwrap();
                    } else {
                        catalogue::fill(&*store, vec![build(other)]).await;
                    }
                }
                // Those that stay are written and changed as well.
                let changed = staying.iter().skip(step as usize % 7).step_by(7);
                let updates: Vec<ItemUpdate> = changed.map(|id| repriced(id, step)).collect();
                store.update(updates).await.unwrap();
                let replaced = staying.iter().skip(step as usize % 11).step_by(11);
                catalogue::fill(&*store, replaced.map(build).collect()).await;
            };
            let open = Restriction::default();
            let listed = walk(&*store, &open, 1 + seed as usize * 4, between).await;
            let once: HashSet<&String> = listed.iter().collect();
            assert_eq!(once.len(), listed.len(), "no item twice");
            assert!(
                staying.iter().all(|id| once.contains(id)),
                "none is missing"
            );
            store
                .delete(&any_ids(160).map(ContentId::from).collect::<Vec<_>>())
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn a_page_that_begins_at_a_deleted_item_goes_on_after_it() {
    for store in catalogue::stores().await {
        catalogue::fill(&*store, half_circle(20)).await;
        let open = Restriction::default();
        let order = walk(&*store, &open, 100, async || {}).await;
        let first = page(&*store, &open, None, 5).await;
        let gone: Vec<ContentId> = order[3..8].iter().map(|id| id.as_str().into()).collect();
        store.delete(&gone).await.unwrap();
        let second = page(&*store, &open, first.next.as_ref(), 100).await;
        let ids: Vec<&str> = second
            .items
            .iter()
            .map(|at| at.item.id().as_str())
            .collect();
        assert_eq!(ids, order[8..]);
    }
}
