//! What was found, and how it is told.

use std::fmt;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

const BOLD: Style = Style::new().bold();

/// How much what was found matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is as it should be, or cannot be told.
    Ok,
    /// The service works, but not as well or as safely as it could.
    Warn,
    /// The service does not start, does not work, or loses what it took.
    Fail,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Ok => AnsiColor::Green.on_default(),
            Self::Warn => AnsiColor::Yellow.on_default(),
            Self::Fail => AnsiColor::Red.on_default().bold(),
        }
    }
}

/// What findings are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    Settings,
    Redis,
    Qdrant,
    Tenants,
    Tls,
    Ranking,
    Embedded,
}

impl Group {
    fn title(self) -> &'static str {
        match self {
            Self::Settings => "Settings",
            Self::Redis => "Redis",
            Self::Qdrant => "Qdrant",
            Self::Tenants => "Tenants and keys",
            Self::Tls => "TLS",
            Self::Ranking => "Ranking file",
            Self::Embedded => "Embedded stores",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at: the same words each time.
    pub check: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What was found. No secrets.
    pub found: String,
    /// What to do: lines for a shell.
    #[serde(rename = "do")]
    pub todo: Vec<String>,
    /// Whether `serve` would refuse to start with these settings or files.
    pub refused: bool,
}

impl Finding {
    fn new(check: &'static str, level: Level, found: impl Into<String>) -> Self {
        // Files and servers may hold anything, a terminal takes some of it as
        // commands.
        let found = found.into().replace('\n', "; ");
        Self {
            check,
            level,
            found: found.replace(char::is_control, " "),
            todo: Vec::new(),
            refused: false,
        }
    }

    pub(super) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, found)
    }

    pub(super) fn warn(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Warn, found)
    }

    pub(super) fn fail(check: &'static str, found: impl Into<String>) -> Self {
        Self::new(check, Level::Fail, found)
    }

    /// With one more line of what to do.
    pub(super) fn todo(mut self, line: impl Into<String>) -> Self {
        self.todo.push(line.into().replace(char::is_control, " "));
        self
    }

    /// `serve` would not start.
    pub(super) fn refused(self) -> Self {
        Self {
            refused: true,
            ..self
        }
    }
}

/// All that was found.
#[derive(Debug)]
pub struct Report {
    groups: Vec<(Group, Vec<Finding>)>,
    strict: bool,
}

/// As machines read it.
#[derive(Serialize)]
struct Told<'a> {
    exit_code: u8,
    ok: usize,
    warn: usize,
    fail: usize,
    findings: Vec<Grouped<'a>>,
}

#[derive(Serialize)]
struct Grouped<'a> {
    group: Group,
    #[serde(flatten)]
    finding: &'a Finding,
}

impl Report {
    pub(super) fn new(groups: Vec<(Group, Vec<Finding>)>, strict: bool) -> Self {
        Self { groups, strict }
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.groups.iter().flat_map(|(_, findings)| findings)
    }

    fn count(&self, level: Level) -> usize {
        let of_level = self.findings().filter(|finding| finding.level == level);
        of_level.count()
    }

    /// 2 if `serve` would refuse the settings, 1 if something fails, otherwise 0.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let worst = if self.strict {
            Level::Warn
        } else {
            Level::Fail
        };
        if self.findings().any(|finding| finding.refused) {
            2
        } else {
            u8::from(self.findings().any(|finding| finding.level >= worst))
        }
    }

    /// As one JSON object.
    #[must_use]
    pub fn json(&self) -> String {
        let grouped = self.groups.iter().flat_map(|(group, findings)| {
            let group = *group;
            findings
                .iter()
                .map(move |finding| Grouped { group, finding })
        });
        let told = Told {
            exit_code: self.exit_code(),
            ok: self.count(Level::Ok),
            warn: self.count(Level::Warn),
            fail: self.count(Level::Fail),
            findings: grouped.collect(),
        };
        // Texts and numbers alone: they can always be written.
        serde_json::to_string_pretty(&told).unwrap_or_default()
    }
}

/// As people read it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (group, findings) in &self.groups {
            if findings.is_empty() {
                continue;
            }
            writeln!(f, "{BOLD}{}{BOLD:#}", group.title())?;
            for finding in findings {
                let (style, level) = (finding.level.style(), finding.level.name());
                let Finding { check, found, .. } = finding;
                writeln!(f, "  {style}{level:<4}{style:#}  {check}: {found}")?;
                for line in &finding.todo {
                    writeln!(f, "        do: {line}")?;
                }
            }
        }
        let (warnings, failures) = (self.count(Level::Warn), self.count(Level::Fail));
        let ok = self.count(Level::Ok);
        let verdict = match self.exit_code() {
            0 => "all well",
            1 => "not well",
            _ => "recsys would not start",
        };
        let verdict = format!("{BOLD}{verdict}{BOLD:#}");
        writeln!(
            f,
            "\n{verdict}: {ok} ok, {warnings} to warn of, {failures} failed"
        )
    }
}
