//! Deliveries that say that two ids are one user.

use recsys::{domain::ranking_config::RankingConfig, proto};
use serde_json::json;

use super::{
    deliveries::{post, stored},
    field::{AT, deliver, element, events, expected, not_taken, server, track, world},
};
use crate::support::server::TestServer;

async fn merging() -> TestServer {
    let world = world(&[]);
    let engine = world.engine(RankingConfig::default());
    TestServer::merging_users(world, engine).await
}

#[tokio::test]
async fn users_are_not_merged_unless_that_is_switched_on() {
    let server = server(&[]).await;
    let report = deliver(&server, &["m9", "m11", "m12"]).await;
    let counts = ["mapped", "merge_refused", "no_item"];
    assert_eq!(
        counts.map(|name| report[name].clone()),
        [1, 2, 0].map(|n| json!(n))
    );
    for element in report["not_taken"].as_array().unwrap() {
        assert_eq!(element["outcome"], json!("merge_refused"));
        assert!(
            element["reason"]
                .as_str()
                .unwrap()
                .contains("WEBHOOK_MERGE_USERS")
        );
    }
    assert_eq!(events(&server, "a-1").await.len(), 1);
    assert!(events(&server, "u5").await.is_empty());
    let members = stored(&server, "a-1").await;
    assert!(members[0].get("anonymous").is_none(), "{members:?}");
    // An identify call with traits is taken for these.
    let mut identify = element("m11");
    identify["traits"] = json!({"age": "25_34"});
    let report = post(server.webhook, &identify).await.json();
    assert_eq!(
        (&report["mapped"], &report["merge_refused"]),
        (&json!(1), &json!(0))
    );
}

#[tokio::test]
async fn a_visitor_who_is_identified_is_merged_into_the_account() {
    let server = merging().await;
    let mut view = track("", "v2", "Product Viewed", &json!({"product_id": "2002"}));
    view["anonymousId"] = json!("a-2");
    // m9 is a view of a-1; m11 identifies a-1 as u5, m12 says that a-2 is u5.
    let mut delivery = vec![element("m9"), view, element("m11"), element("m12")];
    let report = post(server.webhook, &delivery.clone().into()).await.json();
    let counts = ["mapped", "accepted", "merge_refused", "no_item"];
    assert_eq!(
        counts.map(|name| report[name].clone()),
        [4, 2, 0, 0].map(|n| json!(n)),
        "{report}"
    );
    let merged = expected(&[
        ("Product Viewed", "2001", "m9"),
        ("Product Viewed", "2002", "v2"),
    ]);
    assert_eq!(events(&server, "u5").await, merged);
    for event in stored(&server, "u5").await {
        assert!(event.get("anonymous").is_none(), "{event}");
        assert_eq!(event["user_id"], json!("u5"));
    }
    for visitor in ["a-1", "a-2"] {
        assert!(events(&server, visitor).await.is_empty(), "{visitor}");
    }
    // A redelivery counts nothing twice.
    delivery.reverse();
    for _ in 0..2 {
        let report = post(server.webhook, &delivery.clone().into()).await.json();
        assert_eq!(report["mapped"], json!(4), "{report}");
        assert_eq!(events(&server, "u5").await, merged);
    }
}

#[tokio::test]
async fn an_id_that_came_as_a_user_id_is_never_merged_into_another() {
    let server = merging().await;
    let alias = |from: &str, into: &str| json!({"type": "alias", "userId": into, "previousId": from, "timestamp": AT});
    // The person sends events with a userId, over gRPC, or both.
    let event = track("ada", "1", "view", &json!({"content": "1"}));
    assert_eq!(post(server.webhook, &event).await.status, 200);
    let mut both = track("", "2", "view", &json!({"content": "2"}));
    both["anonymousId"] = json!("ada");
    assert_eq!(post(server.webhook, &both).await.status, 200);
    let event = proto::InteractionEvent {
        user_id: "bob".to_owned(),
        event_type: "view".to_owned(),
        content_id: "1".to_owned(),
        ..proto::InteractionEvent::default()
    };
    server.ingest(event).await.unwrap();
    let identify = json!({"type": "identify", "userId": "mallory", "anonymousId": "ada",
                          "traits": {"age": "25_34"}, "timestamp": AT});
    for element in [alias("ada", "mallory"), alias("bob", "mallory"), identify] {
        let report = post(server.webhook, &element).await.json();
        assert_eq!(report["merge_refused"], json!(1), "{report}");
        assert_eq!(not_taken(&report).0, "merge_refused");
    }
    assert_eq!(events(&server, "ada").await.len(), 2);
    assert_eq!(events(&server, "bob").await.len(), 1);
    let mallory = events(&server, "mallory").await;
    assert_eq!(mallory.len(), 1, "the traits only: {mallory:?}");
    assert_eq!(mallory[0].0, "IDENTIFY");
    // A merge does not make the account a visitor.
    let mut visit = track("", "3", "view", &json!({"content": "3"}));
    visit["anonymousId"] = json!("device");
    let delivery = json!([visit, alias("device", "carol")]);
    assert_eq!(
        post(server.webhook, &delivery).await.json()["mapped"],
        json!(2)
    );
    let report = post(server.webhook, &alias("carol", "mallory"))
        .await
        .json();
    assert_eq!(report["merge_refused"], json!(1), "{report}");
    assert_eq!(events(&server, "carol").await.len(), 1);
}

#[tokio::test]
async fn an_alias_with_missing_or_equal_ids_is_invalid() {
    let server = merging().await;
    for (alias, outcome, reason) in [
        (json!({"userId": "u"}), "invalid", "previousId must be set"),
        (
            json!({"previousId": "a"}),
            "no_user",
            "has neither userId nor anonymousId",
        ),
        (
            json!({"userId": "u", "previousId": "u"}),
            "invalid",
            "previousId must differ from userId",
        ),
        (
            json!({"userId": "u", "previousId": []}),
            "invalid",
            "previousId must be a text",
        ),
        (
            json!({"userId": "u", "previousId": "a\u{7}"}),
            "invalid",
            "an id of a user is too long, or holds control characters",
        ),
    ] {
        let mut element = json!({"type": "alias", "timestamp": AT});
        element
            .as_object_mut()
            .unwrap()
            .extend(alias.as_object().unwrap().clone());
        let report = post(server.webhook, &element).await.json();
        assert_eq!(not_taken(&report), (outcome.to_owned(), reason.to_owned()));
    }
}
