//! Placements, variants, and events that are attributed to lists.

mod attribution;
mod program;
mod week;

use std::collections::BTreeSet;

use recsys::{
    domain::{experiments::RequestIdKeys, ranking_config::RankingConfig},
    edge::settings::ServerSettings,
    engine::{ArmResult, Engine, EngineSettings, Treatment},
    proto::{ExplorationSkip, RecommendRequest, RecommendResponse},
};
use tonic::Code;

use crate::support::{
    MemoryWorld,
    items::half_circle,
    server::{NOW, TestServer, fields, liked, named},
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Two placements, and an experiment for one of them.
const RANKING: &str = "
    exploration = { probability = 1.0, strategy = 'random' }
    placements = [{ name = 'home' }, { name = 'cart' }]
    experiments = [{ name = 'weights', salt = 'june', placements = ['home'], variants = [
        { name = 'current', share = 0.5 },
        { name = 'calm', share = 0.5, ranking = { exploration = { enabled = false },
          fusion = { semantic = 0.0 }, pool_per_generator = 3, mmr_lambda = 1.0 } },
    ] }]
";

/// A server of 40 items with a ranking file, and its engine.
async fn server(ranking: &str, key_file: Option<&str>) -> (TestServer, Engine) {
    let keys = key_file.map(|text| RequestIdKeys::parse(text).unwrap());
    server_with(ranking, keys).await
}

async fn server_with(ranking: &str, keys: Option<RequestIdKeys>) -> (TestServer, Engine) {
    let config = RankingConfig::from_toml(ranking).unwrap();
    let world = MemoryWorld::new(NOW, &config, half_circle(40));
    let settings = EngineSettings {
        request_id_keys: keys,
        ..EngineSettings::default()
    };
    let engine = Engine::new(world.ports.clone(), config, settings);
    let server = TestServer::serving(world, engine.clone(), ServerSettings::default());
    (server.await, engine)
}

fn request(user: &str, placement: &str) -> RecommendRequest {
    RecommendRequest {
        user_id: user.to_owned(),
        placement: placement.to_owned(),
        limit: 6,
        ..RecommendRequest::default()
    }
}

async fn list(server: &TestServer, user: &str, placement: &str) -> RecommendResponse {
    server.recommend(request(user, placement)).await.unwrap()
}

fn variant(list: &RecommendResponse) -> (&str, &str, &str) {
    let diagnostics = list.diagnostics.as_ref().unwrap();
    (
        &diagnostics.placement,
        &diagnostics.experiment,
        &diagnostics.variant,
    )
}

/// What was counted of a placement and a variant.
fn result(engine: &Engine, placement: &str, variant: &str) -> ArmResult {
    let is_it = |result: &ArmResult| {
        let treatment = result.treatment.clone().unwrap_or(Treatment {
            placement: Some("other".into()),
            variant: Some("other".into()),
            ..Treatment::default()
        });
        treatment.placement.as_deref().unwrap_or("none") == placement
            && treatment.variant.as_deref().unwrap_or("none") == variant
    };
    let results = engine.placement_results();
    results.into_iter().find(is_it).unwrap()
}

/// The events of all placements and variants.
fn all_events(engine: &Engine) -> u64 {
    let results = engine.placement_results();
    let events = results.iter().flat_map(|result| &result.events);
    events.map(|(_, count)| count).sum()
}

#[tokio::test]
async fn a_placement_must_be_a_name_of_the_ranking_file() {
    let (server, _) = server(RANKING, None).await;
    for wrong in ["Home", "shelf", "none", "home "] {
        let error = server.recommend(request("u", wrong)).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert_eq!(fields(&error), ["placement"]);
        let message = error.message();
        assert!(
            message.contains("must be one of home, cart, or empty"),
            "{message}"
        );
    }
    for known in ["", "home", "cart"] {
        let list = list(&server, "u", known).await;
        assert_eq!(variant(&list).0, known);
    }
}

#[tokio::test]
async fn without_placements_in_the_ranking_file_only_an_empty_one_is_valid() {
    let (server, engine) = server("", Some(KEY)).await;
    let error = server.recommend(request("u", "home")).await.unwrap_err();
    let message = error.message();
    assert!(
        message.contains("the ranking file has no placements"),
        "{message}"
    );
    let list = list(&server, "u", "").await;
    assert_eq!(variant(&list), ("", "", ""));
    assert_eq!(list.request_id.len(), 36, "a plain id");
    assert_eq!(engine.placement_results(), []);
}

#[tokio::test]
async fn a_list_is_ranked_as_the_variant_of_its_user_says() {
    let (server, engine) = server(RANKING, None).await;
    let mut variants = BTreeSet::new();
    for number in 0..40 {
        let user = format!("user-{number}");
        server.ingest(liked(&user, "i010")).await.unwrap();
        let list = list(&server, &user, "home").await;
        let (_, experiment, variant) = variant(&list);
        assert_eq!(experiment, "weights");
        variants.insert(variant.to_owned());
        let diagnostics = list.diagnostics.as_ref().unwrap();
        let skipped = diagnostics.exploration.as_ref().unwrap().skipped();
        let semantic = list.items.iter().map(|item| item.breakdown["semantic"]);
        let taste = diagnostics.generators["taste"];
        if variant == "calm" {
            assert_eq!(skipped, ExplorationSkip::Disabled);
            assert!(semantic.into_iter().all(|score| score == 0.0));
            assert_eq!(taste, 12, "twice the limit");
        } else {
            assert_eq!(skipped, ExplorationSkip::Unspecified);
            assert!(semantic.into_iter().any(|score| score > 0.0));
            assert_eq!(taste, 30);
        }
        // On another placement the experiment does not apply.
        let other = self::list(&server, &user, "cart").await;
        assert_eq!(self::variant(&other), ("cart", "", ""));
        let generators = &other.diagnostics.as_ref().unwrap().generators;
        assert_eq!(generators["taste"], 30);
    }
    assert_eq!(variants, ["calm", "current"].map(String::from).into());
    let served = ["calm", "current"].map(|name| result(&engine, "home", name));
    assert_eq!(served.iter().map(|result| result.lists).sum::<u64>(), 40);
    assert_eq!(served.iter().map(|result| result.items).sum::<u64>(), 240);
    assert_eq!(result(&engine, "cart", "none").lists, 40);
    assert_eq!(result(&engine, "home", "none").lists, 0);
}

#[tokio::test]
async fn a_user_keeps_the_variant_in_another_process_and_after_a_restart() {
    let (one, _) = server(RANKING, None).await;
    // The names and the shares are the same, the rankings differ.
    let changed = RANKING.replace("mmr_lambda = 1.0", "mmr_lambda = 0.5");
    let (other, _) = server(&changed, Some(KEY)).await;
    // As computed for the salt `june`: the positions do not depend on the release.
    for (user, expected) in [
        ("ada", "calm"),
        ("grace", "current"),
        ("visitor 7", "calm"),
        ("用户", "calm"),
        ("user-1", "calm"),
        ("x", "calm"),
    ] {
        for server in [&one, &other] {
            let list = list(server, user, "home").await;
            assert_eq!(variant(&list), ("home", "weights", expected), "{user}");
        }
    }
}

#[tokio::test]
async fn an_experiment_without_placements_applies_to_every_list() {
    let ranking = RANKING.replace("placements = ['home'], ", "");
    let (server, engine) = server(&ranking, Some(KEY)).await;
    for (index, placement) in ["", "home", "cart"].into_iter().enumerate() {
        let list = list(&server, "ada", placement).await;
        let (given, experiment, variant) = variant(&list);
        assert_eq!((given, experiment), (placement, "weights"));
        let item = &list.items[0].content_id;
        let mut event = named(&format!("e{index}"), liked("ada", item));
        event.request_id.clone_from(&list.request_id);
        server.ingest(event).await.unwrap();
        let placement = if placement.is_empty() {
            "none"
        } else {
            placement
        };
        let result = result(&engine, placement, variant);
        let events: u64 = result.events.iter().map(|(_, count)| count).sum();
        assert_eq!((result.lists, events), (1, 1), "{placement}");
    }
}
