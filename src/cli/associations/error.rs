//! Errors of a rebuild.

use crate::{
    cli::tenant_choice::TenantChoiceError, engine::EngineError, ports::StoreError,
    telemetry::error_chain::with_causes,
};

/// The rebuild failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RebuildError {
    #[error("REDIS_URL is not set: a server without it keeps users' state in its own memory")]
    NoRedis,
    #[error(
        "the ranking file disables associations (associations.enabled): nothing would use them"
    )]
    Disabled,
    #[error(transparent)]
    Tenant(#[from] TenantChoiceError),
    #[error("{}", with_causes(.0))]
    Start(StoreError),
    #[error("interrupted: run the same command again to resume")]
    Interrupted,
    #[error("{cause}; gave up after {attempts} attempts (run the same command again to resume)")]
    GaveUp { cause: String, attempts: u32 },
}

impl RebuildError {
    /// Whether a setting or an argument must be fixed before the next try.
    pub(super) fn is_bad_input(&self) -> bool {
        match self {
            Self::Tenant(error) => error.is_bad_input(),
            Self::NoRedis | Self::Disabled => true,
            Self::Start(_) | Self::Interrupted | Self::GaveUp { .. } => false,
        }
    }
}

/// A step failed, and may succeed later.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error("{}", with_causes(.0))]
    Store(#[from] StoreError),
    #[error("{}", with_causes(.0))]
    Engine(#[from] EngineError),
}
