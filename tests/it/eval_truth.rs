//! Measured on worlds whose truth is known, a replay finds that truth.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::AtomicU64,
    time::Duration,
};

use recsys::{
    domain::{ids::UserId, ranking_config::RankingConfig, time::Timestamp},
    engine::EngineSettings,
    eval::{
        baselines::RandomItems,
        engine_ranker::EngineOptions,
        likes::LikeRule,
        log::{LogBuilder, LogPart, ReplayEvent, ReplayLog},
        plan::{ListRules, PlannedList, SeenItems, planned_lists},
        ranker::{ListQuery, ListRanker, ListedItems, RankerError},
        replay::{Keep, ReplayOutcome, replay},
        runs::{RankerSpec, RunSettings, run},
        world::{Choice, World, WorldSettings, generate},
    },
};

fn log_of(world: &World, events: usize) -> ReplayLog {
    let mut log = LogBuilder::new(LikeRule::new(&RankingConfig::default()));
    for event in world.events.iter().take(events) {
        log.add(event.clone(), LogPart::Evaluation).unwrap();
    }
    log.finish(Some(world.catalogue.clone()))
}

fn outcome(
    log: &ReplayLog,
    rules: &ListRules,
    plan: &[PlannedList],
    ranker: &mut dyn ListRanker,
) -> ReplayOutcome {
    let keep = Keep {
        lists: true,
        examples: false,
    };
    replay(log, rules, plan, ranker, keep, &AtomicU64::new(0)).unwrap()
}

fn hits(outcome: &ReplayOutcome) -> f64 {
    outcome.ranks.iter().filter(|rank| **rank > 0).count() as f64
}

/// The best possible list: it looks up which choice an event is, and what was
/// likely before it, not what was chosen.
struct Oracle {
    choices: BTreeMap<String, Choice>,
}

impl ListRanker for Oracle {
    fn list(&mut self, query: &ListQuery<'_>) -> Result<ListedItems, RankerError> {
        let event = query.log.stored(query.event).unwrap().event;
        let choice = self.choices.get(&event.event_id.unwrap());
        let items = choice.map_or(&[][..], |choice| &choice.best);
        Ok(ListedItems {
            items: items
                .iter()
                .filter_map(|id| query.log.position(id))
                .collect(),
            cold: None,
        })
    }

    fn learn(&mut self, _: &ReplayLog, _: &ReplayEvent) -> Result<(), RankerError> {
        Ok(())
    }
}

#[test]
fn a_perfect_oracle_scores_what_theory_says() {
    for settings in [WorldSettings::shop(1), WorldSettings::trends(2)] {
        let world = generate(&WorldSettings {
            best_list: 10,
            ..settings
        });
        let log = log_of(&world, usize::MAX);
        let rules = ListRules::default();
        let plan = planned_lists(&log, &rules);
        let mut oracle = Oracle {
            choices: world.choices.clone(),
        };
        let measured = hits(&outcome(&log, &rules, &plan, &mut oracle));
        // A sum of independent draws with known probabilities.
        let (mut expected, mut variance, mut lists) = (0.0, 0.0, 0);
        for planned in &plan {
            let event = log
                .stored(&log.events[planned.event as usize])
                .unwrap()
                .event;
            if let Some(choice) = world.choices.get(&event.event_id.unwrap()) {
                expected += choice.hit_probability;
                variance += choice.hit_probability * (1.0 - choice.hit_probability);
                lists += 1;
            }
        }
        assert!(lists > 3_000, "{lists}");
        let deviation = (measured - expected) / f64::sqrt(variance);
        assert!(
            deviation.abs() < 4.0,
            "{measured} hits, expected {expected:.1}"
        );
    }
}

#[test]
fn a_random_list_scores_what_chance_gives() {
    let world = generate(&WorldSettings::shop(4));
    let log = log_of(&world, usize::MAX);
    for seen in [SeenItems::Hide, SeenItems::Allow] {
        let rules = ListRules {
            seen,
            exclude_last: 2,
            ..ListRules::default()
        };
        let plan = planned_lists(&log, &rules);
        let measured = hits(&outcome(&log, &rules, &plan, &mut RandomItems));
        let mut met: Vec<HashSet<u32>> = vec![HashSet::new(); log.users.len()];
        let mut open = plan.iter().peekable();
        let (mut expected, mut variance) = (0.0, 0.0);
        for (position, event) in (0..).zip(&log.events) {
            let met = &mut met[event.user as usize];
            if let Some(planned) = open.next_if(|planned| planned.event == position) {
                let hidden = match seen {
                    SeenItems::Hide => met.len(),
                    SeenItems::Allow => met.len().min(2),
                };
                let chance = 10.0 / (log.catalogue.len() - hidden) as f64;
                if planned.obstacle.is_none() {
                    expected += chance;
                    variance += chance * (1.0 - chance);
                }
            }
            met.extend(event.item);
        }
        let deviation = (measured - expected) / f64::sqrt(variance);
        assert!(
            deviation.abs() < 4.0,
            "{seen:?}: {measured} hits, expected {expected:.1}"
        );
    }
}

fn all_outcomes(log: &ReplayLog, rules: &ListRules, plan: &[PlannedList]) -> Vec<ReplayOutcome> {
    let options = EngineOptions {
        window: Duration::from_secs(100 * 86_400),
        max_events_per_user: 5_000,
        engine: EngineSettings::default(),
    };
    let engine = RankerSpec::Engine {
        name: "engine".to_owned(),
        config: Box::default(),
    };
    let specs: Vec<RankerSpec> = [engine].into_iter().chain(RankerSpec::BASELINES).collect();
    let settings = RunSettings {
        rules,
        engine: &options,
        threads: 2,
        keep: Keep {
            lists: true,
            examples: false,
        },
    };
    run(log, plan, &specs, settings, &AtomicU64::new(0)).unwrap()
}

fn small_world() -> World {
    generate(&WorldSettings {
        users: 30,
        items: 50,
        visits: 3.0,
        late: 0.0,
        ..WorldSettings::shop(9)
    })
}

#[test]
fn no_list_knows_what_comes_after_it() {
    let world = small_world();
    let rules = ListRules::default();
    let whole = log_of(&world, usize::MAX);
    let whole_outcomes = all_outcomes(&whole, &rules, &planned_lists(&whole, &rules));
    let half = log_of(&world, world.events.len() / 2);
    let plan = planned_lists(&half, &rules);
    let half_outcomes = all_outcomes(&half, &rules, &plan);
    let ids = |log: &ReplayLog, lists: &[Vec<u32>]| -> Vec<Vec<String>> {
        let id = |item: &u32| log.items[*item as usize].to_string();
        lists
            .iter()
            .map(|list| list.iter().map(id).collect())
            .collect()
    };
    assert!(plan.len() > 50);
    for (part, all) in half_outcomes.iter().zip(&whole_outcomes) {
        let part = ids(&half, &part.lists);
        assert_eq!(part, ids(&whole, &all.lists)[..part.len()]);
    }
}

#[test]
fn no_ranker_shows_what_is_hidden_or_excluded() {
    let log = log_of(&small_world(), usize::MAX);
    let rules = ListRules {
        k: 7,
        exclude_last: 2,
        min_history: 1,
        ..ListRules::default()
    };
    let plan = planned_lists(&log, &rules);
    for outcome in all_outcomes(&log, &rules, &plan) {
        let mut met: Vec<Vec<u32>> = vec![Vec::new(); log.users.len()];
        let mut open = plan.iter().zip(&outcome.lists).peekable();
        for (position, event) in (0..).zip(&log.events) {
            let met = &mut met[event.user as usize];
            if let Some((planned, list)) = open.next_if(|(planned, _)| planned.event == position) {
                assert!(planned.earlier >= 1);
                assert!(list.len() <= 7);
                assert!(list.iter().all(|item| !met.contains(item)));
                let distinct: HashSet<&u32> = list.iter().collect();
                assert_eq!(distinct.len(), list.len());
                assert!(planned.obstacle.is_none() || !list.contains(&planned.target));
            }
            met.extend(event.item);
        }
        assert!(open.next().is_none());
    }
}

#[test]
fn worlds_repeat_and_have_what_they_promise() {
    let settings = WorldSettings::shop(6);
    let world = generate(&settings);
    let again = generate(&settings);
    assert_eq!(world.events, again.events);
    assert_eq!(world.catalogue, again.catalogue);
    let log = log_of(&world, usize::MAX);
    let facts = &log.facts;
    assert!(
        facts.duplicates > 50 && facts.out_of_order > 50,
        "{facts:?}"
    );
    assert!(world.logins.len() > 20, "{}", world.logins.len());
    assert!(
        world
            .events
            .iter()
            .any(|event| !event.impressions.is_empty())
    );
    let visitor = &world.logins[0].0;
    let known = &world.logins[0].1;
    let times = |user: &UserId| -> Vec<Timestamp> {
        let events = world.events.iter().filter(|event| event.user_id == *user);
        events.map(|event| event.time).collect()
    };
    assert!(times(visitor).iter().max() < times(known).iter().min());
    // Popularity is skewed: a tenth of the items has a third of the likes.
    let mut likes = vec![0_u32; log.catalogue.len()];
    for event in log.events.iter().filter(|event| event.is_like) {
        likes[event.item.unwrap() as usize] += 1;
    }
    likes.sort_unstable_by(|a, b| b.cmp(a));
    let top: u32 = likes[..likes.len() / 10].iter().sum();
    assert!(f64::from(top) > 0.3 * f64::from(likes.iter().sum::<u32>()));
}
