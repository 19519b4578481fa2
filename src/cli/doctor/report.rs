//! Findings, and how they are printed.

use std::fmt;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

const BOLD: Style = Style::new().bold();

/// How severe a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Good, or not known.
    Ok,
    /// The service works, but not as well or as safely as it could.
    Warn,
    /// The service does not start, does not work, or loses data.
    Fail,
}

/// The result of a check.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// The section of the report.
    group: &'static str,
    /// The name of the check.
    check: &'static str,
    #[serde(rename = "level")]
    severity: Severity,
    /// What was found. Holds no secret.
    found: String,
    /// How to fix it: lines for a shell.
    #[serde(rename = "do")]
    fixes: Vec<String>,
    /// Whether `serve` would refuse to start.
    refused: bool,
}

/// A section of the report, by its name; makes its findings.
#[derive(Clone, Copy)]
pub(super) struct Section(pub(super) &'static str);

impl Section {
    pub(super) fn ok(self, check: &'static str, found: impl ToString) -> Finding {
        self.finding(check, Severity::Ok, found)
    }

    pub(super) fn warn(self, check: &'static str, found: impl ToString) -> Finding {
        self.finding(check, Severity::Warn, found)
    }

    pub(super) fn fail(self, check: &'static str, found: impl ToString) -> Finding {
        self.finding(check, Severity::Fail, found)
    }

    pub(super) fn finding(
        self,
        check: &'static str,
        severity: Severity,
        found: impl ToString,
    ) -> Finding {
        Finding {
            group: self.0,
            check,
            severity,
            found: printable(&found.to_string()),
            fixes: Vec::new(),
            refused: false,
        }
    }
}

impl Finding {
    /// Adds a line to the fix.
    pub(super) fn fix(mut self, line: impl AsRef<str>) -> Self {
        self.fixes.push(printable(line.as_ref()));
        self
    }

    /// `serve` would refuse to start.
    pub(super) fn refused(mut self) -> Self {
        self.refused = true;
        self
    }
}

/// The text without control characters: files and servers may contain anything, and a
/// terminal interprets it.
fn printable(text: &str) -> String {
    text.replace('\n', "; ").replace(char::is_control, " ")
}

/// All findings.
#[derive(Serialize)]
pub(super) struct Report {
    exit_code: u8,
    ok: usize,
    warn: usize,
    fail: usize,
    findings: Vec<Finding>,
}

impl Report {
    /// The exit code is 2 if `serve` would refuse to start, 1 if there is a failure, or
    /// with `strict` a warning, otherwise 0.
    pub(super) fn new(findings: Vec<Finding>, strict: bool) -> Self {
        let count = |severity| {
            findings
                .iter()
                .filter(|one| one.severity == severity)
                .count()
        };
        let (ok, warn, fail) = (
            count(Severity::Ok),
            count(Severity::Warn),
            count(Severity::Fail),
        );
        let failed = fail > 0 || strict && warn > 0;
        let refused = findings.iter().any(|finding| finding.refused);
        Self {
            exit_code: if refused { 2 } else { u8::from(failed) },
            ok,
            warn,
            fail,
            findings,
        }
    }

    pub(super) fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// The report as one JSON object.
    pub(super) fn json(&self) -> String {
        // Texts and numbers always serialize.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut group = "";
        for finding in &self.findings {
            if std::mem::replace(&mut group, finding.group) != finding.group {
                writeln!(f, "{BOLD}{group}{BOLD:#}")?;
            }
            let (level, style) = match finding.severity {
                Severity::Ok => ("ok", AnsiColor::Green.on_default()),
                Severity::Warn => ("warn", AnsiColor::Yellow.on_default()),
                Severity::Fail => ("fail", AnsiColor::Red.on_default().bold()),
            };
            let Finding { check, found, .. } = finding;
            writeln!(f, "  {style}{level:<4}{style:#}  {check}: {found}")?;
            for line in &finding.fixes {
                writeln!(f, "        do: {line}")?;
            }
        }
        let verdict = match self.exit_code {
            0 => "no failures",
            1 => "failures found",
            _ => "recsys would not start",
        };
        let Self { ok, warn, fail, .. } = self;
        writeln!(
            f,
            "\n{BOLD}{verdict}{BOLD:#}: {ok} ok, {warn} warnings, {fail} failures"
        )
    }
}
