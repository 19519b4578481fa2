//! Files, settings and addresses as people have them: each is understood, or refused
//! with a sentence that says what to do.

mod mapping;
mod words;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use recsys::proto::{
    self, ColdReason, RecommendRequest, recommender_service_client::RecommenderServiceClient,
};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tonic::{Code, codec::CompressionEncoding};

use crate::support::{
    certificates::Certificates,
    items::half_circle,
    program::{Served, recsys},
    proxy::{Proxy, Way},
    qdrant::QdrantServer,
    redis::RedisServer,
    server::{TestServer, connect, liked},
    until,
};

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/field/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn run(arguments: &[&str]) -> Output {
    recsys(arguments).output().unwrap()
}

/// Runs a command with a text on its standard input.
fn piped(command: &mut Command, text: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn written(folder: &TempDir, name: &str, contents: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    fs::write(&path, contents).unwrap();
    path.to_str().unwrap().to_owned()
}

fn ago(seconds: i64) -> String {
    let time = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds);
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A table of views within the last hour, one a second, of 10 users.
fn recent_views(count: i64, item: impl Fn(i64) -> String) -> String {
    let mut table = "user,item,timestamp\n".to_owned();
    for number in 0..count {
        let (user, time) = (number % 10, ago(count - number));
        table.push_str(&format!("u{user},{},{time}\n", item(number)));
    }
    table
}

const DAY_SECONDS: i64 = 86_400;

#[test]
fn items_with_the_keys_that_people_use_are_understood() {
    let path = fixture("catalogue_near_misses.jsonl");
    let output = run(&["catalog", "import", &path, "--dry-run"]);
    let expected = "6 items would be imported, 0 lines refused; nothing was written\n\
                    6 items: 6 with a title, 5 with tags, 1 with a vector, 0 with a picture\n";
    assert_eq!(printed(&output), (expected.to_owned(), String::new()));
    assert!(output.status.success());
}

#[test]
fn an_item_key_that_resembles_a_field_is_warned_of_once() {
    let folder = TempDir::new().unwrap();
    let lines: String = (0..3)
        .map(|number| format!("{{\"id\":{number},\"tags_en\":\"A|B\",\"price\":3}}\n"))
        .collect();
    let path = written(&folder, "items.jsonl", lines);
    let output = run(&["catalog", "import", &path, "--dry-run"]);
    let (_, err) = printed(&output);
    let warnings: Vec<&str> = err.lines().collect();
    assert_eq!(warnings.len(), 2, "{err}");
    assert_eq!(
        warnings[0],
        "column tags_en is not read as tags; if it should be, add --map tags=tags_en"
    );
    assert!(
        warnings[1].starts_with("WARNING: no item has tags or a vector"),
        "{err}"
    );
    let mapped = run(&[
        "catalog",
        "import",
        &path,
        "--dry-run",
        "--map",
        "tags=tags_en",
    ]);
    assert!(printed(&mapped).0.contains("3 with tags"));
    assert_eq!(printed(&mapped).1, "");
}

#[test]
fn events_as_warehouses_and_other_recommenders_export_them_are_taken() {
    let output = run(&[
        "events",
        "import",
        &fixture("events_as_exported.jsonl"),
        "--dry-run",
    ]);
    let expected = "7 events would be sent, 0 lines refused\n\
                    7 events of 2 users and 1 items, 2026-11-29T12:58:57Z to \
                    2026-11-29T18:39:52Z\n";
    assert_eq!(printed(&output), (expected.to_owned(), String::new()));
}

#[test]
fn tables_arrays_gzip_and_standard_input_are_taken() {
    let folder = TempDir::new().unwrap();
    let array = run(&["catalog", "import", &fixture("array.json"), "--dry-run"]);
    assert!(
        printed(&array)
            .0
            .starts_with("2 items would be imported, 0")
    );
    let products = run(&["catalog", "import", &fixture("products.csv"), "--dry-run"]);
    let expected = "3 items would be imported, 0 lines refused; nothing was written\n\
                    3 items: 3 with a title, 3 with tags, 0 with a vector, 0 with a picture\n";
    assert_eq!(printed(&products), (expected.to_owned(), String::new()));

    let clicks = fs::read(fixture("clicks.csv")).unwrap();
    let expected = "4 events would be sent, 0 lines refused\n\
                    4 events of 2 users and 3 items, 2026-11-29T18:39:52Z to \
                    2026-11-29T18:46:40Z\n";
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&clicks).unwrap();
    let packed = packed.finish().unwrap();
    let path = written(&folder, "clicks", &packed);
    for output in [
        run(&["events", "import", &fixture("clicks.csv"), "--dry-run"]),
        run(&["events", "import", &path, "--dry-run"]),
        piped(
            &mut recsys(&["events", "import", "-", "--dry-run"]),
            &clicks,
        ),
        piped(
            &mut recsys(&["events", "import", "-", "--dry-run"]),
            &packed,
        ),
    ] {
        assert_eq!(printed(&output), (expected.to_owned(), String::new()));
    }
    // Cut short.
    let path = written(&folder, "cut", &packed[..packed.len() - 12]);
    let output = run(&["events", "import", &path, "--dry-run"]);
    let text = format!("recsys: cannot read {path}: its gzip data is damaged or incomplete\n");
    assert_eq!(printed(&output).1, text);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_is_not_read_is_named_in_one_sentence() {
    let folder = TempDir::new().unwrap();
    for (contents, sentence) in [
        (&b"PK\x03\x04rest"[..], "is a zip archive: unpack it first"),
        (b"PAR1rest", "is Parquet: export it as CSV"),
        (b"\xff\xfeu\0", "is UTF-16: save it as UTF-8"),
        (
            b"hello\n",
            "is neither JSON (lines or an array) nor CSV or TSV",
        ),
    ] {
        let path = written(&folder, "file", contents);
        for command in ["catalog", "events"] {
            let output = run(&[command, "import", &path, "--dry-run"]);
            let (_, err) = printed(&output);
            assert!(
                err.starts_with(&format!("recsys: {path}: {sentence}")),
                "{err}"
            );
            assert_eq!((err.lines().count(), output.status.code()), (1, Some(2)));
        }
    }
    let directory = folder.path().to_str().unwrap();
    let output = run(&["events", "import", directory, "--dry-run"]);
    let text = format!("recsys: {directory}: is a directory: name a file\n");
    assert_eq!(printed(&output).1, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loses_its_state_during_an_import_is_sent_everything_again() {
    let (first, second) = (
        TestServer::with_items(half_circle(12)).await,
        TestServer::with_items(half_circle(12)).await,
    );
    let proxy = Proxy::to(first.address.port()).await;
    proxy.delay(Way::Replies, Duration::from_millis(40));
    let folder = TempDir::new().unwrap();
    let table: String = (0..3_000)
        .map(|number| {
            let (minute, second) = (number / 60, number % 60);
            format!(
                "u{},i001,2026-06-10T10:{minute:02}:{second:02}Z\n",
                number % 10
            )
        })
        .collect();
    let path = written(&folder, "views.csv", format!("user,item,ts\n{table}"));
    let to = format!("http://{}", proxy.address());
    let child = recsys(&["events", "import", &path, "--to", &to, "--batch", "20"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("some have arrived", async || {
        first.signals("u1").await.0.event_count > 10
    })
    .await;
    proxy.lead_to(second.address.port());
    proxy.reset();
    let output = tokio::task::spawn_blocking(|| child.wait_with_output());
    let (out, err) = printed(&output.await.unwrap().unwrap());
    assert!(
        out.starts_with("3000 events stored, 0 duplicates, 0"),
        "{out}{err}"
    );
    assert!(err.contains("sending everything again"), "{err}");
    assert_eq!(second.signals("u1").await.0.event_count, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_is_not_resumed_on_a_server_that_lost_its_state() {
    let server = TestServer::with_items(half_circle(12)).await;
    let to = format!("http://{}", server.address);
    let folder = TempDir::new().unwrap();
    let path = written(
        &folder,
        "views.csv",
        "user,item,ts\nu,i001,2026-06-10T10:00:00Z\nu,i002,2026-06-10T10:00:01Z\n",
    );
    let about = fs::metadata(&path).unwrap();
    let modified = about.modified().unwrap();
    let modified = modified.duration_since(std::time::UNIX_EPOCH).unwrap();
    let counts = json!({"accepted": 1, "duplicate": 0, "outside_window": 0, "refused": 0});
    let progress = json!({"bytes": about.len(), "modified_ms": modified.as_millis() as u64,
        "to": to, "key_id": null, "data_id": "of a server that was restarted", "rows": 1,
        "line": 2, "counts": counts});
    fs::write(format!("{path}.progress"), progress.to_string()).unwrap();
    let output = run(&["events", "import", &path, "--to", &to]);
    let (out, err) = printed(&output);
    assert!(
        out.starts_with("2 events stored, 0 duplicates"),
        "{out}{err}"
    );
    assert!(err.contains("sending everything again"), "{err}");
    assert_eq!(server.signals("u").await.0.event_count, 2);
}

#[test]
fn events_older_than_the_window_name_the_setting_and_the_exit_code_says_so() {
    let served = Served::start(&mut recsys(&["serve"]));
    let to = format!("http://{}", served.address);
    let folder = TempDir::new().unwrap();
    let line = |days: i64| format!("u,i,{}\n", ago(days * DAY_SECONDS - 3_600));
    let old = format!("user,item,timestamp\n{}{}", line(90), line(60));
    let path = written(&folder, "old.csv", &old);
    let output = run(&["events", "import", &path, "--to", &to]);
    let (out, err) = printed(&output);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(
        out.starts_with("0 events stored, 0 duplicates, 2 outside"),
        "{out}"
    );
    assert!(
        err.contains("start the server with EVENT_WINDOW_DAYS=91"),
        "{err}"
    );

    // No window is long enough.
    let ancient = format!("user,item,timestamp\n{}", line(4_000));
    let path = written(&folder, "ancient.csv", ancient);
    let output = run(&["events", "import", &path, "--to", &to]);
    let (_, err) = printed(&output);
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(
        err.contains("1 to 3650") && err.contains("add the same number of days to all its times"),
        "{err}"
    );

    // Some of them may be old.
    let path = written(&folder, "both.csv", format!("{old}{}", line(1)));
    let output = run(&["events", "import", &path, "--to", &to]);
    assert_eq!(output.status.code(), Some(0));
    assert!(printed(&output).1.contains("EVENT_WINDOW_DAYS=91"));
    drop(served);

    let served = Served::start(recsys(&["serve"]).env("EVENT_WINDOW_DAYS", "91"));
    let to = format!("http://{}", served.address);
    let output = run(&["events", "import", &path, "--to", &to]);
    assert!(
        printed(&output).0.starts_with("3 events stored"),
        "the advice works"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalogue_without_tags_and_vectors_is_warned_of_everywhere() {
    const WARNING: &str = "no item has tags or a vector";
    let folder = TempDir::new().unwrap();
    let path = written(&folder, "items.csv", "id,name\n1,A\n2,B\n3,C\n4,D\n");
    let mut served = Served::start(recsys(&["serve"]).env("CATALOG_PATH", &path));
    served.logged(WARNING);
    let channel = connect(served.address.parse().unwrap()).await;
    let mut client = RecommenderServiceClient::new(channel);
    let event = Some(liked("u", "1"));
    client
        .ingest_event(proto::IngestEventRequest { event })
        .await
        .unwrap();
    let request = RecommendRequest {
        user_id: "u".to_owned(),
        ..RecommendRequest::default()
    };
    let list = client.recommend(request).await.unwrap().into_inner();
    assert_eq!(
        list.diagnostics.unwrap().cold_reason(),
        ColdReason::CatalogWithoutFeatures
    );
    let doctor = recsys(&["doctor"])
        .env("CATALOG_PATH", &path)
        .env("RECSYS_LISTEN_ADDR", "127.0.0.1:0")
        .output()
        .unwrap();
    assert!(printed(&doctor).0.contains(WARNING));

    let qdrant = QdrantServer::start().await;
    let import = recsys(&["catalog", "import", &path])
        .env("QDRANT_API_URL", qdrant.url())
        .output()
        .unwrap();
    assert!(import.status.success());
    assert!(
        printed(&import).1.contains(WARNING),
        "{:?}",
        printed(&import)
    );
    let mut served = Served::start(recsys(&["serve"]).env("QDRANT_API_URL", qdrant.url()));
    served.logged(WARNING);
    let doctor = |qdrant: &QdrantServer| {
        let output = recsys(&["doctor"])
            .env("QDRANT_API_URL", qdrant.url())
            .env("RECSYS_LISTEN_ADDR", "127.0.0.1:0")
            .output()
            .unwrap();
        printed(&output).0
    };
    assert!(doctor(&qdrant).contains(WARNING));
    let tagged = written(&folder, "tagged.csv", "id,name,tags\n1,A,x\n");
    let import = recsys(&["catalog", "import", &tagged])
        .env("QDRANT_API_URL", qdrant.url())
        .output()
        .unwrap();
    assert!(import.status.success());
    assert!(!doctor(&qdrant).contains(WARNING), "{}", doctor(&qdrant));
}

#[test]
fn a_variable_that_no_setting_has_is_warned_of() {
    let misspelt = [("RECSYS_RANKNG_PATH", "ranking.toml")];
    let text = "RECSYS_RANKNG_PATH (did you mean RECSYS_RANKING_PATH?)";
    let mut served = Served::start(recsys(&["serve"]).envs(misspelt));
    served.logged(text);
    let doctor = recsys(&["doctor", "--json"])
        .envs(misspelt)
        .env("RECSYS_LISTEN_ADDR", "127.0.0.1:0")
        .output()
        .unwrap();
    let report: Json = serde_json::from_str(&printed(&doctor).0).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let finding = findings
        .iter()
        .find(|finding| finding["check"] == "unknown variables")
        .unwrap();
    assert_eq!(finding["level"], "warn");
    assert!(finding["found"].as_str().unwrap().contains(text));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_mapping_replaces_the_events_of_the_users() {
    let server = TestServer::with_items(half_circle(12)).await;
    let to = format!("http://{}", server.address);
    let folder = TempDir::new().unwrap();
    let table = "user,order,item,ts,action\n\
                 u,o1,i001,2026-06-10T10:00:00Z,view\n\
                 v,o2,i002,2026-06-10T10:00:01Z,view\n";
    let path = written(&folder, "orders.csv", table);
    let import = |more: &[&str]| {
        let arguments = [&["events", "import", &path, "--to", &to][..], more].concat();
        recsys(&arguments).stdin(Stdio::null()).output().unwrap()
    };
    let wrong = import(&["--map", "content_id=order"]);
    let (_, err) = printed(&wrong);
    assert!(wrong.status.success(), "{err}");
    assert!(
        err.contains("2 of 2 items: WARNING: the catalogue has none of the items"),
        "{err}"
    );
    let asked = import(&["--replace"]);
    assert_eq!(asked.status.code(), Some(2));
    let (_, err) = printed(&asked);
    assert!(
        err.contains("--replace erases 2 users first: add --yes"),
        "{err}"
    );
    assert_eq!(
        server.signals("u").await.0.event_count,
        1,
        "nothing changes"
    );

    let replaced = import(&["--replace", "--yes"]);
    let (out, err) = printed(&replaced);
    assert!(
        out.starts_with("2 events stored, 0 duplicates"),
        "{out}{err}"
    );
    assert_eq!(err, "2 users erased\n");
    let request = RecommendRequest {
        user_id: "u".to_owned(),
        ..RecommendRequest::default()
    };
    let list = server.recommend(request).await.unwrap();
    let diagnostics = list.diagnostics.unwrap();
    assert_eq!(diagnostics.cold_reason(), ColdReason::Unspecified);
    assert_eq!(server.signals("u").await.0.event_count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzipped_request_is_taken_and_bounded_by_what_it_unpacks_to() {
    let server = TestServer::with_items(half_circle(12)).await;
    let mut client = RecommenderServiceClient::new(server.channel.clone())
        .send_compressed(CompressionEncoding::Gzip)
        .max_encoding_message_size(usize::MAX);
    let event = Some(liked("u", "i001"));
    client
        .ingest_event(proto::IngestEventRequest { event })
        .await
        .unwrap();
    assert_eq!(server.signals("u").await.0.event_count, 1);
    // 32 MiB that pack into a few KiB.
    let request = RecommendRequest {
        user_id: "u".repeat(32 << 20),
        ..RecommendRequest::default()
    };
    let status = client.recommend(request).await.unwrap_err();
    assert!(
        [Code::OutOfRange, Code::ResourceExhausted].contains(&status.code()),
        "{status:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_to_the_wrong_port_or_scheme_ends_at_once_with_one_sentence() {
    let folder = TempDir::new().unwrap();
    let path = written(&folder, "views.csv", recent_views(2, |_| "i001".to_owned()));
    let server = TestServer::with_items(half_circle(2)).await;
    let certificates = Certificates::new();
    let over_tls = Served::start(
        recsys(&["serve"])
            .env("RECSYS_TLS_CERT_FILE", certificates.path("server.pem"))
            .env("RECSYS_TLS_KEY_FILE", certificates.path("server.key")),
    );
    let mut with_admin = Served::start(recsys(&["serve"]).env("RECSYS_ADMIN_ADDR", "127.0.0.1:0"));
    for (to, sentence) in [
        (
            format!("http://{}", server.webhook),
            "is not the port of the API: give the one of RECSYS_LISTEN_ADDR".to_owned(),
        ),
        (
            format!("http://{}", with_admin.admin_address()),
            "is not the port of the API: give the one of RECSYS_LISTEN_ADDR".to_owned(),
        ),
        (
            format!("https://{}", server.address),
            format!("answers without TLS: write --to http://{}", server.address),
        ),
        (
            format!("http://{}", over_tls.address),
            format!(
                "answers with TLS only: write --to https://{}",
                over_tls.address
            ),
        ),
    ] {
        let output = run(&["events", "import", &path, "--to", &to]);
        let (_, err) = printed(&output);
        assert_eq!(output.status.code(), Some(2), "{to}: {err}");
        assert!(
            err.starts_with(&format!("recsys: {to} {sentence}")),
            "{err}"
        );
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

#[test]
fn a_complete_import_is_logged_as_ok() {
    let mut served = Served::start(recsys(&["serve"]).env("RECSYS_LOG_OK_CALLS", "1"));
    let folder = TempDir::new().unwrap();
    let path = written(
        &folder,
        "views.csv",
        recent_views(30, |_| "2001".to_owned()),
    );
    let to = format!("http://{}", served.address);
    let output = run(&["events", "import", &path, "--to", &to]);
    assert!(output.status.success(), "{:?}", printed(&output));
    let log = served.logged("StreamIngestEvents");
    let line = log.lines().find(|line| line.contains("StreamIngestEvents"));
    let line = line.unwrap();
    assert!(line.contains("OK") && !line.contains("CANCELLED"), "{line}");
}

#[test]
fn a_redis_that_lacks_replicas_is_fixed_by_min_replicas_to_write() {
    let redis = RedisServer::with(&["--min-replicas-to-write", "1"]);
    let doctor = || {
        let output = recsys(&["doctor"])
            .env("REDIS_URL", redis.url())
            .env("RECSYS_LISTEN_ADDR", "127.0.0.1:0")
            .output()
            .unwrap();
        printed(&output).0
    };
    let report = doctor();
    let fix = "CONFIG SET min-replicas-to-write 0";
    assert!(
        report.contains("NOREPLICAS") && report.contains(fix),
        "{report}"
    );
    assert!(!report.contains("INFO persistence"), "{report}");
    redis.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert!(!doctor().contains("NOREPLICAS"));
}

#[test]
fn the_advice_on_a_refused_catalogue_works_without_a_store() {
    let folder = TempDir::new().unwrap();
    let path = written(
        &folder,
        "items.jsonl",
        "{\"id\":\"1\",\"tags\":\"a\"}\n{oops}\n",
    );
    let output = recsys(&["doctor"])
        .env("CATALOG_PATH", &path)
        .env("RECSYS_LISTEN_ADDR", "127.0.0.1:0")
        .output()
        .unwrap();
    let (report, _) = printed(&output);
    assert!(
        report.contains(&format!("recsys catalog import {path} --dry-run")),
        "{report}"
    );
    let dry = run(&["catalog", "import", &path, "--dry-run"]);
    assert_eq!(dry.status.code(), Some(3));
    let text = "line 2: not JSON at column 2: 'o' is not expected\n";
    assert_eq!(printed(&dry).1, text);
}

#[test]
fn memory_does_not_grow_with_the_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("views.csv");
    let mut file = fs::File::create(&path).unwrap();
    writeln!(file, "user,item,timestamp,page").unwrap();
    let filler = "x".repeat(2_000);
    let rows: String = (0..500)
        .map(|number| format!("u{number},i,1795977592,{filler}\n"))
        .collect();
    for _ in 0..80 {
        file.write_all(rows.as_bytes()).unwrap();
    }
    drop(file);
    assert!(fs::metadata(&path).unwrap().len() > 80_000_000);
    assert!(peak_of_dry_run(&path) < 64_000, "in KiB");
}

/// The largest resident memory of a dry run, in KiB.
fn peak_of_dry_run(path: &Path) -> u64 {
    let folder: PathBuf = path.parent().unwrap().to_owned();
    let peak = folder.join("peak");
    // The shell reads the memory of the command that it has waited for.
    let script = "\"$0\" events import \"$1\" --dry-run >/dev/null 2>&1 & pid=$!; \
                  while kill -0 $pid 2>/dev/null; do \
                  grep VmHWM /proc/$pid/status > \"$2.new\" 2>/dev/null && mv \"$2.new\" \"$2\"; \
                  sleep 0.05; done; wait $pid";
    let done = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_recsys")])
        .arg(path)
        .arg(&peak)
        .status()
        .unwrap();
    assert!(done.success());
    let text = fs::read_to_string(peak).unwrap();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}
