//! Lists for the items at hand, with and without a user, and for nobody.

use recsys::{
    domain::ranking_config::RankingConfig,
    proto::{ColdReason, RecommendRequest, RecommendResponse, RecommendStrategy, SignalsSource},
};

use super::kinds::{ADA, Shop};
use crate::support::server::{event, ids};

fn request(user: &str, at_hand: &[&str]) -> RecommendRequest {
    RecommendRequest {
        user_id: user.into(),
        context_ids: at_hand.iter().map(ToString::to_string).collect(),
        exploration: Some(false),
        seed: Some(1),
        ..RecommendRequest::default()
    }
}

async fn list(shop: &Shop, user: &str, at_hand: &[&str]) -> RecommendResponse {
    shop.server.recommend(request(user, at_hand)).await.unwrap()
}

fn cold_reason(list: &RecommendResponse) -> ColdReason {
    list.diagnostics.as_ref().unwrap().cold_reason()
}

#[tokio::test]
async fn a_visitor_gets_a_warm_list_from_the_items_at_hand() {
    let shop = Shop::open().await;
    let visitor = list(&shop, "", &["p12", "p13"]).await;
    assert_eq!(visitor.strategy(), RecommendStrategy::Warm);
    assert_eq!(cold_reason(&visitor), ColdReason::Unspecified);
    let diagnostics = visitor.diagnostics.as_ref().unwrap();
    assert_eq!(diagnostics.signals_source(), SignalsSource::Empty);
    assert!(diagnostics.generators["collaborative"] > 0);
    let first = &visitor.items[0];
    assert_eq!(first.reason, "Often chosen together with “Product 13”");
    assert_eq!(first.similar_because, "p13");
    // The vectors of `p12` and `p13` lie between those of their neighbours.
    for id in ["p11", "p14"] {
        assert!(ids(&visitor)[..4].contains(&id), "{:?}", ids(&visitor));
    }

    let lamps = list(&shop, "", &["p38"]).await;
    let first = &lamps.items[0];
    assert_eq!(first.similar_to, "p38");
    assert_eq!(
        first.reason,
        "Because you looked at Lamps".replace("Lamps", "lamps")
    );
}

#[tokio::test]
async fn the_latest_item_at_hand_counts_most_and_a_repeated_one_once() {
    let shop = Shop::open().await;
    let far = ["p05", "p22"];
    let forward = list(&shop, "", &far).await;
    let backward = list(&shop, "", &["p22", "p05"]).await;
    assert_eq!(forward.items[0].similar_because, "p22");
    assert_eq!(backward.items[0].similar_because, "p05");
    let repeated = list(&shop, "", &["p22", "p05", "p22", "p22"]).await;
    assert_eq!(repeated.items, forward.items);
}

#[tokio::test]
async fn what_is_stored_of_a_user_counts_beside_the_items_at_hand() {
    let shop = Shop::open().await;
    let all = async |user: &str, at_hand: &[&str]| {
        let request = RecommendRequest {
            limit: 100,
            ..request(user, at_hand)
        };
        shop.server.recommend(request).await.unwrap()
    };
    let stored = all(ADA, &[]).await;
    let visitor = all("", &["p30"]).await;
    let both = all(ADA, &["p30"]).await;
    let part = |list: &RecommendResponse, id: &str, part: &str| {
        let item = list.items.iter().find(|item| item.content_id == id);
        item.map(|item| item.breakdown[part])
    };
    for id in ids(&both) {
        assert!(!["p00", "p01", "p02", "p30"].contains(&id), "{id}");
    }
    // `p31` resembles what is at hand, `p03` what is stored.
    for (id, other) in [("p31", &stored), ("p03", &visitor)] {
        for name in ["semantic", "tag", "affinity"] {
            let (beside, without) = (part(&both, id, name), part(other, id, name));
            assert!(beside.unwrap() > without.unwrap(), "{id}, {name}");
        }
    }
    let (alone, beside) = (
        part(&visitor, "p31", "semantic"),
        part(&both, "p31", "semantic"),
    );
    assert!(beside.unwrap() < alone.unwrap());
    assert_eq!(
        part(&both, "p31", "recency"),
        part(&visitor, "p31", "recency")
    );
}

#[tokio::test]
async fn items_at_hand_that_the_catalogue_lacks_are_ignored_and_named() {
    let shop = Shop::open().await;
    let known = list(&shop, "", &["p12"]).await;
    let some = list(&shop, "", &["gone", "p12", "lost"]).await;
    assert_eq!(some.items, known.items);
    let unknown = |list: &RecommendResponse| {
        list.diagnostics
            .as_ref()
            .unwrap()
            .unknown_context_ids
            .clone()
    };
    assert_eq!(unknown(&known), Vec::<String>::new());
    assert_eq!(unknown(&some), ["lost", "gone"]);

    let none = list(&shop, "", &["gone"]).await;
    assert_eq!(none.strategy(), RecommendStrategy::Cold);
    assert_eq!(cold_reason(&none), ColdReason::NoUser);
    assert_eq!(unknown(&none), ["gone"]);
    assert_eq!(none.items, list(&shop, "", &[]).await.items);
    let stranger = list(&shop, "stranger", &["gone"]).await;
    assert_eq!(cold_reason(&stranger), ColdReason::UnknownUser);
}

#[tokio::test]
async fn an_item_at_hand_is_not_shown_even_if_nothing_else_is_left() {
    let shop = Shop::open().await;
    let request = RecommendRequest {
        user_id: ADA.into(),
        context_ids: vec!["p00".into()],
        near: Some(recsys::proto::GeoPoint {
            latitude: 52.0,
            longitude: 4.0,
        }),
        radius_meters: Some(150.0),
        ..RecommendRequest::default()
    };
    let list = shop.server.recommend(request).await.unwrap();
    assert_eq!(ids(&list), ["p01"]);
    assert!(list.diagnostics.unwrap().seen_fallback);
}

#[tokio::test]
async fn a_list_for_nobody_has_popular_items_and_without_popularity_a_sample() {
    let shop = Shop::open().await;
    let nobody = list(&shop, "", &[]).await;
    assert_eq!(nobody.strategy(), RecommendStrategy::Cold);
    assert_eq!(cold_reason(&nobody), ColdReason::NoUser);
    assert_eq!(nobody.items.len(), 10);
    let diagnostics = nobody.diagnostics.as_ref().unwrap();
    assert!(!diagnostics.cold_start_fallback);
    assert_eq!(nobody.items[0].reason, "Popular this week");

    let quiet = Shop::with_events(RankingConfig::default(), vec![event(ADA, "search", "")]).await;
    let sample = list(&quiet, "", &[]).await;
    assert_eq!(sample.items.len(), 10);
    assert_eq!(cold_reason(&sample), ColdReason::NoUser);
    let diagnostics = sample.diagnostics.as_ref().unwrap();
    assert!(diagnostics.cold_start_fallback);
    assert_eq!(list(&quiet, "", &[]).await.items, sample.items);
}
