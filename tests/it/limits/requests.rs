//! Limits of recommend requests.

use recsys::proto::{GeoPoint, RecommendRequest, TagFilter};
use tonic::Code;

use crate::support::{
    items::half_circle,
    server::{TestServer, fields},
};

#[tokio::test]
async fn every_limit_of_a_recommend_request_is_enforced() {
    let server = TestServer::with_items(half_circle(10)).await;
    let base = || RecommendRequest {
        user_id: "u".into(),
        ..RecommendRequest::default()
    };
    let here = Some(GeoPoint {
        latitude: 90.0,
        longitude: -180.0,
    });
    let point = |latitude, longitude| {
        Some(GeoPoint {
            latitude,
            longitude,
        })
    };
    let tag = |facet: &str, label: &str| {
        vec![TagFilter {
            facet: facet.into(),
            label: label.into(),
        }]
    };

    let accepted = [
        RecommendRequest {
            limit: 100,
            ..base()
        },
        RecommendRequest {
            limit: 1,
            seed: Some(0),
            ..base()
        },
        RecommendRequest {
            near: here,
            ..base()
        },
        RecommendRequest {
            near: here,
            radius_meters: Some(1e-9),
            ..base()
        },
        RecommendRequest {
            exclude_ids: vec!["x".repeat(512); 5],
            ..base()
        },
        RecommendRequest {
            filter: "x".repeat(512),
            ..base()
        },
    ];
    for request in accepted {
        server
            .recommend(request.clone())
            .await
            .unwrap_or_else(|status| panic!("{request:?}: {status}"));
    }

    let refused: Vec<(&str, RecommendRequest)> = vec![
        (
            "user_id",
            RecommendRequest {
                user_id: "x".repeat(257),
                ..base()
            },
        ),
        (
            "limit",
            RecommendRequest {
                limit: 101,
                ..base()
            },
        ),
        (
            "limit",
            RecommendRequest {
                limit: u32::MAX,
                ..base()
            },
        ),
        (
            "near.latitude",
            RecommendRequest {
                near: point(90.1, 0.0),
                ..base()
            },
        ),
        (
            "near.latitude",
            RecommendRequest {
                near: point(f64::NAN, 0.0),
                ..base()
            },
        ),
        (
            "near.longitude",
            RecommendRequest {
                near: point(0.0, 180.1),
                ..base()
            },
        ),
        (
            "near.longitude",
            RecommendRequest {
                near: point(0.0, f64::NEG_INFINITY),
                ..base()
            },
        ),
        (
            "radius_meters",
            RecommendRequest {
                radius_meters: Some(100.0),
                ..base()
            },
        ),
        (
            "radius_meters",
            RecommendRequest {
                near: here,
                radius_meters: Some(0.0),
                ..base()
            },
        ),
        (
            "radius_meters",
            RecommendRequest {
                near: here,
                radius_meters: Some(-1.0),
                ..base()
            },
        ),
        (
            "radius_meters",
            RecommendRequest {
                near: here,
                radius_meters: Some(f64::NAN),
                ..base()
            },
        ),
        (
            "radius_meters",
            RecommendRequest {
                near: here,
                radius_meters: Some(f64::INFINITY),
                ..base()
            },
        ),
        (
            "filter",
            RecommendRequest {
                filter: "x".repeat(513),
                ..base()
            },
        ),
        (
            "filter",
            RecommendRequest {
                filter: " - ".into(),
                ..base()
            },
        ),
        (
            "must[0].facet",
            RecommendRequest {
                must: tag("", "l"),
                ..base()
            },
        ),
        (
            "must[0].label",
            RecommendRequest {
                must: tag("f", ""),
                ..base()
            },
        ),
        (
            "must_not[0].label",
            RecommendRequest {
                must_not: tag("f", "--"),
                ..base()
            },
        ),
        (
            "content_types[0]",
            RecommendRequest {
                content_types: vec![String::new()],
                ..base()
            },
        ),
        (
            "exclude_ids[0]",
            RecommendRequest {
                exclude_ids: vec![String::new()],
                ..base()
            },
        ),
        (
            "exclude_ids[0]",
            RecommendRequest {
                exclude_ids: vec!["x".repeat(513)],
                ..base()
            },
        ),
    ];
    for (field, request) in refused {
        let status = server.recommend(request).await.expect_err(field);
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status}");
        assert_eq!(fields(&status), [field], "{status}");
    }
}

#[tokio::test]
async fn list_fields_of_a_recommend_request_are_limited() {
    let server = TestServer::with_items(half_circle(10)).await;
    let tag = TagFilter {
        facet: "f".into(),
        label: "l".into(),
    };
    let base = || RecommendRequest {
        user_id: "u".into(),
        ..RecommendRequest::default()
    };
    let of = |excluded: usize, tags: usize| RecommendRequest {
        exclude_ids: vec!["x".into(); excluded],
        must: vec![tag.clone(); tags],
        must_not: vec![tag.clone(); tags],
        content_types: vec!["t".into(); tags],
        ..base()
    };
    server.recommend(of(10_000, 200)).await.unwrap();
    let status = server.recommend(of(10_001, 201)).await.unwrap_err();
    let mut violated = fields(&status);
    violated.sort();
    assert_eq!(
        violated,
        ["content_types", "exclude_ids", "must", "must_not"]
    );
}
