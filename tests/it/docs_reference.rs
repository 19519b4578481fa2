//! The pages of `docs/reference` are made from the code, or agree with it.
//!
//! `RENEW_DOCS=1 cargo test --test it docs_reference` writes the generated parts.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use clap::{Arg, Command, CommandFactory as _};
use recsys::{
    config::Cli,
    domain::ranking_config::{Preset, RankingConfig},
};
use toml::{Table, Value};

/// The text after this line of a page is generated.
const MARK: &str = "<!-- generated: RENEW_DOCS=1 cargo test --test it docs_reference -->\n";

fn page(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference");
    PathBuf::from(folder).join(name)
}

fn read(name: &str) -> String {
    let path = page(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Asserts that the generated part of a page is up to date, or writes it.
fn assert_generated(name: &str, generated: &str) {
    let text = read(name);
    let (written, current) = text.split_once(MARK).unwrap();
    let generated = format!("\n{}\n", generated.trim());
    if env::var_os("RENEW_DOCS").is_some_and(|given| !given.is_empty()) {
        fs::write(page(name), format!("{written}{MARK}{generated}")).unwrap();
        return;
    }
    let differs = generated
        .lines()
        .zip(current.lines().chain(std::iter::repeat("")))
        .find(|(generated, current)| generated != current);
    assert!(
        current == generated,
        "docs/reference/{name} is outdated (first: {differs:?}): RENEW_DOCS=1 cargo test --test it \
         docs_reference"
    );
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

/// A number of bytes as pages write it.
fn bytes(value: &str) -> Option<String> {
    let number: u64 = value.parse().ok()?;
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(shift, _)| number > 0 && number.is_multiple_of(1 << shift))
        .map(|(shift, unit)| format!("{} {unit}", number >> shift))
}

/// The default of a setting as the page shows it.
fn default_of(setting: &Arg) -> Option<String> {
    let values: Vec<&str> = setting
        .get_default_values()
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    let [value] = values[..] else {
        return None;
    };
    let names = setting.get_value_names().unwrap_or_default();
    let is_bytes = names.iter().any(|name| name.as_str() == "BYTES");
    match bytes(value).filter(|_| is_bytes) {
        Some(bytes) => Some(bytes),
        None if value.is_empty() => Some("empty".to_owned()),
        None => Some(format!("`{value}`")),
    }
}

/// The rows of a page's tables, by the text of their first cell without backticks.
fn rows(text: &str) -> BTreeMap<String, Vec<String>> {
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let inside = line.trim_start_matches('|').trim_end_matches('|');
            let cells: Vec<String> = inside
                .replace("\\|", "\u{0}")
                .split('|')
                .map(|cell| cell.trim().replace('\u{0}', "|"))
                .collect();
            (cells[0].trim_matches('`').to_owned(), cells)
        })
        .collect()
}

#[test]
fn the_settings_page_has_every_setting_with_its_default() {
    let rows = rows(&read("settings.md"));
    let command = Cli::command();
    let mut checked = 0;
    for setting in command.get_arguments() {
        let Some(variable) = setting.get_env() else {
            continue;
        };
        let variable = variable.to_str().unwrap();
        let row = rows
            .get(variable)
            .unwrap_or_else(|| panic!("no row of {variable}"));
        if variable == "RECSYS_LIMITS" {
            continue;
        }
        checked += 1;
        match default_of(setting) {
            Some(default) => assert_eq!(row[1], default, "{variable}"),
            None => assert!(!row[1].is_empty(), "{variable}"),
        }
    }
    assert!(checked > 50, "{checked} settings");
}

#[test]
fn the_settings_page_has_every_limit_with_its_default() {
    let text = read("settings.md");
    let (_, limits) = text.split_once("\n## Limits\n").unwrap();
    let rows = rows(limits);
    let command = Cli::command();
    let setting = command
        .get_arguments()
        .find(|setting| setting.get_id() == "limits")
        .unwrap();
    let defaults = setting.get_default_values()[0].to_str().unwrap();
    let mut names = BTreeSet::new();
    for limit in defaults.split(", ") {
        let (name, value) = limit.split_once('=').unwrap();
        let row = rows
            .get(name)
            .unwrap_or_else(|| panic!("no row of the limit {name}"));
        let is_bytes = name.ends_with("_bytes") && value.len() > 4;
        let shown = bytes(value).filter(|_| is_bytes);
        assert_eq!(row[1], shown.unwrap_or(format!("`{value}`")), "{name}");
        names.insert(name.to_owned());
    }
    assert_eq!(rows.into_keys().collect::<BTreeSet<_>>(), names);
}

/// All keys of a table that hold a value, by path.
fn keys(table: &Table, path: &str, all: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match value {
            Value::Table(table) => keys(table, &path, all),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => {
                all.insert(path, value.to_string());
            }
        }
    }
}

fn preset(preset: Preset) -> (String, Table) {
    let text = RankingConfig::of(preset).to_commented_toml().unwrap();
    let table = text.parse().unwrap();
    (text, table)
}

#[test]
fn the_ranking_page_has_every_key_and_what_the_presets_differ_in() {
    let (text, recsys) = preset(Preset::Recsys);
    let (_, reference) = preset(Preset::Reference);
    let [mut of_recsys, mut of_reference] = [BTreeMap::new(), BTreeMap::new()];
    keys(&recsys, "", &mut of_recsys);
    keys(&reference, "", &mut of_reference);
    let mut generated = format!("## Every key\n\n```toml\n{}\n```\n", text.trim_end());
    generated.push_str(
        "\n## The presets\n\nThe keys in which they differ:\n\n\
         | key | `recsys` | `reference` |\n| --- | --- | --- |\n",
    );
    for (key, value) in &of_recsys {
        let other = &of_reference[key];
        if key == "events" {
            generated.push_str("| `events` | [the table](events.md) | none |\n");
        } else if key != "preset" && value != other {
            writeln!(generated, "| `{key}` | `{value}` | `{other}` |").unwrap();
        }
    }
    assert_generated("ranking.md", &generated);
}

#[test]
fn the_events_page_has_every_event_type() {
    let (_, table) = preset(Preset::Recsys);
    let mut generated = String::from("| strength | types | |\n| --- | --- | --- |\n");
    for entry in table["events"].as_array().unwrap() {
        let types: Vec<String> = entry["types"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| format!("`{}`", name.as_str().unwrap()))
            .collect();
        let strength = entry["strength"].as_float().unwrap();
        let flags: Vec<&str> = ["weak", "done"]
            .into_iter()
            .filter(|flag| entry[*flag].as_bool().unwrap())
            .collect();
        writeln!(
            generated,
            "| {} | {} | {} |",
            format!("{strength:.1}").replace('-', "−"),
            types.join(", "),
            flags.join(", ")
        )
        .unwrap();
    }
    assert_generated("events.md", &generated);
}

#[test]
fn the_errors_page_has_every_reason() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/error.rs");
    let source = fs::read_to_string(path).unwrap();
    let is_reason = |text: &&str| {
        text.len() > 5
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    let reasons: BTreeSet<String> = source
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(is_reason)
        .map(str::to_owned)
        .collect();
    let text = read("errors.md");
    let (_, table) = text.split_once("\n## Reasons\n").unwrap();
    let documented: BTreeSet<String> = rows(table).into_keys().collect();
    assert_eq!(documented, reasons);
}

/// The part of a command, and of its subcommands.
fn command(command: &Command, path: &str, generated: &mut String) {
    let text = |text: Option<&clap::builder::StyledStr>| cell(&text.unwrap().to_string());
    let about = command.get_long_about().or(command.get_about());
    let mut usage = format!("recsys {path}");
    let mut arguments = Vec::new();
    for argument in command.get_arguments() {
        let hidden = argument.is_hide_set() || argument.is_global_set();
        if hidden || ["help", "version"].contains(&argument.get_id().as_str()) {
            continue;
        }
        let name = argument.get_value_names().unwrap_or_default();
        let name: Vec<&str> = name.iter().map(|name| name.as_str()).collect();
        let takes_value = argument.get_action().takes_values();
        let shown = match argument.get_long() {
            Some(flag) if takes_value => format!("--{flag} {}", name.join(" ")),
            Some(flag) => format!("--{flag}"),
            None => name.join(" "),
        };
        if argument.is_positional() {
            let required = argument.is_required_set();
            let name = if required {
                shown.clone()
            } else {
                format!("[{shown}]")
            };
            write!(usage, " {name}").unwrap();
        } else if argument.is_required_set() {
            write!(usage, " {shown}").unwrap();
        }
        let mut meaning = text(argument.get_help());
        if let Some(variable) = argument.get_env() {
            write!(meaning, "; `{}`", variable.to_str().unwrap()).unwrap();
        }
        let values: Vec<String> = argument
            .get_possible_values()
            .iter()
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        if takes_value && !values.is_empty() && !argument.is_hide_possible_values_set() {
            write!(meaning, ": {}", values.join(", ")).unwrap();
        }
        if let Some(default) = default_of(argument).filter(|_| takes_value) {
            write!(meaning, " (default {default})").unwrap();
        }
        arguments.push(format!("| `{}` | {meaning} |\n", cell(&shown)));
    }
    let subcommands: Vec<&Command> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && command.get_name() != "help")
        .collect();
    if subcommands.is_empty() {
        writeln!(generated, "\n## recsys {path}\n").unwrap();
        writeln!(generated, "{}.\n", text(about).trim_end_matches('.')).unwrap();
        writeln!(generated, "```text\n{usage}\n```").unwrap();
        if !arguments.is_empty() {
            arguments.sort();
            let rows = arguments.concat();
            writeln!(generated, "\n| | |\n| --- | --- |\n{}", rows.trim_end()).unwrap();
        }
    }
    for subcommand in subcommands {
        let name = subcommand.get_name();
        let path = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path} {name}")
        };
        self::command(subcommand, &path, generated);
    }
}

#[test]
fn the_command_line_page_has_every_command_and_flag() {
    let mut generated = String::new();
    command(&Cli::command(), "", &mut generated);
    assert!(generated.matches("\n## ").count() > 15, "{generated}");
    assert_generated("command-line.md", &generated);
}
