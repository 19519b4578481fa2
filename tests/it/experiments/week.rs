//! A week of a simulated shop with two variants, played through the API: what the metrics
//! say of the variants is true.

use std::collections::BTreeMap;

use recsys::{
    domain::{
        event::InteractionEvent as DomainEvent, event_member, experiments::RequestIdKeys,
        ids::ContentId, meaning::EventMeaning, ranking_config::RankingConfig,
    },
    edge::settings::ServerSettings,
    engine::{ArmResult, Engine, EngineSettings},
    eval::{
        rng::SeededRng,
        world::{World, WorldSettings, generate},
    },
    ports::Deadline,
    proto::{InteractionEvent, RecommendRequest},
};

use super::KEY;
use crate::support::{
    DAY, MemoryWorld,
    server::{TestServer, event, named},
};

/// After the last day of the world.
const WEEK: &str = "2026-01-22T12:00:00Z";
const DAYS: u32 = 7;
const LIMIT: u32 = 10;
/// How likely a user likes an item that a list shows: one of the user's theme, and another.
const OF_THEME: f64 = 0.30;
const OF_ANOTHER: f64 = 0.05;
/// How much larger the variance is than if all items were shown to different users:
/// docs/guides/experiments.md.
const DESIGN_EFFECT: f64 = 2.0;

/// Ranks by nothing that the user liked.
const BLIND: &str = "{ fusion = { tag = 0.0, semantic = 0.0, affinity = 0.0, recency = 0.0 } }";
const SIGHTED: &str = "{}";

/// What the metrics of a week say, and what is true of its lists.
struct Week {
    /// By variant.
    results: BTreeMap<String, ArmResult>,
    users: BTreeMap<String, u32>,
    engine: Engine,
    server: TestServer,
    /// Events that were sent.
    sent: Vec<InteractionEvent>,
}

/// A rate with its 95 % interval.
struct Rate {
    value: f64,
    error: f64,
}

impl Rate {
    fn of(result: &ArmResult) -> Self {
        let likes = count(result, EventMeaning::Like) as f64;
        let items = result.items as f64;
        let value = likes / items;
        let variance = DESIGN_EFFECT * value * (1.0 - value) / items;
        Self {
            value,
            error: 1.96 * variance.sqrt(),
        }
    }

    fn minus(&self, other: &Self) -> Self {
        Self {
            value: self.value - other.value,
            error: self.error.hypot(other.error),
        }
    }

    fn contains(&self, truth: f64) -> bool {
        (self.value - truth).abs() <= self.error
    }
}

fn count(result: &ArmResult, meaning: EventMeaning) -> u64 {
    let mut events = result.events.iter();
    events.find(|(other, _)| *other == meaning).unwrap().1
}

fn events(result: &ArmResult) -> u64 {
    result.events.iter().map(|(_, count)| count).sum()
}

fn world() -> World {
    let mut world = generate(&WorldSettings {
        users: 160,
        items: 240,
        days: 20,
        visits: 3.0,
        anonymous: 0.0,
        ..WorldSettings::shop(11)
    });
    world.events.sort_by_key(|event| event.time);
    world
}

fn theme_of(world: &World) -> BTreeMap<ContentId, String> {
    let theme = |item: &recsys::domain::item::Item| {
        let mut tags = item.tags.iter();
        let theme = tags.find(|tag| tag.facet == "theme").unwrap();
        (item.id.clone(), theme.label.clone())
    };
    world.catalogue.iter().map(theme).collect()
}

/// The theme of most of each user's events.
fn favorites(
    events: &[DomainEvent],
    themes: &BTreeMap<ContentId, String>,
) -> BTreeMap<String, String> {
    let mut counts: BTreeMap<String, BTreeMap<&str, u32>> = BTreeMap::new();
    for event in events {
        if let Some(item) = &event.content_id {
            let user = counts.entry(event.user_id.as_str().to_owned()).or_default();
            *user.entry(&themes[item]).or_default() += 1;
        }
    }
    let favorite = |themes: BTreeMap<&str, u32>| {
        let most = themes.into_iter().max_by_key(|(_, count)| *count);
        most.unwrap().0.to_owned()
    };
    let counts = counts.into_iter();
    counts
        .map(|(user, themes)| (user, favorite(themes)))
        .collect()
}

/// Plays a week with two variants, `one` and `two`, of these shares and rankings.
async fn play(shares: [f64; 2], rankings: [&str; 2]) -> Week {
    let config = format!(
        "exploration.enabled = false
         placements = [{{ name = 'home' }}]
         experiments = [{{ name = 'weights', salt = 'january', variants = [
           {{ name = 'one', share = {:?}, ranking = {} }},
           {{ name = 'two', share = {:?}, ranking = {} }} ] }}]",
        shares[0], rankings[0], shares[1], rankings[1]
    );
    let config = RankingConfig::from_toml(&config).unwrap();
    let world = world();
    let themes = theme_of(&world);
    let favorites = favorites(&world.events, &themes);
    let stores = MemoryWorld::new(WEEK, &config, world.catalogue.clone());
    let mut settings = EngineSettings {
        request_id_keys: Some(RequestIdKeys::parse(KEY).unwrap()),
        ..EngineSettings::default()
    };
    settings.associations.background = false;
    let engine = Engine::new(stores.ports.clone(), config, settings);
    let history = world.events.into_iter();
    let history = history.map(|event| event_member::encode(event).unwrap());
    for result in engine
        .receive_batch(history.collect(), Deadline::NONE)
        .await
        .unwrap()
    {
        result.unwrap();
    }
    let server = TestServer::serving(stores, engine.clone(), ServerSettings::default()).await;

    let mut rng = SeededRng::new(5, 1);
    let mut users = BTreeMap::new();
    let mut all = Vec::new();
    for day in 0..DAYS {
        for (user, favorite) in &favorites {
            let list = server
                .recommend(RecommendRequest {
                    user_id: user.clone(),
                    placement: "home".to_owned(),
                    limit: LIMIT,
                    ..RecommendRequest::default()
                })
                .await
                .unwrap();
            assert_eq!(list.items.len(), LIMIT as usize);
            if day == 0 {
                let variant = list.diagnostics.unwrap().variant;
                *users.entry(variant).or_default() += 1;
            }
            let mut sent = Vec::new();
            for item in &list.items {
                let is_of_theme = themes[&ContentId::from(item.content_id.as_str())] == *favorite;
                let likes = rng.chance(if is_of_theme { OF_THEME } else { OF_ANOTHER });
                if likes {
                    let id = format!("{day}-{user}-{}", item.content_id);
                    let mut event = named(&id, event(user, "like", &item.content_id));
                    event.request_id.clone_from(&list.request_id);
                    sent.push(event);
                }
            }
            if !sent.is_empty() {
                server.batch(sent.clone()).await.unwrap();
                all.append(&mut sent);
            }
        }
        server.world.clock.advance(DAY);
    }
    let results = engine.placement_results().into_iter().filter_map(|result| {
        let treatment = result.treatment.clone()?;
        treatment.placement.as_ref()?;
        Some((treatment.variant?.to_string(), result))
    });
    Week {
        results: results.collect(),
        users,
        engine,
        server,
        sent: all,
    }
}

#[tokio::test]
async fn the_intervals_of_two_variants_contain_the_truth_and_tell_the_better_one() {
    // What is true of each variant if all users have it.
    let (blind, sighted, both) = tokio::join!(
        play([1.0, 0.0], [BLIND, SIGHTED]),
        play([0.0, 1.0], [BLIND, SIGHTED]),
        play([0.5, 0.5], [BLIND, SIGHTED]),
    );
    let truth =
        [&blind.results["one"], &sighted.results["two"]].map(|result| Rate::of(result).value);
    let one = Rate::of(&both.results["one"]);
    let two = Rate::of(&both.results["two"]);
    println!(
        "truth {truth:?}, measured {:.4} ± {:.4} and {:.4} ± {:.4}",
        one.value, one.error, two.value, two.error
    );
    assert!(one.contains(truth[0]) && two.contains(truth[1]));
    let better = two.minus(&one);
    assert!(better.contains(truth[1] - truth[0]));
    assert!(better.value > better.error, "the better one is found");

    // The sample ratio: of n users, half each, within three standard errors.
    let [ones, twos] = ["one", "two"].map(|name| f64::from(both.users[name]));
    let deviation = (ones - twos).abs() / (ones + twos).sqrt();
    assert!(deviation < 3.0, "{ones} and {twos} users");
    let items = both.results.values().map(|result| result.items);
    assert_eq!(
        items.sum::<u64>(),
        u64::from(LIMIT) * u64::from(DAYS) * (ones + twos) as u64
    );
    assert!(both.sent.len() > 500);
    let counted: u64 = both.results.values().map(events).sum();
    assert_eq!(counted, both.sent.len() as u64, "each event counts once");

    forge_and_replay(&both).await;
}

/// Sends every event again in ways that must not count.
async fn forge_and_replay(week: &Week) {
    let counted = || -> Vec<u64> { week.engine.placement_results().iter().map(events).collect() };
    let before = counted();
    // The clock is back at the last day: the ids are not too old.
    let now = week.server.world.clock.clone();
    now.set(recsys::ports::Clock::now(&*now).minus(DAY));
    let last = week
        .sent
        .iter()
        .filter(|event| event.event_id.starts_with('6'));
    let last: Vec<&InteractionEvent> = last.collect();
    assert!(last.len() > 50);
    let mut attempts = Vec::new();
    for event in &last {
        let event = (*event).clone();
        // The same event; a fresh one; another user; another item; a changed id.
        attempts.push(event.clone());
        attempts.push(named(&format!("again-{}", event.event_id), event.clone()));
        attempts.push(InteractionEvent {
            user_id: "mallory".to_owned(),
            ..event.clone()
        });
        attempts.push(InteractionEvent {
            content_id: "not-in-the-list".to_owned(),
            event_id: format!("other-{}", event.event_id),
            ..event.clone()
        });
        let mut changed: Vec<char> = event.request_id.chars().collect();
        changed.swap(4, 40);
        changed[9] = if changed[9] == 'x' { 'y' } else { 'x' };
        attempts.push(InteractionEvent {
            request_id: changed.into_iter().collect(),
            event_id: format!("changed-{}", event.event_id),
            ..event
        });
    }
    for batch in attempts.chunks(500) {
        week.server.batch(batch.to_vec()).await.unwrap();
    }
    assert_eq!(counted(), before);
}

#[tokio::test]
async fn two_variants_that_are_the_same_do_not_differ() {
    let week = play([0.5, 0.5], [SIGHTED, SIGHTED]).await;
    let difference = Rate::of(&week.results["two"]).minus(&Rate::of(&week.results["one"]));
    println!("{:.4} ± {:.4}", difference.value, difference.error);
    assert!(difference.contains(0.0));
    assert!(difference.error < 0.05, "and the interval says something");
}
