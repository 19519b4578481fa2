//! Findings of Qdrant.

use qdrant_client::qdrant::{Distance, FieldType};
use serde_json::json;
use tempfile::TempDir;

use super::{Diagnosis, fixes, follow, text};
use crate::support::qdrant::{HttpOnly, QdrantServer};

const GROUP: &str = "qdrant";

/// In a thread: the program is waited for.
async fn diagnosis(settings: Vec<(&'static str, String)>) -> Diagnosis {
    let run = move || {
        let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
        Diagnosis::of(&settings.collect::<Vec<_>>())
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn a_missing_collection_and_missing_indexes_are_created_by_the_fix() {
    let server = QdrantServer::start().await;
    let folder = TempDir::new().unwrap();
    let items = folder.path().join("items.jsonl");
    std::fs::write(items, "{\"id\": \"a\", \"vector\": [1, 0]}\n").unwrap();
    let url = vec![("QDRANT_API_URL", server.url())];
    let import = async |finding: &serde_json::Value| {
        let (line, url) = (fixes(finding)[0].to_owned(), server.url());
        let folder = folder.path().to_owned();
        let follow = move || follow(&folder, &line, &[("QDRANT_API_URL", &url)]);
        tokio::task::spawn_blocking(follow).await.unwrap()
    };
    let before = diagnosis(url.clone()).await;
    assert_eq!(before.code, 1);
    before.says(GROUP, "reachable", "ok", "1.20.0");
    let missing = before.says(GROUP, "collection", "fail", "items does not exist");
    assert!(import(missing).await.contains("1 items written"));
    for field in ["tag_labels", "locations"] {
        server.drop_index("items", field);
    }
    let dropped = diagnosis(url.clone()).await;
    assert_eq!(dropped.code, 0, "{:#}", dropped.report);
    let index = dropped.says(GROUP, "payload index", "warn", "tag_labels, locations");
    import(index).await;
    let after = diagnosis(url).await;
    after.says(GROUP, "collection", "ok", "1 points, vectors of size 2");
    assert!(after.all(GROUP, "payload index").is_empty());
    server.answer_version("1.13.6");
    let old = diagnosis(vec![("QDRANT_API_URL", server.url())]).await;
    old.says(GROUP, "version", "fail", "1.13.6 is too old");
}

#[tokio::test]
async fn a_wrong_key_a_wrong_port_and_no_server_each_fail_with_their_fix() {
    let server = QdrantServer::start().await;
    server.require_api_key("hunter2");
    let http = HttpOnly::start().await;
    let key = ("QDRANT_API_KEY", "hunter3".to_owned());
    let no_server = "http://127.0.0.1:1".to_owned();
    for (settings, fix) in [
        (
            vec![("QDRANT_API_URL", server.url()), key],
            "export QDRANT_API_KEY=",
        ),
        (
            vec![("QDRANT_API_URL", http.url())],
            "export QDRANT_GRPC_PORT=",
        ),
        (
            vec![("QDRANT_API_URL", no_server)],
            "export QDRANT_API_URL=",
        ),
    ] {
        let failed = diagnosis(settings).await;
        assert_eq!(failed.code, 1);
        let finding = failed.says(GROUP, "reachable", "fail", "");
        assert!(fixes(finding)[0].starts_with(fix), "{finding:#}");
        assert!(!failed.report.to_string().contains("hunter"));
        failed.says("settings", "listen address", "ok", "is free");
    }
}

#[tokio::test]
async fn the_collection_of_each_tenant_is_checked() {
    let server = QdrantServer::start().await;
    server.create_collection("shop", 2, Distance::Cosine);
    server.insert("shop", 1, json!({"title": "a"}), Some(vec![1.0, 0.0]));
    server.create_index("shop", "tag_labels", FieldType::Keyword);
    let file = tempfile::NamedTempFile::new().unwrap();
    let tenants = "[tenants.shop]\ncollection = \"shop\"\n[tenants.zoo]\ncollection = \"a zoo\"\n";
    std::fs::write(file.path(), tenants).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let settings = vec![
        ("QDRANT_API_URL", server.url()),
        ("RECSYS_TENANTS_PATH", path),
    ];
    let diagnosis = diagnosis(settings).await;
    assert_eq!(diagnosis.code, 1);
    let [zoo, shop] = diagnosis.all(GROUP, "collection")[..] else {
        panic!("{:#}", diagnosis.report);
    };
    assert!(text(&shop["found"]).starts_with("shop of tenant shop: 1 points"));
    assert_eq!(text(&zoo["found"]), "a zoo of tenant zoo does not exist");
    let import = "COLLECTION_NAME='a zoo' recsys catalog import items.jsonl";
    assert_eq!(fixes(zoo), [import]);
}
