//! What the documents claim of the tests.

use std::{fs, path::Path};

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

/// The last cells of a table's rows, between backticks: `file::test`.
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

/// The tests that a text names anywhere, likewise.
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
    for (document, at_least) in [("SECURITY.md", 30), ("docs/privacy.md", 5)] {
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
    let reliability = read(&here().join("docs/reliability.md"));
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
                "{test} has no row in docs/reliability.md"
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
