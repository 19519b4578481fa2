//! The tenant of a command that works on one tenant's data.

use std::path::Path;

use crate::{
    app::{self, StartError},
    config::Settings,
    domain::ids::TenantId,
};

/// The tenant that `--tenant` names cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TenantChoiceError {
    #[error(
        "a tenants file is set: name the user's tenant with --tenant, one of {}",
        .0.join(", ")
    )]
    Missing(Vec<String>),
    #[error("the tenants file has no tenant {0}")]
    Unknown(String),
    #[error("--tenant needs a tenants file (RECSYS_TENANTS_PATH)")]
    NoTenants,
    #[error(transparent)]
    Start(#[from] StartError),
}

impl TenantChoiceError {
    /// Whether a setting or an argument must be fixed before the next try.
    pub(super) fn is_bad_input(&self) -> bool {
        match self {
            Self::Start(error) => error.is_bad_input(),
            Self::Missing(_) | Self::Unknown(_) | Self::NoTenants => true,
        }
    }
}

/// Opens what a command works on: `of_tenant` for the tenant that `--tenant` names,
/// `of_all` without a tenants file.
pub(super) fn open<T>(
    settings: &Settings,
    tenant: Option<&TenantId>,
    of_all: impl FnOnce(&Settings) -> Result<T, StartError>,
    of_tenant: impl FnOnce(&Settings, &Path, &TenantId) -> Result<Option<T>, StartError>,
) -> Result<T, TenantChoiceError> {
    match (&settings.tenants_path, tenant) {
        (None, None) => Ok(of_all(settings)?),
        (None, Some(_)) => Err(TenantChoiceError::NoTenants),
        (Some(path), Some(tenant)) => of_tenant(settings, path, tenant)?
            .ok_or_else(|| TenantChoiceError::Unknown(tenant.to_string())),
        (Some(path), None) => {
            let tenants = app::tenants_file(path)?.tenants;
            let names = tenants.keys().map(ToString::to_string).collect();
            Err(TenantChoiceError::Missing(names))
        }
    }
}
