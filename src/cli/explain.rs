//! `recsys explain`: how a user's events become likes and dislikes.
//!
//! It reads the stores directly, with the settings of `serve`: so it works without a
//! key, while the server is down, and with a ranking file that is not in use yet.

mod report;

use std::process::ExitCode;

use super::{
    exit,
    tenant_choice::{self, TenantChoiceError},
};
use crate::{
    app,
    config::{ExplainFlags, Settings},
    domain::ids::{InvalidUserId, UserId},
    engine::{Engine, EngineError},
    telemetry::error_chain::with_causes,
};

/// The explanation failed.
#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error(
        "REDIS_URL is not set: users' state in a server's memory cannot be read from outside; \
         look at the user in the console instead (start the server with RECSYS_CONSOLE_ADDR)"
    )]
    NoRedis,
    #[error("the user's id {0}")]
    User(#[from] InvalidUserId),
    #[error(transparent)]
    Tenant(#[from] TenantChoiceError),
    #[error("{}", with_causes(.0))]
    Engine(#[from] EngineError),
}

impl ExplainError {
    /// Whether a setting or an argument must be fixed before the next try.
    fn is_bad_input(&self) -> bool {
        match self {
            Self::Tenant(error) => error.is_bad_input(),
            Self::NoRedis | Self::User(_) => true,
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
        format!("{}\n", app::explanation(&explained))
    } else {
        report::text(&explained)
    })
}

fn engine(settings: &Settings, flags: &ExplainFlags) -> Result<Engine, TenantChoiceError> {
    let tenant = flags.tenant.as_ref();
    tenant_choice::open(settings, tenant, app::engine, app::engine_of_tenant)
}
