//! The numbers of a run, as reports show them.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    bootstrap::{Estimate, Resampled, UserCounts},
    log::{LogFacts, ReplayLog},
    measures::Measure,
    plan::{FirstList, History, ListRules, Obstacle, PlannedList, SeenItems},
    replay::{ExampleList, ListCounts, ReplayOutcome},
    runs::RankerSpec,
};

/// Everything that a run measured.
#[derive(Clone, Debug, Serialize)]
pub struct EvalReport {
    /// Version of the program.
    pub version: &'static str,
    /// How lists were made.
    pub rules: RulesSummary,
    /// What the log holds.
    pub data: LogFacts,
    /// Which lists were made.
    pub lists: ListsSummary,
    /// Each ranker: ranking files first, then the baselines.
    pub rankers: Vec<RankerSummary>,
    /// Each ranking file against the baselines and the first file.
    pub differences: Vec<Comparison>,
    /// Lists of the first ranking file.
    pub examples: Vec<ExampleSummary>,
    /// What a reader should know of the data.
    pub notes: Vec<String>,
    /// How long lists took; only on demand, as it differs from run to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Vec<Timing>>,
}

/// How lists were made.
#[derive(Clone, Debug, Serialize)]
pub struct RulesSummary {
    /// Items in a list.
    pub k: usize,
    /// Whether lists could hold items that the user had seen.
    pub seen: SeenItems,
    /// How many of the user's latest items were left out.
    pub exclude_last: usize,
    /// From where on lists were made.
    pub first: String,
    /// How many earlier events a user needed.
    pub min_history: usize,
    /// How many days events counted.
    pub window_days: f64,
    /// The seed.
    pub seed: u64,
}

/// Which lists were made.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ListsSummary {
    /// Lists.
    pub lists: usize,
    /// Users they were made for.
    pub users: usize,
    /// Lists whose liked item could not be in them, as the catalogue lacks it,
    pub not_in_catalogue: usize,
    /// as the user had seen it and such items were hidden,
    pub already_seen: usize,
    /// or as it was among the latest, which were left out.
    pub excluded: usize,
    /// Share of lists that could hold the liked item: no hit rate is higher.
    pub reachable: f64,
}

/// Means of measures by their names, such as `HR@10`.
pub type Measures = BTreeMap<String, Estimate>;

/// A ranker's numbers.
#[derive(Clone, Debug, Serialize)]
pub struct RankerSummary {
    /// Its name.
    pub name: String,
    /// Whether it is one of the baselines.
    pub baseline: bool,
    /// Over all lists.
    pub measures: Measures,
    /// Share of the catalogue that was in some list.
    pub coverage: f64,
    /// Mean rank by popularity of what was shown, 1 for the most liked item of
    /// the log; `None` if nothing was.
    pub mean_popularity_rank: Option<f64>,
    /// Share of lists for users of whom it knew nothing; `None` if it does not
    /// say.
    pub cold_share: Option<f64>,
    /// Share of lists without any item.
    pub empty_share: f64,
    /// By the number of the user's earlier events.
    pub by_history: Vec<HistorySummary>,
}

/// A ranker's numbers over users with as many earlier events.
#[derive(Clone, Debug, Serialize)]
pub struct HistorySummary {
    /// How many earlier events: `0`, `1-4` or `5+`.
    pub history: &'static str,
    /// Lists.
    pub lists: usize,
    /// Users.
    pub users: usize,
    /// Over these lists; empty without any.
    pub measures: Measures,
    /// As in [`RankerSummary::cold_share`].
    pub cold_share: Option<f64>,
    /// As in [`RankerSummary::empty_share`].
    pub empty_share: f64,
}

/// One ranker minus another, on the same lists.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Which one.
    pub ranker: String,
    /// Which other one.
    pub against: String,
    /// Differences of the means over all lists.
    pub measures: Measures,
    /// Users with more hits than with the other one, with fewer, with as many.
    pub users: UserCounts,
    /// By the number of earlier events; without histories that have no lists.
    pub by_history: BTreeMap<&'static str, Measures>,
}

/// A list that shows what the numbers mean.
#[derive(Clone, Debug, Serialize)]
pub struct ExampleSummary {
    /// How many events the user had before.
    pub earlier_events: u32,
    /// Titles of what the user had seen last, the latest first.
    pub latest: Vec<String>,
    /// The list.
    pub list: Vec<ExampleItem>,
    /// The title of the item that was liked next.
    pub liked_next: String,
    /// Its rank in the list; `None` if it is not in it.
    pub rank: Option<usize>,
}

/// An item of an example.
#[derive(Clone, Debug, Serialize)]
pub struct ExampleItem {
    /// Its title, or without one its id.
    pub title: String,
    /// The main reason for it.
    pub reason: String,
}

/// How long a ranker's lists took.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    /// Which ranker.
    pub ranker: String,
    /// The median, in milliseconds.
    pub p50_ms: f64,
    /// The 99th percentile, in milliseconds.
    pub p99_ms: f64,
}

/// What a summary is made of.
#[derive(Clone, Copy, Debug)]
pub struct RunResults<'a> {
    /// The log.
    pub log: &'a ReplayLog,
    /// The rules of lists.
    pub rules: &'a ListRules,
    /// How many days events counted.
    pub window_days: f64,
    /// The lists.
    pub plan: &'a [PlannedList],
    /// The rankers: ranking files first.
    pub specs: &'a [RankerSpec],
    /// Their outcomes.
    pub outcomes: &'a [ReplayOutcome],
}

impl EvalReport {
    /// The numbers of a run, without notes and timings.
    #[must_use]
    pub fn new(results: RunResults<'_>) -> Self {
        let RunResults {
            log,
            rules,
            plan,
            specs,
            outcomes,
            ..
        } = results;
        let users: Vec<u32> = plan
            .iter()
            .map(|planned| log.events[planned.event as usize].user)
            .collect();
        let ranks: Vec<&[u8]> = outcomes.iter().map(|run| run.ranks.as_slice()).collect();
        let resampled = Resampled::new(plan, &users, &ranks, rules.seed);
        let popularity = log.popularity_ranks();
        let rankers = specs.iter().zip(outcomes).enumerate();
        let rankers = rankers.map(|(index, (spec, outcome))| {
            ranker_summary(index, spec, outcome, &resampled, &popularity, rules.k)
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            rules: rules_summary(rules, results.window_days),
            data: log.facts.clone(),
            lists: lists_summary(plan, resampled.users(None)),
            rankers: rankers.collect(),
            differences: comparisons(specs, &resampled, rules.k),
            examples: outcomes
                .first()
                .map_or_else(Vec::new, |first| examples(log, plan, first)),
            notes: Vec::new(),
            timings: None,
        }
    }

    /// The value of a measure of a ranker: `HR@10`, `NDCG@10`, `MRR@10` (with the
    /// run's `k`) or `coverage`.
    #[must_use]
    pub fn value(&self, ranker: &RankerSummary, measure: &str) -> Option<f64> {
        if measure.eq_ignore_ascii_case("coverage") {
            return Some(ranker.coverage);
        }
        ranker
            .measures
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(measure))
            .map(|(_, estimate)| estimate.value)
    }

    /// The names of all measures that have values.
    #[must_use]
    pub fn measure_names(&self) -> Vec<String> {
        let names = Measure::ALL.map(|measure| measure.name(self.rules.k));
        names.into_iter().chain(["coverage".to_owned()]).collect()
    }
}

/// How long lists took.
#[must_use]
pub fn timings(specs: &[RankerSpec], outcomes: &[ReplayOutcome]) -> Vec<Timing> {
    let timing = |(spec, outcome): (&RankerSpec, &ReplayOutcome)| {
        let mut latencies: Vec<Duration> = outcome.latencies.clone();
        latencies.sort_unstable();
        let at = |share: f64| {
            let place = (share * latencies.len().saturating_sub(1) as f64).round() as usize;
            let latency = latencies.get(place).copied().unwrap_or_default();
            (latency.as_secs_f64() * 1e6).round() / 1e3
        };
        Timing {
            ranker: spec.name().to_owned(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
        }
    };
    specs.iter().zip(outcomes).map(timing).collect()
}

fn rules_summary(rules: &ListRules, window_days: f64) -> RulesSummary {
    RulesSummary {
        k: rules.k,
        seen: rules.seen,
        exclude_last: rules.exclude_last,
        first: match rules.first {
            FirstList::Event(number) => format!("event {number}"),
            FirstList::Time(time) => time.to_string(),
            FirstList::Share(share) => format!("after {} % of the events", share * 100.0),
        },
        min_history: rules.min_history,
        window_days,
        seed: rules.seed,
    }
}

fn lists_summary(plan: &[PlannedList], users: usize) -> ListsSummary {
    let count = |obstacle: Obstacle| {
        let with_obstacle = plan.iter().filter(|list| list.obstacle == Some(obstacle));
        with_obstacle.count()
    };
    let reachable = plan.iter().filter(|list| list.obstacle.is_none()).count();
    ListsSummary {
        lists: plan.len(),
        users,
        not_in_catalogue: count(Obstacle::NotInCatalogue),
        already_seen: count(Obstacle::Seen),
        excluded: count(Obstacle::Excluded),
        reachable: share(reachable, plan.len()),
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

fn ranker_summary(
    index: usize,
    spec: &RankerSpec,
    outcome: &ReplayOutcome,
    resampled: &Resampled,
    popularity: &[u32],
    k: usize,
) -> RankerSummary {
    let measures = |history| named(k, |measure| resampled.mean(index, measure, history));
    let cold = |counts: ListCounts| {
        let knows = outcome.knows_cold && counts.lists > 0;
        knows.then(|| share(counts.cold, counts.lists))
    };
    let mut all = ListCounts::default();
    for counts in outcome.counts.values() {
        all.lists += counts.lists;
        all.cold += counts.cold;
        all.empty += counts.empty;
    }
    let by_history = History::ALL.map(|history| {
        let counts = outcome.counts.get(&history).copied().unwrap_or_default();
        HistorySummary {
            history: history.as_str(),
            lists: counts.lists,
            users: resampled.users(Some(history)),
            measures: measures(Some(history)),
            cold_share: cold(counts),
            empty_share: share(counts.empty, counts.lists),
        }
    });
    let shown: u64 = outcome.shown.iter().map(|count| u64::from(*count)).sum();
    let ranks: f64 = outcome
        .shown
        .iter()
        .zip(popularity)
        .map(|(count, rank)| f64::from(*count) * f64::from(*rank))
        .sum();
    let covered = outcome.shown.iter().filter(|count| **count > 0).count();
    RankerSummary {
        name: spec.name().to_owned(),
        baseline: spec.is_baseline(),
        measures: measures(None),
        coverage: share(covered, outcome.shown.len()),
        mean_popularity_rank: (shown > 0).then(|| ranks / shown as f64),
        cold_share: cold(all),
        empty_share: share(all.empty, all.lists),
        by_history: by_history.to_vec(),
    }
}

fn named(k: usize, estimate: impl Fn(Measure) -> Option<Estimate>) -> Measures {
    let named = Measure::ALL
        .into_iter()
        .filter_map(|measure| Some((measure.name(k), estimate(measure)?)));
    named.collect()
}

/// Each ranking file against every baseline, and later files against the first.
fn comparisons(specs: &[RankerSpec], resampled: &Resampled, k: usize) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        if spec.is_baseline() {
            continue;
        }
        for (other_index, other) in specs.iter().enumerate() {
            let is_first = other_index == 0 && index > 0;
            if !other.is_baseline() && !is_first {
                continue;
            }
            let measures = |history| {
                named(k, |measure| {
                    resampled.difference(index, other_index, measure, history)
                })
            };
            let by_history = History::ALL
                .into_iter()
                .map(|history| (history.as_str(), measures(Some(history))))
                .filter(|(_, measures)| !measures.is_empty());
            comparisons.push(Comparison {
                ranker: spec.name().to_owned(),
                against: other.name().to_owned(),
                measures: measures(None),
                users: resampled.users_better(index, other_index),
                by_history: by_history.collect(),
            });
        }
    }
    comparisons
}

fn examples(log: &ReplayLog, plan: &[PlannedList], outcome: &ReplayOutcome) -> Vec<ExampleSummary> {
    let title = |item: &u32| {
        let known = log.catalogue.get(*item as usize);
        match known.map(|item| item.title.as_str()) {
            Some(title) if !title.is_empty() => title.to_owned(),
            Some(_) | None => log.items[*item as usize].to_string(),
        }
    };
    let example = |example: &ExampleList| {
        let planned = &plan[example.planned];
        let mut reasons = example.reasons.iter().cloned();
        let list = example.items.iter().map(|item| ExampleItem {
            title: title(item),
            reason: reasons.next().unwrap_or_default(),
        });
        ExampleSummary {
            earlier_events: planned.earlier,
            latest: example.recent.iter().map(title).collect(),
            list: list.collect(),
            liked_next: title(&planned.target),
            rank: example
                .items
                .iter()
                .position(|item| *item == planned.target)
                .map(|place| place + 1),
        }
    };
    outcome.examples.iter().map(example).collect()
}
