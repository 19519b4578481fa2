//! Every metric, setting, port and section that the documents, the chart, the alerts
//! and the dashboard name exists.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory as _;
use recsys::{config::Cli, telemetry::meters};

use crate::cli::variables;

/// Prefixes of metrics.
const METRICS: [&str; 5] = [
    "recsys_",
    "rpc_server_",
    "http_server_",
    "db_client_",
    "process_",
];
/// A package and a vector in Qdrant, which look like metrics.
const NOT_METRICS: [&str; 2] = ["recsys_client", "recsys_tags"];
/// Suffixes that Prometheus adds to the name of a histogram.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];
/// Prefixes of settings.
const SETTINGS: [&str; 9] = [
    "RECSYS_",
    "REDIS_",
    "QDRANT_",
    "OTEL_",
    "EMBEDDED_",
    "ITEM_CACHE_",
    "BUFFER_CACHE_",
    "MODEL_TTL_",
    "MODEL_MAX_",
];
/// Variables of others: the chart's own, Kubernetes', the tests', and those that the
/// OpenTelemetry SDK reads.
const OF_OTHERS: [&str; 10] = [
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "REDIS_PASSWORD",
    "REDISCLI_AUTH",
    "REDIS_SERVER",
    "RECSYS_PORT",
];
/// Ports of others: Redis, also with TLS, a sentinel, a collector; and the webhook's,
/// which has none by default.
const PORTS_OF_OTHERS: [&str; 5] = ["6379", "6380", "26379", "4317", "8080"];

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn below(path: PathBuf) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path];
    }
    let entries = fs::read_dir(path).unwrap();
    entries
        .flat_map(|entry| below(entry.unwrap().path()))
        .collect()
}

/// The documents, the chart, the Dockerfile and the compose file; without pictures, and
/// the chart's tests, which try wrong names, too.
fn documents() -> Vec<(PathBuf, String)> {
    let roots = [
        "README.md",
        "SECURITY.md",
        "docs",
        "helm/recsys",
        "compose.yaml",
        "Dockerfile",
    ];
    let files: Vec<PathBuf> = roots
        .iter()
        .flat_map(|root| below(here().join(root)))
        .collect();
    let files = files.into_iter().filter(|file| {
        let name = file.to_str().unwrap();
        !name.ends_with("_test.yaml") && !name.ends_with(".png")
    });
    let documents: Vec<(PathBuf, String)> = files.map(|file| (file.clone(), read(&file))).collect();
    assert!(documents.len() > 25, "{} files", documents.len());
    documents
}

/// Words of letters, digits and `_`, with what follows each.
fn words(text: &str) -> Vec<(&str, &str)> {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find(is_inside) {
        let from = &rest[begin..];
        let end = from.find(|c| !is_inside(c)).unwrap_or(from.len());
        words.push((&from[..end], &from[end..]));
        rest = &from[end..];
    }
    words
}

/// All metrics, those of the process included.
fn metrics() -> BTreeSet<&'static str> {
    meters::ALL
        .into_iter()
        .chain(meters::OF_THE_PROCESS)
        .collect()
}

fn is_metric(word: &str) -> bool {
    !NOT_METRICS.contains(&word)
        && METRICS.iter().any(|begin| word.starts_with(begin))
        && word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn settings() -> BTreeSet<String> {
    let settings = variables(&Cli::command());
    settings.into_iter().collect()
}

#[test]
fn every_metric_that_is_named_is_measured() {
    let known = metrics();
    let mut unknown = BTreeSet::new();
    let mut named = 0;
    for (file, text) in documents() {
        for (word, _) in words(&text).into_iter().filter(|(word, _)| is_metric(word)) {
            named += 1;
            let whole = PARTS.iter().find_map(|part| word.strip_suffix(part));
            if !known.contains(word) && !whole.is_some_and(|whole| known.contains(whole)) {
                unknown.insert(format!("{}: {word}", file.display()));
            }
        }
    }
    assert!(named > 100, "only {named} found");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn every_setting_that_is_named_can_be_set() {
    let known = settings();
    let mut unknown = BTreeSet::new();
    let mut named = 0;
    for (file, text) in documents() {
        for (word, after) in words(&text) {
            let is_setting = SETTINGS
                .iter()
                .any(|begin| word.starts_with(begin) && word.len() > begin.len());
            if !is_setting || word.bytes().any(|byte| byte.is_ascii_lowercase()) {
                continue;
            }
            named += 1;
            // `RECSYS_TLS_*` stands for all that begin so.
            let is_family = word.ends_with('_')
                && after.starts_with(['*', '.'])
                && known.iter().any(|setting| setting.starts_with(word));
            if !known.contains(word) && !OF_OTHERS.contains(&word) && !is_family {
                unknown.insert(format!("{}: {word}", file.display()));
            }
        }
    }
    assert!(named > 200, "only {named} found");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn every_variable_that_the_chart_sets_can_be_set() {
    let known = settings();
    let mut unknown = BTreeSet::new();
    let mut named = 0;
    for file in ["helm/recsys/templates", "docs/guides/kubernetes"] {
        for file in below(here().join(file)) {
            for line in read(&file).lines() {
                let Some(name) = line.trim().strip_prefix("- name: ") else {
                    continue;
                };
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') {
                    continue;
                }
                named += 1;
                if !known.contains(name) && !OF_OTHERS.contains(&name) {
                    unknown.insert(format!("{}: {name}", file.display()));
                }
            }
        }
    }
    assert!(named > 40, "only {named} found");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// The program's own ports: the API's by its default, the admin port by the image's,
/// those at which it looks for Qdrant, and the console's by the quickstart.
fn ports() -> BTreeSet<String> {
    let command = Cli::command();
    let address = command
        .get_arguments()
        .find(|argument| argument.get_id() == "listen_addr")
        .unwrap();
    let api = address.get_default_values()[0].to_str().unwrap();
    let image = read(&here().join("Dockerfile"));
    let (_, admin) = image.split_once("RECSYS_ADMIN_ADDR=0.0.0.0:").unwrap();
    let qdrant = read(&here().join("src/adapters/qdrant/pool.rs"));
    let constant = |name: &str| {
        let (_, rest) = qdrant.split_once(&format!("const {name}: u16 = ")).unwrap();
        rest.split(';').next().unwrap().to_owned()
    };
    let quickstart = read(&here().join("src/cli/quickstart.rs"));
    let (_, console) = quickstart.split_once("Ipv4Addr::LOCALHOST), ").unwrap();
    [
        console.split(')').next().unwrap().replace('_', ""),
        api.rsplit(':').next().unwrap().to_owned(),
        admin.split_whitespace().next().unwrap().to_owned(),
        constant("GRPC_PORT"),
        constant("REST_PORT"),
    ]
    .into()
}

#[test]
fn every_port_that_is_named_is_one() {
    let known = ports();
    let mut unknown = BTreeSet::new();
    let mut named = 0;
    for (file, text) in documents() {
        let is_image = file.ends_with("Dockerfile");
        let is_chart = file.starts_with(here().join("helm/recsys/templates"));
        let in_addresses = words(&text)
            .windows(2)
            .filter(|pair| {
                pair[0]
                    .1
                    .strip_prefix(':')
                    .is_some_and(|rest| rest.starts_with(pair[1].0))
            })
            .map(|pair| pair[1].0)
            .filter(|word| (4..=5).contains(&word.len()))
            .filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
            // The user and group of the image.
            .filter(|word| !is_image || *word != "65532")
            .collect::<Vec<_>>();
        let in_keys = text
            .lines()
            .filter(|_| is_chart)
            .filter_map(|line| line.trim().trim_start_matches("- ").split_once(": "))
            .filter(|(key, _)| ["port", "containerPort"].contains(key))
            .map(|(_, port)| port)
            .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
            .collect::<Vec<_>>();
        for port in in_addresses.into_iter().chain(in_keys) {
            named += 1;
            if !known.contains(port) && !PORTS_OF_OTHERS.contains(&port) {
                unknown.insert(format!("{}: {port}", file.display()));
            }
        }
    }
    assert!(named > 60, "only {named} found");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// Names of the alerts, with the addresses of their sections.
fn alerts() -> Vec<(String, String)> {
    let text = read(&here().join("helm/recsys/files/alerts.yaml"));
    let after = |begin: &'static str| {
        text.lines()
            .filter_map(move |line| line.trim().strip_prefix(begin))
            .map(str::to_owned)
    };
    let names: Vec<String> = after("- alert: ").collect();
    let addresses: Vec<String> = after("runbook_url: ").collect();
    assert_eq!(names.len(), addresses.len(), "an address for each alert");
    names.into_iter().zip(addresses).collect()
}

#[test]
fn every_alert_has_its_section_in_the_runbook_and_no_section_is_left_over() {
    let runbook = read(&here().join("docs/operate/runbook.md"));
    let sections: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let alerts = alerts();
    assert!(alerts.len() > 15, "{alerts:?}");
    for (name, address) in &alerts {
        assert!(sections.contains(name.as_str()), "{name} has no section");
        let expected = format!("docs/operate/runbook.md#{}", name.to_lowercase());
        assert_eq!(address, &expected, "{name}");
    }
    assert_eq!(sections.len(), alerts.len(), "{sections:?}");
}

#[test]
fn every_section_of_the_runbook_says_what_it_means_what_to_look_at_and_what_to_do() {
    let runbook = read(&here().join("docs/operate/runbook.md"));
    for section in runbook.split("\n## ").skip(1) {
        for part in ["**Means**: ", "**Look at**: ", "**Do**: "] {
            assert!(section.contains(part), "no {part} in {section}");
        }
    }
}

#[test]
fn words_are_found_with_what_follows() {
    let found = words("a `B_*` h:50051.");
    let expected = [
        ("a", " `B_*` h:50051."),
        ("B_", "*` h:50051."),
        ("h", ":50051."),
        ("50051", "."),
    ];
    assert_eq!(found, expected);
    assert!(is_metric("recsys_lists_total") && !is_metric("recsys_Lists") && !is_metric("lists"));
}
