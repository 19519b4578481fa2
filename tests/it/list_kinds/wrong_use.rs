//! A wrong use of every option, and its error.

use recsys::proto::{GeoPoint, PopularItemsRequest, RecommendRequest, SimilarItemsRequest};
use tonic::{Code, Status};

use super::kinds::{Kind, Options, Shop, boost, tag};
use crate::support::server::{fields, reason};

fn refused(status: &Status, field: &str, rule: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
    assert_eq!(fields(status), [field], "{status}");
    let expected = format!("{field} {rule}");
    assert!(
        status.message().starts_with(&expected),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn a_wrong_use_of_an_option_is_refused_by_every_kind_of_list() {
    let shop = Shop::open().await;
    let point = |latitude| {
        Some(GeoPoint {
            latitude,
            longitude: 4.0,
        })
    };
    let cases = [
        (
            "limit",
            "must be 1 to 100",
            Options {
                limit: 101,
                ..Options::default()
            },
        ),
        (
            "filter",
            "must hold a letter",
            Options {
                filter: "--".into(),
                ..Options::default()
            },
        ),
        (
            "must[0].facet",
            "must not be empty",
            Options {
                must: vec![tag(" ", "red")],
                ..Options::default()
            },
        ),
        (
            "must_not[0].label",
            "must not be empty",
            Options {
                must_not: vec![tag("color", "")],
                ..Options::default()
            },
        ),
        (
            "content_types[0]",
            "must not be empty",
            Options {
                content_types: vec![String::new()],
                ..Options::default()
            },
        ),
        (
            "near.latitude",
            "must be -90 to 90",
            Options {
                near: point(91.0),
                ..Options::default()
            },
        ),
        (
            "radius_meters",
            "needs near",
            Options {
                radius_meters: Some(10.0),
                ..Options::default()
            },
        ),
        (
            "radius_meters",
            "must be a finite number above 0",
            Options {
                near: point(52.0),
                radius_meters: Some(0.0),
                ..Options::default()
            },
        ),
        (
            "exclude_ids[1]",
            "must not be empty",
            Options {
                exclude_ids: vec!["p01".into(), String::new()],
                ..Options::default()
            },
        ),
        (
            "boosts",
            "must have at most 10 entries, has 11",
            Options {
                boosts: vec![boost("price > 1", 1.0); 11],
                ..Options::default()
            },
        ),
        (
            "boosts[1].weight",
            "must be -2 to 2, and not 0",
            Options {
                boosts: vec![boost("price > 1", 2.0), boost("price > 1", 2.1)],
                ..Options::default()
            },
        ),
        (
            "boosts[0].weight",
            "must be -2 to 2, and not 0",
            Options {
                boosts: vec![boost("price > 1", 0.0)],
                ..Options::default()
            },
        ),
        (
            "boosts[0].weight",
            "must be -2 to 2, and not 0",
            Options {
                boosts: vec![boost("price > 1", f64::NAN)],
                ..Options::default()
            },
        ),
        (
            "boosts[2].where",
            "column 9: expected",
            Options {
                boosts: vec![
                    boost("price > 1", 1.0),
                    boost("price > 1", 1.0),
                    boost("price > ", 1.0),
                ],
                ..Options::default()
            },
        ),
        (
            "placement",
            "must be empty: the ranking file has no placements",
            Options {
                placement: "home".into(),
                ..Options::default()
            },
        ),
        (
            "boosts[0].where",
            "column 1: expected",
            Options {
                boosts: vec![boost("", 1.0)],
                ..Options::default()
            },
        ),
    ];
    for kind in Kind::ALL {
        for (field, rule, options) in &cases {
            let listed = kind.list(&shop.server, options).await;
            let status = listed.expect_err(field);
            refused(&status, field, rule);
        }
        let user = "x".repeat(257);
        let listed = kind
            .list_for(&user, &shop.server, &Options::default())
            .await;
        refused(&listed.unwrap_err(), "user_id", "must be at most 256 bytes");
    }
}

#[tokio::test]
async fn a_wrong_use_of_an_option_of_one_kind_is_refused() {
    let shop = Shop::open().await;
    let mut client = shop.server.recommender();
    for (field, rule, request) in [
        (
            "context_ids",
            "must have at most 100 entries, has 101",
            RecommendRequest {
                context_ids: vec!["p01".into(); 101],
                ..RecommendRequest::default()
            },
        ),
        (
            "context_ids[1]",
            "must not be empty",
            RecommendRequest {
                context_ids: vec!["p01".into(), String::new()],
                ..RecommendRequest::default()
            },
        ),
        (
            "seen",
            "has no value 9",
            RecommendRequest {
                seen: 9,
                ..RecommendRequest::default()
            },
        ),
    ] {
        let status = client.recommend(request).await.expect_err(field);
        refused(&status, field, rule);
    }

    let similar = |content_id: &str| SimilarItemsRequest {
        content_id: content_id.into(),
        ..SimilarItemsRequest::default()
    };
    for (field, rule, request) in [
        ("content_id", "must not be empty", similar("")),
        (
            "basis",
            "has no value 9",
            SimilarItemsRequest {
                basis: 9,
                ..similar("p01")
            },
        ),
        (
            "seen",
            "has no value -1",
            SimilarItemsRequest {
                seen: -1,
                ..similar("p01")
            },
        ),
    ] {
        let status = client.similar_items(request).await.expect_err(field);
        refused(&status, field, rule);
    }
    let status = client.similar_items(similar("unknown")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    assert_eq!(reason(&status), "ITEM_UNKNOWN");

    for (field, request) in [
        (
            "window",
            PopularItemsRequest {
                window: 3,
                ..PopularItemsRequest::default()
            },
        ),
        (
            "seen",
            PopularItemsRequest {
                seen: 4,
                ..PopularItemsRequest::default()
            },
        ),
    ] {
        let status = client.popular_items(request).await.expect_err(field);
        refused(&status, field, "has no value");
    }
}
