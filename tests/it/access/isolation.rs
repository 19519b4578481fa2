//! Tenants: none reaches the data of another.

use recsys::proto::{
    self, catalog_service_client::CatalogServiceClient,
    recommender_service_client::RecommenderServiceClient,
};
use tonic::Code;

use crate::support::{
    program::get,
    redis::RedisServer,
    server::{liked, named, reason},
    tenants::{Tenants, channel, with_headers},
};

#[tokio::test]
async fn a_key_of_one_tenant_reaches_nothing_of_another() {
    let redis = RedisServer::start();
    let mut tenants = Tenants::new(&["shop", "museum"]);
    let ours = tenants.key(
        "shop",
        &["ingest", "serve", "read-profile", "catalog", "erase"],
    );
    let theirs = tenants.key(
        "museum",
        &["ingest", "serve", "read-profile", "catalog", "erase"],
    );
    let admin = tenants.key("museum", &["admin"]);
    let mut served = tenants.serve(&[
        ("REDIS_URL", &redis.url()),
        ("RECSYS_ADMIN_ADDR", "127.0.0.1:0"),
        ("RECSYS_LOG", "info"),
    ]);
    let channel = channel(&served).await;
    let mut users = RecommenderServiceClient::new(channel.clone());
    let mut items = CatalogServiceClient::new(channel.clone());
    let headers = [("x-api-key", ours.as_str())];
    let event = Some(named("e", liked("zaphod42", "plugh-item")));
    users
        .ingest_event(with_headers(&headers, proto::IngestEventRequest { event }))
        .await
        .unwrap();
    let secret = proto::Item {
        content_id: "xyzzy-item".to_owned(),
        title: "the xyzzy title".to_owned(),
        ..Default::default()
    };
    let upsert = proto::UpsertItemsRequest {
        items: vec![secret],
    };
    items
        .upsert_items(with_headers(&headers, upsert))
        .await
        .unwrap();
    assert_eq!(redis.cli(&["EXISTS", "shop:evt:zaphod42"]), "1");
    assert_eq!(redis.cli(&["EXISTS", "evt:zaphod42"]), "0");

    let headers = [("x-api-key", theirs.as_str())];
    for user in [
        "zaphod42",
        "shop:evt:zaphod42",
        "evt:zaphod42",
        "../shop:evt:zaphod42",
        "*",
        "museum:../shop",
        "{shop:evt:zaphod42}",
        ":evt:zaphod42",
    ] {
        let user_id = || user.to_owned();
        let request = proto::ExportUserRequest { user_id: user_id() };
        let export = users
            .export_user(with_headers(&headers, request))
            .await
            .unwrap();
        let export = export.into_inner();
        assert!(export.events.is_empty(), "{user}: {export:?}");
        assert!(export.signals.unwrap().viewed.is_empty());
        let request = proto::RecommendRequest {
            user_id: user_id(),
            limit: 100,
            include_content: true,
            ..Default::default()
        };
        let list = users
            .recommend(with_headers(&headers, request))
            .await
            .unwrap();
        assert!(!format!("{list:?}").contains("xyzzy"), "{user}");
        let request = proto::DeleteUserRequest { user_id: user_id() };
        let deleted = users
            .delete_user(with_headers(&headers, request))
            .await
            .unwrap();
        assert!(!deleted.into_inner().deleted, "{user}");
    }
    let ids = || vec!["xyzzy-item".to_owned()];
    let request = proto::GetItemsRequest { content_ids: ids() };
    let found = items
        .get_items(with_headers(&headers, request))
        .await
        .unwrap();
    assert!(found.into_inner().items.is_empty());
    let request = proto::DeleteItemsRequest { content_ids: ids() };
    items
        .delete_items(with_headers(&headers, request))
        .await
        .unwrap();

    // Naming the other tenant is refused, in any spelling.
    for named in [
        "shop",
        "SHOP",
        "shop ",
        "evt",
        "",
        "nobody",
        "museum,shop",
        "é",
    ] {
        let Ok(value) = named.parse() else { continue };
        let mut request = with_headers(
            &headers,
            proto::ExportUserRequest {
                user_id: "zaphod42".into(),
            },
        );
        request.metadata_mut().insert("x-tenant-id", value);
        let status = users.export_user(request).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{named:?}");
        assert_eq!(reason(&status), "TENANT_MISMATCH");
    }
    let own = [headers[0], ("x-tenant-id", "museum")];
    let request = proto::ExportUserRequest {
        user_id: "zaphod42".into(),
    };
    users
        .export_user(with_headers(&own, request))
        .await
        .unwrap();

    // Everything is still there, for its owner and for an admin key that selects the tenant.
    for headers in [
        &[("x-api-key", ours.as_str())][..],
        &[("x-api-key", admin.as_str()), ("x-tenant-id", "shop")][..],
    ] {
        let request = proto::ExportUserRequest {
            user_id: "zaphod42".into(),
        };
        let export = users
            .export_user(with_headers(headers, request))
            .await
            .unwrap();
        assert_eq!(export.into_inner().events.len(), 1);
        let request = proto::GetItemsRequest { content_ids: ids() };
        let found = items
            .get_items(with_headers(headers, request))
            .await
            .unwrap();
        assert_eq!(found.into_inner().items.len(), 1);
    }
    let metrics = get(&served.admin_address(), "/metrics");
    served.signal("-INT");
    served.child.wait().unwrap();
    std::io::Read::read_to_string(&mut served.log, &mut served.seen).unwrap();
    // Call lines name their tenant, and no other line does.
    let log = served
        .seen
        .replace("tenant=\"shop\"", "")
        .replace("tenant=\"museum\"", "");
    for text in [
        "zaphod42", "xyzzy", "plugh", "shop", "museum", &ours, &theirs, &admin,
    ] {
        assert!(!metrics.contains(text), "{text} in the metrics");
        assert!(!log.contains(text), "{text} in:\n{log}");
    }
}

#[tokio::test]
async fn a_moved_or_removed_key_cannot_reach_its_former_tenant() {
    let redis = RedisServer::start();
    let mut tenants = Tenants::new(&["shop"]);
    let moved = tenants.key("shop", &["ingest", "read-profile"]);
    let entry = tenants.text.split_once("[[").unwrap().1.to_owned();
    let removed = tenants.key("shop", &["admin"]);
    let mut served = tenants.serve(&[("REDIS_URL", &redis.url())]);
    let mut users = RecommenderServiceClient::new(channel(&served).await);
    let event = Some(named("e", liked("u", "2001")));
    let request = proto::IngestEventRequest { event };
    let headers = [("x-api-key", &*moved)];
    users
        .ingest_event(with_headers(&headers, request))
        .await
        .unwrap();
    assert_eq!(redis.cli(&["EXISTS", "shop:evt:u"]), "1");

    // The same key, now of another tenant. Its former tenant no longer exists.
    tenants.text = format!(
        "[tenants.museum]\ncollection = \"museum\"\n[[{}",
        entry.replace("tenants.shop", "tenants.museum")
    );
    tenants.write();
    served.logged("tenants file reloaded");
    let export = || proto::ExportUserRequest {
        user_id: "u".into(),
    };
    let reply = users
        .export_user(with_headers(&headers, export()))
        .await
        .unwrap();
    assert!(reply.into_inner().stored_events.is_empty());
    for (headers, code) in [
        (
            &[headers[0], ("x-tenant-id", "shop")][..],
            Code::PermissionDenied,
        ),
        (&[("x-api-key", &*removed)][..], Code::Unauthenticated),
        (
            &[("x-api-key", &*removed), ("x-tenant-id", "shop")][..],
            Code::Unauthenticated,
        ),
    ] {
        let status = users
            .export_user(with_headers(headers, export()))
            .await
            .unwrap_err();
        assert_eq!(status.code(), code, "{headers:?}");
    }
    assert_eq!(redis.cli(&["EXISTS", "shop:evt:u"]), "1");
}

#[tokio::test]
async fn each_tenant_has_its_own_ranking_and_an_admin_key_selects_any() {
    let mut tenants = Tenants::new(&["shop"]);
    tenants.add("ranking = \"shop.toml\"");
    tenants.add("[tenants.museum]\ncollection = \"museum\"");
    let key = tenants.key("museum", &["admin"]);
    std::fs::write(tenants.folder.path().join("shop.toml"), "default_limit = 3").unwrap();
    let served = tenants.serve(&[]);
    let mut users = RecommenderServiceClient::new(channel(&served).await);
    for (named, items) in [(None, 10), (Some("museum"), 10), (Some("shop"), 3)] {
        let mut headers = vec![("x-api-key", key.as_str())];
        headers.extend(named.map(|named| ("x-tenant-id", named)));
        let request = proto::RecommendRequest {
            user_id: "u".into(),
            ..Default::default()
        };
        let list = users
            .recommend(with_headers(&headers, request))
            .await
            .unwrap();
        assert_eq!(list.into_inner().items.len(), items, "{named:?}");
    }
}
