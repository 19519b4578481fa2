//! What a client may send: at each limit it is taken, past it refused with
//! the field's name, and then nothing has changed.

use std::time::Duration;

use recsys::{
    api::limits::Limits,
    proto::{
        self, GeoPoint, InteractionEvent, Item, RecommendRequest, SignalsSource, Tag, TagFilter,
    },
};
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

/// 2026-06-10T12:00:00Z, where the test servers' clock stands.
const NOW: i64 = 1_781_092_800;

#[tokio::test]
async fn every_limit_of_an_event_holds_at_its_edge() {
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
            "rating of 1",
            change(|e| e.survey_answers = Some(rating(1.0))),
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
            "rating of 0.9",
            "survey_answers.rating",
            change(|e| e.survey_answers = Some(rating(0.9))),
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
async fn all_violations_are_told_at_once() {
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
    let mut named = fields(&status);
    named.sort();
    assert_eq!(
        named,
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
async fn a_batch_takes_1000_events_and_refuses_1001_whole() {
    let server = TestServer::with_items(half_circle(10)).await;
    let events: Vec<_> = (0..1_001)
        .map(|index| InteractionEvent {
            event_id: index.to_string(),
            ..event("batch", "T", "i000")
        })
        .collect();
    let status = server.batch(events.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status), ["events"]);
    assert_eq!(server.signals("batch").await.1, SignalsSource::Empty);

    let reply = server.batch(events[..1_000].to_vec()).await.unwrap();
    assert_eq!(reply.results.len(), 1_000);
    assert_eq!(server.signals("batch").await.0.event_count, 1_000);
    assert!(server.batch(Vec::new()).await.unwrap().results.is_empty());
}

#[tokio::test]
async fn a_message_over_4_mib_is_out_of_range_and_upserts_have_16() {
    let server = TestServer::with_items(half_circle(10)).await;
    let mut big = event("big", "T", "i000");
    big.query_text = "x".repeat(5 << 20);
    let status = server.ingest(big).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    assert_eq!(server.signals("big").await.1, SignalsSource::Empty);

    // Of 250,000 bytes each, as a single item may not be that large.
    let upsert = |bytes: usize| proto::UpsertItemsRequest {
        items: (0..bytes / 250_000)
            .map(|index| Item {
                content_id: format!("big{index}"),
                text: "x".repeat(250_000),
                ..Item::default()
            })
            .collect(),
    };
    let reply = server
        .catalog()
        .upsert_items(upsert(15 << 20))
        .await
        .unwrap();
    assert_eq!(
        reply.get_ref().results[0].outcome(),
        proto::ItemOutcome::Stored
    );
    let status = server
        .catalog()
        .upsert_items(upsert(17 << 20))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn every_limit_of_a_recommend_request_holds_at_its_edge() {
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
        ("user_id", RecommendRequest::default()),
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
        (
            "exclude_ids",
            RecommendRequest {
                exclude_ids: vec!["x".into(); 10_001],
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
async fn a_bad_item_is_refused_by_field_and_the_others_are_stored() {
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
async fn a_catalogue_request_takes_500_items_and_refuses_501_whole() {
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

    let most = proto::UpsertItemsRequest {
        items: items[..500].to_vec(),
    };
    client.upsert_items(most).await.unwrap();
    assert_eq!(server.world.items.len(), 500);
    let most = proto::GetItemsRequest {
        content_ids: ids[..500].to_vec(),
    };
    assert_eq!(
        client
            .get_items(most)
            .await
            .unwrap()
            .into_inner()
            .items
            .len(),
        500
    );
    let most = proto::DeleteItemsRequest {
        content_ids: ids[..500].to_vec(),
    };
    client.delete_items(most).await.unwrap();
    assert!(server.world.items.is_empty());
}

#[tokio::test]
async fn a_message_of_exactly_4_mib_is_read_and_one_byte_more_is_not() {
    use prost::Message as _;
    let server = TestServer::with_items(half_circle(10)).await;
    let request_of = |bytes: usize| {
        let mut request = proto::IngestEventRequest {
            event: Some(event("edge", "T", "i000")),
        };
        let text = |request: &mut proto::IngestEventRequest, length: usize| {
            request.event.as_mut().unwrap().query_text = "x".repeat(length);
        };
        text(&mut request, bytes - 100);
        let missing = bytes - request.encoded_len();
        text(&mut request, bytes - 100 + missing);
        assert_eq!(request.encoded_len(), bytes);
        request
    };
    let mut client = server.recommender();
    let most = client.ingest_event(request_of(4 << 20)).await.unwrap_err();
    assert_eq!(
        most.code(),
        Code::InvalidArgument,
        "read, and refused for its stored size"
    );
    let more = client
        .ingest_event(request_of((4 << 20) + 1))
        .await
        .unwrap_err();
    assert_eq!(more.code(), Code::OutOfRange);
}

#[tokio::test]
async fn a_stored_event_of_exactly_64_kib_is_taken_and_one_byte_more_is_not() {
    let server = TestServer::with_items(half_circle(10)).await;
    let of = |length: usize| {
        let mut event = event("edge", "T", "i000");
        event.query_text = "x".repeat(length);
        event
    };
    let told = server.ingest(of(70_000)).await.unwrap_err();
    let size: usize = told
        .message()
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap();
    let spare = (64 << 10) - (size - 70_000);
    let reply = server.ingest(of(spare)).await.unwrap();
    assert_eq!(reply.outcome(), proto::IngestOutcome::Accepted);
    let status = server.ingest(of(spare + 1)).await.unwrap_err();
    assert_eq!(fields(&status), ["event"]);
}

#[tokio::test]
async fn lists_of_a_request_hold_at_their_edges() {
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
    let mut named = fields(&status);
    named.sort();
    assert_eq!(named, ["content_types", "exclude_ids", "must", "must_not"]);
}

#[tokio::test]
async fn limits_are_settings() {
    let limits = Limits {
        max_batch_events: 1,
        max_user_id_bytes: 3,
        max_limit: 20,
        max_event_ahead: Duration::from_secs(1),
        max_request_bytes: 1_000,
        ..Limits::default()
    };
    let server = TestServer::with_limits(half_circle(10), limits).await;
    assert_eq!(
        fields(&server.ingest(event("four", "T", "")).await.unwrap_err()),
        ["event.user_id"]
    );
    let mut ahead = event("u", "T", "");
    ahead.event_time = time(NOW + 2);
    assert_eq!(
        fields(&server.ingest(ahead).await.unwrap_err()),
        ["event.event_time"]
    );
    let mut large = event("u", "T", "");
    large.query_text = "x".repeat(1_000);
    let status = server.ingest(large).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    let list = RecommendRequest {
        user_id: "u".into(),
        limit: 21,
        ..RecommendRequest::default()
    };
    assert_eq!(
        fields(&server.recommend(list).await.unwrap_err()),
        ["limit"]
    );
    let status = server
        .batch(vec![event("u", "T", ""); 2])
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["events"]);
}

#[tokio::test]
async fn a_flood_of_broken_rules_keeps_its_code() {
    let server = TestServer::with_items(half_circle(10)).await;
    let mut flood = event("u", "T", "");
    flood.impressions = vec![String::new(); 1_000];
    let status = server.ingest(flood.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(fields(&status).len(), 16);
    assert!(
        status.message().ends_with("and 994 more"),
        "{}",
        status.message()
    );

    let reply = server.batch(vec![flood; 1_000]).await.unwrap();
    let size = prost::Message::encoded_len(&reply);
    assert!(size < 4 << 20, "a reply of {size} bytes");
}

#[tokio::test]
async fn a_short_request_cannot_ask_for_a_huge_reply() {
    let server = TestServer::with_items(Vec::new()).await;
    let of = |bytes: usize| proto::UpsertItemsRequest {
        items: vec![Item {
            content_id: "big".into(),
            text: "x".repeat(bytes),
            ..Item::default()
        }],
    };
    let reply = server.catalog().upsert_items(of(256 << 10)).await.unwrap();
    let error = reply.into_inner().results.remove(0).error.unwrap();
    assert_eq!(error.field, "items[0]");
    server.catalog().upsert_items(of(255 << 10)).await.unwrap();
    let request = proto::GetItemsRequest {
        content_ids: vec!["big".into(); 500],
    };
    let reply = server.catalog().get_items(request).await.unwrap();
    assert_eq!(reply.into_inner().items.len(), 1, "each item once");

    let ids = proto::GetItemsRequest {
        content_ids: vec!["x".repeat(400); 12_000],
    };
    let status = server.catalog().get_items(ids).await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::OutOfRange,
        "only upserts may be larger"
    );
}
