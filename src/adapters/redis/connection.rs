//! A connection to one Redis server, or to all nodes of a cluster.

use std::time::Duration;

use deadpool_redis::redis::{
    Cmd, Pipeline, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
    cmd, from_redis_value,
};

use crate::domain::time::Timestamp;

/// A connection that many calls share by clones.
#[derive(Clone)]
pub(super) enum RedisConnection {
    /// To one server.
    Node(MultiplexedConnection),
    /// To all nodes of a cluster.
    Cluster(ClusterConnection),
}

impl RedisConnection {
    /// Waits until `replicas` replicas of a key's master have everything that
    /// this connection wrote, at most `timeout`. Returns how many have it.
    pub(super) async fn wait_for_replicas(
        &mut self,
        key: &str,
        replicas: usize,
        timeout: Duration,
    ) -> RedisResult<usize> {
        let mut wait = cmd("WAIT");
        wait.arg(replicas)
            .arg(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        match self {
            Self::Node(node) => wait.query_async(node).await,
            Self::Cluster(cluster) => {
                let master = Route::with_key(key, SlotAddr::Master);
                let routing = SingleNodeRoutingInfo::SpecificNode(master);
                let reply = cluster.route_command(wait, RoutingInfo::SingleNode(routing));
                Ok(from_redis_value(reply.await?)?)
            }
        }
    }

    /// The reply to INFO; in a cluster, that of a random node.
    pub(super) async fn info(&mut self) -> RedisResult<String> {
        let info = cmd("INFO");
        match self {
            Self::Node(node) => info.query_async(node).await,
            Self::Cluster(cluster) => {
                let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                let reply = cluster.route_command(info, routing);
                Ok(from_redis_value(reply.await?)?)
            }
        }
    }

    /// The server's time.
    pub(super) async fn time(&mut self) -> RedisResult<Timestamp> {
        let (seconds, micros): (i64, i64) = cmd("TIME").query_async(self).await?;
        Ok(Timestamp::from_micros(seconds * 1_000_000 + micros))
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(node) => node.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(node) => node.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Node(node) => node.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}
