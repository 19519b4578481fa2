//! The `recsys` program: parse the settings, start, run, exit.

use std::process::ExitCode;

use recsys::{
    app,
    cli::{healthcheck, quickstart},
    config::{self, Cli, Command},
    telemetry,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Bad settings or files: mend them before trying again.
const BAD_INPUT: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os(), config::is_empty_variable) {
        Ok(cli) => cli,
        // Help and version too come as errors, which know where to print.
        Err(error) => error.exit(),
    };
    if let Err(error) = telemetry::start(cli.log_filter()) {
        anstream::eprintln!("recsys: log filter {:?}: {error}", cli.log_filter());
        return ExitCode::from(BAD_INPUT);
    }
    match cli.command.clone().unwrap_or(Command::Serve) {
        Command::Serve => serve(&cli).await,
        Command::Quickstart { exit } => tour(&cli, exit).await,
        Command::Healthcheck { service, timeout } => {
            match healthcheck::run(cli.settings.listen_addr, service, timeout).await {
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

async fn serve(cli: &Cli) -> ExitCode {
    let settings = &cli.settings;
    // What is measured begins before the stores are set up.
    let started = async {
        let admin = app::admin(settings).await?;
        let engine = app::engine(settings)?;
        Ok((engine, app::listen(settings).await?, admin))
    };
    let (engine, listener, admin) = match started.await {
        Ok(started) => started,
        Err(error) => return refused(&error),
    };
    match app::serve(settings, engine, listener, admin, stop_on_signal()).await {
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

fn refused(error: &app::StartError) -> ExitCode {
    anstream::eprintln!("recsys: {error}");
    if error.is_bad_input() {
        ExitCode::from(BAD_INPUT)
    } else {
        ExitCode::FAILURE
    }
}

/// Cancelled by SIGTERM or Ctrl-C; a second one ends the process at once.
fn stop_on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            error!("signals cannot be listened for; stop this process by SIGKILL");
            return;
        };
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        stopping.cancel();
        next().await;
        std::process::exit(130);
    });
    stop
}
