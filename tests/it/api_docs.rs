//! `docs/api.md` is made from the comments in `proto/`, and is up to date.
//!
//! `RENEW_API_DOCS=1 cargo test --test it api_docs` writes it anew.

use std::{collections::BTreeSet, env, fs, path::Path};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use recsys::proto::FILE_DESCRIPTOR_SET;

use page::Contract;

mod page;

const PACKAGE: &str = "recsys.v1";
const RENEW: &str = "RENEW_API_DOCS=1 cargo test --test it api_docs";

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap()
}

#[test]
fn the_api_docs_are_what_the_contract_says() {
    let path = here().join("docs/api.md");
    let page = Contract::new(&descriptors(), PACKAGE).page();
    if env::var_os("RENEW_API_DOCS").is_some_and(|given| !given.is_empty()) {
        fs::write(&path, &page).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differs = page
        .lines()
        .zip(kept.lines().chain(std::iter::repeat("")))
        .find(|(made, kept)| made != kept);
    assert!(
        page == kept,
        "docs/api.md is not what proto/ says (first: {differs:?}). Renew it: {RENEW}"
    );
}

#[test]
fn the_api_docs_have_every_reason_that_a_client_may_be_told() {
    let page = Contract::new(&descriptors(), PACKAGE).page();
    let mut reasons = BTreeSet::new();
    for source in ["src/grpc/error.rs", "src/grpc/access.rs"] {
        let text = fs::read_to_string(here().join(source)).unwrap();
        let is_reason = |text: &&str| {
            text.len() > 5
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        let quoted: Vec<String> = text
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(is_reason)
            .map(str::to_owned)
            .collect();
        assert!(!quoted.is_empty(), "{source} has no reasons");
        reasons.extend(quoted);
    }
    for reason in reasons {
        assert!(page.contains(&reason), "no call says {reason} in proto/");
    }
}

#[test]
fn every_file_of_the_contract_names_its_packages_in_other_languages() {
    for file in descriptors()
        .file
        .iter()
        .filter(|file| file.package() == PACKAGE)
    {
        let options = file.options.clone().unwrap_or_default();
        assert_eq!(options.go_package(), "recsys/v1;recsysv1", "{file:?}");
        assert_eq!(options.java_package(), PACKAGE);
        assert!(options.java_multiple_files());
        assert_eq!(options.csharp_namespace(), "Recsys.V1");
    }
}
