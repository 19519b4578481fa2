//! `recsys explain`: how a user's events become likes and dislikes.
//!
//! It reads the stores directly, with the settings of `serve`: so it works without a
//! key, while the server is down, and with a ranking file that is not in use yet.

mod report;

use std::process::ExitCode;

use super::exit;
use crate::{
    app::{self, StartError},
    config::{ExplainFlags, Settings},
    domain::ids::{InvalidUserId, UserId},
    engine::{Engine, EngineError},
    telemetry::error_chain::with_causes,
};

/// The explanation failed.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error("REDIS_URL is not set: users' state in a server's memory cannot be read from outside")]
    NoRedis,
    #[error("the user's id {0}")]
    User(#[from] InvalidUserId),
    #[error(
        "a tenants file is set: name the user's tenant with --tenant, one of {}",
        .0.join(", ")
    )]
    WhichTenant(Vec<String>),
    #[error("the tenants file has no tenant {0}")]
    UnknownTenant(String),
    #[error("--tenant needs a tenants file (RECSYS_TENANTS_PATH)")]
    NoTenants,
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{}", with_causes(.0))]
    Engine(#[from] EngineError),
}

impl ExplainError {
    /// Whether a setting or an argument must be fixed before the next try.
    fn is_bad_input(&self) -> bool {
        match self {
            Self::Start(error) => error.is_bad_input(),
            Self::NoRedis
            | Self::User(_)
            | Self::WhichTenant(_)
            | Self::UnknownTenant(_)
            | Self::NoTenants => true,
            Self::Engine(_) => false,
        }
    }
}

/// Prints the explanation of a user's model.
pub(super) async fn run(settings: &Settings, flags: &ExplainFlags) -> ExitCode {
    match explain(settings, flags).await {
        Ok(text) => {
            anstream::print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => exit::failed(&error, error.is_bad_input()),
    }
}

async fn explain(settings: &Settings, flags: &ExplainFlags) -> Result<String, ExplainError> {
    let user = UserId::parse(&flags.user)?;
    if settings.redis_url.is_none() {
        return Err(ExplainError::NoRedis);
    }
    let explained = engine(settings, flags)?.explain(&user).await?;
    Ok(if flags.json {
        format!("{}\n", report::json(&explained))
    } else {
        report::text(&explained)
    })
}

fn engine(settings: &Settings, flags: &ExplainFlags) -> Result<Engine, ExplainError> {
    match (&settings.tenants_path, &flags.tenant) {
        (None, None) => Ok(app::engine(settings)?),
        (None, Some(_)) => Err(ExplainError::NoTenants),
        (Some(path), Some(tenant)) => app::engine_of_tenant(settings, path, tenant)?
            .ok_or_else(|| ExplainError::UnknownTenant(tenant.to_string())),
        (Some(path), None) => {
            let tenants = app::tenants_file(path)?.tenants;
            let names = tenants.keys().map(ToString::to_string).collect();
            Err(ExplainError::WhichTenant(names))
        }
    }
}
