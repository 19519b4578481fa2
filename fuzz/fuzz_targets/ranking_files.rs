#![no_main]

use recsys::domain::ranking_config::RankingConfig;

// An accepted file reads the same after it is written.
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(config) = RankingConfig::from_toml(text) {
        let written = toml::to_string(&config).unwrap();
        assert_eq!(RankingConfig::from_toml(&written).unwrap(), config);
    }
});
