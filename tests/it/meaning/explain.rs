//! `recsys explain` on the command line.

use recsys::proto::InteractionEvent;
use serde_json::Value;

use crate::support::{
    program::recsys,
    redis::RedisServer,
    server::{event, rating},
    watched::Watched,
};

fn explain(redis: &RedisServer, arguments: &[&str]) -> (bool, String, String) {
    let output = recsys(&[&["explain"], arguments].concat())
        .env("REDIS_URL", redis.url())
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test]
async fn a_user_is_explained_from_the_stores() {
    let redis = RedisServer::start();
    let watched = Watched::start(&redis).await;
    watched
        .ingest(event("ada", "Order Completed", "2001"))
        .await
        .unwrap();
    let rated = InteractionEvent {
        dwell_seconds: Some(600.0),
        survey_answers: Some(rating(1.0)),
        ..event("ada", "review\u{1b}[2J", "2002")
    };
    watched.ingest(rated).await.unwrap();
    watched
        .ingest(event("ada", "product_view", "gone"))
        .await
        .unwrap();

    let (ok, text, error) = explain(&redis, &["ada", "--json"]);
    assert!(ok, "{error}");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["is_cold"], false);
    assert_eq!(json["event_count"], 3);
    assert_eq!(json["events_by_meaning"]["like"], 1);
    let item = |id: &str| {
        let mut items = json["items"].as_array().unwrap().iter();
        items.find(|item| item["content_id"] == id).unwrap().clone()
    };
    let bought = item("2001");
    assert_eq!(bought["opinion"], "liked");
    assert_eq!(bought["explicit"], 1.0);
    assert_eq!(bought["done"], true);
    assert_eq!(bought["events"][0]["rule"]["strength"], 1.0);
    assert!(bought["weight"].as_f64().unwrap() > 0.999);
    let rated = item("2002");
    assert_eq!(rated["opinion"], "disliked");
    assert!(rated["behavior"]["total"].as_f64().unwrap() > 0.3);
    assert_eq!(item("gone")["in_catalog"], false);

    let (ok, text, error) = explain(&redis, &["ada"]);
    assert!(ok, "{error}");
    for part in [
        "ada: warm; 3 events, 3 items: 1 liked, 1 disliked, 1 neutral",
        "events by meaning: 1 dislike, 1 like, 1 view",
        "gone (not in the catalogue): neutral",
        "Order Completed  strength 1 done",
        "explicit -1.000: negative, so it decides",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");

    let (ok, text, _) = explain(&redis, &["nobody"]);
    assert!(ok && text.contains("No events are stored"), "{text}");
}

#[test]
fn what_is_missing_is_named() {
    let output = recsys(&["explain", "ada"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("REDIS_URL is not set"), "{error}");
    assert!(error.contains("RECSYS_CONSOLE_ADDR"), "{error}");
    let redis = RedisServer::start();
    for (arguments, expected) in [
        (
            ["ada", "--tenant", "shop"].as_slice(),
            "needs a tenants file",
        ),
        (&["a\u{1}"], "must not hold control characters"),
    ] {
        let (ok, _, error) = explain(&redis, arguments);
        assert!(!ok && error.contains(expected), "{error}");
    }
}
