//! The protocol: versions of HTTP, compression, time-outs, pages of other origins,
//! metrics.

use std::time::Duration;

use prost::Message as _;
use recsys::{
    edge::{browser::BrowserSettings, settings::ServerSettings},
    proto,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{BATCH, JSON, RECOMMEND, error, serving};
use crate::support::{
    http::{HttpReply, VERSIONS, gunzip, gzip, reply, send},
    server::TestServer,
    tenants::Tenants,
    watched::Watched,
};

const GZIP: (&str, &str) = ("content-encoding", "gzip");

const INGEST: &str = "recsys.v1.RecommenderService/IngestEvent";

const PAGE: &str = "https://shop.example";

/// The ids of a list in JSON.
fn ids(body: &[u8]) -> Vec<String> {
    let list: Value = serde_json::from_slice(body).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["contentId"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn both_versions_of_http_serve_lists_and_errors() {
    let server = serving(ServerSettings::default()).await;
    let body = br#"{"userId":"u","limit":4,"seed":1}"#;
    let mut lists = Vec::new();
    for version in VERSIONS {
        for kind in ["application/json", "application/json; charset=utf-8"] {
            let headers = [("content-type", kind), ("connect-protocol-version", "1")];
            let reply = version
                .send(server.address, "POST", RECOMMEND, &headers, body)
                .await;
            assert_eq!(reply.status, 200, "{version:?} {reply:?}");
            assert_eq!(reply.header("content-type"), Some("application/json"));
            for name in ["grpc-status", "grpc-message", "trailer"] {
                assert_eq!(reply.header(name), None, "{version:?}");
            }
            lists.push(ids(&reply.body));
        }
        let reply = version
            .send(server.address, "POST", RECOMMEND, &[JSON], b"{}x")
            .await;
        assert_eq!(error(&reply).0, 400, "{version:?}");
    }
    assert_eq!(lists[0].len(), 4);
    assert!(lists.iter().all(|list| *list == lists[0]), "{lists:?}");
}

#[tokio::test]
async fn gzip_packs_requests_and_replies_of_both_formats() {
    let server = serving(ServerSettings::default()).await;
    let text = br#"{"userId":"u","limit":30,"seed":1}"#;
    let expected = send(server.address, "POST", RECOMMEND, &[JSON], text).await;
    assert_eq!(expected.header("content-encoding"), None);
    let expected = ids(&expected.body);
    // Two members are one body.
    let (first, second) = text.split_at(9);
    let packed = [gzip(first), gzip(second)].concat();
    for version in VERSIONS {
        let headers = [JSON, GZIP, ("accept-encoding", "deflate, GZIP")];
        let reply = version
            .send(server.address, "POST", RECOMMEND, &headers, &packed)
            .await;
        assert_eq!(reply.header("content-encoding"), Some("gzip"), "{reply:?}");
        assert_eq!(ids(&gunzip(&reply.body)), expected);

        let request = proto::RecommendRequest {
            user_id: "u".to_owned(),
            limit: 30,
            seed: Some(1),
            ..Default::default()
        };
        let packed = gzip(&request.encode_to_vec());
        let proto = ("content-type", "application/proto");
        let headers = [proto, GZIP, ("accept-encoding", "gzip")];
        let reply = version
            .send(server.address, "POST", RECOMMEND, &headers, &packed)
            .await;
        assert_eq!(reply.header("content-encoding"), Some("gzip"), "{reply:?}");
        let list = proto::RecommendResponse::decode(&*gunzip(&reply.body)).unwrap();
        let given: Vec<_> = list.items.into_iter().map(|item| item.content_id).collect();
        assert_eq!(given, expected);
    }
    for accepted in ["gzip;q=0", "identity", "br", ""] {
        let headers = [JSON, ("accept-encoding", accepted)];
        let reply = send(server.address, "POST", RECOMMEND, &headers, text).await;
        assert_eq!(reply.header("content-encoding"), None, "{accepted:?}");
        assert_eq!(ids(&reply.body), expected);
    }
    // Small replies, errors among them, are not worth packing.
    let headers = [JSON, ("accept-encoding", "gzip")];
    let reply = send(server.address, "POST", RECOMMEND, &headers, b"{").await;
    assert_eq!(reply.header("content-encoding"), None);
    assert_eq!(error(&reply).0, 400);
}

#[tokio::test]
async fn the_size_limit_is_that_of_the_unpacked_message() {
    let server = serving(ServerSettings::default()).await;
    let max = 4 << 20;
    for (bytes, status) in [(max, 200), (max + 1, 400)] {
        let mut body = br#"{"userId":"u"}"#.to_vec();
        body.resize(bytes, b' ');
        let packed = gzip(&body);
        for version in VERSIONS {
            for (headers, body) in [(&[JSON][..], &body), (&[JSON, GZIP], &packed)] {
                let reply = version
                    .send(server.address, "POST", RECOMMEND, headers, body)
                    .await;
                assert_eq!(reply.status, status, "{version:?} {bytes} {reply:?}");
                if status == 400 {
                    assert_eq!(error(&reply).1["code"], "out_of_range");
                }
            }
        }
    }
}

#[tokio::test]
async fn timeouts_of_one_to_ten_digits_are_taken() {
    let server = serving(ServerSettings::default()).await;
    for version in VERSIONS {
        for (timeout, status) in [
            ("0", 504),
            ("60000", 200),
            ("0000060000", 200),
            ("9999999999", 200),
            ("", 400),
            ("-1", 400),
            ("1.5", 400),
            ("60000m", 400),
            ("99999999999", 400),
        ] {
            let headers = [JSON, ("connect-timeout-ms", timeout)];
            let reply = version
                .send(server.address, "POST", RECOMMEND, &headers, b"{}")
                .await;
            assert_eq!(reply.status, status, "{version:?} {timeout:?} {reply:?}");
        }
    }
}

fn allowed_origin(reply: &HttpReply) -> Option<&str> {
    reply.header("access-control-allow-origin")
}

async fn preflight(server: &TestServer, origin: &str) -> HttpReply {
    let asked = "content-type,connect-protocol-version,connect-timeout-ms,x-api-key";
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", asked),
    ];
    send(server.address, "OPTIONS", RECOMMEND, &headers, b"").await
}

#[tokio::test]
async fn pages_of_listed_origins_may_call_with_json_with_or_without_grpc_web() {
    for grpc_web in [false, true] {
        let server = serving(ServerSettings {
            browser: BrowserSettings {
                grpc_web,
                cors_allow_origins: Some(PAGE.parse().unwrap()),
            },
            ..ServerSettings::default()
        })
        .await;
        let reply = preflight(&server, PAGE).await;
        assert_eq!((reply.status, allowed_origin(&reply)), (204, Some(PAGE)));
        let names = reply.header("access-control-allow-headers").unwrap();
        for name in [
            "content-type",
            "connect-protocol-version",
            "connect-timeout-ms",
            "content-encoding",
            "authorization",
            "x-api-key",
        ] {
            assert!(names.split(", ").any(|known| known == name), "{name}");
        }
        assert_eq!(reply.header("access-control-allow-credentials"), None);
        // Errors, too, or a page could not read what is wrong.
        for (body, status) in [(r#"{"userId":"u"}"#, 200), ("[]", 400)] {
            let headers = [JSON, ("origin", PAGE)];
            let reply = send(server.address, "POST", RECOMMEND, &headers, body.as_bytes()).await;
            assert_eq!((reply.status, allowed_origin(&reply)), (status, Some(PAGE)));
            assert_eq!(reply.header("vary"), Some("origin"));
        }
        for origin in ["https://evil.example", "null"] {
            assert_eq!(allowed_origin(&preflight(&server, origin).await), None);
            let headers = [JSON, ("origin", origin)];
            let reply = send(server.address, "POST", RECOMMEND, &headers, b"{}").await;
            assert_eq!(allowed_origin(&reply), None, "{origin}");
        }
        // What a page may send without a preflight is refused.
        for kind in ["text/plain", "application/x-www-form-urlencoded"] {
            let headers = [("content-type", kind), ("origin", PAGE)];
            let reply = send(server.address, "POST", RECOMMEND, &headers, b"{}").await;
            assert_eq!(reply.status, 415, "{kind}");
        }
    }
    let server = serving(ServerSettings::default()).await;
    assert_eq!(allowed_origin(&preflight(&server, PAGE).await), None);
}

#[tokio::test]
async fn calls_with_json_are_counted_as_those_of_grpc() {
    let watched = Watched::set(&[]).await;
    let address = watched.served.address.parse().unwrap();
    let event = json!({"event": {"eventType": "LIKE", "userId": "u", "contentId": "2001"}});
    let event = event.to_string();
    let path = format!("/{INGEST}");
    for version in VERSIONS {
        for (headers, body, status) in [
            (&[JSON][..], event.as_bytes(), 200),
            (&[JSON], b"{", 400),
            (&[JSON], b"{\"event\":{}}", 400),
            (&[], b"{}", 415),
        ] {
            let reply = version.send(address, "POST", &path, headers, body).await;
            assert_eq!(reply.status, status, "{reply:?}");
            assert!(reply.header("x-request-id").is_some(), "{reply:?}");
        }
        let reply = version.send(address, "GET", "/nothing-1", &[], b"").await;
        assert_eq!(reply.status, 405);
    }
    assert_eq!(watched.calls(INGEST, "OK"), 2.0);
    assert_eq!(watched.calls(INGEST, "INVALID_ARGUMENT"), 4.0);
    assert_eq!(watched.calls(INGEST, "UNIMPLEMENTED"), 2.0);
    assert_eq!(watched.calls("_OTHER", "UNIMPLEMENTED"), 2.0);
    assert_eq!(watched.events("accepted"), 2.0);
    let (_, metrics) = watched.get("/metrics");
    assert!(!metrics.contains("nothing-1"), "{metrics}");
}

#[tokio::test]
async fn a_client_that_sends_its_body_after_the_headers_gets_the_error_and_keeps_its_connection() {
    let tenants = Tenants::new(&["shop"]);
    let served = tenants.serve(&[]);
    let mut stream = TcpStream::connect(&served.address).await.unwrap();
    let mut read = async |content_type: &str, body: &[u8]| {
        let head = format!(
            "POST {RECOMMEND} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // Both are refused by their headers.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let _ = stream.write_all(body).await;
        let mut received = Vec::new();
        while !received.ends_with(b"}") {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        }
        reply(&received)
    };
    for (kind, status) in [("application/json", 401), ("text/plain", 415)] {
        for _ in 0..3 {
            let reply = read(kind, b"{\"userId\":\"u\"}").await;
            assert_eq!((reply.status, reply.header("connection")), (status, None));
        }
    }
    // A large one is not awaited.
    let reply = read("application/json", &vec![b' '; 100 << 10]).await;
    assert_eq!(
        (reply.status, reply.header("connection")),
        (401, Some("close"))
    );
}

#[tokio::test]
async fn a_call_whose_deadline_is_over_gets_the_error_and_keeps_its_connection() {
    let server = serving(ServerSettings::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..5 {
        let call = format!(
            "POST {RECOMMEND} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             connect-timeout-ms: 0\r\ncontent-length: 14\r\n\r\n{{\"userId\":\"u\"}}"
        );
        stream.write_all(call.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"}") {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
        }
        let reply = reply(&received);
        assert_eq!((reply.status, reply.header("connection")), (504, None));
    }
}

#[tokio::test]
async fn each_element_of_a_batch_has_its_result() {
    let server = serving(ServerSettings::default()).await;
    let body = json!({"events": [
        {"userId": "u", "eventType": "LIKE", "contentId": "i001"},
        {"eventType": "LIKE", "contentId": "i001"},
    ]});
    let reply = send(
        server.address,
        "POST",
        BATCH,
        &[JSON],
        body.to_string().as_bytes(),
    )
    .await;
    let results = reply.json()["results"].clone();
    assert_eq!(results[0]["outcome"], "INGEST_OUTCOME_ACCEPTED");
    assert_eq!(
        results[1]["error"]["field"], "events[1].user_id",
        "{results}"
    );
}
