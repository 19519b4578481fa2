//! What the documents claim of the tests.

use std::{
    collections::BTreeSet,
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

/// What a page claims, with the tests of it.
struct Claim {
    /// The heading of its table; empty if the page has no table of claims.
    section: String,
    /// The first cell of its row.
    claim: String,
    /// `file::test`.
    tests: Vec<String>,
}

/// The claims of a page: one a line, section, claim and tests separated by tabs.
fn claims(name: &str) -> Vec<Claim> {
    let path = here().join(format!("tests/fixtures/claims/{name}.tsv"));
    let claim = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let [section, claim, tests] = cells[..] else {
            panic!("{}: {line}", path.display());
        };
        Claim {
            section: section.to_owned(),
            claim: claim.to_owned(),
            tests: tests.split(' ').map(str::to_owned).collect(),
        }
    };
    read(&path).lines().map(claim).collect()
}

/// The first cells of the rows of tables with this header, with the heading before each.
fn rows(page: &str, header: &str) -> BTreeSet<(String, String)> {
    let mut section = String::new();
    let mut inside = false;
    let mut rows = BTreeSet::new();
    for line in page.lines() {
        if line.starts_with('#') {
            line.trim_start_matches('#').trim().clone_into(&mut section);
        }
        if line == header {
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside && !line.starts_with("| ---") {
            let cell = line.split('|').nth(1).unwrap().trim().to_owned();
            assert!(rows.insert((section.clone(), cell)), "twice: {line}");
        }
    }
    rows
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
fn every_claim_has_tests_that_exist() {
    for (name, at_least) in [("threats", 60), ("faults", 80), ("privacy", 8)] {
        let claims = claims(name);
        assert!(claims.len() >= at_least, "{name}: {}", claims.len());
        for claim in &claims {
            for test in &claim.tests {
                assert_exists(test);
            }
        }
    }
}

#[test]
fn every_threat_and_every_fault_of_the_pages_has_its_tests() {
    for (name, page, header) in [
        ("threats", "SECURITY.md", "| attempt | what stops it |"),
        (
            "faults",
            "docs/operate/faults.md",
            "| fault | what the caller sees | effect on data | recovery |",
        ),
    ] {
        let tested: BTreeSet<(String, String)> = claims(name)
            .into_iter()
            .map(|claim| (claim.section, claim.claim))
            .collect();
        let page = read(&here().join(page));
        let rows = rows(&page, header);
        let differ: Vec<_> = rows.symmetric_difference(&tested).collect();
        assert!(
            !rows.is_empty() && differ.is_empty(),
            "{name}.tsv: {differ:#?}"
        );
    }
}

#[test]
fn every_test_of_a_fault_belongs_to_a_row_of_the_page() {
    let named: BTreeSet<String> = claims("faults")
        .into_iter()
        .flat_map(|claim| claim.tests)
        .collect();
    for file in fs::read_dir(here().join("tests/it/faults")).unwrap() {
        let path = file.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for test in tests_of(&read(&path)) {
            let test = format!("faults::{module}::{test}");
            assert!(named.contains(&test), "{test} is not in faults.tsv");
        }
    }
}

#[test]
fn tests_and_rows_are_found() {
    let source = "#[tokio::test(flavor = \"x\")]\nasync fn one() {\n}\n    #[test]\n    fn two() {\nfn three() {";
    assert_eq!(tests_of(source), ["one", "two"]);
    let page = "## A\n| x |\n| --- |\n| 1 |\n\n### B\n| x |\n| 2 |\n\n| z |\n| 4 |";
    let expected = [("A", "1"), ("B", "2")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(rows(page, "| x |"), BTreeSet::from(expected));
}

#[test]
fn no_page_names_a_test() {
    for page in book() {
        let text = read(&page);
        assert!(!text.contains("tests/it"), "{}", page.display());
    }
}

#[test]
fn pages_other_than_reference_have_at_most_15_kb() {
    for page in book() {
        let size = read(&page).len();
        let is_reference = page.starts_with(here().join("docs/reference"));
        assert!(
            is_reference || size <= 15 * 1024,
            "{}: {size} bytes",
            page.display()
        );
    }
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
fn the_readme_can_be_read_in_five_minutes() {
    let size = read(&here().join("README.md")).len();
    assert!(size <= 10 * 1024, "README.md has {size} bytes");
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
