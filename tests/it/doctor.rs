//! `recsys doctor` against real servers: what it finds, what it says to do, and
//! that doing so mends it.

mod files;
mod qdrant;
mod redis;

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::program::{Served, recsys};

/// A run of it: no time-out depends on the machine's speed.
fn doctor(settings: &[(&str, &str)]) -> Command {
    let mut command = recsys(&["doctor", "--timeout", "5m"]);
    command
        .env("RECSYS_LISTEN_ADDR", "127.0.0.1:0")
        .env("QDRANT_TIMEOUT", "60s")
        .env("QDRANT_CONNECT_TIMEOUT", "60s")
        .envs(settings.iter().copied());
    command
}

/// What it found, as JSON, and how it ended.
struct Diagnosis {
    code: i32,
    told: Json,
}

impl Diagnosis {
    fn of(settings: &[(&str, &str)]) -> Self {
        Self::with(settings, &[])
    }

    fn with(settings: &[(&str, &str)], flags: &[&str]) -> Self {
        let mut command = doctor(settings);
        let output = command.arg("--json").args(flags).output().unwrap();
        Self {
            code: output.status.code().unwrap(),
            told: serde_json::from_slice(&output.stdout).unwrap(),
        }
    }

    fn findings(&self) -> &Vec<Json> {
        self.told["findings"].as_array().unwrap()
    }

    /// The findings of one check.
    fn all(&self, group: &str, check: &str) -> Vec<&Json> {
        let all = self.findings().iter();
        all.filter(|finding| finding["group"] == group && finding["check"] == check)
            .collect()
    }

    /// The one finding of a check.
    fn one(&self, group: &str, check: &str) -> &Json {
        match self.all(group, check).as_slice() {
            [one] => one,
            other => panic!("{group}/{check}: {other:?} of {:#}", self.told),
        }
    }

    /// Asserts a finding of this level that says this.
    fn says(&self, group: &str, check: &str, level: &str, found: &str) -> &Json {
        let one = self.one(group, check);
        assert_eq!(one["level"], level, "{one:#}");
        assert!(text(&one["found"]).contains(found), "{found:?}: {one:#}");
        one
    }

    fn is_well(&self, group: &str, check: &str) {
        let all = self.all(group, check);
        assert!(!all.is_empty(), "no {group}/{check} in {:#}", self.told);
        for finding in all {
            assert_eq!(finding["level"], "ok", "{finding:#}");
        }
    }
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap()
}

/// What a finding says to do.
fn todo(finding: &Json) -> Vec<&str> {
    finding["do"].as_array().unwrap().iter().map(text).collect()
}

/// Does what a line says, as it stands, in a shell that knows `recsys`.
fn follow(line: &str, settings: &[(&str, &str)]) -> String {
    follow_in(&std::env::temp_dir(), line, settings)
}

fn follow_in(folder: &Path, line: &str, settings: &[(&str, &str)]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_recsys")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", program.display()))
        .envs(settings.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A password, if one is asked for.
    shell.stdin.take().unwrap().write_all(b"hunter2\n").unwrap();
    let output = shell.wait_with_output().unwrap();
    let told = said(&output);
    assert!(output.status.success(), "{line}: {told}");
    told
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

#[test]
fn without_stores_it_warns_that_nothing_lasts_and_ends_well() {
    let diagnosis = Diagnosis::of(&[]);
    assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.told);
    diagnosis.says("embedded", "user state", "warn", "REDIS_URL is not set");
    diagnosis.says("embedded", "catalogue", "warn", "QDRANT_API_URL is not set");
    diagnosis.says("settings", "listen address", "ok", "is free");
    diagnosis.is_well("tenants", "tenants file");
    diagnosis.is_well("tls", "API's port");
    diagnosis.is_well("ranking", "ranking file");
    assert_eq!(Diagnosis::with(&[], &["--strict"]).code, 1);
}

#[test]
fn people_and_machines_are_told_the_same() {
    let settings = [("REDIS_URL", "redis://127.0.0.1:1")];
    let diagnosis = Diagnosis::of(&settings);
    let output = doctor(&settings).output().unwrap();
    assert_eq!(output.status.code(), Some(diagnosis.code));
    assert_eq!(diagnosis.told["exit_code"], diagnosis.code);
    let told = String::from_utf8(output.stdout).unwrap();
    for finding in diagnosis.findings() {
        let (level, check) = (text(&finding["level"]), text(&finding["check"]));
        let line = format!("  {level:<4}  {check}: {}", text(&finding["found"]));
        assert!(told.contains(&line), "{line:?} is not in:\n{told}");
        for line in todo(finding) {
            assert!(told.contains(&format!("do: {line}\n")), "{line:?}:\n{told}");
        }
        assert_eq!(todo(finding).is_empty(), level == "ok", "{finding:#}");
    }
    assert!(!told.contains('\u{1b}'), "no colour when not on a terminal");
    for level in ["ok", "warn", "fail"] {
        let count = diagnosis.findings().iter();
        let count = count.filter(|finding| finding["level"] == level).count();
        assert_eq!(diagnosis.told[level], count, "{level}");
    }
}

#[test]
fn settings_that_do_not_parse_end_it_with_2() {
    for (setting, value) in [
        ("EVENT_WINDOW_DAYS", "0"),
        ("REDIS_URL", "http://:hunter2@h"),
        ("QDRANT_API_URL", "grpc://hunter2@h"),
        ("RECSYS_LISTEN_ADDR", "0.0.0.0:0"),
        ("RECSYS_RANKING_PATH", "/nonexistent"),
        ("CATALOG_PATH", "/nonexistent"),
        ("RECSYS_MAX_LIMIT", "5"),
    ] {
        let output = doctor(&[(setting, value)]).output().unwrap();
        let told = said(&output);
        assert_eq!(output.status.code(), Some(2), "{setting}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn an_address_that_others_reach_needs_keys_or_a_word() {
    let open = [("RECSYS_LISTEN_ADDR", "0.0.0.0:0")];
    let diagnosis = Diagnosis::of(&open);
    let callers = diagnosis.says("settings", "callers", "fail", "no tenants file");
    let folder = TempDir::new().unwrap();
    let lines = todo(callers);
    follow_in(folder.path(), lines[0], &[]);
    let key = follow_in(folder.path(), lines[1], &[]);
    let entry = key.split("Add to the tenants file:").nth(1).unwrap();
    let file = folder.path().join("tenants.toml");
    let begun = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, begun + entry).unwrap();
    let file = file.to_str().unwrap();
    let guarded = Diagnosis::of(&[open[0], ("RECSYS_TENANTS_PATH", file)]);
    assert_eq!(guarded.code, 0, "{:#}", guarded.told);
    guarded.says("tenants", "tenants file", "ok", "1 tenants, 1 keys");
    assert!(guarded.all("tenants", "file mode").is_empty());
    assert!(guarded.all("settings", "callers").is_empty());
    let said = ("RECSYS_INSECURE_ALLOW_UNAUTHENTICATED", "true");
    let diagnosis = Diagnosis::of(&[open[0], said]);
    assert_eq!(diagnosis.code, 0);
    diagnosis.says("settings", "callers", "warn", "everyone who reaches");
}

/// What `serve` says to settings that it refuses.
fn serve_refuses(settings: &[(&str, &str)]) {
    let mut serve = recsys(&["serve"]);
    serve.env("RECSYS_LISTEN_ADDR", "127.0.0.1:0");
    let output = serve.envs(settings.iter().copied()).output().unwrap();
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{settings:?}: {told}");
}

#[test]
fn a_collector_that_serve_refuses_is_refused() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    for (settings, named) in [
        (
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "hunter2")],
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        (
            vec![endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")],
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
        (
            vec![endpoint, ("OTEL_RESOURCE_ATTRIBUTES", "hunter2")],
            "OTEL_RESOURCE_ATTRIBUTES",
        ),
    ] {
        let diagnosis = Diagnosis::of(&settings);
        assert_eq!(diagnosis.code, 2, "{:#}", diagnosis.told);
        let traces = diagnosis.says("settings", "traces", "fail", named);
        assert!(todo(traces)[0].starts_with(&format!("export {named}=")));
        assert!(!diagnosis.told.to_string().contains("hunter"));
        serve_refuses(&settings);
    }
    let understood = Diagnosis::of(&[
        endpoint,
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2"),
    ]);
    assert_eq!(understood.code, 0, "{:#}", understood.told);
    understood.is_well("settings", "traces");
    assert!(!understood.told.to_string().contains("hunter"));
    // Without a collector they are not looked at.
    let unused = Diagnosis::of(&[("OTEL_RESOURCE_ATTRIBUTES", "foo")]);
    assert_eq!(unused.code, 0);
    assert!(unused.all("settings", "traces").is_empty());
}

#[test]
fn a_webhook_that_serve_refuses_is_refused() {
    let folder = TempDir::new().unwrap();
    let tenants = folder.path().join("tenants.toml");
    std::fs::write(&tenants, "[tenants.shop]\ncollection = \"shop\"\n").unwrap();
    let local = ("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0");
    let open = ("RECSYS_WEBHOOK_ADDR", "0.0.0.0:0");
    let secret = ("RECSYS_WEBHOOK_SECRET", "hunter2");
    let keyed = ("RECSYS_TENANTS_PATH", tenants.to_str().unwrap());
    for (settings, told, way_out) in [
        (
            vec![local, secret, keyed],
            "for a server without a tenants file",
            "unset RECSYS_WEBHOOK_SECRET",
        ),
        (
            vec![open],
            "may deliver events of any user",
            "export RECSYS_WEBHOOK_SECRET=",
        ),
    ] {
        let diagnosis = Diagnosis::of(&settings);
        assert_eq!(diagnosis.code, 2, "{:#}", diagnosis.told);
        let deliveries = diagnosis.says("settings", "deliveries", "fail", told);
        assert!(todo(deliveries)[0].starts_with(way_out), "{deliveries:#}");
        assert!(!diagnosis.told.to_string().contains("hunter"));
        serve_refuses(&settings);
    }
    for settings in [vec![local], vec![open, secret], vec![open, keyed]] {
        let diagnosis = Diagnosis::of(&settings);
        assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.told);
        diagnosis.says("settings", "webhook address", "ok", "is free");
        assert!(diagnosis.all("settings", "deliveries").is_empty());
    }
}

#[test]
fn a_webhook_address_in_use_is_told() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let diagnosis = Diagnosis::of(&[("RECSYS_WEBHOOK_ADDR", &address)]);
    assert_eq!(diagnosis.code, 1, "{:#}", diagnosis.told);
    let taken = diagnosis.says("settings", "webhook address", "fail", "another program");
    assert!(
        todo(taken)[0].starts_with("export RECSYS_WEBHOOK_ADDR="),
        "{taken:#}"
    );
}

#[test]
fn addresses_that_are_one_fail() {
    // Free a moment ago; whoever takes it meanwhile changes nothing here.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let (local, all) = (format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"));
    let secret = ("RECSYS_WEBHOOK_SECRET", "hunter2");
    for (admin, webhook) in [(&local, &local), (&local, &all), (&all, &local)] {
        let diagnosis = Diagnosis::of(&[
            ("RECSYS_ADMIN_ADDR", admin),
            ("RECSYS_WEBHOOK_ADDR", webhook),
            secret,
        ]);
        assert_eq!(diagnosis.code, 1, "{:#}", diagnosis.told);
        let one = "cannot be listened on both";
        let one = diagnosis.says("settings", "addresses", "fail", one);
        assert!(
            todo(one)[0].starts_with("export RECSYS_WEBHOOK_ADDR="),
            "{one:#}"
        );
    }
    let any = "127.0.0.1:0";
    let apart = Diagnosis::of(&[("RECSYS_ADMIN_ADDR", any), ("RECSYS_WEBHOOK_ADDR", any)]);
    assert_eq!(apart.code, 0, "{:#}", apart.told);
    assert!(apart.all("settings", "addresses").is_empty());
}

#[test]
fn a_running_recsys_is_told_from_another_program() {
    let mut command = recsys(&["serve"]);
    let served = Served::start(command.env("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0"));
    let (_, webhook) = served
        .seen
        .split_once("taking deliveries address=")
        .unwrap();
    let webhook = webhook.split_whitespace().next().unwrap();
    let diagnosis = Diagnosis::of(&[
        ("RECSYS_LISTEN_ADDR", &served.address),
        ("RECSYS_WEBHOOK_ADDR", webhook),
    ]);
    assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.told);
    let running = "in use by a running recsys, which is SERVING";
    diagnosis.says("settings", "listen address", "ok", running);
    let running = "in use by a running recsys, which takes deliveries";
    diagnosis.says("settings", "webhook address", "ok", running);

    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let diagnosis = Diagnosis::of(&[("RECSYS_LISTEN_ADDR", &address)]);
    assert_eq!(diagnosis.code, 1);
    let taken = diagnosis.says("settings", "listen address", "fail", "another program");
    assert!(
        todo(taken)[0].starts_with("export RECSYS_LISTEN_ADDR="),
        "{taken:#}"
    );
}

#[test]
fn no_secret_is_told() {
    let settings = [
        ("REDIS_URL", "redis://app:hunter2@127.0.0.1:1"),
        ("REDIS_SENTINEL_PASSWORD", "hunter3"),
        ("QDRANT_API_URL", "http://127.0.0.1:1"),
        ("QDRANT_API_KEY", "hunter4"),
    ];
    for flags in [&[][..], &["--json"]] {
        let output = doctor(&settings).args(flags).output().unwrap();
        let told = said(&output);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(!told.contains("hunter"), "{told}");
        assert!(told.contains("$QDRANT_API_KEY"), "{told}");
    }
}
