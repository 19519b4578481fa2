//! `recsys serve`: the server.

use std::{error::Error, process::ExitCode};

use tracing::{error, info};

use super::exit;
use crate::{app, config::Settings, telemetry::Telemetry};

/// Serves until a signal stops the process.
pub(super) async fn run(settings: &Settings, telemetry: Telemetry) -> ExitCode {
    let server = match app::Server::start(settings, telemetry.log).await {
        Ok(server) => server,
        Err(error) if settings.log_format.is_json() => {
            error!(error = &error as &dyn Error, "will not start");
            return exit::code(error.is_bad_input());
        }
        Err(error) => return exit::failed(&error, error.is_bad_input()),
    };
    let served = server.serve(settings, app::stop_on_signal()).await;
    if let Some(traces) = telemetry.traces {
        traces.stop().await;
    }
    match served {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(error = &error as &dyn Error, "server failed");
            ExitCode::FAILURE
        }
    }
}
