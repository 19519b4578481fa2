//! What is found of tenants, keys, certificates and the ranking file.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::{Diagnosis, follow, text, todo};
use crate::support::certificates::Certificates;

fn mode(path: &str, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn written(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_tenants_file_that_all_may_read_is_warned_of_and_mended() {
    let directory = TempDir::new().unwrap();
    let hash = "0".repeat(64);
    let tenants = format!(
        "[tenants.shop]\ncollection = \"shop\"\n[[tenants.shop.keys]]\nid = \"1a\"\n\
         hash = \"sha256:{hash}\"\nroles = [\"serve\"]\n[tenants.zoo]\ncollection = \"zoo\"\n"
    );
    let path = written(&directory, "ten ants.toml", &tenants);
    mode(&path, 0o644);
    let settings = [
        ("RECSYS_TENANTS_PATH", path.as_str()),
        ("RECSYS_LISTEN_ADDR", "0.0.0.0:0"),
    ];
    let before = Diagnosis::of(&settings);
    assert_eq!(before.code, 0, "{:#}", before.told);
    before.says("tenants", "tenants file", "ok", "2 tenants, 1 keys");
    before.says("tenants", "keys", "warn", "tenant zoo has none");
    assert!(!before.told.to_string().contains(&hash));
    let open = before.says("tenants", "file mode", "warn", "mode 644");
    follow(todo(open)[0], &[]);
    let after = Diagnosis::of(&settings);
    assert!(
        after.all("tenants", "file mode").is_empty(),
        "{:#}",
        after.told
    );
}

#[test]
fn a_broken_tenants_file_or_ranking_of_a_tenant_ends_it_with_2() {
    let directory = TempDir::new().unwrap();
    let broken = written(
        &directory,
        "broken.toml",
        "[tenants.shop]\ncollection = \"a\"\nkey = 1\n",
    );
    let diagnosis = Diagnosis::of(&[("RECSYS_TENANTS_PATH", &broken)]);
    assert_eq!(diagnosis.code, 2);
    let file = diagnosis.says("tenants", "tenants file", "fail", "line 3");
    assert!(todo(file)[0].contains(&broken), "{file:#}");

    written(&directory, "shop.toml", "mmr_lambda = 7.0\n");
    let tenants = "[tenants.shop]\ncollection = \"a\"\nranking = \"shop.toml\"\n";
    let path = written(&directory, "tenants.toml", tenants);
    let diagnosis = Diagnosis::of(&[("RECSYS_TENANTS_PATH", &path)]);
    assert_eq!(diagnosis.code, 2);
    diagnosis.says("tenants", "tenant's ranking", "fail", "mmr_lambda");

    let ranking = directory.path().join("shop.toml");
    let diagnosis = Diagnosis::of(&[("RECSYS_RANKING_PATH", ranking.to_str().unwrap())]);
    assert_eq!(diagnosis.code, 2);
    diagnosis.says("ranking", "ranking file", "fail", "mmr_lambda");
}

fn tls(certificate: &str, key: &str) -> Diagnosis {
    Diagnosis::of(&[
        ("RECSYS_TLS_CERT_FILE", certificate),
        ("RECSYS_TLS_KEY_FILE", key),
    ])
}

#[test]
fn a_certificate_is_told_with_its_names_and_its_end() {
    let files = Certificates::new();
    mode(&files.path("server.key"), 0o600);
    let good = tls(&files.path("server.pem"), &files.path("server.key"));
    assert_eq!(good.code, 0, "{:#}", good.told);
    good.says("tls", "API's port", "ok", "fit together");
    good.says(
        "tls",
        "RECSYS_TLS_CERT_FILE",
        "ok",
        "for localhost until 4096-01-01T00:00:00Z",
    );
    assert!(good.all("tls", "key's mode").is_empty());

    files.issue("numbered", "127.0.0.1");
    mode(&files.path("numbered.key"), 0o644);
    let numbered = tls(&files.path("numbered.pem"), &files.path("numbered.key"));
    numbered.says("tls", "RECSYS_TLS_CERT_FILE", "ok", "for 127.0.0.1 until");
    numbered.says("tls", "key's mode", "warn", "mode 644");
}

#[test]
fn an_expired_certificate_fails_and_one_that_does_not_fit_its_key_is_refused() {
    let files = Certificates::new();
    files.issue_until("old", "shop.example", 2020);
    let old = tls(&files.path("old.pem"), &files.path("old.key"));
    assert_eq!(old.code, 1, "{:#}", old.told);
    let expired = "for shop.example expired at 2020-01-01T00:00:00Z";
    let finding = old.says("tls", "RECSYS_TLS_CERT_FILE", "fail", expired);
    assert!(todo(finding)[0].starts_with("openssl x509 "), "{finding:#}");

    let mismatched = tls(&files.path("server.pem"), &files.path("client.key"));
    assert_eq!(mismatched.code, 2, "{:#}", mismatched.told);
    let finding = mismatched.one("tls", "API's port");
    assert_eq!(finding["level"], "fail");
    assert_eq!(todo(finding).len(), 2, "{finding:#}");

    let half = Diagnosis::of(&[("RECSYS_TLS_CERT_FILE", &files.path("server.pem"))]);
    assert_eq!(half.code, 2);
    half.says("tls", "API's port", "fail", "must be set together");
}

#[test]
fn certificates_for_the_stores_are_looked_at_too() {
    let files = Certificates::new();
    let paths = ["ca.pem", "client.pem", "server.key"].map(|name| files.path(name));
    let diagnosis = Diagnosis::of(&[
        ("REDIS_URL", "rediss://127.0.0.1:1"),
        ("REDIS_TLS_CA_FILE", &paths[0]),
        ("REDIS_TLS_CERT_FILE", &paths[1]),
        ("REDIS_TLS_KEY_FILE", &paths[2]),
    ]);
    diagnosis.is_well("tls", "REDIS_TLS_CA_FILE");
    diagnosis.is_well("tls", "REDIS_TLS_CERT_FILE");
    let misfit = diagnosis.one("tls", "shown to Redis");
    assert_eq!(misfit["level"], "fail", "{misfit:#}");

    let directory = TempDir::new().unwrap();
    let empty = written(&directory, "empty.pem", "nothing\n");
    let diagnosis = Diagnosis::of(&[
        ("QDRANT_API_URL", "https://127.0.0.1:1"),
        ("QDRANT_TLS_CA_FILE", &empty),
    ]);
    let finding = diagnosis.one("tls", "QDRANT_TLS_CA_FILE");
    assert_eq!(finding["level"], "fail");
    assert!(
        text(&finding["found"]).contains("no certificate"),
        "{finding:#}"
    );
}
