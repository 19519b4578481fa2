//! The sparse vector of tags: what is sent to Qdrant, and how changes of the collection
//! are noticed.

use std::collections::HashSet;

use qdrant_client::qdrant::{
    DeleteVectorNameRequest, FieldType, QueryBatchPoints, QueryPoints, StrictModeConfig,
    points_client::PointsClient,
};
use recsys::{
    adapters::qdrant::{QdrantItemStore, TagVectors},
    domain::{ids::ContentId, restriction::Restriction, tags::Canonicalizer},
    ports::{Deadline, Found, ItemStore, Search, SearchOrder},
    proto::RecommendStrategy,
};
use tonic::{Code, transport::Endpoint};

use super::{Shop, recommend_request};
use crate::support::{items::half_circle, server::liked};

const VECTOR: &str = "recsys_tags";

fn seen(count: usize) -> HashSet<ContentId> {
    let ids = (0..count).map(|index| format!("i{index:03}"));
    ids.map(|id| ContentId::from(id.as_str())).collect()
}

/// The ten best items by two tags, without these.
async fn best(store: &QdrantItemStore, exclude: &HashSet<ContentId>) -> Vec<String> {
    let open = Restriction::default();
    let nothing = HashSet::new();
    let tag = |key| Canonicalizer::default().key(key);
    let weights = vec![(tag("theme:sixth 1"), 1.0), (tag("theme:sixth 4"), 0.5)];
    let search = Search {
        order: SearchOrder::TagOverlap(weights),
        restriction: &open,
        exclude,
        exclude_afterwards: &nothing,
        limit: 10,
    };
    let found = store.search(&[search], Deadline::NONE).await.unwrap();
    match &found[..] {
        [Found::Items(items)] => items.iter().map(|item| item.id().to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

impl Shop {
    /// The last query of the last batch.
    fn last_query(&self) -> QueryPoints {
        let mut batches: Vec<QueryBatchPoints> = self.qdrant.requests("QueryBatch");
        batches.pop().unwrap().query_points.pop().unwrap()
    }
}

#[tokio::test]
async fn seen_items_are_dropped_from_a_longer_page_unless_there_are_very_many() {
    let shop = Shop::with(half_circle(3_000)).await;
    let store = shop.store();
    let query = async |count: usize| {
        let seen = seen(count);
        let found = best(&store, &seen).await;
        assert_eq!(found.len(), 10);
        assert!(
            found
                .iter()
                .all(|id| !seen.contains(&ContentId::from(id.as_str()))),
            "{found:?}"
        );
        shop.last_query()
    };
    let first = query(0).await;
    assert_eq!(first.using(), VECTOR);
    assert!(first.filter.is_none() && first.prefetch.is_empty());
    let page = first.limit();

    let dropped = query(2_000).await;
    assert!(dropped.filter.is_none());
    assert_eq!(dropped.limit(), page + 2_000);

    let excluded = query(2_100).await;
    assert_eq!(excluded.filter.unwrap().must_not.len(), 2, "keys and ids");
    assert_eq!(excluded.limit, Some(page));
    assert_eq!(shop.qdrant.calls("QueryBatch"), 3, "one each");
}

#[tokio::test]
async fn a_missing_index_disables_only_its_generator() {
    for strict in [false, true] {
        let shop = Shop::without_tag_vector(half_circle(60)).await;
        if strict {
            let mode = StrictModeConfig {
                enabled: Some(true),
                unindexed_filtering_retrieve: Some(false),
                ..StrictModeConfig::default()
            };
            shop.qdrant.strict(shop.collection(), mode);
        }
        shop.server.ingest(liked("u", "i001")).await.unwrap();
        let list = shop.list("u").await.unwrap();
        assert!(list.diagnostics.unwrap().degraded.is_empty());
        shop.qdrant.drop_index(shop.collection(), "tag_labels");
        // A new process notices at once; this one with the health check, or when
        // a query is refused.
        let uncached = shop.another().await;
        uncached.ingest(liked("u", "i001")).await.unwrap();
        let list = uncached.recommend(recommend_request("u")).await.unwrap();
        assert_eq!(list.diagnostics.unwrap().degraded, ["generator:tags"]);
        assert_eq!(list.items.len(), 10);
        if strict {
            let list = shop.list("u").await.unwrap();
            assert_eq!(list.diagnostics.unwrap().degraded, ["generator:tags"]);
        }
        shop.qdrant
            .create_index(shop.collection(), "tag_labels", FieldType::Keyword);
        let again = shop.another().await;
        again.ingest(liked("u", "i001")).await.unwrap();
        let list = again.recommend(recommend_request("u")).await.unwrap();
        assert!(list.diagnostics.unwrap().degraded.is_empty());
    }
}

#[tokio::test]
async fn lists_by_tags_need_no_payload_index() {
    let shop = Shop::with(half_circle(60)).await;
    shop.qdrant.drop_index(shop.collection(), "tag_labels");
    let other = shop.another().await;
    other.ingest(liked("u", "i001")).await.unwrap();
    let list = other.recommend(recommend_request("u")).await.unwrap();
    assert_eq!(list.strategy(), RecommendStrategy::Warm);
    assert!(list.diagnostics.unwrap().degraded.is_empty());
}

#[tokio::test]
async fn a_vector_that_is_added_or_removed_is_noticed_while_running() {
    let shop = Shop::without_tag_vector(half_circle(300)).await;
    let (running, importing) = (shop.store(), shop.store());
    let before = best(&running, &seen(0)).await;
    assert!(shop.last_query().using.is_none());
    let added = importing.add_tag_vectors().await.unwrap();
    assert!(matches!(added, TagVectors::Complete { added: 300 }));
    // As the health check does.
    running.check().await.unwrap();
    assert_eq!(best(&running, &seen(0)).await, before);
    assert_eq!(shop.last_query().using(), VECTOR);

    let channel = Endpoint::from_shared(shop.qdrant.url()).unwrap();
    let mut client = PointsClient::new(channel.connect().await.unwrap());
    let delete = DeleteVectorNameRequest {
        collection_name: shop.collection().to_owned(),
        vector_name: VECTOR.to_owned(),
        ..DeleteVectorNameRequest::default()
    };
    client.delete_vector_name(delete).await.unwrap();
    assert_eq!(
        best(&running, &seen(0)).await,
        before,
        "at once, by the error"
    );
    assert!(shop.last_query().using.is_none());
}

#[tokio::test]
async fn a_server_that_cannot_add_the_vector_is_used_without() {
    for code in [
        Code::Unimplemented,
        Code::InvalidArgument,
        Code::PermissionDenied,
    ] {
        let shop = Shop::without_tag_vector(half_circle(30)).await;
        shop.qdrant.fail_rpc("CreateVectorName", code, "");
        let store = shop.store();
        let added = store.add_tag_vectors().await.unwrap();
        assert!(matches!(added, TagVectors::Refused(_)), "{added:?}");
        assert_eq!(best(&store, &seen(0)).await.len(), 10);
    }
}
