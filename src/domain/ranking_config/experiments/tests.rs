//! Tests of placements and experiments in the ranking file.

use crate::domain::{
    ranking::scorers::Scorer,
    ranking_config::{ExplorationStrategy, RankingConfig},
};

/// A ranking file with one experiment, whose variants are `variants`.
fn file(variants: &str) -> String {
    format!(
        "placements = [{{ name = 'home' }}, {{ name = 'cart' }}]
         experiments = [{{ name = 'weights', salt = 's', variants = [{variants}] }}]"
    )
}

fn error(text: &str) -> String {
    RankingConfig::from_toml(text).unwrap_err().to_string()
}

#[test]
fn a_variant_changes_only_the_keys_that_it_names() {
    let text = file(
        "{ name = 'a', share = 0.5 },
         { name = 'b', share = 0.5, ranking = { mmr_lambda = 0.25, pool_per_generator = 50,
           fusion = { tag = 1.5 }, exploration = { strategy = 'random' } } }",
    );
    let config = RankingConfig::from_toml(&format!("geo_scale_m = 90.0\n{text}")).unwrap();
    let variants = &config.experiments[0].variants;
    let same = config.of_variant(&variants[0]).unwrap();
    assert_eq!(same, config.without_experiments());
    let changed = config.of_variant(&variants[1]).unwrap();
    let mut expected = config.without_experiments();
    expected.mmr_lambda = 0.25;
    expected.pool_per_generator = 50;
    expected.fusion[Scorer::Tag] = 1.5;
    expected.exploration.strategy = ExplorationStrategy::Random;
    assert_eq!(changed, expected);
    assert_eq!(changed.geo_scale_m, 90.0);
    assert!(changed.reads_meanings() && !changed.events.is_empty());
}

#[test]
fn placements_and_variants_are_not_in_the_fingerprint_of_models() {
    let text = file("{ name = 'a', share = 1.0, ranking = { fusion = { tag = 1.5 } } }");
    let config = RankingConfig::from_toml(&text).unwrap();
    let fingerprint = RankingConfig::default().fingerprint();
    assert_eq!(config.fingerprint(), fingerprint);
    let variant = config.of_variant(&config.experiments[0].variants[0]);
    assert_eq!(variant.unwrap().fingerprint(), fingerprint);
}

#[test]
fn a_variant_that_sets_another_key_is_refused_with_its_path() {
    for key in [
        "half_life_days = 1.0",
        "events = []",
        "preset = 'reference'",
        "limit = 1",
    ] {
        let text = file(&format!(
            "{{ name = 'a', share = 1.0, ranking = {{ {key} }} }}"
        ));
        let name = key.split(' ').next().unwrap();
        let expected = format!(
            "experiments[0].variants[0].ranking.{name} cannot be set: a variant may set only exploration, fusion, mmr_lambda, pool_per_generator"
        );
        assert_eq!(error(&text), expected);
    }
}

#[test]
fn a_wrong_value_of_a_variant_is_refused_with_its_path() {
    for (ranking, expected) in [
        ("mmr_lambda = 1.5", "mmr_lambda must be 0 to 1"),
        ("fusion = { tag = nan }", "fusion.tag must be"),
        ("fusion = { tags = 1.0 }", "tags"),
        ("fusion = 1.0", "must be a table"),
        (
            "pool_per_generator = 0",
            "pool_per_generator must be 1 to 10000",
        ),
        ("exploration = { slots = [] }", "exploration.slots"),
    ] {
        let text = file(&format!(
            "{{ name = 'a', share = 0.5 }}, {{ name = 'b', share = 0.5, ranking = {{ {ranking} }} }}"
        ));
        let error = error(&text);
        let path = "experiments[0].variants[1].ranking: ";
        assert!(error.contains(path) && error.contains(expected), "{error}");
    }
}

#[test]
fn every_wrong_name_and_share_is_refused_with_its_path() {
    let error = error(
        "placements = [{ name = 'Home' }, { name = 'cart' }, { name = 'cart' },
                       { name = 'other' }, { name = '' }]
         experiments = [
           { name = 'none', salt = '', placements = ['shelf'], variants = [] },
           { name = 'x', salt = \"a\\n\", placements = ['cart'], variants = [
             { name = 'a', share = -0.5 }, { name = 'a', share = 0.5 },
             { name = 'a-name-of-more-than-32-characters', share = nan } ] },
           { name = 'x', salt = 's', variants = [{ name = 'a', share = 0.9999 }] },
         ]",
    );
    for expected in [
        "placements[0].name must be 1 to 32 of a-z, 0-9, _ and -",
        "placements[2].name \"cart\" is there twice",
        "placements[3].name must not be other, which metrics use",
        "placements[4].name must be 1 to 32",
        "experiments[0].name must not be none",
        "experiments[0].salt must be 1 to 64 bytes",
        "experiments[0].placements[0] \"shelf\" is not a name in placements",
        "experiments[0].variants must not be empty",
        "experiments[1].salt must be",
        "experiments[1].variants[0].share must be 0 to 1",
        "experiments[1].variants[1].name \"a\" is there twice",
        "experiments[1].variants[2].name must be 1 to 32",
        "experiments[1].variants[2].share must be 0 to 1",
        "the shares of experiments[1].variants must sum to 1, and sum to NaN",
        "experiments[2].name \"x\" is there twice",
        "experiments[2] applies to the same lists as experiments[0]: set the placements of both",
        "experiments[2] applies to the same lists as experiments[1]",
        "the shares of experiments[2].variants must sum to 1, and sum to 0.9999",
    ] {
        assert!(
            error.contains(expected),
            "{expected} is missing in: {error}"
        );
    }
    assert!(!error.contains("experiments[1] applies"), "{error}");
    for missing in ["salt", "variants", "name"] {
        let keys = [
            ("name", "'e'"),
            ("salt", "'s'"),
            ("variants", "[{ name = 'a', share = 1.0 }]"),
        ];
        let keys = keys.iter().filter(|(name, _)| *name != missing);
        let keys: Vec<String> = keys
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        let text = format!("experiments = [{{ {} }}]", keys.join(", "));
        let error = RankingConfig::from_toml(&text).unwrap_err().to_string();
        assert!(
            error.contains(&format!("the key `{missing}` is missing")),
            "{error}"
        );
    }
}

#[test]
fn shares_may_be_rounded_and_one_may_be_0() {
    let thirds = "{ name = 'a', share = 0.333333 }, { name = 'b', share = 0.333333 },
                  { name = 'c', share = 0.333333 }, { name = 'off', share = 0.0 }";
    assert!(RankingConfig::from_toml(&file(thirds)).is_ok());
}

#[test]
fn an_experiment_applies_to_its_placements_or_to_all_lists() {
    let all = RankingConfig::from_toml(&file("{ name = 'a', share = 1.0 }")).unwrap();
    let all = &all.experiments[0];
    assert!(all.applies_to(None) && all.applies_to(Some("home")));
    let text = "placements = [{ name = 'home' }, { name = 'cart' }]
                experiments = [{ name = 'e', salt = 's', placements = ['cart'], variants = [
                  { name = 'a', share = 1.0 }] }]";
    let some = RankingConfig::from_toml(text).unwrap();
    let some = &some.experiments[0];
    assert!(!some.applies_to(None) && !some.applies_to(Some("home")));
    assert!(some.applies_to(Some("cart")));
}
