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

pub(super) const WITHOUT_EXPLORATION: &str = "[exploration]\nenabled = false";
