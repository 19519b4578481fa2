//! Which items a list has, in which order, and with which scores.

use recsys::proto::{
    ExplorationSkip, GeoPoint, ItemRole, RecommendRequest, RecommendStrategy, SignalsSource,
};

use super::requests::{WITHOUT_EXPLORATION, config, request};
use crate::support::{
    items::{half_circle, item},
    server::{TestServer, disliked, event, ids, liked, text_answer},
};

#[tokio::test]
async fn an_unknown_user_gets_a_cold_list_with_a_new_request_id() {
    let server = TestServer::with_items(half_circle(100)).await;
    let list = server.recommend(request("u")).await.unwrap();
    let diagnostics = list.diagnostics.clone().unwrap();
    assert_eq!(list.items.len(), 10);
    assert_eq!(list.strategy(), RecommendStrategy::Cold);
    assert!(diagnostics.cold_start_fallback && !diagnostics.seen_fallback);
    assert_eq!((diagnostics.pool_size, diagnostics.scored), (60, 60));
    assert_eq!(diagnostics.generators["sample"], 60);
    assert_eq!(diagnostics.signals_source(), SignalsSource::Empty);
    let ranks: Vec<u32> = list.items.iter().map(|item| item.rank).collect();
    assert_eq!(ranks, (1..=10).collect::<Vec<_>>());

    let again = server.recommend(request("u")).await.unwrap();
    assert_ne!(list.request_id, again.request_id);
    assert_ne!(ids(&list), ids(&again), "without a seed, samples differ");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_list_and_zero_is_a_seed() {
    let server = TestServer::with_items(half_circle(100)).await;
    server.ingest(liked("warm", "i010")).await.unwrap();
    for user in ["cold", "warm"] {
        for seed in [0, 1, u32::MAX] {
            let seeded = RecommendRequest {
                seed: Some(seed),
                ..request(user)
            };
            let first = server.recommend(seeded.clone()).await.unwrap();
            let second = server.recommend(seeded).await.unwrap();
            assert_eq!(first.items, second.items);
            assert_ne!(first.request_id, second.request_id);
        }
    }
}

#[tokio::test]
async fn the_candidate_pool_is_bounded_by_its_setting_and_grows_with_the_limit() {
    let config = config("pool_per_generator = 3");
    let server = TestServer::with_config(half_circle(60), config).await;
    server.ingest(liked("u", "i010")).await.unwrap();
    let list = server
        .recommend(RecommendRequest {
            limit: 1,
            ..request("u")
        })
        .await
        .unwrap();
    let diagnostics = list.diagnostics.clone().unwrap();
    assert_eq!(list.items.len(), 1);
    assert!((1..=6).contains(&diagnostics.scored), "{diagnostics:?}");
    let proposed: u32 = diagnostics.generators.values().sum();
    assert_eq!(proposed, diagnostics.pool_size);

    // A larger limit widens the pool, since the list could not be filled otherwise.
    let list = server
        .recommend(RecommendRequest {
            limit: 40,
            ..request("u")
        })
        .await
        .unwrap();
    assert_eq!(list.items.len(), 40);
}

#[tokio::test]
async fn items_without_vector_tags_or_text_are_recommended() {
    let bare: Vec<_> = (0..8)
        .map(|index| item(&format!("bare{index}")).build())
        .collect();
    let server = TestServer::with_items(bare).await;
    let list = server.recommend(request("u")).await.unwrap();
    assert_eq!(list.items.len(), 8);
    server.ingest(liked("u", "bare0")).await.unwrap();
    let list = server.recommend(request("u")).await.unwrap();
    assert_eq!(list.items.len(), 7);
    assert!(!ids(&list).contains(&"bare0"));
    assert_eq!(
        list.strategy(),
        RecommendStrategy::Cold,
        "only the sample proposes items"
    );
    for item in &list.items {
        assert_eq!((item.score, item.similar_to.as_str()), (0.0, ""));
    }
    let typed = item("typed").of_type("film").build();
    server.world.items.put(typed).unwrap();
    let films = RecommendRequest {
        content_types: vec!["film".into()],
        ..request("u")
    };
    assert_eq!(ids(&server.recommend(films).await.unwrap()), ["typed"]);
}

#[tokio::test]
async fn a_user_whose_items_were_deleted_still_gets_a_list() {
    let server = TestServer::with_items(half_circle(30)).await;
    server.ingest(liked("u", "gone")).await.unwrap();
    let list = server.recommend(request("u")).await.unwrap();
    assert_eq!(list.items.len(), 10);
    assert!(list.diagnostics.unwrap().cold_start_fallback);

    server.ingest(liked("v", "i003")).await.unwrap();
    server
        .world
        .ports
        .items
        .delete(&["i003".into()])
        .await
        .unwrap();
    let list = server.recommend(request("v")).await.unwrap();
    assert_eq!(
        (list.items.len(), list.strategy()),
        (10, RecommendStrategy::Warm)
    );
    assert!(list.items.iter().all(|item| item.similar_to.is_empty()));
}

#[tokio::test]
async fn ties_are_ordered_by_id() {
    let same = |id: &str| item(id).vector(&[0.0, 1.0]).tag("t", "x", 1.0).build();
    let mut items: Vec<_> = ["9", "10", "b", "a", "é"].map(same).into();
    items.push(item("liked").vector(&[0.0, 1.0]).tag("t", "x", 1.0).build());
    let server = TestServer::with_config(items, config(WITHOUT_EXPLORATION)).await;
    server.ingest(liked("u", "liked")).await.unwrap();
    let list = server.recommend(request("u")).await.unwrap();
    assert_eq!(ids(&list), ["10", "9", "a", "b", "é"]);
}

#[tokio::test]
async fn of_equally_similar_liked_items_the_smaller_id_is_reported() {
    let same = |id: &str| item(id).vector(&[0.0, 1.0]).words(10).build();
    let server = TestServer::with_config(
        ["z", "y", "new"].map(same).into(),
        config(WITHOUT_EXPLORATION),
    )
    .await;
    server.ingest(liked("u", "z")).await.unwrap();
    server.ingest(liked("u", "y")).await.unwrap();
    let list = server.recommend(request("u")).await.unwrap();
    assert_eq!(list.items[0].similar_to, "y");
}

#[tokio::test]
async fn profile_seeds_rank_by_tags_and_the_list_stays_cold() {
    let seeds = "[[profile]]\nquestions = ['likes']\nfacet = 'theme'";
    let server = TestServer::with_config(half_circle(60), config(seeds)).await;
    let mut answered = event("u", "IDENTIFY", "");
    answered.survey_answers = Some(text_answer("likes", "SIXTH-2"));
    server.ingest(answered).await.unwrap();

    let list = server.recommend(request("u")).await.unwrap();
    let diagnostics = list.diagnostics.clone().unwrap();
    assert_eq!(list.strategy(), RecommendStrategy::Cold);
    assert!(!diagnostics.cold_start_fallback);
    assert_eq!(
        diagnostics.generators.into_iter().collect::<Vec<_>>(),
        [("tags".to_owned(), 10)]
    );
    for item in list
        .items
        .iter()
        .filter(|item| item.role() == ItemRole::Target)
    {
        assert_eq!(item.matched_tags, ["theme:sixth 2"]);
        assert!((item.breakdown["tag"] - 0.45).abs() < 1e-9);
    }
    let explored = list
        .items
        .iter()
        .filter(|item| item.role() == ItemRole::Exploration);
    assert_eq!(explored.count(), 1);
}

#[tokio::test]
async fn a_warm_list_is_filled_with_items_that_no_generator_proposes() {
    let mut items: Vec<_> = (0..20)
        .map(|index| item(&format!("bare{index:02}")).build())
        .collect();
    items.extend(half_circle(3));
    let server = TestServer::with_items(items).await;
    server.ingest(liked("u", "i000")).await.unwrap();
    let list = server.recommend(request("u")).await.unwrap();
    let diagnostics = list.diagnostics.clone().unwrap();
    assert_eq!(list.items.len(), 10);
    assert_eq!(list.strategy(), RecommendStrategy::Warm);
    assert!(!diagnostics.cold_start_fallback);
    assert_eq!(
        diagnostics.exploration.unwrap().skipped(),
        ExplorationSkip::Unspecified
    );
    assert!(ids(&list).contains(&"i001") && ids(&list).contains(&"i002"));
}

#[tokio::test]
async fn the_score_is_the_sum_of_its_breakdown() {
    let server = TestServer::with_items(half_circle(50)).await;
    server.ingest(liked("u", "i001")).await.unwrap();
    server.ingest(disliked("u", "i030")).await.unwrap();
    let near = GeoPoint {
        latitude: 1.0,
        longitude: 1.0,
    };
    let list = server
        .recommend(RecommendRequest {
            near: Some(near),
            ..request("u")
        })
        .await
        .unwrap();
    for item in &list.items {
        let sum: f64 = item.breakdown.values().sum();
        assert!((item.score - sum).abs() < 1e-12);
        if item.role() == ItemRole::Target {
            let names: Vec<&str> = item.breakdown.keys().map(String::as_str).collect();
            assert_eq!(
                names,
                ["affinity", "aversion", "geo", "recency", "semantic", "tag"]
            );
        }
    }
}

#[tokio::test]
async fn near_scores_the_nearest_location_and_restricts_nothing() {
    let items = vec![
        item("here").at(60.0, 5.0).at(50.0, 5.0).build(),
        item("far").at(51.0, 5.0).build(),
        item("nowhere").build(),
    ];
    let server = TestServer::with_config(items, config(WITHOUT_EXPLORATION)).await;
    let near = GeoPoint {
        latitude: 50.0,
        longitude: 5.0,
    };
    let list = server
        .recommend(RecommendRequest {
            near: Some(near),
            ..request("u")
        })
        .await
        .unwrap();
    assert_eq!(ids(&list), ["here", "far", "nowhere"]);
    assert!((list.items[0].breakdown["geo"] - 0.20).abs() < 1e-9);
    assert_eq!(list.items[2].breakdown["geo"], 0.0);
    let list = server.recommend(request("u")).await.unwrap();
    assert!(
        list.items
            .iter()
            .all(|item| !item.breakdown.contains_key("geo"))
    );
}

#[tokio::test]
async fn scores_stay_finite_with_the_heaviest_tags() {
    let heavy = |id: &str| item(id).tag("f", "x", 1e6).vector(&[1.0, 0.0]).build();
    let server = TestServer::with_items(
        (0..30)
            .map(|index| heavy(&format!("h{index:02}")))
            .collect(),
    )
    .await;
    for index in 0..10 {
        server
            .ingest(liked("u", &format!("h{index:02}")))
            .await
            .unwrap();
    }
    let (signals, _) = server.signals("u").await;
    assert_eq!(signals.tag_affinity["f:x"], 1.0);
    let list = server.recommend(request("u")).await.unwrap();
    assert!(
        list.items
            .iter()
            .all(|item| item.score.is_finite() && item.score <= 1.0)
    );
}

#[tokio::test]
async fn content_is_returned_on_request_and_without_vectors() {
    let server = TestServer::with_items(half_circle(10)).await;
    let list = server
        .recommend(RecommendRequest {
            include_content: true,
            ..request("u")
        })
        .await
        .unwrap();
    let content = list.items[0].content.clone().unwrap();
    assert_eq!(content.content_id, list.items[0].content_id);
    assert!(content.vector.is_empty() && content.word_count == 100);
    let list = server.recommend(request("u")).await.unwrap();
    assert!(list.items.iter().all(|item| item.content.is_none()));
}
