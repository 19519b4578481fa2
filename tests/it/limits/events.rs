//! Limits of events.

use recsys::proto::{self, InteractionEvent, SignalsSource};
use tonic::Code;

use crate::support::{
    items::half_circle,
    server::{TestServer, event, fields, number_answer, rating, reason, text_answer},
};

type EventChange = Box<dyn Fn(&mut InteractionEvent)>;

fn change(change: impl Fn(&mut InteractionEvent) + 'static) -> EventChange {
    Box::new(change)
}

fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// 2026-06-10T12:00:00Z, the fixed time of the test servers.
const NOW: i64 = 1_781_092_800;

#[tokio::test]
async fn an_event_at_every_limit_is_accepted() {
    let server = TestServer::with_items(half_circle(10)).await;
    let long = |count: usize| "x".repeat(count);
    let accepted: Vec<(&str, EventChange)> = vec![
        (
            "user_id of 256 bytes",
            change(move |e| e.user_id = long(256)),
        ),
        (
            "event_type of 128 bytes",
            change(move |e| e.event_type = long(128)),
        ),
        (
            "event_id of 512 bytes",
            change(move |e| e.event_id = long(512)),
        ),
        (
            "session_id of 512 bytes",
            change(move |e| e.session_id = long(512)),
        ),
        (
            "request_id of 512 bytes",
            change(move |e| e.request_id = long(512)),
        ),
        (
            "content_id of 512 bytes",
            change(move |e| e.content_id = long(512)),
        ),
        (
            "clicked_id of 512 bytes",
            change(move |e| e.clicked_id = long(512)),
        ),
        (
            "1,000 impressions",
            change(|e| e.impressions = (0..1_000).map(|i| format!("i{i}")).collect()),
        ),
        (
            "an impression of 512 bytes",
            change(move |e| e.impressions = vec![long(512)]),
        ),
        (
            "a time 5 minutes ahead",
            change(|e| e.event_time = time(NOW + 300)),
        ),
        ("dwell of 0", change(|e| e.dwell_seconds = Some(0.0))),
        (
            "dwell of a day",
            change(|e| e.dwell_seconds = Some(86_400.0)),
        ),
        (
            "rating of 0",
            change(|e| e.survey_answers = Some(rating(0.0))),
        ),
        (
            "rating of 5",
            change(|e| e.survey_answers = Some(rating(5.0))),
        ),
        (
            "65,000 bytes of query",
            change(move |e| e.query_text = long(65_000)),
        ),
    ];
    for (index, (name, change)) in accepted.into_iter().enumerate() {
        let mut event = event(&format!("at-{index}"), "T", "i000");
        change(&mut event);
        let reply = server.ingest(event).await;
        let reply = reply.unwrap_or_else(|status| panic!("{name} is refused: {status}"));
        assert_eq!(reply.outcome(), proto::IngestOutcome::Accepted, "{name}");
    }
}

#[tokio::test]
async fn an_event_past_a_limit_is_refused_by_field_and_changes_nothing() {
    let server = TestServer::with_items(half_circle(10)).await;
    let long = |count: usize| "x".repeat(count);
    let refused: Vec<(&str, &str, EventChange)> = vec![
        ("no user", "user_id", change(|e| e.user_id.clear())),
        (
            "user_id of 257 bytes",
            "user_id",
            change(move |e| e.user_id = long(257)),
        ),
        (
            "user_id of 86 three-byte signs",
            "user_id",
            change(|e| e.user_id = "日".repeat(86)),
        ),
        (
            "a line break in user_id",
            "user_id",
            change(|e| e.user_id = "a\nb".into()),
        ),
        (
            "NUL in user_id",
            "user_id",
            change(|e| e.user_id = "a\0".into()),
        ),
        (
            "DEL in user_id",
            "user_id",
            change(|e| e.user_id = "a\u{7f}".into()),
        ),
        (
            "a C1 control in user_id",
            "user_id",
            change(|e| e.user_id = "a\u{85}".into()),
        ),
        (
            "no event_type",
            "event_type",
            change(|e| e.event_type.clear()),
        ),
        (
            "event_type of 129 bytes",
            "event_type",
            change(move |e| e.event_type = long(129)),
        ),
        (
            "event_id of 513 bytes",
            "event_id",
            change(move |e| e.event_id = long(513)),
        ),
        (
            "session_id of 513 bytes",
            "session_id",
            change(move |e| e.session_id = long(513)),
        ),
        (
            "request_id of 513 bytes",
            "request_id",
            change(move |e| e.request_id = long(513)),
        ),
        (
            "content_id of 513 bytes",
            "content_id",
            change(move |e| e.content_id = long(513)),
        ),
        (
            "clicked_id of 513 bytes",
            "clicked_id",
            change(move |e| e.clicked_id = long(513)),
        ),
        (
            "1,001 impressions",
            "impressions",
            change(|e| e.impressions = vec!["i".into(); 1_001]),
        ),
        (
            "an impression of 513 bytes",
            "impressions[1]",
            change(move |e| e.impressions = vec!["i".into(), long(513)]),
        ),
        (
            "an empty impression",
            "impressions[0]",
            change(|e| e.impressions = vec![String::new()]),
        ),
        (
            "a time 5 minutes and 1 s ahead",
            "event_time",
            change(|e| e.event_time = time(NOW + 301)),
        ),
        (
            "a time after the year 9999",
            "event_time",
            change(|e| e.event_time = time(i64::MAX)),
        ),
        (
            "a time before the year 1",
            "event_time",
            change(|e| e.event_time = time(i64::MIN)),
        ),
        (
            "nanoseconds out of range",
            "event_time",
            change(|e| {
                e.event_time = Some(prost_types::Timestamp {
                    seconds: NOW,
                    nanos: 1_000_000_000,
                });
            }),
        ),
        (
            "dwell below 0",
            "dwell_seconds",
            change(|e| e.dwell_seconds = Some(-0.001)),
        ),
        (
            "dwell over a day",
            "dwell_seconds",
            change(|e| e.dwell_seconds = Some(86_400.1)),
        ),
        (
            "dwell not a number",
            "dwell_seconds",
            change(|e| e.dwell_seconds = Some(f64::NAN)),
        ),
        (
            "infinite dwell",
            "dwell_seconds",
            change(|e| e.dwell_seconds = Some(f64::INFINITY)),
        ),
        (
            "an unknown end reason",
            "end_reason",
            change(|e| e.end_reason = 17),
        ),
        (
            "rating of -0.1",
            "survey_answers.rating",
            change(|e| e.survey_answers = Some(rating(-0.1))),
        ),
        (
            "rating of 5.1",
            "survey_answers.rating",
            change(|e| e.survey_answers = Some(rating(5.1))),
        ),
        (
            "rating as text",
            "survey_answers.rating",
            change(|e| e.survey_answers = Some(text_answer("rating", "5"))),
        ),
        (
            "an answer that is not a number",
            "survey_answers.q",
            change(|e| e.survey_answers = Some(number_answer("q", f64::NAN))),
        ),
        (
            "66,000 bytes of query",
            "",
            change(move |e| e.query_text = long(66_000)),
        ),
    ];
    for (name, field, change) in refused {
        let mut event = event("refused", "T", "i000");
        change(&mut event);
        let status = server.ingest(event.clone()).await.expect_err(name);
        assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status}");
        assert_eq!(reason(&status), "INVALID_FIELD", "{name}");
        let path = match field {
            "" => "event".to_owned(),
            field => format!("event.{field}"),
        };
        assert_eq!(fields(&status), [path.as_str()], "{name}");
        assert!(
            status.message().contains(&path),
            "{name}: {}",
            status.message()
        );

        let reply = server.batch(vec![event]).await.unwrap();
        let result = &reply.results[0];
        let error = result.error.clone().unwrap();
        assert_eq!(result.outcome(), proto::IngestOutcome::Rejected, "{name}");
        assert_eq!(
            (error.code, error.reason.as_str()),
            (3, "INVALID_FIELD"),
            "{name}"
        );
        assert_eq!(
            error.field,
            path.replacen("event", "events[0]", 1),
            "{name}"
        );
    }
    assert_eq!(server.signals("refused").await.1, SignalsSource::Empty);
}

#[tokio::test]
async fn all_violations_are_reported_at_once() {
    let server = TestServer::with_items(half_circle(10)).await;
    let bad = InteractionEvent {
        user_id: "a\tb".into(),
        dwell_seconds: Some(-1.0),
        end_reason: 9,
        impressions: vec![String::new()],
        survey_answers: Some(rating(9.0)),
        ..InteractionEvent::default()
    };
    let status = server.ingest(bad).await.unwrap_err();
    let mut violated = fields(&status);
    violated.sort();
    assert_eq!(
        violated,
        [
            "event.dwell_seconds",
            "event.end_reason",
            "event.event_type",
            "event.impressions[0]",
            "event.survey_answers.rating",
            "event.user_id",
        ]
    );
    let empty = proto::IngestEventRequest { event: None };
    let status = server.recommender().ingest_event(empty).await.unwrap_err();
    assert_eq!(fields(&status), ["event"]);
}

#[tokio::test]
async fn many_violations_are_reported_in_a_bounded_error() {
    let server = TestServer::with_items(half_circle(10)).await;
    let mut invalid = event("u", "T", "");
    invalid.impressions = vec![String::new(); 1_000];
    let status = server.ingest(invalid.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status).len(), 16);
    assert!(
        status.message().ends_with("and 994 more"),
        "{}",
        status.message()
    );

    let reply = server.batch(vec![invalid; 1_000]).await.unwrap();
    let size = prost::Message::encoded_len(&reply);
    assert!(size < 4 << 20, "a reply of {size} bytes");
}
