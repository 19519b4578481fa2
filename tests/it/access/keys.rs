//! Keys and roles: which calls they allow.

use recsys::{
    edge::tenants::Role,
    proto::{
        self, catalog_service_client::CatalogServiceClient,
        recommender_service_client::RecommenderServiceClient,
    },
};
use tonic::{Code, Request, Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    server::{liked, named, reason},
    tenants::{Tenants, bearer, channel, with_headers},
};

/// Makes every call with these headers. Returns each call's name and result.
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
                .ingest_event(with_headers(
                    headers,
                    proto::IngestEventRequest { event: event() },
                ))
                .await
                .map(|_| ()),
        ),
        (
            "StreamIngestEvents",
            users
                .stream_ingest_events(with_headers(headers, tokio_stream::empty()))
                .await
                .map(drop),
        ),
        (
            "BatchIngestEvents",
            users
                .batch_ingest_events(with_headers(
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
                .get_user_signals(with_headers(
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
                .recommend(with_headers(
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
                .export_user(with_headers(
                    headers,
                    proto::ExportUserRequest { user_id: user_id() },
                ))
                .await
                .map(|_| ()),
        ),
        (
            "UpsertItems",
            items
                .upsert_items(with_headers(
                    headers,
                    proto::UpsertItemsRequest { items: vec![item] },
                ))
                .await
                .map(|_| ()),
        ),
        (
            "GetItems",
            items
                .get_items(with_headers(
                    headers,
                    proto::GetItemsRequest {
                        content_ids: vec!["new".to_owned()],
                    },
                ))
                .await
                .map(|_| ()),
        ),
        (
            "UpdateItems",
            items
                .update_items(with_headers(headers, proto::UpdateItemsRequest::default()))
                .await
                .map(|_| ()),
        ),
        (
            "ListItems",
            items
                .list_items(with_headers(headers, proto::ListItemsRequest::default()))
                .await
                .map(|_| ()),
        ),
        (
            "DeleteItems",
            items
                .delete_items(with_headers(
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
                .delete_user(with_headers(
                    headers,
                    proto::DeleteUserRequest { user_id: user_id() },
                ))
                .await
                .map(|_| ()),
        ),
        (
            "MergeUsers",
            users
                .merge_users(with_headers(
                    headers,
                    proto::MergeUsersRequest {
                        from_user_id: "visitor".to_owned(),
                        into_user_id: user_id(),
                    },
                ))
                .await
                .map(|_| ()),
        ),
    ]
}

/// The calls that a role allows.
fn allowed(role: Role) -> &'static [&'static str] {
    match role {
        Role::Ingest => &["IngestEvent", "StreamIngestEvents", "BatchIngestEvents"],
        Role::Serve => &["Recommend", "GetItems", "ListItems"],
        Role::ReadProfile => &["GetUserSignals", "ExportUser"],
        Role::Catalog => &[
            "UpsertItems",
            "GetItems",
            "UpdateItems",
            "ListItems",
            "DeleteItems",
        ],
        Role::Erase => &["DeleteUser"],
        Role::Merge => &["MergeUsers"],
        Role::Admin => &[
            "IngestEvent",
            "StreamIngestEvents",
            "BatchIngestEvents",
            "GetUserSignals",
            "Recommend",
            "ExportUser",
            "UpsertItems",
            "GetItems",
            "UpdateItems",
            "ListItems",
            "DeleteItems",
            "DeleteUser",
            "MergeUsers",
        ],
    }
}

#[tokio::test]
async fn each_role_allows_its_calls_and_no_others() {
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
            for (call, result) in every_call(&channel, &headers).await {
                if allowed(role).contains(&call) {
                    assert!(result.is_ok(), "{role} may not {call}: {result:?}");
                    continue;
                }
                let status = result.unwrap_err();
                assert_eq!(status.code(), Code::PermissionDenied, "{role} {call}");
                assert_eq!(reason(&status), "ROLE_MISSING");
            }
        }
    }
}

#[tokio::test]
async fn without_a_valid_key_only_health_and_reflection_are_served() {
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
        // Two different keys.
        &[("authorization", &good), ("x-api-key", &guessed)],
    ];
    for headers in wrong {
        for (call, result) in every_call(&channel, headers).await {
            let status = result.unwrap_err();
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
    for (call, result) in every_call(&channel, &[("authorization", &good)]).await {
        assert!(result.is_ok(), "{call}: {result:?}");
    }
    // An unknown path is not reported as such to a caller without a key.
    let client = tonic::client::Grpc::new(channel.clone());
    for (headers, code) in [
        (&[][..], Code::Unauthenticated),
        (&[("x-api-key", key.as_str())][..], Code::Unimplemented),
    ] {
        let mut client = client.clone();
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/recsys.v1.RecommenderService/Nothing");
        let codec =
            tonic_prost::ProstCodec::<proto::GetItemsRequest, proto::GetItemsResponse>::default();
        let request = with_headers(headers, proto::GetItemsRequest::default());
        let status = client.unary(request, path, codec).await.unwrap_err();
        assert_eq!(status.code(), code);
    }
}

#[tokio::test]
async fn a_header_repeated_with_different_values_is_refused() {
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
    // Equal values count as one.
    recommend(&[key, key, ("x-tenant-id", "shop"), ("x-tenant-id", "shop")])
        .await
        .unwrap();
}

#[tokio::test]
async fn oversized_headers_are_refused_and_other_callers_are_served() {
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
        assert!(
            users
                .recommend(with_headers(headers, request()))
                .await
                .is_err()
        );
    }
    let mut users = RecommenderServiceClient::new(channel(&served).await);
    let headers = [("x-api-key", &*key)];
    users
        .recommend(with_headers(&headers, request()))
        .await
        .unwrap();
}
