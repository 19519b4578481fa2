//! Qdrant: it answers, and its collections suit the searches.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    files::quoted,
    report::{Finding, Section},
};
use crate::{
    adapters::qdrant::{self, CollectionReport, TagSearchReport},
    config::Settings,
    domain::item_counts::NO_FEATURES,
    edge::tenants::TenantsFile,
    ports::{Deadline, StoreError, StoreErrorKind},
    telemetry::error_chain::with_causes,
};

const SECTION: Section = Section("qdrant");
const OLDEST: (u32, u32) = (1, 14);

pub(super) async fn check(
    settings: &Settings,
    tenants: Option<&TenantsFile>,
    timeout: Duration,
) -> Vec<Finding> {
    let Some(url) = &settings.qdrant_api_url else {
        return Vec::new();
    };
    // Each collection with the tenant that owns it.
    let owners: BTreeMap<String, String> = match tenants {
        Some(file) => {
            let tenants = file.tenants.iter();
            let owned = |tenant| format!(" of tenant {tenant}");
            tenants
                .map(|(tenant, entry)| (entry.collection.clone(), owned(tenant)))
                .collect()
        }
        None => [(settings.qdrant.collection_name.clone(), String::new())].into(),
    };
    let names: Vec<String> = owners.keys().cloned().collect();
    let deadline = Deadline::at(Instant::now() + timeout);
    let examined = qdrant::examine(url.expose(), &settings.qdrant, &names, deadline);
    let examination = match examined.await {
        Ok(Ok(examination)) => examination,
        Ok(Err(error)) => return vec![failed("reachable", "", &error)],
        Err(error) => {
            let finding = SECTION.fail("settings", error).refused();
            return vec![finding.fix("export QDRANT_API_URL=http://127.0.0.1:6333")];
        }
    };
    let version = &examination.version;
    let mut parts = version.split('.').map_while(|part| part.parse().ok());
    let is_old = matches!((parts.next(), parts.next()), (Some(major), Some(minor)) if (major, minor) < OLDEST);
    let mut findings = vec![if is_old {
        let finding = SECTION.fail("version", format!("{version} is too old: 1.14 is needed"));
        finding.fix("docker pull qdrant/qdrant:latest   # and restart it on the same storage")
    } else {
        SECTION.ok("reachable", format!("Qdrant {version} answers over gRPC"))
    }];
    for (name, report) in &examination.collections {
        let owner = owners.get(name).map_or("", String::as_str);
        // Creates the collection, fills it, and adds missing indexes.
        let import = format!(
            "COLLECTION_NAME={} recsys catalog import items.jsonl",
            quoted(name)
        );
        match report {
            Ok(report) => findings.extend(collection(name, owner, report, &import)),
            Err(error) if error.kind() == StoreErrorKind::Unprepared => {
                let found = format!("{name}{owner} does not exist");
                findings.push(SECTION.fail("collection", found).fix(import));
            }
            Err(error) => findings.push(failed("collection", name, error)),
        }
    }
    findings
}

/// A call that failed; the error's text names the setting that would fix it.
fn failed(check: &'static str, name: &str, error: &StoreError) -> Finding {
    let text = with_causes(error);
    let settings = [
        ("QDRANT_API_KEY", "..."),
        ("QDRANT_TLS_CA_FILE", "qdrant-ca.pem"),
        ("QDRANT_GRPC_PORT", "6334"),
    ];
    let named = settings.iter().find(|(setting, _)| text.contains(setting));
    let (setting, value) = named.unwrap_or(&("QDRANT_API_URL", "http://127.0.0.1:6333"));
    let finding = SECTION.fail(check, format!("{name} {text}").trim());
    finding.fix(format!("export {setting}={value}"))
}

fn collection(name: &str, owner: &str, report: &CollectionReport, import: &str) -> Vec<Finding> {
    let size = report.vector_size;
    let size = size.map_or("no vectors".to_owned(), |size| {
        format!("vectors of size {size}")
    });
    let found = format!("{name}{owner}: {} points, {size}", report.points);
    let mut findings = vec![if report.points == 0 {
        SECTION.warn("collection", found).fix(import)
    } else {
        SECTION.ok("collection", found)
    }];
    if report.lacks_features {
        let finding = SECTION.warn("content", format!("{name}{owner}: {NO_FEATURES}"));
        findings.push(finding.fix(format!("{import} --map tags=COLUMN   # the column of tags")));
    }
    if !report.missing_indexes.is_empty() {
        let fields = report.missing_indexes.join(", ");
        let found = format!("{name} has no index of {fields}: searches by them find nothing");
        let finding = SECTION.warn("payload index", found);
        findings.push(finding.fix(format!("{import}   # adds them; writes only changed items")));
    }
    findings.push(match report.tag_search {
        TagSearchReport::Vector { lacking: 0 } => {
            SECTION.ok("tag vector", format!("{name}: tags are searched by it"))
        }
        TagSearchReport::Vector { lacking } => SECTION.ok(
            "tag vector",
            format!("{name}: tags are searched by it; {lacking} points lack it"),
        ),
        TagSearchReport::Payload => {
            let found = format!("{name} has none: searches by tags take Qdrant longer");
            let finding = SECTION.warn("tag vector", found);
            finding.fix(format!("{import}   # adds it, with Qdrant 1.18 or newer"))
        }
        TagSearchReport::TooFewVectors => {
            let found =
                format!("many points of {name} lack it: searches by tags take Qdrant longer");
            let finding = SECTION.warn("tag vector", found);
            finding.fix(format!("{import}   # adds it to all points"))
        }
    });
    findings
}
