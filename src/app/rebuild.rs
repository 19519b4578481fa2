//! What a rebuild of associations works on.

use std::path::Path;

use super::{
    error::StartError,
    stores::{Place, Stores, ranking},
    tenants::{ranking_path, tenants_file},
};
use crate::{adapters::redis::KeyScan, config::Settings, domain::ids::TenantId, engine::Engine};

/// The associations of one tenant, or of a service without tenants.
pub struct RebuildTarget {
    /// An engine that refreshes nothing in the background.
    pub engine: Engine,
    /// Scans the keys; `None` if users' state is in memory.
    pub keys: Option<KeyScan>,
    /// Whether the ranking file enables associations.
    pub is_enabled: bool,
}

/// The associations of a service without tenants. Called within a tokio runtime.
///
/// # Errors
/// [`StartError`] if a file is refused or a store cannot be used.
pub fn rebuild_target(settings: &Settings) -> Result<RebuildTarget, StartError> {
    let place = Place::of_all(settings);
    target(settings, place, settings.ranking_path.as_deref())
}

/// The associations of one tenant of the tenants file; `None` if the file lacks the
/// tenant. Called within a tokio runtime.
///
/// # Errors
/// [`StartError`] if a file is refused or a store cannot be used.
pub fn rebuild_target_of_tenant(
    settings: &Settings,
    path: &Path,
    tenant: &TenantId,
) -> Result<Option<RebuildTarget>, StartError> {
    let file = tenants_file(path)?;
    let Some(entry) = file.tenants.get(tenant) else {
        return Ok(None);
    };
    let place = Place {
        key_prefix: &entry.key_prefix,
        collection: &entry.collection,
        ..Place::of_all(settings)
    };
    let ranking = ranking_path(settings, path, entry);
    target(settings, place, ranking.as_deref()).map(Some)
}

fn target(
    settings: &Settings,
    place: Place<'_>,
    path: Option<&Path>,
) -> Result<RebuildTarget, StartError> {
    let place = Place {
        refreshes: false,
        ..place
    };
    let config = ranking(settings, path)?;
    let is_enabled = config.associations.enabled;
    let stores = Stores::open(settings)?;
    Ok(RebuildTarget {
        engine: stores.engine(&place, config)?,
        keys: stores.key_scan(&place),
        is_enabled,
    })
}
