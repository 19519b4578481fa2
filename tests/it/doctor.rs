//! `recsys doctor` against real servers: its findings, and that its fixes work.

mod files;
mod qdrant;
mod redis;

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::program::{Served, recsys};

/// `recsys doctor` with timeouts that do not depend on the machine's speed.
fn doctor(settings: &[(&str, &str)]) -> Command {
    let mut command = recsys(&["doctor", "--timeout", "5m"]);
    command
        .env("RECSYS_LISTEN_ADDR", "127.0.0.1:0")
        .env("QDRANT_TIMEOUT", "60s")
        .envs(settings.iter().copied());
    command
}

/// A report as JSON, and the exit code.
struct Diagnosis {
    code: i32,
    report: Json,
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
            report: serde_json::from_slice(&output.stdout).unwrap(),
        }
    }

    fn findings(&self) -> &Vec<Json> {
        self.report["findings"].as_array().unwrap()
    }

    fn all(&self, group: &str, check: &str) -> Vec<&Json> {
        let all = self.findings().iter();
        all.filter(|finding| finding["group"] == group && finding["check"] == check)
            .collect()
    }

    /// Asserts that a check has one finding, of this level and with this text.
    fn says(&self, group: &str, check: &str, level: &str, found: &str) -> &Json {
        let [one] = self.all(group, check)[..] else {
            panic!("{group}/{check} in {:#}", self.report);
        };
        assert_eq!(one["level"], level, "{one:#}");
        assert!(text(&one["found"]).contains(found), "{found:?}: {one:#}");
        one
    }
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap()
}

/// The lines of a finding's fix.
fn fixes(finding: &Json) -> Vec<&str> {
    finding["do"].as_array().unwrap().iter().map(text).collect()
}

/// Runs a line of a fix in a shell that finds `recsys`.
fn follow(folder: &Path, line: &str, settings: &[(&str, &str)]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_recsys")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", program.display()))
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    let printed = printed(&output);
    assert!(output.status.success(), "{line}: {printed}");
    printed
}

fn printed(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

#[test]
fn without_stores_there_are_warnings_and_no_failure() {
    let diagnosis = Diagnosis::of(&[("RECSYS_MAX_LIMIT", "5")]);
    assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.report);
    diagnosis.says("embedded", "user state", "warn", "REDIS_URL is not set");
    diagnosis.says("embedded", "catalogue", "warn", "QDRANT_API_URL is not set");
    diagnosis.says("settings", "listen address", "ok", "is free");
    let retired = "RECSYS_MAX_LIMIT (RECSYS_LIMITS=limit=N)";
    diagnosis.says("settings", "retired variables", "warn", retired);
    for (group, check) in [
        ("tenants", "tenants file"),
        ("tls", "API's port"),
        ("ranking", "ranking file"),
        ("request ids", "key file"),
    ] {
        diagnosis.says(group, check, "ok", "");
    }
    assert_eq!(Diagnosis::with(&[], &["--strict"]).code, 1);
}

#[test]
fn text_and_json_have_the_same_findings_and_no_secret() {
    let settings = [
        ("REDIS_URL", "redis://app:hunter2@127.0.0.1:1"),
        ("REDIS_SENTINEL_PASSWORD", "hunter3"),
        ("QDRANT_API_URL", "http://127.0.0.1:1"),
        ("QDRANT_API_KEY", "hunter4"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter5"),
    ];
    let diagnosis = Diagnosis::of(&settings);
    assert_eq!(diagnosis.code, 1, "{:#}", diagnosis.report);
    let output = doctor(&settings).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(diagnosis.report["exit_code"], 1);
    let report = printed(&output);
    assert!(!report.contains("hunter"), "{report}");
    assert!(!diagnosis.report.to_string().contains("hunter"));
    for finding in diagnosis.findings() {
        let (level, check) = (text(&finding["level"]), text(&finding["check"]));
        let line = format!("  {level:<4}  {check}: {}", text(&finding["found"]));
        assert!(report.contains(&line), "{line:?} is not in:\n{report}");
        for line in fixes(finding) {
            assert!(
                report.contains(&format!("do: {line}\n")),
                "{line:?}:\n{report}"
            );
        }
        assert_eq!(fixes(finding).is_empty(), level == "ok", "{finding:#}");
    }
    assert!(
        !report.contains('\u{1b}'),
        "no colour when not on a terminal"
    );
    diagnosis.says("settings", "traces", "ok", "is valid");
}

/// Settings that `serve` refuses; the section, the check, and how its fix begins.
const REFUSED: &str = "
REDIS_URL=http://:hunter2@h                 | redis, settings, export REDIS_URL=
QDRANT_API_URL=grpc://hunter2@h             | qdrant, settings, export QDRANT_API_URL=
RECSYS_LISTEN_ADDR=0.0.0.0:0                | settings, callers, (umask
RECSYS_RANKING_PATH=/nonexistent            | ranking, ranking file, ls -l
RECSYS_LIMITS=limit=5                       | ranking, ranking file, export RECSYS_LIMITS=limit=10
RECSYS_REQUEST_ID_KEY_FILE=/nonexistent     | request ids, key file, ls -l
RECSYS_REQUEST_ID_KEY_FILE=/dev/null RECSYS_LIMITS=id_bytes=99 | request ids, key file, export RECSYS_LIMITS=id_bytes=440
RECSYS_REQUEST_ID_KEY_FILE=/dev/null        | request ids, key file, chmod o=
CATALOG_PATH=/nonexistent                   | embedded, catalogue, ls -l
OTEL_EXPORTER_OTLP_ENDPOINT=hunter2         | settings, traces, export OTEL_
RECSYS_WEBHOOK_ADDR=0.0.0.0:0               | settings, deliveries, export RECSYS_WEBHOOK_SECRET=
RECSYS_WEBHOOK_ADDR=127.0.0.1:0 TENANTS SECRET  | settings, deliveries, unset RECSYS_WEBHOOK_SECRET
";

#[test]
fn what_serve_refuses_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[tenants.shop]\ncollection = \"shop\"\n").unwrap();
    let tenants = format!("RECSYS_TENANTS_PATH={}", file.path().display());
    let refused = REFUSED.replace("TENANTS", &tenants);
    let refused = refused.replace("SECRET ", "RECSYS_WEBHOOK_SECRET=hunter2-hunter2-hunter2 ");
    for line in refused.trim().lines() {
        let (settings, expected) = line.split_once('|').unwrap();
        let settings = settings.split_whitespace();
        let settings: Vec<_> = settings.map(|one| one.split_once('=').unwrap()).collect();
        let diagnosis = Diagnosis::of(&settings);
        assert_eq!(diagnosis.code, 2, "{line}");
        assert!(!diagnosis.report.to_string().contains("hunter2"), "{line}");
        let [group, check, fix] = expected.splitn(3, ", ").collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let finding = diagnosis.says(group.trim(), check, "fail", "");
        assert!(fixes(finding)[0].starts_with(fix), "{finding:#}");
        let mut serve = recsys(&["serve"]);
        serve.env("RECSYS_LISTEN_ADDR", "127.0.0.1:0");
        let served = serve.envs(settings.iter().copied()).output().unwrap();
        assert_eq!(served.status.code(), Some(2), "{line}");
    }
    let invalid = doctor(&[("EVENT_WINDOW_DAYS", "0")]).output().unwrap();
    assert_eq!(invalid.status.code(), Some(2));
}

#[test]
fn a_public_address_needs_a_tenants_file_or_a_flag() {
    let public = ("RECSYS_LISTEN_ADDR", "0.0.0.0:0");
    let diagnosis = Diagnosis::of(&[public]);
    let callers = diagnosis.says("settings", "callers", "fail", "without a tenants file");
    let folder = TempDir::new().unwrap();
    follow(folder.path(), fixes(callers)[0], &[]);
    let key = follow(folder.path(), fixes(callers)[1], &[]);
    let entry = key.split("Add to the tenants file:").nth(1).unwrap();
    let file = folder.path().join("tenants.toml");
    let tenants = std::fs::read_to_string(&file).unwrap() + entry;
    std::fs::write(&file, tenants).unwrap();
    let guarded = Diagnosis::of(&[public, ("RECSYS_TENANTS_PATH", file.to_str().unwrap())]);
    assert_eq!(guarded.code, 0, "{:#}", guarded.report);
    guarded.says("tenants", "tenants file", "ok", "1 tenants, 1 keys");
    for (group, check) in [("tenants", "file mode"), ("settings", "callers")] {
        assert!(guarded.all(group, check).is_empty(), "{check}");
    }
    let flag = ("RECSYS_INSECURE_ALLOW_UNAUTHENTICATED", "true");
    let diagnosis = Diagnosis::of(&[public, flag]);
    assert_eq!(diagnosis.code, 0);
    diagnosis.says("settings", "callers", "warn", "everyone who reaches");
}

#[test]
fn a_console_that_the_server_would_refuse_is_reported_with_ways_to_guard_it() {
    let diagnosis = Diagnosis::of(&[("RECSYS_CONSOLE_ADDR", "0.0.0.0:0")]);
    assert_eq!(diagnosis.code, 2, "{:#}", diagnosis.report);
    let open = diagnosis.says("settings", "console", "fail", "can be reached");
    let fixes = fixes(open);
    for fix in [
        "export RECSYS_TENANTS_PATH=",
        "export RECSYS_TLS_CERT_FILE=",
        "export RECSYS_CONSOLE_ADDR=127.0.0.1:0 ",
    ] {
        assert!(fixes.iter().any(|line| line.starts_with(fix)), "{fixes:?}");
    }
    let diagnosis = Diagnosis::of(&[("RECSYS_CONSOLE_ADDR", "127.0.0.1:0")]);
    assert!(diagnosis.all("settings", "console").is_empty());
    diagnosis.says("settings", "console address", "ok", "is free");
}

#[test]
fn addresses_in_use_fail_unless_recsys_itself_uses_them() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    for (check, setting) in [
        ("listen address", "RECSYS_LISTEN_ADDR"),
        ("webhook address", "RECSYS_WEBHOOK_ADDR"),
        ("console address", "RECSYS_CONSOLE_ADDR"),
    ] {
        let diagnosis = Diagnosis::of(&[(setting, &address)]);
        assert_eq!(diagnosis.code, 1, "{:#}", diagnosis.report);
        let in_use = diagnosis.says("settings", check, "fail", "in use");
        let fix = format!("export {setting}=");
        assert!(fixes(in_use)[0].starts_with(&fix), "{in_use:#}");
    }
    // Free a moment ago; two settings name it.
    drop(other);
    let twice = [
        ("RECSYS_ADMIN_ADDR", &*address),
        ("RECSYS_WEBHOOK_ADDR", &address),
    ];
    let diagnosis = Diagnosis::of(&twice);
    diagnosis.says("settings", "webhook address", "fail", "in use");

    let mut command = recsys(&["serve"]);
    let served = Served::start(command.env("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0"));
    let webhook = served.seen.split("taking deliveries address=").nth(1);
    let webhook = webhook.unwrap().split_whitespace().next().unwrap();
    let diagnosis = Diagnosis::of(&[
        ("RECSYS_LISTEN_ADDR", &served.address),
        ("RECSYS_WEBHOOK_ADDR", webhook),
    ]);
    assert_eq!(diagnosis.code, 0, "{:#}", diagnosis.report);
    for check in ["listen address", "webhook address"] {
        diagnosis.says("settings", check, "ok", "a running recsys is SERVING");
    }
}
