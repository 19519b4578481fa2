//! Pages of the list of all items.

use recsys::{
    api::limits::Limits,
    domain::item::Item,
    proto::{self, catalog_service_client::CatalogServiceClient},
};
use tonic::{Code, Status, transport::Channel};

use super::updates::shop;
use crate::support::{
    items::{half_circle, item},
    server::{TestServer, fields, reason},
    tenants::{Tenants, channel, with_headers},
};

async fn page(
    server: &TestServer,
    request: proto::ListItemsRequest,
) -> Result<proto::ListItemsResponse, Status> {
    let mut items = server.catalog().max_decoding_message_size(16 << 20);
    let reply = items.list_items(request).await?;
    Ok(reply.into_inner())
}

fn ids(page: &proto::ListItemsResponse) -> Vec<&str> {
    let items = page.items.iter();
    items.map(|item| item.content_id.as_str()).collect()
}

/// All pages of a list.
async fn pages(
    server: &TestServer,
    request: proto::ListItemsRequest,
) -> Vec<proto::ListItemsResponse> {
    let mut pages = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListItemsRequest {
            page_token,
            ..request.clone()
        };
        let read = page(server, request).await.unwrap();
        page_token = read.next_page_token.clone();
        pages.push(read);
        if page_token.is_empty() {
            return pages;
        }
    }
}

#[tokio::test]
async fn pages_have_all_items_with_a_total_and_vectors_only_if_requested() {
    let server = TestServer::with_items(half_circle(250)).await;
    let every = pages(&server, proto::ListItemsRequest::default()).await;
    let sizes: Vec<usize> = every.iter().map(|page| page.items.len()).collect();
    assert_eq!(sizes, [100, 100, 50], "the default is 100");
    assert!(
        every
            .iter()
            .all(|page| page.total_items == 250 && !page.total_is_estimate)
    );
    let listed: Vec<&str> = every.iter().flat_map(ids).collect();
    let expected: Vec<String> = (0..250).map(|index| format!("i{index:03}")).collect();
    assert_eq!(listed, expected);
    let items = every.iter().flat_map(|page| &page.items);
    assert!(
        items
            .clone()
            .all(|item| item.vector.is_empty() && !item.tags.is_empty())
    );

    let request = proto::ListItemsRequest {
        page_size: 500,
        include_vectors: true,
        ..Default::default()
    };
    let whole = page(&server, request).await.unwrap();
    assert_eq!(whole.items.len(), 250);
    assert_eq!(whole.next_page_token, "", "it is the last page");
    assert!(whole.items.iter().all(|item| item.vector.len() == 2));
}

#[tokio::test]
async fn pages_of_a_filter_have_its_items_and_their_number() {
    let server = TestServer::with_items(shop()).await;
    let request = proto::ListItemsRequest {
        page_size: 3,
        r#where: "price < 107 AND tags.theme:*".to_owned(),
        ..Default::default()
    };
    let every = pages(&server, request).await;
    let listed: Vec<Vec<&str>> = every.iter().map(ids).collect();
    let expected = [
        vec!["i000", "i001", "i002"],
        vec!["i003", "i004", "i005"],
        vec!["i006"],
    ];
    assert_eq!(listed, expected);
    assert!(every.iter().all(|page| page.total_items == 7));
    let nothing = proto::ListItemsRequest {
        r#where: "price < 0".to_owned(),
        ..Default::default()
    };
    let nothing = page(&server, nothing).await.unwrap();
    assert_eq!(nothing, proto::ListItemsResponse::default());
}

#[tokio::test]
async fn a_token_is_only_for_the_list_that_it_comes_from() {
    let server = TestServer::with_items(shop()).await;
    let request = |r#where: &str, page_token: &str| proto::ListItemsRequest {
        page_size: 2,
        page_token: page_token.to_owned(),
        r#where: r#where.to_owned(),
        ..Default::default()
    };
    let filter = "price < 107";
    let open = page(&server, request("", ""))
        .await
        .unwrap()
        .next_page_token;
    let filtered = page(&server, request(filter, ""))
        .await
        .unwrap()
        .next_page_token;
    // Another size is no other list.
    let larger = proto::ListItemsRequest {
        page_size: 4,
        ..request(filter, &filtered)
    };
    assert_eq!(
        ids(&page(&server, larger).await.unwrap()),
        ["i002", "i003", "i004", "i005"]
    );
    let mut damaged = filtered.clone();
    damaged.replace_range(..1, if damaged.starts_with('A') { "B" } else { "A" });
    for (filter, token) in [
        (filter, &*open),
        ("", &*filtered),
        ("price < 108", &*filtered),
        (filter, &*damaged),
        (filter, &filtered[..filtered.len() - 2]),
        ("", "i003"),
        ("", "AAAAAAAAAAAA"),
        ("", "🙂"),
        ("", " "),
        ("", &*"A".repeat(100_000)),
    ] {
        let error = page(&server, request(filter, token)).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{token}");
        assert_eq!(fields(&error), ["page_token"]);
        assert_eq!(reason(&error), "INVALID_FIELD");
        assert!(
            error.message().contains("is not a token of this list"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn every_mistake_is_named_at_once() {
    let server = TestServer::with_items(shop()).await;
    for page_size in [501, u32::MAX] {
        let request = proto::ListItemsRequest {
            page_size,
            page_token: "x".to_owned(),
            r#where: "price <".to_owned(),
            ..Default::default()
        };
        let error = page(&server, request).await.unwrap_err();
        assert_eq!(fields(&error), ["page_size", "where", "page_token"]);
        assert!(
            error
                .message()
                .contains("must be 1 to 500, or 0 for the default")
        );
    }
    let most = proto::ListItemsRequest {
        page_size: 500,
        ..Default::default()
    };
    assert_eq!(page(&server, most).await.unwrap().items.len(), 10);
}

/// Items whose texts take 16 MiB together a little earlier than after 70 of them.
#[tokio::test]
async fn a_page_ends_before_its_items_take_too_much() {
    let large = |index: usize| -> Item {
        let mut large = item(&format!("i{index:03}")).build();
        large.text = "x".repeat(250 << 10);
        large
    };
    let server = TestServer::with_items((0..100).map(large).collect()).await;
    let request = proto::ListItemsRequest {
        page_size: 500,
        ..Default::default()
    };
    let every = pages(&server, request).await;
    assert!(every.len() >= 2, "{}", every.len());
    assert!(every[0].items.len() > 10, "{}", every[0].items.len());
    let listed: Vec<&str> = every.iter().flat_map(ids).collect();
    let expected: Vec<String> = (0..100).map(|index| format!("i{index:03}")).collect();
    assert_eq!(listed, expected);
    assert!(every.iter().all(|page| page.total_items == 100));
}

#[tokio::test]
async fn limits_of_items_bound_updates_and_pages() {
    let limits = Limits {
        max_catalog_items: 5,
        ..Limits::default()
    };
    let server = TestServer::with_limits(half_circle(20), limits).await;
    let default = page(&server, proto::ListItemsRequest::default())
        .await
        .unwrap();
    assert_eq!(default.items.len(), 5);
    let six = proto::ListItemsRequest {
        page_size: 6,
        ..Default::default()
    };
    let error = page(&server, six).await.unwrap_err();
    assert_eq!(fields(&error), ["page_size"]);
    let request = proto::UpdateItemsRequest {
        updates: vec![proto::ItemUpdate::default(); 6],
    };
    let error = server.catalog().update_items(request).await.unwrap_err();
    assert_eq!(fields(&error), ["updates"]);
}

async fn of_tenant(
    channel: &Channel,
    key: &str,
    request: proto::ListItemsRequest,
) -> Result<proto::ListItemsResponse, Status> {
    let mut items = CatalogServiceClient::new(channel.clone());
    let headers = [("x-api-key", key)];
    let reply = items.list_items(with_headers(&headers, request)).await?;
    Ok(reply.into_inner())
}

#[tokio::test]
async fn a_tenant_lists_and_updates_its_own_items_alone() {
    let mut tenants = Tenants::new(&["shop", "museum"]);
    let ours = tenants.key("shop", &["catalog"]);
    let theirs = tenants.key("museum", &["catalog"]);
    let served = tenants.serve(&[]);
    let channel = channel(&served).await;
    let mut items = CatalogServiceClient::new(channel.clone());
    let named = |id: &str| proto::Item {
        content_id: id.to_owned(),
        title: "xyzzy".to_owned(),
        ..Default::default()
    };
    let upsert = proto::UpsertItemsRequest {
        items: ["xyzzy-1", "xyzzy-2", "xyzzy-3"].map(named).into(),
    };
    let headers = [("x-api-key", ours.as_str())];
    items
        .upsert_items(with_headers(&headers, upsert))
        .await
        .unwrap();
    let request = |page_token: &str| proto::ListItemsRequest {
        page_size: 500,
        page_token: page_token.to_owned(),
        r#where: "id:*".to_owned(),
        ..Default::default()
    };
    let mine = of_tenant(&channel, &ours, request("")).await.unwrap();
    let found: Vec<&str> = ids(&mine)
        .into_iter()
        .filter(|id| id.starts_with("xyzzy"))
        .collect();
    assert_eq!(found, ["xyzzy-1", "xyzzy-2", "xyzzy-3"]);
    let others = of_tenant(&channel, &theirs, request("")).await.unwrap();
    assert!(!format!("{others:?}").contains("xyzzy"));

    let changed = proto::ItemUpdate {
        item: Some(proto::Item {
            title: "theirs".to_owned(),
            ..named("xyzzy-1")
        }),
        update_mask: None,
    };
    let update = proto::UpdateItemsRequest {
        updates: vec![changed],
    };
    let headers = [("x-api-key", theirs.as_str())];
    let reply = items
        .update_items(with_headers(&headers, update))
        .await
        .unwrap();
    let outcome = reply.into_inner().results[0].outcome();
    assert_eq!(outcome, proto::ItemOutcome::NotFound);

    let one = proto::ListItemsRequest {
        page_size: 1,
        ..request("")
    };
    let token = of_tenant(&channel, &ours, one)
        .await
        .unwrap()
        .next_page_token;
    of_tenant(&channel, &ours, request(&token)).await.unwrap();
    let error = of_tenant(&channel, &theirs, request(&token))
        .await
        .unwrap_err();
    assert_eq!(fields(&error), ["page_token"]);
}
