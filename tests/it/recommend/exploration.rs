//! The exploration item of a list.

use std::collections::BTreeSet;

use recsys::proto::{ExplorationSkip, ItemRole, RecommendRequest};

use super::requests::{ALWAYS_EXPLORING, config, request};
use crate::support::{
    items::half_circle,
    server::{TestServer, ids, liked},
};

#[tokio::test]
async fn the_exploration_item_is_farthest_from_the_taste() {
    let server = TestServer::with_config(half_circle(100), config(ALWAYS_EXPLORING)).await;
    server.ingest(liked("u", "i000")).await.unwrap();
    let mut slots = BTreeSet::new();
    for seed in 0..20 {
        let list = server
            .recommend(RecommendRequest {
                seed: Some(seed),
                ..request("u")
            })
            .await
            .unwrap();
        assert_eq!(list.items.len(), 10);
        let explored: Vec<_> = list
            .items
            .iter()
            .filter(|item| item.role() == ItemRole::Exploration)
            .collect();
        assert_eq!(explored.len(), 1);
        assert_eq!(explored[0].content_id, "i099");
        let names: Vec<&str> = explored[0].breakdown.keys().map(String::as_str).collect();
        assert_eq!(names, ["semantic", "tag"]);
        let exploration = list.diagnostics.unwrap().exploration.unwrap();
        assert_eq!(
            (exploration.content_id.as_str(), exploration.slot),
            ("i099", explored[0].rank)
        );
        slots.insert(exploration.slot);
    }
    assert_eq!(slots, BTreeSet::from([3, 4]));
}

#[tokio::test]
async fn skipped_exploration_has_a_reason() {
    let server = TestServer::with_config(half_circle(30), config(ALWAYS_EXPLORING)).await;
    let skip = |list: recsys::proto::RecommendResponse| {
        list.diagnostics.unwrap().exploration.unwrap().skipped()
    };
    let list = server
        .recommend(RecommendRequest {
            limit: 2,
            ..request("u")
        })
        .await
        .unwrap();
    assert_eq!(
        (list.items.len(), skip(list)),
        (2, ExplorationSkip::LimitTooSmall)
    );
    let three = server
        .recommend(RecommendRequest {
            limit: 3,
            ..request("u")
        })
        .await
        .unwrap();
    assert_eq!(
        three.items[2].role(),
        ItemRole::Exploration,
        "a slot past the end is appended"
    );

    for (toml, expected) in [
        ("[exploration]\nenabled = false", ExplorationSkip::Disabled),
        (
            "[exploration]\nprobability = 0.0",
            ExplorationSkip::NotDrawn,
        ),
    ] {
        let server = TestServer::with_config(half_circle(30), config(toml)).await;
        let list = server.recommend(request("u")).await.unwrap();
        assert_eq!(
            (list.items.len(), skip(list)),
            (10, expected),
            "no slot is reserved"
        );
    }

    // All unseen items are listed: none is left to explore, and the list keeps its
    // last slot.
    let server = TestServer::with_config(half_circle(3), config(ALWAYS_EXPLORING)).await;
    let list = server
        .recommend(RecommendRequest {
            limit: 5,
            filter: "sixth 0".into(),
            ..request("u")
        })
        .await
        .unwrap();
    assert_eq!(ids(&list), ["i000"]);
    assert_eq!(skip(list), ExplorationSkip::NoCandidate);
}

#[tokio::test]
async fn exploration_stays_within_the_restriction() {
    let server = TestServer::with_config(half_circle(120), config(ALWAYS_EXPLORING)).await;
    server.ingest(liked("u", "i020")).await.unwrap();
    let five = RecommendRequest {
        filter: "sixth 1".into(),
        limit: 5,
        ..request("u")
    };
    let list = server.recommend(five).await.unwrap();
    let explored = list
        .items
        .iter()
        .find(|item| item.role() == ItemRole::Exploration)
        .unwrap();
    assert!(("i020".."i040").contains(&explored.content_id.as_str()));
    assert!(
        explored.breakdown.contains_key("affinity"),
        "it has a full score"
    );
    let all = RecommendRequest {
        filter: "sixth 1".into(),
        limit: 19,
        ..request("u")
    };
    let all = server.recommend(all).await.unwrap();
    let targets: BTreeSet<&str> = ids(&list)
        .into_iter()
        .filter(|id| *id != explored.content_id)
        .collect();
    let lowest_of_the_others = all
        .items
        .iter()
        .filter(|item| !targets.contains(item.content_id.as_str()))
        .min_by(|a, b| a.score.total_cmp(&b.score))
        .unwrap();
    assert_eq!(all.items.len(), 19);
    assert_eq!(explored.content_id, lowest_of_the_others.content_id);
}

#[tokio::test]
async fn other_exploration_strategies_choose_unseen_unlisted_items() {
    for strategy in ["random", "unexplored_theme", "popular_elsewhere"] {
        let config = config(&format!(
            "[exploration]\nprobability = 1.0\nstrategy = '{strategy}'"
        ));
        let server = TestServer::with_config(half_circle(60), config).await;
        server.ingest(liked("u", "i000")).await.unwrap();
        for seed in 0..10 {
            let list = server
                .recommend(RecommendRequest {
                    seed: Some(seed),
                    ..request("u")
                })
                .await
                .unwrap();
            let distinct: BTreeSet<&str> = ids(&list).into_iter().collect();
            assert_eq!((distinct.len(), list.items.len()), (10, 10), "{strategy}");
            let explored = list
                .items
                .iter()
                .find(|item| item.role() == ItemRole::Exploration)
                .unwrap();
            assert_ne!(explored.content_id, "i000");
            // Without popularity, `popular_elsewhere` is `unexplored_theme`.
            if strategy != "random" {
                assert!(
                    explored.matched_tags.is_empty(),
                    "{:?}",
                    explored.matched_tags
                );
            }
        }
    }
}
