//! The kinds of lists, with the options that all of them have.

use std::time::Duration;

use recsys::{
    domain::{item::Item, ranking_config::RankingConfig, time::Timestamp},
    edge::settings::ServerSettings,
    engine::Engine,
    ports::Clock as _,
    proto::{
        Boost, GeoPoint, InteractionEvent, PopularItemsRequest, PopularityWindow, RecommendRequest,
        RecommendResponse, SeenPolicy, SimilarItemsBasis, SimilarItemsRequest, TagFilter,
    },
};
use serde_json::{Map, json};
use tonic::Status;

use crate::support::{
    MemoryWorld,
    items::item,
    server::{NOW, TestServer, event},
};

/// A user of the shop who liked `p00`, `p01` and `p02`, in this order.
pub const ADA: &str = "ada";

/// What a list is made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    User,
    Visitor,
    UserWithContext,
    Nobody,
    Similar(SimilarItemsBasis),
    Popular(PopularityWindow),
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::User,
        Self::Visitor,
        Self::UserWithContext,
        Self::Nobody,
        Self::Similar(SimilarItemsBasis::Best),
        Self::Similar(SimilarItemsBasis::Behavior),
        Self::Similar(SimilarItemsBasis::Content),
        Self::Popular(PopularityWindow::Popular),
        Self::Popular(PopularityWindow::Trending),
    ];

    /// The items that it must never show: those at hand.
    pub fn at_hand(self) -> &'static [&'static str] {
        match self {
            Self::User | Self::Nobody | Self::Popular(_) => &[],
            Self::Visitor | Self::UserWithContext => &["p10", "p11"],
            Self::Similar(_) => &["p10"],
        }
    }

    /// The user of the plain list.
    pub fn user(self) -> &'static str {
        match self {
            Self::User | Self::UserWithContext => ADA,
            Self::Visitor | Self::Nobody | Self::Similar(_) | Self::Popular(_) => "",
        }
    }

    pub async fn list(
        self,
        server: &TestServer,
        options: &Options,
    ) -> Result<RecommendResponse, Status> {
        self.list_for(self.user(), server, options).await
    }

    /// With the user whose items it hides.
    pub async fn list_for(
        self,
        user: &str,
        server: &TestServer,
        options: &Options,
    ) -> Result<RecommendResponse, Status> {
        let given = options.clone();
        let mut client = server.recommender();
        let mut at_hand = self.at_hand().iter().map(|id| (*id).to_owned());
        match self {
            Self::User | Self::Visitor | Self::UserWithContext | Self::Nobody => {
                let request = RecommendRequest {
                    user_id: user.to_owned(),
                    context_ids: at_hand.collect(),
                    limit: given.limit,
                    filter: given.filter,
                    must: given.must,
                    must_not: given.must_not,
                    any_of: given.any_of,
                    r#where: given.r#where,
                    content_types: given.content_types,
                    near: given.near,
                    radius_meters: given.radius_meters,
                    include_content: given.include_content,
                    exclude_ids: given.exclude_ids,
                    seed: given.seed,
                    seen: given.seen.into(),
                    boosts: given.boosts,
                    placement: given.placement,
                    exploration: given.exploration,
                };
                Ok(client.recommend(request).await?.into_inner())
            }
            Self::Similar(basis) => {
                let request = SimilarItemsRequest {
                    content_id: at_hand.next_back().unwrap(),
                    basis: basis.into(),
                    user_id: user.to_owned(),
                    limit: given.limit,
                    filter: given.filter,
                    must: given.must,
                    must_not: given.must_not,
                    any_of: given.any_of,
                    r#where: given.r#where,
                    content_types: given.content_types,
                    near: given.near,
                    radius_meters: given.radius_meters,
                    include_content: given.include_content,
                    exclude_ids: given.exclude_ids,
                    seed: given.seed,
                    seen: given.seen.into(),
                    boosts: given.boosts,
                    placement: given.placement,
                };
                Ok(client.similar_items(request).await?.into_inner().into())
            }
            Self::Popular(window) => {
                let request = PopularItemsRequest {
                    window: window.into(),
                    user_id: user.to_owned(),
                    limit: given.limit,
                    filter: given.filter,
                    must: given.must,
                    must_not: given.must_not,
                    any_of: given.any_of,
                    r#where: given.r#where,
                    content_types: given.content_types,
                    near: given.near,
                    radius_meters: given.radius_meters,
                    include_content: given.include_content,
                    exclude_ids: given.exclude_ids,
                    seed: given.seed,
                    seen: given.seen.into(),
                    boosts: given.boosts,
                    placement: given.placement,
                };
                Ok(client.popular_items(request).await?.into_inner().into())
            }
        }
    }
}

/// The options that lists of all kinds have, and `exploration`.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub limit: u32,
    pub filter: String,
    pub must: Vec<TagFilter>,
    pub must_not: Vec<TagFilter>,
    pub any_of: Vec<TagFilter>,
    pub r#where: String,
    pub content_types: Vec<String>,
    pub near: Option<GeoPoint>,
    pub radius_meters: Option<f64>,
    pub include_content: bool,
    pub exclude_ids: Vec<String>,
    pub seed: Option<u32>,
    pub seen: SeenPolicy,
    pub boosts: Vec<Boost>,
    pub placement: String,
    /// Only lists for users, sessions and nobody have it.
    pub exploration: Option<bool>,
}

pub fn tag(facet: &str, label: &str) -> TagFilter {
    TagFilter {
        facet: facet.into(),
        label: label.into(),
    }
}

pub fn boost(filter: &str, weight: f64) -> Boost {
    Boost {
        r#where: filter.into(),
        weight,
    }
}

/// `p00` to `p39`: two categories, two types, four colors, prices, places on a line of
/// 111 m between neighbours, vectors on a half circle.
pub fn products() -> Vec<Item> {
    (0..40)
        .map(|index| {
            let angle = std::f32::consts::PI * index as f32 / 40.0;
            let category = if index < 20 { "clocks" } else { "lamps" };
            let color = ["red", "green", "blue", "white"][index % 4];
            let content_type = if index % 5 == 0 { "bundle" } else { "product" };
            let mut item = item(&format!("p{index:02}"))
                .vector(&[angle.cos(), angle.sin()])
                .tag("category", category, 1.0)
                .tag("color", color, 0.5)
                .of_type(content_type)
                .at(52.0 + index as f64 * 0.001, 4.0)
                .build();
            item.title = format!("Product {index}");
            item.attributes = Map::from_iter([("price".to_owned(), json!(index as f64 + 10.0))]);
            item
        })
        .collect()
}

/// Eight users who liked runs of neighbouring products, and [`ADA`].
pub fn likes() -> Vec<InteractionEvent> {
    let like = |user: &str, index: usize| event(user, "like", &format!("p{index:02}"));
    let mut events: Vec<InteractionEvent> = (0..8)
        .flat_map(|user| {
            let name = format!("u{user}");
            (2 + user / 2..24 - user).map(move |index| like(&name, index))
        })
        .collect();
    events.extend((0..3).map(|index| like(ADA, index)));
    events
}

/// A shop with products and with users, whose associations are built.
pub struct Shop {
    pub server: TestServer,
    pub engine: Engine,
}

impl Shop {
    pub async fn open() -> Self {
        Self::with_config(RankingConfig::default()).await
    }

    pub async fn with_config(config: RankingConfig) -> Self {
        let shop = Self::with_events(config, likes()).await;
        shop.refresh().await;
        shop
    }

    /// Events without a time are a minute apart, up to now.
    pub async fn with_events(config: RankingConfig, events: Vec<InteractionEvent>) -> Self {
        let world = MemoryWorld::new(NOW, &config, products());
        let engine = world.engine(config);
        Self::serving(world, engine, events).await
    }

    /// As above, by an engine over this world.
    pub async fn serving(
        world: MemoryWorld,
        engine: Engine,
        events: Vec<InteractionEvent>,
    ) -> Self {
        let server = TestServer::serving(world, engine.clone(), ServerSettings::default()).await;
        let now = Timestamp::parse_iso8601(NOW).unwrap();
        let count = events.len();
        let events = events.into_iter().enumerate().map(|(index, event)| {
            let seconds = now.as_micros() / 1_000_000 - 60 * (count - index) as i64;
            let time = prost_types::Timestamp { seconds, nanos: 0 };
            InteractionEvent {
                event_time: event.event_time.or(Some(time)),
                ..event
            }
        });
        server.batch(events.collect()).await.unwrap();
        Self { server, engine }
    }

    /// Builds the associations of what was ingested.
    pub async fn refresh(&self) {
        self.engine.refresh_associations().await.unwrap();
        let clock = &self.server.world.clock;
        clock.advance(Duration::from_secs(60));
        assert!(clock.now() > Timestamp::parse_iso8601(NOW).unwrap());
    }
}
