//! The ranking file, the tenants file, and the catalogue that is held in memory.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use super::report::{Finding, Section};
use crate::{
    app::{self, StartError},
    config::Settings,
    domain::{experiments::MAX_SIGNED_ID_BYTES, item_counts::NO_FEATURES},
    edge::tenants::TenantsFile,
};

const RANKING: Section = Section("ranking");
const TENANTS: Section = Section("tenants");
const REQUEST_IDS: Section = Section("request ids");
const EMBEDDED: Section = Section("embedded");
/// How a key is made.
pub(super) const NEW_KEY: &str = "recsys keys new shop --role ingest --role serve   # add what \
                                  it prints to the tenants file; shop is the tenant";
/// The permissions of users outside a file's group.
const OTHERS: u32 = 0o007;

/// A text as one word of a shell.
pub(super) fn quoted(text: impl AsRef<Path>) -> String {
    let text = text.as_ref().to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A warning if every user of this machine may open a secret file.
pub(super) fn open_to_all(section: Section, setting: &str, path: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let found = format!("{setting} is open to every user of this machine (mode {mode:o})");
    let finding = section.warn("file mode", found);
    (mode & OTHERS != 0).then(|| finding.fix(format!("chmod o= {}", quoted(path))))
}

/// A file that `serve` would refuse.
fn refused(section: Section, check: &'static str, error: &StartError, path: &Path) -> Finding {
    let path = quoted(path);
    let fix = if let StartError::File { .. } = error {
        format!("ls -l {path}")
    } else if let StartError::DefaultLimit { default_limit, .. } = error {
        format!("export RECSYS_LIMITS=limit={default_limit}")
    } else if let StartError::RequestIdLimit { .. } = error {
        format!("export RECSYS_LIMITS=id_bytes={MAX_SIGNED_ID_BYTES}")
    } else if let StartError::RequestIdKeys { .. } = error {
        format!("(umask 077; openssl rand -hex 32 > {path})")
    } else if let StartError::CatalogueMapping(_) = error {
        "export CATALOG_PATH_MAP=id=COLUMN".to_owned()
    } else if let StartError::RequestIdKeysOpen { .. } = error {
        format!("chmod o= {path}")
    } else {
        format!("${{EDITOR:-vi}} {path}")
    };
    section.fail(check, error).refused().fix(fix)
}

pub(super) fn ranking(settings: &Settings) -> Vec<Finding> {
    let path = settings.ranking_path.as_deref();
    let found = path.map_or("none: the defaults".to_owned(), |path| {
        format!("{} is valid", path.display())
    });
    vec![match app::ranking(settings, path) {
        Ok(_) => RANKING.ok("ranking file", found),
        Err(error) => refused(
            RANKING,
            "ranking file",
            &error,
            path.unwrap_or(Path::new("")),
        ),
    }]
}

/// The keys that sign ids of lists.
pub(super) fn request_ids(settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "key file";
    let Some(path) = &settings.request_id_key_file else {
        let found = "none: events are not attributed to placements and variants";
        return vec![REQUEST_IDS.ok(CHECK, found)];
    };
    let valid = || REQUEST_IDS.ok(CHECK, format!("{} is valid", path.display()));
    vec![match app::request_id_keys(settings) {
        Ok(_) => valid(),
        Err(error) => refused(REQUEST_IDS, CHECK, &error, path),
    }]
}

/// The tenants file, if there is one that is valid.
pub(super) fn tenants(settings: &Settings) -> (Option<TenantsFile>, Vec<Finding>) {
    const CHECK: &str = "tenants file";
    let Some(path) = &settings.tenants_path else {
        let found = "none: callers need no key";
        return (None, vec![TENANTS.ok(CHECK, found)]);
    };
    let file = match app::tenants_file(path) {
        Ok(file) => file,
        Err(error) => {
            return (
                None,
                vec![refused(TENANTS, CHECK, &error, path).fix(NEW_KEY)],
            );
        }
    };
    let (tenants, keys) = (file.tenants.len(), file.keys());
    let found = format!("{tenants} tenants, {keys} keys");
    let mut findings = vec![TENANTS.ok(CHECK, found)];
    findings.extend(open_to_all(TENANTS, "RECSYS_TENANTS_PATH", path));
    for (tenant, entry) in &file.tenants {
        if entry.keys.is_empty() {
            let finding = TENANTS.warn("keys", format!("tenant {tenant} has none"));
            findings.push(finding.fix(NEW_KEY.replace("shop", tenant.as_str())));
        }
        let ranking = app::ranking_path(settings, path, entry);
        let error = app::ranking(settings, ranking.as_deref()).err();
        if let (Some(error), Some(ranking), Some(_)) = (error, ranking, &entry.ranking) {
            findings.push(refused(TENANTS, "tenant's ranking", &error, &ranking));
        }
    }
    (Some(file), findings)
}

/// What is held in memory without a store.
pub(super) fn embedded(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.redis_url.is_none() {
        let found = "REDIS_URL is not set: users' state is in memory and ends with the process";
        let finding = EMBEDDED.warn("user state", found);
        findings.push(finding.fix("export REDIS_URL=redis://127.0.0.1:6379"));
    }
    let ranking = app::ranking(settings, settings.ranking_path.as_deref());
    if let (None, Ok(ranking)) = (&settings.qdrant_api_url, ranking) {
        let path = settings.catalog_path.as_deref();
        let mut import = format!(
            "recsys catalog import {}",
            path.map_or("items.jsonl".to_owned(), quoted)
        );
        if let (Some(map), Some(_)) = (&settings.catalog_path_map, path) {
            import.push_str(&format!(" --map {}", quoted(map)));
        }
        match app::catalogue_in_memory(settings, &ranking) {
            Ok(counts) => {
                let found = format!(
                    "QDRANT_API_URL is not set: {counts}; they are in memory, and changes end with \
                     the process"
                );
                let finding = EMBEDDED.warn("catalogue", found);
                findings.push(
                    finding
                        .fix("export QDRANT_API_URL=http://127.0.0.1:6333")
                        .fix(import.clone()),
                );
                if counts.lack_features() {
                    let finding = EMBEDDED.warn("content", NO_FEATURES);
                    findings.push(finding.fix(format!(
                        "{import} --dry-run   # names columns that it does not read"
                    )));
                }
            }
            Err(error) => {
                let path = path.unwrap_or(Path::new(""));
                let finding = refused(EMBEDDED, "catalogue", &error, path);
                findings.push(finding.fix(format!("{import} --dry-run   # lists what is refused")));
            }
        }
    }
    findings
}
