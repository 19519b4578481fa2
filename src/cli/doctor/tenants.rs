//! The tenants file, its keys, and the ranking files that it names.

use super::{files, report::Finding};
use crate::{
    app::{self, StartError},
    config::Settings,
    edge::tenants::TenantsFile,
};

/// What makes a key.
pub(super) const NEW_KEY: &str = "recsys keys new shop --role ingest --role serve   # add what \
                                  it prints to the tenants file; shop is the tenant";

const CHECK: &str = "tenants file";
const SETTING: &str = "RECSYS_TENANTS_PATH";

/// The file, if there is one that is understood.
pub(super) fn check(settings: &Settings) -> (Option<TenantsFile>, Vec<Finding>) {
    let Some(path) = &settings.tenants_path else {
        let found = "none (RECSYS_TENANTS_PATH): callers need no key";
        return (None, vec![Finding::ok(CHECK, found)]);
    };
    let file = match app::tenants_file(path) {
        Ok(file) => file,
        Err(error) => {
            let refused = Finding::fail(CHECK, error.to_string()).refused();
            let refused = if matches!(error, StartError::File { .. }) {
                refused.todo(format!("ls -l {}", files::quoted(path)))
            } else {
                refused
                    .todo(format!("${{EDITOR:-vi}} {}", files::quoted(path)))
                    .todo(NEW_KEY)
            };
            return (None, vec![refused]);
        }
    };
    let (tenants, keys) = (file.tenants.len(), file.keys());
    let found = format!(
        "{} is understood: {tenants} tenants, {keys} keys",
        path.display()
    );
    let mut findings = vec![Finding::ok(CHECK, found)];
    findings.extend(files::open_to_all("file mode", SETTING, path));
    for (tenant, entry) in &file.tenants {
        if entry.keys.is_empty() {
            let found = format!("tenant {tenant} has none: nobody can call for it");
            let make = format!(
                "recsys keys new {tenant} --role ingest --role serve   # and add what it prints \
                 to {}",
                files::quoted(path)
            );
            findings.push(Finding::warn("keys", found).todo(make));
        }
        let ranking = app::ranking_path(settings, path, entry);
        let Some(ranking) = ranking.filter(|_| entry.ranking.is_some()) else {
            continue;
        };
        findings.push(match app::ranking(settings, Some(&ranking)) {
            Ok(_) => {
                let found = format!("{} of tenant {tenant} is understood", ranking.display());
                Finding::ok("tenant's ranking", found)
            }
            Err(error) => {
                let found = format!("tenant {tenant}: {error}");
                Finding::fail("tenant's ranking", found)
                    .refused()
                    .todo(format!("${{EDITOR:-vi}} {}", files::quoted(&ranking)))
            }
        });
    }
    (Some(file), findings)
}
