//! The page "Bring your data": its commands print what it shows.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use recsys::proto::{
    ColdReason, RecommendRequest, recommender_service_client::RecommenderServiceClient,
};
use tempfile::TempDir;

use crate::support::{
    program::{Served, recsys},
    server::connect,
};

const PAGE: &str = include_str!("../../docs/start/your-data.md");

/// A command of the page, with the output that it shows.
#[derive(Debug)]
struct Shown {
    command: String,
    output: Option<String>,
}

/// The commands of a section.
fn commands(section: &str) -> Vec<Shown> {
    let start = PAGE.find(&format!("\n## {section}\n")).unwrap() + 1;
    let rest = &PAGE[start..];
    let end = rest[2..].find("\n## ").map_or(rest.len(), |end| end + 2);
    let mut shown: Vec<Shown> = Vec::new();
    let mut fence: Option<(&str, String)> = None;
    for line in rest[..end].lines() {
        match &mut fence {
            None => {
                if let Some(kind) = line.strip_prefix("```") {
                    fence = Some((kind, String::new()));
                }
            }
            Some((kind, text)) if line == "```" => {
                match *kind {
                    "sh" => shown.push(Shown {
                        command: text.trim_end().to_owned(),
                        output: None,
                    }),
                    "text" => shown.last_mut().unwrap().output = Some(text.clone()),
                    _ => {}
                }
                fence = None;
            }
            Some((_, text)) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    assert!(!shown.is_empty(), "{section} has no commands");
    shown
}

fn fixture(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/bring")
        .join(folder)
}

fn run(command: &str, folder: &Path, variables: &[(&str, &str)]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_recsys")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", program.display()))
        .env("RECSYS_LOG_FORMAT", "text")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

/// Times become FIRST and LAST.
fn without_times(line: &str) -> String {
    let is_time = |word: &str| word.len() == 20 && word.starts_with("20") && word.ends_with('Z');
    let mut names = ["FIRST", "LAST"].into_iter();
    let words = line.split(' ').map(|word| {
        if is_time(word) {
            names.next().unwrap_or(word)
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Checks an output: `…` stands for any lines.
fn assert_shown(command: &str, output: &Output, expected: &str) {
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {printed}{errors}");
    let lines: Vec<String> = printed.lines().map(without_times).collect();
    let mut next = 0;
    let mut skips = false;
    for line in expected.lines() {
        if line == "…" {
            skips = true;
            continue;
        }
        let place = lines[next..].iter().position(|printed| printed == line);
        let place = place.unwrap_or_else(|| panic!("{command}: no {line:?} in\n{printed}"));
        assert!(
            skips || place == 0,
            "{command}: before {line:?} in\n{printed}"
        );
        next += place + 1;
        skips = false;
    }
    assert!(
        skips || next == lines.len(),
        "{command}: more in\n{printed}"
    );
}

/// The shop's files, its events moved by whole days so that the last one is of today or
/// yesterday.
fn recent_shop() -> TempDir {
    let folder = TempDir::new().unwrap();
    let source = fixture("shop");
    fs::copy(
        source.join("products.csv"),
        folder.path().join("products.csv"),
    )
    .unwrap();
    let table = fs::read_to_string(source.join("clicks.csv")).unwrap();
    let (header, rows) = table.split_once('\n').unwrap();
    let rows: Vec<(&str, i64)> = rows
        .lines()
        .map(|row| {
            let (rest, time) = row.rsplit_once(',').unwrap();
            (rest, time.parse().unwrap())
        })
        .collect();
    let last = rows.iter().map(|(_, time)| *time).max().unwrap();
    let days = (jiff::Timestamp::now().as_second() - last).div_euclid(86_400);
    let moved: String = rows
        .iter()
        .map(|(rest, time)| format!("{rest},{}\n", time + days * 86_400))
        .collect();
    fs::write(
        folder.path().join("clicks.csv"),
        format!("{header}\n{moved}"),
    )
    .unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn five_commands_lead_from_a_shop_export_to_lists_better_than_the_most_popular() {
    let folder = recent_shop();
    let shown = commands("A shop");
    let [check, serve, import, recommend, eval] = shown.as_slice() else {
        panic!("not five commands: {shown:?}");
    };
    let output = run(&check.command, folder.path(), &[]);
    assert_shown(&check.command, &output, check.output.as_ref().unwrap());

    assert_eq!(serve.command, "CATALOG_PATH=products.csv recsys serve &");
    let mut command = recsys(&["serve"]);
    command
        .env("CATALOG_PATH", "products.csv")
        .current_dir(folder.path());
    let served = Served::start(&mut command);
    let address = [("RECSYS_LISTEN_ADDR", served.address.as_str())];
    let output = run(&import.command, folder.path(), &address);
    assert_shown(&import.command, &output, import.output.as_ref().unwrap());

    let user = recommend.command.strip_prefix("recsys recommend ").unwrap();
    let channel = connect(served.address.parse().unwrap()).await;
    let request = RecommendRequest {
        user_id: user.to_owned(),
        ..RecommendRequest::default()
    };
    let mut client = RecommenderServiceClient::new(channel);
    let list = client.recommend(request).await.unwrap().into_inner();
    assert_eq!(list.items.len(), 10);
    assert_eq!(
        list.diagnostics.unwrap().cold_reason(),
        ColdReason::Unspecified
    );

    let output = run(&eval.command, folder.path(), &[]);
    let expected = eval.output.as_ref().unwrap();
    assert_shown(&eval.command, &output, expected);
    let against = expected
        .lines()
        .find(|line| line.starts_with("defaults − most popular"));
    assert!(against.unwrap().contains("  better  "), "{expected}");
}

#[test]
fn exports_of_articles_films_and_other_recommenders_need_no_change() {
    for (section, folder) in [
        ("Articles", "articles"),
        ("Films", "films"),
        ("From Gorse", "gorse"),
    ] {
        for shown in commands(section) {
            let output = run(&shown.command, &fixture(folder), &[]);
            assert_shown(&shown.command, &output, shown.output.as_ref().unwrap());
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(errors, "", "{}", shown.command);
        }
    }
    for shown in commands("From MovieLens") {
        let output = run(&shown.command, &fixture("films"), &[]);
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn a_query_of_a_database_is_imported_from_standard_input() {
    let shown = commands("From a database");
    let (query, import) = shown[0].command.split_once(" | ").unwrap();
    assert!(query.starts_with("duckdb shop.db -csv -c "), "{query}");
    // What the query prints.
    let command = format!("cat clicks.csv | {import}");
    let output = run(&command, &fixture("shop"), &[]);
    assert_shown(
        &command,
        &output,
        "1189 events would be sent, 0 lines refused\n\
         1189 events of 48 users and 60 items, FIRST to LAST\n",
    );
}
