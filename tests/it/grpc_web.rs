//! Calls of browser pages: gRPC-Web over HTTP/1.1, CORS, and that they are in
//! all else calls like others. `scripts/web_client.sh` has a real browser do it.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message;
use recsys::{
    domain::ranking_config::RankingConfig,
    edge::{browser::BrowserSettings, settings::ServerSettings},
    proto,
};
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    access::Tenants,
    operations::Faulty,
    support::{
        MemoryWorld,
        http::{Reply, exchange, request, send},
        items::half_circle,
        program::get,
        server::{NOW, TestServer, liked},
    },
};

const RECOMMEND: &str = "/recsys.v1.RecommenderService/Recommend";
const INGEST: &str = "/recsys.v1.RecommenderService/IngestEvent";
const SIGNALS: &str = "/recsys.v1.RecommenderService/GetUserSignals";
const PROTO: (&str, &str) = ("content-type", "application/grpc-web+proto");
const TEXT: (&str, &str) = ("content-type", "application/grpc-web-text");
const OURS: &str = "https://shop.example";

fn with_pages(origins: Option<&str>) -> ServerSettings {
    ServerSettings {
        browser: BrowserSettings {
            grpc_web: true,
            cors_allow_origins: origins.map(|origins| origins.parse().unwrap()),
        },
        ..ServerSettings::default()
    }
}

async fn serving(settings: ServerSettings) -> TestServer {
    let config = RankingConfig::default();
    let world = MemoryWorld::new(NOW, &config, half_circle(30));
    let engine = world.engine(config);
    TestServer::serving(world, engine, settings).await
}

/// What a call of a page ended with.
struct Ended {
    status: tonic::Status,
    message: Vec<u8>,
    reply: Reply,
}

impl Ended {
    fn details(&self) -> ErrorDetails {
        self.status.get_error_details()
    }
}

/// A message in a frame.
fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &bytes].concat()
}

/// Takes a reply apart. The status is in a frame of its own at the end or, if
/// there is nothing else, in the headers.
fn ended(reply: Reply, body: &[u8]) -> Ended {
    let mut fields = http::HeaderMap::new();
    let mut message = Vec::new();
    let mut rest = body;
    while let Some((head, more)) = rest.split_at_checked(5) {
        let length = u32::from_be_bytes(head[1..].try_into().unwrap());
        let (frame, more) = more.split_at(usize::try_from(length).unwrap());
        rest = more;
        if head[0] == 0 {
            message = frame.to_vec();
            continue;
        }
        for line in std::str::from_utf8(frame).unwrap().lines() {
            let (name, value) = line.split_once(':').unwrap();
            let name: http::HeaderName = name.parse().unwrap();
            fields.insert(name, value.trim().parse().unwrap());
        }
    }
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        if let Some(value) = reply.header(name) {
            fields.insert(name, value.parse().unwrap());
        }
    }
    let status = tonic::Status::from_header_map(&fields);
    Ended {
        status: status.unwrap_or_else(|| panic!("no status in {reply:?}")),
        message,
        reply,
    }
}

async fn call(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    message: &impl Message,
) -> Ended {
    let headers = [&[PROTO, ("x-grpc-web", "1")][..], headers].concat();
    let reply = send(address, "POST", path, &headers, &framed(message)).await;
    assert_eq!(reply.status, 200);
    let body = reply.body.clone();
    ended(reply, &body)
}

fn list_of(user: &str) -> proto::RecommendRequest {
    proto::RecommendRequest {
        user_id: user.to_owned(),
        limit: 5,
        seed: Some(1),
        ..Default::default()
    }
}

fn event_of(user: &str) -> proto::IngestEventRequest {
    proto::IngestEventRequest {
        event: Some(liked(user, "i001")),
    }
}

#[tokio::test]
async fn a_page_gets_the_list_that_any_client_gets() {
    let server = serving(with_pages(None)).await;
    server.ingest(liked("u", "i003")).await.unwrap();
    let mut known = server.recommend(list_of("u")).await.unwrap();
    let told = call(server.address, RECOMMEND, &[], &list_of("u")).await;
    assert_eq!(told.status.code(), Code::Ok);
    assert_eq!(
        told.reply.header("content-type"),
        Some("application/grpc-web+proto")
    );
    let mut list = proto::RecommendResponse::decode(&*told.message).unwrap();
    known.request_id.clear();
    list.request_id.clear();
    assert_eq!(list, known);

    // In base 64, as pages have it that cannot read bytes.
    let body = BASE64_STANDARD.encode(framed(&list_of("u")));
    let headers = [TEXT, ("accept", TEXT.1)];
    let reply = send(server.address, "POST", RECOMMEND, &headers, body.as_bytes()).await;
    let text = std::str::from_utf8(&reply.body).unwrap().to_owned();
    // Each frame is in base 64 by itself.
    let pieces = text.split_inclusive('=').collect::<Vec<_>>();
    let mut bytes = Vec::new();
    let mut piece = String::new();
    for part in pieces {
        if part == "=" || piece.is_empty() {
            piece.push_str(part);
        } else {
            bytes.extend(BASE64_STANDARD.decode(&piece).unwrap());
            part.clone_into(&mut piece);
        }
    }
    bytes.extend(BASE64_STANDARD.decode(&piece).unwrap());
    let told = ended(reply, &bytes);
    assert_eq!(told.status.code(), Code::Ok);
    let mut list = proto::RecommendResponse::decode(&*told.message).unwrap();
    list.request_id.clear();
    assert_eq!(list, known);
}

#[tokio::test]
async fn an_error_comes_with_its_details() {
    let server = serving(with_pages(None)).await;
    let told = call(server.address, RECOMMEND, &[], &list_of("")).await;
    assert_eq!(told.status.code(), Code::InvalidArgument);
    let details = told.details();
    let broken = &details.bad_request().unwrap().field_violations;
    assert_eq!(broken[0].field, "user_id");
    assert_eq!(details.error_info().unwrap().reason, "INVALID_FIELD");
    let told = call(server.address, "/nobody.v1.S/M", &[], &list_of("u")).await;
    assert_eq!(told.status.code(), Code::Unimplemented);
}

/// Headers of CORS in a reply.
fn cors(reply: &Reply) -> Vec<&'static str> {
    [
        "access-control-allow-origin",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-allow-credentials",
        "access-control-expose-headers",
        "access-control-max-age",
    ]
    .into_iter()
    .filter(|name| reply.header(name).is_some())
    .collect()
}

async fn asked(server: &TestServer, origin: &str) -> Reply {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "content-type,x-api-key,x-grpc-web",
        ),
    ];
    send(server.address, "OPTIONS", RECOMMEND, &headers, b"").await
}

#[tokio::test]
async fn only_pages_of_listed_origins_are_let_in() {
    let server = serving(with_pages(Some(
        "https://other.example, https://shop.example",
    )))
    .await;
    let reply = asked(&server, OURS).await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("access-control-allow-origin"), Some(OURS));
    assert_eq!(reply.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(reply.header("access-control-max-age"), Some("600"));
    let may_send = reply.header("access-control-allow-headers").unwrap();
    for name in [
        "content-type",
        "x-grpc-web",
        "grpc-timeout",
        "authorization",
        "x-api-key",
    ] {
        assert!(may_send.split(", ").any(|known| known == name), "{name}");
    }
    let reply = call(
        server.address,
        RECOMMEND,
        &[("origin", OURS)],
        &list_of("u"),
    )
    .await
    .reply;
    assert_eq!(reply.header("access-control-allow-origin"), Some(OURS));
    assert_eq!(reply.header("vary"), Some("origin"));
    let may_read = reply.header("access-control-expose-headers").unwrap();
    for name in [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "x-request-id",
    ] {
        assert!(may_read.split(", ").any(|known| known == name), "{name}");
    }
    // Failures, too, or a page could not tell what went wrong.
    let told = call(server.address, RECOMMEND, &[("origin", OURS)], &list_of("")).await;
    assert_eq!(told.reply.header("access-control-allow-origin"), Some(OURS));

    for stranger in [
        "https://evil.example",
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil.example",
        "null",
        "",
    ] {
        let reply = asked(&server, stranger).await;
        assert!(cors(&reply).is_empty(), "{stranger}: {reply:?}");
        let headers = [("origin", stranger)];
        let reply = call(server.address, RECOMMEND, &headers, &list_of("u"))
            .await
            .reply;
        assert!(cors(&reply).is_empty(), "{stranger}: {reply:?}");
    }
    let reply = call(server.address, RECOMMEND, &[], &list_of("u"))
        .await
        .reply;
    assert!(cors(&reply).is_empty(), "{reply:?}");
}

#[tokio::test]
async fn any_origin_is_let_in_only_if_the_setting_says_so() {
    let server = serving(with_pages(Some("*"))).await;
    let reply = asked(&server, "https://evil.example").await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert!(reply.header("access-control-allow-credentials").is_none());
    let server = serving(with_pages(None)).await;
    let reply = asked(&server, OURS).await;
    assert!(cors(&reply).is_empty(), "{reply:?}");
}

#[tokio::test]
async fn switched_off_nothing_but_http_2_is_spoken() {
    let server = serving(ServerSettings::default()).await;
    for bytes in [
        request("POST", RECOMMEND, &[PROTO], &framed(&list_of("u"))),
        request("OPTIONS", RECOMMEND, &[("origin", OURS)], b""),
        request("GET", "/", &[], b""),
    ] {
        let told = exchange(server.address, &bytes).await;
        assert!(!told.starts_with(b"HTTP/"), "{}", told.escape_ascii());
    }
    server.recommend(list_of("u")).await.unwrap();
}

#[tokio::test]
async fn switched_on_what_is_neither_is_refused_and_grpc_goes_on() {
    let server = serving(with_pages(Some("*"))).await;
    for (method, headers, status) in [
        ("GET", &[][..], 400),
        ("POST", &[("content-type", "application/json")], 400),
        ("POST", &[("content-type", "application/grpc")], 400),
        ("GET", &[PROTO], 405),
        ("OPTIONS", &[], 400),
    ] {
        let reply = send(server.address, method, RECOMMEND, headers, b"{}").await;
        assert_eq!(reply.status, status, "{method} {headers:?}");
    }
    let server_says = server.recommend(list_of("u")).await.unwrap();
    assert_eq!(server_says.items.len(), 5);
    // A message that is cut, or no message at all.
    for body in [&b""[..], &[0, 0, 0, 0, 9, 1], &[0xff; 32]] {
        let reply = send(server.address, "POST", RECOMMEND, &[PROTO], body).await;
        let told = reply.body.clone();
        assert_ne!(ended(reply, &told).status.code(), Code::Ok);
    }
}

#[tokio::test]
async fn deadlines_load_and_panics_are_as_for_any_call() {
    let stores = Faulty::new();
    let server = stores
        .serve_with(ServerSettings {
            max_calls: 1,
            request_timeout: Duration::from_secs(3_600),
            ..with_pages(None)
        })
        .await;
    let asks = proto::GetUserSignalsRequest {
        user_id: "panic".to_owned(),
        include_vectors: false,
    };
    let told = call(server.address, SIGNALS, &[], &asks).await;
    assert_eq!(told.status.code(), Code::Internal);
    assert_eq!(told.status.message(), "internal error");

    stores.hold_appends.store(true, Ordering::SeqCst);
    let soon = [("grpc-timeout", "50m")];
    let told = call(server.address, INGEST, &soon, &event_of("u")).await;
    assert_eq!(told.status.code(), Code::DeadlineExceeded);

    let address = server.address;
    let begun = stores.begun.load(Ordering::SeqCst);
    let first = tokio::spawn(async move { call(address, INGEST, &[], &event_of("u")).await });
    while stores.begun.load(Ordering::SeqCst) == begun {
        tokio::task::yield_now().await;
    }
    let told = call(address, INGEST, &[], &event_of("u")).await;
    assert_eq!(told.status.code(), Code::ResourceExhausted);
    let details = told.details();
    assert_eq!(details.error_info().unwrap().reason, "OVERLOADED");
    assert!(details.retry_info().is_some());
    stores.hold_appends.store(false, Ordering::SeqCst);
    assert_eq!(first.await.unwrap().status.code(), Code::Ok);
}

#[tokio::test]
async fn keys_roles_and_metrics_are_as_for_any_call() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["serve"]);
    let mut served = tenants.serve(&[
        ("RECSYS_GRPC_WEB", "true"),
        ("RECSYS_CORS_ALLOW_ORIGINS", OURS),
        ("RECSYS_ADMIN_ADDR", "127.0.0.1:0"),
    ]);
    let address = served.address.parse().unwrap();
    let bearer = format!("Bearer {key}");
    for way in [("authorization", bearer.as_str()), ("x-api-key", &key)] {
        let told = call(address, RECOMMEND, &[way], &list_of("u")).await;
        assert_eq!(told.status.code(), Code::Ok, "{way:?}");
        let told = call(address, INGEST, &[way], &event_of("u")).await;
        assert_eq!(told.status.code(), Code::PermissionDenied, "{way:?}");
    }
    let told = call(address, RECOMMEND, &[("origin", OURS)], &list_of("u")).await;
    assert_eq!(told.status.code(), Code::Unauthenticated);
    assert_eq!(told.reply.header("access-control-allow-origin"), Some(OURS));

    let seen = served.logged("serving metrics and health address=");
    let (_, admin) = seen.split_once("metrics and health address=").unwrap();
    let admin = admin.split_whitespace().next().unwrap().to_owned();
    let metrics = get(&admin, "/metrics");
    for (method, code, count) in [
        ("Recommend", "OK", 2),
        ("IngestEvent", "PERMISSION_DENIED", 2),
        ("Recommend", "UNAUTHENTICATED", 1),
    ] {
        let labels = [
            format!("rpc_method=\"recsys.v1.RecommenderService/{method}\""),
            format!("rpc_response_status_code=\"{code}\""),
        ];
        let line = metrics.lines().find(|line| {
            line.starts_with("rpc_server_call_duration_seconds_count")
                && labels.iter().all(|label| line.contains(label))
        });
        let line = line.unwrap_or_else(|| panic!("{labels:?} in:\n{metrics}"));
        assert!(line.ends_with(&format!(" {count}")), "{line}");
    }
}
