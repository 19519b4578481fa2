//! How connections are made: to one Redis, to the master that sentinels name,
//! or to a cluster.

use std::{collections::HashMap, time::Duration};

use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, Pipeline, RedisConnectionInfo,
    RedisError, RedisFuture, RedisResult, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
    cmd, from_redis_value,
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::{Mutex, OnceCell};
use tracing::info;

use super::{
    address::Address,
    connection::RedisSetupError,
    settings::{RedisMode, RedisSettings},
};

/// How often a cluster's client tries a command anew, after a redirection or
/// on a new connection.
const CLUSTER_RETRIES: u32 = 3;
const CLUSTER_RETRY_WAIT_MS: (u64, u64) = (20, 200);

/// A connection that many calls share by clones.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server.
    Node(MultiplexedConnection),
    /// To all nodes of a cluster.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Waits until so many replicas have what this connection wrote to the
    /// master of a key. Returns how many have it.
    pub(super) async fn wait_for_replicas(
        &mut self,
        key: &str,
        replicas: usize,
        at_most: Duration,
    ) -> RedisResult<usize> {
        let mut wait = cmd("WAIT");
        wait.arg(replicas)
            .arg(u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX));
        match self {
            Self::Node(node) => wait.query_async(node).await,
            Self::Cluster(cluster) => {
                let master = Route::with_key(key, SlotAddr::Master);
                let routing = SingleNodeRoutingInfo::SpecificNode(master);
                let told = cluster.route_command(wait, RoutingInfo::SingleNode(routing));
                Ok(from_redis_value(told.await?)?)
            }
        }
    }

    /// What a server tells of itself; in a cluster, one of them.
    pub(super) async fn info(&mut self) -> RedisResult<String> {
        let info = cmd("INFO");
        match self {
            Self::Node(node) => info.query_async(node).await,
            Self::Cluster(cluster) => {
                let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                Ok(from_redis_value(
                    cluster.route_command(info, routing).await?,
                )?)
            }
        }
    }
}

impl ConnectionLike for Connection {
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

/// Makes connections. What kind of Redis it is may be found out only when one
/// answers.
pub(super) struct Dialer {
    address: Address,
    settings: RedisSettings,
    tcp: TcpSettings,
    config: AsyncConnectionConfig,
    /// Known from the start unless the mode is to be found out.
    line: OnceCell<Line>,
}

enum Line {
    Single(Client),
    /// Behind a lock: it keeps connections to the sentinels.
    Sentinel(Mutex<SentinelClient>),
    Cluster(ClusterClient),
}

impl Dialer {
    pub(super) fn new(
        address: Address,
        settings: &RedisSettings,
        tcp: TcpSettings,
        config: AsyncConnectionConfig,
    ) -> Result<Self, RedisSetupError> {
        if settings.redis_mode == RedisMode::Single && address.nodes.len() > 1 {
            return Err(RedisSetupError::SeveralNodes);
        }
        let mut dialer = Self {
            address,
            settings: settings.clone(),
            tcp,
            config,
            line: OnceCell::new(),
        };
        // What cannot work is said at the start, not when first used.
        for node in &dialer.address.nodes {
            dialer
                .client(node.clone())
                .map_err(RedisSetupError::Client)?;
        }
        if settings.redis_mode != RedisMode::Auto {
            let line = dialer.line(settings.redis_mode);
            dialer.line = OnceCell::new_with(Some(line.map_err(RedisSetupError::Client)?));
        }
        Ok(dialer)
    }

    /// Makes a connection.
    pub(super) async fn dial(&self) -> RedisResult<Connection> {
        let line = self
            .line
            .get_or_try_init(|| async { self.line(self.find_mode().await?) })
            .await?;
        match line {
            Line::Single(client) => self.to_node(client).await,
            Line::Sentinel(sentinels) => {
                let master = sentinels.lock().await.async_get_client().await?;
                self.to_node(&master).await
            }
            Line::Cluster(cluster) => {
                Ok(Connection::Cluster(cluster.get_async_connection().await?))
            }
        }
    }

    async fn to_node(&self, client: &Client) -> RedisResult<Connection> {
        let connection = client
            .get_multiplexed_async_connection_with_config(&self.config)
            .await?;
        Ok(Connection::Node(connection))
    }

    /// What the first node that answers says it is.
    async fn find_mode(&self) -> RedisResult<RedisMode> {
        let mut last = None;
        for node in &self.address.nodes {
            match self.mode_of(node).await {
                Ok(mode) => {
                    info!(?mode, "redis found");
                    return Ok(mode);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_nodes))
    }

    /// Asks a node what it is. Sentinels have credentials of their own, or
    /// none, and know no databases: so it is first asked without any.
    pub(super) async fn mode_of(&self, node: &ConnectionInfo) -> RedisResult<RedisMode> {
        let anonymous = RedisConnectionInfo::default();
        let mut tries = vec![anonymous.clone(), node.redis_settings().clone().set_db(0)];
        if let Some(password) = &self.settings.redis_sentinel_password {
            let as_sentinel = anonymous.set_password(password.expose());
            tries.push(match &self.settings.redis_sentinel_username {
                Some(username) => as_sentinel.set_username(username),
                None => as_sentinel,
            });
        }
        let mut last = None;
        for settings in tries {
            let client = self.client(node.clone().set_redis_settings(settings))?;
            let answer = match client
                .get_multiplexed_async_connection_with_config(&self.config)
                .await
            {
                Ok(mut connection) => {
                    cmd("HELLO")
                        .query_async::<HashMap<String, Value>>(&mut connection)
                        .await
                }
                Err(error) => Err(error),
            };
            match answer {
                Ok(told) => {
                    return Ok(match told.get("mode") {
                        Some(Value::BulkString(mode)) if mode == b"sentinel" => RedisMode::Sentinel,
                        Some(Value::BulkString(mode)) if mode == b"cluster" => RedisMode::Cluster,
                        _ => RedisMode::Single,
                    });
                }
                // Nobody there: other credentials would not help.
                Err(error) if error.is_io_error() => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_nodes))
    }

    fn client(&self, node: ConnectionInfo) -> RedisResult<Client> {
        match &self.address.certificates {
            Some(certificates) => Client::build_with_tls(node, certificates.clone()),
            None => Client::open(node),
        }
    }

    fn line(&self, mode: RedisMode) -> RedisResult<Line> {
        let nodes = &self.address.nodes;
        let first = nodes.first().ok_or_else(no_nodes)?;
        match mode {
            RedisMode::Auto | RedisMode::Single if nodes.len() > 1 => Err((
                ErrorKind::InvalidClientConfig,
                "REDIS_URL names several nodes, and they are neither sentinels nor a cluster",
            )
                .into()),
            RedisMode::Auto | RedisMode::Single => Ok(Line::Single(self.client(first.clone())?)),
            RedisMode::Sentinel => Ok(Line::Sentinel(Mutex::new(self.sentinels(first)?))),
            RedisMode::Cluster => {
                let mut builder = ClusterClient::builder(nodes.clone())
                    .connection_timeout(self.settings.redis_connect_timeout)
                    .response_timeout(self.settings.redis_command_timeout)
                    .retries(CLUSTER_RETRIES)
                    .min_retry_wait(CLUSTER_RETRY_WAIT_MS.0)
                    .max_retry_wait(CLUSTER_RETRY_WAIT_MS.1)
                    .tcp_settings(self.tcp.clone());
                if let Some(certificates) = &self.address.certificates {
                    builder = builder.certs(certificates.clone());
                }
                Ok(Line::Cluster(builder.build()?))
            }
        }
    }

    /// The URL's credentials and database are the master's; the sentinels
    /// have settings of their own.
    fn sentinels(&self, first: &ConnectionInfo) -> RedisResult<SentinelClient> {
        let addresses = self.address.nodes.iter().map(|node| node.addr().clone());
        let mut builder = SentinelClientBuilder::new(
            addresses,
            &self.settings.redis_sentinel_master,
            SentinelServerType::Master,
        )?
        .set_client_to_redis_tcp_settings(self.tcp.clone())
        .set_client_to_sentinel_tcp_settings(self.tcp.clone())
        .set_client_to_redis_db(first.redis_settings().db());
        if let Some(username) = first.redis_settings().username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = first.redis_settings().password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(username) = &self.settings.redis_sentinel_username {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = &self.settings.redis_sentinel_password {
            builder = builder.set_client_to_sentinel_password(password.expose());
        }
        if self.address.uses_tls() {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.address.certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()
    }
}

fn no_nodes() -> RedisError {
    (ErrorKind::InvalidClientConfig, "REDIS_URL names no node").into()
}
