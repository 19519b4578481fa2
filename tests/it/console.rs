//! The console over raw HTTP: who may ask, sessions, and what the views get.

use std::{net::SocketAddr, time::Instant};

use serde_json::{Value, json};

use crate::support::{
    http::{self, HttpReply, exchange, reply, request},
    program::{self, Served, recsys},
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

#[tokio::test]
async fn a_preview_is_the_list_of_the_engine_with_other_weights() {
    let (served, address) = with_console();
    let event = json!({"event": {"userId": "ada", "eventType": "LIKE", "contentId": "2001"}});
    let api = served.address.parse().unwrap();
    let ingest = "/recsys.v1.RecommenderService/IngestEvent";
    let body = event.to_string();
    let sent = http::send(api, "POST", ingest, &[JSON], body.as_bytes()).await;
    assert_eq!(sent.status, 200, "{sent:?}");

    let request = json!({"userId": "ada", "limit": 10, "seed": 1, "includeContent": true});
    let list = post(address, RECOMMEND, &[PAGE, JSON], &request)
        .await
        .json();
    let preview = async |ranking: Value| {
        let body = json!({"request": request, "ranking": ranking});
        post(address, "/console/preview", &[PAGE, JSON], &body).await
    };
    let same = preview(json!({})).await.json();
    assert_eq!(same["strategy"], "RECOMMEND_STRATEGY_WARM");
    assert_eq!(same["items"], list["items"]);
    let by_tags = json!({"fusion": {"tag": 0, "semantic": 0, "affinity": 0, "recency": 0}});
    let other = preview(by_tags.clone()).await.json();
    assert_eq!(other["items"].as_array().unwrap().len(), 10);
    assert_ne!(other["items"], list["items"]);
    // A server with the changed file makes that list.
    let file = post(address, "/console/ranking", &[PAGE, JSON], &by_tags)
        .await
        .json();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("ranking.toml");
    std::fs::write(&path, file["toml"].as_str().unwrap()).unwrap();
    let changed = Served::start(recsys(&["serve"]).env("RECSYS_RANKING_PATH", &path));
    let api = changed.address.parse().unwrap();
    http::send(api, "POST", ingest, &[JSON], body.as_bytes()).await;
    let text = request.to_string();
    let made = http::send(api, "POST", RECOMMEND, &[JSON], text.as_bytes())
        .await
        .json();
    let ids = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["contentId"].to_string()).collect()
    };
    assert_eq!(ids(&made), ids(&other));
    // Nothing has changed for others.
    let again = post(address, RECOMMEND, &[PAGE, JSON], &request)
        .await
        .json();
    assert_eq!(again["items"], list["items"]);

    for (ranking, field) in [
        (json!({"mmrLambda": 7}), "ranking"),
        (json!({"fusion": {"nonsense": 1}}), "ranking"),
        // What builds the models of users cannot be changed.
        (json!({"halfLifeDays": 1}), ""),
    ] {
        let refused = preview(ranking).await;
        let error = refused.json();
        assert_eq!(
            (refused.status, &error["code"]),
            (400, &json!("invalid_argument"))
        );
        let violations = &error["details"][1]["debug"]["fieldViolations"];
        assert_eq!(
            violations[0]["field"].as_str().unwrap_or_default(),
            field,
            "{error}"
        );
    }
    let raw = async |headers: &[(&str, &str)], body: &str| {
        send(
            address,
            "POST",
            "/console/preview",
            headers,
            body.as_bytes(),
        )
        .await
    };
    for (body, status) in [
        (r#"{"request":{"limit":1000}}"#, 400),
        (r#"{"request":{"userId":"a","userId":"b"}}"#, 400),
        (r#"{"request":{"userId":"a","user_id":"b"}}"#, 400),
        (r#"{"request":{},"request":{}}"#, 400),
        (r#"{"ranking":{}}"#, 400),
        (r#"{"request":{}}"#, 200),
    ] {
        let reply = raw(&[PAGE, JSON], body).await;
        assert_eq!(reply.status, status, "{body}");
    }
    let long = format!("{{\"request\":{{\"userId\":\"{}\"}}}}", "x".repeat(1 << 16));
    assert_eq!(
        raw(&[PAGE, JSON], &long).await.json()["code"],
        "out_of_range"
    );
    assert_eq!(raw(&[JSON], r#"{"request":{}}"#).await.status, 403);
}

#[tokio::test]
async fn requests_are_logged_and_counted_and_looks_at_users_are_audited() {
    let mut command = recsys(&["serve", "--admin-addr", "127.0.0.1:0"]);
    command
        .env("RECSYS_CONSOLE_ADDR", "127.0.0.1:0")
        .env("RECSYS_LOG_OK_CALLS", "1");
    let mut served = Served::start(&mut command);
    let address = console_of(&served);
    let admin = served.admin_address();
    get(address, "/", &[]).await;
    let id = ("x-request-id", "look-1");
    let preview = json!({"request": {"userId": "zaphod42"}});
    let reply = post(address, "/console/preview", &[PAGE, JSON, id], &preview).await;
    assert_eq!(reply.header("x-request-id"), Some("look-1"));
    let user = json!({"userId": "zaphod42"});
    post(address, "/console/user", &[PAGE, JSON], &user).await;
    post(address, RECOMMEND, &[PAGE, JSON], &user).await;
    assert_eq!(get(address, "/console/results", &[]).await.status, 403);
    let id = ("x-request-id", "look-2");
    assert_eq!(
        get(address, "/console/nothing-1", &[PAGE, id]).await.status,
        501
    );
    let log = served.logged("look-2").to_owned();
    let call = log.lines().find(|line| line.contains("look-1")).unwrap();
    for part in ["method=\"console/preview\"", "code=\"OK\"", "duration_ms="] {
        assert!(call.contains(part), "{part} in {call}");
    }
    assert_eq!(log.matches("console showed a user").count(), 3, "{log}");
    assert!(!log.contains("zaphod42"), "{log}");

    let metrics = program::get(&admin, "/metrics");
    for (method, code, count) in [
        ("console/preview", "OK", 1),
        ("console/user", "OK", 1),
        ("console/results", "PERMISSION_DENIED", 1),
        ("_OTHER", "UNIMPLEMENTED", 1),
        ("recsys.v1.RecommenderService/Recommend", "OK", 1),
    ] {
        program::assert_calls(&metrics, method, code, count);
    }
    assert!(!metrics.contains("nothing-1"), "{metrics}");
    // A preview is no list that somebody was shown.
    assert!(
        metrics.contains("recsys_lists_total{strategy=\"cold\"} 1\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn health_shows_the_calls_of_the_api_with_their_latencies() {
    let (_served, address) = with_console();
    for limit in [3, 3, 1_000] {
        let body = json!({"limit": limit});
        post(address, RECOMMEND, &[PAGE, JSON], &body).await;
    }
    let health = get(address, "/console/health", &[PAGE]).await.json();
    assert_eq!(health["stores"][0], json!({"name": "Users", "state": "ok"}));
    let call = &health["calls"][0];
    assert_eq!(call["method"], "RecommenderService/Recommend", "{health}");
    assert_eq!((&call["calls"], &call["errors"]), (&json!(3), &json!(1)));
    let (median, p99) = (
        call["p50Ms"].as_f64().unwrap(),
        call["p99Ms"].as_f64().unwrap(),
    );
    assert!(0.0 < median && median <= p99, "{call}");
}

#[tokio::test]
async fn health_does_not_show_how_much_other_tenants_call() {
    let mut tenants = Tenants::new(&["shop", "other"]);
    let key = tenants.key("shop", &["serve", "read-profile"]);
    let served = tenants.serve(&[("RECSYS_CONSOLE_ADDR", "127.0.0.1:0")]);
    let address = console_of(&served);
    let body = json!({"key": key});
    let login = post(address, "/console/login", &[PAGE, JSON], &body).await;
    let cookie = login
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let cookie = ("cookie", cookie);
    post(address, RECOMMEND, &[PAGE, JSON, cookie], &json!({})).await;
    let health = get(address, "/console/health", &[PAGE, cookie])
        .await
        .json();
    assert_eq!(health["calls"], Value::Null, "{health}");
    assert!(health["version"].is_string());
    // A preview needs the session, too.
    let preview = json!({"request": {}});
    let reply = post(address, "/console/preview", &[PAGE, JSON, cookie], &preview).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let reply = post(address, "/console/preview", &[PAGE, JSON], &preview).await;
    assert_eq!(reply.status, 401);
}

#[tokio::test]
async fn a_preview_takes_a_call_of_the_quota_of_its_key() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["serve", "read-profile"]);
    tenants.add("calls_per_second = 1\ncalls_burst = 5");
    let unlimited = tenants.key("shop", &["serve", "read-profile"]);
    let served = tenants.serve(&[("RECSYS_CONSOLE_ADDR", "127.0.0.1:0")]);
    let address = console_of(&served);
    let session = async |key: &str| {
        let body = json!({"key": key});
        let reply = post(address, "/console/login", &[PAGE, JSON], &body).await;
        assert_eq!(reply.status, 200);
        let cookie = reply.header("set-cookie").unwrap();
        cookie.split(';').next().unwrap().to_owned()
    };
    let preview = async |cookie: &str| {
        let headers = [PAGE, JSON, ("cookie", cookie)];
        let body = json!({"request": {"limit": 1}});
        post(address, "/console/preview", &headers, &body).await
    };

    let begun = Instant::now();
    let cookie = session(&key).await;
    let (mut admitted, mut refused) = (0, 0);
    for _ in 0..40 {
        let reply = preview(&cookie).await;
        if reply.status == 200 {
            admitted += 1;
            continue;
        }
        assert_eq!(reply.status, 429, "{reply:?}");
        let error = reply.json();
        assert_eq!(error["code"], "resource_exhausted");
        assert!(error.to_string().contains("QUOTA_EXCEEDED"), "{error}");
        refused += 1;
        // Calls of the API take from the same quota.
        let headers = [("x-api-key", key.as_str()), JSON];
        let api = served.address.parse().unwrap();
        let list = http::send(api, "POST", RECOMMEND, &headers, b"{}").await;
        admitted += u64::from(list.status == 200);
    }
    let most = 5 + begun.elapsed().as_secs() + 1;
    assert!(admitted <= most, "{admitted} of at most {most}");
    assert!(refused > 0);

    let cookie = session(&unlimited).await;
    for _ in 0..20 {
        assert_eq!(preview(&cookie).await.status, 200);
    }
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
