//! Tests of the ranking file.

use super::{ExplorationStrategy, Preset, RankingConfig, commented::KEYS};
use crate::domain::{
    associations::AssociationsConfig, meaning::EventRule, ranking::scorers::Scorer,
};

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(
        RankingConfig::from_toml("").unwrap(),
        RankingConfig::default()
    );
}

#[test]
fn missing_keys_keep_their_defaults() {
    let config = RankingConfig::from_toml(
        r#"
        mmr_lambda = 0.9
        [fusion]
        tag = 0.25
        [exploration]
        strategy = "unexplored_theme"
        [[profile]]
        questions = ["q:age", "age_group"]
        field = "age"
        facet = "person_who.age_group"
        weight = 0.5
        values = { "25_34" = "age 25-34" }
        [canonical]
        spellings = { "labour" = "labor" }
        aliases = { "joods leven" = "jewish life" }
        "#,
    )
    .unwrap();
    assert_eq!(config.mmr_lambda, 0.9);
    assert_eq!(
        (config.fusion[Scorer::Tag], config.fusion[Scorer::Semantic]),
        (0.25, 0.20)
    );
    assert_eq!(
        config.exploration.strategy,
        ExplorationStrategy::UnexploredTheme
    );
    assert_eq!(config.profile[0].values["25_34"], "age 25-34");
    assert_eq!(config.canonicalizer().label("Joods_Leven"), "jewish life");
    assert_ne!(config.fingerprint(), RankingConfig::default().fingerprint());
}

#[test]
fn an_unknown_key_is_rejected_with_its_line() {
    let error = RankingConfig::from_toml("mmr_lambda = 0.5\nmmr_lamda = 0.7\n").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("mmr_lamda") && text.contains("line 2"),
        "{text}"
    );
    let nested = RankingConfig::from_toml("[fusion]\ntags = 1.0\n").unwrap_err();
    assert!(nested.to_string().contains("tags"), "{nested}");
}

#[test]
fn a_weight_whose_sums_could_overflow_is_rejected() {
    for (text, name) in [
        ("soft_negative_weight = 1e308", "soft_negative_weight"),
        ("engagement.dwell = 1e308", "engagement.dwell"),
        ("fusion.aversion = -1e308", "fusion.aversion"),
        (
            "profile = [{ questions = ['q'], facet = 'f', weight = 1e308 }]",
            "profile[0].weight",
        ),
    ] {
        let error = RankingConfig::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(RankingConfig::from_toml("fusion.tag = -1e6").is_ok());
}

#[test]
fn every_value_out_of_range_is_reported() {
    let error = RankingConfig::from_toml(
        r#"
        half_life_days = 0.0
        reading_speed_wps = nan
        positive_threshold = -0.3
        negative_threshold = 0.05
        pool_per_generator = 0
        default_limit = 101
        mmr_lambda = 1.5
        geo_scale_m = inf
        [fusion]
        geo = nan
        [exploration]
        probability = 2.0
        slots = [0]
        [[profile]]
        questions = []
        weight = 0.0
        "#,
    )
    .unwrap_err()
    .to_string();
    for name in [
        "half_life_days",
        "reading_speed_wps",
        "positive_threshold",
        "negative_threshold",
        "pool_per_generator",
        "default_limit",
        "mmr_lambda",
        "geo_scale_m",
        "fusion.geo",
        "exploration.probability",
        "exploration.slots",
        "profile[0].questions",
        "profile[0] needs",
        "profile[0].weight",
    ] {
        assert!(error.contains(name), "{name} is missing in: {error}");
    }
}

#[test]
fn the_preset_sets_the_defaults_of_all_other_keys() {
    let reference = RankingConfig::from_toml("preset = 'reference'").unwrap();
    assert_eq!(reference, RankingConfig::of(Preset::Reference));
    assert_eq!(reference.mmr_lambda, 0.7);
    assert_eq!(reference.min_reading_seconds, 0.0);
    assert_eq!(reference.exploration.slots, [3, 4]);
    assert_eq!(reference.fusion[Scorer::Collaborative], 0.0);
    assert!(reference.events.is_empty() && !reference.associations.enabled);

    let recsys = RankingConfig::default();
    assert_eq!(recsys.preset, Preset::Recsys);
    assert_eq!(recsys.mmr_lambda, 0.9);
    assert_eq!(recsys.min_reading_seconds, 20.0);
    assert_eq!(recsys.exploration.slots, [6, 7, 8]);
    assert_eq!(
        recsys.exploration.strategy,
        ExplorationStrategy::PopularElsewhere
    );
    assert_eq!(recsys.fusion[Scorer::Collaborative], 2.0);
    assert_eq!(recsys.fusion[Scorer::Popularity], 0.2);
    assert_eq!(recsys.associations, AssociationsConfig::default());
    assert_ne!(reference.fingerprint(), recsys.fingerprint());
}

#[test]
fn a_key_of_a_table_leaves_the_others_as_the_preset_has_them() {
    let config = RankingConfig::from_toml(
        "
        preset = 'reference'
        [exploration]
        probability = 0.5
        [fusion]
        popularity = 0.3
        [associations]
        list_max = 7
        ",
    )
    .unwrap();
    assert_eq!(config.exploration.probability, 0.5);
    assert_eq!(config.exploration.slots, [3, 4]);
    assert_eq!(config.fusion[Scorer::Popularity], 0.3);
    assert_eq!(config.fusion[Scorer::Collaborative], 0.0);
    assert!(!config.associations.enabled);
    assert_eq!(config.associations.list_max, 7);
}

#[test]
fn entries_of_events_extend_the_table_of_the_preset() {
    let entries = "
        [[events]]
        types = ['Lesson Finished', 'VIEW']
        strength = 0.7
        ";
    let rule = Some(EventRule {
        strength: 0.7,
        weak: false,
        done: false,
    });
    let config = RankingConfig::from_toml(entries).unwrap();
    assert_eq!(config.events.rule("lesson_finished"), rule);
    assert_eq!(config.events.rule("view"), rule);
    assert!(config.events.rule("purchase").is_some());
    let config = RankingConfig::from_toml(&format!("preset = 'reference'\n{entries}")).unwrap();
    assert_eq!(config.events.rule("lesson_finished"), rule);
    assert_eq!(config.events.rule("purchase"), None);

    let error = RankingConfig::from_toml("events = [{ types = ['a', 'A'], strength = 2 }]")
        .unwrap_err()
        .to_string();
    assert!(error.contains("events[0].strength"), "{error}");
    assert!(error.contains("the same type"), "{error}");
}

#[test]
fn the_fingerprint_is_of_the_values_that_build_the_model() {
    let print = |text: &str| RankingConfig::from_toml(text).unwrap().fingerprint();
    let default = print("");
    for text in [
        "mmr_lambda = 0.1",
        "pool_per_generator = 7",
        "default_limit = 7",
        "geo_scale_m = 7",
        "affinity_tags = 7",
        "filter_reshow_when_exhausted = false",
        "fusion.tag = 0.1",
        "exploration.enabled = false",
        "events = [{ types = ['View'], strength = 0.3, weak = true }]",
    ] {
        assert_eq!(print(text), default, "{text}");
    }
    for text in [
        "preset = 'reference'",
        "half_life_days = 7",
        "soft_negative_weight = 0.1",
        "positive_threshold = 0.4",
        "negative_threshold = -0.1",
        "reading_speed_wps = 4",
        "img_extra_time = 2",
        "min_reading_seconds = 10",
        "dwell_cap_ratio = 3",
        "untasted_facets = ['a']",
        "engagement.dwell = 0.5",
        "completion.link = 0.5",
        "events = [{ types = ['View'], strength = 0.4, weak = true }]",
        "profile = [{ questions = ['q'], field = 'f' }]",
    ] {
        assert_ne!(print(text), default, "{text}");
    }
}

#[test]
fn the_commented_file_has_every_key_and_reads_back() {
    for text in [
        "",
        "preset = 'reference'",
        "
        profile = [{ questions = ['q'], facet = 'f', values = { '1' = 'one' } }]
        events = [{ types = ['\"quoted\"', 'Ж'], strength = -0.5 }]
        canonical.spellings = { 'labour' = 'labor' }
        ",
        "
        placements = [{ name = 'home' }, { name = 'product_page' }]
        experiments = [{ name = 'e', salt = 'Ж \"1\"', placements = ['home'], variants = [
            { name = 'a', share = 0.25 },
            { name = 'b', share = 0.75, ranking = { mmr_lambda = 0.5, fusion.tag = 1.0 } },
        ] }]
        ",
    ] {
        let config = RankingConfig::from_toml(text).unwrap();
        let shown = config.to_commented_toml().unwrap();
        assert_eq!(RankingConfig::from_toml(&shown).unwrap(), config, "{shown}");
        for (name, value) in toml::Table::try_from(&config).unwrap() {
            let below = value.as_table().map(|below| below.keys());
            let keys: Vec<String> = match below {
                Some(below) => below.map(|key| format!("{name}.{key}")).collect(),
                None => vec![name],
            };
            for key in keys {
                assert!(KEYS.iter().any(|(known, _)| *known == key), "{key}");
                let last = key.rsplit('.').next().unwrap();
                assert!(
                    shown.contains(&format!("\n{last} = ")) || shown.contains(&format!("[{last}]")),
                    "{key} is missing in:\n{shown}"
                );
            }
        }
    }
}
