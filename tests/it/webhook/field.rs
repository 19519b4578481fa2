//! Deliveries as shops send them: e-commerce events, values in wrong containers, users
//! that are missing or have two ids.

use std::{sync::Arc, time::Duration};

use recsys::{
    adapters::qdrant::QdrantSettings,
    domain::{ids::UserId, ranking_config::RankingConfig},
    edge::settings::ServerSettings,
    engine::{Engine, EngineSettings, Ports},
    proto,
};
use serde_json::{Value, json};

use super::deliveries::{JSON, PATH, post, stored};
use crate::support::{
    MemoryWorld, catalogue, http::send, items::item, qdrant::QdrantServer, server::TestServer,
};

const DELIVERIES: &str = include_str!("../../fixtures/field/webhook.jsonl");
/// Two hours after the deliveries.
const LATER: &str = "2026-11-29T20:00:00Z";
pub(super) const AT: &str = "2026-11-29T18:00:00Z";

pub(super) fn world(items: &[&str]) -> MemoryWorld {
    let items = items.iter().map(|id| item(id).build()).collect();
    MemoryWorld::new(LATER, &RankingConfig::default(), items)
}

pub(super) async fn server(items: &[&str]) -> TestServer {
    let world = world(items);
    let engine = world.engine(RankingConfig::default());
    TestServer::serving(world, engine, ServerSettings::default()).await
}

/// The element of this `messageId`.
pub(super) fn element(message_id: &str) -> Value {
    let mut elements = DELIVERIES
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    elements
        .find(|element: &Value| element["messageId"] == json!(message_id))
        .unwrap()
}

/// Delivers these elements of the file, and returns the report.
pub(super) async fn deliver(server: &TestServer, message_ids: &[&str]) -> Value {
    let elements: Vec<Value> = message_ids.iter().map(|id| element(id)).collect();
    let reply = post(server.webhook, &elements.into()).await;
    assert_eq!(reply.status, 200);
    reply.json()
}

pub(super) fn track(user: &str, message_id: &str, event: &str, properties: &Value) -> Value {
    json!({"type": "track", "userId": user, "messageId": message_id, "event": event,
           "timestamp": AT, "properties": properties})
}

/// The outcome and the reason of the only element that was not mapped.
pub(super) fn not_taken(report: &Value) -> (String, String) {
    let elements = report["not_taken"].as_array().unwrap();
    assert_eq!(elements.len(), 1, "{report}");
    let text = |name: &str| elements[0][name].as_str().unwrap().to_owned();
    (text("outcome"), text("reason"))
}

/// Each of a user's events: its type, its item and its id.
pub(super) async fn events(server: &TestServer, user: &str) -> Vec<(String, String, String)> {
    let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let mut events: Vec<_> = stored(server, user)
        .await
        .iter()
        .map(|event| {
            (
                text(event, "event"),
                text(event, "content_id"),
                text(event, "event_id"),
            )
        })
        .collect();
    events.sort();
    events
}

pub(super) fn expected(events: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let owned =
        |event: &(&str, &str, &str)| (event.0.to_owned(), event.1.to_owned(), event.2.to_owned());
    events.iter().map(owned).collect()
}

async fn signals(server: &TestServer, user: &str) -> proto::UserSignals {
    server.signals(user).await.0
}

#[tokio::test]
async fn a_product_that_was_viewed_or_added_is_the_item_of_its_event() {
    let server = server(&[]).await;
    let report = deliver(&server, &["m1", "m4"]).await;
    assert_eq!(
        (&report["mapped"], &report["accepted"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        events(&server, "u1").await,
        expected(&[("Product Viewed", "2001", "m1")])
    );
    assert_eq!(
        events(&server, "u2").await,
        expected(&[("Product Added", "2005", "m4")])
    );
    assert_eq!(signals(&server, "u1").await.viewed, ["2001"]);
    let added = signals(&server, "u2").await;
    assert!(added.positives.contains_key("2005"), "{added:?}");
}

#[tokio::test]
async fn an_order_is_a_purchase_of_each_of_its_products_and_counts_once() {
    let server = server(&[]).await;
    let report = deliver(&server, &["m2"]).await;
    let counts = ["received", "mapped", "accepted", "duplicate"];
    assert_eq!(
        counts.map(|name| report[name].clone()),
        [1, 1, 2, 0].map(|n| json!(n))
    );
    let order = expected(&[
        ("Order Completed", "2001", "m2/0"),
        ("Order Completed", "2002", "m2/1"),
    ]);
    assert_eq!(events(&server, "u2").await, order);
    let report = deliver(&server, &["m2", "m2"]).await;
    assert_eq!(
        counts.map(|name| report[name].clone()),
        [2, 2, 0, 4].map(|n| json!(n))
    );
    assert_eq!(events(&server, "u2").await, order);
    let model = signals(&server, "u2").await;
    assert!(
        model.positives["2001"] > 0.9 && model.positives["2002"] > 0.9,
        "{model:?}"
    );
}

#[tokio::test]
async fn a_list_that_was_viewed_is_impressions_of_its_products() {
    let server = server(&[]).await;
    let report = deliver(&server, &["m3"]).await;
    assert_eq!(
        (&report["mapped"], &report["accepted"]),
        (&json!(1), &json!(1))
    );
    let events = stored(&server, "u2").await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["impressions"], json!(["2003", "2004"]));
    assert_eq!(events[0]["content_id"], Value::Null);
    assert_eq!(signals(&server, "u2").await.positives.len(), 0);
}

#[tokio::test]
async fn events_as_ga4_has_them_name_their_items() {
    let server = server(&[]).await;
    let two = json!({"items": [{"item_id": "a", "item_name": "A"}, {"item_id": 7}]});
    let delivery = json!([
        track("g", "g1", "purchase", &two),
        track("g", "g2", "view_item_list", &two),
        track(
            "g",
            "g3",
            "add_to_cart",
            &json!({"ecommerce": {"items": [{"item_id": "c"}]}})
        ),
        track("g", "g4", "search", &json!({"search_term": "lamp"})),
    ]);
    let report = post(server.webhook, &delivery).await.json();
    assert_eq!(
        (&report["mapped"], &report["accepted"]),
        (&json!(4), &json!(5)),
        "{report}"
    );
    assert_eq!(
        events(&server, "g").await,
        expected(&[
            ("add_to_cart", "c", "g3"),
            ("purchase", "7", "g1/1"),
            ("purchase", "a", "g1/0"),
            ("search", "", "g4"),
            ("view_item_list", "", "g2"),
        ])
    );
    let stored = stored(&server, "g").await;
    let of = |id: &str| {
        stored
            .iter()
            .find(|event| event["event_id"] == json!(id))
            .unwrap()
    };
    assert_eq!(of("g2")["impressions"], json!(["a", "7"]));
    assert_eq!(of("g4")["query_text"], json!("lamp"));
}

#[tokio::test]
async fn products_are_ids_or_objects_each_once_and_one_without_an_id_is_left_out() {
    let server = server(&[]).await;
    let products = json!([{"product_id": "a"}, "b", {"sku": "a"}, {"name": "nameless"}, null, 3,
                          {"product_id": "undefined", "sku": "c"}]);
    let delivery = json!([
        track("u", "1", "Order Completed", &json!({"products": products})),
        track(
            "v",
            "2",
            "Order Completed",
            &json!({"products": [{"name": "nameless"}]})
        ),
    ]);
    let report = post(server.webhook, &delivery).await.json();
    let items: Vec<String> = events(&server, "u")
        .await
        .into_iter()
        .map(|event| event.1)
        .collect();
    assert_eq!(items, ["3", "a", "b", "c"]);
    let (outcome, reason) = not_taken(&report);
    assert_eq!(outcome, "no_item");
    assert!(reason.contains("names no item"), "{reason}");
    assert_eq!(
        (&report["mapped"], &report["no_item"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn a_value_in_a_wrong_container_makes_its_element_invalid_with_its_path() {
    let server = server(&[]).await;
    for (id, path) in [
        ("m5", "properties.context.candidates must be a list"),
        ("m6", "properties.details must be an object"),
        ("m7", "traits must be an object"),
    ] {
        let report = deliver(&server, &[id]).await;
        let expected = ("invalid".to_owned(), path.to_owned());
        assert_eq!(not_taken(&report), expected, "{id}");
        assert_eq!(
            (&report["invalid"], &report["mapped"]),
            (&json!(1), &json!(0))
        );
    }
    for (properties, path) in [
        (json!([{"content": "1"}]), "properties must be an object"),
        (json!("content"), "properties must be an object"),
        (
            json!({"content": ["1"]}),
            "properties.content must be a text",
        ),
        (
            json!({"content": {"content_id": {}}}),
            "properties.content.content_id must be a text",
        ),
        (
            json!({"content": true}),
            "properties.content must be a text",
        ),
        (
            json!({"context": "s-1"}),
            "properties.context must be an object",
        ),
        (
            json!({"context": {"candidates": {"0": "1"}}}),
            "properties.context.candidates must be a list",
        ),
        (
            json!({"context": {"candidates": [["1"]]}}),
            "properties.context.candidates[0] must be a text",
        ),
        (
            json!({"context": {"session_id": []}}),
            "properties.context.session_id must be a text",
        ),
        (
            json!({"details": "fast"}),
            "properties.details must be an object",
        ),
        (
            json!({"details": {"reason": {}}}),
            "properties.details.reason must be a text",
        ),
        (
            json!({"details": {"query_text": ["a"]}}),
            "properties.details.query_text must be a text",
        ),
        (
            json!({"answers": {"q": "a"}}),
            "properties.answers must be a list",
        ),
        (
            json!({"answers": ["a"]}),
            "properties.answers[0] must be an object",
        ),
        (
            json!({"answers": [{"question_id": []}]}),
            "properties.answers[0].question_id must be a text",
        ),
        (
            json!({"answers": [{"question_id": "q", "question_type": 1.5}]}),
            "properties.answers[0].question_type must be a text",
        ),
        (
            json!({"products": {"product_id": "1"}}),
            "properties.products must be a list",
        ),
        (
            json!({"products": "1,2"}),
            "properties.products must be a list",
        ),
        (
            json!({"products": ["1", ["2"]]}),
            "properties.products[1] must be an object, or an id",
        ),
        (
            json!({"products": [{"product_id": {}}]}),
            "properties.products[0].product_id must be a text",
        ),
        (
            json!({"items": {"item_id": "1"}}),
            "properties.items must be a list",
        ),
        (
            json!({"ecommerce": []}),
            "properties.ecommerce must be an object",
        ),
        (
            json!({"product_id": ["1"]}),
            "properties.product_id must be a text",
        ),
        (json!({"query": {}}), "properties.query must be a text"),
    ] {
        let report = post(server.webhook, &track("w", "x", "E", &properties))
            .await
            .json();
        assert_eq!(not_taken(&report), ("invalid".to_owned(), path.to_owned()));
    }
    for (more, path) in [
        (json!({"context": ["traits"]}), "context must be an object"),
        (
            json!({"context": {"traits": "a"}}),
            "context.traits must be an object",
        ),
        (json!({"traits": "a"}), "traits must be an object"),
        (json!({"anonymousId": {}}), "anonymousId must be a text"),
    ] {
        let mut identify = json!({"type": "identify", "userId": "w", "timestamp": AT});
        identify
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let report = post(server.webhook, &identify).await.json();
        assert_eq!(not_taken(&report), ("invalid".to_owned(), path.to_owned()));
    }
    assert!(stored(&server, "w").await.is_empty());
}

#[tokio::test]
async fn the_catalogue_decides_what_an_id_with_a_prefix_is() {
    let server = server(&["content_77", "78"]).await;
    let properties = json!({
        "content": "content_77",
        "details": {"clicked_id": "content_79"},
        "context": {"candidates": ["content_77", "content_78"]},
    });
    let delivery = json!([
        track("u", "1", "view", &properties),
        track(
            "u",
            "2",
            "Order Completed",
            &json!({"products": ["content_77", "content_78"]})
        ),
    ]);
    assert_eq!(post(server.webhook, &delivery).await.status, 200);
    let stored = stored(&server, "u").await;
    let of = |id: &str| {
        stored
            .iter()
            .find(|event| event["event_id"] == json!(id))
            .unwrap()
    };
    assert_eq!(of("1")["content_id"], json!("content_77"));
    assert_eq!(of("1")["impressions"], json!(["content_77", "78"]));
    assert_eq!(of("1")["clicked_id"], json!("79"), "unknown");
    assert_eq!(of("2/0")["content_id"], json!("content_77"));
    assert_eq!(of("2/1")["content_id"], json!("78"));
}

#[tokio::test]
async fn an_id_with_a_prefix_is_plain_while_the_catalogue_is_out_of_reach() {
    let hanging = QdrantServer::start().await;
    hanging.hang();
    // Nothing listens on the port of the first.
    for url in ["http://127.0.0.1:1", &hanging.url()] {
        let world = world(&[]);
        let items = catalogue::store(url, &QdrantSettings::default());
        let ports = Ports {
            items: Arc::new(items),
            ..world.ports.clone()
        };
        // Models, which need items, are built later.
        let settings = EngineSettings {
            model_save_interval: Duration::from_secs(3_600),
            ..EngineSettings::default()
        };
        let engine = Engine::new(ports, RankingConfig::default(), settings);
        let server = TestServer::serving(world, engine, ServerSettings::default()).await;
        let element = track("u", "1", "view", &json!({"content": "content_77"}));
        let report = post(server.webhook, &element).await.json();
        assert_eq!(report["accepted"], json!(1), "{report}");
        let id = UserId::parse("u").unwrap();
        let stored = server.world.ports.events.stored(&id).await.unwrap();
        assert!(stored[0].contains(r#""content_id":"77""#), "{stored:?}");
    }
}

#[tokio::test]
async fn a_user_id_that_stands_for_none_is_missing() {
    let server = server(&[]).await;
    let report = deliver(&server, &["m9", "m10"]).await;
    let counts = ["mapped", "accepted", "no_user"];
    assert_eq!(
        counts.map(|name| report[name].clone()),
        [1, 1, 1].map(|n| json!(n))
    );
    assert_eq!(not_taken(&report).0, "no_user");
    assert_eq!(
        events(&server, "a-1").await,
        expected(&[("Product Viewed", "2001", "m9")])
    );
    for missing in [
        "undefined",
        "null",
        "[object Object]",
        "NaN",
        "",
        " ",
        "\t",
        " undefined ",
    ] {
        let mut view = track(missing, "x", "view", &json!({"content": "1"}));
        let report = post(server.webhook, &view).await.json();
        assert_eq!(report["no_user"], json!(1), "{missing:?} {report}");
        view["anonymousId"] = json!(missing);
        let report = post(server.webhook, &view).await.json();
        assert_eq!(report["no_user"], json!(1), "{missing:?} {report}");
    }
    let named = track("Undefined", "x", "view", &json!({"content": "1"}));
    let report = post(server.webhook, &named).await.json();
    assert_eq!(report["accepted"], json!(1), "that may be a name");
}

#[tokio::test]
async fn ids_that_stand_for_none_name_no_item_and_identify_no_event() {
    let server = server(&[]).await;
    let mut nameless = track("u", "undefined", "view", &json!({"content": "1"}));
    let item = track(
        "u",
        "1",
        "Product Viewed",
        &json!({"product_id": "undefined"}),
    );
    let report = post(server.webhook, &json!([nameless, item])).await.json();
    assert_eq!(
        (&report["accepted"], &report["no_item"]),
        (&json!(1), &json!(1))
    );
    nameless["properties"]["content"] = json!("2");
    let report = post(server.webhook, &nameless).await.json();
    assert_eq!(
        report["accepted"],
        json!(1),
        "not a duplicate of another event"
    );
}

#[tokio::test]
async fn a_trait_named_rating_rates_nothing() {
    let server = server(&[]).await;
    let report = deliver(&server, &["m8"]).await;
    assert_eq!(
        (&report["mapped"], &report["accepted"]),
        (&json!(1), &json!(1)),
        "{report}"
    );
    let answers = stored(&server, "u4").await[0]["survey_answers"].clone();
    assert_eq!(answers, json!({"age": "25_34", "traits.rating": "PG-13"}));
    let identify = json!({"type": "identify", "userId": "u9", "timestamp": AT,
                          "traits": {"rating": 1}});
    let report = post(server.webhook, &identify).await.json();
    assert_eq!(report["accepted"], json!(1));
    let answers = stored(&server, "u9").await[0]["survey_answers"].clone();
    assert_eq!(answers, json!({"traits.rating": 1.0}));
    assert!(signals(&server, "u9").await.negatives.is_empty());
}

#[tokio::test]
async fn an_answer_to_a_question_named_rating_that_is_no_rating_is_an_answer() {
    let server = server(&[]).await;
    let answers = json!([
        {"question_id": "rating", "answer_value": "good"},
        {"question_id": "q", "question_type": "rating", "answer_value": 4},
    ]);
    let element = track(
        "u",
        "1",
        "SURVEY_SUBMITTED",
        &json!({"content": "1", "answers": answers}),
    );
    let report = post(server.webhook, &element).await.json();
    assert_eq!(report["accepted"], json!(1), "{report}");
    let stored = stored(&server, "u").await[0]["survey_answers"].clone();
    assert_eq!(
        stored,
        json!({"answers.rating": "good", "q": 4.0, "rating": 4.0})
    );
    let twice = json!([
        {"question_id": "rating", "answer_value": 4},
        {"question_id": "rating", "answer_value": 5},
    ]);
    let element = track("v", "2", "SURVEY_SUBMITTED", &json!({"answers": twice}));
    let report = post(server.webhook, &element).await.json();
    assert_eq!(report["accepted"], json!(1), "{report}");
}

#[tokio::test]
async fn a_body_with_a_batch_is_taken() {
    let server = server(&[]).await;
    let body = json!({"batch": [element("m1"), element("m10")], "sentAt": AT, "context": {}});
    let report = post(server.webhook, &body).await.json();
    let counts = ["received", "accepted", "no_user"];
    assert_eq!(
        counts.map(|name| report[name].clone()),
        [2, 1, 1].map(|n| json!(n))
    );
    assert_eq!(events(&server, "u1").await.len(), 1);
    for other in [
        json!({"batch": {"0": element("m1")}}),
        json!({"batch": "[]"}),
    ] {
        let reply = post(server.webhook, &other).await;
        assert_eq!(reply.status, 400);
        let message = reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(message, "batch in the body must be a list of JSON objects");
    }
    let many = format!("{{\"batch\":[{}]}}", vec!["1"; 10_001].join(","));
    let reply = send(server.webhook, "POST", PATH, &[JSON], many.as_bytes()).await;
    assert_eq!(reply.status, 413);
}

#[tokio::test]
async fn an_element_of_too_many_products_is_invalid_and_one_of_many_is_taken() {
    let server = server(&[]).await;
    let order = |id: &str, count: usize| {
        let products: Vec<Value> = (0..count).map(|number| json!(number.to_string())).collect();
        track("u", id, "Order Completed", &json!({"products": products}))
    };
    let report = post(server.webhook, &order("1", 1_001)).await.json();
    let (outcome, reason) = not_taken(&report);
    assert_eq!(outcome, "invalid");
    assert_eq!(reason, "properties.products must have at most 1000 entries");
    let orders: Vec<Value> = (0..4)
        .map(|number| order(&format!("o{number}"), 1_000))
        .collect();
    let report = post(server.webhook, &orders.into()).await.json();
    assert_eq!(
        (&report["mapped"], &report["accepted"]),
        (&json!(4), &json!(4_000))
    );
}

#[tokio::test]
async fn the_memory_of_the_events_of_an_element_is_counted_before_they_are_made() {
    let world = world(&[]);
    let engine = world.engine(RankingConfig::default());
    let settings = ServerSettings {
        max_buffered_bytes: 32 << 20,
        ..ServerSettings::default()
    };
    let server = TestServer::serving(world, engine, settings).await;
    // A thousand copies of it would take a hundred times the limit.
    let products: Vec<Value> = (0..1_000).map(|number| json!(number.to_string())).collect();
    let properties = json!({"products": products, "context": {"session_id": "s".repeat(1 << 20)}});
    let report = post(
        server.webhook,
        &track("u", "1", "Order Completed", &properties),
    )
    .await;
    assert_eq!(report.status, 200);
    let (outcome, reason) = not_taken(&report.json());
    assert_eq!(outcome, "invalid");
    assert!(reason.contains("memory"), "{reason}");
    // All of it is released.
    let report = deliver(&server, &["m2"]).await;
    assert_eq!(report["accepted"], json!(2));
}
