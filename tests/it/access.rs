//! Who is let in: keys, roles, tenants, quotas; and that nothing of one tenant
//! is reached with another's key.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use recsys::{
    edge::tenants::Role,
    proto::{
        self, catalog_service_client::CatalogServiceClient,
        recommender_service_client::RecommenderServiceClient,
    },
};
use tempfile::TempDir;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::support::{
    program::{Served, get, recsys},
    redis::RedisServer,
    server::{connect, liked, named, reason},
};

/// A tenants file and the keys in it.
pub struct Tenants {
    folder: TempDir,
    text: String,
}

impl Tenants {
    pub fn new(tenants: &[&str]) -> Self {
        let mut text = String::new();
        for tenant in tenants {
            writeln!(text, "[tenants.{tenant}]\ncollection = \"{tenant}\"").unwrap();
        }
        let folder = TempDir::new().unwrap();
        Self { folder, text }
    }

    /// Makes a key as people do, and adds what it prints to the file.
    pub fn key(&mut self, tenant: &str, roles: &[&str]) -> String {
        let mut arguments = vec!["keys", "new", tenant];
        for role in roles {
            arguments.extend(["--role", role]);
        }
        let output = recsys(&arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        let (_, entry) = told.split_once("Add to the tenants file:").unwrap();
        self.text.push_str(entry);
        let key = String::from_utf8(output.stdout).unwrap();
        let key = key.trim().to_owned();
        assert!(!self.text.contains(&key), "the key itself is in the file");
        key
    }

    pub fn add(&mut self, line: &str) {
        writeln!(self.text, "{line}").unwrap();
    }

    pub fn path(&self) -> String {
        let path = self.folder.path().join("tenants.toml");
        path.to_str().unwrap().to_owned()
    }

    pub fn write(&self) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, &self.text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    pub fn serve(&self, more: &[(&str, &str)]) -> Served {
        self.write();
        let mut command = recsys(&["serve"]);
        command
            .env("RECSYS_TENANTS_PATH", self.path())
            .envs(more.iter().copied());
        Served::start(&mut command)
    }
}

async fn channel(served: &Served) -> Channel {
    connect(served.address.parse().unwrap()).await
}

fn with<T>(headers: &[(&'static str, &str)], message: T) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// Makes every call with these headers; each call's name and how it ended.
async fn every_call(
    channel: &Channel,
    headers: &[(&'static str, &str)],
) -> Vec<(&'static str, Result<(), Status>)> {
    let mut users = RecommenderServiceClient::new(channel.clone());
    let mut items = CatalogServiceClient::new(channel.clone());
    let user_id = || "u".to_owned();
    let event = || Some(named("e", liked("u", "2001")));
    let item = proto::Item {
        content_id: "new".to_owned(),
        ..Default::default()
    };
    vec![
        (
            "IngestEvent",
            users
                .ingest_event(with(headers, proto::IngestEventRequest { event: event() }))
                .await
                .map(|_| ()),
        ),
        (
            "StreamIngestEvents",
            users
                .stream_ingest_events(with(headers, tokio_stream::empty()))
                .await
                .map(drop),
        ),
        (
            "BatchIngestEvents",
            users
                .batch_ingest_events(with(
                    headers,
                    proto::BatchIngestEventsRequest {
                        events: event().into_iter().collect(),
                    },
                ))
                .await
                .map(|_| ()),
        ),
        (
            "GetUserSignals",
            users
                .get_user_signals(with(
                    headers,
                    proto::GetUserSignalsRequest {
                        user_id: user_id(),
                        include_vectors: false,
                    },
                ))
                .await
                .map(|_| ()),
        ),
        (
            "Recommend",
            users
                .recommend(with(
                    headers,
                    proto::RecommendRequest {
                        user_id: user_id(),
                        ..Default::default()
                    },
                ))
                .await
                .map(|_| ()),
        ),
        (
            "ExportUser",
            users
                .export_user(with(
                    headers,
                    proto::ExportUserRequest { user_id: user_id() },
                ))
                .await
                .map(|_| ()),
        ),
        (
            "UpsertItems",
            items
                .upsert_items(with(
                    headers,
                    proto::UpsertItemsRequest { items: vec![item] },
                ))
                .await
                .map(|_| ()),
        ),
        (
            "GetItems",
            items
                .get_items(with(
                    headers,
                    proto::GetItemsRequest {
                        content_ids: vec!["new".to_owned()],
                    },
                ))
                .await
                .map(|_| ()),
        ),
        (
            "DeleteItems",
            items
                .delete_items(with(
                    headers,
                    proto::DeleteItemsRequest {
                        content_ids: vec!["new".to_owned()],
                    },
                ))
                .await
                .map(|_| ()),
        ),
        (
            "DeleteUser",
            users
                .delete_user(with(
                    headers,
                    proto::DeleteUserRequest { user_id: user_id() },
                ))
                .await
                .map(|_| ()),
        ),
    ]
}

/// What a key with one role may call, by the names of the calls.
fn allowed(role: Role) -> &'static [&'static str] {
    match role {
        Role::Ingest => &["IngestEvent", "StreamIngestEvents", "BatchIngestEvents"],
        Role::Serve => &["Recommend", "GetItems"],
        Role::ReadProfile => &["GetUserSignals", "ExportUser"],
        Role::Catalog => &["UpsertItems", "GetItems", "DeleteItems"],
        Role::Erase => &["DeleteUser"],
        Role::Admin => &[
            "IngestEvent",
            "StreamIngestEvents",
            "BatchIngestEvents",
            "GetUserSignals",
            "Recommend",
            "ExportUser",
            "UpsertItems",
            "GetItems",
            "DeleteItems",
            "DeleteUser",
        ],
    }
}

#[tokio::test]
async fn each_role_may_do_what_it_names_and_nothing_else() {
    let mut tenants = Tenants::new(&["shop"]);
    let keys: Vec<(Role, String)> = Role::ALL
        .into_iter()
        .map(|role| (role, tenants.key("shop", &[role.name()])))
        .collect();
    let served = tenants.serve(&[]);
    let channel = channel(&served).await;
    for (role, key) in keys {
        for headers in [
            [("authorization", bearer(&key).as_str())],
            [("x-api-key", key.as_str())],
        ] {
            for (call, done) in every_call(&channel, &headers).await {
                if allowed(role).contains(&call) {
                    assert!(done.is_ok(), "{role} may not {call}: {done:?}");
                    continue;
                }
                let status = done.unwrap_err();
                assert_eq!(status.code(), Code::PermissionDenied, "{role} {call}");
                assert_eq!(reason(&status), "ROLE_MISSING");
            }
        }
    }
}

#[tokio::test]
async fn without_a_good_key_nothing_is_answered_but_health_and_reflection() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["admin"]);
    let served = tenants.serve(&[]);
    let channel = channel(&served).await;
    let (start, _) = key.rsplit_once('_').unwrap();
    let guessed = format!("{start}_{}", "0".repeat(64));
    let basic = format!("Basic {key}");
    let longer = format!("{key}0");
    let upper = bearer(&key.to_uppercase());
    let good = bearer(&key);
    let wrong: [&[(&'static str, &str)]; 9] = [
        &[],
        &[("authorization", "")],
        &[("authorization", "Bearer ")],
        &[("authorization", &basic)],
        &[("authorization", &key)],
        &[("authorization", &upper)],
        &[("x-api-key", &guessed)],
        &[("x-api-key", &longer)],
        // Two keys that differ.
        &[("authorization", &good), ("x-api-key", &guessed)],
    ];
    for headers in wrong {
        for (call, done) in every_call(&channel, headers).await {
            let status = done.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{call} {headers:?}");
            assert_eq!(reason(&status), "KEY_UNKNOWN");
            assert!(!status.message().contains("shop"), "{status}");
        }
    }
    for service in ["", "liveness", "readiness"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let mut health = HealthClient::new(channel.clone());
        health.check(request).await.unwrap();
    }
    for (call, done) in every_call(&channel, &[("authorization", &good)]).await {
        assert!(done.is_ok(), "{call}: {done:?}");
    }
    // A path that nobody serves tells no more to someone without a key.
    let odd = tonic::client::Grpc::new(channel.clone());
    for (headers, code) in [
        (&[][..], Code::Unauthenticated),
        (&[("x-api-key", key.as_str())][..], Code::Unimplemented),
    ] {
        let mut odd = odd.clone();
        odd.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/recsys.v1.RecommenderService/Nothing");
        let codec =
            tonic_prost::ProstCodec::<proto::GetItemsRequest, proto::GetItemsResponse>::default();
        let request = with(headers, proto::GetItemsRequest::default());
        let status = odd.unary(request, path, codec).await.unwrap_err();
        assert_eq!(status.code(), code);
    }
}

#[tokio::test]
async fn a_header_given_twice_with_different_values_lets_nobody_in() {
    let mut tenants = Tenants::new(&["shop", "museum"]);
    let (shop, museum) = (
        tenants.key("shop", &["admin"]),
        tenants.key("museum", &["serve"]),
    );
    let served = tenants.serve(&[]);
    let mut users = RecommenderServiceClient::new(channel(&served).await);
    let (shop_bearer, museum_bearer) = (bearer(&shop), bearer(&museum));
    let mut recommend = async |headers: &[(&'static str, &str)]| {
        let mut request = Request::new(proto::RecommendRequest {
            user_id: "u".into(),
            ..Default::default()
        });
        for (name, value) in headers {
            request.metadata_mut().append(*name, value.parse().unwrap());
        }
        users
            .recommend(request)
            .await
            .map_err(|status| status.code())
    };
    for headers in [
        [
            ("authorization", &*shop_bearer),
            ("authorization", &museum_bearer),
        ],
        [
            ("authorization", &*shop_bearer),
            ("authorization", "Basic x"),
        ],
        [
            ("authorization", "Basic x"),
            ("authorization", &shop_bearer),
        ],
        [("authorization", &*shop_bearer), ("authorization", "")],
        [("x-api-key", &*shop), ("x-api-key", &museum)],
        [("x-api-key", &*shop), ("x-api-key", "")],
    ] {
        let refused = recommend(&headers).await.unwrap_err();
        assert_eq!(refused, Code::Unauthenticated, "{headers:?}");
    }
    let key = ("x-api-key", &*shop);
    for tenants in [["shop", "museum"], ["museum", "shop"], ["shop", ""]] {
        let [first, second] = tenants.map(|tenant| ("x-tenant-id", tenant));
        let refused = recommend(&[key, first, second]).await.unwrap_err();
        assert_eq!(refused, Code::PermissionDenied, "{tenants:?}");
    }
    // What agrees is one.
    recommend(&[key, key, ("x-tenant-id", "shop"), ("x-tenant-id", "shop")])
        .await
        .unwrap();
}

#[tokio::test]
async fn headers_larger_than_any_that_are_needed_are_refused_and_nobody_else_suffers() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["serve"]);
    let served = tenants.serve(&[]);
    let request = || proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    };
    let long = format!("{key}{}", "0".repeat(1 << 20));
    let filler = "0".repeat(1 << 20);
    for headers in [
        &[("x-api-key", &*long)][..],
        &[("x-api-key", &key), ("x-filler", &filler)],
    ] {
        let mut users = RecommenderServiceClient::new(channel(&served).await);
        assert!(users.recommend(with(headers, request())).await.is_err());
    }
    let mut users = RecommenderServiceClient::new(channel(&served).await);
    let headers = [("x-api-key", &*key)];
    users.recommend(with(&headers, request())).await.unwrap();
}

#[tokio::test]
async fn a_key_whose_tenant_is_gone_or_that_moved_reaches_nothing_of_before() {
    let redis = RedisServer::start();
    let mut tenants = Tenants::new(&["shop"]);
    let moved = tenants.key("shop", &["ingest", "read-profile"]);
    let entry = tenants.text.split_once("[[").unwrap().1.to_owned();
    let gone = tenants.key("shop", &["admin"]);
    let mut served = tenants.serve(&[("REDIS_URL", &redis.url())]);
    let mut users = RecommenderServiceClient::new(channel(&served).await);
    let event = Some(named("e", liked("u", "2001")));
    let request = proto::IngestEventRequest { event };
    let headers = [("x-api-key", &*moved)];
    users.ingest_event(with(&headers, request)).await.unwrap();
    assert_eq!(redis.cli(&["EXISTS", "shop:evt:u"]), "1");

    // The same key, now of another tenant; the one before exists no longer.
    tenants.text = format!(
        "[tenants.museum]\ncollection = \"museum\"\n[[{}",
        entry.replace("tenants.shop", "tenants.museum")
    );
    tenants.write();
    served.logged("tenants file reloaded");
    let export = || proto::ExportUserRequest {
        user_id: "u".into(),
    };
    let reply = users.export_user(with(&headers, export())).await.unwrap();
    assert!(reply.into_inner().stored_events.is_empty());
    for (headers, code) in [
        (
            &[headers[0], ("x-tenant-id", "shop")][..],
            Code::PermissionDenied,
        ),
        (&[("x-api-key", &*gone)][..], Code::Unauthenticated),
        (
            &[("x-api-key", &*gone), ("x-tenant-id", "shop")][..],
            Code::Unauthenticated,
        ),
    ] {
        let status = users
            .export_user(with(headers, export()))
            .await
            .unwrap_err();
        assert_eq!(status.code(), code, "{headers:?}");
    }
    assert_eq!(redis.cli(&["EXISTS", "shop:evt:u"]), "1");
}

#[tokio::test]
async fn reflection_can_be_switched_off() {
    let served = Served::start(recsys(&["serve"]).env("RECSYS_REFLECTION", "false"));
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(
            channel(&served).await,
        );
    let nothing = tokio_stream::empty::<tonic_reflection::pb::v1::ServerReflectionRequest>();
    let status = reflection
        .server_reflection_info(nothing)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn nothing_of_a_tenant_is_reached_with_anothers_key() {
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
        .ingest_event(with(&headers, proto::IngestEventRequest { event }))
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
    items.upsert_items(with(&headers, upsert)).await.unwrap();
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
        let export = users.export_user(with(&headers, request)).await.unwrap();
        let export = export.into_inner();
        assert!(export.events.is_empty(), "{user}: {export:?}");
        assert!(export.signals.unwrap().viewed.is_empty());
        let request = proto::RecommendRequest {
            user_id: user_id(),
            limit: 100,
            include_content: true,
            ..Default::default()
        };
        let list = users.recommend(with(&headers, request)).await.unwrap();
        assert!(!format!("{list:?}").contains("xyzzy"), "{user}");
        let request = proto::DeleteUserRequest { user_id: user_id() };
        let deleted = users.delete_user(with(&headers, request)).await.unwrap();
        assert!(!deleted.into_inner().deleted, "{user}");
    }
    let ids = || vec!["xyzzy-item".to_owned()];
    let request = proto::GetItemsRequest { content_ids: ids() };
    let found = items.get_items(with(&headers, request)).await.unwrap();
    assert!(found.into_inner().items.is_empty());
    let request = proto::DeleteItemsRequest { content_ids: ids() };
    items.delete_items(with(&headers, request)).await.unwrap();

    // Naming the other tenant does not help, in any spelling.
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
        let mut request = with(
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
    users.export_user(with(&own, request)).await.unwrap();

    // All is still there, for whom it belongs to, and for an admin who names it.
    for headers in [
        &[("x-api-key", ours.as_str())][..],
        &[("x-api-key", admin.as_str()), ("x-tenant-id", "shop")][..],
    ] {
        let request = proto::ExportUserRequest {
            user_id: "zaphod42".into(),
        };
        let export = users.export_user(with(headers, request)).await.unwrap();
        assert_eq!(export.into_inner().events.len(), 1);
        let request = proto::GetItemsRequest { content_ids: ids() };
        let found = items.get_items(with(headers, request)).await.unwrap();
        assert_eq!(found.into_inner().items.len(), 1);
    }
    let told = served
        .logged("serving metrics and health address=")
        .to_owned();
    let (_, address) = told.split_once("metrics and health address=").unwrap();
    let address = address.split_whitespace().next().unwrap();
    let metrics = get(address, "/metrics");
    served.signal("-INT");
    served.child.wait().unwrap();
    std::io::Read::read_to_string(&mut served.log, &mut served.seen).unwrap();
    // The line of a call says whose it was, and no other line does.
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
async fn each_tenant_has_its_own_ranking_and_an_admin_names_any() {
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
        let list = users.recommend(with(&headers, request)).await.unwrap();
        assert_eq!(list.into_inner().items.len(), items, "{named:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_file_is_exchanged_under_load_without_a_failed_call() {
    let mut tenants = Tenants::new(&["shop"]);
    let kept = tenants.key("shop", &["ingest"]);
    let before = tenants.text.clone();
    let revoked = tenants.key("shop", &["ingest"]);
    let mut served = tenants.serve(&[]);
    let channel = channel(&served).await;
    let ingest = move |key: String, number: usize| {
        let mut users = RecommenderServiceClient::new(channel.clone());
        async move {
            let event = Some(named(&number.to_string(), liked("u", "2001")));
            let headers = [("x-api-key", key.as_str())];
            let request = with(&headers, proto::IngestEventRequest { event });
            users
                .ingest_event(request)
                .await
                .map(|reply| reply.into_inner())
        }
    };
    let (ended, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (ended, calls, kept) = (ended.clone(), calls.clone(), kept.clone());
            let ingest = ingest.clone();
            tokio::spawn(async move {
                while !ended.load(Ordering::SeqCst) {
                    let number = calls.fetch_add(1, Ordering::SeqCst);
                    ingest(kept.clone(), number).await.unwrap();
                }
            })
        })
        .collect();
    ingest(revoked.clone(), 0).await.unwrap();

    // A broken file is refused, and all keys stay.
    tenants.text = "[tenants.shop".to_owned();
    tenants.write();
    served.logged("changed tenants file is refused");
    ingest(revoked.clone(), 0).await.unwrap();

    // Then one key less and another more.
    tenants.text = before;
    let added = tenants.key("shop", &["ingest"]);
    tenants.write();
    served.logged("tenants file reloaded");
    let status = ingest(revoked, 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let reply = ingest(added, 0).await.unwrap();
    // What is in memory has stayed: nothing changed for the tenant.
    assert!(reply.buffered_events > 0);
    let then = calls.load(Ordering::SeqCst);
    while calls.load(Ordering::SeqCst) < then + 100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ended.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(!served.seen.contains("panicked"), "{}", served.seen);
}

#[tokio::test]
async fn users_in_memory_outlive_an_exchange_of_their_tenants_ranking() {
    let mut tenants = Tenants::new(&["shop"]);
    tenants.add("ranking = \"shop.toml\"");
    let key = tenants.key("shop", &["admin"]);
    let ranking = tenants.folder.path().join("shop.toml");
    std::fs::write(&ranking, "default_limit = 3").unwrap();
    let mut served = tenants.serve(&[]);
    let mut users = RecommenderServiceClient::new(channel(&served).await);
    let headers = [("x-api-key", key.as_str())];
    let event = Some(named("e", liked("u", "2001")));
    let request = proto::IngestEventRequest { event };
    users.ingest_event(with(&headers, request)).await.unwrap();

    std::fs::write(&ranking, "default_limit = 4").unwrap();
    served.logged("tenants file reloaded");
    let request = proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    };
    let list = users.recommend(with(&headers, request)).await.unwrap();
    assert_eq!(list.into_inner().items.len(), 4);
    let request = proto::ExportUserRequest {
        user_id: "u".into(),
    };
    let export = users.export_user(with(&headers, request)).await.unwrap();
    assert_eq!(export.into_inner().events.len(), 1);
}

#[tokio::test]
async fn quotas_bound_calls_and_events_of_a_key_alone() {
    let mut tenants = Tenants::new(&["shop"]);
    let calls = tenants.key("shop", &["ingest"]);
    tenants.add("calls_per_second = 1\ncalls_burst = 3");
    let events = tenants.key("shop", &["ingest"]);
    tenants.add("events_per_second = 1\nevents_burst = 10");
    let free = tenants.key("shop", &["ingest"]);
    let served = tenants.serve(&[]);
    let mut users = RecommenderServiceClient::new(channel(&served).await);
    let mut send = async |key: &str, count: usize| {
        let events = (0..count).map(|_| liked("u", "2001")).collect();
        let headers = [("x-api-key", key)];
        let request = with(&headers, proto::BatchIngestEventsRequest { events });
        users.batch_ingest_events(request).await.map(|_| ())
    };
    let mut refused = 0;
    for _ in 0..20 {
        if let Err(status) = send(&calls, 1).await {
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::ResourceExhausted, "QUOTA_EXCEEDED")
            );
            let wait = status.get_details_retry_info().unwrap().retry_delay;
            assert!(wait.unwrap() <= Duration::from_secs(1), "{wait:?}");
            refused += 1;
        }
    }
    assert!(refused > 0);
    send(&events, 10).await.unwrap();
    let status = send(&events, 10).await.unwrap_err();
    assert_eq!(reason(&status), "QUOTA_EXCEEDED");
    // More than there ever is at once: waiting would not help.
    let status = send(&events, 11).await.unwrap_err();
    assert!(status.get_details_retry_info().is_none());
    assert!(status.message().contains("smaller batches"), "{status}");
    for _ in 0..20 {
        send(&free, 100).await.unwrap();
    }
}

#[tokio::test]
async fn without_a_tenants_file_only_this_machine_is_let_in_unless_told_otherwise() {
    let output = recsys(&["serve", "--listen-addr", "0.0.0.0:0"])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    for text in [
        "RECSYS_TENANTS_PATH",
        "--insecure-allow-unauthenticated",
        "keys new",
    ] {
        assert!(told.contains(text), "{text} is not in {told}");
    }
    let mut served = Served::start_at(
        &mut recsys(&["serve", "--insecure-allow-unauthenticated"]),
        "0.0.0.0:0",
    );
    served.logged("no tenants file");
    // A client that thinks there are tenants is not served as if there were one.
    let address = served.address.replace("0.0.0.0", "127.0.0.1");
    let channel = connect(address.parse().unwrap()).await;
    let mut users = RecommenderServiceClient::new(channel);
    let request = || proto::ExportUserRequest {
        user_id: "u".into(),
    };
    users.export_user(request()).await.unwrap();
    let status = users
        .export_user(with(&[("x-tenant-id", "shop")], request()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    // With keys, any address will do.
    let mut tenants = Tenants::new(&["shop"]);
    tenants.key("shop", &["admin"]);
    tenants.write();
    let mut command = recsys(&["serve"]);
    command.env("RECSYS_TENANTS_PATH", tenants.path());
    Served::start_at(&mut command, "0.0.0.0:0");
}

#[test]
fn a_wrong_tenants_file_or_key_is_refused_at_the_start() {
    let mut tenants = Tenants::new(&["shop"]);
    tenants.key("shop", &["ingest"]);
    tenants.add("roles = [\"ingest\"]");
    tenants.write();
    let mut command = recsys(&["serve", "--listen-addr", "127.0.0.1:0"]);
    let output = command
        .env("RECSYS_TENANTS_PATH", tenants.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("tenants.toml") && told.contains("line"),
        "{told}"
    );
    assert!(!told.contains("sha256:"), "{told}");
    for arguments in [
        &["keys", "new", "shop"][..],
        &["keys", "new", "Shop", "--role", "admin"],
        &["keys", "new", "evt", "--role", "admin"],
        &["keys", "new", "shop", "--role", "root"],
    ] {
        let output = recsys(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "a key was printed");
    }
}

#[tokio::test]
async fn a_stream_ends_when_keys_are_exchanged_and_is_judged_anew() {
    let mut tenants = Tenants::new(&["shop"]);
    tenants.key("shop", &["admin"]);
    let kept = tenants.text.clone();
    let taken = tenants.key("shop", &["ingest"]);
    let served = tenants.serve(&[]);
    let mut client = RecommenderServiceClient::new(channel(&served).await);
    let headers = [("x-api-key", taken.as_str())];
    let (batches, sending) = tokio::sync::mpsc::channel(1);
    let sending = tokio_stream::wrappers::ReceiverStream::new(sending);
    let opened = client.stream_ingest_events(with(&headers, sending)).await;
    let mut answers = opened.unwrap().into_inner();
    let batch = proto::StreamIngestEventsRequest {
        events: vec![named("e", liked("u", "2001"))],
        sequence: 1,
    };
    batches.send(batch).await.unwrap();
    answers.message().await.unwrap().unwrap();

    tenants.text = kept;
    tenants.write();
    let ended = answers.message().await.unwrap_err();
    assert_eq!(
        (ended.code(), reason(&ended).as_str()),
        (Code::Unavailable, "CONNECTION_ENDS")
    );
    let again = with(&headers, tokio_stream::empty());
    let refused = client.stream_ingest_events(again).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_batch_that_its_quota_holds_up_for_too_long_is_rejected_and_holds_no_memory() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["ingest"]);
    tenants.add("events_per_second = 1\nevents_burst = 100");
    let served = tenants.serve(&[("RECSYS_REQUEST_TIMEOUT", "1s")]);
    let mut client = RecommenderServiceClient::new(channel(&served).await);
    let headers = [("x-api-key", key.as_str())];
    let events = |number: usize| {
        let event = |index| named(&format!("{number}-{index}"), liked("u", "2001"));
        (0..100).map(event).collect()
    };
    let batches = (0..2).map(|number| proto::StreamIngestEventsRequest {
        events: events(number),
        sequence: number as u64,
    });
    let batches = tokio_stream::iter(batches.collect::<Vec<_>>());
    let opened = client.stream_ingest_events(with(&headers, batches)).await;
    let mut answers = opened.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap();
    assert!(first.results.iter().all(|result| result.error.is_none()));
    let second = answers.message().await.unwrap().unwrap();
    for result in second.results {
        assert_eq!(result.error.unwrap().reason, "QUOTA_EXCEEDED");
    }
    assert!(answers.message().await.unwrap().is_none());
}
