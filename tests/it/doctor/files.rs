//! Findings of tenants, keys, certificates and the ranking file.

use std::{fs, os::unix::fs::PermissionsExt as _};

use tempfile::TempDir;

use super::{Diagnosis, fixes, follow};
use crate::support::certificates::Certificates;

fn set_mode(path: &str, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn written(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_tenants_file_that_all_may_read_is_warned_of_and_fixed() {
    let folder = TempDir::new().unwrap();
    let hash = "0".repeat(64);
    let tenants = format!(
        "[tenants.shop]\ncollection = \"shop\"\n[[tenants.shop.keys]]\nid = \"1a\"\n\
         hash = \"sha256:{hash}\"\nroles = [\"serve\"]\n[tenants.zoo]\ncollection = \"zoo\"\n"
    );
    let path = written(&folder, "ten ants.toml", &tenants);
    set_mode(&path, 0o644);
    let settings = [("RECSYS_TENANTS_PATH", path.as_str())];
    let before = Diagnosis::of(&settings);
    assert_eq!(before.code, 0, "{:#}", before.report);
    before.says("tenants", "tenants file", "ok", "2 tenants, 1 keys");
    before.says("tenants", "keys", "warn", "tenant zoo has none");
    assert!(!before.report.to_string().contains(&hash));
    let open = before.says("tenants", "file mode", "warn", "mode 644");
    follow(folder.path(), fixes(open)[0], &[]);
    let after = Diagnosis::of(&settings);
    assert!(after.all("tenants", "file mode").is_empty());
}

#[test]
fn a_refused_tenants_file_or_ranking_exits_with_2() {
    let folder = TempDir::new().unwrap();
    let broken = "[tenants.shop]\ncollection = \"a\"\nkey = 1\n";
    let broken = written(&folder, "broken.toml", broken);
    let ranking = written(&folder, "shop.toml", "mmr_lambda = 7.0\n");
    let tenants = "[tenants.shop]\ncollection = \"a\"\nranking = \"shop.toml\"\n";
    let tenants = written(&folder, "tenants.toml", tenants);
    for (setting, path, group, check, found) in [
        (
            "RECSYS_TENANTS_PATH",
            &broken,
            "tenants",
            "tenants file",
            "line 3",
        ),
        (
            "RECSYS_TENANTS_PATH",
            &tenants,
            "tenants",
            "tenant's ranking",
            "mmr_lambda",
        ),
        (
            "RECSYS_RANKING_PATH",
            &ranking,
            "ranking",
            "ranking file",
            "mmr_lambda",
        ),
    ] {
        let diagnosis = Diagnosis::of(&[(setting, path)]);
        assert_eq!(diagnosis.code, 2, "{check}");
        diagnosis.says(group, check, "fail", found);
    }
}

#[test]
fn certificates_are_checked_for_their_expiry_and_key() {
    let files = Certificates::new();
    files.issue_until("old", "shop.example", 2020);
    let tls = |certificate: &str, key: &str| {
        set_mode(&files.path(key), 0o600);
        Diagnosis::of(&[
            ("RECSYS_TLS_CERT_FILE", &files.path(certificate)),
            ("RECSYS_TLS_KEY_FILE", &files.path(key)),
        ])
    };
    let good = tls("server.pem", "server.key");
    assert_eq!(good.code, 0, "{:#}", good.report);
    good.says("tls", "API's port", "ok", "valid certificate and key");
    let until = "expires at 4096-01-01T00:00:00Z";
    good.says("tls", "RECSYS_TLS_CERT_FILE", "ok", until);
    assert!(good.all("tls", "file mode").is_empty());

    let old = tls("old.pem", "old.key");
    assert_eq!(old.code, 1, "{:#}", old.report);
    let expired = "expired at 2020-01-01T00:00:00Z";
    let finding = old.says("tls", "RECSYS_TLS_CERT_FILE", "fail", expired);
    assert!(
        fixes(finding)[0].starts_with("openssl x509 "),
        "{finding:#}"
    );

    let mismatched = tls("server.pem", "client.key");
    assert_eq!(mismatched.code, 2, "{:#}", mismatched.report);
    mismatched.says("tls", "API's port", "fail", "");
    let half = Diagnosis::of(&[("RECSYS_TLS_CERT_FILE", &files.path("server.pem"))]);
    assert_eq!(half.code, 2);
    half.says("tls", "API's port", "fail", "must be set together");

    let folder = TempDir::new().unwrap();
    let empty = written(&folder, "empty.pem", "nothing\n");
    set_mode(&files.path("server.key"), 0o644);
    let stores = Diagnosis::of(&[
        ("REDIS_URL", "rediss://127.0.0.1:1"),
        ("REDIS_TLS_CERT_FILE", &files.path("client.pem")),
        ("REDIS_TLS_KEY_FILE", &files.path("server.key")),
        ("QDRANT_API_URL", "https://127.0.0.1:1"),
        ("QDRANT_TLS_CA_FILE", &empty),
    ]);
    stores.says("tls", "REDIS_TLS_CERT_FILE", "ok", until);
    stores.says("tls", "file mode", "warn", "mode 644");
    stores.says("tls", "QDRANT_TLS_CA_FILE", "fail", "no certificate");
}
