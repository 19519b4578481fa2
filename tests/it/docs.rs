//! What the documents claim of the tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use recsys::domain::ranking::scorers::SCORERS;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The tests of a source, by name.
fn tests_of(source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let name = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        let name = line.strip_prefix("fn ")?.split('(').next()?;
        Some(name.to_owned())
    };
    let marked = |line: &&[&str]| line[0] == "#[test]" || line[0].starts_with("#[tokio::test");
    lines
        .windows(2)
        .filter(marked)
        .filter_map(|pair| name(pair[1]))
        .collect()
}

/// The tests in the last cells of a table, between backticks: `file::test`.
fn named_tests(table: &str) -> Vec<String> {
    table
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.trim_end_matches('|').rsplit_once('|'))
        .flat_map(|(_, cell)| cell.split('`').skip(1).step_by(2))
        .filter(|name| name.contains("::"))
        .map(str::to_owned)
        .collect()
}

/// The tests that a text names between backticks: `file::test`.
fn mentioned_tests(text: &str) -> Vec<&str> {
    let is_path = |name: &&str| {
        name.contains("::")
            && name.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_:".contains(&byte)
            })
    };
    text.split('`').skip(1).step_by(2).filter(is_path).collect()
}

fn assert_exists(test: &str) {
    let (module, name) = test.rsplit_once("::").unwrap();
    let path = format!("tests/it/{}.rs", module.replace("::", "/"));
    let known = tests_of(&read(&here().join(&path)));
    assert!(
        known.iter().any(|known| known == name),
        "{test} is not in {path}"
    );
}

#[test]
fn every_test_that_a_document_names_exists() {
    for (document, at_least) in [("SECURITY.md", 30), ("docs/concepts/privacy.md", 5)] {
        let text = read(&here().join(document));
        let named = mentioned_tests(&text);
        assert!(named.len() >= at_least, "{document}: {named:?}");
        for test in named {
            assert_exists(test);
        }
    }
}

#[test]
fn every_attempt_in_the_threat_model_has_its_test() {
    let text = read(&here().join("SECURITY.md"));
    let (_, rows) = text.split_once("## What stops what").unwrap();
    let (rows, _) = rows.split_once("### Dependencies").unwrap();
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| ---");
    let rows: Vec<&str> = rows
        .lines()
        .filter(is_row)
        .filter(|row| !row.starts_with("| attempt"))
        .collect();
    assert!(rows.len() >= 25, "{} rows", rows.len());
    for row in rows {
        assert!(!named_tests(row).is_empty(), "{row}");
    }
}

#[test]
fn every_row_of_the_table_of_faults_names_a_test_and_every_test_has_a_row() {
    let reliability = read(&here().join("docs/operate/reliability.md"));
    let named = named_tests(&reliability);
    for test in &named {
        assert_exists(test);
    }
    for file in fs::read_dir(here().join("tests/it/faults")).unwrap() {
        let path = file.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for test in tests_of(&read(&path)) {
            let test = format!("faults::{module}::{test}");
            assert!(
                named.contains(&test),
                "{test} has no row in docs/operate/reliability.md"
            );
        }
    }
    let rows = reliability
        .lines()
        .skip_while(|line| !line.starts_with("| fault |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    for row in rows {
        assert!(!named_tests(row).is_empty(), "no test: {row}");
    }
}

#[test]
fn tests_are_found_in_sources_and_tables() {
    let source = "#[tokio::test(flavor = \"x\")]\nasync fn one() {\n}\n    #[test]\n    fn two() {\nfn three() {";
    assert_eq!(tests_of(source), ["one", "two"]);
    let table = "`a::x`\n| f | `b::y` | `c::d::z`, `e::w` |\n| f | none |";
    assert_eq!(named_tests(table), ["c::d::z", "e::w"]);
}

#[test]
fn the_service_config_that_is_shown_is_the_one_that_the_clients_read() {
    let page = read(&here().join("docs/guides/clients.md"));
    let shown = page.split("```json\n").nth(1).unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let used = read(&here().join("clients/service_config.json"));
    assert_eq!(shown, used);
}

/// The files below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The pages of the book, without its table of contents.
fn book() -> Vec<PathBuf> {
    let is_page = |file: &PathBuf| {
        file.extension().is_some_and(|kind| kind == "md") && !file.ends_with("SUMMARY.md")
    };
    below(&here().join("docs"))
        .into_iter()
        .filter(is_page)
        .collect()
}

/// The text without fenced code.
fn prose(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[test]
fn every_page_file_and_heading_that_is_linked_to_exists() {
    let mut pages = book();
    let others = [
        "README.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "docs/SUMMARY.md",
    ];
    pages.extend(others.map(|page| here().join(page)));
    let mut broken = Vec::new();
    let mut links = 0;
    for page in pages {
        let text = read(&page);
        for link in prose(&text).split("](").skip(1) {
            let (link, _) = link.split_once(')').unwrap();
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if file.starts_with("https:") {
                continue;
            }
            links += 1;
            let to = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            if !to.exists() || !(anchor.is_empty() || has_heading(&read(&to), anchor)) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(links > 100, "{links} links");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_table_of_contents_has_every_page_once() {
    let summary = read(&here().join("docs/SUMMARY.md"));
    let listed: Vec<&str> = summary
        .split("](")
        .skip(1)
        .map(|link| link.split(')').next().unwrap())
        .collect();
    for page in book() {
        let page = page.strip_prefix(here().join("docs")).unwrap();
        let page = page.to_str().unwrap();
        let times = listed.iter().filter(|listed| **listed == page).count();
        assert_eq!(times, 1, "{page} in docs/SUMMARY.md");
    }
}

/// Whether a page has a heading that is linked to in this way.
fn has_heading(page: &str, anchor: &str) -> bool {
    let spelt = |heading: &str| -> String {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
        heading
            .chars()
            .filter(kept)
            .collect::<String>()
            .replace(' ', "-")
    };
    page.lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| spelt(line) == anchor)
}

#[test]
fn the_page_about_lists_has_every_scorer_with_its_default_weight() {
    let page = read(&here().join("docs/concepts/lists.md"));
    for row in &SCORERS {
        let begin = format!("| `{}` |", row.name);
        let weight = format!("| {:.2} |", row.default_weight).replace('-', "−");
        let is_row = |line: &str| line.starts_with(&begin) && line.ends_with(&weight);
        assert!(page.lines().any(is_row), "{begin} {weight}");
    }
}
