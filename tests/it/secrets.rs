//! No secret is in logs of any level, in help, metrics or replies, whether calls
//! succeed or fail; and no user data is logged above debug.

use std::{
    fs::{self, File},
    os::unix::ffi::OsStringExt as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use recsys::proto::{self, recommender_service_client::RecommenderServiceClient};
use tempfile::TempDir;
use tonic::{Request, transport::Channel};

use crate::support::{
    program::{get, recsys},
    qdrant::QdrantServer,
    redis::RedisServer,
    server::{connect, liked, named},
};

const REDIS: &str = "hunter-redis";
const SENTINEL: &str = "hunter-sentinel";
const QDRANT: &str = "hunter-qdrant";
/// In an invalid Qdrant URL.
const QDRANT_URL: &str = "hunter-url";
/// The header of a collector.
const COLLECTOR: &str = "hunter-otlp";
/// In all of them.
const ANY: &str = "hunter";

/// The program with its output in files: at trace level a pipe would soon be full.
struct Recorded {
    child: Child,
    folder: TempDir,
}

impl Recorded {
    fn start(command: &mut Command) -> Self {
        let folder = TempDir::new().unwrap();
        let file = |name| File::create(folder.path().join(name)).unwrap();
        let child = command
            .env("RECSYS_LISTEN_ADDR", "127.0.0.1:0")
            .env("RECSYS_ADMIN_ADDR", "127.0.0.1:0")
            .stdout(Stdio::from(file("out")))
            .stderr(Stdio::from(file("err")))
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// The output so far.
    fn all(&self) -> String {
        let text = |name| {
            let bytes = fs::read(self.folder.path().join(name)).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        text("out") + &text("err")
    }

    /// Waits for a text, and returns the word after it.
    fn after(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let ended = self.child.try_wait().unwrap().is_some();
            let output = self.all();
            if let Some((_, rest)) = output.split_once(wanted) {
                return rest
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
            }
            assert!(
                !ended && Instant::now() < deadline,
                "no {wanted:?} in:\n{output}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    async fn channel(&mut self) -> Channel {
        let address = self.after("serving gRPC address=");
        connect(address.parse().unwrap()).await
    }

    fn metrics(&mut self) -> String {
        let address = self.after("metrics and health address=");
        get(&address, "/metrics")
    }

    /// Ends it, and returns its output.
    fn ended(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.all()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With a secret in every setting that takes one.
fn with_secrets(arguments: &[&str], redis: &str, qdrant: &str, level: &str) -> Command {
    let mut command = recsys(arguments);
    command
        .env("RECSYS_LOG", level)
        .env("REDIS_URL", redis)
        .env("REDIS_SENTINEL_PASSWORD", SENTINEL)
        .env("QDRANT_API_URL", qdrant)
        .env("QDRANT_API_KEY", QDRANT)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env("OTEL_EXPORTER_OTLP_HEADERS", format!("api-key={COLLECTOR}"))
        .env("OTEL_BSP_SCHEDULE_DELAY", "20")
        .env("OTEL_TRACES_SAMPLER", "always_on");
    command
}

fn url(redis: &RedisServer) -> String {
    format!("redis://:{REDIS}@{}", redis.address())
}

/// The secrets that a text contains.
fn leaked<'a>(secrets: &[&'a str], text: &str) -> Vec<&'a str> {
    let found = secrets.iter().filter(|secret| text.contains(**secret));
    found.copied().collect()
}

fn with_key<T>(header: &'static str, value: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert(header, value.parse().unwrap());
    request
}

/// Makes calls with a header; returns the replies.
async fn calls(channel: &Channel, header: &'static str, value: &str) -> String {
    let mut users = RecommenderServiceClient::new(channel.clone());
    let request = proto::IngestEventRequest {
        event: Some(named("e", liked("zaphod42", "2001"))),
    };
    let ingested = users.ingest_event(with_key(header, value, request)).await;
    let request = proto::RecommendRequest {
        user_id: "zaphod42".into(),
        ..Default::default()
    };
    let list = users.recommend(with_key(header, value, request)).await;
    let request = proto::ExportUserRequest {
        user_id: String::new(),
    };
    let refused = users.export_user(with_key(header, value, request)).await;
    format!("{ingested:?} {list:?} {refused:?}")
}

#[tokio::test]
async fn no_secret_is_shown_while_calls_succeed() {
    let redis = RedisServer::with(&["--requirepass", REDIS]);
    let qdrant = QdrantServer::start().await;
    qdrant.require_api_key(QDRANT);
    let folder = TempDir::new().unwrap();
    let tenants = folder.path().join("tenants.toml");
    let made = recsys(&["keys", "new", "shop", "--role", "admin"])
        .output()
        .unwrap();
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let entry = String::from_utf8(made.stderr).unwrap();
    let (_, entry) = entry.split_once("Add to the tenants file:").unwrap();
    fs::write(
        &tenants,
        format!("[tenants.shop]\ncollection = \"shop\"\n{entry}"),
    )
    .unwrap();
    let (start, secret) = key.rsplit_once('_').unwrap();
    let guess = "0123456789abcdef".repeat(4);
    let wrong = format!("{start}_{guess}");

    for level in ["debug", "trace"] {
        let mut program = Recorded::start(
            with_secrets(&["serve"], &url(&redis), &qdrant.url(), level)
                .env("RECSYS_TENANTS_PATH", &tenants),
        );
        let channel = program.channel().await;
        let mut replies = String::new();
        for key in [&key, &wrong] {
            replies += &calls(&channel, "authorization", &format!("Bearer {key}")).await;
            replies += &calls(&channel, "authorization", &format!("Basic {key}")).await;
            replies += &calls(&channel, "x-api-key", key).await;
        }
        let metrics = program.metrics();
        program.after("redis answers");
        let log = program.ended();
        assert!(log.contains("DEBUG"), "it is logged at {level}");
        for (what, text) in [("log", &log), ("metrics", &metrics), ("replies", &replies)] {
            let found = leaked(&[ANY, secret, &guess], text);
            let line = |text: &&str| text.contains(found[0]);
            assert!(
                found.is_empty(),
                "{found:?} in {what} at {level}: {:?}",
                text.lines().find(line)
            );
        }
        assert!(!metrics.contains("zaphod42"), "{metrics}");
    }
}

#[tokio::test]
async fn no_secret_is_shown_when_stores_refuse_or_do_not_answer() {
    let other = RedisServer::with(&["--requirepass", "another"]);
    let open = RedisServer::start();
    // They do not know the command, and quote its arguments.
    let old = RedisServer::with(&["--rename-command", "AUTH", ""]);
    let older = RedisServer::with(&[
        "--rename-command",
        "AUTH",
        "",
        "--rename-command",
        "HELLO",
        "",
    ]);
    let qdrant = QdrantServer::start().await;
    qdrant.require_api_key("another");
    let nowhere = "127.0.0.1:1";
    let cases = [
        (url(&other), "auto"),
        (url(&other), "single"),
        (url(&old), "single"),
        (format!("{}?protocol=resp3", url(&older)), "single"),
        (url(&open), "single"),
        (url(&open), "sentinel"),
        (url(&other), "sentinel"),
        (url(&open), "cluster"),
        (format!("redis://user:{REDIS}@{nowhere},{nowhere}"), "auto"),
        (format!("rediss://:{REDIS}@{}", open.address()), "single"),
    ];
    for (redis, mode) in cases {
        let mut program = Recorded::start(
            with_secrets(&["serve"], &redis, &qdrant.url(), "trace").env("REDIS_MODE", mode),
        );
        let channel = program.channel().await;
        let mut replies = String::new();
        for _ in 0..2 {
            replies += &calls(&channel, "x-other", "x").await;
        }
        program.after("store failed");
        let output = replies + &program.metrics() + &program.ended();
        assert!(
            !output.contains(ANY),
            "{redis} as {mode}: {}",
            line(&output)
        );
    }
}

/// The line with a secret.
fn line(output: &str) -> &str {
    output
        .lines()
        .find(|line| line.contains(ANY))
        .unwrap_or_default()
}

#[test]
fn no_secret_is_shown_when_settings_are_refused() {
    let redis = format!("redis://:{REDIS}@127.0.0.1:1");
    let qdrant = "http://127.0.0.1:1".to_owned();
    let run = |command: &mut Command, status: i32| {
        let output = command
            .args(["--listen-addr", "127.0.0.1:0"])
            .output()
            .unwrap();
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8_lossy(&printed).into_owned();
        assert!(!printed.contains(ANY), "{}", line(&printed));
        assert_eq!(output.status.code(), Some(status), "{printed}");
    };
    for wrong in [
        format!("redis://:{REDIS}@"),
        format!("redis://:{REDIS}@h:port"),
        format!("redis://:{REDIS}@h#insecure"),
        format!("redis://:{REDIS}/x@h:1"),
        format!("redis://:{REDIS}@h/database"),
        format!("http://:{REDIS}@h"),
        REDIS.to_owned(),
        format!("{redis},"),
    ] {
        run(&mut with_secrets(&["serve"], &wrong, &qdrant, "trace"), 2);
    }
    for wrong in [
        format!("http://{QDRANT_URL}@h:6333"),
        format!("http://key:{QDRANT_URL}@h:6333"),
        format!("{QDRANT_URL}:6333"),
        format!("ftp://{QDRANT_URL}"),
        format!("http://{QDRANT_URL} x"),
    ] {
        run(&mut with_secrets(&["serve"], &redis, &wrong, "trace"), 2);
        let import = ["catalog", "import", "/dev/null"];
        run(&mut with_secrets(&import, &redis, &wrong, "trace"), 2);
    }
    for name in [
        "REDIS_URL",
        "REDIS_SENTINEL_PASSWORD",
        "QDRANT_API_URL",
        "QDRANT_API_KEY",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ] {
        let bytes = [ANY.as_bytes(), b"\xff\n"].concat();
        let value = std::ffi::OsString::from_vec(bytes);
        let mut command = with_secrets(&["serve"], &redis, &qdrant, "trace");
        run(command.env(name, value), 2);
        let mut command = with_secrets(&["serve"], &redis, &qdrant, "trace");
        run(command.env("REDIS_MODE", "single,").env(name, ANY), 2);
    }
    let mut command = with_secrets(&["serve"], &redis, &qdrant, "trace");
    run(command.env("QDRANT_API_KEY", format!("{QDRANT}\n")), 2);
    for wrong in [
        format!("http://key:{COLLECTOR}@h:4317"),
        format!("{COLLECTOR}:4317"),
    ] {
        let mut command = with_secrets(&["serve"], &redis, &qdrant, "trace");
        run(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", wrong), 2);
    }
    for arguments in [
        &["--help"][..],
        &["help"],
        &["serve", "--help"],
        &["help", "settings"],
    ] {
        let mut command = with_secrets(arguments, &redis, &qdrant, "trace");
        let output = command.output().unwrap();
        assert!(output.status.success());
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("REDIS_URL") && !help.contains(ANY), "{help}");
    }
}

#[test]
fn a_misplaced_key_in_the_tenants_file_is_not_shown() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("tenants.toml");
    let key = format!("rsk_0123456789abcdef_{}", "f00d".repeat(16));
    let hash = format!("sha256:{}", "f00d".repeat(16));
    for (id, hash, roles, more) in [
        (&*key, &*hash, "[\"ingest\"]", ""),
        ("a", &key, "[\"ingest\"]", ""),
        ("a", &hash, &format!("[\"{key}\"]"), ""),
        ("a", &hash, &format!("\"{hash}\""), ""),
        ("a", &hash, "[\"ingest\"]", &format!("{key} = 1")),
        ("a", &hash, "[\"ingest\"]", &format!("key = \"{key}\"")),
        (
            "a",
            &hash,
            "[\"ingest\"]",
            &format!("calls_burst = \"{key}\""),
        ),
        ("a", &hash, "[\"ingest\"]", &key),
    ] {
        let text = format!(
            "[tenants.shop]\ncollection = \"shop\"\n[[tenants.shop.keys]]\n\
             id = \"{id}\"\nhash = \"{hash}\"\nroles = {roles}\n{more}\n"
        );
        fs::write(&path, &text).unwrap();
        let output = recsys(&["serve", "--listen-addr", "127.0.0.1:0"])
            .env("RECSYS_TENANTS_PATH", &path)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(!error.contains("f00d"), "{text}\n{error}");
    }
}

#[tokio::test]
async fn no_user_data_is_logged_above_debug_whatever_fails() {
    // Does not know the command that reads a buffer's version.
    let old = RedisServer::with(&["--rename-command", "PEXPIRETIME", ""]);
    let odd = RedisServer::start();
    let now = "2000000000";
    odd.cli(&[
        "ZADD",
        "evt:zaphod42",
        now,
        r#"{"dwell_seconds":"zaphod@example.com"}"#,
    ]);
    odd.cli(&[
        "SET",
        "umodel:zaphod42",
        r#"{"viewed":"zaphod@example.com"}"#,
    ]);
    let wrong = RedisServer::start();
    wrong.cli(&["SET", "evt:zaphod42", "zaphod@example.com"]);
    wrong.cli(&["SADD", "umodel:zaphod42", "zaphod@example.com"]);
    for (redis, expected) in [
        (&old, "store failed"),
        (&odd, "unreadable event"),
        (&wrong, "store is corrupt"),
    ] {
        let mut program = Recorded::start(
            recsys(&["serve"])
                .env("REDIS_URL", redis.url())
                .env("RECSYS_LOG", "info"),
        );
        let channel = program.channel().await;
        let mut users = RecommenderServiceClient::new(channel.clone());
        calls(&channel, "x-other", "x").await;
        let request = proto::ExportUserRequest {
            user_id: "zaphod42".into(),
        };
        let _ = users.export_user(request).await;
        let request = proto::DeleteUserRequest {
            user_id: "zaphod42".into(),
        };
        let _ = users.delete_user(request).await;
        program.after(expected);
        let metrics = program.metrics();
        let log = program.ended();
        for text in [&log, &metrics] {
            assert!(!text.contains("zaphod"), "{text}");
        }
    }
}
