//! Tenants: an engine for each, reached by keys. The tenants file and the ranking
//! files that it names are reloaded when they change. A change that cannot be used is
//! logged, and the previous state stays in use.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tracing::{info, warn};

use super::{
    error::StartError,
    files::read,
    stores::{Place, Stores, ranking},
};
use crate::{
    blocking,
    config::Settings,
    domain::ids::TenantId,
    edge::{
        access::{Access, Directory},
        tenants::{TenantEntry, TenantsFile},
    },
    engine::Engine,
};

/// How often the files are checked for changes.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The tenants of a file, which is polled for changes from then on.
pub(super) fn access(settings: &Settings, path: &Path) -> Result<Arc<Access>, StartError> {
    let mut builder = EnginesBuilder {
        stores: Stores::open(settings)?,
        settings: settings.clone(),
        path: path.to_owned(),
        built: BTreeMap::new(),
    };
    let contents = builder.read()?;
    let file = builder.parse(&contents)?;
    let engines = builder.build(&file, &contents)?;
    info!(
        tenants = file.tenants.len(),
        keys = file.keys(),
        "tenants file read"
    );
    let access = Access::keyed(Directory::new(&file, engines));
    tokio::spawn(reload_on_change(builder, contents, Arc::downgrade(&access)));
    Ok(access)
}

/// The text of the tenants file and of each ranking file that it names.
#[derive(Clone, PartialEq, Eq)]
struct TenantsText {
    tenants: String,
    rankings: BTreeMap<PathBuf, String>,
}

/// The inputs of an engine: it is rebuilt only if they change.
#[derive(Clone, PartialEq, Eq)]
struct EngineInputs {
    key_prefix: String,
    collection: String,
    ranking: Option<String>,
}

struct EnginesBuilder {
    stores: Stores,
    settings: Settings,
    path: PathBuf,
    built: BTreeMap<TenantId, (EngineInputs, Engine)>,
}

impl EnginesBuilder {
    fn parse(&self, contents: &TenantsText) -> Result<TenantsFile, StartError> {
        parse(&self.path, &contents.tenants)
    }

    fn ranking_path(&self, tenant: &TenantEntry) -> Option<PathBuf> {
        ranking_path(&self.settings, &self.path, tenant)
    }

    fn read(&self) -> Result<TenantsText, StartError> {
        let tenants = read(&self.path)?;
        let file = parse(&self.path, &tenants)?;
        let rankings = file
            .tenants
            .values()
            .filter_map(|tenant| self.ranking_path(tenant))
            .map(|path| Ok((path.clone(), read(&path)?)))
            .collect::<Result<_, StartError>>()?;
        Ok(TenantsText { tenants, rankings })
    }

    /// An engine for each tenant; the current one if its inputs are unchanged. If one
    /// cannot be built, all stay as they are.
    fn build(
        &mut self,
        file: &TenantsFile,
        contents: &TenantsText,
    ) -> Result<BTreeMap<TenantId, Engine>, StartError> {
        let mut built = BTreeMap::new();
        for (id, tenant) in &file.tenants {
            let path = self.ranking_path(tenant);
            let inputs = EngineInputs {
                key_prefix: tenant.key_prefix.clone(),
                collection: tenant.collection.clone(),
                ranking: path
                    .as_ref()
                    .and_then(|path| contents.rankings.get(path))
                    .cloned(),
            };
            let engine = match self.built.get(id) {
                Some((previous, engine)) if *previous == inputs => engine.clone(),
                _ => {
                    let config = ranking(&self.settings, path.as_deref())?;
                    let place = Place {
                        key_prefix: &tenant.key_prefix,
                        collection: &tenant.collection,
                        share_of: file.tenants.len() as u64,
                        refreshes: true,
                        mirrors: true,
                    };
                    self.stores.engine(&place, config)?
                }
            };
            built.insert(id.clone(), (inputs, engine));
        }
        let engines = built
            .iter()
            .map(|(id, (_, engine))| (id.clone(), engine.clone()))
            .collect();
        self.built = built;
        Ok(engines)
    }
}

/// The engine of one tenant of the tenants file; `None` if the file lacks the
/// tenant. Called within a tokio runtime.
///
/// # Errors
/// [`StartError`] if a file is refused or a store cannot be used.
pub fn engine_of_tenant(
    settings: &Settings,
    path: &Path,
    tenant: &TenantId,
) -> Result<Option<Engine>, StartError> {
    let file = tenants_file(path)?;
    let Some(entry) = file.tenants.get(tenant) else {
        return Ok(None);
    };
    let config = ranking(settings, ranking_path(settings, path, entry).as_deref())?;
    let place = Place {
        key_prefix: &entry.key_prefix,
        collection: &entry.collection,
        share_of: 1,
        refreshes: true,
        mirrors: false,
    };
    Stores::open(settings)?.engine(&place, config).map(Some)
}

/// The ranking file of a tenant: its own, relative to the folder of the tenants file,
/// or the service's.
#[must_use]
pub fn ranking_path(settings: &Settings, file: &Path, tenant: &TenantEntry) -> Option<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let own = tenant.ranking.as_ref().map(|path| folder.join(path));
    own.or_else(|| settings.ranking_path.clone())
}

/// Reads a tenants file.
///
/// # Errors
/// [`StartError`] if it cannot be read, or is refused.
pub fn tenants_file(path: &Path) -> Result<TenantsFile, StartError> {
    parse(path, &read(path)?)
}

fn parse(path: &Path, text: &str) -> Result<TenantsFile, StartError> {
    TenantsFile::parse(text).map_err(|source| StartError::Tenants {
        path: path.to_owned(),
        source,
    })
}

/// Whether a changed text is only the beginning of the one in use. A file that is cut
/// between two tables is valid, and would revoke the tenants behind the cut in silence.
fn is_cut(changed: &str, current: &str) -> bool {
    let (changed, current) = (changed.trim_end(), current.trim_end());
    changed.len() < current.len() && current.starts_with(changed)
}

/// Whether a tenant that had keys has none in the changed file.
fn revokes_a_tenant(changed: &TenantsFile, current: &TenantsFile) -> bool {
    let has_keys = |file: &TenantsFile, id: &TenantId| {
        let tenant = file.tenants.get(id);
        tenant.is_some_and(|tenant| !tenant.keys.is_empty())
    };
    let mut tenants = current.tenants.keys();
    tenants.any(|id| {
        !changed.tenants.contains_key(id) || has_keys(current, id) && !has_keys(changed, id)
    })
}

/// Reloads tenants and keys when their files change, until the access is dropped.
async fn reload_on_change(
    mut builder: EnginesBuilder,
    mut current: TenantsText,
    access: std::sync::Weak<Access>,
) {
    let mut logged = String::new();
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(access) = access.upgrade() else {
            return;
        };
        // Reads files, and may load a catalogue into memory.
        let changed = blocking::in_place(|| match builder.read() {
            Ok(contents) if contents == current => None,
            Ok(contents) => Some(builder.parse(&contents).and_then(|file| {
                if is_cut(&contents.tenants, &current.tenants)
                    && revokes_a_tenant(&file, &builder.parse(&current)?)
                {
                    let path = builder.path.clone();
                    return Err(StartError::TenantsCut { path });
                }
                let engines = builder.build(&file, &contents)?;
                Ok((file, engines, contents))
            })),
            Err(error) => Some(Err(error)),
        });
        match changed {
            None => logged.clear(),
            Some(Ok((file, engines, contents))) => {
                access.reload(&file, engines);
                info!(
                    tenants = file.tenants.len(),
                    keys = file.keys(),
                    "tenants file reloaded"
                );
                current = contents;
                logged.clear();
            }
            Some(Err(error)) => {
                let text = error.to_string();
                if text != logged {
                    let error = &error as &dyn std::error::Error;
                    warn!(
                        error,
                        "changed tenants file is refused: the previous one stays in use"
                    );
                    logged = text;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_cut;

    #[test]
    fn only_the_beginning_of_the_file_in_use_is_cut() {
        let current = "[tenants.a]\ncollection = \"a\"\n[tenants.b]\ncollection = \"b\"\n";
        for cut in ["", "[tenants.a]\ncollection = \"a\"\n", "[tenants.a]\n"] {
            assert!(is_cut(cut, current), "{cut}");
        }
        for other in [
            current,
            current.trim_end(),
            "[tenants.b]\ncollection = \"b\"\n",
            "[tenants.a]\ncollection = \"a\"\n# end\n",
        ] {
            assert!(!is_cut(other, current), "{other}");
        }
    }
}
