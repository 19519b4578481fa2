//! Items similar to one.

use recsys::{
    domain::ranking_config::RankingConfig,
    proto::{
        ColdReason, RecommendStrategy, SeenPolicy, SimilarItemsBasis, SimilarItemsRequest,
        SimilarItemsResponse,
    },
};

use super::kinds::{ADA, Shop, boost};
use crate::support::{items::item, server::event};

fn request(content_id: &str, basis: SimilarItemsBasis) -> SimilarItemsRequest {
    SimilarItemsRequest {
        content_id: content_id.into(),
        basis: basis.into(),
        ..SimilarItemsRequest::default()
    }
}

async fn similar(shop: &Shop, request: SimilarItemsRequest) -> SimilarItemsResponse {
    let list = shop.server.recommender().similar_items(request).await;
    list.unwrap().into_inner()
}

fn ids(list: &SimilarItemsResponse) -> Vec<&str> {
    let items = list.items.iter();
    items.map(|item| item.content_id.as_str()).collect()
}

fn falls_back(list: &SimilarItemsResponse) -> bool {
    list.diagnostics.as_ref().unwrap().popular_fallback
}

#[tokio::test]
async fn the_basis_decides_what_makes_items_similar() {
    let shop = Shop::open().await;
    let content = similar(&shop, request("p30", SimilarItemsBasis::Content)).await;
    assert_eq!(content.strategy(), RecommendStrategy::Warm);
    for id in ["p29", "p31"] {
        assert!(ids(&content).contains(&id), "{:?}", ids(&content));
    }
    assert_eq!(content.items[0].reason, "Shares lamps with “Product 30”");

    let behavior = similar(&shop, request("p10", SimilarItemsBasis::Behavior)).await;
    assert_eq!(behavior.items[0].similar_because, "p10");
    assert_eq!(
        behavior.items[0].reason,
        "Often chosen together with “Product 10”"
    );
    let generators = &behavior.diagnostics.as_ref().unwrap().generators;
    let names: Vec<&str> = generators.keys().map(String::as_str).collect();
    assert_eq!(names, ["collaborative"]);

    let best = similar(&shop, request("p10", SimilarItemsBasis::Best)).await;
    let unset = similar(&shop, request("p10", SimilarItemsBasis::Unspecified)).await;
    assert_eq!(best.items, unset.items);
    let generators = &best.diagnostics.as_ref().unwrap().generators;
    assert!(generators["collaborative"] > 0 && generators["taste"] > 0);
    assert!(!falls_back(&content) && !falls_back(&behavior) && !falls_back(&best));
}

#[tokio::test]
async fn the_likes_of_the_user_play_no_part() {
    let shop = Shop::open().await;
    for basis in [
        SimilarItemsBasis::Best,
        SimilarItemsBasis::Behavior,
        SimilarItemsBasis::Content,
    ] {
        let for_nobody = similar(&shop, request("p10", basis)).await;
        let for_ada = SimilarItemsRequest {
            user_id: ADA.into(),
            seen: SeenPolicy::Allow.into(),
            ..request("p10", basis)
        };
        let for_ada = similar(&shop, for_ada).await;
        assert_eq!(for_ada.items, for_nobody.items, "{basis:?}");
    }
}

#[tokio::test]
async fn nothing_is_similar_by_behavior_to_an_item_of_fewer_than_five_users() {
    let shop = Shop::open().await;
    // Four users chose `p03`.
    let few = similar(&shop, request("p03", SimilarItemsBasis::Behavior)).await;
    assert!(falls_back(&few));
    assert_eq!(few.strategy(), RecommendStrategy::Cold);
    let diagnostics = few.diagnostics.as_ref().unwrap();
    assert_eq!(
        diagnostics.cold_reason(),
        ColdReason::CatalogWithoutFeatures
    );
    assert_eq!(few.items.len(), 10);
    assert_eq!(few.items[0].reason, "Popular this week");
    assert_eq!(few.items[0].score, 1.0);
    assert!(!ids(&few).contains(&"p03"));

    let events = ["x", "y"].map(|user| event(user, "like", "p03"));
    shop.server.batch(events.into()).await.unwrap();
    shop.refresh().await;
    let enough = similar(&shop, request("p03", SimilarItemsBasis::Behavior)).await;
    assert!(!falls_back(&enough));
    assert!(
        enough
            .items
            .iter()
            .all(|item| item.similar_because == "p03")
    );
}

#[tokio::test]
async fn an_item_that_resembles_none_falls_back_to_popular_ones_or_else_a_sample() {
    let shop = Shop::open().await;
    shop.server.world.items.put(item("odd").build()).unwrap();
    let odd = similar(&shop, request("odd", SimilarItemsBasis::Best)).await;
    assert!(falls_back(&odd));
    assert_eq!(odd.items[0].reason, "Popular this week");
    let boosted = SimilarItemsRequest {
        boosts: vec![boost("id = \"p23\"", 2.0)],
        limit: 1,
        ..request("odd", SimilarItemsBasis::Best)
    };
    assert_eq!(ids(&similar(&shop, boosted).await), ["p23"]);
    let restricted = SimilarItemsRequest {
        filter: "purple".into(),
        ..request("odd", SimilarItemsBasis::Best)
    };
    let restricted = similar(&shop, restricted).await;
    assert!(restricted.items.is_empty() && !falls_back(&restricted));

    let quiet = Shop::with_events(RankingConfig::default(), vec![event(ADA, "search", "")]).await;
    quiet.server.world.items.put(item("odd").build()).unwrap();
    let sample = similar(&quiet, request("odd", SimilarItemsBasis::Best)).await;
    let diagnostics = sample.diagnostics.as_ref().unwrap();
    assert!(diagnostics.cold_start_fallback && !diagnostics.popular_fallback);
    assert_eq!(sample.items.len(), 10);
    assert!(!ids(&sample).contains(&"odd"));
}

#[tokio::test]
async fn a_list_is_shorter_rather_than_filled_with_items_that_are_not_similar() {
    let shop = Shop::open().await;
    let request = SimilarItemsRequest {
        exclude_ids: (6..40).map(|index| format!("p{index:02}")).collect(),
        ..request("p10", SimilarItemsBasis::Behavior)
    };
    let list = similar(&shop, request).await;
    let mut listed = ids(&list);
    listed.sort_unstable();
    assert_eq!(listed, ["p02", "p03", "p04", "p05"]);
}
