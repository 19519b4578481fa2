//! `recsys events import`, from the command line.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use recsys::proto::SignalsSource;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    items::half_circle, program::recsys, proxy::Proxy, server::TestServer, tenants::Tenants,
};

/// A file in a folder of its own, beside which progress is kept.
struct File(TempDir);

impl File {
    fn of(lines: &[String]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut file = fs::File::create(folder.path().join("events.jsonl")).unwrap();
        file.write_all(lines.join("\n").as_bytes()).unwrap();
        Self(folder)
    }

    fn path(&self) -> String {
        let path = self.0.path().join("events.jsonl");
        path.to_str().unwrap().to_owned()
    }

    fn progress(&self) -> PathBuf {
        self.0.path().join("events.jsonl.progress")
    }
}

/// An event of one of 50 users, each with a time of its own, within the window
/// of servers that stand still at noon of 2026-06-10.
fn line(number: usize) -> String {
    let (minute, second) = (number / 60 % 60, number % 60);
    let hour = number / 3_600;
    json!({
        "user_id": format!("u{}", number % 50),
        "event": "CONTENT_VIEW_ENDED",
        "ts": format!("2026-06-10T{hour:02}:{minute:02}:{second:02}Z"),
        "content_id": format!("i{:03}", number % 12),
        "dwell_seconds": 60.0,
        "end_reason": "next_button",
        "impressions": [],
        "survey_answers": {},
        "raw": {},
    })
    .to_string()
}

/// The same at today's time: for servers whose clock runs.
fn recent(number: usize) -> String {
    let ago = jiff::SignedDuration::from_secs(i64::try_from(number).unwrap() + 60);
    let time = jiff::Timestamp::now() - ago;
    let time = time.strftime("%Y-%m-%dT%H:%M:%S.%fZ").to_string();
    json!({"user_id": format!("u{}", number % 50), "event_type": "CONTENT_VIEW_STARTED",
        "event_time": time, "event_id": format!("e{number}"), "content_id": "2001"})
    .to_string()
}

fn lines(count: usize) -> Vec<String> {
    (0..count).map(line).collect()
}

fn import(file: &File, to: &str, more: &[&str]) -> Output {
    let path = file.path();
    let arguments = [&["events", "import", &path, "--to", to][..], more].concat();
    recsys(&arguments).output().unwrap()
}

/// What became of the lines of the file, and the meanings of its events.
fn counted(output: &Output) -> String {
    let (out, _) = printed(output);
    out.lines().take(2).flat_map(|line| [line, "\n"]).collect()
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_stores_every_event_once_and_a_second_one_stores_nothing() {
    let server = TestServer::with_items(half_circle(12)).await;
    let to = format!("http://{}", server.address);
    let file = File::of(&lines(2_000));
    let dry = import(&file, &to, &["--dry-run"]);
    assert_eq!(
        printed(&dry).0,
        "2000 events would be sent, 0 lines refused\n\
         2000 events of 50 users and 12 items, 2026-06-10T00:00:00Z to 2026-06-10T00:33:19Z\n"
    );
    let (_, source) = server.signals("u0").await;
    assert_eq!(source, SignalsSource::Empty, "nothing is sent");

    let first = import(&file, &to, &[]);
    assert!(first.status.success(), "{:?}", printed(&first));
    let all = "2000 events stored, 0 duplicates, 0 outside the window, 0 lines refused\n\
               by meaning: 2000 view\n\
               2000 events of 50 users and 12 items, 2026-06-10T00:00:00Z to \
               2026-06-10T00:33:19Z\n";
    assert_eq!(printed(&first), (all.to_owned(), String::new()));
    let (signals, source) = server.signals("u7").await;
    assert_eq!(
        (signals.event_count, source),
        (40, SignalsSource::Materialized)
    );

    let second = import(&file, &to, &[]);
    let none = "0 events stored, 2000 duplicates, 0 outside the window, 0 lines refused\n\
                by meaning: 2000 view\n";
    assert_eq!(counted(&second), none);
    assert!(!file.progress().exists(), "nothing is left to go on with");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_counts_events_by_meaning_and_names_those_that_say_nothing() {
    let server = TestServer::with_items(half_circle(12)).await;
    let mut lines = lines(4);
    lines[1] = line(1).replace("CONTENT_VIEW_ENDED", "Order Completed");
    lines[2] = line(2)
        .replace("i002", "")
        .replace("\"next_button\"", "null");
    lines[3] = line(3).replace("CONTENT_VIEW_ENDED", "thumbs-down");
    let file = File::of(&lines);
    let output = import(&file, &format!("http://{}", server.address), &[]);
    assert!(output.status.success(), "{:?}", printed(&output));
    let (_, err) = printed(&output);
    assert_eq!(
        counted(&output),
        "3 events stored, 0 duplicates, 0 outside the window, 0 lines refused\n\
         by meaning: 1 dislike, 1 like, 1 view, 1 none\n"
    );
    assert!(err.contains("1 events name no item"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_refused_are_listed_with_their_number_and_the_others_stored() {
    let server = TestServer::with_items(half_circle(12)).await;
    let mut lines = lines(700);
    lines[2] = "no event".to_owned();
    lines[4] = line(4).replace("\"u4\"", "\"\"");
    lines[6] = line(6).replace("2026-06-10", "2025-06-10");
    lines[8] = String::new();
    lines[610] = line(610).replace("60.0", "-1");
    let output = import(
        &File::of(&lines),
        &format!("http://{}", server.address),
        &[],
    );
    assert_eq!(output.status.code(), Some(3));
    let (_, err) = printed(&output);
    assert_eq!(
        counted(&output),
        "695 events stored, 0 duplicates, 1 outside the window, 3 lines refused\n\
         by meaning: 696 view\n"
    );
    let listed: Vec<&str> = err
        .lines()
        .filter(|line| line.starts_with("line "))
        .collect();
    assert_eq!(listed.len(), 3, "{err}");
    assert!(listed[0].starts_with("line 3: not an event: "), "{err}");
    assert!(listed[1].starts_with("line 5: user_id must"), "{err}");
    assert!(
        listed[2].starts_with("line 611: dwell_seconds must"),
        "{err}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_keep_breaking_lose_no_event_and_duplicate_none() {
    let server = TestServer::with_items(half_circle(12)).await;
    let proxy = Proxy::to(server.address.port()).await;
    let to = format!("http://{}", proxy.address());
    let file = File::of(&lines(6_000));
    let path = file.path();
    let child = recsys(&["events", "import", &path, "--to", &to, "--batch", "50"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for count in [1, 2, 3] {
        while proxy.accepted() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        proxy.reset();
    }
    let output = tokio::task::spawn_blocking(|| child.wait_with_output());
    let output = output.await.unwrap().unwrap();
    assert!(output.status.success(), "{:?}", printed(&output));
    for user in 0..50 {
        let (signals, _) = server.signals(&format!("u{user}")).await;
        assert_eq!(signals.event_count, 120, "u{user}");
    }
    assert!(proxy.accepted() > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_bad_lines_do_not_end_an_import() {
    let server = TestServer::with_items(half_circle(12)).await;
    let bad = (0..12_000).map(|number| format!("{{{:0>100}", number));
    let lines: Vec<String> = bad.chain((0..1_000).map(line)).collect();
    let file = File::of(&lines);
    let to = format!("http://{}", server.address);
    let dry = import(&file, &to, &["--dry-run"]);
    assert_eq!(
        counted(&dry),
        "1000 events would be sent, 12000 lines refused\n\
         1000 events of 50 users and 12 items, 2026-06-10T00:00:00Z to 2026-06-10T00:16:39Z\n"
    );
    let output = import(&file, &to, &[]);
    assert_eq!(
        counted(&output),
        "1000 events stored, 0 duplicates, 0 outside the window, 12000 lines refused\n\
         by meaning: 1000 view\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_is_resumed() {
    let mut tenants = Tenants::new(&["shop", "else"]);
    let slow = tenants.key("shop", &["ingest"]);
    tenants.add("events_per_second = 200\nevents_burst = 50");
    let other = tenants.key("else", &["ingest"]);
    let served = tenants.serve(&[]);
    let to = format!("http://{}", served.address);
    let file = File::of(&(0..1_500).map(recent).collect::<Vec<_>>());
    let path = file.path();
    // Its quota slows it down; it is not refused for it.
    let mut child = recsys(&["events", "import", &path, "--to", &to, "--batch", "50"])
        .env("RECSYS_KEY", &slow)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !file.progress().exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();

    // Only checking it leaves what is kept as it is, and another tenant's key does
    // not go on with it.
    assert!(import(&file, &to, &["--dry-run"]).status.success());
    let kept = fs::read(file.progress()).unwrap();
    let output = recsys(&["events", "import", &path, "--to", &to])
        .env("RECSYS_KEY", &other)
        .output()
        .unwrap();
    let all = "1500 events stored, 0 duplicates, 0 outside the window, 0 lines refused\n\
               by meaning: 1500 view\n";
    assert_eq!(counted(&output), all);
    fs::write(file.progress(), kept).unwrap();

    let output = recsys(&["events", "import", &path, "--to", &to, "--batch", "50"])
        .env("RECSYS_KEY", &slow)
        .output()
        .unwrap();
    let (out, err) = printed(&output);
    assert!(output.status.success(), "{err}");
    assert!(err.contains("resuming after line "), "{err}");
    // Some had arrived that were not noted yet.
    let counts: Vec<u64> = out
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    assert_eq!(
        (counts[0] + counts[1], counts[2], counts[3]),
        (1_500, 0, 0),
        "{out}"
    );
    assert!(counts[1] < 1_000, "it started from the first line: {out}");

    // A batch that is more than the quota ever is cannot be waited for.
    let output = recsys(&["events", "import", &path, "--to", &to])
        .env("RECSYS_KEY", &slow)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        printed(&output).1.contains("--batch N"),
        "{:?}",
        printed(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_final_error_ends_the_import_at_once_with_its_fix() {
    let mut tenants = Tenants::new(&["shop"]);
    let reader = tenants.key("shop", &["serve"]);
    let served = tenants.serve(&[]);
    let to = format!("http://{}", served.address);
    let file = File::of(&lines(3));
    for (arguments, key, wanted) in [
        (&["--to", to.as_str()][..], "", "RECSYS_KEY"),
        (&["--to", to.as_str()], reader.as_str(), "role ingest"),
        (&["--to", "localhost:50051"], "", "http://host:port"),
        (
            &["--to", to.as_str(), "--ca-file", "ca.pem"],
            "",
            "https://",
        ),
    ] {
        let path = file.path();
        let arguments = [&["events", "import", &path][..], arguments].concat();
        // An empty variable counts as unset.
        let output = recsys(&arguments)
            .env("RECSYS_KEY", key)
            .env("RECSYS_SERVER_CA_FILE", "")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let (_, err) = printed(&output);
        assert!(err.contains(wanted), "{arguments:?}: {err}");
        assert!(!err.contains(&reader));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_events_is_imported_with_a_map() {
    let server = TestServer::with_items(half_circle(12)).await;
    let to = format!("http://{}", server.address);
    let mut rows = vec!["kunde,product,action,timestamp,dwell_ms".to_owned()];
    rows.extend((0..700).map(|number| {
        let (minute, second) = (number / 60, number % 60);
        let user = number % 7;
        format!(
            "{user}.0,i{:03},view,2026-06-10 10:{minute:02}:{second:02} UTC,",
            number % 12
        )
    }));
    rows[5] = "4,i001,view,soon,".to_owned();
    let file = File::of(&rows);
    let unmapped = import(&file, &to, &[]);
    assert_eq!(unmapped.status.code(), Some(2));
    let (_, err) = printed(&unmapped);
    assert!(err.contains("no column is known as user_id"), "{err}");
    let output = import(&file, &to, &["--map", "user_id=kunde"]);
    let (_, err) = printed(&output);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert_eq!(
        counted(&output),
        "699 events stored, 0 duplicates, 0 outside the window, 1 lines refused\n\
         by meaning: 699 view\n"
    );
    assert!(err.contains("line 6: event_time must be a time"), "{err}");
    assert!(
        err.contains("column dwell_ms is not read as dwell_seconds"),
        "{err}"
    );
    let (signals, _) = server.signals("3").await;
    assert_eq!(signals.event_count, 100);
}
