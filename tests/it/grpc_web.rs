//! gRPC-Web over HTTP/1.1 and CORS: browsers get the calls that other clients get.
//! `scripts/web_client.sh` runs a real browser.

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
    operations::Faulty,
    support::{
        MemoryWorld,
        http::{HttpReply, send},
        items::half_circle,
        program::{assert_calls, get},
        raw_http2::frame,
        server::{NOW, TestServer, liked},
        tenants::Tenants,
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

/// The outcome of a gRPC-Web call.
struct WebReply {
    status: tonic::Status,
    message: Vec<u8>,
    reply: HttpReply,
}

impl WebReply {
    fn details(&self) -> ErrorDetails {
        self.status.get_error_details()
    }
}

/// Decodes a reply. The status is in a last frame of its own or, if the reply has no
/// frames, in the headers.
fn decoded(reply: HttpReply, body: &[u8]) -> WebReply {
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
    WebReply {
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
) -> WebReply {
    let headers = [&[PROTO, ("x-grpc-web", "1")][..], headers].concat();
    let reply = send(address, "POST", path, &headers, &frame(message)).await;
    assert_eq!(reply.status, 200);
    let body = reply.body.clone();
    decoded(reply, &body)
}

fn recommend_request(user: &str) -> proto::RecommendRequest {
    proto::RecommendRequest {
        user_id: user.to_owned(),
        limit: 5,
        seed: Some(1),
        ..Default::default()
    }
}

fn ingest_request(user: &str) -> proto::IngestEventRequest {
    proto::IngestEventRequest {
        event: Some(liked(user, "i001")),
    }
}

#[tokio::test]
async fn a_browser_gets_the_same_list_as_other_clients() {
    let server = serving(with_pages(None)).await;
    server.ingest(liked("u", "i003")).await.unwrap();
    let mut expected = server.recommend(recommend_request("u")).await.unwrap();
    let outcome = call(server.address, RECOMMEND, &[], &recommend_request("u")).await;
    assert_eq!(outcome.status.code(), Code::Ok);
    assert_eq!(
        outcome.reply.header("content-type"),
        Some("application/grpc-web+proto")
    );
    let mut list = proto::RecommendResponse::decode(&*outcome.message).unwrap();
    expected.request_id.clear();
    list.request_id.clear();
    assert_eq!(list, expected);

    // In base64, for clients that cannot read bytes.
    let body = BASE64_STANDARD.encode(frame(&recommend_request("u")));
    let headers = [TEXT, ("accept", TEXT.1)];
    let reply = send(server.address, "POST", RECOMMEND, &headers, body.as_bytes()).await;
    let text = std::str::from_utf8(&reply.body).unwrap().to_owned();
    // Each frame is encoded separately.
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
    let outcome = decoded(reply, &bytes);
    assert_eq!(outcome.status.code(), Code::Ok);
    let mut list = proto::RecommendResponse::decode(&*outcome.message).unwrap();
    list.request_id.clear();
    assert_eq!(list, expected);
}

#[tokio::test]
async fn errors_carry_their_details() {
    let server = serving(with_pages(None)).await;
    let outcome = call(server.address, RECOMMEND, &[], &recommend_request("\n")).await;
    assert_eq!(outcome.status.code(), Code::InvalidArgument);
    let details = outcome.details();
    let broken = &details.bad_request().unwrap().field_violations;
    assert_eq!(broken[0].field, "user_id");
    assert_eq!(details.error_info().unwrap().reason, "INVALID_FIELD");
    let outcome = call(
        server.address,
        "/nobody.v1.S/M",
        &[],
        &recommend_request("u"),
    )
    .await;
    assert_eq!(outcome.status.code(), Code::Unimplemented);
}

/// The CORS headers of a reply.
fn cors(reply: &HttpReply) -> Vec<&'static str> {
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

/// The reply to a preflight request.
async fn preflight(server: &TestServer, origin: &str) -> HttpReply {
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
async fn only_listed_origins_get_cors_headers() {
    let server = serving(with_pages(Some(
        "https://other.example, https://shop.example",
    )))
    .await;
    let reply = preflight(&server, OURS).await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("access-control-allow-origin"), Some(OURS));
    assert_eq!(reply.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(reply.header("access-control-max-age"), Some("600"));
    let request_headers = reply.header("access-control-allow-headers").unwrap();
    for name in [
        "content-type",
        "x-grpc-web",
        "grpc-timeout",
        "authorization",
        "x-api-key",
    ] {
        assert!(
            request_headers.split(", ").any(|known| known == name),
            "{name}"
        );
    }
    let reply = call(
        server.address,
        RECOMMEND,
        &[("origin", OURS)],
        &recommend_request("u"),
    )
    .await
    .reply;
    assert_eq!(reply.header("access-control-allow-origin"), Some(OURS));
    assert_eq!(reply.header("vary"), Some("origin"));
    let exposed_headers = reply.header("access-control-expose-headers").unwrap();
    for name in [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "x-request-id",
    ] {
        assert!(
            exposed_headers.split(", ").any(|known| known == name),
            "{name}"
        );
    }
    // Errors have them, too, or a page could not read what went wrong.
    let outcome = call(
        server.address,
        RECOMMEND,
        &[("origin", OURS)],
        &recommend_request(""),
    )
    .await;
    assert_eq!(
        outcome.reply.header("access-control-allow-origin"),
        Some(OURS)
    );

    for origin in [
        "https://evil.example",
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil.example",
        "null",
        "",
    ] {
        let reply = preflight(&server, origin).await;
        assert!(cors(&reply).is_empty(), "{origin}: {reply:?}");
        let headers = [("origin", origin)];
        let reply = call(server.address, RECOMMEND, &headers, &recommend_request("u"))
            .await
            .reply;
        assert!(cors(&reply).is_empty(), "{origin}: {reply:?}");
    }
    let reply = call(server.address, RECOMMEND, &[], &recommend_request("u"))
        .await
        .reply;
    assert!(cors(&reply).is_empty(), "{reply:?}");
}

#[tokio::test]
async fn any_origin_is_allowed_only_by_setting() {
    let server = serving(with_pages(Some("*"))).await;
    let reply = preflight(&server, "https://evil.example").await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert!(reply.header("access-control-allow-credentials").is_none());
    let server = serving(with_pages(None)).await;
    let reply = preflight(&server, OURS).await;
    assert!(cors(&reply).is_empty(), "{reply:?}");
}

#[tokio::test]
async fn without_grpc_web_its_calls_are_refused() {
    let server = serving(ServerSettings::default()).await;
    let body = frame(&recommend_request("u"));
    let reply = send(server.address, "POST", RECOMMEND, &[PROTO], &body).await;
    assert_eq!(reply.status, 415);
    let reply = send(
        server.address,
        "OPTIONS",
        RECOMMEND,
        &[("origin", OURS)],
        b"",
    )
    .await;
    assert_eq!(reply.status, 405);
    assert!(cors(&reply).is_empty(), "{reply:?}");
    server.recommend(recommend_request("u")).await.unwrap();
}

#[tokio::test]
async fn with_grpc_web_other_http_requests_are_refused_and_grpc_still_works() {
    let server = serving(with_pages(Some("*"))).await;
    for (method, headers, status) in [
        ("GET", &[][..], 405),
        ("POST", &[("content-type", "text/plain")], 415),
        ("POST", &[("content-type", "application/grpc")], 415),
        ("GET", &[PROTO], 405),
        ("OPTIONS", &[], 405),
    ] {
        let reply = send(server.address, method, RECOMMEND, headers, b"{}").await;
        assert_eq!(reply.status, status, "{method} {headers:?}");
    }
    let list = server.recommend(recommend_request("u")).await.unwrap();
    assert_eq!(list.items.len(), 5);
    // A truncated message, or no message at all.
    for sent in [&b""[..], &[0, 0, 0, 0, 9, 1], &[0xff; 32]] {
        let reply = send(server.address, "POST", RECOMMEND, &[PROTO], sent).await;
        let body = reply.body.clone();
        assert_ne!(decoded(reply, &body).status.code(), Code::Ok);
    }
}

#[tokio::test]
async fn deadlines_load_limits_and_panics_apply_as_to_other_calls() {
    let stores = Faulty::new();
    let server = stores
        .serve_with(ServerSettings {
            max_calls: 1,
            request_timeout: Duration::from_secs(3_600),
            ..with_pages(None)
        })
        .await;
    let request = proto::GetUserSignalsRequest {
        user_id: "panic".to_owned(),
        include_vectors: false,
    };
    let outcome = call(server.address, SIGNALS, &[], &request).await;
    assert_eq!(outcome.status.code(), Code::Internal);
    assert_eq!(outcome.status.message(), "internal error");

    stores.hold_appends.store(true, Ordering::SeqCst);
    let deadline = [("grpc-timeout", "50m")];
    let outcome = call(server.address, INGEST, &deadline, &ingest_request("u")).await;
    assert_eq!(outcome.status.code(), Code::DeadlineExceeded);

    let address = server.address;
    let begun = stores.begun.load(Ordering::SeqCst);
    let first = tokio::spawn(async move { call(address, INGEST, &[], &ingest_request("u")).await });
    while stores.begun.load(Ordering::SeqCst) == begun {
        tokio::task::yield_now().await;
    }
    let outcome = call(address, INGEST, &[], &ingest_request("u")).await;
    assert_eq!(outcome.status.code(), Code::ResourceExhausted);
    let details = outcome.details();
    assert_eq!(details.error_info().unwrap().reason, "OVERLOADED");
    assert!(details.retry_info().is_some());
    stores.hold_appends.store(false, Ordering::SeqCst);
    assert_eq!(first.await.unwrap().status.code(), Code::Ok);
}

#[tokio::test]
async fn keys_roles_and_metrics_apply_as_to_other_calls() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["serve"]);
    let mut served = tenants.serve(&[
        ("RECSYS_GRPC_WEB", "true"),
        ("RECSYS_CORS_ALLOW_ORIGINS", OURS),
        ("RECSYS_ADMIN_ADDR", "127.0.0.1:0"),
    ]);
    let address = served.address.parse().unwrap();
    let bearer = format!("Bearer {key}");
    for header in [("authorization", bearer.as_str()), ("x-api-key", &key)] {
        let outcome = call(address, RECOMMEND, &[header], &recommend_request("u")).await;
        assert_eq!(outcome.status.code(), Code::Ok, "{header:?}");
        let outcome = call(address, INGEST, &[header], &ingest_request("u")).await;
        assert_eq!(outcome.status.code(), Code::PermissionDenied, "{header:?}");
    }
    let outcome = call(
        address,
        RECOMMEND,
        &[("origin", OURS)],
        &recommend_request("u"),
    )
    .await;
    assert_eq!(outcome.status.code(), Code::Unauthenticated);
    assert_eq!(
        outcome.reply.header("access-control-allow-origin"),
        Some(OURS)
    );

    let metrics = get(&served.admin_address(), "/metrics");
    for (method, code, count) in [
        ("Recommend", "OK", 2),
        ("IngestEvent", "PERMISSION_DENIED", 2),
        ("Recommend", "UNAUTHENTICATED", 1),
    ] {
        assert_calls(
            &metrics,
            &format!("recsys.v1.RecommenderService/{method}"),
            code,
            count,
        );
    }
}
