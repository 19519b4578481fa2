//! `recsys eval`: how good lists are on a log of events.

pub(super) mod input;
mod lists;
mod notes;
pub(super) mod output;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::AtomicU64,
};

use self::{
    input::{InputError, ReplayInput},
    output::{OutputError, with_progress},
};
use crate::{
    app::{self, StartError},
    config::{EvalFlags, Settings},
    domain::ranking_config::RankingConfig,
    eval::{
        likes::LikeRule,
        plan::planned_lists,
        ranker::RankerError,
        replay::Keep,
        report,
        runs::{RankerSpec, RunSettings, run as run_all},
        summary::{EvalReport, RunResults, timings},
    },
};

/// Settings or files must be fixed first.
const BAD_INPUT: u8 = 2;
/// A measure is below `--fail-below`.
const BELOW_THRESHOLD: u8 = 4;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum EvalError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Ranker(#[from] RankerError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("--fail-below {0}: there is no such measure; there are {1}")]
    UnknownMeasure(String, String),
    #[error(
        "no list was made: {likes} likes, but none of them passes --from-event, --from, --warmup \
         and --min-history"
    )]
    NoLists { likes: usize },
    #[error("the ranking file cannot be written: {0}")]
    File(String),
}

/// Measures, prints and writes the reports.
#[must_use]
pub(super) fn run(settings: &Settings, flags: &EvalFlags) -> ExitCode {
    match evaluate(settings, flags) {
        Ok(report) => verdict(&report, flags),
        Err(error) => {
            anstream::eprintln!("recsys: {error}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

fn evaluate(settings: &Settings, flags: &EvalFlags) -> Result<EvalReport, EvalError> {
    let written = [&flags.json, &flags.html, &flags.lists];
    output::check_writable(written.into_iter().flatten().map(PathBuf::as_path))?;
    let rankings = rankings(settings, &flags.ranking)?;
    let replay = &flags.replay;
    let input = ReplayInput::read(replay, LikeRule::new(&rankings[0].1))?;
    let log = &input.log;
    let rules = input::rules(replay);
    let plan = planned_lists(log, &rules);
    if plan.is_empty() {
        return Err(EvalError::NoLists {
            likes: log.facts.likes,
        });
    }
    let specs = specs(rankings);
    let options = input::engine_options(settings, replay, log);
    let run_settings = RunSettings {
        rules: &rules,
        engine: &options,
        threads: input::threads(replay),
        keep: Keep {
            lists: flags.lists.is_some(),
            examples: true,
        },
    };
    let events = log.events.len() as u64 * specs.len() as u64;
    let outcomes = with_progress(events, |progress: &AtomicU64| {
        run_all(log, &plan, &specs, run_settings, progress)
    })?;
    let results = RunResults {
        log,
        rules: &rules,
        window_days: options.window.as_secs_f64() / 86_400.0,
        plan: &plan,
        specs: &specs,
        outcomes: &outcomes,
    };
    let mut report = EvalReport::new(results);
    report.notes = input.notes;
    check_thresholds(&report, flags)?;
    let timings = timings(&specs, &outcomes);
    anstream::print!("{}", report::text(&report, Some(&timings)));
    if flags.timings {
        report.timings = Some(timings);
    }
    output::write_reports(&report, flags.json.as_deref(), flags.html.as_deref())?;
    if let Some(path) = &flags.lists {
        lists::write(path, results)?;
    }
    Ok(report)
}

/// The ranking files with their names in reports.
pub(super) fn rankings(
    settings: &Settings,
    files: &[PathBuf],
) -> Result<Vec<(String, RankingConfig)>, StartError> {
    if files.is_empty() {
        let path = settings.ranking_path.as_deref();
        let name = path.map_or_else(|| "defaults".to_owned(), file_name);
        return Ok(vec![(name, app::ranking(settings, path)?)]);
    }
    let mut rankings: Vec<(String, RankingConfig)> = Vec::new();
    for path in files {
        let is_taken = |name: &str| rankings.iter().any(|(taken, _)| taken == name);
        let mut name = file_name(path);
        if is_taken(&name) {
            name = path.display().to_string();
        }
        if is_taken(&name) {
            name = format!("{name} ({})", rankings.len() + 1);
        }
        rankings.push((name, app::ranking(settings, Some(path))?));
    }
    Ok(rankings)
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The ranking files, then the baselines.
pub(super) fn specs(rankings: Vec<(String, RankingConfig)>) -> Vec<RankerSpec> {
    let engines = rankings
        .into_iter()
        .map(|(name, config)| RankerSpec::Engine {
            name,
            config: Box::new(config),
        });
    engines.chain(RankerSpec::BASELINES).collect()
}

fn check_thresholds(report: &EvalReport, flags: &EvalFlags) -> Result<(), EvalError> {
    let names = report.measure_names();
    for threshold in &flags.fail_below {
        let is_known = |name: &String| name.eq_ignore_ascii_case(&threshold.measure);
        if !names.iter().any(is_known) {
            return Err(EvalError::UnknownMeasure(
                threshold.measure.clone(),
                names.join(", "),
            ));
        }
    }
    Ok(())
}

fn verdict(report: &EvalReport, flags: &EvalFlags) -> ExitCode {
    let mut is_met = true;
    for ranker in report.rankers.iter().filter(|ranker| !ranker.baseline) {
        for threshold in &flags.fail_below {
            let value = report.value(ranker, &threshold.measure);
            if value.is_none_or(|value| value < threshold.least) {
                is_met = false;
                anstream::eprintln!(
                    "recsys: {} of {} is {:.4}, below {}",
                    threshold.measure,
                    ranker.name,
                    value.unwrap_or_default(),
                    threshold.least
                );
            }
        }
    }
    if is_met {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(BELOW_THRESHOLD)
    }
}
