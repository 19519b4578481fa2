//! Lists over the wire: what the reference cases leave out.

use std::collections::BTreeSet;

use recsys::{
    domain::ranking_config::RankingConfig,
    proto::{
        EmptyReason, ExplorationSkip, GeoPoint, ItemRole, RecommendRequest, RecommendStrategy,
        SignalsSource, TagFilter,
    },
};

use crate::support::{
    items::{half_circle, item},
    server::{TestServer, disliked, event, ids, liked, text_answer},
};

fn request(user: &str) -> RecommendRequest {
    RecommendRequest {
        user_id: user.to_owned(),
        ..RecommendRequest::default()
    }
}

fn config(toml: &str) -> RankingConfig {
    RankingConfig::from_toml(toml).unwrap()
}

const PLAIN: &str = "[exploration]\nenabled = false";

#[tokio::test]
async fn a_stranger_gets_a_cold_list_with_a_fresh_request_id() {
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
async fn a_pool_smaller_than_the_catalogue_stays_small() {
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
    let given: u32 = diagnostics.generators.values().sum();
    assert_eq!(given, diagnostics.pool_size);

    // Wide limits widen the pool, or no list could be that long.
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
async fn items_without_vector_tags_or_text_are_served_like_any_other() {
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
        "a sample is all there is to go by"
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
async fn a_user_whose_items_all_vanished_still_gets_a_list() {
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
async fn ties_go_to_the_bytewise_smaller_id() {
    let same = |id: &str| item(id).vector(&[0.0, 1.0]).tag("t", "x", 1.0).build();
    let mut items: Vec<_> = ["9", "10", "b", "a", "é"].map(same).into();
    items.push(item("liked").vector(&[0.0, 1.0]).tag("t", "x", 1.0).build());
    let server = TestServer::with_config(items, config(PLAIN)).await;
    server.ingest(liked("u", "liked")).await.unwrap();
    let list = server.recommend(request("u")).await.unwrap();
    assert_eq!(ids(&list), ["10", "9", "a", "b", "é"]);
}

#[tokio::test]
async fn of_equal_liked_items_the_smaller_id_is_named() {
    let same = |id: &str| item(id).vector(&[0.0, 1.0]).words(10).build();
    let server = TestServer::with_config(["z", "y", "new"].map(same).into(), config(PLAIN)).await;
    server.ingest(liked("u", "z")).await.unwrap();
    server.ingest(liked("u", "y")).await.unwrap();
    let list = server.recommend(request("u")).await.unwrap();
    assert_eq!(list.items[0].similar_to, "y");
}

#[tokio::test]
async fn profile_seeds_rank_by_tags_and_stay_cold() {
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
async fn seen_and_excluded_items_never_come() {
    let server = TestServer::with_items(half_circle(20)).await;
    server.ingest(liked("u", "i000")).await.unwrap();
    server.ingest(disliked("u", "i001")).await.unwrap();
    let mut shown = event("u", "LIST_SHOWN", "");
    shown.impressions = vec!["i002".into()];
    server.ingest(shown).await.unwrap();
    let wanted = RecommendRequest {
        limit: 20,
        exclude_ids: vec!["i003".into(), "i004".into(), "unknown".into()],
        ..request("u")
    };
    let list = server.recommend(wanted).await.unwrap();
    let listed: BTreeSet<&str> = ids(&list).into_iter().collect();
    let left: BTreeSet<String> = (5..20).map(|index| format!("i{index:03}")).collect();
    assert_eq!(listed, left.iter().map(String::as_str).collect());
}

#[tokio::test]
async fn every_restriction_holds_and_all_hold_together() {
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
    let server = TestServer::with_config(items, config(PLAIN)).await;
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
    for (wanted, expected) in cases {
        let list = server.recommend(wanted.clone()).await.unwrap();
        let listed: BTreeSet<&str> = ids(&list).into_iter().collect();
        assert_eq!(listed, expected.iter().copied().collect(), "{wanted:?}");
    }
}

#[tokio::test]
async fn near_scores_the_nearest_place_and_restricts_nothing() {
    let items = vec![
        item("here").at(60.0, 5.0).at(50.0, 5.0).build(),
        item("far").at(51.0, 5.0).build(),
        item("nowhere").build(),
    ];
    let server = TestServer::with_config(items, config(PLAIN)).await;
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
async fn an_exhausted_restriction_shows_seen_items_again_unless_switched_off() {
    let build = || {
        vec![
            item("a").tag("t", "x", 1.0).vector(&[1.0, 0.0]).build(),
            item("b").tag("t", "x", 1.0).vector(&[0.9, 0.1]).build(),
            item("c").tag("t", "y", 1.0).vector(&[0.0, 1.0]).build(),
        ]
    };
    for (switch, expected) in [
        ("", vec!["a"]),
        ("filter_reshow_when_exhausted = false\n", vec![]),
    ] {
        let config = config(&format!("{switch}{PLAIN}"));
        let server = TestServer::with_config(build(), config).await;
        for id in ["a", "b"] {
            server.ingest(liked("u", id)).await.unwrap();
        }
        let wanted = RecommendRequest {
            filter: "x".into(),
            exclude_ids: vec!["b".into()],
            ..request("u")
        };
        let list = server.recommend(wanted).await.unwrap();
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
async fn an_empty_list_says_why() {
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

#[tokio::test]
async fn the_exploration_item_is_the_one_farthest_from_the_taste() {
    let server = TestServer::with_items(half_circle(100)).await;
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
        let told = list.diagnostics.unwrap().exploration.unwrap();
        assert_eq!(
            (told.content_id.as_str(), told.slot),
            ("i099", explored[0].rank)
        );
        slots.insert(told.slot);
    }
    assert_eq!(slots, BTreeSet::from([3, 4]));
}

#[tokio::test]
async fn exploration_says_why_there_is_none() {
    let server = TestServer::with_items(half_circle(30)).await;
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
        "past the end is appended"
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
            "no place is kept"
        );
    }

    // All that is unseen is in the list: nothing is left to explore, and the
    // place goes to the last of them.
    let server = TestServer::with_items(half_circle(3)).await;
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
async fn a_restricted_request_explores_inside_its_restriction() {
    let server = TestServer::with_items(half_circle(120)).await;
    server.ingest(liked("u", "i020")).await.unwrap();
    let wanted = RecommendRequest {
        filter: "sixth 1".into(),
        limit: 5,
        ..request("u")
    };
    let list = server.recommend(wanted).await.unwrap();
    let explored = list
        .items
        .iter()
        .find(|item| item.role() == ItemRole::Exploration)
        .unwrap();
    assert!(("i020".."i040").contains(&explored.content_id.as_str()));
    assert!(
        explored.breakdown.contains_key("affinity"),
        "it is fully scored"
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
    let lowest_left_over = all
        .items
        .iter()
        .filter(|item| !targets.contains(item.content_id.as_str()))
        .min_by(|a, b| a.score.total_cmp(&b.score))
        .unwrap();
    assert_eq!(all.items.len(), 19);
    assert_eq!(explored.content_id, lowest_left_over.content_id);
}

#[tokio::test]
async fn other_exploration_strategies_choose_unseen_unlisted_items() {
    for strategy in ["random", "unexplored_theme"] {
        let config = config(&format!("[exploration]\nstrategy = '{strategy}'"));
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
            if strategy == "unexplored_theme" {
                assert!(
                    explored.matched_tags.is_empty(),
                    "{:?}",
                    explored.matched_tags
                );
            }
        }
    }
}

#[tokio::test]
async fn a_heavy_reader_still_gets_unseen_items_near_their_taste() {
    // More items than a search leaves out itself.
    let server = TestServer::with_items(half_circle(3_000)).await;
    let events: Vec<_> = (0..2_500)
        .map(|index| liked("u", &format!("i{index:03}")))
        .collect();
    for batch in events.chunks(500) {
        server.batch(batch.to_vec()).await.unwrap();
    }
    let list = server
        .recommend(RecommendRequest {
            limit: 50,
            ..request("u")
        })
        .await
        .unwrap();
    assert_eq!(list.items.len(), 50);
    let taste = list.diagnostics.unwrap().generators["taste"];
    assert_eq!(taste, 100, "the generator made up for what was seen");
    for item in &list.items {
        assert!(
            item.content_id.as_str() >= "i2500",
            "{} was seen",
            item.content_id
        );
    }
}

#[tokio::test]
async fn content_comes_without_vector_and_only_if_asked_for() {
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
async fn a_warm_list_is_made_up_with_items_that_no_generator_can_find() {
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
async fn the_heaviest_tags_leave_all_numbers_finite() {
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
