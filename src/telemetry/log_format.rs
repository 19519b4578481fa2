//! The format of log lines.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text at a terminal, JSON otherwise
    #[default]
    Auto,
    /// Text
    Text,
    /// JSON, one object per line
    Json,
}

impl LogFormat {
    /// Whether lines are JSON.
    #[must_use]
    pub fn is_json(self) -> bool {
        match self {
            Self::Auto => !io::stderr().is_terminal(),
            Self::Text => false,
            Self::Json => true,
        }
    }
}
