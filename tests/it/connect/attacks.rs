//! Attacks with JSON: each is refused with a small error, whatever the version of HTTP is,
//! and leaves the server as it was.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use recsys::edge::settings::ServerSettings;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{BATCH, JSON, RECOMMEND, call, error, serving};
use crate::{
    operations::Faulty,
    support::{
        http::{VERSIONS, Version, gzip, reply},
        raw_http2,
        server::TestServer,
    },
};

const INGEST: &str = "/recsys.v1.RecommenderService/IngestEvent";

const UPSERT: &str = "/recsys.v1.CatalogService/UpsertItems";

/// An attack: path, body, and the status, code and start of the message of its error.
type Attack = (&'static str, Vec<u8>, u16, &'static str, &'static str);

/// Errors stay small whatever was sent.
const MAX_ERROR_BYTES: usize = 16 << 10;

async fn small_server() -> TestServer {
    serving(ServerSettings {
        max_buffered_bytes: 32 << 20,
        ..ServerSettings::default()
    })
    .await
}

async fn assert_refused(server: &TestServer, attacks: &[Attack], headers: &[(&str, &str)]) {
    for version in VERSIONS {
        for (path, body, status, code, message) in attacks {
            let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            let reply = version
                .send(server.address, "POST", path, headers, body)
                .await;
            assert!(reply.body.len() < MAX_ERROR_BYTES, "{shown}");
            let (given, error) = error(&reply);
            assert_eq!(given, *status, "{version:?} {shown}: {error}");
            assert_eq!(error["code"], *code, "{shown}");
            let given = error["message"].as_str().unwrap();
            assert!(given.starts_with(message), "{shown}: {given}");
        }
    }
    let list = call(server, &[], r#"{"userId":"u"}"#).await;
    assert_eq!(list.status, 200, "{list:?}");
}

fn answers(answers: &str) -> Vec<u8> {
    format!(r#"{{"event":{{"userId":"u","eventType":"T","surveyAnswers":{answers}}}}}"#).into()
}

/// A value in this many lists.
fn nested(levels: usize) -> String {
    format!("{}1{}", "[".repeat(levels), "]".repeat(levels))
}

#[tokio::test]
async fn values_that_nest_too_deeply_are_refused() {
    let server = small_server().await;
    let invalid = (400, "invalid_argument");
    let attack = |path, body: Vec<u8>, (status, code), message| (path, body, status, code, message);
    let deep = "the request is nested too deeply: see line 1";
    assert_refused(
        &server,
        &[
            attack(RECOMMEND, nested(1_000).into(), invalid, deep),
            attack(
                INGEST,
                answers(&format!("{{\"a\":{}}}", nested(500))),
                invalid,
                deep,
            ),
            attack(
                INGEST,
                answers(&format!("{{\"a\":{}}}", nested(60))),
                invalid,
                deep,
            ),
            attack(
                RECOMMEND,
                "[".repeat(1 << 20).into(),
                (429, "resource_exhausted"),
                "this call may take",
            ),
            attack(
                RECOMMEND,
                "{\"near\":".repeat(1 << 17).into(),
                (429, "resource_exhausted"),
                "this call may take",
            ),
        ],
        &[JSON],
    )
    .await;
    // Of an allowed depth.
    let body = answers(&format!("{{\"a\":{}}}", nested(20)));
    for version in VERSIONS {
        let reply = version
            .send(server.address, "POST", INGEST, &[JSON], &body)
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

#[tokio::test]
async fn long_texts_and_names_are_refused_with_a_short_error() {
    let server = small_server().await;
    let long = "x".repeat(1 << 20);
    let many: Vec<String> = (0..20_000).map(|name| format!("\"f{name}\":1")).collect();
    let invalid = |path, body: String, message| {
        let body = body.into_bytes();
        (path, body, 400, "invalid_argument", message)
    };
    assert_refused(
        &server,
        &[
            invalid(RECOMMEND, format!("{{\"userId\":\"{long}\"}}"), "user_id"),
            invalid(RECOMMEND, format!("{{\"filter\":\"{long}\"}}"), "filter"),
            invalid(RECOMMEND, format!("{{\"{long}\":1}}"), "xxxxxxxx"),
            invalid(
                RECOMMEND,
                format!("{{\"{long}\":1,\"{long}\":1}}"),
                "xxxxxxxx",
            ),
            invalid(RECOMMEND, format!("{{{}}}", many.join(",")), "f0 is not a"),
            invalid(INGEST, format!("{{\"event\":{{\"{long}\":1}}}}"), "event.x"),
        ],
        &[JSON],
    )
    .await;
}

#[tokio::test]
async fn many_empty_elements_are_refused_before_they_are_read() {
    let server = small_server().await;
    let list = |field: &str, element: &str, count: usize| {
        let elements = format!("{element},").repeat(count - 1);
        format!("{{\"{field}\":[{elements}{element}]}}").into_bytes()
    };
    let too_much = |path, body| (path, body, 429, "resource_exhausted", "this call may take");
    let too_many = |path, body, message| (path, body, 400, "invalid_argument", message);
    let attacks = [
        too_much(BATCH, list("events", "{}", 1 << 20)),
        too_much(BATCH, list("events", "null", 700_000)),
        too_much(UPSERT, list("items", "{}", 1 << 20)),
        too_much(RECOMMEND, list("excludeIds", "\"\"", 1 << 20)),
        too_much(RECOMMEND, list("must", "{}", 1 << 18)),
        too_much(
            INGEST,
            answers(&format!("{{\"a\":[{}0]}}", "{},".repeat(1 << 18))),
        ),
        too_many(BATCH, list("events", "{}", 1_001), "events"),
        too_many(UPSERT, list("items", "{}", 501), "items"),
        too_many(
            RECOMMEND,
            list("excludeIds", "\"i\"", 10_001),
            "exclude_ids",
        ),
    ];
    assert_refused(&server, &attacks, &[JSON]).await;
    // Packed, each is a few KiB.
    let packed = attacks.map(|(path, body, status, code, message)| {
        let body = gzip(&body);
        assert!(body.len() < 32 << 10, "{}", body.len());
        (path, body, status, code, message)
    });
    let headers = [JSON, ("content-encoding", "gzip")];
    assert_refused(&server, &packed, &headers).await;
}

#[tokio::test]
async fn values_of_a_wrong_type_and_huge_numbers_are_refused_by_field() {
    let server = small_server().await;
    let digits = format!("{{\"limit\":{}}}", "9".repeat(100_000));
    let cases = [
        (RECOMMEND, r#"{"userId":{}}"#, "user_id must be a text"),
        (RECOMMEND, r#"{"userId":true}"#, "user_id must be a text"),
        (RECOMMEND, r#"{"limit":[1]}"#, "limit must be a whole"),
        (RECOMMEND, r#"{"limit":-1}"#, "limit must be a whole"),
        (RECOMMEND, r#"{"limit":1.5}"#, "limit must be a whole"),
        (
            RECOMMEND,
            r#"{"limit":4294967296}"#,
            "limit must be a whole",
        ),
        (RECOMMEND, r#"{"limit":1e300}"#, "limit must be a whole"),
        (
            RECOMMEND,
            r#"{"limit":1e400}"#,
            "the request is not valid JSON",
        ),
        (
            RECOMMEND,
            r#"{"seed":"99999999999999999999"}"#,
            "seed must be",
        ),
        (RECOMMEND, &digits, "the request is not valid JSON"),
        (RECOMMEND, r#"{"near":[1,2]}"#, "near must be an object"),
        (
            RECOMMEND,
            r#"{"near":{"latitude":"north"}}"#,
            "near.latitude",
        ),
        (RECOMMEND, r#"{"near":{"latitude":1e300}}"#, "near.latitude"),
        (RECOMMEND, r#"{"near":{"latitude":"NaN"}}"#, "near.latitude"),
        (RECOMMEND, r#"{"radiusMeters":"Infinity"}"#, "radius_meters"),
        (RECOMMEND, r#"{"must":[null]}"#, "must[0] must be an object"),
        (RECOMMEND, r#"{"seen":"MAYBE"}"#, "seen must be one of"),
        (RECOMMEND, r#"{"seen":99}"#, "seen has no value 99"),
        (
            RECOMMEND,
            r#"{"includeContent":"yes"}"#,
            "include_content must",
        ),
        (INGEST, r#"{"event":"LIKE"}"#, "event must be an object"),
        (
            INGEST,
            r#"{"event":{"userId":"u","eventType":"T","dwellSeconds":1e308}}"#,
            "event.dwell_seconds",
        ),
        (
            INGEST,
            r#"{"event":{"userId":"u","eventType":"T","eventTime":1}}"#,
            "event.event_time must be a time",
        ),
        (
            UPSERT,
            r#"{"items":[{"contentId":"i","vector":[1e39]}]}"#,
            "items[0].vector[0]",
        ),
    ];
    let attacks = cases.map(|(path, body, message)| {
        let body = body.as_bytes().to_vec();
        (path, body, 400, "invalid_argument", message)
    });
    assert_refused(&server, &attacks, &[JSON]).await;
}

#[tokio::test]
async fn a_name_that_an_object_has_twice_is_refused() {
    let server = small_server().await;
    let twice = [
        (RECOMMEND, r#"{"userId":"a","userId":"b"}"#, "user_id"),
        (RECOMMEND, r#"{"userId":"a","user_id":"b"}"#, "user_id"),
        (RECOMMEND, r#"{"user_id":"a","userId":null}"#, "user_id"),
        (RECOMMEND, r#"{"userId":"a","\u0075serId":"b"}"#, "user_id"),
        (RECOMMEND, r#"{"limit":1,"limit":1}"#, "limit"),
        (
            RECOMMEND,
            r#"{"must":[{"label":"a"},{"label":"a","label":"b"}]}"#,
            "label",
        ),
        (
            INGEST,
            r#"{"event":{"userId":"a","userId":"b"}}"#,
            "user_id",
        ),
    ];
    let attacks = twice.map(|(path, body, message)| {
        let body = body.as_bytes().to_vec();
        (path, body, 400, "invalid_argument", message)
    });
    assert_refused(&server, &attacks, &[JSON]).await;
    let repeated = (
        INGEST,
        answers(r#"{"a":{"b":1,"b":2}}"#),
        400,
        "invalid_argument",
        "b is given more than once",
    );
    assert_refused(&server, &[repeated], &[JSON]).await;
    // Names that the client chose are their own.
    let body = answers(r#"{"user_id":1,"userId":2,"a":[{"b":1},{"b":1}]}"#);
    for version in VERSIONS {
        let reply = version
            .send(server.address, "POST", INGEST, &[JSON], &body)
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

#[tokio::test]
async fn texts_that_are_not_json_are_refused() {
    let server = small_server().await;
    let invalid = |body: &[u8]| {
        let message = "the request is not valid JSON";
        (RECOMMEND, body.to_vec(), 400, "invalid_argument", message)
    };
    assert_refused(
        &server,
        &[
            invalid(b"{\"userId\":\"\xff\xfe\"}"),
            invalid(br#"{"userId":"\ud800"}"#),
            invalid(b"\xef\xbb\xbf{}"),
            invalid(b"{\"userId\":\"a\0\"}"),
            invalid(b"{}{}"),
            invalid(b"{}]"),
            invalid(b"{\"userId\":\"a\",}"),
            invalid(b"{'userId':'a'}"),
            invalid(b"{\"limit\":NaN}"),
            invalid(b"{\"limit\":01}"),
            invalid(b"{/**/}"),
            invalid(&[0; 1 << 16]),
        ],
        &[JSON],
    )
    .await;
}

#[tokio::test]
async fn bodies_that_unpack_to_far_more_are_refused() {
    let server = small_server().await;
    let headers = [JSON, ("content-encoding", "gzip")];
    let spaces = gzip(&vec![b' '; 64 << 20]);
    let members = gzip(&[b' '; 1 << 16]).repeat(1_000);
    let twice = gzip(&gzip(br#"{"userId":"u"}"#));
    let (first, _) = spaces.split_at(spaces.len() / 2);
    let invalid = (400, "invalid_argument");
    let attack =
        |body: &[u8], (status, code), message| (RECOMMEND, body.to_vec(), status, code, message);
    let too_large = "the request has more than 4194304 bytes";
    assert_refused(
        &server,
        &[
            attack(&spaces, (400, "out_of_range"), too_large),
            attack(&members, (400, "out_of_range"), too_large),
            attack(&twice, invalid, "the request is not valid JSON"),
            attack(&gzip(b"{}")[..9], invalid, "the request is not valid gzip"),
            attack(&first[..64], invalid, "the request is not valid gzip"),
            attack(b"{}", invalid, "the request is not valid gzip"),
        ],
        &headers,
    )
    .await;
}

/// Starts a call whose body never ends, and reads its reply.
async fn incomplete(version: Version, address: SocketAddr) -> (u16, Vec<u8>) {
    match version {
        Version::Http1 => {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!(
                "POST {INGEST} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                 content-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"event\":"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut received = Vec::new();
            let _ = stream.read_to_end(&mut received).await;
            let reply = reply(&received);
            (reply.status, reply.body)
        }
        Version::Http2 => {
            let (mut client, _ended) = raw_http2::connect(address, 65_535).await;
            let request = http::Request::post(format!("http://localhost{INGEST}"))
                .header("content-type", "application/json")
                .body(())
                .unwrap();
            let (reply, mut body) = client.send_request(request, false).unwrap();
            body.send_data(Bytes::from_static(b"{\"event\":"), false)
                .unwrap();
            let (head, mut content) = reply.await.unwrap().into_parts();
            let data = content.data().await.unwrap().unwrap();
            (head.status.as_u16(), data.to_vec())
        }
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_answered_at_the_timeout_and_holds_no_permit() {
    let server = Faulty::new()
        .serve_with(ServerSettings {
            request_timeout: Duration::from_millis(300),
            max_calls: 1,
            ..ServerSettings::default()
        })
        .await;
    let address = server.address;
    for version in VERSIONS {
        let slow: Vec<_> = (0..20)
            .map(|_| tokio::spawn(incomplete(version, address)))
            .collect();
        for _ in 0..10 {
            let list = call(&server, &[], r#"{"userId":"u"}"#).await;
            assert_eq!(list.status, 200, "{list:?}");
        }
        for call in slow {
            let (status, body) = call.await.unwrap();
            let error: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(status, 504, "{version:?} {error}");
            assert_eq!(error["code"], json!("deadline_exceeded"));
        }
    }
}
