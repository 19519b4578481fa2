//! Restrictions and exclusions, and lists that they leave empty.

use std::collections::BTreeSet;

use recsys::proto::{
    EmptyReason, ExplorationSkip, GeoPoint, RecommendRequest, RecommendStrategy, TagFilter,
};

use super::requests::{WITHOUT_EXPLORATION, config, request};
use crate::support::{
    items::{half_circle, item},
    server::{TestServer, disliked, event, ids, liked},
};

#[tokio::test]
async fn seen_and_excluded_items_are_never_listed() {
    for (preset, hides_displayed) in [("recsys", false), ("reference", true)] {
        let config = config(&format!("preset = '{preset}'"));
        let server = TestServer::with_config(half_circle(20), config).await;
        server.ingest(liked("u", "i000")).await.unwrap();
        server.ingest(disliked("u", "i001")).await.unwrap();
        let mut shown = event("u", "LIST_SHOWN", "");
        shown.impressions = vec!["i002".into()];
        server.ingest(shown).await.unwrap();
        let excluding = RecommendRequest {
            limit: 20,
            exclude_ids: vec!["i003".into(), "i004".into(), "unknown".into()],
            ..request("u")
        };
        let list = server.recommend(excluding).await.unwrap();
        let listed: BTreeSet<&str> = ids(&list).into_iter().collect();
        let mut expected: BTreeSet<String> = (5..20).map(|index| format!("i{index:03}")).collect();
        if !hides_displayed {
            expected.insert("i002".to_owned());
        }
        assert_eq!(listed, expected.iter().map(String::as_str).collect());
    }
}

#[tokio::test]
async fn restrictions_apply_alone_and_together() {
    let items = vec![
        item("a")
            .tag("Theme", "Café", 1.0)
            .tag("mood", "calm", 1.0)
            .of_type("film")
            .at(50.0, 5.0)
            .build(),
        item("b")
            .tag("Place", "CAFE", 1.0)
            .of_type("film")
            .at(50.001, 5.0)
            .build(),
        item("c")
            .tag("theme", "café", 1.0)
            .of_type("text")
            .at(60.0, 5.0)
            .at(50.0, 5.0)
            .build(),
        item("d").tag("theme", "bar", 1.0).of_type("film").build(),
        item("e").build(),
    ];
    let server = TestServer::with_config(items, config(WITHOUT_EXPLORATION)).await;
    let tag = |facet: &str, label: &str| TagFilter {
        facet: facet.into(),
        label: label.into(),
    };
    let here = GeoPoint {
        latitude: 50.0,
        longitude: 5.0,
    };
    let cases: Vec<(RecommendRequest, &[&str])> = vec![
        (
            RecommendRequest {
                filter: "  cafe ".into(),
                ..request("u")
            },
            &["a", "b", "c"],
        ),
        (
            RecommendRequest {
                must: vec![tag("THEME", "Cafe")],
                ..request("u")
            },
            &["a", "c"],
        ),
        (
            RecommendRequest {
                must: vec![tag("theme", "cafe"), tag("mood", "CALM")],
                ..request("u")
            },
            &["a"],
        ),
        (
            RecommendRequest {
                must_not: vec![tag("theme", "cafe"), tag("theme", "bar")],
                ..request("u")
            },
            &["b", "e"],
        ),
        (
            RecommendRequest {
                content_types: vec!["text".into(), "song".into()],
                ..request("u")
            },
            &["c"],
        ),
        (
            RecommendRequest {
                near: Some(here),
                radius_meters: Some(100.0),
                ..request("u")
            },
            &["a", "c"],
        ),
        (
            RecommendRequest {
                near: Some(here),
                radius_meters: Some(200.0),
                ..request("u")
            },
            &["a", "b", "c"],
        ),
        (
            RecommendRequest {
                filter: "cafe".into(),
                must_not: vec![tag("mood", "calm")],
                content_types: vec!["film".into(), "text".into()],
                near: Some(here),
                radius_meters: Some(100.0),
                ..request("u")
            },
            &["c"],
        ),
        (
            RecommendRequest {
                filter: "jazz".into(),
                ..request("u")
            },
            &[],
        ),
    ];
    for (restricted, expected) in cases {
        let list = server.recommend(restricted.clone()).await.unwrap();
        let listed: BTreeSet<&str> = ids(&list).into_iter().collect();
        assert_eq!(listed, expected.iter().copied().collect(), "{restricted:?}");
    }
}

#[tokio::test]
async fn an_exhausted_restriction_shows_seen_items_again_unless_disabled() {
    let build = || {
        vec![
            item("a").tag("t", "x", 1.0).vector(&[1.0, 0.0]).build(),
            item("b").tag("t", "x", 1.0).vector(&[0.9, 0.1]).build(),
            item("c").tag("t", "y", 1.0).vector(&[0.0, 1.0]).build(),
        ]
    };
    for (setting, expected) in [
        ("", vec!["a"]),
        ("filter_reshow_when_exhausted = false\n", vec![]),
    ] {
        let config = config(&format!("{setting}{WITHOUT_EXPLORATION}"));
        let server = TestServer::with_config(build(), config).await;
        for id in ["a", "b"] {
            server.ingest(liked("u", id)).await.unwrap();
        }
        let restricted = RecommendRequest {
            filter: "x".into(),
            exclude_ids: vec!["b".into()],
            ..request("u")
        };
        let list = server.recommend(restricted).await.unwrap();
        assert_eq!(
            ids(&list),
            expected,
            "never anything excluded or outside the filter"
        );
        let diagnostics = list.diagnostics.clone().unwrap();
        assert_eq!(diagnostics.seen_fallback, !expected.is_empty());
        assert_eq!(list.strategy(), RecommendStrategy::Warm);
        match list.items.first() {
            Some(item) => assert_eq!(item.similar_to, "a", "an item may be its own liked item"),
            None => assert_eq!(diagnostics.reason(), EmptyReason::AllSeenOrExcluded),
        }
    }
}

#[tokio::test]
async fn an_empty_list_has_a_reason() {
    let empty = TestServer::with_items(Vec::new()).await;
    let list = empty.recommend(request("u")).await.unwrap();
    assert_eq!(
        list.diagnostics.unwrap().reason(),
        EmptyReason::CatalogEmpty
    );

    let server = TestServer::with_items(half_circle(2)).await;
    let nothing = RecommendRequest {
        filter: "nothing".into(),
        ..request("u")
    };
    let list = server.recommend(nothing).await.unwrap();
    let diagnostics = list.diagnostics.unwrap();
    assert_eq!(diagnostics.reason(), EmptyReason::NoItemMatches);
    assert_eq!(
        diagnostics.exploration.unwrap().skipped(),
        ExplorationSkip::NoCandidate
    );

    let all = RecommendRequest {
        exclude_ids: vec!["i000".into(), "i001".into()],
        ..request("u")
    };
    let list = server.recommend(all).await.unwrap();
    assert_eq!(
        list.diagnostics.unwrap().reason(),
        EmptyReason::AllSeenOrExcluded
    );
}
