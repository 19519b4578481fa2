//! A Redis Cluster that loses a node, or whose slots move.

use recsys::adapters::redis::RedisSettings;

use super::{
    Acknowledged, Load, assert_state_unavailable, assert_stored, deliver, event, recommend_request,
    users,
};
use crate::support::{
    redis::{RedisCluster, RedisServer, instance, pool},
    server::TestServer,
    until,
};

/// The keys that a user has: buffer and model.
fn keys(user: &str) -> [String; 2] {
    [format!("evt:{user}"), format!("umodel:{user}")]
}

/// Which node holds a key.
fn owner<'a>(cluster: &'a RedisCluster, key: &str) -> &'a RedisServer {
    let holds = |node: &&RedisServer| node.cli(&["EXISTS", key]) == "1";
    cluster.nodes.iter().find(holds).unwrap()
}

async fn over(cluster: &RedisCluster) -> TestServer {
    let settings = RedisSettings {
        redis_pool_size: 2,
        ..RedisSettings::default()
    };
    instance(&pool(&cluster.url(), settings), "").await
}

/// Users by whether their keys are on the first node.
struct UsersByNode {
    /// Their buffer is.
    affected: Vec<String>,
    /// Neither buffer nor model is.
    unaffected: Vec<String>,
}

impl UsersByNode {
    /// 60 users with an event each.
    async fn of(cluster: &RedisCluster, server: &TestServer) -> Self {
        let all = users(60);
        for user in &all {
            deliver(server, &event(user, "before")).await;
        }
        let first = cluster.nodes[0].port();
        let is_on_first =
            |user: &String| keys(user).map(|key| owner(cluster, &key).port() == first);
        let (affected, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|user| is_on_first(user)[0]);
        let unaffected: Vec<_> = rest
            .into_iter()
            .filter(|user| !is_on_first(user)[1])
            .collect();
        assert!(affected.len() > 5 && unaffected.len() > 5);
        Self {
            affected,
            unaffected,
        }
    }

    /// All events that were sent: those of a load of the unaffected users, and one
    /// before it; one before and one during the outage of each affected user.
    fn sent(self, mut load: Acknowledged) -> Acknowledged {
        for user in &self.unaffected {
            load.get_mut(user).unwrap().insert("before".to_owned());
        }
        load.extend(twice(self.affected));
        load
    }
}

/// An event each from before and during the outage.
fn twice(users: Vec<String>) -> Acknowledged {
    let both = || ["before", "meanwhile"].map(str::to_owned).into();
    users.into_iter().map(|user| (user, both())).collect()
}

async fn assert_unavailable(server: &TestServer, user: &str) {
    let refused = server.ingest(event(user, "meanwhile")).await.unwrap_err();
    assert_state_unavailable(&refused);
    let list = server.recommend(recommend_request(user)).await.unwrap();
    assert_eq!(list.diagnostics.unwrap().degraded[0], "user_model");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_node_affects_only_its_own_users() {
    let mut cluster = RedisCluster::with(&["--cluster-require-full-coverage", "no"]);
    let server = over(&cluster).await;
    let by_node = UsersByNode::of(&cluster, &server).await;
    let load = Load::start(&server, &by_node.unaffected);
    load.wait_for(50).await;
    cluster.nodes[0].kill();
    for user in &by_node.affected[..3] {
        assert_unavailable(&server, user).await;
    }
    load.wait_for(200).await;
    // The cluster has noticed the failure.
    cluster.nodes[1].until(&["CLUSTER", "NODES"], |nodes| nodes.contains("fail "));
    load.wait_for(200).await;
    assert_unavailable(&server, &by_node.affected[0]).await;

    cluster.nodes[0].restart();
    for user in &by_node.affected {
        deliver(&server, &event(user, "meanwhile")).await;
    }
    assert_eq!(load.failed(), 0, "users of the other nodes are unaffected");
    let sent = by_node.sent(load.end().await);
    assert_stored(&server, &cluster.nodes[1], "", &sent).await;
}

/// Moves the slot of a key, with all that is in it, to the next node.
fn move_slot(cluster: &RedisCluster, key: &str) {
    let nodes = &cluster.nodes;
    let slot = nodes[0].cli(&["CLUSTER", "KEYSLOT", key]);
    let at = nodes.iter().position(|node| {
        let here = node.cli(&["CLUSTER", "COUNTKEYSINSLOT", &slot]);
        here != "0"
    });
    let at = at.unwrap();
    let (from, to) = (&nodes[at], &nodes[(at + 1) % nodes.len()]);
    let [from_id, to_id] = [from, to].map(|node| node.cli(&["CLUSTER", "MYID"]));
    let set = |node: &RedisServer, state: &[&str]| {
        let command = [&["CLUSTER", "SETSLOT", &slot][..], state].concat();
        assert_eq!(node.cli(&command), "OK", "{command:?}");
    };
    set(to, &["IMPORTING", &from_id]);
    set(from, &["MIGRATING", &to_id]);
    loop {
        let is_on_first = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "10"]);
        if is_on_first.is_empty() {
            break;
        }
        for key in is_on_first.lines() {
            let port = to.port().to_string();
            let moved = from.cli(&["MIGRATE", "127.0.0.1", &port, key, "0", "20000"]);
            assert!(["OK", "NOKEY"].contains(&moved.as_str()), "{moved}");
        }
    }
    for node in [to, from].into_iter().chain(nodes) {
        set(node, &["NODE", &to_id]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn moving_slots_under_load_loses_nothing() {
    let cluster = RedisCluster::start();
    let server = over(&cluster).await;
    let users = users(8);
    let load = Load::start(&server, &users);
    load.wait_for(50).await;
    for _ in 0..2 {
        for key in users.iter().flat_map(|user| keys(user)) {
            move_slot(&cluster, &key);
            load.wait_for(5).await;
        }
    }
    assert_stored(&server, &cluster.nodes[0], "", &load.end().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_that_requires_full_coverage_is_unavailable_as_a_whole() {
    // Full coverage is required by default.
    let mut cluster = RedisCluster::start();
    let server = over(&cluster).await;
    let users = users(12);
    for user in &users {
        deliver(&server, &event(user, "before")).await;
    }
    cluster.nodes[0].kill();
    cluster.nodes[1].until(&["CLUSTER", "INFO"], |info| info.contains("state:fail"));
    for user in &users {
        let refused = async || match server.ingest(event(user, "meanwhile")).await {
            Ok(_) => false,
            Err(status) => {
                assert_state_unavailable(&status);
                true
            }
        };
        // The other node may notice a moment later.
        until("the whole cluster is down", refused).await;
    }
    cluster.nodes[0].restart();
    for user in &users {
        deliver(&server, &event(user, "meanwhile")).await;
    }
    assert_stored(&server, &cluster.nodes[1], "", &twice(users)).await;
}
