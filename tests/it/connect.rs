//! Calls by Connect: JSON by plain HTTP, with the errors, keys and limits of gRPC.

mod attacks;
mod errors;
mod protocol;

use std::time::Duration;

use prost::Message as _;
use recsys::{
    domain::ranking_config::RankingConfig,
    edge::{browser::BrowserSettings, settings::ServerSettings},
    proto,
};
use serde_json::{Value, json};

use crate::support::{
    MemoryWorld,
    http::{HttpReply, exchange, gzip, reply, send},
    items::half_circle,
    server::{NOW, TestServer, liked},
    tenants::Tenants,
};

const RECOMMEND: &str = "/recsys.v1.RecommenderService/Recommend";

const BATCH: &str = "/recsys.v1.RecommenderService/BatchIngestEvents";

const JSON: (&str, &str) = ("content-type", "application/json");

async fn serving(settings: ServerSettings) -> TestServer {
    let config = RankingConfig::default();
    let world = MemoryWorld::new(NOW, &config, half_circle(30));
    let engine = world.engine(config);
    TestServer::serving(world, engine, settings).await
}

async fn call(server: &TestServer, headers: &[(&str, &str)], body: &str) -> HttpReply {
    let headers = [&[JSON][..], headers].concat();
    send(server.address, "POST", RECOMMEND, &headers, body.as_bytes()).await
}

/// The error of a reply.
fn error(reply: &HttpReply) -> (u16, Value) {
    let error = reply.json();
    assert!(reply.header("grpc-status").is_none(), "{reply:?}");
    (reply.status, error)
}

#[tokio::test]
async fn a_list_as_json_is_the_list_of_grpc() {
    let server = serving(ServerSettings::default()).await;
    server.ingest(liked("u", "i003")).await.unwrap();
    let request = proto::RecommendRequest {
        user_id: "u".to_owned(),
        limit: 5,
        seed: Some(1),
        ..Default::default()
    };
    let expected = server.recommend(request.clone()).await.unwrap();
    for body in [
        r#"{"user_id":"u","limit":5,"seed":1}"#,
        r#"{"userId":"u","limit":5,"seed":"1"}"#,
    ] {
        let reply = call(&server, &[], body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.header("x-request-id").is_some());
        assert!(reply.header("grpc-status").is_none());
        let list = reply.json();
        let ids: Vec<_> = list["items"].as_array().unwrap().iter().collect();
        let ids: Vec<_> = ids.iter().map(|item| &item["contentId"]).collect();
        let expected: Vec<_> = expected.items.iter().map(|item| &item.content_id).collect();
        assert_eq!(ids, expected);
    }
    let headers = [("content-type", "application/proto")];
    let body = request.encode_to_vec();
    let reply = send(server.address, "POST", RECOMMEND, &headers, &body).await;
    assert_eq!(reply.header("content-type"), Some("application/proto"));
    let mut list = proto::RecommendResponse::decode(&*reply.body).unwrap();
    list.request_id.clone_from(&expected.request_id);
    assert_eq!(list, expected);
}

#[tokio::test]
async fn what_is_wrong_with_json_is_said_with_its_path() {
    let server = serving(ServerSettings::default()).await;
    for (body, message) in [
        ("", "the request is not valid JSON: see line 1, column 0"),
        ("{", "the request is not valid JSON: see line 1, column 1"),
        ("[]", "the request must be an object: {...}"),
        (r#"{"user":"u"}"#, "user is not a field of this message"),
        (r#"{"userId":7}"#, "user_id must be a text in quotes"),
        (
            r#"{"userId":"u","limit":"many"}"#,
            "limit must be a whole number",
        ),
        (
            r#"{"userId":"u","excludeIds":"i"}"#,
            "exclude_ids must be a list: [...]",
        ),
        (
            r#"{"userId":"u","excludeIds":["i",{}]}"#,
            "exclude_ids[1] must be a text in quotes",
        ),
    ] {
        let (status, error) = error(&call(&server, &[], body).await);
        assert_eq!(status, 400, "{body}");
        assert_eq!(error["code"], "invalid_argument", "{body}");
        let given = error["message"].as_str().unwrap();
        assert!(given.starts_with(message), "{body}: {given}");
    }
    let batch = r#"{"events":[{"userId":"u","eventTime":"yesterday"}]}"#;
    let reply = send(server.address, "POST", BATCH, &[JSON], batch.as_bytes()).await;
    let (_, error) = error(&reply);
    let given = error["message"].as_str().unwrap();
    assert!(
        given.starts_with("events[0].event_time must be a time in RFC 3339"),
        "{given}"
    );
}

#[tokio::test]
async fn errors_carry_code_message_and_details() {
    let server = serving(ServerSettings::default()).await;
    let (status, error) = error(&call(&server, &[], r#"{"userId":"\n"}"#).await);
    assert_eq!(status, 400);
    assert_eq!(error["code"], "invalid_argument");
    let details = error["details"].as_array().unwrap();
    let of = |name: &str| {
        details
            .iter()
            .find(|detail| detail["type"] == name)
            .unwrap()
    };
    assert_eq!(
        of("google.rpc.ErrorInfo")["debug"]["reason"],
        "INVALID_FIELD"
    );
    let violation = &of("google.rpc.BadRequest")["debug"]["fieldViolations"][0];
    assert_eq!(violation["field"], "user_id");
    assert!(of("google.rpc.BadRequest")["value"].is_string());
}

#[tokio::test]
async fn other_requests_are_refused_with_a_sentence() {
    let server = serving(ServerSettings::default()).await;
    for (method, path, headers, status, code) in [
        ("GET", RECOMMEND, &[][..], 405, "unimplemented"),
        ("POST", RECOMMEND, &[], 415, "unimplemented"),
        (
            "POST",
            RECOMMEND,
            &[("content-type", "text/plain")],
            415,
            "unimplemented",
        ),
        (
            "POST",
            RECOMMEND,
            &[("content-type", "application/grpc")],
            415,
            "unimplemented",
        ),
        (
            "POST",
            RECOMMEND,
            &[("content-type", "application/grpc-web")],
            415,
            "unimplemented",
        ),
        (
            "POST",
            RECOMMEND,
            &[("content-type", "application/connect+json")],
            415,
            "unimplemented",
        ),
        (
            "POST",
            "/recsys.v1.RecommenderService/Nothing",
            &[JSON],
            501,
            "unimplemented",
        ),
        (
            "POST",
            "/recsys.v1.RecommenderService/StreamIngestEvents",
            &[JSON],
            501,
            "unimplemented",
        ),
        (
            "POST",
            RECOMMEND,
            &[JSON, ("connect-protocol-version", "2")],
            400,
            "invalid_argument",
        ),
        (
            "POST",
            RECOMMEND,
            &[JSON, ("connect-timeout-ms", "soon")],
            400,
            "invalid_argument",
        ),
        (
            "POST",
            RECOMMEND,
            &[JSON, ("connect-timeout-ms", "12345678901")],
            400,
            "invalid_argument",
        ),
        (
            "POST",
            RECOMMEND,
            &[JSON, ("content-encoding", "br")],
            501,
            "unimplemented",
        ),
        (
            "POST",
            RECOMMEND,
            &[JSON, ("content-encoding", "gzip")],
            400,
            "invalid_argument",
        ),
    ] {
        let reply = send(server.address, method, path, headers, b"{}").await;
        let (given, error) = error(&reply);
        assert_eq!(given, status, "{method} {path} {headers:?}: {error}");
        assert_eq!(error["code"], code, "{method} {path} {headers:?}");
        assert!(error["message"].is_string());
    }
}

#[tokio::test]
async fn without_keys_only_localhost_and_addresses_are_served_as_host() {
    let server = serving(ServerSettings {
        browser: BrowserSettings {
            grpc_web: true,
            cors_allow_origins: None,
        },
        ..ServerSettings::default()
    })
    .await;
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:50051", 200),
        ("127.0.0.1:50051", 200),
        ("10.1.2.3", 200),
        ("[::1]:50051", 200),
        ("shop.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ] {
        let body = r#"{"userId":"u"}"#;
        for content_type in ["application/json", "application/grpc-web+proto"] {
            let bytes = format!(
                "POST {RECOMMEND} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
                 content-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let reply = reply(&exchange(server.address, bytes.as_bytes()).await);
            assert_eq!(reply.status, status, "{host:?} {content_type}");
        }
    }
}

#[tokio::test]
async fn gzip_is_taken_both_ways_within_the_limits() {
    let server = serving(ServerSettings::default()).await;
    let packed = gzip(br#"{"userId":"u","limit":30}"#);
    let headers = [
        JSON,
        ("content-encoding", "gzip"),
        ("accept-encoding", "br, gzip;q=0.5"),
    ];
    let reply = send(server.address, "POST", RECOMMEND, &headers, &packed).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    assert!(reply.body.starts_with(&[0x1f, 0x8b]));
    // 64 MiB of spaces.
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let reply = send(server.address, "POST", RECOMMEND, &headers, &bomb).await;
    let (status, error) = error(&reply);
    assert_eq!((status, &error["code"]), (400, &json!("out_of_range")));
}

#[tokio::test]
async fn json_is_bounded_before_it_is_read() {
    let server = serving(ServerSettings {
        max_buffered_bytes: 64 << 20,
        ..ServerSettings::default()
    })
    .await;
    let body = format!("{{\"excludeIds\":[{}\"\"]}}", "\"\",".repeat(1 << 20));
    let (status, error) = error(&call(&server, &[], &body).await);
    assert_eq!(
        (status, &error["code"]),
        (429, &json!("resource_exhausted"))
    );
    let deep = "[".repeat(1 << 20);
    let (status, _) = self::error(&call(&server, &[], &deep).await);
    assert!(status == 429 || status == 400, "{status}");
    let ids = "\"i\",".repeat(10_000);
    let body = format!("{{\"userId\":\"u\",\"excludeIds\":[{ids}\"i\"]}}");
    let (status, error) = self::error(&call(&server, &[], &body).await);
    assert_eq!(status, 400);
    let given = error["message"].as_str().unwrap();
    assert!(given.starts_with("exclude_ids"), "{given}");
    assert_eq!(call(&server, &[], r#"{"userId":"u"}"#).await.status, 200);
}

#[tokio::test]
async fn a_timeout_ends_a_call() {
    let stores = crate::operations::Faulty::new();
    let server = stores
        .serve_with(ServerSettings {
            request_timeout: Duration::from_secs(3_600),
            ..ServerSettings::default()
        })
        .await;
    stores
        .hold_appends
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let event = json!({"event": {"eventType": "LIKE", "userId": "u", "contentId": "i001",
                                 "eventTime": "2026-01-01T00:00:00Z"}});
    let headers = [JSON, ("connect-timeout-ms", "50")];
    let path = "/recsys.v1.RecommenderService/IngestEvent";
    let body = event.to_string();
    let reply = send(server.address, "POST", path, &headers, body.as_bytes()).await;
    let (status, error) = error(&reply);
    assert_eq!((status, &error["code"]), (504, &json!("deadline_exceeded")));
}

#[tokio::test]
async fn keys_and_roles_apply_as_to_other_calls() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["ingest"]);
    let served = tenants.serve(&[]);
    let address = served.address.parse().unwrap();
    let body = br#"{"userId":"u"}"#;
    let (status, refused) = error(&send(address, "POST", RECOMMEND, &[JSON], body).await);
    assert_eq!((status, &refused["code"]), (401, &json!("unauthenticated")));
    // A message is not read before its key.
    let (status, _) = error(&send(address, "POST", RECOMMEND, &[JSON], b"{").await);
    assert_eq!(status, 401);
    let headers = [JSON, ("x-api-key", &key)];
    let (status, refused) = error(&send(address, "POST", RECOMMEND, &headers, body).await);
    assert_eq!(
        (status, &refused["code"]),
        (403, &json!("permission_denied"))
    );
}
