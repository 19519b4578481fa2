//! The `recsys` program: parse the command line, run the command, exit.

use std::process::ExitCode;

use recsys::{
    cli::{catalog, doctor, eval, events, healthcheck, keys, quickstart, serve, settings, tune},
    config::{Cli, Command, is_empty_variable},
    telemetry,
};

/// Each call makes and frees many small allocations: see docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os(), is_empty_variable) {
        Ok(cli) => cli,
        // Help and version arrive as errors, too.
        Err(error) => error.exit(),
    };
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
        Command::Eval(flags) => eval::run(settings, &flags),
        Command::Tune(flags) => tune::run(settings, &flags),
        Command::Keys { command } => keys::run(&command),
        Command::Doctor(flags) => doctor::run(settings, &flags).await,
        Command::Healthcheck(flags) => healthcheck::run(settings, &flags).await,
        Command::Settings => settings::run(),
    }
}
