//! What is kept in memory, for want of a store.

use super::{files, report::Finding};
use crate::{
    app::{self, StartError},
    config::Settings,
    domain::ranking_config::RankingConfig,
};

pub(super) fn check(settings: &Settings, ranking: &RankingConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    if settings.redis_url.is_none() {
        let mib = settings.embedded_state_max_bytes >> 20;
        findings.push(
            Finding::warn(
                "user state",
                format!(
                    "REDIS_URL is not set: users' state is in memory (at most {mib} MiB), ends \
                     with the process, and no other process shares it"
                ),
            )
            .todo("redis-server --appendonly yes --maxmemory-policy noeviction")
            .todo("export REDIS_URL=redis://127.0.0.1:6379"),
        );
    }
    if settings.qdrant_api_url.is_none() {
        findings.extend(catalogue(settings, ranking));
    }
    findings
}

fn catalogue(settings: &Settings, ranking: &RankingConfig) -> Vec<Finding> {
    let file = settings.catalog_path.as_deref();
    let name = file.map_or("the sample".to_owned(), |path| path.display().to_string());
    match app::catalogue_in_memory(settings, ranking) {
        Ok(items) => {
            let found = format!(
                "QDRANT_API_URL is not set: the {items} items of {name} are in memory, and \
                 changes to them end with the process"
            );
            let import = file.map_or("items.jsonl   # your own".to_owned(), files::quoted);
            vec![
                Finding::warn("catalogue", found)
                    .todo(super::qdrant::START)
                    .todo("export QDRANT_API_URL=http://127.0.0.1:6333")
                    .todo(format!("recsys catalog import {import}")),
            ]
        }
        Err(error) => {
            let refused = Finding::fail("catalogue", error.to_string()).refused();
            vec![match (&error, file) {
                (StartError::CatalogueItem { .. }, _) => refused.todo(format!(
                    "export EMBEDDED_CATALOG_MAX_BYTES={}   # or keep the items in Qdrant",
                    settings.embedded_catalog_max_bytes.saturating_mul(2)
                )),
                (StartError::File { .. }, Some(file)) => {
                    refused.todo(format!("ls -l {}", files::quoted(file)))
                }
                (_, Some(file)) => refused.todo(format!(
                    "recsys catalog import --dry-run {}   # lists every bad line",
                    files::quoted(file)
                )),
                (_, None) => refused,
            }]
        }
    }
}
