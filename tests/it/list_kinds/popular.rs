//! Popular items.

use recsys::{
    domain::{ranking_config::RankingConfig, time::Timestamp},
    proto::{
        ColdReason, EmptyReason, InteractionEvent, PopularItemsRequest, PopularItemsResponse,
        PopularityWindow, RecommendStrategy,
    },
};

use super::kinds::{ADA, Shop, tag};
use crate::support::server::{NOW, event};

async fn popular(shop: &Shop, request: PopularItemsRequest) -> PopularItemsResponse {
    let list = shop.server.recommender().popular_items(request).await;
    list.unwrap().into_inner()
}

fn ids(list: &PopularItemsResponse) -> Vec<&str> {
    let items = list.items.iter();
    items.map(|item| item.content_id.as_str()).collect()
}

/// Likes of an item by these users, days ago.
fn likes(users: std::ops::Range<usize>, item: &str, days: i64) -> Vec<InteractionEvent> {
    let now = Timestamp::parse_iso8601(NOW).unwrap().as_micros() / 1_000_000;
    let time = prost_types::Timestamp {
        seconds: now - 86_400 * days,
        nanos: 0,
    };
    users
        .map(|user| InteractionEvent {
            event_time: Some(time),
            ..event(&format!("u{user}"), "like", item)
        })
        .collect()
}

/// Four users liked `p01` six days ago, two liked `p02` today, one liked `p03` today.
async fn shop() -> Shop {
    let events = [
        likes(0..4, "p01", 6),
        likes(4..6, "p02", 0),
        likes(6..7, "p03", 0),
    ];
    let shop = Shop::with_events(RankingConfig::default(), events.concat()).await;
    shop.refresh().await;
    shop
}

#[tokio::test]
async fn items_are_ordered_by_popularity_within_the_window() {
    let shop = shop().await;
    let week = popular(&shop, PopularItemsRequest::default()).await;
    assert_eq!(ids(&week), ["p01", "p02", "p03"]);
    assert_eq!(week.items[0].score, 1.0);
    let expected = 0.5 / 0.5_f64.powf(6.0 / 7.0);
    assert!(
        (week.items[1].score - expected).abs() < 1e-3,
        "{}",
        week.items[1].score
    );
    assert!((week.items[2].score - expected / 2.0).abs() < 1e-3);
    assert_eq!(week.items[1].reason, "Popular this week");
    assert_eq!(week.strategy(), RecommendStrategy::Cold);
    let diagnostics = week.diagnostics.as_ref().unwrap();
    assert_eq!(diagnostics.cold_reason(), ColdReason::NoUser);
    assert_eq!(
        (diagnostics.pool_size, diagnostics.generators["popular"]),
        (3, 3)
    );

    let day = PopularItemsRequest {
        window: PopularityWindow::Trending.into(),
        ..PopularItemsRequest::default()
    };
    let day = popular(&shop, day).await;
    assert_eq!(ids(&day), ["p02", "p03", "p01"]);
    assert_eq!(day.items[0].score, 1.0);
    assert!((day.items[1].score - 0.5).abs() < 1e-3);
    assert_eq!(day.items[0].reason, "Trending today");
}

#[tokio::test]
async fn the_top_score_is_1_whatever_is_left_out() {
    let shop = shop().await;
    let request = PopularItemsRequest {
        exclude_ids: vec!["p01".into()],
        ..PopularItemsRequest::default()
    };
    let list = popular(&shop, request).await;
    assert_eq!(ids(&list), ["p02", "p03"]);
    assert_eq!(list.items[0].score, 1.0);
}

#[tokio::test]
async fn an_empty_list_is_never_a_sample_and_says_why() {
    let quiet = Shop::with_events(RankingConfig::default(), vec![event(ADA, "search", "")]).await;
    let list = popular(&quiet, PopularItemsRequest::default()).await;
    assert!(list.items.is_empty());
    let reason = |list: &PopularItemsResponse| list.diagnostics.as_ref().unwrap().reason();
    assert_eq!(reason(&list), EmptyReason::NoPopularity);

    let shop = shop().await;
    let lamps = PopularItemsRequest {
        must: vec![tag("category", "lamps")],
        ..PopularItemsRequest::default()
    };
    assert_eq!(
        reason(&popular(&shop, lamps).await),
        EmptyReason::NoPopularity
    );
    let excluded = PopularItemsRequest {
        exclude_ids: ["p01", "p02", "p03"].map(Into::into).into(),
        ..PopularItemsRequest::default()
    };
    assert_eq!(
        reason(&popular(&shop, excluded).await),
        EmptyReason::AllSeenOrExcluded
    );

    let mut config = RankingConfig::default();
    config.associations.enabled = false;
    let disabled = Shop::with_events(config, likes(0..4, "p01", 1)).await;
    let list = popular(&disabled, PopularItemsRequest::default()).await;
    assert_eq!(reason(&list), EmptyReason::NoPopularity);
}

#[tokio::test]
async fn what_the_user_met_is_hidden_and_shown_again_only_in_a_restricted_list() {
    let shop = shop().await;
    let of_user = PopularItemsRequest {
        user_id: "u0".into(),
        ..PopularItemsRequest::default()
    };
    assert_eq!(ids(&popular(&shop, of_user.clone()).await), ["p02", "p03"]);
    let restricted = PopularItemsRequest {
        must: vec![tag("color", "green")],
        ..of_user
    };
    let list = popular(&shop, restricted).await;
    assert_eq!(ids(&list), ["p01"]);
    assert!(list.diagnostics.unwrap().seen_fallback);
}

#[tokio::test]
async fn a_restriction_that_few_popular_items_meet_is_searched_to_the_end() {
    let events = (0..40).flat_map(|item| likes(0..44 - item, &format!("p{item:02}"), 1));
    let shop = Shop::with_events(RankingConfig::default(), events.collect()).await;
    shop.refresh().await;
    for (item, exclude) in (0..40).map(|item| (item, 40 - item)) {
        let request = PopularItemsRequest {
            exclude_ids: (0..item).map(|item| format!("p{item:02}")).collect(),
            limit: 100,
            ..PopularItemsRequest::default()
        };
        assert_eq!(popular(&shop, request).await.items.len(), exclude);
    }
    let last = PopularItemsRequest {
        near: Some(recsys::proto::GeoPoint {
            latitude: 52.039,
            longitude: 4.0,
        }),
        radius_meters: Some(50.0),
        limit: 1,
        ..PopularItemsRequest::default()
    };
    assert_eq!(ids(&popular(&shop, last).await), ["p39"]);
}
