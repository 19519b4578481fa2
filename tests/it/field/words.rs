//! Errors are in the words of the files and settings, not of the program's parsers.

use tempfile::TempDir;

use super::{printed, run, written};
use crate::support::program::recsys;

/// Words of parsers and of Rust that say nothing to a user.
const FOREIGN_WORDS: [&str; 20] = [
    "expected value",
    "expected `",
    "invalid type",
    "untagged",
    "enum ",
    "struct ",
    "f64",
    "u64",
    "i64",
    "usize",
    "at line 1 column",
    "invalid digit",
    "deflate",
    "serde",
    "i128",
    "..=",
    "not a boolean",
    "wanted ",
    "recursion",
    "surrogate",
];

fn assert_plain(text: &str) {
    for word in FOREIGN_WORDS {
        assert!(!text.contains(word), "{word:?} in:\n{text}");
    }
}

#[test]
fn no_error_of_a_file_is_in_the_words_of_a_parser() {
    let folder = TempDir::new().unwrap();
    let bad_lines = [
        "{oops",
        "{\"id\":1,}",
        "{'id':1}",
        "{\"id\":NaN}",
        "{\"id\":\"a\\x\"}",
        "{\"id\":1e999}",
        "{\"id\":\"a\tb\"}",
        "{\"id\":\"\\ud800\"}",
        "{\"id\":1} {\"id\":2}",
        "{\"id\":123456789012345678901234567890,\"user\":1e300,\"ts\":1}",
        "{\"id\":true,\"user\":{\"a\":1},\"ts\":{\"$date\":true}}",
        "{\"id\":1,\"tags\":[{\"facet\":1}],\"lat\":\"north\",\"has_image\":\"maybe\"}",
        "[1,2]",
        "7",
        "{\"id\":[1],\"user\":[1],\"ts\":1}",
        "{\"id\":1,\"title\":{\"en\":\"A\"},\"vector\":\"x\",\"tags\":7,\"years\":\"soon\"}",
        "{\"user\":\"u\",\"ts\":\"soon\"}",
        "{\"user\":\"u\",\"ts\":1,\"rating\":\"PG-13\",\"dwell\":\"long\"}",
        "{\"user\":\"u\",\"ts\":1,\"end_reason\":{\"a\":1}}",
        "{\"user\":\"u\",\"ts\":1,\"query\":{\"a\":1}}",
        "{\"user\":\"u\",\"ts\":1,\"survey_answers\":[1]}",
        "{\"user\":\"u\",\"ts\":1,\"impressions\":{\"a\":1}}",
    ];
    let path = written(&folder, "bad.jsonl", bad_lines.join("\n"));
    for command in ["catalog", "events"] {
        let output = run(&[command, "import", &path, "--dry-run"]);
        let (_, err) = printed(&output);
        assert!(err.lines().count() > 8, "{err}");
        assert_plain(&err);
    }
    for flag in [
        ["--batch", "many"],
        ["--batch", "0"],
        ["--redis-wait-replicas", "x"],
    ] {
        let arguments = [&["events", "import", &path][..], &flag].concat();
        let (_, err) = printed(&run(&arguments));
        assert_plain(&err);
    }
}

#[test]
fn no_error_of_a_setting_is_in_the_words_of_a_parser() {
    for setting in [
        "RECSYS_LISTEN_ADDR=nowhere",
        "RECSYS_ADMIN_ADDR=80",
        "RECSYS_INSECURE_ALLOW_UNAUTHENTICATED=maybe",
        "RECSYS_LIMITS=limit=ten",
        "RECSYS_LOG=recsys=[",
        "RECSYS_LOG=a=b=c",
        "RECSYS_LOG_FORMAT=xml",
        "OTEL_EXPORTER_OTLP_ENDPOINT=x",
        "EVENT_WINDOW_DAYS=1.5",
        "MAX_EVENTS_PER_USER=99999999999999999999999",
        "MODEL_MAX_AGE=99999999999999999999s",
        "MODEL_SAVE_INTERVAL=-1s",
        "ASSOCIATIONS_CPU=half",
        "EMBEDDED_STATE_MAX_BYTES=1GB",
        "REDIS_URL=http://h",
        "REDIS_POOL_SIZE=x",
        "QDRANT_API_URL=ftp://h",
        "QDRANT_GRPC_PORT=99999",
        "WEBHOOK_MERGE_USERS=perhaps",
        "RECSYS_TENANTS_PATH=/",
        "CATALOG_PATH_MAP=id",
    ] {
        let (name, value) = setting.split_once('=').unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/sample-catalogue.jsonl");
        let output = recsys(&["serve"])
            .env("CATALOG_PATH", path)
            .env("RECSYS_LISTEN_ADDR", "127.0.0.1:0")
            .env(name, value)
            .output()
            .unwrap();
        let (_, err) = printed(&output);
        assert_eq!(output.status.code(), Some(2), "{setting}: {err}");
        assert_plain(&err);
    }
}

#[test]
fn no_error_of_a_toml_file_is_in_the_words_of_a_parser() {
    let folder = TempDir::new().unwrap();
    for text in [
        "half_life_days = \"x\"",
        "default_limit = -1",
        "preset = \"x\"",
        "fusion = 1.0",
        "foo = 1",
        "[exploration]\nslots = \"a\"",
        "half_life_days = [1]",
        "half_life_days = ",
        "half_life_days == 1",
        "default_limit = 99999999999999999999",
        "default_limit = 1.5",
        "preset = 7",
        "preset = [\"recsys\"]",
        "[[fusion]]\ntag = 1",
        "fusion = []",
        "[experiments]\nx = 1",
        "[[experiments]]\nname = 1",
        "[exploration]\nslots = -1",
        "[events]\nview = 1",
        "x = 2026-99-99",
    ] {
        let path = written(&folder, "ranking.toml", text);
        let output = run(&["ranking", "show", &path]);
        let (_, err) = printed(&output);
        assert!(err.contains("line "), "{text}: {err}");
        assert_plain(&err);
    }
    for text in [
        "tenants = 1",
        "[tenants.shop]",
        "[tenants.shop]\nkeys = \"x\"",
        "[tenants.shop]\ncollection = 7",
        "[tenants.shop]\ncollection = \"c\"\n[[tenants.shop.keys]]\nid = 1",
        "[tenants.shop]\ncollection = \"c\"\n[[tenants.shop.keys]]\nroles = \"serve\"",
        "[tenants.shop]\ncollection = \"c\"\nquota = 1",
    ] {
        let path = written(&folder, "tenants.toml", text);
        let output = recsys(&["serve"])
            .env("RECSYS_LISTEN_ADDR", "127.0.0.1:0")
            .env("RECSYS_TENANTS_PATH", &path)
            .output()
            .unwrap();
        let (_, err) = printed(&output);
        assert_eq!(output.status.code(), Some(2), "{text}: {err}");
        assert!(err.contains("line "), "{text}: {err}");
        assert_plain(&err);
    }
}
