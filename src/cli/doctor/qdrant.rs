//! Qdrant: whether it answers, and whether its collections are as searches need
//! them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{files, report::Finding};
use crate::{
    adapters::qdrant::{self, CollectionSeen, Examination, Needs},
    config::Settings,
    domain::{ranking::scorers::Scorer, ranking_config::RankingConfig},
    edge::tenants::TenantsFile,
    ports::{Deadline, StoreError, StoreErrorKind},
};

const OLDEST: (u32, u32) = (1, 14);
/// What starts one on this machine.
pub(super) const START: &str = "docker run -p 127.0.0.1:6333:6333 -p 127.0.0.1:6334:6334 -v \
                                qdrant-data:/qdrant/storage qdrant/qdrant";

/// What was found of Qdrant and the service's collection; and of the tenants'
/// collections.
pub(super) async fn check(
    settings: &Settings,
    tenants: Option<&TenantsFile>,
    ranking: &RankingConfig,
    at_most: Duration,
) -> (Vec<Finding>, Vec<Finding>) {
    let Some(url) = &settings.qdrant_api_url else {
        return (Vec::new(), Vec::new());
    };
    // By collection, whose it is.
    let owners: BTreeMap<String, Option<String>> = match tenants {
        Some(file) => file
            .tenants
            .iter()
            .map(|(tenant, entry)| (entry.collection.clone(), Some(tenant.to_string())))
            .collect(),
        None => [(settings.qdrant.collection_name.clone(), None)].into(),
    };
    let names: Vec<String> = owners.keys().cloned().collect();
    let limits = &settings.limits;
    let needs = Needs {
        // What the user has met, and what the request leaves out.
        excluded_ids: settings.max_excluded_ids
            + settings.max_excluded_ids.min(limits.max_exclude_ids),
        tags: ranking.affinity_tags,
    };
    let deadline = Deadline::at(Instant::now() + at_most);
    let looked = qdrant::examine(url.expose(), &settings.qdrant, &names, needs, deadline);
    let examination = match looked.await {
        Ok(examination) => examination,
        Err(error) => {
            let refused = Finding::fail("settings", error.to_string()).refused();
            let todo =
                "export QDRANT_API_URL=http://127.0.0.1:6333   # http://host[:port] or https://";
            return (vec![refused.todo(todo)], Vec::new());
        }
    };
    let shell = Shell {
        settings,
        examination: &examination,
    };
    let mut findings = server(&examination, &shell);
    let mut of_tenants = Vec::new();
    for (name, seen) in &examination.collections {
        let owner = owners.get(name).and_then(Option::as_deref);
        let found = match seen {
            Ok(seen) => collection(name, seen, ranking, &shell),
            Err(error) => vec![missing(name, owner, error, &shell)],
        };
        match owner {
            Some(_) => of_tenants.extend(found),
            None => findings.extend(found),
        }
    }
    (findings, of_tenants)
}

/// Writes lines for a shell that talk to this Qdrant.
struct Shell<'a> {
    settings: &'a Settings,
    examination: &'a Examination,
}

impl Shell<'_> {
    fn curl(&self, method: &str, path: &str, body: &str) -> String {
        let qdrant = &self.settings.qdrant;
        let mut line = format!("curl -X {method}");
        if let Some(path) = &qdrant.qdrant_tls_ca_file {
            line += &format!(" --cacert {}", files::quoted(path));
        }
        if qdrant.qdrant_api_key.is_some() {
            line += " -H \"api-key: $QDRANT_API_KEY\"";
        }
        line += &format!(" '{}{path}'", self.examination.rest);
        if !body.is_empty() {
            line += &format!(" -H 'content-type: application/json' -d '{body}'");
        }
        line
    }

    fn import(&self, collection: &str) -> String {
        let file = self.settings.catalog_path.as_deref();
        let file = file.map_or("items.jsonl".to_owned(), files::quoted);
        if collection == self.settings.qdrant.collection_name {
            format!("recsys catalog import {file}")
        } else {
            let collection = files::quoted_text(collection);
            format!("COLLECTION_NAME={collection} recsys catalog import {file}")
        }
    }
}

fn server(examination: &Examination, shell: &Shell<'_>) -> Vec<Finding> {
    let grpc = &examination.grpc;
    let version = match &examination.version {
        Ok(version) => version,
        Err(error) => {
            let found = format!("{grpc} (gRPC): {}", causes(error));
            let failed = Finding::fail("reachable", found);
            if error.kind() == StoreErrorKind::Misconfigured {
                return vec![failed.todo(setting_to_mend(&causes(error)))];
            }
            let failed = failed.todo(shell.curl("GET", "/readyz", ""));
            let is_local = ["://127.0.0.1:", "://localhost:"].map(|host| grpc.contains(host));
            if !is_local.contains(&true) {
                return vec![failed];
            }
            return vec![failed.todo(format!("{START}   # if there is none yet"))];
        }
    };
    let answers = Finding::ok("reachable", format!("{grpc} answers over gRPC"));
    let mut parts = version
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let is_new = match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) => Some((major, minor) >= OLDEST),
        _ => None,
    };
    let version = match is_new {
        Some(true) => Finding::ok("version", version.as_str()),
        Some(false) => Finding::fail("version", format!("{version} is too old: 1.14 is needed"))
            .todo("docker pull qdrant/qdrant:latest   # and start it anew on the same storage"),
        None => Finding::ok("version", format!("cannot tell: it says {version:?}")),
    };
    vec![answers, version]
}

/// What the failure itself says, as a line for a shell.
fn setting_to_mend(told: &str) -> &'static str {
    if told.contains("QDRANT_API_KEY") {
        "export QDRANT_API_KEY=...   # the key of Qdrant's service.api_key"
    } else if told.contains("QDRANT_TLS_CA_FILE") {
        "export QDRANT_TLS_CA_FILE=qdrant-ca.pem   # those who vouch for Qdrant"
    } else if told.contains("begin it with http://") {
        "export QDRANT_API_URL=http://...   # there is no TLS at that port"
    } else {
        "export QDRANT_GRPC_PORT=6334   # Qdrant's gRPC port"
    }
}

fn missing(name: &str, owner: Option<&str>, error: &StoreError, shell: &Shell<'_>) -> Finding {
    let whose = owner
        .map(|tenant| format!(" of tenant {tenant}"))
        .unwrap_or_default();
    if error.kind() == StoreErrorKind::Unprepared {
        return Finding::fail("collection", format!("{name}{whose} does not exist"))
            .todo(shell.import(name));
    }
    let failed = Finding::fail("collection", format!("{name}{whose}: {}", causes(error)));
    if error.kind() == StoreErrorKind::Misconfigured {
        return failed.todo("export QDRANT_API_KEY=...   # a key that may read and write it");
    }
    failed.todo(shell.curl("GET", &format!("/collections/{name}"), ""))
}

fn collection(
    name: &str,
    seen: &CollectionSeen,
    ranking: &RankingConfig,
    shell: &Shell<'_>,
) -> Vec<Finding> {
    let points = seen.points;
    let mut findings = vec![if points == 0 {
        Finding::warn("collection", format!("{name} is empty: every list will be"))
            .todo(shell.import(name))
    } else {
        Finding::ok("collection", format!("{name} has {points} points"))
    }];
    findings.push(status(name, seen, shell));
    findings.push(vectors(name, seen, ranking, shell));
    findings.extend(indexes(name, seen, shell));
    findings.extend(seen.too_strict.iter().map(|limit| {
        let (setting, is) = (limit.name, limit.is);
        let (found, wanted) = match limit.needed {
            Some(needed) => (
                format!("{name}: {setting} is {is}, and up to {needed} are asked for: refused"),
                needed.to_string(),
            ),
            None => (
                format!("{name}: {setting} is {is} a minute: calls beyond it are refused"),
                "null".to_owned(),
            ),
        };
        let body = format!("{{\"strict_mode_config\": {{\"{setting}\": {wanted}}}}}");
        let patch = shell.curl("PATCH", &format!("/collections/{name}"), &body);
        Finding::warn("strict mode", found).todo(patch)
    }));
    findings
}

fn status(name: &str, seen: &CollectionSeen, shell: &Shell<'_>) -> Finding {
    const CHECK: &str = "status";
    let path = format!("/collections/{name}");
    if let Some(trouble) = &seen.trouble {
        let found = format!("{name} is {}: its optimizer failed: {trouble}", seen.status);
        return Finding::fail(CHECK, found).todo(shell.curl("GET", &path, ""));
    }
    match seen.status {
        "green" => Finding::ok(CHECK, format!("{name} is green")),
        "yellow" => Finding::ok(CHECK, format!("{name} is yellow: it is being optimized")),
        "grey" => {
            let found = format!("{name} is grey: it will be optimized after the next write");
            let start = shell.curl("PATCH", &path, "{\"optimizers_config\": {}}");
            Finding::warn(CHECK, found).todo(start)
        }
        "red" => {
            let found = format!("{name} is red: Qdrant cannot keep it as it should");
            Finding::fail(CHECK, found).todo(shell.curl("GET", &path, ""))
        }
        other => Finding::ok(CHECK, format!("{name}: cannot tell ({other})")),
    }
}

fn vectors(
    name: &str,
    seen: &CollectionSeen,
    ranking: &RankingConfig,
    shell: &Shell<'_>,
) -> Finding {
    const CHECK: &str = "vectors";
    let another = format!("{name}-2");
    let anew = format!(
        "{}   # with vectors in the file; then COLLECTION_NAME={another}",
        shell.import(&another)
    );
    let Some(vectors) = &seen.vectors else {
        let found = format!("{name} has none");
        let weights = &ranking.fusion;
        if weights[Scorer::Semantic] == 0.0 && weights[Scorer::Affinity] == 0.0 {
            return Finding::ok(CHECK, format!("{found}, and the ranking needs none"));
        }
        let found = format!("{found}: the semantic and affinity scorers find nothing");
        return Finding::warn(CHECK, found).todo(anew);
    };
    let named = match &vectors.name {
        Some(vector) => format!(", the vector named {vector:?}"),
        None => String::new(),
    };
    let others = match seen.others.as_slice() {
        [] => String::new(),
        others => format!(" (not used: {})", others.join(", ")),
    };
    let (size, distance) = (vectors.size, vectors.distance);
    let found = format!("{name}: {size} numbers, compared by {distance}{named}{others}");
    if distance == "cosine" {
        return Finding::ok(CHECK, found);
    }
    let found = format!("{found}: recsys compares by cosine, so candidates are not the nearest");
    Finding::warn(CHECK, found).todo(anew)
}

fn indexes(name: &str, seen: &CollectionSeen, shell: &Shell<'_>) -> Vec<Finding> {
    const CHECK: &str = "payload index";
    if seen.missing.is_empty() {
        return vec![Finding::ok(
            CHECK,
            format!("{name} has all that are needed"),
        )];
    }
    let of_each = seen.missing.iter().map(|missing| {
        let (field, kind) = (missing.field, missing.kind);
        let path = format!("/collections/{name}/index");
        let body = format!("{{\"field_name\": \"{field}\", \"field_schema\": \"{kind}\"}}");
        let make = shell.curl("PUT", &format!("{path}?wait=true"), &body);
        match &missing.instead {
            None => {
                let found = format!(
                    "{name} lacks the {kind} index of {field}: what needs it finds nothing"
                );
                Finding::warn(CHECK, found).todo(make)
            }
            Some(instead) => {
                let found = format!(
                    "{name} has a {instead} index of {field}, not a {kind} index: what needs it \
                     finds nothing"
                );
                let drop = shell.curl("DELETE", &format!("{path}/{field}?wait=true"), "");
                Finding::warn(CHECK, found).todo(drop).todo(make)
            }
        }
    });
    of_each.collect()
}

/// The failure with what it came of. Of a status, the message: the rest of its text
/// repeats its causes.
fn causes(error: &StoreError) -> String {
    let mut told = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let text = match cause.downcast_ref::<tonic::Status>() {
            Some(status) => status.message().to_owned(),
            None => cause.to_string(),
        };
        if !told.contains(&text) && text != "transport error" {
            told += &format!(": {text}");
        }
        next = cause.source();
    }
    told
}
