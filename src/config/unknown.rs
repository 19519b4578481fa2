//! Environment variables that look like settings and are none, such as misspelt
//! ones.

use std::collections::BTreeSet;

use clap::Command;

use super::retired::retired_names;

/// The start of the variables that are ours alone.
const PREFIX: &str = "RECSYS_";
/// Edits between a variable of ours and the setting that is proposed for it, …
const MAX_EDITS: usize = 4;
/// … and those between a variable of any other program and one of our settings.
const MAX_FOREIGN_EDITS: usize = 1;
/// Shorter names of other programs are alike by chance.
const MIN_FOREIGN_BYTES: usize = 8;

/// Those of some variables that no setting of a command line has.
pub(super) fn unknown<'a>(
    command: &Command,
    set: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let mut settings = BTreeSet::new();
    add_variables(command, &mut settings);
    let retired: BTreeSet<&str> = retired_names().collect();
    let set: BTreeSet<&str> = set.into_iter().collect();
    let unknown: Vec<String> = set
        .iter()
        .filter(|name| !settings.contains(**name) && !retired.contains(**name))
        .filter_map(|name| described(name, &settings, &set))
        .collect();
    (!unknown.is_empty()).then(|| unknown.join(", "))
}

fn described(name: &str, settings: &BTreeSet<String>, set: &BTreeSet<&str>) -> Option<String> {
    let is_ours = name.starts_with(PREFIX);
    if !is_ours && name.len() < MIN_FOREIGN_BYTES {
        return None;
    }
    let most = if is_ours {
        MAX_EDITS
    } else {
        MAX_FOREIGN_EDITS
    };
    let nearest = settings
        .iter()
        .map(|setting| (strsim::osa_distance(setting, name), setting))
        .filter(|(edits, _)| *edits <= most)
        .min();
    match nearest {
        Some((_, setting)) if is_ours || !set.contains(setting.as_str()) => {
            Some(format!("{name} (did you mean {setting}?)"))
        }
        Some(_) => None,
        None => (is_ours && !is_service_link(name)).then(|| name.to_owned()),
    }
}

/// Whether Kubernetes sets the variable for a Service that is named after us.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || name.ends_with("_PORT")
}

/// The variables of a command and of those below it.
fn add_variables(command: &Command, variables: &mut BTreeSet<String>) {
    let named = command.get_arguments().filter_map(clap::Arg::get_env);
    variables.extend(named.map(|name| name.to_string_lossy().into_owned()));
    for below in command.get_subcommands() {
        add_variables(below, variables);
    }
}
