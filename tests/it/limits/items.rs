//! Limits of items.

use recsys::proto::{self, GeoPoint, Item, Tag};

use crate::support::{
    items::half_circle,
    server::{TestServer, fields, number_answer},
};

#[tokio::test]
async fn an_invalid_item_is_refused_by_field_and_the_others_are_stored() {
    let server = TestServer::with_items(half_circle(10)).await;
    let base = || Item {
        content_id: "new".into(),
        ..Item::default()
    };
    let tagged = |facet: &str, label: &str, weight: Option<f64>| Item {
        tags: vec![Tag {
            facet: facet.into(),
            label: label.into(),
            weight,
        }],
        ..base()
    };
    let refused: Vec<(&str, Item)> = vec![
        ("content_id", Item::default()),
        (
            "content_id",
            Item {
                content_id: "x".repeat(513),
                ..Item::default()
            },
        ),
        ("tags[0].label", tagged("f", " ", None)),
        ("tags[0].facet", tagged("a:b", "l", None)),
        ("tags[0].weight", tagged("f", "l", Some(-1.0))),
        ("tags[0].weight", tagged("f", "l", Some(f64::NAN))),
        (
            "tags",
            Item {
                tags: vec![Tag::default(); 201],
                ..base()
            },
        ),
        (
            "location.latitude",
            Item {
                location: Some(GeoPoint {
                    latitude: 91.0,
                    longitude: 0.0,
                }),
                ..base()
            },
        ),
        (
            "other_locations[0].longitude",
            Item {
                other_locations: vec![GeoPoint {
                    latitude: 0.0,
                    longitude: 181.0,
                }],
                ..base()
            },
        ),
        (
            "vector",
            Item {
                vector: vec![0.0, 0.0],
                ..base()
            },
        ),
        (
            "vector",
            Item {
                vector: vec![f32::NAN, 1.0],
                ..base()
            },
        ),
        (
            "attributes.a",
            Item {
                attributes: Some(number_answer("a", f64::INFINITY)),
                ..base()
            },
        ),
    ];
    for (field, bad) in refused {
        let good = Item {
            content_id: "good".into(),
            title: field.into(),
            ..Item::default()
        };
        let request = proto::UpsertItemsRequest {
            items: vec![bad, good],
        };
        let reply = server
            .catalog()
            .upsert_items(request)
            .await
            .unwrap()
            .into_inner();
        let error = reply.results[0].error.clone().unwrap();
        assert_eq!(
            reply.results[0].outcome(),
            proto::ItemOutcome::Rejected,
            "{field}"
        );
        assert_eq!((error.code, error.field), (3, format!("items[0].{field}")));
        assert_eq!(
            reply.results[1].outcome(),
            proto::ItemOutcome::Stored,
            "{field}"
        );
    }
    let request = proto::GetItemsRequest {
        content_ids: vec!["new".into(), "good".into()],
    };
    let found = server
        .catalog()
        .get_items(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.missing_ids, ["new"]);
    assert_eq!(found.items[0].title, "attributes.a");
}

#[tokio::test]
async fn a_catalogue_request_of_500_items_is_accepted_and_501_are_refused() {
    let server = TestServer::with_items(Vec::new()).await;
    let items: Vec<Item> = (0..501)
        .map(|index| Item {
            content_id: index.to_string(),
            ..Item::default()
        })
        .collect();
    let ids: Vec<String> = items.iter().map(|item| item.content_id.clone()).collect();
    let mut client = server.catalog();

    let all = proto::UpsertItemsRequest {
        items: items.clone(),
    };
    let status = client.upsert_items(all).await.unwrap_err();
    assert_eq!(fields(&status), ["items"]);
    let all = proto::GetItemsRequest {
        content_ids: ids.clone(),
    };
    assert_eq!(
        fields(&client.get_items(all).await.unwrap_err()),
        ["content_ids"]
    );
    let all = proto::DeleteItemsRequest {
        content_ids: ids.clone(),
    };
    assert_eq!(
        fields(&client.delete_items(all).await.unwrap_err()),
        ["content_ids"]
    );
    assert!(server.world.items.is_empty());

    let request = proto::UpsertItemsRequest {
        items: items[..500].to_vec(),
    };
    client.upsert_items(request).await.unwrap();
    assert_eq!(server.world.items.len(), 500);
    let request = proto::GetItemsRequest {
        content_ids: ids[..500].to_vec(),
    };
    assert_eq!(
        client
            .get_items(request)
            .await
            .unwrap()
            .into_inner()
            .items
            .len(),
        500
    );
    let request = proto::DeleteItemsRequest {
        content_ids: ids[..500].to_vec(),
    };
    client.delete_items(request).await.unwrap();
    assert!(server.world.items.is_empty());
}
