//! The cases of `associations.json`, on the pure functions.

use std::collections::{BTreeMap, BTreeSet};

use recsys::domain::{
    associations::{
        AssociationsConfig, Audience, AudienceMember, InterestEntry, InterestList,
        InterestStrength, NeighborRow, collaborative_scores, neighbor_row, popularity,
        popularity_at, popularity_key,
    },
    ids::UserId,
    time::Timestamp,
};
use serde::Deserialize;

const CASES: &str = include_str!("../fixtures/conformance/associations.json");
const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    constants: serde_json::Map<String, serde_json::Value>,
    now: f64,
    lists: BTreeMap<String, Vec<Entry>>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Entry {
    item: String,
    time: f64,
    strength: f64,
}

type Numbers = BTreeMap<String, f64>;

#[derive(Deserialize)]
struct Expected {
    lists: BTreeMap<String, Vec<String>>,
    audiences: BTreeMap<String, Vec<String>>,
    rows: BTreeMap<String, Numbers>,
    popularity: Numbers,
    scores: BTreeMap<String, ExpectedScores>,
}

#[derive(Deserialize)]
struct ExpectedScores {
    hide_seen: Numbers,
    allow_seen: Numbers,
}

#[expect(clippy::cast_possible_truncation, reason = "times of this century")]
fn time(seconds: f64) -> Timestamp {
    Timestamp::from_micros((seconds * 1e6).round() as i64)
}

fn config(case: &Case) -> AssociationsConfig {
    let mut constants = case.constants.clone();
    let floor = constants.remove("floor").unwrap();
    constants.insert("score_floor".into(), floor);
    let config: AssociationsConfig = serde_json::from_value(constants.into()).unwrap();
    assert_eq!(config.violations(), [""; 0]);
    config
}

fn list(entries: &[Entry], config: &AssociationsConfig) -> InterestList {
    let entries = entries.iter().map(|entry| {
        let strength = [InterestStrength::Half, InterestStrength::Full]
            .into_iter()
            .find(|strength| strength.value() == entry.strength)
            .unwrap();
        InterestEntry {
            item: entry.item.as_str().into(),
            time: time(entry.time),
            strength,
        }
    });
    InterestList::new(entries.collect(), config.list_max)
}

fn audiences(
    lists: &BTreeMap<String, InterestList>,
    config: &AssociationsConfig,
) -> BTreeMap<String, Audience> {
    let mut members: BTreeMap<String, Vec<AudienceMember>> = BTreeMap::new();
    for (user, list) in lists {
        for entry in list.entries() {
            let item = entry.item.to_string();
            members.entry(item).or_default().push(AudienceMember {
                user: UserId::parse(user).unwrap(),
                time: entry.time,
            });
        }
    }
    members
        .into_iter()
        .map(|(item, members)| (item, Audience::new(members, config.audience_max)))
        .collect()
}

fn compare(case: &Case, what: &str, ours: &Numbers, expected: &Numbers) {
    let name = &case.name;
    assert!(ours.keys().eq(expected.keys()), "{name}, {what}: {ours:?}");
    for (key, number) in expected {
        let difference = (ours[key] - number).abs();
        assert!(
            difference <= TOLERANCE,
            "{name}, {what}, {key}: {difference}"
        );
    }
}

fn scores(
    list: &InterestList,
    rows: &BTreeMap<String, NeighborRow>,
    seen: &BTreeSet<&str>,
    config: &AssociationsConfig,
) -> Numbers {
    let query = list
        .latest_first()
        .map(|entry| (entry.strength.value(), rows.get(entry.item.as_str())));
    collaborative_scores(query, seen.iter().copied(), config)
        .best(usize::MAX)
        .into_iter()
        .map(|(id, score)| (id.to_owned(), score.score))
        .collect()
}

fn check(case: &Case) {
    let config = config(case);
    let now = time(case.now);
    let expected = &case.expected;

    let lists: BTreeMap<String, InterestList> = case
        .lists
        .iter()
        .map(|(user, entries)| (user.clone(), list(entries, &config)))
        .collect();
    let items_of = |list: &InterestList| -> Vec<String> {
        let items = list.entries().iter();
        items.map(|entry| entry.item.to_string()).collect()
    };
    let ours: BTreeMap<_, _> = lists
        .iter()
        .map(|(user, list)| (user.clone(), items_of(list)))
        .collect();
    assert_eq!(ours, expected.lists, "{}", case.name);

    let audiences = audiences(&lists, &config);
    let users_of = |audience: &Audience| -> Vec<String> {
        let members = audience.members().iter();
        members
            .map(|member| member.user.as_str().to_owned())
            .collect()
    };
    let ours: BTreeMap<_, _> = audiences
        .iter()
        .map(|(item, audience)| (item.clone(), users_of(audience)))
        .collect();
    assert_eq!(ours, expected.audiences, "{}", case.name);

    let size = |item: &str| audiences[item].members().len();
    let mut rows = BTreeMap::new();
    for (item, audience) in &audiences {
        let lists = audience
            .members()
            .iter()
            .map(|member| lists[member.user.as_str()].iter());
        let row = neighbor_row(item.as_str(), lists, |id| id, size, now, &config);
        let ours = row
            .iter()
            .map(|(id, weight)| (id.to_owned(), weight))
            .collect();
        compare(case, &format!("row of {item}"), &ours, &expected.rows[item]);
        rows.insert(item.clone(), row);
    }
    assert!(rows.keys().eq(expected.rows.keys()), "{}", case.name);

    let half_life = config.popularity_half_life_days;
    let sums: Numbers = audiences
        .iter()
        .map(|(item, audience)| {
            let sum = popularity(audience, now, half_life, config.audience_max);
            (item.clone(), sum)
        })
        .collect();
    compare(case, "popularity", &sums, &expected.popularity);
    let keyed = sums.into_iter().map(|(item, sum)| {
        let key = popularity_key(sum, now, half_life).unwrap();
        (item, popularity_at(key, now, half_life))
    });
    compare(
        case,
        "popularity of keys",
        &keyed.collect(),
        &expected.popularity,
    );

    for (user, expected) in &expected.scores {
        let list = &lists[user];
        let seen = list
            .entries()
            .iter()
            .map(|entry| entry.item.as_str())
            .collect();
        let hidden = scores(list, &rows, &seen, &config);
        compare(
            case,
            &format!("{user}, seen hidden"),
            &hidden,
            &expected.hide_seen,
        );
        let allowed = scores(list, &rows, &BTreeSet::new(), &config);
        compare(
            case,
            &format!("{user}, seen allowed"),
            &allowed,
            &expected.allow_seen,
        );
    }
}

#[test]
fn every_case_of_associations_is_reproduced() {
    let file: File = serde_json::from_str(CASES).unwrap();
    for case in &file.cases {
        check(case);
    }
    assert_eq!(file.cases.len(), 6, "all cases were run");
    let scores = file.cases.iter().map(|case| case.expected.scores.len());
    assert_eq!(scores.sum::<usize>(), 18);
}
