//! Updates of items: what is read and written, and what other programs wrote.

use qdrant_client::qdrant::{
    GetPoints, ScrollPoints, UpdateBatchPoints, points_update_operation::Operation,
    with_payload_selector::SelectorOptions, with_vectors_selector,
};
use recsys::{
    domain::{
        item::Item,
        item_update::{AttributeMask, ItemField, ItemMask, ItemUpdate},
        restriction::Restriction,
    },
    ports::{Deadline, ItemStore, ListPosition, PageRequest},
};
use serde_json::{Value, json};
use tonic::Code;

use super::Shop;
use crate::support::items::{half_circle, item};

fn update(values: Item, fields: &[ItemField], attributes: &[&str]) -> ItemUpdate {
    let paths = attributes.iter().map(|name| vec![(*name).to_owned()]);
    let mask = ItemMask {
        fields: fields.iter().copied().collect(),
        attributes: AttributeMask::Paths(paths.collect()),
    };
    ItemUpdate::new(values, mask)
}

fn priced(id: &str, price: i64) -> ItemUpdate {
    let mut values = Item::new(id);
    values.attributes.insert("price".to_owned(), json!(price));
    update(values, &[], &["price"])
}

fn turned(id: &str) -> ItemUpdate {
    update(
        item(id).vector(&[0.0, 1.0]).build(),
        &[ItemField::Vector],
        &[],
    )
}

#[tokio::test]
async fn new_prices_take_two_calls_and_touch_no_vector() {
    let numbers: Vec<String> = (0..150).map(|number| number.to_string()).collect();
    let items = numbers
        .iter()
        .map(|id| item(id).vector(&[1.0, 0.5]).build());
    let shop = Shop::with(items.collect()).await;
    let store = shop.store();
    store.learn_vector_size(Deadline::NONE).await.unwrap();
    shop.qdrant.reset_calls();
    let updates = numbers.iter().map(|id| priced(id, 5)).collect();
    let updated = store.update(updates).await.unwrap();
    assert!(updated.iter().all(|updated| *updated == Ok(true)));
    let calls = ["Get", "Scroll", "UpdateBatch", "Upsert"].map(|rpc| shop.qdrant.calls(rpc));
    assert_eq!(calls, [1, 0, 1, 0]);
    let read: Vec<GetPoints> = shop.qdrant.requests("Get");
    let no_vectors = with_vectors_selector::SelectorOptions::Enable(false);
    let selected = read[0].with_vectors.clone().unwrap().selector_options;
    assert_eq!(selected, Some(no_vectors));
    let Some(SelectorOptions::Include(include)) =
        read[0].with_payload.clone().unwrap().selector_options
    else {
        panic!("only some fields are read");
    };
    assert_eq!(include.fields, ["content_id"]);
    let written: Vec<UpdateBatchPoints> = shop.qdrant.requests("UpdateBatch");
    assert_eq!(written[0].operations.len(), 150);
    for operation in &written[0].operations {
        let Some(Operation::SetPayload(set)) = &operation.operation else {
            panic!("{operation:?}");
        };
        assert_eq!(set.payload.keys().collect::<Vec<_>>(), ["price"]);
    }
}

#[tokio::test]
async fn points_that_are_removed_after_they_were_read_are_not_created_again() {
    for updates in [vec![priced("7", 5)], vec![priced("7", 5), turned("7")]] {
        let shop = Shop::with(vec![item("7").vector(&[1.0, 0.0]).build()]).await;
        let store = shop.store();
        store.learn_vector_size(Deadline::NONE).await.unwrap();
        shop.qdrant.recreate_after("Get", shop.collection(), 2);
        let has_vector = updates.len() > 1;
        let count = updates.len();
        let updated = store.update(updates).await.unwrap();
        // The payload of a removed point is written to no point, as if the update came
        // before the removal. A vector cannot be, so that the item is looked up again.
        assert_eq!(updated, vec![Ok(!has_vector); count]);
        assert_eq!(shop.qdrant.points_count(shop.collection()), 0);
        let read = store.get(&["7".into()], Deadline::NONE).await.unwrap();
        assert_eq!(read, [None]);
    }
}

#[tokio::test]
async fn a_vector_is_written_without_the_payload_and_the_others_of_its_point() {
    let shop = Shop::with(half_circle(3)).await;
    let store = shop.store();
    shop.qdrant.reset_calls();
    let removed = update(Item::new("i002"), &[ItemField::Vector], &[]);
    let updated = store.update(vec![turned("i001"), removed]).await.unwrap();
    assert_eq!(updated, [Ok(true), Ok(true)]);
    let written: Vec<UpdateBatchPoints> = shop.qdrant.requests("UpdateBatch");
    let kinds: Vec<&str> = written[0]
        .operations
        .iter()
        .map(|operation| match &operation.operation {
            Some(Operation::UpdateVectors(_)) => "vectors",
            Some(Operation::DeleteVectors(_)) => "no vectors",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["no vectors", "vectors"]);
    let ids = ["i001".into(), "i002".into()];
    let read = store.get(&ids, Deadline::NONE).await.unwrap();
    let stored = read[0].as_ref().unwrap();
    assert_eq!(stored.vector().unwrap().to_vec(), [0.0, 1.0]);
    assert_eq!(stored.to_item().tags, half_circle(3)[1].tags);
    assert_eq!(read[1].as_ref().unwrap().vector(), None);
}

/// The payload of an item of another program after an update.
async fn payload_after(payload: Value, update: ItemUpdate) -> Value {
    let shop = Shop::with(Vec::new()).await;
    shop.qdrant.insert(shop.collection(), 7, payload, None);
    let updated = shop.store().update(vec![update]).await.unwrap();
    assert_eq!(updated, [Ok(true)]);
    shop.qdrant.payload(shop.collection(), 7).unwrap()
}

#[tokio::test]
async fn a_field_is_replaced_in_every_spelling_and_others_are_kept() {
    let written_by_others = json!({
        "title": "T", "thumbnail_url": "old", "word_count": 9, "lat": 1.0, "lon": 2.0,
        "time_metadata": {"dates_of_creation": "1890", "era": "x"}, "mine": 1,
    });
    let mut values = item("7").at(3.0, 4.0).words(5).build();
    values.image_url = "new".into();
    values.years = vec![2001];
    let fields = [
        ItemField::ImageUrl,
        ItemField::WordCount,
        ItemField::Location,
        ItemField::Years,
    ];
    let payload = payload_after(written_by_others.clone(), update(values, &fields, &[])).await;
    let expected = json!({
        "title": "T", "image_url": "new", "has_image": true, "text_length_words": 5,
        "locations": [{"lat": 3.0, "lon": 4.0}], "years": [2001],
        "time_metadata": {"era": "x"}, "mine": 1,
    });
    assert_eq!(payload, expected);

    // Further places are kept in the new spelling.
    let values = item("7").at(5.0, 6.0).build();
    let others = update(values, &[ItemField::OtherLocations], &[]);
    let payload = payload_after(written_by_others.clone(), others).await;
    let places = json!([{"lat": 1.0, "lon": 2.0}, {"lat": 5.0, "lon": 6.0}]);
    assert_eq!(payload["locations"], places);
    assert_eq!(payload.get("lat"), None);

    let no_image = update(Item::new("7"), &[ItemField::HasImage], &[]);
    let payload = payload_after(written_by_others.clone(), no_image).await;
    assert_eq!(payload["has_image"], json!(true), "it has a picture's URL");
    assert_eq!(payload["thumbnail_url"], "old");

    let mut values = Item::new("7");
    values.attributes.insert("own".to_owned(), json!(5.0));
    values
        .attributes
        .insert("title".to_owned(), json!("an attribute"));
    let mask = ItemMask {
        fields: [].into(),
        attributes: AttributeMask::All,
    };
    let replaced = ItemUpdate::new(values, mask);
    let payload = payload_after(written_by_others, replaced).await;
    let expected = json!({
        "title": "T", "thumbnail_url": "old", "word_count": 9, "lat": 1.0, "lon": 2.0, "own": 5,
    });
    assert_eq!(payload, expected, "a whole number is stored as one");
}

#[tokio::test]
async fn items_under_keys_of_other_programs_are_updated_and_listed() {
    let shop = Shop::with(vec![item("own").build()]).await;
    let payload = json!({"content_id": "SKU-1", "title": "T"});
    shop.qdrant.insert(shop.collection(), 1_000, payload, None);
    let store = shop.store();
    // Cached first.
    let read = store.get(&["SKU-1".into()], Deadline::NONE).await.unwrap();
    assert!(read[0].is_some());
    let updated = store
        .update(vec![priced("SKU-1", 5), priced("1000", 5)])
        .await
        .unwrap();
    assert_eq!(
        updated,
        [Ok(true), Ok(false)],
        "no item has the id of the point"
    );
    let payload = shop.qdrant.payload(shop.collection(), 1_000).unwrap();
    assert_eq!(payload["price"], json!(5));
    let read = store.get(&["SKU-1".into()], Deadline::NONE).await.unwrap();
    assert_eq!(
        read[0].as_ref().unwrap().to_item().attributes["price"],
        json!(5)
    );
    let open = Restriction::default();
    let page = |after| PageRequest {
        restriction: &open,
        after,
        limit: 1,
        with_vectors: true,
        with_total: false,
    };
    let first = store
        .list(page(None), Deadline::NONE)
        .await
        .unwrap()
        .unwrap();
    let second = store.list(page(first.next.as_ref()), Deadline::NONE).await;
    let second = second.unwrap().unwrap();
    let ids = [&first, &second].map(|page| page.items[0].item.id().to_string());
    assert_eq!(ids, ["SKU-1", "own"], "numbers come first");
    assert_eq!(second.next, None);
}

#[tokio::test]
async fn a_page_reads_vectors_and_counts_only_if_requested() {
    let shop = Shop::with(half_circle(5)).await;
    let store = shop.store();
    store.learn_vector_size(Deadline::NONE).await.unwrap();
    shop.qdrant.reset_calls();
    let open = Restriction::default();
    let page = |with: bool, after| PageRequest {
        restriction: &open,
        after,
        limit: 3,
        with_vectors: with,
        with_total: with,
    };
    let read = store
        .list(page(false, None), Deadline::NONE)
        .await
        .unwrap()
        .unwrap();
    let calls = ["Scroll", "Count"].map(|rpc| shop.qdrant.calls(rpc));
    assert_eq!((read.total, calls), (None, [1, 0]));
    let scrolls: Vec<ScrollPoints> = shop.qdrant.requests("Scroll");
    let selected = scrolls[0].with_vectors.clone().unwrap().selector_options;
    let no_vectors = with_vectors_selector::SelectorOptions::Enable(false);
    assert_eq!(selected, Some(no_vectors));
    let read = store
        .list(page(true, None), Deadline::NONE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(shop.qdrant.calls("Count"), 1);
    assert!(!read.total.unwrap().is_estimate);
    assert!(
        read.items
            .iter()
            .all(|listed| listed.item.vector().is_some())
    );
    // Later pages take an estimate, which costs Qdrant less.
    let next = read.next;
    let read = store
        .list(page(true, next.as_ref()), Deadline::NONE)
        .await
        .unwrap()
        .unwrap();
    assert!(read.total.unwrap().is_estimate);
    let other = ListPosition("i003".to_owned());
    let read = store
        .list(page(false, Some(&other)), Deadline::NONE)
        .await
        .unwrap();
    assert_eq!(read, None, "a position of another store");
}

#[tokio::test]
async fn updates_and_pages_fail_as_the_catalogue_does() {
    let shop = Shop::with(half_circle(5)).await;
    let store = shop.store();
    store.get(&["i001".into()], Deadline::NONE).await.unwrap();
    shop.qdrant
        .fail_rpc("UpdateBatch", Code::Unavailable, "down");
    store.update(vec![priced("i001", 5)]).await.unwrap_err();
    // It may have been applied: the cached item is not used.
    shop.qdrant.reset_calls();
    shop.qdrant.heal();
    store.get(&["i001".into()], Deadline::NONE).await.unwrap();
    assert_eq!(shop.qdrant.calls("Scroll"), 1);
    shop.qdrant.drop_collection(shop.collection());
    let error = store.update(vec![priced("i001", 5)]).await.unwrap_err();
    assert_eq!(error.kind(), recsys::ports::StoreErrorKind::Unprepared);
    assert!(
        error.to_string().contains("recsys catalog import"),
        "{error}"
    );
}
