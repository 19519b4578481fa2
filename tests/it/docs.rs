//! What the documents name must be there.

use std::{fs, path::Path};

fn read(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok()
}

/// The tests that a text names as `module::test`.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once("::"))
        .filter(|(module, test)| is_name(module) && is_name(test))
        .collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    for (document, at_least) in [("SECURITY.md", 30), ("docs/privacy.md", 5)] {
        let text = read(document).unwrap();
        let named = named_tests(&text);
        assert!(named.len() >= at_least, "{document}: {named:?}");
        for (module, test) in named {
            let source = read(&format!("tests/it/{module}.rs")).unwrap_or_default();
            assert!(
                source.contains(&format!("\nfn {test}()"))
                    || source.contains(&format!("\nasync fn {test}()")),
                "{document} names {module}::{test}"
            );
        }
    }
}

#[test]
fn every_attempt_in_the_threat_model_has_its_test() {
    let text = read("SECURITY.md").unwrap();
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
