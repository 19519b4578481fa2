//! `recsys doctor`: checks what the settings name, and says what to do. Each group
//! has its own bounded time, and none waits for another. Nothing is changed.

mod certificates;
mod embedded;
mod files;
mod qdrant;
mod redis;
mod report;
mod settings;
mod tenants;
mod tls;
mod webhook;

use std::time::Duration;

use crate::{app, config::Settings, domain::ranking_config::RankingConfig};
use report::Group;

pub use report::{Finding, Level, Report};

/// Checks all that the settings name; a store's checks take no longer than
/// `at_most`. With `strict`, warnings count as failures.
pub async fn run(settings: &Settings, strict: bool, at_most: Duration) -> Report {
    let (ranking, of_ranking) = ranking(settings);
    let (tenants, of_tenants) = tenants::check(settings);
    let (of_settings, of_redis, (of_qdrant, of_collections)) = tokio::join!(
        settings::check(settings, at_most),
        redis::check(settings, tenants.as_ref(), at_most),
        qdrant::check(settings, tenants.as_ref(), &ranking, at_most),
    );
    let of_tenants = of_tenants.into_iter().chain(of_collections).collect();
    let groups = vec![
        (Group::Settings, of_settings),
        (Group::Redis, of_redis),
        (Group::Qdrant, of_qdrant),
        (Group::Tenants, of_tenants),
        (Group::Tls, tls::check(settings)),
        (Group::Ranking, of_ranking),
        (Group::Embedded, embedded::check(settings, &ranking)),
    ];
    Report::new(groups, strict)
}

/// The ranking of the settings, or, if it is refused, the default.
fn ranking(settings: &Settings) -> (RankingConfig, Vec<Finding>) {
    const CHECK: &str = "ranking file";
    let path = settings.ranking_path.as_deref();
    match (app::ranking(settings, path), path) {
        (Ok(ranking), Some(path)) => {
            let found = format!("{} is understood", path.display());
            (ranking, vec![Finding::ok(CHECK, found)])
        }
        (Ok(ranking), None) => {
            let found = "none (RECSYS_RANKING_PATH): every weight is the default";
            (ranking, vec![Finding::ok(CHECK, found)])
        }
        (Err(error), _) => {
            let refused = Finding::fail(CHECK, error.to_string()).refused();
            let refused = match (&error, path) {
                (app::StartError::DefaultLimit { default_limit, .. }, _) => {
                    refused.todo(format!("export RECSYS_MAX_LIMIT={default_limit}"))
                }
                (app::StartError::File { path, .. }, _) => {
                    refused.todo(format!("ls -l {}", files::quoted(path)))
                }
                (_, Some(path)) => refused.todo(format!(
                    "${{EDITOR:-vi}} {}   # all keys: src/domain/ranking_config.rs",
                    files::quoted(path)
                )),
                (_, None) => refused,
            };
            (RankingConfig::default(), vec![refused])
        }
    }
}
