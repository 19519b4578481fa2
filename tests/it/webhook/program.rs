//! The webhook of the program: keys, secret, quotas, TLS and metrics.

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use recsys::{
    domain::time::Timestamp,
    proto::{self, recommender_service_client::RecommenderServiceClient},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls};

use super::deliveries::{JSON, PATH, liked_payload, post};
use crate::support::{
    certificates::Certificates,
    http::{self, exchange, request, send},
    program::{Served, get, recsys},
    server::connect,
    tenants::Tenants,
};

/// The program with a webhook, and the address of the webhook.
fn with_webhook(settings: &[(&str, &str)]) -> (Served, SocketAddr) {
    let mut command = recsys(&["serve"]);
    command
        .env("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0")
        .envs(settings.iter().copied());
    let served = Served::start(&mut command);
    let address = webhook_of(&served);
    (served, address)
}

fn webhook_of(served: &Served) -> SocketAddr {
    let (_, rest) = served
        .seen
        .split_once("taking deliveries address=")
        .unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

fn basic(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    )
}

fn now() -> String {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(now.as_micros()).unwrap()).to_string()
}

fn liked_payload_now(user: &str, id: &str) -> Value {
    let mut payload = liked_payload(user, id);
    payload["timestamp"] = json!(now());
    payload
}

#[tokio::test]
async fn a_key_is_accepted_in_every_header_that_pipelines_use() {
    let mut tenants = Tenants::new(&["shop", "museum"]);
    let key = tenants.key("shop", &["ingest"]);
    let reader = tenants.key("shop", &["read-profile"]);
    let admin = tenants.key("museum", &["admin"]);
    let served = tenants.serve(&[("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0")]);
    let address = webhook_of(&served);
    let deliver = async |user: &str, headers: &[(&str, &str)]| {
        let body = liked_payload_now(user, user).to_string();
        let headers = [&[JSON][..], headers].concat();
        send(address, "POST", PATH, &headers, body.as_bytes()).await
    };
    let bearer = format!("Bearer {key}");
    let (user, password) = (basic(&key, ""), basic("rudderstack", &key));
    let accepted = [
        ("authorization", bearer.as_str()),
        ("x-api-key", &key),
        ("authorization", &user),
        ("authorization", &password),
    ];
    for (number, header) in accepted.iter().enumerate() {
        let reply = deliver(&format!("u{number}"), &[*header]).await;
        assert_eq!(reply.status, 200, "{header:?}");
        let reply = send(address, "GET", PATH, &[*header], b"").await;
        assert_eq!(reply.status, 200, "{header:?}");
    }
    let admin = ("x-api-key", admin.as_str());
    let reply = deliver("u9", &[admin, ("x-tenant-id", "shop")]).await;
    assert_eq!(reply.status, 200);

    let other = basic("shop", "rsk_1_2");
    let other_reader = format!("Bearer {reader}");
    for (headers, status) in [
        (&[][..], 401),
        (&[("authorization", other.as_str())], 401),
        (&[("authorization", &user[..user.len() - 8])], 401),
        (&[("x-webhook-secret", &key)], 401),
        (&[accepted[0], ("x-api-key", &reader)], 401),
        (&[accepted[0], ("authorization", &other_reader)], 401),
        (&[("x-api-key", &reader)], 403),
        (&[accepted[0], ("x-tenant-id", "museum")], 403),
    ] {
        let reply = deliver("refused", headers).await;
        assert_eq!(reply.status, status, "{headers:?}");
        let challenge = reply.header("www-authenticate");
        assert_eq!(challenge.is_some(), status == 401, "{headers:?}");
    }

    // The accepted events are with their tenant, and no others.
    let channel = connect(served.address.parse().unwrap()).await;
    for (user, tenant, events) in [
        ("u0", "shop", 1),
        ("u1", "shop", 1),
        ("u2", "shop", 1),
        ("u3", "shop", 1),
        ("u9", "shop", 1),
        ("u9", "museum", 0),
        ("refused", "shop", 0),
    ] {
        let mut request = tonic::Request::new(proto::GetUserSignalsRequest {
            user_id: user.to_owned(),
            include_vectors: false,
        });
        let metadata = request.metadata_mut();
        metadata.insert("x-api-key", admin.1.parse().unwrap());
        metadata.insert("x-tenant-id", tenant.parse().unwrap());
        let mut client = RecommenderServiceClient::new(channel.clone());
        let reply = client.get_user_signals(request).await.unwrap();
        let signals = reply.into_inner().signals.unwrap();
        assert_eq!(signals.event_count, events, "{user} of {tenant}");
    }
}

#[tokio::test]
async fn an_exhausted_quota_returns_retry_after() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["ingest"]);
    tenants.add("events_per_second = 1\nevents_burst = 5");
    let served = tenants.serve(&[("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0")]);
    let address = webhook_of(&served);
    let deliver = async |count: usize| {
        let body: Value = (0..count)
            .map(|n| liked_payload_now("u", &n.to_string()))
            .collect();
        let headers = [JSON, ("x-api-key", key.as_str())];
        send(address, "POST", PATH, &headers, body.to_string().as_bytes()).await
    };
    assert_eq!(
        deliver(6).await.status,
        413,
        "more than the burst is never accepted"
    );
    assert_eq!(deliver(5).await.status, 200);
    // Sooner or later the burst is used up, however slow the machine.
    let refused = loop {
        let reply = deliver(5).await;
        if reply.status != 200 {
            break reply;
        }
    };
    assert_eq!(refused.status, 429);
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=5).contains(&after), "{after}");
    assert_eq!(refused.json()["error"]["reason"], json!("QUOTA_EXCEEDED"));
}

#[tokio::test]
async fn without_keys_the_shared_secret_is_required() {
    let secret = "a-shared-secret-of-the-pipeline";
    let (mut served, address) = with_webhook(&[("RECSYS_WEBHOOK_SECRET", secret)]);
    let deliver = async |headers: &[(&str, &str)]| {
        let headers = [&[JSON][..], headers].concat();
        let body = liked_payload_now("u", "1").to_string();
        send(address, "POST", PATH, &headers, body.as_bytes()).await
    };
    let (user, password) = (basic(secret, ""), basic("rudderstack", secret));
    for header in [
        ("x-webhook-secret", secret),
        ("authorization", &user),
        ("authorization", &password),
    ] {
        assert_eq!(deliver(&[header]).await.status, 200, "{header:?}");
    }
    let wrong = basic("rudderstack", "wrong");
    for headers in [
        &[][..],
        &[("x-webhook-secret", "wrong")],
        &[("x-webhook-secret", "")],
        &[("authorization", &wrong)],
        &[("x-webhook-secret", secret), ("x-webhook-secret", "wrong")],
    ] {
        let reply = deliver(headers).await;
        assert_eq!(reply.status, 401, "{headers:?}");
        assert_eq!(reply.json()["error"]["reason"], json!("SECRET_UNKNOWN"));
    }
    // It protects only the webhook: the port of the API is open on the loopback.
    let channel = connect(served.address.parse().unwrap()).await;
    let request = proto::RecommendRequest {
        user_id: "u".to_owned(),
        ..Default::default()
    };
    let list = RecommenderServiceClient::new(channel)
        .recommend(request)
        .await;
    assert!(list.is_ok());
    served.signal("-INT");
    assert!(!served.logged("stopped").contains(secret));
}

/// The error output of the program for settings that it refuses.
fn refusal(settings: &[(&str, &str)]) -> String {
    let output = recsys(&["serve", "--listen-addr", "127.0.0.1:0"])
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_unprotected_or_ambiguous_webhook_is_refused_at_startup() {
    let stderr = refusal(&[("RECSYS_WEBHOOK_ADDR", "0.0.0.0:0")]);
    assert!(stderr.contains("RECSYS_WEBHOOK_SECRET"), "{stderr}");
    let mut tenants = Tenants::new(&["shop"]);
    tenants.key("shop", &["ingest"]);
    tenants.write();
    let stderr = refusal(&[
        ("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0"),
        ("RECSYS_TENANTS_PATH", &tenants.path()),
        ("RECSYS_WEBHOOK_SECRET", "hunter2-hunter2-hunter2"),
    ]);
    assert!(stderr.contains("without a tenants file"), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
    let stderr = refusal(&[
        ("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0"),
        ("RECSYS_WEBHOOK_SECRET", "hunter2-hunter2"),
    ]);
    assert!(stderr.contains("fewer than 16 bytes"), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
    // With a secret, or an explicit override, it listens.
    for (name, value) in [
        ("RECSYS_WEBHOOK_SECRET", "hunter2-hunter2-hunter2"),
        ("RECSYS_INSECURE_ALLOW_UNAUTHENTICATED", "true"),
    ] {
        let mut command = recsys(&["serve"]);
        command.envs([("RECSYS_WEBHOOK_ADDR", "0.0.0.0:0"), (name, value)]);
        let served = Served::start(&mut command);
        let warned = served
            .seen
            .contains("everyone who reaches this address may deliver");
        assert_eq!(warned, name != "RECSYS_WEBHOOK_SECRET");
    }
}

#[tokio::test]
async fn the_webhook_uses_the_tls_settings_of_the_api_and_accepts_http_1() {
    let certificates = Certificates::new();
    let (cert, key) = (
        certificates.path("server.pem"),
        certificates.path("server.key"),
    );
    let (_served, address) = with_webhook(&[
        ("RECSYS_TLS_CERT_FILE", cert.as_str()),
        ("RECSYS_TLS_KEY_FILE", &key),
    ]);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = rustls::RootCertStore::empty();
    let pem = certificates.text("ca.pem");
    let authority =
        <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_slice(
            pem.as_bytes(),
        );
    roots.add(authority.unwrap()).unwrap();
    for protocols in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
        let mut config = rustls::ClientConfig::builder()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let stream = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await.unwrap();
        let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        if protocols.contains(&"h2") {
            assert_eq!(agreed.as_deref(), Some(&b"h2"[..]));
            continue;
        }
        let body = liked_payload_now("u", "1").to_string();
        let bytes = request("POST", PATH, &[JSON], body.as_bytes());
        stream.write_all(&bytes).await.unwrap();
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply).await;
        assert_eq!(http::reply(&reply).status, 200, "{protocols:?}");
    }
    // No plaintext is served.
    let plain = exchange(address, &request("GET", PATH, &[], b"")).await;
    assert!(!plain.starts_with(b"HTTP"), "{}", plain.escape_ascii());
}

#[tokio::test]
async fn deliveries_are_counted_in_metrics() {
    let (mut served, address) = with_webhook(&[("RECSYS_ADMIN_ADDR", "127.0.0.1:0")]);
    let admin = served.admin_address();
    let delivery = json!([
        liked_payload_now("u", "1"),
        liked_payload_now("u", "1"),
        {"type": "track", "userId": "u"},
        {"type": "track", "event": "E"},
        {"type": "page", "userId": "u"},
        7,
    ]);
    assert_eq!(post(address, &delivery).await.status, 200);
    assert_eq!(
        send(address, "POST", "/nowhere", &[], b"").await.status,
        404
    );
    let metrics = get(&admin, "/metrics");
    for line in [
        "recsys_webhook_events_total{outcome=\"mapped\"} 3",
        "recsys_webhook_events_total{outcome=\"no_user\"} 1",
        "recsys_webhook_events_total{outcome=\"other_type\"} 1",
        "recsys_webhook_events_total{outcome=\"unreadable\"} 1",
        "recsys_events_total{outcome=\"accepted\"} 1",
        "recsys_events_total{outcome=\"duplicate\"} 1",
        "recsys_events_total{outcome=\"invalid\"} 1",
        "http_server_request_duration_seconds_count{http_response_status_code=\"200\"} 1",
        "http_server_request_duration_seconds_count{http_response_status_code=\"404\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in:\n{metrics}");
    }
    assert!(metrics.contains("recsys_connections{port=\"webhook\"}"));
}
