//! The `recsys` program: parse the settings, start, run, exit.

use std::{path::Path, process::ExitCode};

use recsys::{
    app::{self, server::Stop},
    cli::{catalog, doctor, events, healthcheck, keys, quickstart},
    config::{self, CatalogCommand, Cli, Command, EventsCommand, EventsImport, KeysCommand},
    telemetry::{self, Telemetry},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

/// Many small texts are made and dropped for each call: see docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bad settings or files: mend them before trying again.
const BAD_INPUT: u8 = 2;
/// Done, but for lines of a file that were refused.
const LINES_REFUSED: u8 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os(), config::is_empty_variable) {
        Ok(cli) => cli,
        // Help and version too come as errors, which know where to print.
        Err(error) => error.exit(),
    };
    let settings = &cli.settings;
    // The other commands serve no calls to trace.
    let serves = matches!(cli.command, None | Some(Command::Serve));
    let traces = serves.then_some(&settings.traces);
    let telemetry = match telemetry::start(cli.log_filter(), settings.log_format, traces) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            anstream::eprintln!("recsys: {error}");
            return ExitCode::from(BAD_INPUT);
        }
    };
    match cli.command.clone().unwrap_or(Command::Serve) {
        Command::Serve => serve(&cli, telemetry).await,
        Command::Quickstart { exit } => tour(&cli, exit).await,
        Command::Catalog {
            command: CatalogCommand::Import { file, dry_run },
        } => import(&cli, &file, dry_run).await,
        Command::Events {
            command: EventsCommand::Import(how),
        } => import_events(&cli, &how).await,
        Command::Keys {
            command: KeysCommand::New { tenant, roles },
        } => {
            let Some(told) = keys::new(&tenant, &roles) else {
                anstream::eprintln!("recsys: the system gives no random numbers");
                return ExitCode::FAILURE;
            };
            // The key alone on standard output, so that it can be piped on.
            anstream::eprintln!("The key, shown only this once:");
            anstream::println!("{}", told.key);
            anstream::eprintln!("\nAdd to the tenants file:\n\n{}", told.entry);
            ExitCode::SUCCESS
        }
        Command::Doctor {
            json,
            strict,
            timeout,
        } => {
            let report = doctor::run(&cli.settings, strict, timeout).await;
            if json {
                anstream::println!("{}", report.json());
            } else {
                anstream::print!("{report}");
            }
            ExitCode::from(report.exit_code())
        }
        Command::Healthcheck { service, timeout } => {
            let Some(address) = cli.settings.health_address() else {
                anstream::eprintln!(
                    "recsys: health is asked for in plaintext, and the API speaks TLS: set \
                     RECSYS_ADMIN_ADDR"
                );
                return ExitCode::from(BAD_INPUT);
            };
            match healthcheck::run(address, service, timeout).await {
                Ok(()) => {
                    anstream::println!("SERVING");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    anstream::eprintln!("recsys: {error}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

async fn serve(cli: &Cli, telemetry: Telemetry) -> ExitCode {
    let settings = &cli.settings;
    // What is measured begins before the stores are set up.
    let started = async {
        let admin = app::admin(settings, telemetry.log).await?;
        let access = app::access(settings)?;
        let port = app::listen(settings).await?;
        let webhook = app::webhook(settings, &port).await?;
        Ok((access, port, webhook, admin))
    };
    let (access, port, webhook, admin) = match started.await {
        Ok(started) => started,
        Err(error) if settings.log_format.is_json() => {
            error!(error = &error as &dyn std::error::Error, "will not start");
            return exit_code(&error);
        }
        Err(error) => return refused(&error),
    };
    let served = app::serve(settings, access, port, webhook, admin, stop_on_signal()).await;
    if let Some(traces) = telemetry.traces {
        traces.stop().await;
    }
    match served {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(error = &error as &dyn std::error::Error, "server failed");
            ExitCode::FAILURE
        }
    }
}

async fn tour(cli: &Cli, exit: bool) -> ExitCode {
    match quickstart::run(&cli.settings, exit, stop_on_signal()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(quickstart::TourError::Start(error)) => refused(&error),
        Err(error) => {
            anstream::eprintln!("recsys: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn import(cli: &Cli, file: &Path, dry_run: bool) -> ExitCode {
    let imported = match catalog::import(&cli.settings, file, dry_run).await {
        Ok(imported) => imported,
        Err(error) => {
            anstream::eprintln!("recsys: {error}");
            return ExitCode::from(if error.is_bad_input() { BAD_INPUT } else { 1 });
        }
    };
    if dry_run {
        anstream::println!(
            "{} items would be imported, {} lines refused; nothing was written",
            imported.good,
            imported.refused
        );
    } else {
        anstream::println!(
            "{} items written, {} unchanged, {} lines refused",
            imported.written,
            imported.unchanged,
            imported.refused
        );
    }
    if imported.refused > 0 {
        ExitCode::from(LINES_REFUSED)
    } else {
        ExitCode::SUCCESS
    }
}

async fn import_events(cli: &Cli, how: &EventsImport) -> ExitCode {
    let imported = match events::import(&cli.settings, how).await {
        Ok(imported) => imported,
        Err(error) => {
            anstream::eprintln!("recsys: {error}");
            return if error.is_bad_input() {
                ExitCode::from(BAD_INPUT)
            } else {
                ExitCode::FAILURE
            };
        }
    };
    if how.dry_run {
        anstream::println!(
            "{} events would be sent, {} lines refused",
            imported.accepted,
            imported.refused
        );
    } else {
        anstream::println!(
            "{} events stored, {} known already, {} too old to matter, {} lines refused",
            imported.accepted,
            imported.duplicate,
            imported.outside_window,
            imported.refused
        );
    }
    if imported.refused > 0 {
        ExitCode::from(LINES_REFUSED)
    } else {
        ExitCode::SUCCESS
    }
}

fn refused(error: &app::StartError) -> ExitCode {
    anstream::eprintln!("recsys: {error}");
    exit_code(error)
}

fn exit_code(error: &app::StartError) -> ExitCode {
    if error.is_bad_input() {
        ExitCode::from(BAD_INPUT)
    } else {
        ExitCode::FAILURE
    }
}

/// SIGTERM begins to stop; so does Ctrl-C, at once, as somebody waits for it. A
/// second signal ends the process there and then.
fn stop_on_signal() -> Stop {
    let stop = Stop::default();
    let stopping = stop.clone();
    // Listened for from now on, before anything is served: a signal that came
    // earlier would end the process without a drain.
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        error!("signals cannot be listened for; stop this process by SIGKILL");
        return stop;
    };
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => stopping.no_delay.cancel(),
        }
        stopping.drain.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
    stop
}
