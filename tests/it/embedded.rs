//! Catalogues in memory, with several tenants.

use recsys::proto::{Item, UpsertItemsRequest, catalog_service_client::CatalogServiceClient};

use crate::support::tenants::{Tenants, channel, with_headers};

#[tokio::test]
async fn catalogues_of_all_tenants_share_one_memory_limit() {
    let mut tenants = Tenants::new(&["one", "other"]);
    let keys = [
        tenants.key("one", &["catalog"]),
        tenants.key("other", &["catalog"]),
    ];
    let served = tenants.serve(&[("EMBEDDED_CATALOG_MAX_BYTES", "4000000")]);
    let mut catalogue = CatalogServiceClient::new(channel(&served).await);
    let mut stored = 0;
    for key in &keys {
        // 4 MB for each.
        let items = (0..20).map(|index| Item {
            content_id: format!("large{index}"),
            text: "x".repeat(200_000),
            ..Item::default()
        });
        let items = items.collect();
        let request = with_headers(&[("x-api-key", key)], UpsertItemsRequest { items });
        let reply = catalogue.upsert_items(request).await.unwrap().into_inner();
        for result in reply.results {
            match result.error {
                None => stored += 1,
                Some(error) => assert_eq!(error.reason, "CATALOG_FULL"),
            }
        }
    }
    assert!((10..20).contains(&stored), "{stored} of 40 were stored");
}
