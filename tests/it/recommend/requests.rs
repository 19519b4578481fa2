//! Requests and ranking files of these tests.

use recsys::{domain::ranking_config::RankingConfig, proto::RecommendRequest};

pub(super) fn request(user: &str) -> RecommendRequest {
    RecommendRequest {
        user_id: user.to_owned(),
        ..RecommendRequest::default()
    }
}

pub(super) fn config(toml: &str) -> RankingConfig {
    RankingConfig::from_toml(toml).unwrap()
}

/// Every list has an exploration item, at position 3 or 4.
pub(super) const ALWAYS_EXPLORING: &str =
    "[exploration]\nstrategy = 'max_dissimilar'\nprobability = 1.0\nslots = [3, 4]";
pub(super) const WITHOUT_EXPLORATION: &str = "[exploration]\nenabled = false";
