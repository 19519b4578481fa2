//! `docs/reference/api.md` is generated from the comments in `proto/`, and is up to date.
//!
//! `RENEW_DOCS=1 cargo test --test it api_docs` regenerates it.

mod page;

use std::{collections::BTreeSet, env, fs, path::Path};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use recsys::proto::FILE_DESCRIPTOR_SET;

use self::page::Contract;

const PACKAGE: &str = "recsys.v1";

const RENEW: &str = "RENEW_DOCS=1 cargo test --test it api_docs";

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap()
}

#[test]
fn the_api_docs_match_the_contract() {
    let path = here().join("docs/reference/api.md");
    let page = Contract::new(&descriptors(), PACKAGE).page();
    if env::var_os("RENEW_DOCS").is_some_and(|given| !given.is_empty()) {
        fs::write(&path, &page).unwrap();
    }
    let current = fs::read_to_string(&path).unwrap_or_default();
    let differs = page
        .lines()
        .zip(current.lines().chain(std::iter::repeat("")))
        .find(|(generated, current)| generated != current);
    assert!(
        page == current,
        "docs/reference/api.md differs from proto/ (first: {differs:?}). Regenerate it: {RENEW}"
    );
}

#[test]
fn the_api_docs_list_every_error_reason() {
    let page = Contract::new(&descriptors(), PACKAGE).page();
    let source = "src/api/error.rs";
    let text = fs::read_to_string(here().join(source)).unwrap();
    let is_reason = |text: &&str| {
        text.len() > 5
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    let reasons: BTreeSet<&str> = text
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(is_reason)
        .collect();
    assert!(!reasons.is_empty(), "{source} has no reasons");
    for reason in reasons {
        assert!(
            page.contains(reason),
            "no call documents {reason} in proto/"
        );
    }
}

#[test]
fn every_proto_file_sets_its_packages_in_other_languages() {
    let go_mod = fs::read_to_string(here().join("clients/go/go.mod")).unwrap();
    let module = go_mod
        .lines()
        .find_map(|line| line.strip_prefix("module "))
        .unwrap();
    let go_package = format!("{module}/recsysv1");
    for file in descriptors()
        .file
        .iter()
        .filter(|file| file.package() == PACKAGE)
    {
        let options = file.options.clone().unwrap_or_default();
        assert_eq!(options.go_package(), go_package, "{file:?}");
        assert_eq!(options.java_package(), PACKAGE);
        assert!(options.java_multiple_files());
        assert_eq!(options.csharp_namespace(), "Recsys.V1");
    }
}

#[test]
fn each_call_documents_the_roles_that_the_security_page_gives_it() {
    let security = fs::read_to_string(here().join("docs/operate/security.md")).unwrap();
    let (_, table) = security
        .split_once("| role | may call |\n| --- | --- |\n")
        .unwrap();
    let page = Contract::new(&descriptors(), PACKAGE).page();
    let mut checked = 0;
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (role, calls) = (cells[1], cells[2]);
        if role == "`admin`" {
            continue;
        }
        let (calls, _) = calls.split_once(':').unwrap_or((calls, ""));
        for call in calls.split(", ") {
            let (_, section) = page.split_once(&format!("\n### {call}\n")).unwrap();
            let (section, _) = section.split_once("**Request**").unwrap();
            let (_, roles) = section.split_once("Role: ").unwrap();
            let (roles, _) = roles.split_once('.').unwrap();
            assert!(roles.contains(role), "{call}: {roles}, not {role}");
            checked += 1;
        }
    }
    assert!(checked >= 10, "{checked} calls have roles");
}
