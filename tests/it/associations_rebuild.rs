//! `recsys associations rebuild`, from the command line.

use std::{collections::BTreeMap, fs, path::Path, process::Output};

use recsys::{
    adapters::redis::{KeyScan, RedisPool},
    domain::{
        event::{InteractionEvent, StoredEvent},
        event_member,
        ids::{ContentId, UserId},
        ranking_config::RankingConfig,
        time::Timestamp,
    },
    engine::{Engine, EngineSettings, Ports},
    ports::{Deadline, PopularityRanking},
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    MemoryWorld,
    items::half_circle,
    program::recsys,
    redis::{self, RedisServer},
    server::NOW,
};

const USERS: usize = 60;
const ITEMS: usize = 12;

fn users() -> Vec<UserId> {
    let users = (0..USERS).map(|number| format!("user {number}"));
    users.map(|user| UserId::parse(&user).unwrap()).collect()
}

fn items() -> Vec<ContentId> {
    let items = (0..ITEMS).map(|number| format!("item:{number}"));
    items.map(ContentId::from).collect()
}

/// Three to five likes and views of each user, within the last hours.
fn events() -> Vec<StoredEvent> {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = i64::try_from(now).unwrap();
    let mut events = Vec::new();
    for (number, user) in users().into_iter().enumerate() {
        for step in 0..3 + number % 3 {
            let kind = if (number + step) % 4 == 0 {
                "view"
            } else {
                "like"
            };
            let ago = i64::try_from(60 * (step * USERS + number) + 60).unwrap();
            let time = Timestamp::from_micros((now - ago) * 1_000_000);
            let mut event = InteractionEvent::new(user.clone(), kind, time);
            let item = (number * 7 + step * step) % ITEMS;
            event.content_id = Some(items()[item].clone());
            events.push(event_member::encode(event).unwrap());
        }
    }
    events
}

/// Everything that a rebuild makes, without the times of builds.
#[derive(Debug, PartialEq)]
struct Stored {
    lists: Vec<Option<Vec<u8>>>,
    audiences: Vec<Vec<(String, Timestamp)>>,
    rows: Vec<Vec<(String, f64)>>,
    popular: Vec<String>,
    trending: Vec<String>,
}

/// The keys under one prefix, and what they should hold.
struct Associated {
    ports: Ports,
    prefix: String,
    expected: Stored,
}

impl Associated {
    async fn ingested(pool: &RedisPool) -> Self {
        let prefix = redis::own_prefix();
        let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(3));
        let ports = redis::ports(pool, &prefix, &world);
        let settings = EngineSettings {
            model_save_interval: std::time::Duration::ZERO,
            ..MemoryWorld::settings()
        };
        let engine = Engine::new(ports.clone(), RankingConfig::default(), settings);
        let results = engine.ingest_batch(events(), Deadline::NONE).await;
        assert!(results.unwrap().iter().all(Result::is_ok));
        engine.rebuild_items(&items()).await.unwrap();
        let expected = stored(&ports).await;
        assert!(expected.lists.iter().all(Option::is_some), "{expected:?}");
        assert!(expected.rows.iter().all(|row| !row.is_empty()));
        assert_eq!(expected.popular.len(), ITEMS);
        Self {
            ports,
            prefix,
            expected,
        }
    }

    fn keys(&self) -> BTreeMap<&'static str, Vec<String>> {
        let key = |kind: &str, id: &str| format!("{}{kind}:{id}", self.prefix);
        let of_users = |kind| {
            users()
                .iter()
                .map(|user| key(kind, user.as_str()))
                .collect()
        };
        let of_items = |kind| {
            items()
                .iter()
                .map(|item| key(kind, item.as_str()))
                .collect()
        };
        BTreeMap::from([
            ("lst", of_users("lst")),
            ("aud", of_items("aud")),
            ("nbr", of_items("nbr")),
            ("pop", vec![format!("{}pop", self.prefix)]),
            ("trend", vec![format!("{}trend", self.prefix)]),
        ])
    }

    /// Removes the keys of these kinds from the servers.
    fn lose(&self, servers: &[&RedisServer], kinds: &[&str]) {
        for (_, keys) in self.keys().iter().filter(|(kind, _)| kinds.contains(kind)) {
            for key in keys {
                for server in servers {
                    // A node of a cluster refuses the keys of others.
                    server.cli(&["UNLINK", key]);
                }
            }
        }
    }

    fn rebuild(&self, url: &str, progress: &Path, more: &[&str]) -> Output {
        let mut command = recsys(&["associations", "rebuild"]);
        command.args(["--redis-url", url, "--redis-key-prefix", &self.prefix]);
        command.arg("--progress").arg(progress).args(more);
        command.output().unwrap()
    }
}

async fn stored(ports: &Ports) -> Stored {
    let store = &ports.associations;
    let lists = store.lists(&users()).await.unwrap();
    let lists = lists
        .iter()
        .map(|slot| Some(slot.present()?.packed().to_vec()));
    let mut audiences = Vec::new();
    for item in items() {
        let audience = store.audience(&item, 500).await.unwrap();
        let members = audience.members().iter();
        let members = members.map(|member| (member.user.as_str().to_owned(), member.time));
        audiences.push(members.collect());
    }
    let rows = store.rows(&items()).await.unwrap();
    let rows = rows.iter().map(|row| {
        let row = row.iter().flat_map(|row| row.iter());
        row.map(|(item, weight)| (item.to_owned(), weight))
            .collect()
    });
    let mut rankings = Vec::new();
    for ranking in [PopularityRanking::Popular, PopularityRanking::Trending] {
        let ranked = store.popularity(ranking).await.unwrap();
        let mut ranked: Vec<String> = ranked.iter().map(|(item, _)| item.to_string()).collect();
        ranked.sort();
        rankings.push(ranked);
    }
    Stored {
        lists: lists.collect(),
        audiences,
        rows: rows.collect(),
        trending: rankings.pop().unwrap(),
        popular: rankings.pop().unwrap(),
    }
}

fn printed(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

const ALL: [&str; 5] = ["aud", "lst", "nbr", "pop", "trend"];

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_was_lost_is_made_again() {
    let folder = TempDir::new().unwrap();
    let progress = folder.path().join("progress");
    let single = redis::shared();
    let sentinel = RedisServer::sentinel(single, "mymaster");
    let cluster = redis::shared_cluster();
    let nodes: Vec<&RedisServer> = cluster.nodes.iter().collect();
    for (url, pool, servers) in [
        (single.url(), single.pool(), vec![single]),
        (sentinel.url(), single.pool(), vec![single]),
        (cluster.url(), cluster.pool(), nodes),
    ] {
        let world = Associated::ingested(&pool).await;
        // A key of another type, which no user has.
        let stray = format!("{}evt:stray", world.prefix);
        for server in &servers {
            server.cli(&["SET", &stray, "x"]);
        }
        for lost in [&ALL[..], &["lst"], &["aud", "pop"], &["nbr", "trend"]] {
            world.lose(&servers, lost);
            assert_ne!(stored(&world.ports).await, world.expected, "{lost:?}");
            let output = world.rebuild(&url, &progress, &[]);
            let (out, err) = printed(&output);
            assert!(output.status.success(), "{url}: {err}");
            assert_eq!(out, "rebuilt: 60 users with events, 12 items\n", "{err}");
            assert_eq!(stored(&world.ports).await, world.expected, "{url} {lost:?}");
            assert!(!progress.exists());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_rebuild_resumes_where_it_was_unless_redis_has_restarted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("progress");
    let server = redis::shared();
    let pool = server.pool();
    let world = Associated::ingested(&pool).await;
    let nodes = KeyScan::new(pool, &world.prefix).nodes().await.unwrap();
    let interrupted = |prefix: &str, nodes: &serde_json::Value| {
        let position = json!({"key_prefix": prefix, "nodes": nodes, "phase": "rows", "node": 0,
            "cursor": 0, "counts": {"users": 7, "audiences": 12, "rows": 0}});
        fs::write(&path, position.to_string()).unwrap();
    };
    let nodes = serde_json::to_value(nodes).unwrap();
    let mut restarted = nodes.clone();
    restarted[0]["run_id"] = json!("another");

    interrupted(&world.prefix, &nodes);
    world.lose(&[server], &["lst", "nbr"]);
    let output = world.rebuild(&server.url(), &path, &[]);
    let (out, err) = printed(&output);
    assert_eq!(out, "rebuilt: 7 users with events, 12 items\n", "{err}");
    assert!(err.contains("resuming"), "{err}");
    assert!(stored(&world.ports).await.lists.iter().all(Option::is_none));

    for (prefix, nodes, more, message) in [
        (&*world.prefix, &restarted, &[][..], "have restarted"),
        ("other:", &nodes, &[], ""),
        (&world.prefix, &nodes, &["--restart"], ""),
    ] {
        interrupted(prefix, nodes);
        world.lose(&[server], &ALL);
        let output = world.rebuild(&server.url(), &path, more);
        let (out, err) = printed(&output);
        assert_eq!(out, "rebuilt: 60 users with events, 12 items\n", "{err}");
        assert!(err.contains(message) && !err.contains("resuming"), "{err}");
        assert_eq!(stored(&world.ports).await, world.expected);
    }
}

#[test]
fn a_rebuild_names_the_setting_that_it_lacks() {
    let folder = TempDir::new().unwrap();
    let ranking = folder.path().join("ranking.toml");
    fs::write(&ranking, "[associations]\nenabled = false\n").unwrap();
    let url = redis::shared().url();
    let closed = format!("redis://127.0.0.1:{}", redis::free_port());
    for (arguments, code, message) in [
        (&[][..], 2, "REDIS_URL is not set"),
        (
            &[
                "--redis-url",
                &url,
                "--ranking-path",
                ranking.to_str().unwrap(),
            ],
            2,
            "associations.enabled",
        ),
        (
            &["--redis-url", &url, "--tenant", "shop"],
            2,
            "--tenant needs a tenants file",
        ),
        (&["--redis-url", &closed], 1, "redis"),
    ] {
        let mut command = recsys(&["associations", "rebuild"]);
        command.current_dir(folder.path()).args(arguments);
        let output = command.output().unwrap();
        let (_, err) = printed(&output);
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(err.contains(message), "{err}");
    }
}
