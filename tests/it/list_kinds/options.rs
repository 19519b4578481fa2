//! All kinds of lists with all options.

use std::collections::BTreeSet;

use recsys::{
    domain::ranking_config::RankingConfig,
    proto::{
        ExplorationSkip, GeoPoint, ItemRole, PopularityWindow, RecommendResponse, SeenPolicy,
        SimilarItemsBasis,
    },
};

use super::kinds::{ADA, Kind, Options, Shop, boost, tag};
use crate::support::server::ids;

fn index(id: &str) -> usize {
    id[1..].parse().unwrap()
}

fn all(options: Options) -> Options {
    Options {
        limit: 100,
        exploration: Some(false),
        ..options
    }
}

/// What holds for every list.
fn check(kind: Kind, list: &RecommendResponse) {
    let listed = ids(list);
    let distinct: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(distinct.len(), listed.len(), "{kind:?}: {listed:?}");
    for id in kind.at_hand() {
        assert!(
            !distinct.contains(id),
            "{kind:?} shows {id}, which is at hand"
        );
    }
    assert!(!list.request_id.is_empty());
    let diagnostics = list.diagnostics.as_ref().unwrap();
    assert_eq!(diagnostics.degraded, Vec::<String>::new(), "{kind:?}");
    assert_eq!(diagnostics.unknown_context_ids, Vec::<String>::new());
    assert!(!diagnostics.cold_start_fallback && !diagnostics.seen_fallback);
    for (rank, item) in (1..).zip(&list.items) {
        assert_eq!(item.rank, rank);
        let sum: f64 = item.breakdown.values().sum();
        let is_close = (item.score - sum).abs() < 1e-9;
        assert!(is_close, "{kind:?}: {} is not {sum}", item.score);
        // Items of a sample that fills a list up have no reason.
        let has_reason = !item.reason.is_empty();
        assert!(has_reason || kind == Kind::Nobody, "{kind:?}: {item:?}");
    }
}

/// Whether an option admits the item of this number.
type Admits = fn(usize) -> bool;

#[tokio::test]
async fn every_kind_of_list_obeys_every_restriction() {
    let shop = Shop::open().await;
    let at = |index: usize| GeoPoint {
        latitude: 52.0 + index as f64 * 0.001,
        longitude: 4.0,
    };
    let cases: [(&str, Options, Admits); 9] = [
        ("none", Options::default(), |_| true),
        (
            "filter",
            Options {
                filter: "Red".into(),
                ..Options::default()
            },
            |index| index % 4 == 0,
        ),
        (
            "must",
            Options {
                must: vec![tag("category", "clocks"), tag("color", "green")],
                ..Options::default()
            },
            |index| index < 20 && index % 4 == 1,
        ),
        (
            "must_not",
            Options {
                must_not: vec![tag("color", "red"), tag("color", "blue")],
                ..Options::default()
            },
            |index| index % 2 == 1,
        ),
        (
            "any_of",
            Options {
                any_of: vec![tag("color", "red"), tag("color", "green")],
                ..Options::default()
            },
            |index| index % 4 == 0 || index % 4 == 1,
        ),
        (
            "where",
            Options {
                r#where: "tags.color = \"red\" OR tags.color = \"green\" AND NOT \
                          content_type = \"bundle\""
                    .into(),
                ..Options::default()
            },
            |index| (index % 4 == 0 || index % 4 == 1) && index % 5 != 0,
        ),
        (
            "content_types",
            Options {
                content_types: vec!["bundle".into()],
                ..Options::default()
            },
            |index| index % 5 == 0,
        ),
        (
            "near",
            Options {
                near: Some(at(12)),
                radius_meters: Some(340.0),
                ..Options::default()
            },
            |index| (9..=15).contains(&index),
        ),
        (
            "all together",
            Options {
                must: vec![tag("category", "clocks")],
                must_not: vec![tag("color", "red")],
                content_types: vec!["product".into()],
                near: Some(at(12)),
                radius_meters: Some(340.0),
                ..Options::default()
            },
            |index| (9..=15).contains(&index) && index % 4 != 0 && index % 5 != 0,
        ),
    ];
    for kind in Kind::ALL {
        for (name, options, admits) in &cases {
            let list = kind
                .list(&shop.server, &all(options.clone()))
                .await
                .unwrap();
            assert!(!list.items.is_empty(), "{kind:?}, {name}");
            check(kind, &list);
            for id in ids(&list) {
                assert!(admits(index(id)), "{kind:?}, {name}: {id}");
            }
            let is_near = list
                .items
                .iter()
                .all(|item| item.breakdown.contains_key("geo"));
            assert_eq!(is_near, options.near.is_some(), "{kind:?}, {name}");
        }
        let nothing = Options {
            filter: "purple".into(),
            ..Options::default()
        };
        let list = kind.list(&shop.server, &nothing).await.unwrap();
        assert!(list.items.is_empty(), "{kind:?}");
        let reason = list.diagnostics.unwrap().reason();
        assert_eq!(
            reason,
            recsys::proto::EmptyReason::NoItemMatches,
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn every_kind_of_list_obeys_limit_exclusion_seed_and_content() {
    let shop = Shop::open().await;
    for kind in Kind::ALL {
        let plain = kind
            .list(&shop.server, &all(Options::default()))
            .await
            .unwrap();
        assert!(plain.items.len() > 4, "{kind:?}: {:?}", ids(&plain));
        assert!(plain.items.iter().all(|item| item.content.is_none()));
        for limit in [1, 3] {
            let options = Options {
                limit,
                ..Options::default()
            };
            let list = kind.list(&shop.server, &options).await.unwrap();
            assert_eq!(list.items.len(), limit as usize, "{kind:?}");
        }

        let excluded: Vec<String> = ids(&plain)[..2].iter().map(ToString::to_string).collect();
        let options = all(Options {
            exclude_ids: excluded.clone(),
            include_content: true,
            ..Options::default()
        });
        let list = kind.list(&shop.server, &options).await.unwrap();
        check(kind, &list);
        assert!(!list.items.is_empty(), "{kind:?}");
        for item in &list.items {
            assert!(!excluded.contains(&item.content_id), "{kind:?}");
            let content = item.content.as_ref().unwrap();
            assert_eq!(
                content.title,
                format!("Product {}", index(&item.content_id))
            );
        }

        let seeded = Options {
            seed: Some(7),
            exploration: Some(true),
            ..Options::default()
        };
        let first = kind.list(&shop.server, &seeded).await.unwrap();
        let again = kind.list(&shop.server, &seeded).await.unwrap();
        assert_eq!(first.items, again.items, "{kind:?}");
        assert_ne!(first.request_id, again.request_id);
    }
}

#[tokio::test]
async fn every_kind_of_list_hides_what_its_user_met_as_its_policy_says() {
    let shop = Shop::open().await;
    let met = ["p12", "p13", "p14"];
    let types = ["view", "purchase", "dislike"];
    let events = met.iter().zip(types);
    let events = events.map(|(id, kind)| crate::support::server::event("bo", kind, id));
    shop.server.batch(events.collect()).await.unwrap();
    for (policy, shown) in [
        (SeenPolicy::Unspecified, &[][..]),
        (SeenPolicy::Hide, &[]),
        (SeenPolicy::HideDone, &["p12"]),
        (SeenPolicy::Allow, &["p12", "p13"]),
    ] {
        for kind in Kind::ALL {
            let options = all(Options {
                seen: policy,
                ..Options::default()
            });
            let list = kind.list_for("bo", &shop.server, &options).await.unwrap();
            let listed = ids(&list);
            for id in met {
                let is_listed = listed.contains(&id);
                assert_eq!(is_listed, shown.contains(&id), "{kind:?}, {policy:?}: {id}");
            }
        }
    }
}

#[tokio::test]
async fn boosts_change_the_scores_of_every_kind_of_list_and_who_wins() {
    let shop = Shop::open().await;
    for kind in Kind::ALL {
        let plain = Options {
            exploration: Some(false),
            ..Options::default()
        };
        let plain = kind.list(&shop.server, &plain).await.unwrap();
        assert!(
            plain
                .items
                .iter()
                .all(|item| !item.breakdown.contains_key("boost"))
        );
        let promoted = &plain.items.last().unwrap().content_id;
        let options = Options {
            limit: 3,
            exploration: Some(false),
            boosts: vec![
                boost(&format!("id = {promoted:?}"), 2.0),
                boost(&format!("id != {promoted:?} AND price > 0"), -1.5),
                boost("price < 0", -2.0),
            ],
            ..Options::default()
        };
        let list = kind.list(&shop.server, &options).await.unwrap();
        check(kind, &list);
        let first = &list.items[0];
        assert_eq!(&first.content_id, promoted, "{kind:?}");
        assert_eq!(first.breakdown["boost"], 2.0, "{kind:?}");
        assert_eq!(first.reason, "Promoted", "{kind:?}");
        for item in &list.items[1..] {
            assert_eq!(item.breakdown["boost"], -1.5, "{kind:?}");
        }

        let best = &plain.items[0].content_id;
        let options = Options {
            boosts: vec![boost(&format!("id = {best:?}"), -2.0)],
            exploration: Some(false),
            ..Options::default()
        };
        let list = kind.list(&shop.server, &options).await.unwrap();
        assert_ne!(&list.items[0].content_id, best, "{kind:?}");

        let options = Options {
            boosts: vec![boost("price > 1", 0.1), boost("prise > 1", 0.1)],
            ..Options::default()
        };
        let list = kind.list(&shop.server, &options).await.unwrap();
        assert_eq!(
            list.diagnostics.unwrap().degraded,
            ["boosts[1]"],
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn only_lists_for_users_sessions_and_nobody_explore() {
    let shop = Shop::open().await;
    for kind in Kind::ALL {
        let options = Options {
            exploration: Some(true),
            ..Options::default()
        };
        let list = kind.list(&shop.server, &options).await.unwrap();
        let explored = list.items.iter();
        let explored = explored.filter(|item| item.role() == ItemRole::Exploration);
        let expected = match kind {
            Kind::User | Kind::Visitor | Kind::UserWithContext | Kind::Nobody => 1,
            Kind::Similar(_) | Kind::Popular(_) => 0,
        };
        assert_eq!(explored.count(), expected, "{kind:?}");
        if expected == 0 {
            let skipped = list.diagnostics.unwrap().exploration.unwrap().skipped();
            assert_eq!(skipped, ExplorationSkip::Disabled);
        }
    }
}

#[tokio::test]
async fn parts_of_scores_are_those_of_the_kind_of_list() {
    let shop = Shop::open().await;
    let everything = &[
        "affinity",
        "aversion",
        "collaborative",
        "popularity",
        "recency",
        "semantic",
        "tag",
    ][..];
    for (kind, expected) in [
        (Kind::User, everything),
        (Kind::Visitor, everything),
        (Kind::Similar(SimilarItemsBasis::Best), everything),
        (
            Kind::Similar(SimilarItemsBasis::Behavior),
            &["collaborative"],
        ),
        (
            Kind::Similar(SimilarItemsBasis::Content),
            &["semantic", "tag"],
        ),
        (Kind::Popular(PopularityWindow::Popular), &["popularity"]),
        (Kind::Popular(PopularityWindow::Trending), &["popularity"]),
    ] {
        let list = kind
            .list_for(ADA, &shop.server, &all(Options::default()))
            .await
            .unwrap();
        for item in &list.items {
            let parts: Vec<&str> = item.breakdown.keys().map(String::as_str).collect();
            assert_eq!(parts, expected, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn every_kind_of_list_counts_for_its_placement() {
    let config = RankingConfig::from_toml("[[placements]]\nname = \"home\"").unwrap();
    let shop = Shop::with_config(config).await;
    for kind in Kind::ALL {
        let options = Options {
            placement: "home".into(),
            ..Options::default()
        };
        let list = kind.list(&shop.server, &options).await.unwrap();
        assert_eq!(list.diagnostics.unwrap().placement, "home", "{kind:?}");
    }
}
