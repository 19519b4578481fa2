//! `recsys ranking show`: prints a ranking file with every key.

use std::process::ExitCode;

use super::exit;
use crate::{
    app,
    config::{RankingCommand, Settings},
};

/// Runs a command of the ranking file.
#[must_use]
pub(super) fn run(settings: &Settings, command: &RankingCommand) -> ExitCode {
    let RankingCommand::Show { file } = command;
    let path = file.as_deref().or(settings.ranking_path.as_deref());
    let config = match app::ranking(settings, path) {
        Ok(config) => config,
        Err(error) => return exit::failed(&error, error.is_bad_input()),
    };
    match config.to_commented_toml() {
        Ok(text) => {
            anstream::print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => exit::failed(error, false),
    }
}
