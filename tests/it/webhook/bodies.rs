//! Which bodies are accepted, and how their elements are reported.

use recsys::{
    api::limits::Limits, domain::ranking_config::RankingConfig, edge::settings::ServerSettings,
};
use serde_json::{Value, json};

use super::deliveries::{JSON, PATH, liked_payload, many, post, stored};
use crate::support::{
    MemoryWorld,
    http::{exchange, gzip, send},
    items::half_circle,
    server::{NOW, TestServer},
};

#[tokio::test]
async fn an_invalid_element_fails_alone_and_is_reported() {
    let server = TestServer::with_items(half_circle(3)).await;
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let answers = |value: &str| {
        format!(r#"{{"type":"identify","userId":"u","messageId":"a","traits":{{"x":{value}}}}}"#)
    };
    let nested = format!("{}1{}", "[".repeat(31), "]".repeat(31));
    let long = "é".repeat(300);
    let mut old = liked_payload("old", "old");
    old["timestamp"] = json!("2020-01-01T00:00:00Z");
    let elements = [
        liked_payload("u", "good-1").to_string(),
        "nonsense".to_owned(),
        "1e999".to_owned(),
        r#""text""#.to_owned(),
        deep,
        answers("1e999"),
        answers(&nested),
        json!({"type": "track", "userId": "u", "messageId": "nameless"}).to_string(),
        json!({"type": "track", "event": "E", "messageId": "nobody's"}).to_string(),
        json!({"type": "page", "userId": "u", "messageId": "page"}).to_string(),
        json!({"type": "track", "userId": "u", "event": "E", "messageId": long}).to_string(),
        json!({"type": "track", "userId": "u", "event": "E", "timestamp": "soon"}).to_string(),
        json!({"type": "track", "userId": "u", "event": "E", "timestamp": "2027-01-01T00:00:00Z"})
            .to_string(),
        old.to_string(),
        json!({"type": "track", "userId": "u", "event": "E",
            "properties": {"details": {"dwell_seconds": -1}}})
        .to_string(),
        liked_payload("u", "good-1").to_string(),
        liked_payload("u", "good-2").to_string(),
        json!({"type": "track", "userId": "u", "event": "E", "messageId": "empty"}).to_string(),
    ];
    let body = format!("[{}]", elements.join(","));
    let reply = send(server.webhook, "POST", PATH, &[JSON], body.as_bytes()).await;
    assert_eq!(reply.status, 200);
    let report = reply.json();
    assert_eq!(report["received"], json!(elements.len()));
    let counts = ["accepted", "duplicate", "outside_window", "no_user"];
    assert_eq!(
        counts.map(|name| report[name].clone()),
        [2, 1, 1, 1].map(|n| json!(n))
    );
    let counts = ["other_type", "no_item", "invalid", "failed"];
    assert_eq!(
        counts.map(|name| report[name].clone()),
        [1, 1, 11, 0].map(|n| json!(n))
    );
    let not_taken = report["not_taken"].as_array().unwrap();
    let reason = |index: usize| {
        let of = |element: &&Value| element["index"] == json!(index);
        let element = not_taken.iter().find(of).unwrap();
        let name = element["messageId"].as_str().unwrap_or_default().to_owned();
        (name, element["reason"].as_str().unwrap().to_owned())
    };
    for (index, name, expected) in [
        (1, "", "no JSON"),
        (3, "", "must be a JSON object"),
        (6, "a", "must nest at most 30 deep"),
        (7, "nameless", "event.event_type must not be empty"),
        (8, "nobody's", "neither userId nor anonymousId"),
        (9, "page", "neither track nor identify nor alias"),
        (11, "", "timestamp must be a time"),
        (12, "", "event.event_time must be at most 300 s ahead"),
        (13, "old", "older than"),
        (14, "", "event.dwell_seconds must be 0 to 86400"),
        (17, "empty", "names no item, impression, answer or query"),
    ] {
        let (reported_name, reported_reason) = reason(index);
        assert_eq!(reported_name, name, "{index}");
        assert!(
            reported_reason.contains(expected),
            "{index}: {reported_reason}"
        );
    }
    assert!(reason(10).0.len() <= 128, "a long id is truncated");
    assert_eq!(stored(&server, "u").await.len(), 2);
}

#[tokio::test]
async fn invalid_deliveries_are_refused_with_a_status_and_a_reason() {
    let server = TestServer::with_items(half_circle(3)).await;
    let address = server.webhook;
    let valid = liked_payload("u", "1").to_string();
    let too_many = format!("[{}]", vec!["1"; 10_001].join(","));
    for (headers, body, status) in [
        (&[JSON][..], "", 400),
        (&[JSON], "1", 400),
        (&[JSON], "\"track\"", 400),
        (&[JSON], "{\"type\": \"tra", 400),
        (&[JSON], "[{}", 400),
        (&[JSON], "[{},]", 400),
        (&[JSON], &too_many, 413),
        (&[], &valid, 415),
        (&[("content-type", "text/plain")], &valid, 415),
        (&[JSON, ("content-encoding", "br")], &valid, 415),
        (&[JSON, ("content-encoding", "gzip")], &valid, 400),
        (&[JSON, ("x-tenant-id", "shop")], &valid, 403),
    ] {
        let reply = send(address, "POST", PATH, headers, body.as_bytes()).await;
        assert_eq!(reply.status, status, "{headers:?} {body:.40}");
        let report = reply.json();
        assert!(report["error"]["reason"].is_string(), "{report}");
        assert!(report["error"]["message"].is_string(), "{report}");
        assert!(reply.header("retry-after").is_none());
        assert!(reply.header("x-request-id").is_some());
    }
    let reply = send(address, "PUT", PATH, &[JSON], valid.as_bytes()).await;
    assert_eq!(
        (reply.status, reply.header("allow")),
        (405, Some("GET, HEAD, POST"))
    );
    for path in ["/", "/v1/webhooks/", "/v1/webhooks/other", "/metrics"] {
        let reply = send(address, "POST", path, &[JSON], valid.as_bytes()).await;
        assert_eq!(reply.status, 404, "{path}");
    }
    let raw = exchange(address, b"nonsense\r\n\r\n").await;
    assert!(raw.starts_with(b"HTTP/1.1 400"), "{}", raw.escape_ascii());
    assert!(stored(&server, "u").await.is_empty());

    let reply = post(address, &json!([])).await;
    assert_eq!(
        (reply.status, reply.json()["received"].clone()),
        (200, json!(0))
    );
    let utf8 = [("content-type", "application/json; charset=utf-8")];
    let path = "/v1/webhooks/segment";
    let reply = send(address, "POST", path, &utf8, valid.as_bytes()).await;
    assert_eq!(reply.status, 200);
    let reply = send(address, "GET", PATH, &[("x-request-id", "abc-1")], b"").await;
    assert_eq!((reply.status, reply.json()), (200, json!({"status": "ok"})));
    assert_eq!(reply.header("x-request-id"), Some("abc-1"));
}

#[tokio::test]
async fn compressed_bodies_are_limited_by_their_decompressed_size() {
    let limits = Limits {
        max_request_bytes: 20_000,
        ..Limits::default()
    };
    let server = TestServer::with_limits(half_circle(3), limits).await;
    let compressed = [JSON, ("content-encoding", "gzip")];
    let deliver = async |headers: &[(&str, &str)], body: &[u8]| {
        let reply = send(server.webhook, "POST", PATH, headers, body).await;
        (reply.status, reply.json())
    };
    let body = many(50).to_string();
    assert!((10_000..20_000).contains(&body.len()), "{}", body.len());
    let (status, reply) = deliver(&compressed, &gzip(body.as_bytes())).await;
    assert_eq!((status, &reply["accepted"]), (200, &json!(50)));
    let (status, reply) = deliver(&[JSON], body.as_bytes()).await;
    assert_eq!((status, &reply["duplicate"]), (200, &json!(50)));
    let mut large = body.into_bytes();
    large.resize(20_001, b' ');
    for (headers, body) in [
        (&[JSON][..], large.clone()),
        (&compressed, gzip(&large)),
        (&compressed, gzip(&vec![b'['; 8 << 20])),
    ] {
        let (status, reply) = deliver(headers, &body).await;
        assert_eq!(status, 413, "{reply}");
        assert_eq!(reply["error"]["reason"], json!("TOO_LARGE"));
    }
}

#[tokio::test]
async fn decompressed_bodies_count_as_memory() {
    let config = RankingConfig::default();
    let world = MemoryWorld::new(NOW, &config, half_circle(3));
    let engine = world.engine(config);
    let settings = ServerSettings {
        max_buffered_bytes: 200_000,
        ..ServerSettings::default()
    };
    let server = TestServer::serving(world, engine, settings).await;
    let compressed = [JSON, ("content-encoding", "gzip")];
    let bomb = gzip(&vec![b' '; 1 << 20]);
    let reply = send(server.webhook, "POST", PATH, &compressed, &bomb).await;
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(reply.json()["error"]["reason"], json!("OVERLOADED"));
    // All of it is released.
    assert_eq!(
        post(server.webhook, &liked_payload("u", "1")).await.status,
        200
    );
}

#[tokio::test]
async fn a_delivery_may_have_more_elements_than_an_api_batch() {
    let server = TestServer::with_items(half_circle(3)).await;
    let reply = post(server.webhook, &many(2_500)).await;
    let report = reply.json();
    assert_eq!((reply.status, &report["accepted"]), (200, &json!(2_500)));
    assert_eq!(report["not_taken"], json!([]));
}
