//! `recsys tune`: better weights for a log of events.

use std::{path::PathBuf, process::ExitCode, sync::atomic::AtomicU64};

use super::eval::{
    EvalError,
    input::{self, ReplayInput},
    output::{self, with_progress},
    rankings, specs,
};
use crate::{
    config::{Settings, TuneFlags},
    eval::{
        likes::LikeRule,
        plan::planned_lists,
        replay::Keep,
        report,
        runs::{RunSettings, run as run_all},
        summary::{EvalReport, RunResults},
        tune::{SearchSettings, ranking_file, search, searched_keys, split_lists},
    },
};

/// Settings or files must be fixed first.
const BAD_INPUT: u8 = 2;

/// Searches, measures, prints and writes the ranking file.
#[must_use]
pub(super) fn run(settings: &Settings, flags: &TuneFlags) -> ExitCode {
    if flags.out.exists() {
        anstream::eprintln!(
            "recsys: {} exists already: name another file with --out",
            flags.out.display()
        );
        return ExitCode::from(BAD_INPUT);
    }
    match tune(settings, flags) {
        Ok(text) => {
            anstream::print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            anstream::eprintln!("recsys: {error}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

fn tune(settings: &Settings, flags: &TuneFlags) -> Result<String, EvalError> {
    let written = [flags.json.as_ref(), flags.html.as_ref(), Some(&flags.out)];
    output::check_writable(written.into_iter().flatten().map(PathBuf::as_path))?;
    let ranking: Vec<PathBuf> = flags.ranking.iter().cloned().collect();
    let mut rankings = rankings(settings, &ranking)?;
    let replay = &flags.replay;
    let base = rankings[0].1.clone();
    let input = ReplayInput::read(replay, LikeRule::new(&base))?;
    let log = &input.log;
    let rules = input::rules(replay);
    let plan = planned_lists(log, &rules);
    let (selection, held_out) = split_lists(log, &plan, flags.held_out);
    if selection.is_empty() || held_out.is_empty() {
        return Err(EvalError::NoLists {
            likes: log.facts.likes,
        });
    }
    let options = input::engine_options(settings, replay, log);
    let run_settings = RunSettings {
        rules: &rules,
        engine: &options,
        threads: input::threads(replay),
        keep: Keep {
            lists: false,
            examples: true,
        },
    };
    let search_settings = SearchSettings {
        base: &base,
        trials: flags.trials,
        held_out: flags.held_out,
        run: run_settings,
    };
    let events = log.events.len() as u64 * flags.trials as u64;
    let found = with_progress(events, |progress: &AtomicU64| {
        search(log, &selection, search_settings, progress)
    })?;

    rankings.push((found_name(flags, &rankings[0].0), found.config.clone()));
    let specs = specs(rankings);
    let events = log.events.len() as u64 * specs.len() as u64;
    let outcomes = with_progress(events, |progress: &AtomicU64| {
        run_all(log, &held_out, &specs, run_settings, progress)
    })?;
    let mut report = EvalReport::new(RunResults {
        log,
        rules: &rules,
        window_days: options.window.as_secs_f64() / 86_400.0,
        plan: &held_out,
        specs: &specs,
        outcomes: &outcomes,
    });
    report.notes = input.notes;
    report.notes.push(format!(
        "the lists are those of the last {} % of the events; {} ranking files were compared on \
         {} lists before them, by changing {}",
        flags.held_out * 100.0,
        flags.trials,
        found.selection,
        searched_keys().join(", ")
    ));
    let file = ranking_file(&found.config, &report, flags.trials, found.selection);
    let file = file.map_err(|error| EvalError::File(error.to_string()))?;
    output::write(&flags.out, &file)?;
    output::write_reports(&report, flags.json.as_deref(), flags.html.as_deref())?;
    let outcome = if found.is_better {
        format!("\n{} holds the best ranking file\n", flags.out.display())
    } else {
        format!(
            "\nnone of the {} ranking files was better than the one it started from, which {} \
             holds\n",
            flags.trials,
            flags.out.display()
        )
    };
    Ok(report::text(&report, None) + &outcome)
}

/// A name for the result that the base does not have.
fn found_name(flags: &TuneFlags, base: &str) -> String {
    let name = flags.out.file_name().unwrap_or(flags.out.as_os_str());
    let name = name.to_string_lossy().into_owned();
    if name == base {
        format!("{name} (tuned)")
    } else {
        name
    }
}
