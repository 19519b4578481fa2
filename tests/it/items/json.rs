//! Updates and pages as JSON.

use serde_json::{Value, json};

use super::updates::shop;
use crate::support::{
    http::{HttpReply, send},
    server::TestServer,
};

async fn call(server: &TestServer, method: &str, body: &Value) -> HttpReply {
    let path = format!("/recsys.v1.CatalogService/{method}");
    let headers = [("content-type", "application/json")];
    send(
        server.address,
        "POST",
        &path,
        &headers,
        body.to_string().as_bytes(),
    )
    .await
}

async fn attributes(server: &TestServer, id: &str) -> Value {
    let reply = call(server, "GetItems", &json!({"contentIds": [id]})).await;
    reply.json()["items"][0]["attributes"].clone()
}

#[tokio::test]
async fn a_mask_is_one_text_in_camel_case() {
    let server = TestServer::with_items(shop()).await;
    let item = json!({
        "contentId": "i001", "title": "New", "wordCount": 7,
        "attributes": {"price": 5, "in_stock": true, "onSale": true},
    });
    let body = json!({"updates": [
        {"item": item, "updateMask": "wordCount,attributes.price,attributes.inStock"},
    ]});
    let reply = call(&server, "UpdateItems", &body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let result = &reply.json()["results"][0];
    assert_eq!(result["outcome"], "ITEM_OUTCOME_STORED", "{result}");
    let expected = json!({"price": 5.0, "brand": "Acme", "in_stock": true});
    assert_eq!(attributes(&server, "i001").await, expected);
    // Names with capitals have no form in such a mask, but need none.
    let reply = call(
        &server,
        "UpdateItems",
        &json!({"updates": [{"item": item}]}),
    )
    .await;
    assert_eq!(reply.status, 200);
    let expected = json!({"price": 5.0, "brand": "Acme", "in_stock": true, "onSale": true});
    assert_eq!(attributes(&server, "i001").await, expected);
}

#[tokio::test]
async fn a_mask_in_another_form_is_refused_with_the_form() {
    let server = TestServer::with_items(shop()).await;
    for mask in [
        json!("word_count"),
        json!(["title"]),
        json!({"paths": ["title"]}),
    ] {
        let body = json!({"updates": [{"item": {"contentId": "i001"}, "updateMask": mask}]});
        let reply = call(&server, "UpdateItems", &body).await;
        assert_eq!(reply.status, 400, "{mask}");
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        let expected = "updates[0].update_mask must be one text: paths in lowerCamelCase";
        assert!(message.starts_with(expected), "{mask}: {message}");
    }
}

#[tokio::test]
async fn pages_are_read_as_json() {
    let server = TestServer::with_items(shop()).await;
    let body = json!({"pageSize": 6, "where": "price < 108"});
    let first = call(&server, "ListItems", &body).await.json();
    assert_eq!(first["items"].as_array().unwrap().len(), 6);
    assert_eq!(first["totalItems"], 8);
    let body = json!({
        "pageSize": 6, "where": "price < 108", "pageToken": first["nextPageToken"],
    });
    let second = call(&server, "ListItems", &body).await.json();
    assert_eq!(second["items"][1]["contentId"], "i007");
    assert!(second["items"].as_array().unwrap().len() == 2);
    assert!(
        second["nextPageToken"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
    );
}
