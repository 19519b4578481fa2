//! What is found of Qdrant.

use qdrant_client::qdrant::{CollectionStatus, Distance, FieldType, StrictModeConfig};
use serde_json::json;
use tempfile::NamedTempFile;

use super::{Diagnosis, follow, text, todo};
use crate::support::qdrant::{HttpOnly, QdrantServer};

const GROUP: &str = "qdrant";
const INDEXES: [(&str, FieldType); 5] = [
    ("tag_labels", FieldType::Keyword),
    ("tag_values", FieldType::Keyword),
    ("content_type", FieldType::Keyword),
    ("locations", FieldType::Geo),
    ("content_id", FieldType::Keyword),
];

async fn healthy() -> QdrantServer {
    let server = QdrantServer::start().await;
    server.create_collection("items", 2, Distance::Cosine);
    server.insert("items", 1, json!({"title": "a"}), Some(vec![1.0, 0.0]));
    for (field, of) in INDEXES {
        server.create_index("items", field, of);
    }
    server
}

/// In a thread: the program is waited for.
async fn diagnosis(settings: Vec<(&'static str, String)>) -> Diagnosis {
    let run = move || {
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        Diagnosis::of(&settings)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn of(server: &QdrantServer) -> Diagnosis {
    diagnosis(vec![("QDRANT_API_URL", server.url())]).await
}

#[tokio::test]
async fn a_collection_as_it_should_be_is_well() {
    let server = healthy().await;
    let diagnosis = of(&server).await;
    assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.told);
    diagnosis.says(
        GROUP,
        "reachable",
        "ok",
        &format!("{} answers over gRPC", server.url()),
    );
    diagnosis.says(GROUP, "version", "ok", "1.20.0");
    diagnosis.says(GROUP, "collection", "ok", "items has 1 points");
    diagnosis.says(GROUP, "status", "ok", "green");
    diagnosis.says(GROUP, "vectors", "ok", "2 numbers, compared by cosine");
    diagnosis.says(GROUP, "payload index", "ok", "all that are needed");
}

#[tokio::test]
async fn a_missing_collection_is_made_by_what_it_says_to_do() {
    let server = QdrantServer::start().await;
    let catalogue = NamedTempFile::new().unwrap();
    std::fs::write(catalogue.path(), "{\"id\": \"a\", \"vector\": [1, 0]}\n").unwrap();
    let file = catalogue.path().to_str().unwrap().to_owned();
    let settings = vec![("QDRANT_API_URL", server.url()), ("CATALOG_PATH", file)];
    let before = diagnosis(settings.clone()).await;
    assert_eq!(before.code, 1);
    let missing = before.says(GROUP, "collection", "fail", "items does not exist");
    let (line, url) = (todo(missing)[0].to_owned(), server.url());
    let told = tokio::task::spawn_blocking(move || follow(&line, &[("QDRANT_API_URL", &url)]));
    assert!(told.await.unwrap().contains("1 items written"));
    let after = diagnosis(settings).await;
    assert_eq!(after.code, 0, "{:#}", after.told);
    assert!(
        after
            .findings()
            .iter()
            .all(|finding| finding["group"] != GROUP || finding["level"] == "ok")
    );
}

#[tokio::test]
async fn each_missing_index_is_named_with_the_call_that_makes_it() {
    let server = healthy().await;
    for (field, _) in INDEXES {
        server.drop_index("items", field);
    }
    server.create_index("items", "tag_labels", FieldType::Text);
    let settings = vec![
        ("QDRANT_API_URL", server.url()),
        ("QDRANT_API_KEY", "hunter2".to_owned()),
    ];
    let diagnosis = diagnosis(settings).await;
    assert_eq!(diagnosis.code, 0);
    let missing = diagnosis.all(GROUP, "payload index");
    assert_eq!(missing.len(), INDEXES.len());
    for (field, of) in INDEXES {
        let body = json!({"field_name": field, "field_schema": of.as_str_name()["FieldType".len()..].to_lowercase()});
        let finding = missing
            .iter()
            .find(|finding| text(&finding["found"]).contains(field))
            .unwrap();
        assert_eq!(finding["level"], "warn");
        let make = *todo(finding).last().unwrap();
        let call = "'http://127.0.0.1:6333/collections/items/index?wait=true'";
        assert!(
            make.starts_with("curl -X PUT -H \"api-key: $QDRANT_API_KEY\" "),
            "{make}"
        );
        assert!(make.contains(call), "{make}");
        let sent = make.rsplit(" -d '").next().unwrap().trim_end_matches('\'');
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(sent).unwrap(),
            body
        );
    }
    let wrong = missing
        .iter()
        .find(|finding| todo(finding).len() == 2)
        .unwrap();
    assert!(
        text(&wrong["found"]).contains("a text index of tag_labels"),
        "{wrong:#}"
    );
    assert!(todo(wrong)[0].starts_with("curl -X DELETE"), "{wrong:#}");
}

#[tokio::test]
async fn what_else_is_odd_of_a_collection_is_told() {
    let server = QdrantServer::start().await;
    server.create_named_collection(
        "items",
        &[("b", 3, Distance::Cosine), ("a", 2, Distance::Dot)],
    );
    server.set_status("items", CollectionStatus::Grey);
    let strict = StrictModeConfig {
        enabled: Some(true),
        max_query_limit: Some(100),
        condition_max_size: Some(50),
        ..StrictModeConfig::default()
    };
    server.strict("items", strict);
    server.answer_version("1.13.6");
    let odd = of(&server).await;
    assert_eq!(odd.code, 1);
    odd.says(GROUP, "version", "fail", "1.13.6 is too old");
    odd.says(GROUP, "collection", "warn", "is empty");
    odd.says(GROUP, "status", "warn", "grey");
    odd.says(
        GROUP,
        "vectors",
        "warn",
        "2 numbers, compared by dot, the vector named \"a\" (not used: b)",
    );
    let strict: Vec<&str> = odd
        .all(GROUP, "strict mode")
        .iter()
        .map(|one| text(&one["found"]))
        .collect();
    assert_eq!(
        strict,
        [
            "items: max_query_limit is 100, and up to 10000 are asked for: refused",
            "items: condition_max_size is 50, and up to 4000 are asked for: refused"
        ]
    );
    server.set_status("items", CollectionStatus::Red);
    server.answer_version("1.14.0");
    let red = of(&server).await;
    red.says(GROUP, "status", "fail", "red");
    red.is_well(GROUP, "version");
}

#[tokio::test]
async fn a_wrong_key_a_wrong_port_and_nobody_there_each_fail_with_their_remedy() {
    let server = healthy().await;
    server.require_api_key("hunter2");
    let settings = vec![
        ("QDRANT_API_URL", server.url()),
        ("QDRANT_API_KEY", "hunter3".to_owned()),
    ];
    let wrong_key = diagnosis(settings).await;
    assert_eq!(wrong_key.code, 1);
    let key = wrong_key.one(GROUP, "reachable");
    assert!(
        todo(key)[0].starts_with("export QDRANT_API_KEY="),
        "{key:#}"
    );
    assert!(
        !wrong_key.told.to_string().contains("hunter"),
        "{:#}",
        wrong_key.told
    );

    let http = HttpOnly::start().await;
    let wrong_port = diagnosis(vec![("QDRANT_API_URL", http.url())]).await;
    assert_eq!(wrong_port.code, 1);
    let port = wrong_port.one(GROUP, "reachable");
    assert!(
        todo(port)[0].starts_with("export QDRANT_GRPC_PORT="),
        "{port:#}"
    );

    let nobody = diagnosis(vec![("QDRANT_API_URL", "http://127.0.0.1:1".to_owned())]).await;
    assert_eq!(nobody.code, 1);
    nobody.says(GROUP, "reachable", "fail", "http://127.0.0.1:1 (gRPC)");
    nobody.is_well("settings", "listen address");
}

#[tokio::test]
async fn the_collection_of_each_tenant_is_looked_at() {
    let server = healthy().await;
    server.rename_collection("items", "shop-items");
    let file = NamedTempFile::new().unwrap();
    let tenants =
        "[tenants.shop]\ncollection = \"shop-items\"\n[tenants.zoo]\ncollection = \"zoo items\"\n";
    std::fs::write(file.path(), tenants).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let settings = vec![
        ("QDRANT_API_URL", server.url()),
        ("RECSYS_TENANTS_PATH", path),
    ];
    let diagnosis = diagnosis(settings).await;
    assert_eq!(diagnosis.code, 1);
    let collections = diagnosis.all("tenants", "collection");
    assert_eq!(collections.len(), 2);
    assert_eq!(collections[0]["level"], "ok");
    let zoo = collections[1];
    assert_eq!(
        text(&zoo["found"]),
        "zoo items of tenant zoo does not exist"
    );
    assert_eq!(
        todo(zoo),
        ["COLLECTION_NAME='zoo items' recsys catalog import items.jsonl"]
    );
}
