//! The cases: what the pure core does for a call, on inputs that are the same in
//! every run. `main.rs` times them, `counts.rs` has their instructions counted.

#[path = "../../tests/soak/random.rs"]
#[expect(dead_code, reason = "most of it is for the soak")]
mod random;

use std::{hint::black_box, sync::Arc};

use recsys::{
    adapters::redis::model_json,
    domain::{
        associations::{
            AssociationsConfig, InterestEntry, InterestStrength, NeighborRow, collaborative_scores,
            neighbor_row,
        },
        event::{EndReason, EventLog, InteractionEvent, StoredEvent, event_types},
        event_member,
        ids::{ContentId, UserId},
        item::{CatalogueItem, Item, Items, Tag},
        ranking::{
            RankRules,
            exploration::ExplorationSkip,
            interest::{IgnoredItems, Interest, SeenPolicy},
            rank,
        },
        ranking_config::RankingConfig,
        signals,
        tags::Canonicalizer,
        time::Timestamp,
        user_signals::UserSignals,
        vector::UnitVector,
    },
    ports::{StoredModel, Version},
};

use random::Random;

/// What is measured: one run of it.
pub type Work = Box<dyn FnMut()>;

pub struct Case {
    pub name: &'static str,
    /// Makes the inputs, which is not measured.
    pub make: fn() -> Work,
}

const VECTOR_SIZE: usize = 384;
/// Tags that there are, and how many an item carries.
const TAGS: usize = 300;
const TAGS_EACH: usize = 5;
/// Items that events are about: those of a longer history come again.
const ITEMS: usize = 1_000;
/// Items on display with each event.
const SHOWN: usize = 4;
const LIKED: usize = 50;
const LIST: usize = 10;
const NOW_S: i64 = 1_780_000_000;
const SECONDS_APART: i64 = 240;

pub fn all() -> [Case; 12] {
    [
        Case {
            name: "build a model of 50 events",
            make: || build(50),
        },
        Case {
            name: "build a model of 500 events",
            make: || build(500),
        },
        Case {
            name: "build a model of 5000 events",
            make: || build(5_000),
        },
        // At most 1 ms.
        Case {
            name: "read 500 stored events and build their model",
            make: || read_and_build(500),
        },
        // At most 150 us on one core.
        Case {
            name: "rank 60 candidates",
            make: || ranked(60),
        },
        Case {
            name: "rank 200 candidates",
            make: || ranked(200),
        },
        Case {
            name: "rank 1000 candidates",
            make: || ranked(1_000),
        },
        // At most 300 us on one core.
        Case {
            name: "score the neighbors of 50 liked items",
            make: neighbors_scored,
        },
        Case {
            name: "write a model",
            make: model_written,
        },
        Case {
            name: "read a model",
            make: model_read,
        },
        Case {
            name: "write an event",
            make: event_written,
        },
        Case {
            name: "read an event",
            make: event_read,
        },
    ]
}

fn build(events: usize) -> Work {
    let (user, log, items, config) = (user(), log(events), items(), RankingConfig::default());
    Box::new(move || {
        black_box(signals::build(&user, &log, &items, now(), &config));
    })
}

fn read_and_build(events: usize) -> Work {
    let (user, items, config) = (user(), items(), RankingConfig::default());
    let stored: Vec<(Timestamp, Box<str>)> = (0..events)
        .map(stored)
        .map(|stored| (stored.event.time, stored.member))
        .collect();
    Box::new(move || {
        let read = |(score, member): &(Timestamp, Box<str>)| {
            Arc::new(event_member::decode(&user, member, *score).unwrap())
        };
        let log = EventLog::new(stored.iter().map(read).collect());
        black_box(signals::build(&user, &log, &items, now(), &config));
    })
}

/// Scored and re-ranked, without an exploration item.
fn ranked(candidates: usize) -> Work {
    let config = RankingConfig::default();
    let mut interest = Interest::of_user(
        &model(500),
        &Canonicalizer::default(),
        IgnoredItems::ScoredLower,
        SeenPolicy::Hide,
    );
    interest.positives.truncate(LIKED);
    interest.load_liked(&items());
    assert_eq!(interest.liked.len(), LIKED);
    let pool: Vec<Arc<CatalogueItem>> = (ITEMS..ITEMS + candidates).map(item).collect();
    Box::new(move || {
        let rules = RankRules::of(&config, &[]);
        let skipped = Err(ExplorationSkip::NotDrawn);
        black_box(rank(pool.clone(), &interest, skipped, LIST, &rules));
    })
}

/// The collaborative part of a list: the scores of all neighbors in full rows of the liked
/// items, and the best of them.
fn neighbors_scored() -> Work {
    let config = AssociationsConfig::default();
    let others_each = config.row_max - 1;
    let rows: Vec<NeighborRow> = (0..LIKED)
        .map(|liked| {
            let mut random = Random::new(liked as u64);
            let mut others: Vec<String> = (0..4 * others_each)
                .map(|_| id(random.below(ITEMS)).to_string())
                .collect();
            others.sort_unstable();
            others.dedup();
            let lists = others
                .chunks(LIST)
                .take(others_each.div_ceil(LIST))
                .map(|others| {
                    let items = std::iter::once("liked").chain(others.iter().map(String::as_str));
                    let entry = |(micros, item)| InterestEntry {
                        item,
                        time: Timestamp::from_micros(micros),
                        strength: InterestStrength::Full,
                    };
                    (0..).zip(items).map(entry).collect::<Vec<_>>()
                });
            let row = neighbor_row("liked", lists, |id| id, |_| 10, now(), &config);
            assert_eq!(row.len(), config.row_max);
            row
        })
        .collect();
    let seen: Vec<ContentId> = (0..LIKED).map(id).collect();
    Box::new(move || {
        let query = rows.iter().map(|row| (1.0, Some(row)));
        let scores = collaborative_scores(query, seen.iter().map(ContentId::as_str), &config);
        black_box(scores.best(10 * LIST));
    })
}

fn model_written() -> Work {
    let model = stored_model();
    Box::new(move || {
        black_box(model_json::encode(&model).unwrap());
    })
}

fn model_read() -> Work {
    let (user, text) = (user(), model_json::encode(&stored_model()).unwrap());
    Box::new(move || {
        black_box(model_json::decode(&user, text.as_bytes()).unwrap());
    })
}

/// With the copy of the event that is written.
fn event_written() -> Work {
    let event = event(1);
    Box::new(move || {
        black_box(event_member::encode(event.clone()).unwrap());
    })
}

fn event_read() -> Work {
    let (user, stored) = (user(), stored(1));
    Box::new(move || {
        black_box(event_member::decode(&user, &stored.member, stored.event.time).unwrap());
    })
}

fn user() -> UserId {
    UserId::parse("visitor-1").unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_proto_parts(NOW_S, 0).unwrap()
}

fn id(number: usize) -> ContentId {
    (100_000 + number).to_string().into()
}

fn item(number: usize) -> Arc<CatalogueItem> {
    let mut random = Random::new(number as u64);
    let mut item = Item::new(id(number));
    item.tags = (0..TAGS_EACH)
        .map(|_| Tag {
            facet: "theme".to_owned(),
            label: format!("topic {}", random.below(TAGS)),
            weight: (1 + random.below(10)) as f64 / 10.0,
        })
        .collect();
    item.word_count = 100 + random.below(300) as u32;
    let values: Vec<f32> = (0..VECTOR_SIZE)
        .map(|_| random.below(20_001) as f32 / 10_000.0 - 1.0)
        .collect();
    item.vector = UnitVector::new(&values);
    Arc::new(CatalogueItem::new(item, &Canonicalizer::default()))
}

fn items() -> Items {
    (0..ITEMS)
        .map(|number| (id(number), item(number)))
        .collect()
}

/// The end of a view: of four items one each is liked, finished without much
/// reading, left, and left at once.
fn event(number: usize) -> InteractionEvent {
    let time = Timestamp::from_proto_parts(NOW_S - SECONDS_APART * (1 + number as i64), 0);
    let (dwell_seconds, end_reason) = match number % 4 {
        0 => (90.0, EndReason::NextButton),
        1 => (20.5, EndReason::NextButton),
        2 => (12.25, EndReason::CloseButton),
        _ => (1.5, EndReason::Abandon),
    };
    let mut random = Random::new(number as u64);
    InteractionEvent {
        event_id: Some(format!("0192f3a1-0000-7000-8000-{number:012}")),
        session_id: Some(format!("visit {}", number / 20)),
        request_id: Some(format!("7f0c2b9e-0000-4000-8000-{:012}", number / 5)),
        content_id: Some(id(number % ITEMS)),
        dwell_seconds: Some(dwell_seconds),
        end_reason: Some(end_reason),
        impressions: (0..SHOWN).map(|_| id(random.below(ITEMS))).collect(),
        ..InteractionEvent::new(user(), event_types::VIEW_ENDED, time.unwrap())
    }
}

fn stored(number: usize) -> StoredEvent {
    event_member::encode(event(number)).unwrap()
}

fn log(events: usize) -> EventLog {
    EventLog::new((0..events).map(stored).map(Arc::new).collect())
}

fn model(events: usize) -> UserSignals {
    let config = RankingConfig::default();
    signals::build(&user(), &log(events), &items(), now(), &config)
}

fn stored_model() -> StoredModel {
    StoredModel {
        version: Version(500),
        ranking: Some(RankingConfig::default().fingerprint()),
        incomplete: false,
        signals: Arc::new(model(500)),
    }
}
