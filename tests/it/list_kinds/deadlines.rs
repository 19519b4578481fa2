//! Lists of every kind while a store does not answer in time.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use recsys::{
    domain::{
        ids::{ContentId, UserId},
        ranking_config::RankingConfig,
    },
    edge::settings::ServerSettings,
    engine::{
        ColdReason, Deadlines, Degradation, EmptyReason, EngineError, ListKind, ListRequest,
        PopularityWindow, Recommendation, SimilarityBasis, Strategy,
    },
    ports::Deadline,
    proto,
};
use tonic::Code;

use super::kinds::{ADA, Kind, Options, Shop, likes, products};
use crate::support::{
    MemoryWorld,
    hanging::Hanging,
    server::{NOW, TestServer, reason},
};

/// Only to end a test that hangs.
const LONG: Duration = Duration::from_secs(60);
/// The interval of associations, after which cached ones are read again.
const INTERVAL: Duration = Duration::from_secs(31);

impl Kind {
    fn request(self, user: &str) -> ListRequest {
        let at_hand = self.at_hand().iter().map(|id| ContentId::from(*id));
        let mut at_hand: Vec<ContentId> = at_hand.collect();
        let kind = match self {
            Self::User | Self::Visitor | Self::UserWithContext | Self::Nobody => {
                ListKind::ForUser { context: at_hand }
            }
            Self::Similar(basis) => ListKind::SimilarTo {
                item: at_hand.pop().unwrap(),
                basis: match basis {
                    proto::SimilarItemsBasis::Unspecified | proto::SimilarItemsBasis::Best => {
                        SimilarityBasis::Best
                    }
                    proto::SimilarItemsBasis::Behavior => SimilarityBasis::Behavior,
                    proto::SimilarItemsBasis::Content => SimilarityBasis::Content,
                },
            },
            Self::Popular(window) => ListKind::MostPopular {
                window: match window {
                    proto::PopularityWindow::Unspecified | proto::PopularityWindow::Popular => {
                        PopularityWindow::Popular
                    }
                    proto::PopularityWindow::Trending => PopularityWindow::Trending,
                },
            },
        };
        ListRequest {
            user: (!user.is_empty()).then(|| UserId::parse(user).unwrap()),
            exploration: Some(false),
            seed: Some(1),
            ..ListRequest::new(kind, 10)
        }
    }
}

/// A shop whose stores can be made to hang.
struct HangingShop {
    stores: Arc<Hanging>,
    shop: Shop,
}

impl HangingShop {
    async fn open() -> Self {
        let config = RankingConfig::default();
        let world = MemoryWorld::new(NOW, &config, products());
        let stores = Hanging::new(world.ports.clone());
        let engine = stores.engine(config);
        let shop = Shop::serving(world, engine, likes()).await;
        shop.refresh().await;
        Self { stores, shop }
    }

    /// The lists of all kinds, made at once, in the order of [`Kind::ALL`].
    async fn lists(
        &self,
        user: impl Fn(Kind) -> &'static str,
        deadlines: Deadlines,
    ) -> Vec<(Kind, Result<Recommendation, EngineError>)> {
        let engine = &self.shop.engine;
        let lists = Kind::ALL.map(|kind| {
            let request = kind.request(user(kind));
            async move {
                let list = engine.list(&request, deadlines);
                let list = tokio::time::timeout(LONG, list).await;
                (kind, list.expect("it hangs"))
            }
        });
        join_all(lists).await
    }

    async fn whole_lists(&self) -> Vec<(Kind, Recommendation)> {
        let lists = self.lists(Kind::user, Deadlines::UNLIMITED).await;
        let lists = lists.into_iter();
        lists.map(|(kind, list)| (kind, list.unwrap())).collect()
    }
}

fn within(time: Duration) -> Deadline {
    Deadline::at(Instant::now() + time)
}

/// Long enough for the reads that do not hang, on any machine.
fn model_within_seconds() -> Deadlines {
    Deadlines {
        model: within(Duration::from_secs(2)),
        ..Deadlines::UNLIMITED
    }
}

fn ids(list: &Recommendation) -> Vec<&str> {
    let items = list.items.iter();
    items.map(|item| item.scored.item.id().as_str()).collect()
}

#[tokio::test]
async fn no_kind_of_list_waits_for_items_longer_than_its_deadline() {
    let HangingShop { stores, shop } = HangingShop::open().await;
    let hanging = HangingShop { stores, shop };
    hanging.stores.items.store(true, Ordering::SeqCst);
    let deadlines = Deadlines {
        items: within(Duration::from_millis(50)),
        ..Deadlines::UNLIMITED
    };
    for (kind, list) in hanging.lists(Kind::user, deadlines).await {
        let failed = list.map(|list| list.items.len()).unwrap_err();
        assert!(
            matches!(failed, EngineError::TimedOut),
            "{kind:?}: {failed}"
        );
    }

    let (world, engine) = (
        hanging.shop.server.world.clone(),
        hanging.shop.engine.clone(),
    );
    let settings = ServerSettings {
        request_timeout: Duration::from_secs(1),
        ..ServerSettings::default()
    };
    let server = TestServer::serving(world, engine, settings).await;
    let options = Options::default();
    let calls = Kind::ALL.map(|kind| kind.list(&server, &options));
    for (kind, list) in Kind::ALL.iter().zip(join_all(calls).await) {
        let status = list.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{kind:?}: {status}");
        assert_eq!(reason(&status), "DEADLINE_EXCEEDED", "{kind:?}");
    }
    hanging.stores.items.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn a_list_of_every_kind_is_made_without_a_model_that_does_not_come_in_time() {
    let hanging = HangingShop::open().await;
    let whole = hanging.whole_lists().await;
    hanging.stores.state.store(true, Ordering::SeqCst);
    let soon = || Deadlines {
        model: within(Duration::from_millis(50)),
        ..Deadlines::UNLIMITED
    };
    for (kind, list) in hanging.lists(|_| ADA, soon()).await {
        let list = list.unwrap();
        assert_eq!(list.degraded, [Degradation::UserModel], "{kind:?}");
        assert_eq!(list.items.len(), 10, "{kind:?}");
        let expected = match kind {
            Kind::User | Kind::Nobody => Strategy::Cold(ColdReason::UserStateUnavailable),
            Kind::Visitor | Kind::UserWithContext | Kind::Similar(_) => Strategy::Warm,
            Kind::Popular(_) => Strategy::Cold(ColdReason::NoUser),
        };
        assert_eq!(list.strategy, expected, "{kind:?}");
    }
    // A list that is for no user does not read one.
    for ((kind, list), (_, whole)) in hanging.lists(Kind::user, soon()).await.iter().zip(&whole) {
        let list = list.as_ref().unwrap();
        if kind.user().is_empty() {
            assert_eq!(list.degraded, [], "{kind:?}");
            assert_eq!(ids(list), ids(whole), "{kind:?}");
        }
    }
    hanging.stores.state.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn a_list_of_every_kind_goes_on_without_associations_that_do_not_come_in_time() {
    let hanging = HangingShop::open().await;
    hanging.stores.associations.store(true, Ordering::SeqCst);
    for (kind, list) in hanging.lists(Kind::user, model_within_seconds()).await {
        let list = list.unwrap();
        assert_eq!(list.degraded, [Degradation::Associations], "{kind:?}");
        let is_sample = match kind {
            Kind::User | Kind::Visitor | Kind::UserWithContext => false,
            Kind::Nobody => true,
            Kind::Similar(basis) => basis == proto::SimilarItemsBasis::Behavior,
            Kind::Popular(_) => {
                assert_eq!(list.empty, Some(EmptyReason::NoPopularity), "{kind:?}");
                continue;
            }
        };
        assert_eq!(list.items.len(), 10, "{kind:?}");
        assert_eq!(list.cold_start_fallback, is_sample, "{kind:?}");
        assert!(!list.popular_fallback, "{kind:?}");
    }
    hanging.stores.associations.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn a_list_of_every_kind_uses_the_associations_of_before_if_new_ones_do_not_come_in_time() {
    let hanging = HangingShop::open().await;
    let whole = hanging.whole_lists().await;
    hanging.stores.associations.store(true, Ordering::SeqCst);
    hanging.shop.server.world.clock.advance(INTERVAL);
    let lists = hanging.lists(Kind::user, model_within_seconds()).await;
    for ((kind, list), (_, whole)) in lists.iter().zip(&whole) {
        let list = list.as_ref().unwrap();
        assert_eq!(list.degraded, [Degradation::Associations], "{kind:?}");
        let by_behavior = Kind::Similar(proto::SimilarItemsBasis::Behavior);
        // Whether the item has enough users is never taken from a cache.
        assert_eq!(list.popular_fallback, *kind == by_behavior, "{kind:?}");
        if *kind == by_behavior {
            assert_eq!(list.items.len(), 10);
        } else {
            assert_eq!(ids(list), ids(whole), "{kind:?}");
        }
    }

    // Beyond the longest time that anything of users is cached, rows are not used.
    hanging
        .shop
        .server
        .world
        .clock
        .advance(Duration::from_secs(600));
    let lists = hanging.lists(Kind::user, model_within_seconds()).await;
    for (kind, list) in lists {
        let list = list.unwrap();
        assert_eq!(list.degraded, [Degradation::Associations], "{kind:?}");
        let collaborative = list.generators.iter();
        let collaborative = collaborative
            .filter(|(generator, _)| *generator == recsys::engine::Generator::Collaborative);
        let found: usize = collaborative.map(|(_, count)| count).sum();
        assert_eq!(found, 0, "{kind:?}");
    }
    hanging.stores.associations.store(false, Ordering::SeqCst);
}
