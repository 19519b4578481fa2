//! Each target on arbitrary bytes, on seeds with damaged bytes, and on seeds
//! with a value replaced by an odd one.

mod damage;
mod messages;
mod odd;

use std::{fmt, fs, path::Path};

use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};

use super::{TARGETS, Target, seeds};

/// Damaged inputs of a target that are looked at for how many are accepted.
const SAMPLE: usize = 200;
/// How many of them must be accepted, and how many refused: else the damage
/// is too great or too small to reach what is behind the first check.
const LEAST_OF_EACH: usize = 20;

fn target(name: &str) -> Target {
    let found = TARGETS.into_iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("no target {name}"))
}

#[test]
fn every_seed_is_accepted() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(seeds.len() >= 5, "{} has few seeds", target.name);
        for seed in seeds {
            let text = String::from_utf8_lossy(&seed).into_owned();
            assert!((target.run)(&seed), "{} refuses {text}", target.name);
        }
    }
}

#[test]
fn every_target_is_in_the_hands_of_the_fuzzer() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for Target { name, .. } in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let file = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(file.contains(&format!("target!({name})")), "{name}");
    }
}

#[test]
fn of_damaged_seeds_some_are_accepted_and_some_are_not() {
    for target in TARGETS {
        let strategy = prop_oneof![damage::bytes((target.seeds)()), twisted(target.name)];
        let mut runner = TestRunner::deterministic();
        let accepted = (0..SAMPLE)
            .filter(|_| {
                let input = strategy.new_tree(&mut runner).unwrap().current();
                (target.run)(&input)
            })
            .count();
        assert!(
            (LEAST_OF_EACH..=SAMPLE - LEAST_OF_EACH).contains(&accepted),
            "{} accepts {accepted} of {SAMPLE}",
            target.name
        );
    }
}

/// Inputs of a target that are well-formed, with odd values in them.
fn twisted(name: &str) -> BoxedStrategy<Vec<u8>> {
    match name {
        "requests" => messages::requests().boxed(),
        "stored_events" => odd::lines(seeds::stored_events()).boxed(),
        "stored_models" => odd::json(seeds::stored_models()).boxed(),
        "payloads" => odd::json(seeds::payloads()).boxed(),
        "catalogue_lines" => odd::json(seeds::catalogue_lines()).boxed(),
        "ranking_files" => odd::toml(seeds::ranking_files()).boxed(),
        "deliveries" => odd::json(seeds::deliveries()).boxed(),
        other => panic!("{other} has no twist"),
    }
}

/// An input that is shown as text where it fails.
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// Any bytes, seeds with damaged bytes, and seeds with odd values.
fn inputs(name: &str) -> impl Strategy<Value = Input> {
    let anything = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        1 => anything,
        3 => damage::bytes((target(name).seeds)()),
        6 => twisted(name),
    ]
    .prop_map(Input)
}

proptest! {
    #[test]
    fn requests_keep_their_promises(input in inputs("requests")) {
        (target("requests").run)(&input.0);
    }

    #[test]
    fn stored_events_keep_their_promises(input in inputs("stored_events")) {
        (target("stored_events").run)(&input.0);
    }

    #[test]
    fn stored_models_keep_their_promises(input in inputs("stored_models")) {
        (target("stored_models").run)(&input.0);
    }

    #[test]
    fn payloads_keep_their_promises(input in inputs("payloads")) {
        (target("payloads").run)(&input.0);
    }

    #[test]
    fn catalogue_lines_keep_their_promises(input in inputs("catalogue_lines")) {
        (target("catalogue_lines").run)(&input.0);
    }

    #[test]
    fn deliveries_keep_their_promises(input in inputs("deliveries")) {
        (target("deliveries").run)(&input.0);
    }

    #[test]
    fn ranking_files_keep_their_promises(input in inputs("ranking_files")) {
        (target("ranking_files").run)(&input.0);
    }
}
