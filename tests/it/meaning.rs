//! What the events of an ordinary shop do to models and lists.

mod docs;
mod explain;

use std::collections::BTreeMap;

use recsys::{
    domain::{meaning::EventTable, ranking_config::RankingConfig},
    proto::{
        ColdReason, EventMeaning, IngestOutcome, InteractionEvent, RecommendRequest,
        RecommendStrategy, SignalsSource,
    },
};

use crate::support::{
    MemoryWorld,
    items::{half_circle, item},
    redis::{RedisServer, engine, own_prefix, ports},
    server::{NOW, TestServer, event, ids, named, rating, text_answer},
};

fn request(user: &str) -> RecommendRequest {
    RecommendRequest {
        user_id: user.to_owned(),
        seed: Some(1),
        ..RecommendRequest::default()
    }
}

/// Five spellings of a type in small letters and spaces.
fn spellings(event_type: &str) -> [String; 5] {
    let title: Vec<String> = event_type
        .split(' ')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect();
    [
        event_type.replace(' ', "_"),
        title.join(" "),
        title.concat(),
        event_type.replace(' ', "-").to_uppercase(),
        event_type.replace(' ', "."),
    ]
}

/// The table of the design: the strength of each type, whether it is weak, and
/// whether the user is done with the item.
const TABLE: [(&[&str], f64, bool, bool); 7] = [
    (
        &[
            "purchase",
            "order completed",
            "order placed",
            "purchase complete",
            "transaction",
            "buy",
            "checkout completed",
            "booking completed",
            "subscribe",
        ],
        1.0,
        false,
        true,
    ),
    (
        &[
            "like",
            "favorite",
            "favourite",
            "add to wishlist",
            "product added to wishlist",
            "wishlist",
            "bookmark",
            "save",
            "share",
            "upvote",
            "thumbs up",
            "follow",
            "download",
        ],
        0.8,
        false,
        false,
    ),
    (
        &[
            "add to cart",
            "product added",
            "add to basket",
            "begin checkout",
            "checkout started",
        ],
        0.6,
        false,
        false,
    ),
    (
        &[
            "view",
            "product viewed",
            "view item",
            "detail page view",
            "page view",
            "click",
            "product clicked",
            "select item",
            "item click",
            "open",
            "play",
            "listen",
            "watch",
            "read",
        ],
        0.3,
        true,
        false,
    ),
    (
        &["remove from cart", "product removed", "unlike", "unfollow"],
        0.0,
        false,
        false,
    ),
    (
        &["refund", "order refunded", "return", "product returned"],
        -0.5,
        false,
        false,
    ),
    (
        &[
            "dislike",
            "downvote",
            "thumbs down",
            "not interested",
            "hide",
            "report",
        ],
        -1.0,
        false,
        false,
    ),
];

#[tokio::test]
async fn each_ordinary_event_in_five_spellings_does_to_the_model_what_the_table_says() {
    let server = TestServer::with_items(half_circle(12)).await;
    let mut types = 0;
    for (words, strength, weak, done) in TABLE {
        for event_type in words {
            types += 1;
            let table = EventTable::standard().rule(event_type).unwrap();
            assert_eq!(
                (table.strength, table.weak, table.done),
                (strength, weak, done)
            );
            let spelled = spellings(event_type);
            // A user for each spelling.
            let events = spelled
                .iter()
                .zip(0..)
                .map(|(spelling, n)| event(&format!("{event_type} {n}"), spelling, "i003"));
            let results = server.batch(events.collect()).await.unwrap().results;
            let expected = if strength < 0.0 {
                EventMeaning::Dislike
            } else if strength >= 0.3 && !weak {
                EventMeaning::Like
            } else {
                EventMeaning::View
            };
            for ((result, spelling), n) in results.iter().zip(&spelled).zip(0..) {
                assert_eq!(result.outcome(), IngestOutcome::Accepted, "{spelling}");
                assert_eq!(result.meaning(), expected, "{spelling}");
                let (model, _) = server.signals(&format!("{event_type} {n}")).await;
                let liked = model.positives.get("i003").copied();
                let disliked = model.negatives.get("i003").copied();
                let weight = (strength != 0.0).then_some(strength.abs());
                if strength > 0.0 {
                    assert_eq!((liked, disliked), (weight, None), "{spelling}");
                } else {
                    assert_eq!((liked, disliked), (None, weight), "{spelling}");
                }
                assert_eq!(model.viewed, ["i003"], "{spelling}");
            }
        }
    }
    assert_eq!(types, 55);
}

#[tokio::test]
async fn three_purchases_make_a_user_warm() {
    let server = TestServer::with_items(half_circle(60)).await;
    for id in ["i001", "i002", "i003"] {
        let bought = server.ingest(event("ada", "purchase", id)).await.unwrap();
        assert_eq!(bought.meaning(), EventMeaning::Like);
    }
    let (model, _) = server.signals("ada").await;
    assert!(!model.is_cold);
    assert_eq!(model.positives.len(), 3);
    let list = server.recommend(request("ada")).await.unwrap();
    assert_eq!(list.strategy(), RecommendStrategy::Warm);
    assert_eq!(
        list.diagnostics.as_ref().unwrap().cold_reason(),
        ColdReason::Unspecified
    );
    assert_eq!(list.items[0].matched_tags, ["theme:sixth 0"]);
    for bought in ["i001", "i002", "i003"] {
        assert!(!ids(&list).contains(&bought), "{bought} is bought already");
    }
}

#[tokio::test]
async fn a_shop_whose_views_have_no_rule_learns_why_its_lists_are_cold() {
    let server = TestServer::with_items(half_circle(60)).await;
    let viewed = server.ingest(event("bo", "product_view", "i001")).await;
    assert_eq!(viewed.unwrap().meaning(), EventMeaning::View);
    let list = server.recommend(request("bo")).await.unwrap();
    assert_eq!(list.strategy(), RecommendStrategy::Cold);
    let reason =
        |list: &recsys::proto::RecommendResponse| list.diagnostics.as_ref().unwrap().cold_reason();
    assert_eq!(reason(&list), ColdReason::NoPositiveEvents);
    let list = server.recommend(request("nobody")).await.unwrap();
    assert_eq!(reason(&list), ColdReason::UnknownUser);

    let own = "[[events]]\ntypes = ['Product View']\nstrength = 0.4";
    let config = RankingConfig::from_toml(own).unwrap();
    let server = TestServer::with_config(half_circle(60), config).await;
    let viewed = server.ingest(event("bo", "product_view", "i001")).await;
    assert_eq!(viewed.unwrap().meaning(), EventMeaning::Like);
    let list = server.recommend(request("bo")).await.unwrap();
    assert_eq!(list.strategy(), RecommendStrategy::Warm);

    let bare = (0..8).map(|n| item(&format!("b{n}")).build()).collect();
    let server = TestServer::with_items(bare).await;
    server.ingest(event("bo", "purchase", "b1")).await.unwrap();
    let list = server.recommend(request("bo")).await.unwrap();
    assert_eq!(reason(&list), ColdReason::CatalogWithoutFeatures);
}

#[tokio::test]
async fn a_rating_decides_over_a_long_look() {
    let server = TestServer::with_items(half_circle(12)).await;
    for (stars, liked) in [(1.0, false), (2.5, false), (4.5, true), (0.0, false)] {
        let user = format!("{stars}");
        let rated = InteractionEvent {
            dwell_seconds: Some(600.0),
            end_reason: recsys::proto::EndReason::NextButton.into(),
            survey_answers: Some(rating(stars)),
            ..event(&user, "CONTENT_VIEW_ENDED", "i003")
        };
        server.ingest(rated).await.unwrap();
        let (model, _) = server.signals(&user).await;
        assert_eq!(model.positives.contains_key("i003"), liked, "{stars}");
        assert_eq!(model.negatives.contains_key("i003"), !liked, "{stars}");
    }
}

#[tokio::test]
async fn a_glance_at_an_item_of_unknown_length_is_no_like() {
    let server = TestServer::with_items(vec![item("short").words(1).build()]).await;
    for id in ["short", "unknown"] {
        let bounce = InteractionEvent {
            dwell_seconds: Some(1.0),
            ..event("ada", "product_viewed", id)
        };
        server.ingest(bounce).await.unwrap();
    }
    let (model, _) = server.signals("ada").await;
    assert!(model.is_cold, "{:?}", model.positives);
}

#[tokio::test]
async fn five_thousand_clicks_on_buttons_push_nothing_out() {
    let server = TestServer::with_items(half_circle(60)).await;
    for id in ["i001", "i002"] {
        server.ingest(event("ada", "purchase", id)).await.unwrap();
    }
    let (before, _) = server.signals("ada").await;
    for batch in 0..5 {
        let clicks =
            (0..1_000).map(|n| named(&format!("{batch}-{n}"), event("ada", "button_clicked", "")));
        let results = server.batch(clicks.collect()).await.unwrap().results;
        for result in results {
            assert_eq!(result.outcome(), IngestOutcome::NotStored);
            assert_eq!(result.meaning(), EventMeaning::None);
            assert_eq!(result.error, None);
        }
    }
    let (after, _) = server.signals("ada").await;
    assert_eq!(after, before);
    assert_eq!(after.event_count, 2);

    // In one batch, each has its own result.
    let mixed = vec![
        event("ada", "button_clicked", ""),
        event("ada", "purchase", "i003"),
        event("", "purchase", "i003"),
        event("ada", "scroll", ""),
    ];
    let results = server.batch(mixed).await.unwrap().results;
    let outcomes: Vec<_> = results
        .iter()
        .map(|result| (result.outcome(), result.meaning()))
        .collect();
    assert_eq!(
        outcomes,
        [
            (IngestOutcome::NotStored, EventMeaning::None),
            (IngestOutcome::Accepted, EventMeaning::Like),
            (IngestOutcome::Rejected, EventMeaning::Unspecified),
            (IngestOutcome::NotStored, EventMeaning::None),
        ]
    );
}

#[tokio::test]
async fn an_event_that_says_nothing_is_answered_without_the_store() {
    let redis = RedisServer::start();
    let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(12));
    let engine = engine(ports(&redis.pool(), &own_prefix(), &world));
    let server = TestServer::serving(world, engine, Default::default()).await;
    // Learns the store's clock.
    let warm = server.ingest(event("ada", "purchase", "i001")).await;
    assert_eq!(warm.unwrap().buffered_events, 1);
    let calls = || redis.calls("evalsha") + redis.calls("eval") + redis.calls("zrange");
    let before = calls();
    for _ in 0..20 {
        let reply = server.ingest(event("ada", "scroll", "")).await.unwrap();
        assert_eq!(reply.outcome(), IngestOutcome::NotStored);
        assert_eq!(reply.buffered_events, 0);
    }
    assert_eq!(calls(), before);
}

#[tokio::test]
async fn the_preset_reference_stores_everything_and_reads_no_meaning() {
    let config = RankingConfig::from_toml("preset = 'reference'").unwrap();
    let server = TestServer::with_config(half_circle(12), config).await;
    let click = server.ingest(event("ada", "button_clicked", "")).await;
    let click = click.unwrap();
    assert_eq!(click.outcome(), IngestOutcome::Accepted);
    assert_eq!(click.meaning(), EventMeaning::None);
    assert_eq!(click.buffered_events, 1);
    let bought = server.ingest(event("ada", "purchase", "i001")).await;
    assert_eq!(bought.unwrap().meaning(), EventMeaning::View);
    let (model, source) = server.signals("ada").await;
    assert!(model.is_cold);
    assert_ne!(source, SignalsSource::Empty);
}

#[tokio::test]
async fn displayed_items_score_lower_and_are_not_hidden() {
    let server = TestServer::with_items(half_circle(12)).await;
    let all = RecommendRequest {
        limit: 12,
        exclude_ids: Vec::new(),
        ..request("ada")
    };
    server
        .ingest(event("ada", "purchase", "i000"))
        .await
        .unwrap();
    let before = server.recommend(all.clone()).await.unwrap();
    let shown = InteractionEvent {
        impressions: vec!["i001".to_owned(), "i000".to_owned()],
        ..event("ada", "Product List Viewed", "")
    };
    let reply = server.ingest(shown).await.unwrap();
    assert_eq!(reply.meaning(), EventMeaning::Impression);
    let after = server.recommend(all).await.unwrap();
    let aversion = |list: &recsys::proto::RecommendResponse| {
        let item = list.items.iter().find(|item| item.content_id == "i001");
        item.unwrap().breakdown["aversion"]
    };
    assert_eq!(aversion(&before), 0.0);
    assert!(
        (aversion(&after) + 0.09).abs() < 1e-3,
        "{}",
        aversion(&after)
    );
    assert!(!ids(&after).contains(&"i000"), "it is bought already");
}

#[tokio::test]
async fn of_the_answers_those_of_the_newest_fifty_events_count() {
    let rules = "
        [[profile]]
        questions = ['first']
        field = 'first'
        [[profile]]
        questions = ['second']
        field = 'second'
        ";
    for (preset, expected) in [
        ("recsys", ["second"].as_slice()),
        ("reference", &["first", "second"]),
    ] {
        let config = RankingConfig::from_toml(&format!("preset = '{preset}'\n{rules}")).unwrap();
        let server = TestServer::with_config(half_circle(3), config).await;
        let answer = |question: &str, at: i64| InteractionEvent {
            survey_answers: Some(text_answer(question, "yes")),
            event_time: Some(prost_types::Timestamp {
                seconds: 1_781_000_000 + at,
                nanos: 0,
            }),
            ..event("ada", "IDENTIFY", "")
        };
        let mut events = vec![answer("first", 0), answer("second", 1)];
        events.extend((2..51).map(|at| answer("noise", at)));
        let results = server.batch(events).await.unwrap().results;
        assert!(results.iter().all(|result| {
            (result.outcome(), result.meaning()) == (IngestOutcome::Accepted, EventMeaning::Profile)
        }));
        let (model, _) = server.signals("ada").await;
        let fields: BTreeMap<_, _> = model.demographics.unwrap().fields;
        let names: Vec<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(names, expected, "{preset}");
    }
}
