//! Events and the models built from them, over the wire.

use recsys::{
    domain::ranking_config::RankingConfig,
    proto::{self, IngestOutcome, InteractionEvent, SignalsSource},
};

use crate::support::{
    DAY,
    items::{half_circle, item},
    server::{TestServer, disliked, event, liked, named, text_answer},
};

/// 2026-06-10T12:00:00Z, the fixed time of the test servers.
const NOW: i64 = 1_781_092_800;

fn at(seconds: i64, event: InteractionEvent) -> InteractionEvent {
    InteractionEvent {
        event_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..event
    }
}

#[tokio::test]
async fn an_acknowledged_event_is_in_the_next_model() {
    let server = TestServer::with_items(half_circle(12)).await;
    let reply = server.ingest(liked("u", "i003")).await.unwrap();
    assert_eq!(reply.outcome(), IngestOutcome::Accepted);
    assert_eq!(reply.buffered_events, 1);

    let (signals, source) = server.signals("u").await;
    assert_eq!(source, SignalsSource::Materialized);
    assert_eq!(signals.viewed, ["i003"]);
    assert_eq!(signals.tag_affinity["theme:sixth 1"], 1.0);
    assert_eq!(signals.taste_vector.len(), 2);
    assert_eq!(signals.built_at.unwrap().seconds, NOW);
    assert!(!signals.is_cold && signals.event_count == 1);
}

#[tokio::test]
async fn an_unknown_user_has_an_empty_model() {
    let server = TestServer::with_items(half_circle(12)).await;
    let (signals, source) = server.signals("nobody").await;
    assert_eq!(source, SignalsSource::Empty);
    assert!(signals.is_cold && signals.built_at.is_none());
}

#[tokio::test]
async fn vectors_are_returned_only_on_request() {
    let server = TestServer::with_items(half_circle(12)).await;
    server.ingest(liked("u", "i003")).await.unwrap();
    let request = proto::GetUserSignalsRequest {
        user_id: "u".into(),
        include_vectors: false,
    };
    let reply = server
        .recommender()
        .get_user_signals(request)
        .await
        .unwrap();
    let signals = reply.into_inner().signals.unwrap();
    assert!(signals.taste_vector.is_empty() && signals.recency_vector.is_empty());
}

#[tokio::test]
async fn a_redelivery_is_a_duplicate_by_bytes_or_by_event_id() {
    let server = TestServer::with_items(half_circle(12)).await;
    let first = at(NOW - 3_600, liked("u", "i003"));
    assert_eq!(
        server.ingest(first.clone()).await.unwrap().outcome(),
        IngestOutcome::Accepted
    );
    assert_eq!(
        server.ingest(first).await.unwrap().outcome(),
        IngestOutcome::Duplicate
    );

    let first = at(NOW - 3_600, named("e1", liked("u", "i004")));
    assert_eq!(
        server.ingest(first).await.unwrap().outcome(),
        IngestOutcome::Accepted
    );
    for (seconds, outcome) in [
        (NOW - 3_600 + 600, IngestOutcome::Duplicate),
        (NOW - 3_600 - 600, IngestOutcome::Duplicate),
        (NOW - 3_600 + 601, IngestOutcome::Accepted),
    ] {
        let again = at(seconds, named("e1", disliked("u", "i005")));
        assert_eq!(
            server.ingest(again).await.unwrap().outcome(),
            outcome,
            "at {seconds}"
        );
    }
    let (signals, _) = server.signals("u").await;
    assert_eq!(signals.event_count, 3);
    assert!(
        signals.positives.contains_key("i004"),
        "the first copy is stored"
    );
}

#[tokio::test]
async fn event_ids_are_scoped_to_their_user() {
    let server = TestServer::with_items(half_circle(12)).await;
    for user in ["a", "b"] {
        let reply = server
            .ingest(named("same", liked(user, "i001")))
            .await
            .unwrap();
        assert_eq!(reply.outcome(), IngestOutcome::Accepted);
    }
}

#[tokio::test]
async fn an_event_older_than_the_window_is_reported_and_not_stored() {
    let server = TestServer::with_items(half_circle(12)).await;
    let days_30 = 30 * 86_400;
    let old = at(NOW - days_30 - 1, liked("u", "i001"));
    let reply = server.ingest(old).await.unwrap();
    assert_eq!(reply.outcome(), IngestOutcome::OutsideWindow);
    assert_eq!(reply.buffered_events, 0);
    assert_eq!(server.signals("u").await.1, SignalsSource::Empty);
    let edge = at(NOW - days_30, liked("u", "i001"));
    assert_eq!(
        server.ingest(edge).await.unwrap().outcome(),
        IngestOutcome::Accepted
    );
}

#[tokio::test]
async fn an_invalid_event_of_a_batch_fails_alone() {
    let server = TestServer::with_items(half_circle(12)).await;
    let events = vec![
        liked("a", "i001"),
        liked("", "i002"),
        liked("b", "i003"),
        named("x", liked("a", "i004")),
        named("x", liked("a", "i005")),
        at(0, liked("b", "i006")),
    ];
    let reply = server.batch(events).await.unwrap();
    let outcomes: Vec<IngestOutcome> = reply
        .results
        .iter()
        .map(|result| result.outcome())
        .collect();
    assert_eq!(
        outcomes,
        [
            IngestOutcome::Accepted,
            IngestOutcome::Rejected,
            IngestOutcome::Accepted,
            IngestOutcome::Accepted,
            IngestOutcome::Duplicate,
            IngestOutcome::OutsideWindow,
        ]
    );
    assert_eq!(
        reply.results[1].error.as_ref().unwrap().field,
        "events[1].user_id"
    );
    assert_eq!(server.signals("a").await.0.viewed, ["i001", "i004"]);
    assert_eq!(server.signals("b").await.0.viewed, ["i003"]);
}

#[tokio::test]
async fn unusual_user_ids_are_ordinary_users_and_never_collide() {
    let server = TestServer::with_items(half_circle(40)).await;
    let users = [
        "a:b",
        "a",
        "b",
        "*",
        "é 🎈",
        "{x}",
        "x",
        "../x",
        "evt:a",
        "umodel:a",
        "a ",
        " a",
        "A",
        "[a]",
        "a?",
        "\\",
        "\"",
        "'; DROP",
        "日本",
        "e\u{301} 🎈",
    ];
    for (index, user) in users.iter().enumerate() {
        server
            .ingest(liked(user, &format!("i{index:03}")))
            .await
            .unwrap();
    }
    for (index, user) in users.iter().enumerate() {
        let (signals, _) = server.signals(user).await;
        assert_eq!(signals.user_id, *user);
        assert_eq!(signals.viewed, [format!("i{index:03}")], "{user:?}");
    }
    server.delete("*").await;
    assert_eq!(server.signals("*").await.1, SignalsSource::Empty);
    assert_eq!(server.signals("a").await.1, SignalsSource::Materialized);
}

#[tokio::test]
async fn a_model_older_than_an_hour_picks_up_catalogue_changes() {
    let server = TestServer::with_items(half_circle(12)).await;
    server.ingest(liked("u", "new")).await.unwrap();
    assert!(server.signals("u").await.0.tag_affinity.is_empty());
    let new = item("new")
        .vector(&[1.0, 1.0])
        .tag("theme", "Late", 1.0)
        .build();
    server.world.items.put(new).unwrap();
    assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);

    server.world.clock.advance(DAY / 24);
    let (signals, source) = server.signals("u").await;
    assert_eq!(source, SignalsSource::Rebuilt);
    assert_eq!(signals.tag_affinity["theme:late"], 1.0);
    assert_eq!(server.signals("u").await.1, SignalsSource::Materialized);
}

#[tokio::test]
async fn events_expire_from_the_model_and_an_idle_user_is_removed() {
    let server = TestServer::with_items(half_circle(12)).await;
    server
        .ingest(at(NOW - 29 * 86_400, liked("u", "i001")))
        .await
        .unwrap();
    server.ingest(liked("u", "i002")).await.unwrap();
    server.world.clock.advance(2 * DAY);
    let (signals, source) = server.signals("u").await;
    assert_eq!(source, SignalsSource::Rebuilt);
    assert_eq!(signals.viewed, ["i002"]);
    server.world.clock.advance(40 * DAY);
    assert_eq!(server.signals("u").await.1, SignalsSource::Empty);
}

#[tokio::test]
async fn survey_answers_seed_the_profile_as_the_ranking_file_maps_them() {
    let config = RankingConfig::from_toml(
        r#"
        [[profile]]
        questions = ["q:age", "age_group"]
        field = "age"
        facet = "person_who.age_group"
        weight = 0.5
        values = { "25_34" = "Age 25-34" }
        [[profile]]
        questions = ["likes"]
        facet = "theme"
        [[profile]]
        questions = ["city"]
        field = "city"
        "#,
    )
    .unwrap();
    let server = TestServer::with_config(half_circle(12), config).await;
    let answer = |event_type: &str, seconds, question, text| {
        let mut answered = at(seconds, event("u", event_type, ""));
        answered.survey_answers = Some(text_answer(question, text));
        answered
    };
    for event in [
        answer("IDENTIFY", NOW - 50, "age_group", "25_34"),
        answer("SURVEY_ANSWERED", NOW - 40, "likes", "Sixth 0"),
        answer("SURVEY_SUBMITTED", NOW - 30, "likes", "Sixth 2"),
        answer("SURVEY_SUBMITTED", NOW - 30, "city", "Utrecht"),
        answer("SOMETHING_ELSE", NOW - 10, "likes", "Sixth 5"),
        answer("IDENTIFY", NOW - 5, "likes", " "),
    ] {
        server.ingest(event).await.unwrap();
    }
    let (signals, _) = server.signals("u").await;
    let affinity: Vec<_> = signals
        .tag_affinity
        .iter()
        .map(|(tag, weight)| (tag.as_str(), *weight))
        .collect();
    assert_eq!(
        affinity,
        [
            ("person_who.age_group:age 25-34", 0.5),
            ("theme:sixth 2", 1.0)
        ]
    );
    let demographics = signals.demographics.unwrap();
    let names: Vec<&str> = demographics.fields.keys().map(String::as_str).collect();
    assert_eq!(names, ["age", "city"]);
    assert!(signals.is_cold);
}

#[tokio::test]
async fn untasted_facets_never_enter_the_tag_maps() {
    let config = RankingConfig::from_toml("untasted_facets = ['Mood']").unwrap();
    let tagged = |id: &str| {
        item(id)
            .tag("mood", "Gloomy", 1.0)
            .tag("theme", "Rain", 0.5)
            .build()
    };
    let server = TestServer::with_config(vec![tagged("a"), tagged("b")], config).await;
    server.ingest(liked("u", "a")).await.unwrap();
    server.ingest(disliked("u", "b")).await.unwrap();
    let (signals, _) = server.signals("u").await;
    assert_eq!(
        signals.tag_affinity.into_keys().collect::<Vec<_>>(),
        ["theme:rain"]
    );
    assert_eq!(
        signals.tag_aversion.into_keys().collect::<Vec<_>>(),
        ["theme:rain"]
    );
}

#[tokio::test]
async fn an_export_contains_everything_and_an_erasure_leaves_nothing() {
    let server = TestServer::with_items(half_circle(12)).await;
    let sent = InteractionEvent {
        event_id: "e".into(),
        session_id: "s".into(),
        request_id: "r".into(),
        query_text: "q".into(),
        clicked_id: "c".into(),
        impressions: vec!["i005".into(), "i006".into()],
        survey_answers: Some(text_answer("why", "because")),
        ..at(NOW - 10, liked("u", "i001"))
    };
    server.ingest(sent.clone()).await.unwrap();
    server
        .ingest(at(NOW - 20, liked("u", "i002")))
        .await
        .unwrap();

    let export = || async {
        let request = proto::ExportUserRequest {
            user_id: "u".into(),
        };
        server
            .recommender()
            .export_user(request)
            .await
            .unwrap()
            .into_inner()
    };
    let exported = export().await;
    assert_eq!(exported.events.len(), 2);
    assert_eq!(
        exported.events[1], sent,
        "events are exported as they were sent, oldest first"
    );
    assert_eq!(exported.signals.unwrap().taste_vector.len(), 2);
    assert!(exported.stored_events[1].contains(r#""session_id":"#));
    assert_eq!(exported.stored_events.len(), 2);
    assert_eq!(exported.stored_model, "", "memory stores no text of it");
    let interests = exported.interests.iter();
    let interests = interests.map(|item| (item.content_id.as_str(), item.strength));
    let interests: Vec<_> = interests.collect();
    assert_eq!(interests[0], ("i002", 1.0), "{interests:?}");
    assert!(interests.contains(&("i001", 1.0)), "{interests:?}");
    assert!(exported.interests.is_sorted_by_key(|item| {
        let time = item.engaged_at.unwrap();
        (time.seconds, time.nanos)
    }));

    assert!(server.delete("u").await);
    assert!(!server.delete("u").await, "nothing is left to delete");
    let exported = export().await;
    assert!(exported.events.is_empty() && exported.signals.unwrap().viewed.is_empty());
    assert_eq!(exported.interests, []);
    assert_eq!(server.signals("u").await.1, SignalsSource::Empty);

    server.ingest(liked("u", "i003")).await.unwrap();
    let (signals, _) = server.signals("u").await;
    assert_eq!(signals.viewed, ["i003"], "an erased user may return");
}
