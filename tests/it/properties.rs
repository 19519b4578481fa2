//! Properties that must hold for any input.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;
use recsys::{
    domain::{
        event::{EndReason, EventLog, InteractionEvent, StoredEvent},
        event_member,
        geo::{Circle, GeoPoint},
        ids::{ContentId, UserId},
        item::{CatalogueItem, Item, Items},
        ranking::{ItemRole, scorers::Scorer},
        ranking_config::{ExplorationStrategy, Preset, RankingConfig},
        restriction::Restriction,
        signals,
        tags::Canonicalizer,
        time::Timestamp,
    },
    engine::{Deadlines, ListRequest, Recommendation},
    ports::Deadline,
};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::support::{MemoryWorld, items::item};

const NOW: &str = "2026-06-10T12:00:00Z";
const CATALOGUE: usize = 40;

fn now() -> Timestamp {
    Timestamp::parse_iso8601(NOW).unwrap()
}

fn user() -> UserId {
    UserId::parse("u").unwrap()
}

/// Some items lack a vector, a tag or a place.
fn catalogue() -> Vec<Item> {
    (0..CATALOGUE)
        .map(|index| {
            let turn = index as f32;
            let mut built = item(&format!("i{index}")).words(20 * index as u32);
            if !index.is_multiple_of(5) {
                built = built.vector(&[turn.cos(), turn.sin(), 0.3]);
            }
            if !index.is_multiple_of(7) {
                built = built.tag("theme", &format!("t{}", index % 6), 1.0).tag(
                    "mood",
                    &format!("m{}", index % 3),
                    0.5,
                );
            }
            if index.is_multiple_of(2) {
                built = built.at(50.0 + 0.001 * f64::from(index as u32), 5.0);
            }
            built
                .of_type(if index.is_multiple_of(3) {
                    "film"
                } else {
                    "text"
                })
                .build()
        })
        .collect()
}

fn prepared() -> Items {
    catalogue()
        .into_iter()
        .map(|item| {
            let item = CatalogueItem::new(item, &Canonicalizer::default());
            (item.id().clone(), Arc::new(item))
        })
        .collect()
}

fn any_item_id() -> impl Strategy<Value = ContentId> {
    (0..CATALOGUE + 3).prop_map(|index| format!("i{index}").as_str().into())
}

fn any_event() -> impl Strategy<Value = StoredEvent> {
    let kind = prop::sample::select(vec![
        "CONTENT_VIEW_STARTED",
        "CONTENT_VIEW_ENDED",
        "CONTENT_RATED",
        "LOOKUP",
    ]);
    let end = prop::sample::select(vec![
        None,
        Some(EndReason::NextButton),
        Some(EndReason::Link),
        Some(EndReason::CloseButton),
        Some(EndReason::Abandon),
    ]);
    (
        kind,
        // Few distinct times, so that many events have the same.
        (0_u64..40).prop_map(|hours| Duration::from_secs(3_600 * 17 * hours)),
        prop::option::of(any_item_id()),
        prop::option::of(0.0..200.0_f64),
        end,
        prop::option::of(1..=5_u8),
        prop::collection::vec(any_item_id(), 0..4),
    )
        .prop_map(
            |(kind, ago, content_id, dwell_seconds, end_reason, stars, impressions)| {
                let mut event = InteractionEvent {
                    content_id,
                    dwell_seconds,
                    end_reason,
                    impressions,
                    ..InteractionEvent::new(user(), kind, now().minus(ago))
                };
                if let Some(stars) = stars {
                    event
                        .survey_answers
                        .insert("rating".into(), json!(f64::from(stars)));
                }
                event_member::encode(event).unwrap()
            },
        )
}

fn any_events(most: usize) -> impl Strategy<Value = Vec<StoredEvent>> {
    prop::collection::vec(any_event(), 0..most)
}

/// The model with the exact bits of its numbers.
fn bits(events: Vec<StoredEvent>) -> String {
    let log = EventLog::new(events.into_iter().map(Arc::new).collect());
    let model = signals::build(&user(), &log, &prepared(), now(), &RankingConfig::default());
    let exact = |map: &BTreeMap<_, f64>| -> Vec<(ContentId, u64)> {
        map.iter()
            .map(|(id, weight): (&ContentId, _)| (id.clone(), weight.to_bits()))
            .collect()
    };
    format!(
        "{model:?} {:?} {:?}",
        exact(&model.positives),
        exact(&model.negatives)
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_and_repetition_of_events_never_change_a_model(
        (events, shuffled) in any_events(40).prop_flat_map(|events| {
            let repeated: Vec<_> = events.iter().chain(events.iter().take(9)).cloned().collect();
            (Just(events), Just(repeated).prop_shuffle())
        })
    ) {
        prop_assert_eq!(bits(events), bits(shuffled));
    }

    #[test]
    fn the_batch_split_of_deliveries_never_changes_a_model(
        events in any_events(30),
        cuts in prop::collection::vec(0_usize..30, 0..5),
    ) {
        let config = RankingConfig::default();
        let whole = MemoryWorld::new(NOW, &config, catalogue());
        let split = MemoryWorld::new(NOW, &config, catalogue());
        let (whole, split) = (whole.engine(config.clone()), split.engine(config));
        let model = |engine: recsys::engine::Engine, batches: Vec<Vec<StoredEvent>>| {
            Runtime::new().unwrap().block_on(async move {
                for batch in batches {
                    engine.ingest_batch(batch, Deadline::NONE).await.unwrap();
                }
                format!("{:?}", engine.signals(&user()).await.unwrap().0)
            })
        };
        let mut batches = vec![Vec::new()];
        for (index, event) in events.iter().enumerate().rev() {
            if cuts.contains(&index) {
                batches.push(Vec::new());
            }
            batches.last_mut().unwrap().push(event.clone());
        }
        prop_assert_eq!(model(whole, vec![events]), model(split, batches));
    }

    #[test]
    fn a_model_stays_in_its_bounds(events in any_events(40)) {
        let count = events.len();
        let log = EventLog::new(events.into_iter().map(Arc::new).collect());
        let config = RankingConfig::default();
        let model = signals::build(&user(), &log, &prepared(), now(), &config);
        prop_assert!(model.event_count <= count);
        for weight in model.positives.values().chain(model.negatives.values()) {
            prop_assert!((0.0..=1.0).contains(weight) && *weight > 0.0);
        }
        for map in [&model.tag_affinity, &model.tag_aversion] {
            prop_assert!(map.values().all(|weight| (0.0..=1.0).contains(weight)));
            prop_assert!(map.is_empty() || map.values().any(|weight| *weight == 1.0));
        }
        let behavior = &model.behavior;
        for share in [
            behavior.avg_dwell_ratio,
            behavior.completion_rate,
            behavior.revisit_rate,
            behavior.depth,
        ] {
            prop_assert!((0.0..=1.0).contains(&share));
        }
        prop_assert!(model.positives.keys().all(|id| !model.negatives.contains_key(id)));
        let mut recent = model.recent_views.clone();
        recent.sort();
        prop_assert_eq!(&recent, &model.viewed);
        let seen: Vec<_> = model.seen().collect();
        let distinct: HashSet<_> = seen.iter().collect();
        prop_assert_eq!(distinct.len(), seen.len());
        prop_assert!(seen.into_iter().all(|id| model.has_seen(id)));
    }
}

#[derive(Clone, Debug)]
struct AnyRequest {
    limit: usize,
    label: Option<u8>,
    must_not: Option<u8>,
    film: bool,
    radius_m: Option<f64>,
    exclude: Vec<ContentId>,
    seed: u32,
}

fn any_request() -> impl Strategy<Value = AnyRequest> {
    (
        1_usize..=20,
        prop::option::weighted(0.3, 0_u8..7),
        prop::option::weighted(0.3, 0_u8..4),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.3, 1.0..4_000.0_f64),
        prop::collection::vec(any_item_id(), 0..10),
        any::<u32>(),
    )
        .prop_map(
            |(limit, label, must_not, film, radius_m, exclude, seed)| AnyRequest {
                limit,
                label,
                must_not,
                film,
                radius_m,
                exclude,
                seed,
            },
        )
}

impl AnyRequest {
    fn request(&self) -> ListRequest {
        let near = GeoPoint::new(50.01, 5.0).unwrap();
        let canonical = Canonicalizer::default();
        ListRequest {
            restriction: Restriction {
                label: self.label.map(|label| format!("t{label}")),
                must_not: self
                    .must_not
                    .map(|label| canonical.key(&format!("mood:m{label}")))
                    .into_iter()
                    .collect(),
                content_types: if self.film {
                    vec!["film".into()]
                } else {
                    Vec::new()
                },
                within: self.radius_m.map(|radius_m| Circle {
                    center: near,
                    radius_m,
                }),
                ..Restriction::default()
            },
            near: self.radius_m.map(|_| near),
            exclude: self.exclude.iter().cloned().collect(),
            seed: Some(self.seed),
            ..ListRequest::for_user(user(), self.limit)
        }
    }
}

fn any_config() -> impl Strategy<Value = RankingConfig> {
    (
        1_usize..40,
        0.0..=1.0_f64,
        any::<bool>(),
        prop::sample::select(vec![Preset::Recsys, Preset::Reference]),
        prop::sample::select(vec![
            ExplorationStrategy::PopularElsewhere,
            ExplorationStrategy::MaxDissimilar,
            ExplorationStrategy::UnexploredTheme,
            ExplorationStrategy::Random,
        ]),
        any::<bool>(),
    )
        .prop_map(|(pool, lambda, enabled, preset, strategy, reshow)| {
            let mut config = RankingConfig {
                pool_per_generator: pool,
                mmr_lambda: lambda,
                filter_reshow_when_exhausted: reshow,
                ..RankingConfig::of(preset)
            };
            config.exploration.enabled = enabled;
            config.exploration.strategy = strategy;
            config
        })
}

fn ids(list: &Recommendation) -> Vec<ContentId> {
    list.items
        .iter()
        .map(|item| item.scored.item.id().clone())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_list_keeps_every_promise(
        events in any_events(25),
        wanted in any_request(),
        config in any_config(),
        max_excluded in prop::sample::select(vec![0_usize, 1, 5, 2_000]),
    ) {
        let world = MemoryWorld::new(NOW, &config, catalogue());
        let settings = recsys::engine::EngineSettings {
            max_excluded_ids: max_excluded,
            ..MemoryWorld::settings()
        };
        let engine = recsys::engine::Engine::new(world.ports.clone(), config.clone(), settings);
        let request = wanted.request();
        let (model, list, again) = Runtime::new().unwrap().block_on(async {
            engine.ingest_batch(events, Deadline::NONE).await.unwrap();
            let model = engine.signals(&user()).await.unwrap().0;
            let list = engine.list(&request, Deadlines::UNLIMITED).await.unwrap();
            (model, list, engine.list(&request, Deadlines::UNLIMITED).await.unwrap())
        });

        let hides = |id: &ContentId| match config.preset {
            Preset::Recsys => model.has_engaged(id),
            Preset::Reference => model.has_seen(id),
        };
        prop_assert!(list.items.len() <= request.limit, "never more than the limit");
        prop_assert_eq!(ids(&list), ids(&again), "same seed, same list");
        prop_assert_ne!(&list.request_id, &again.request_id);
        let distinct: HashSet<_> = ids(&list).into_iter().collect();
        prop_assert_eq!(distinct.len(), list.items.len(), "no item twice");
        prop_assert_eq!(list.items.is_empty(), list.empty.is_some());

        let weights = &config.fusion;
        let most: f64 = Scorer::all().map(|scorer| weights[scorer].max(0.0)).sum();
        let explored = list.items.iter().filter(|item| item.role == ItemRole::Exploration).count();
        prop_assert_eq!(explored, usize::from(list.exploration.is_ok()));
        for item in &list.items {
            let (scored, id) = (&item.scored, item.scored.item.id());
            prop_assert!(!request.exclude.contains(id), "{id:?} is excluded");
            prop_assert!(request.restriction.admits(&scored.item), "{id:?} is outside");
            prop_assert!(list.seen_fallback || !hides(id), "{id:?} was seen");
            prop_assert!((weights[Scorer::Aversion]..=most).contains(&scored.score), "{}", scored.score);
            for (scorer, part) in scored.breakdown.parts() {
                prop_assert!(part.is_finite());
                prop_assert!(scorer == Scorer::Aversion || (0.0..=1.0).contains(&part), "{scorer:?} {part}");
            }
        }

        // No eligible item is withheld.
        let unseen = catalogue()
            .into_iter()
            .map(|item| CatalogueItem::new(item, &Canonicalizer::default()))
            .filter(|item| {
                request.restriction.admits(item)
                    && !hides(item.id())
                    && !request.exclude.contains(item.id())
            })
            .count();
        prop_assert_eq!(list.items.is_empty(), unseen == 0 && !list.seen_fallback);
        if unseen > 0 {
            prop_assert!(!list.seen_fallback);
        }
        if !request.restriction.is_open() && !list.seen_fallback {
            prop_assert_eq!(list.items.len(), unseen.min(request.limit), "a full list");
        }
    }
}

fn shown(ago: Duration, ids: impl Iterator<Item = String>) -> Arc<StoredEvent> {
    let mut event = InteractionEvent::new(user(), "LIST_SHOWN", now().minus(ago));
    event.impressions = ids.map(ContentId::from).collect();
    Arc::new(event_member::encode(event).unwrap())
}

#[test]
fn only_the_newest_5000_ignored_items_count() {
    const HOUR: Duration = Duration::from_secs(3_600);
    // Ten showings of 1,000 items each, the newest first, and one item shown
    // both long ago and just now.
    let mut events: Vec<_> = (0..10_u32)
        .map(|age| {
            shown(
                age * HOUR,
                (0..1_000).map(move |item| format!("{age}-{item}")),
            )
        })
        .collect();
    events.push(shown(400 * HOUR, ["0-7".to_owned()].into_iter()));
    let log = EventLog::new(events);
    let config = RankingConfig::default();
    let model = signals::build(&user(), &log, &Items::new(), now(), &config);
    assert_eq!(model.negatives.len(), 5_000);
    for age in 0..10 {
        let kept = model.negatives.contains_key(format!("{age}-999").as_str());
        assert_eq!(kept, age < 5, "showing {age} hours ago");
    }
    let weight = |id: &str| model.negatives[id];
    assert_eq!(weight("0-7"), 0.30, "the latest showing weighs most");
    assert!(weight("4-0") < weight("0-0"));
}
