//! A generated shop of 200 products and 300 visitors, with prices and stock, served by
//! lists of every kind.

use std::collections::{BTreeSet, HashMap};

use recsys::{
    domain::{event_member, item::Item, ranking_config::RankingConfig},
    edge::settings::ServerSettings,
    eval::world::{WorldSettings, generate},
    ports::Deadline,
    proto::{
        ColdReason, PopularItemsRequest, PopularityWindow, RecommendRequest, RecommendStrategy,
        RecommendedItem, SimilarItemsRequest,
    },
};
use serde_json::json;

use super::kinds::boost;
use crate::support::{MemoryWorld, server::TestServer};

struct GeneratedShop {
    server: TestServer,
    items: HashMap<String, Item>,
    users: Vec<String>,
    /// The items that each user chose, the latest last.
    chosen: HashMap<String, Vec<String>>,
}

fn stocked(index: usize, mut item: Item) -> Item {
    let price = (index * 37 % 200) as f64 + 0.99;
    item.attributes.insert("price".into(), json!(price));
    item.attributes
        .insert("in_stock".into(), json!(!index.is_multiple_of(7)));
    item
}

impl GeneratedShop {
    async fn open() -> Self {
        let world = generate(&WorldSettings::shop(7));
        let items = world.catalogue.into_iter().enumerate();
        let items: Vec<Item> = items.map(|(index, item)| stocked(index, item)).collect();
        let last = world.events.iter().map(|event| event.time).max().unwrap();
        let config = RankingConfig::default();
        let stores = MemoryWorld::new(&last.to_string(), &config, items.clone());
        let engine = stores.engine(config);
        let mut chosen: HashMap<String, Vec<String>> = HashMap::new();
        let mut events = world.events;
        events.sort_by_key(|event| event.time);
        for event in events {
            if let Some(item) = &event.content_id {
                let user = event.user_id.as_str().to_owned();
                chosen.entry(user).or_default().push(item.to_string());
            }
            let stored = event_member::encode(event).unwrap();
            engine.receive(stored, Deadline::NONE).await.unwrap();
        }
        engine.refresh_associations().await.unwrap();
        let mut users: Vec<String> = chosen.keys().cloned().collect();
        users.sort();
        Self {
            server: TestServer::serving(stores, engine, ServerSettings::default()).await,
            items: items
                .into_iter()
                .map(|item| (item.id.to_string(), item))
                .collect(),
            users,
            chosen,
        }
    }

    fn check(&self, listed: &[RecommendedItem], limit: usize, hidden: &[String]) {
        assert_eq!(listed.len(), limit);
        let ids: BTreeSet<&str> = listed.iter().map(|item| &*item.content_id).collect();
        assert_eq!(ids.len(), limit);
        for id in ids {
            assert!(self.items.contains_key(id), "{id}");
            assert!(!hidden.iter().any(|hidden| hidden == id), "{id}");
        }
        assert!(listed.iter().all(|item| !item.reason.is_empty()));
    }

    fn is_in_stock(&self, item: &RecommendedItem) -> bool {
        self.items[&item.content_id].attributes["in_stock"] == true
    }
}

#[tokio::test]
async fn a_generated_shop_is_served_by_every_kind_of_list() {
    let shop = GeneratedShop::open().await;
    assert_eq!(shop.items.len(), 200);
    assert!(shop.users.len() >= 250, "{}", shop.users.len());
    let mut client = shop.server.recommender();
    let in_stock = || vec![boost("in_stock = false", -2.0), boost("price > 150", -2.0)];

    // The home page of each visitor with a name.
    let mut warm = 0;
    for user in &shop.users {
        let home = RecommendRequest {
            user_id: user.clone(),
            boosts: in_stock(),
            exploration: Some(false),
            ..RecommendRequest::default()
        };
        let list = client.recommend(home).await.unwrap().into_inner();
        warm += usize::from(list.strategy() == RecommendStrategy::Warm);
        assert_eq!(list.diagnostics.unwrap().degraded, Vec::<String>::new());
        assert_eq!(list.items.len(), 10);
        let stocked = list.items.iter().filter(|item| shop.is_in_stock(item));
        assert!(stocked.count() >= 8, "{user}: {:?}", list.items);
    }
    assert!(
        warm > shop.users.len() / 2,
        "{warm} of {}",
        shop.users.len()
    );

    // The basket of a visitor without one.
    for user in &shop.users[..50] {
        let chosen = &shop.chosen[user];
        let basket = chosen[chosen.len().saturating_sub(3)..].to_vec();
        let request = RecommendRequest {
            context_ids: basket.clone(),
            ..RecommendRequest::default()
        };
        let list = client.recommend(request).await.unwrap().into_inner();
        assert_eq!(list.strategy(), RecommendStrategy::Warm);
        shop.check(&list.items, 10, &basket);
    }

    // The page of each product.
    let mut ids: Vec<&String> = shop.items.keys().collect();
    ids.sort();
    for id in ids {
        let request = SimilarItemsRequest {
            content_id: id.clone(),
            limit: 6,
            boosts: in_stock(),
            include_content: true,
            ..SimilarItemsRequest::default()
        };
        let list = client.similar_items(request).await.unwrap().into_inner();
        assert_eq!(list.strategy(), RecommendStrategy::Warm, "{id}");
        shop.check(&list.items, 6, std::slice::from_ref(id));
        assert!(list.items.iter().all(|item| item.content.is_some()));
    }

    // What is popular, and a home page for nobody.
    for window in [PopularityWindow::Popular, PopularityWindow::Trending] {
        let request = PopularItemsRequest {
            window: window.into(),
            limit: 20,
            ..PopularItemsRequest::default()
        };
        let list = client.popular_items(request).await.unwrap().into_inner();
        shop.check(&list.items, 20, &[]);
        assert_eq!(list.items[0].score, 1.0);
        assert!(list.items.is_sorted_by(|a, b| a.score >= b.score));
    }
    let nobody = RecommendRequest::default();
    let list = client.recommend(nobody).await.unwrap().into_inner();
    assert_eq!(list.diagnostics.unwrap().cold_reason(), ColdReason::NoUser);
    assert_eq!(list.items.len(), 10);
}

#[tokio::test]
async fn popular_products_have_neighbors_by_behavior() {
    let shop = GeneratedShop::open().await;
    let mut client = shop.server.recommender();
    let popular = client.popular_items(PopularItemsRequest::default()).await;
    for top in popular.unwrap().into_inner().items {
        let request = SimilarItemsRequest {
            content_id: top.content_id.clone(),
            basis: recsys::proto::SimilarItemsBasis::Behavior.into(),
            ..SimilarItemsRequest::default()
        };
        let list = client.similar_items(request).await.unwrap().into_inner();
        assert!(
            !list.diagnostics.unwrap().popular_fallback,
            "{}",
            top.content_id
        );
        for item in &list.items {
            assert_eq!(item.similar_because, top.content_id);
        }
    }
}
