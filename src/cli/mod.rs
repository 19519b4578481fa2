//! The commands: each runs, prints, and returns the exit code of the process.

mod associations;
mod catalog;
mod doctor;
mod eval;
mod events;
mod exit;
mod explain;
mod healthcheck;
mod import_file;
mod keys;
mod lines;
mod lists;
mod quickstart;
mod ranking;
mod serve;
mod server_endpoint;
mod settings;
mod tenant_choice;
mod tune;

use std::process::ExitCode;

use crate::{
    config::{Cli, Command},
    telemetry,
};

/// Tasks that a busy thread polls before it looks for what arrived: requests, answers of
/// Redis. Each step of a call waits for so many tasks of others, of which tokio's default,
/// 61, makes too many.
const POLLS_PER_EVENT_CHECK: u32 = 8;

/// Runs a command line on a runtime of its own.
///
/// The runtime is started here, not in the program: whichever crate polls a future
/// compiles it, and the program would compile the library's a second time.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .event_interval(POLLS_PER_EVENT_CHECK)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("recsys: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run_command(cli))
}

async fn run_command(cli: Cli) -> ExitCode {
    let settings = &cli.settings;
    let command = cli.command.clone().unwrap_or(Command::Serve);
    // Only `serve` takes calls that can be traced.
    let collector = settings.otel_exporter_otlp_endpoint.as_ref();
    let collector = collector.filter(|_| matches!(command, Command::Serve));
    let telemetry = match telemetry::start(cli.log_filter(), settings.log_format, collector) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            anstream::eprintln!("recsys: {error}");
            return ExitCode::from(2);
        }
    };
    match command {
        Command::Serve => serve::run(settings, telemetry).await,
        Command::Quickstart { exit } => quickstart::run(settings, exit).await,
        Command::Catalog { command } => catalog::run(settings, &command).await,
        Command::Events { command } => events::run(settings, &command).await,
        Command::Associations { command } => associations::run(settings, &command).await,
        Command::Recommend(flags) => lists::recommend(settings, &flags).await,
        Command::Similar(flags) => lists::similar(settings, &flags).await,
        Command::Popular(flags) => lists::popular(settings, &flags).await,
        Command::Eval(flags) => eval::run(settings, &flags),
        Command::Tune(flags) => tune::run(settings, &flags),
        Command::Ranking { command } => ranking::run(settings, &command),
        Command::Explain(flags) => explain::run(settings, &flags).await,
        Command::Keys { command } => keys::run(&command),
        Command::Doctor(flags) => doctor::run(settings, &flags).await,
        Command::Healthcheck(flags) => healthcheck::run(settings, &flags).await,
        Command::Settings => settings::run(),
    }
}
