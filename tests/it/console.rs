//! The console over raw HTTP: who may ask, sessions, and what the views get.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{
    http::{HttpReply, exchange, reply, request},
    program::{Served, recsys},
    tenants::Tenants,
};

const PAGE: (&str, &str) = ("x-recsys-console", "1");
const JSON: (&str, &str) = ("content-type", "application/json");
const RECOMMEND: &str = "/recsys.v1.RecommenderService/Recommend";

fn console_of(served: &Served) -> SocketAddr {
    let (_, rest) = served
        .seen
        .split_once("serving the console address=")
        .unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

fn with_console() -> (Served, SocketAddr) {
    let mut command = recsys(&["serve"]);
    command.env("RECSYS_CONSOLE_ADDR", "127.0.0.1:0");
    let served = Served::start(&mut command);
    let address = console_of(&served);
    (served, address)
}

/// Sends a request that names a host.
async fn send_to(
    host: &str,
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> HttpReply {
    let bytes = String::from_utf8(request(method, path, headers, body)).unwrap();
    let bytes = bytes.replacen("host: localhost", &format!("host: {host}"), 1);
    reply(&exchange(address, bytes.as_bytes()).await)
}

async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> HttpReply {
    send_to(&address.to_string(), address, method, path, headers, body).await
}

async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> HttpReply {
    send(address, "GET", path, headers, b"").await
}

async fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> HttpReply {
    send(address, "POST", path, headers, body.to_string().as_bytes()).await
}

#[tokio::test]
async fn the_page_is_served_with_a_strict_policy() {
    let (_served, address) = with_console();
    let page = get(address, "/", &[]).await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    let tag = page.header("etag").unwrap().to_owned();
    let again = get(address, "/", &[("if-none-match", &tag)]).await;
    assert_eq!(again.status, 304);
    assert_eq!(get(address, "/../Cargo.toml", &[]).await.status, 501);
    assert_eq!(send(address, "DELETE", "/", &[], b"").await.status, 405);
}

#[tokio::test]
async fn a_list_is_asked_for_as_json() {
    let (_served, address) = with_console();
    let body = json!({"userId": "ada", "limit": 3, "includeContent": true});
    let reply = post(address, RECOMMEND, &[PAGE, JSON], &body).await;
    assert_eq!(reply.status, 200, "{}", reply.json());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let list = reply.json();
    assert_eq!(list["strategy"], "RECOMMEND_STRATEGY_COLD");
    assert_eq!(list["items"].as_array().unwrap().len(), 3);

    let body = json!({"userId": "ada", "limit": 1_000});
    let reply = post(address, RECOMMEND, &[PAGE, JSON], &body).await;
    assert_eq!(reply.status, 400);
    let error = reply.json();
    assert_eq!(error["code"], "invalid_argument");
    let violations = &error["details"][1]["debug"]["fieldViolations"];
    assert_eq!(violations[0]["field"], "limit", "{error}");

    let reply = post(address, RECOMMEND, &[PAGE, JSON], &json!({"nonsense": 1})).await;
    assert_eq!(reply.status, 400);
    // The page only reads.
    for method in ["IngestEvent", "DeleteUser", "MergeUsers", "ExportUser"] {
        let path = format!("/recsys.v1.RecommenderService/{method}");
        let reply = post(address, &path, &[PAGE, JSON], &json!({})).await;
        assert_eq!(reply.status, 501, "{method}");
    }
}

#[tokio::test]
async fn other_sites_can_not_ask() {
    let (_served, address) = with_console();
    let body = json!({"userId": "ada"});
    let own = format!("http://{address}");
    let allowed = post(address, RECOMMEND, &[PAGE, JSON, ("origin", &own)], &body).await;
    assert_eq!(allowed.status, 200);
    for headers in [
        &[JSON][..],
        &[PAGE, JSON, ("origin", "http://evil.example")],
        &[PAGE, JSON, ("origin", "null")],
        &[PAGE, JSON, ("sec-fetch-site", "cross-site")],
    ] {
        let reply = post(address, RECOMMEND, headers, &body).await;
        assert_eq!(reply.status, 403, "{headers:?}");
    }
    // A name of another site that was pointed here (DNS rebinding).
    for path in ["/", "/console/session"] {
        let reply = send_to("evil.example", address, "GET", path, &[PAGE], b"").await;
        assert_eq!(reply.status, 403, "{path}");
    }
    let form = [PAGE, ("content-type", "text/plain")];
    assert_eq!(post(address, RECOMMEND, &form, &body).await.status, 400);
    let preflight = send(address, "OPTIONS", RECOMMEND, &[PAGE], b"").await;
    assert_eq!(preflight.status, 405);
    assert_eq!(preflight.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_key_is_exchanged_for_a_session_of_its_tenant() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["serve", "read-profile"]);
    let server_key = tenants.key("shop", &["serve"]);
    let served = tenants.serve(&[("RECSYS_CONSOLE_ADDR", "127.0.0.1:0")]);
    let address = console_of(&served);

    let session = get(address, "/console/session", &[PAGE]).await.json();
    assert_eq!(
        session,
        json!({"authenticated": false, "loginRequired": true})
    );
    let bearer = format!("Bearer {key}");
    for headers in [&[PAGE, JSON][..], &[PAGE, JSON, ("authorization", &bearer)]] {
        let reply = post(address, RECOMMEND, headers, &json!({"userId": "ada"})).await;
        assert_eq!(reply.status, 401, "{headers:?}");
    }

    let log_in = async |key: &str| {
        post(
            address,
            "/console/login",
            &[PAGE, JSON],
            &json!({"key": key}),
        )
        .await
    };
    assert_eq!(log_in("rsk_1_2").await.status, 401);
    let reply = log_in(&server_key).await;
    assert_eq!(reply.status, 403);
    let message = reply.json()["message"].to_string();
    assert!(message.contains("read-profile"), "{message}");

    let reply = log_in(&key).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["tenant"], "shop");
    let cookie = reply.header("set-cookie").unwrap().to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict;"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let with_session = [PAGE, JSON, ("cookie", cookie)];
    let reply = post(address, RECOMMEND, &with_session, &json!({"userId": "ada"})).await;
    assert_ne!(reply.status, 401, "{}", reply.json());
    let user = post(
        address,
        "/console/user",
        &with_session,
        &json!({"userId": "ada"}),
    )
    .await;
    assert_eq!(user.status, 200, "{}", user.json());
    assert_eq!(user.json()["event_count"], 0);

    let out = post(address, "/console/logout", &with_session, &json!({})).await;
    assert_eq!(out.status, 200);
    let reply = post(address, RECOMMEND, &with_session, &json!({"userId": "ada"})).await;
    assert_eq!(reply.status, 401);
    for _ in 0..10 {
        log_in("rsk_1_2").await;
    }
    let reply = log_in(&key).await;
    assert_eq!(reply.status, 429);
    assert!(reply.header("retry-after").is_some());
}

#[tokio::test]
async fn changed_weights_become_a_checked_ranking_file() {
    let (_served, address) = with_console();
    let change = json!({"fusion": {"popularity": 1.5}, "mmrLambda": 0.8});
    let reply = post(address, "/console/ranking", &[PAGE, JSON], &change)
        .await
        .json();
    let toml = reply["toml"].as_str().unwrap();
    assert!(toml.contains("\npopularity = 1.5\n"), "{toml}");
    assert!(toml.contains("\nmmr_lambda = 0.8\n"), "{toml}");
    let change = json!({"mmrLambda": 7});
    let reply = post(address, "/console/ranking", &[PAGE, JSON], &change)
        .await
        .json();
    assert!(
        reply["violations"][0]
            .as_str()
            .unwrap()
            .contains("mmr_lambda"),
        "{reply}"
    );
}

#[test]
fn a_console_that_other_machines_reach_needs_keys_and_tls() {
    let output = recsys(&["serve", "--listen-addr", "127.0.0.1:0"])
        .env("RECSYS_CONSOLE_ADDR", "0.0.0.0:0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("RECSYS_CONSOLE_ADDR"), "{stderr}");
}
