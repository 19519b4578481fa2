//! Updates of items by a mask.

use prost_types::FieldMask;
use recsys::{
    domain::item::Item,
    proto::{self, ItemOutcome, ItemUpdate},
};
use serde_json::json;
use tonic::{Code, Status};

use crate::support::{
    items::{half_circle, item},
    server::{TestServer, fields, ids, number_answer, text_answer},
};

pub(super) fn shop() -> Vec<Item> {
    let mut items = half_circle(10);
    for (item, price) in items.iter_mut().zip(100..) {
        item.title = format!("T{price}");
        item.attributes.extend([
            ("price".to_owned(), json!(price)),
            ("brand".to_owned(), json!("Acme")),
        ]);
    }
    items
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    })
}

fn priced(id: &str, price: f64) -> proto::Item {
    proto::Item {
        content_id: id.to_owned(),
        attributes: Some(number_answer("price", price)),
        ..proto::Item::default()
    }
}

fn update(item: proto::Item, paths: &[&str]) -> ItemUpdate {
    ItemUpdate {
        item: Some(item),
        update_mask: mask(paths),
    }
}

async fn send(
    server: &TestServer,
    updates: Vec<ItemUpdate>,
) -> Result<Vec<proto::ItemResult>, Status> {
    let request = proto::UpdateItemsRequest { updates };
    let reply = server.catalog().update_items(request).await?;
    Ok(reply.into_inner().results)
}

async fn stored(server: &TestServer, id: &str) -> proto::Item {
    let request = proto::GetItemsRequest {
        content_ids: vec![id.to_owned()],
    };
    let reply = server.catalog().get_items(request).await.unwrap();
    reply.into_inner().items.remove(0)
}

#[tokio::test]
async fn a_new_price_keeps_title_tags_and_vector_and_lists_filter_by_it_at_once() {
    let server = TestServer::with_items(shop()).await;
    let cheap = || proto::RecommendRequest {
        r#where: "price < 50".to_owned(),
        ..Default::default()
    };
    let list = server.recommend(cheap()).await.unwrap();
    assert!(list.items.is_empty());
    let mut before = stored(&server, "i003").await;
    let updates = vec![
        update(priced("i003", 49.5), &["attributes.price"]),
        update(priced("i004", 10.0), &[]),
        ItemUpdate {
            item: Some(priced("i005", 11.0)),
            update_mask: None,
        },
    ];
    let results = send(&server, updates).await.unwrap();
    for (result, id) in results.iter().zip(["i003", "i004", "i005"]) {
        assert_eq!(
            (result.outcome(), &*result.content_id),
            (ItemOutcome::Stored, id)
        );
        assert_eq!(result.error, None);
    }
    let after = stored(&server, "i003").await;
    let fields = &mut before.attributes.as_mut().unwrap().fields;
    fields.extend(number_answer("price", 49.5).fields);
    assert_eq!(after, before);
    assert!(!after.vector.is_empty() && !after.tags.is_empty());
    let list = server.recommend(cheap()).await.unwrap();
    let mut found = ids(&list);
    found.sort_unstable();
    assert_eq!(found, ["i003", "i004", "i005"]);
}

#[tokio::test]
async fn a_field_that_the_mask_names_is_cleared_and_others_are_ignored() {
    let server = TestServer::with_items(shop()).await;
    let before = stored(&server, "i001").await;
    let given = proto::Item {
        content_id: "i001".to_owned(),
        title: "ignored".to_owned(),
        // Neither is read.
        tags: vec![proto::Tag::default(); 900],
        vector: vec![f32::NAN],
        attributes: Some(text_answer("price", "12 EUR")),
        word_count: 7,
        ..proto::Item::default()
    };
    let paths = ["word_count", "attributes.brand", "text", "has_image"];
    let results = send(&server, vec![update(given, &paths)]).await.unwrap();
    assert_eq!(results[0].outcome(), ItemOutcome::Stored, "{results:?}");
    let after = stored(&server, "i001").await;
    let mut expected = proto::Item {
        word_count: 7,
        ..before
    };
    expected.attributes.as_mut().unwrap().fields.remove("brand");
    assert_eq!(after, expected);

    let all = proto::Item {
        content_id: "i001".to_owned(),
        title: "all that is left".to_owned(),
        ..proto::Item::default()
    };
    let results = send(&server, vec![update(all.clone(), &["*"])])
        .await
        .unwrap();
    assert_eq!(results[0].outcome(), ItemOutcome::Stored);
    assert_eq!(stored(&server, "i001").await, all);
}

#[tokio::test]
async fn an_unknown_item_is_not_found_and_not_added() {
    let server = TestServer::with_items(shop()).await;
    let deleted = proto::DeleteItemsRequest {
        content_ids: vec!["i002".to_owned()],
    };
    server.catalog().delete_items(deleted).await.unwrap();
    let updates = ["i001", "i002", "new"].map(|id| update(priced(id, 1.0), &[]));
    let results = send(&server, updates.into()).await.unwrap();
    let outcomes: Vec<ItemOutcome> = results.iter().map(|result| result.outcome()).collect();
    let expected = [
        ItemOutcome::Stored,
        ItemOutcome::NotFound,
        ItemOutcome::NotFound,
    ];
    assert_eq!(outcomes, expected);
    assert!(results.iter().all(|result| result.error.is_none()));
    let request = proto::GetItemsRequest {
        content_ids: vec!["i002".to_owned(), "new".to_owned()],
    };
    let reply = server.catalog().get_items(request).await.unwrap();
    assert_eq!(reply.into_inner().missing_ids, ["i002", "new"]);
}

#[tokio::test]
async fn a_call_has_up_to_500_updates_also_of_one_item() {
    let server = TestServer::with_items(shop()).await;
    let updates = |count: u32| -> Vec<ItemUpdate> {
        let prices = (0..count).map(f64::from);
        prices
            .map(|price| update(priced("i001", price), &[]))
            .collect()
    };
    let results = send(&server, updates(500)).await.unwrap();
    assert_eq!(results.len(), 500);
    let price = &stored(&server, "i001").await.attributes.unwrap().fields["price"];
    let last = number_answer("price", 499.0);
    assert_eq!(*price, last.fields["price"], "they are applied in order");
    let error = send(&server, updates(501)).await.unwrap_err();
    assert_eq!(
        (error.code(), fields(&error)),
        (Code::InvalidArgument, vec!["updates".to_owned()])
    );
    assert_eq!(send(&server, Vec::new()).await.unwrap(), []);
}

/// The fields and rules that an update breaks.
async fn broken(server: &TestServer, bad: ItemUpdate) -> Vec<(String, String)> {
    let good = update(priced("i009", 5.0), &[]);
    let results = send(server, vec![good.clone(), bad, good]).await.unwrap();
    let outcomes: Vec<ItemOutcome> = results.iter().map(|result| result.outcome()).collect();
    let (stored, rejected) = (ItemOutcome::Stored, ItemOutcome::Rejected);
    assert_eq!(outcomes, [stored, rejected, stored], "{results:?}");
    let error = results[1].error.clone().unwrap();
    assert_eq!((error.code, &*error.reason), (3, "INVALID_FIELD"));
    let violations = error.violations.into_iter();
    violations
        .map(|broken| (broken.field, broken.description))
        .collect()
}

#[tokio::test]
async fn a_path_that_is_wrong_is_refused_with_the_path_and_the_rule() {
    let server = TestServer::with_items(shop()).await;
    let deep = format!("attributes{}", ".a".repeat(31));
    let long = format!("attributes.{}", "a".repeat(600));
    for (path, rule) in [
        ("prise", "\"prise\" is not a field of Item"),
        ("Title", "\"Title\" is not a field of Item"),
        (
            "content_id",
            "\"content_id\" cannot be updated: it names the item",
        ),
        ("*", "\"*\" must be the only path"),
        (
            "title.first",
            "\"title.first\" is a part of title, which is updated as a whole",
        ),
        (
            "location.latitude",
            "\"location.latitude\" is a part of location, which is updated as a whole",
        ),
        ("", "\"\" is not a path"),
        ("tags[0]", "\"tags[0]\" is not a path"),
        ("attributes.", "\"attributes.\" is not a path"),
        (
            "attributes.list price",
            "\"attributes.list price\" is not a path",
        ),
        ("attributes.`a", "\"attributes.`a\" is not a path"),
        (&deep, "\"attributes.a.a"),
        (&long, "must be at most 512 bytes: \"attributes.aaa"),
    ] {
        let bad = update(priced("i001", 1.0), &["title", path]);
        let violations = broken(&server, bad).await;
        let [(field, description)] = &violations[..] else {
            panic!("{path}: {violations:?}");
        };
        assert_eq!(field, "updates[1].update_mask.paths[1]", "{path}");
        assert!(description.starts_with(rule), "{path}: {description}");
        assert!(description.len() < 300);
    }
    assert_eq!(
        stored(&server, "i001").await.title,
        "T101",
        "nothing was changed"
    );
    let many = vec!["title"; 201];
    let violations = broken(&server, update(priced("i001", 1.0), &many)).await;
    assert_eq!(violations[0].0, "updates[1].update_mask.paths");
}

#[tokio::test]
async fn the_item_of_an_update_follows_the_rules_of_an_upsert() {
    let server = TestServer::with_items(shop()).await;
    let base = || proto::Item {
        content_id: "i001".to_owned(),
        ..proto::Item::default()
    };
    let no_item = ItemUpdate {
        item: None,
        update_mask: mask(&["title"]),
    };
    let tagged = |label: &str| proto::Item {
        tags: vec![proto::Tag {
            label: label.to_owned(),
            ..proto::Tag::default()
        }],
        ..base()
    };
    let cases = [
        ("updates[1].item", no_item),
        ("updates[1]", update(base(), &[])),
        (
            "updates[1].item.content_id",
            update(priced("", 1.0), &["attributes.price"]),
        ),
        (
            "updates[1].item.tags[0].label",
            update(tagged(" "), &["tags"]),
        ),
        (
            "updates[1].item.vector",
            update(
                proto::Item {
                    vector: vec![0.0, 0.0],
                    ..base()
                },
                &["vector"],
            ),
        ),
        (
            "updates[1].item.attributes.price",
            update(priced("i001", f64::NAN), &["attributes"]),
        ),
        (
            "updates[1].item",
            update(
                proto::Item {
                    text: "x".repeat(300 << 10),
                    ..base()
                },
                &["text"],
            ),
        ),
    ];
    for (field, bad) in cases {
        let violations = broken(&server, bad).await;
        assert_eq!(violations[0].0, field, "{violations:?}");
    }
    // All rules at once.
    let bad = update(
        proto::Item {
            content_type: "x".repeat(513),
            ..tagged(" ")
        },
        &["tags", "colour", "content_type"],
    );
    let violations = broken(&server, bad).await;
    let fields: Vec<&str> = violations.iter().map(|(field, _)| &**field).collect();
    let expected = [
        "updates[1].update_mask.paths[1]",
        "updates[1].item.content_type",
        "updates[1].item.tags[0].label",
    ];
    assert_eq!(fields, expected);

    let odd = proto::Item {
        vector: vec![1.0; 3],
        title: "new".to_owned(),
        ..base()
    };
    let results = send(&server, vec![update(odd, &[])]).await.unwrap();
    let error = results[0].error.clone().unwrap();
    assert_eq!((error.code, &*error.reason), (9, "WRONG_VECTOR_SIZE"));
    assert_eq!(error.field, "updates[0].item.vector");
    assert_eq!(
        stored(&server, "i001").await.title,
        "T101",
        "nothing was changed"
    );
}

#[tokio::test]
async fn items_without_places_and_with_several_are_updated_place_by_place() {
    let server = TestServer::with_items(vec![item("a").at(1.0, 5.0).at(2.0, 5.0).build()]).await;
    let point = |latitude| proto::GeoPoint {
        latitude,
        longitude: 5.0,
    };
    let moved = proto::Item {
        content_id: "a".to_owned(),
        location: Some(point(9.0)),
        ..proto::Item::default()
    };
    send(&server, vec![update(moved, &["location"])])
        .await
        .unwrap();
    let stored_item = stored(&server, "a").await;
    assert_eq!(stored_item.location, Some(point(9.0)));
    assert_eq!(stored_item.other_locations, [point(2.0)]);
    let more = proto::Item {
        content_id: "a".to_owned(),
        other_locations: vec![point(3.0), point(4.0)],
        ..proto::Item::default()
    };
    send(&server, vec![update(more, &[])]).await.unwrap();
    let stored_item = stored(&server, "a").await;
    assert_eq!(stored_item.location, Some(point(9.0)));
    assert_eq!(stored_item.other_locations, [point(3.0), point(4.0)]);
}
