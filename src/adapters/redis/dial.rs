//! Makes connections: to one Redis server, to the master that sentinels name, or
//! to a cluster.

use std::{collections::HashMap, time::Duration};

use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, RedisConnectionInfo, RedisError,
    RedisResult, TlsMode, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClient,
    cmd,
    io::tcp::{TcpSettings, socket2},
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::{Mutex, OnceCell};
use tracing::info;

use super::{
    address::Address,
    connection::RedisConnection,
    settings::{RedisMode, RedisSettings},
    setup_error::RedisSetupError,
};

const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// Commands that may wait in a shared connection.
const PIPELINE_BUFFER: usize = 512;
/// How often a cluster client retries a command, after a redirection or on a new
/// connection.
const CLUSTER_RETRIES: u32 = 3;
const CLUSTER_RETRY_WAIT_MS: (u64, u64) = (20, 200);

/// Makes connections to the nodes of a URL. In [`RedisMode::Auto`] the mode is
/// detected when the first node answers.
pub(super) struct Dialer {
    address: Address,
    settings: RedisSettings,
    tcp: TcpSettings,
    config: AsyncConnectionConfig,
    topology: OnceCell<Topology>,
}

enum Topology {
    Single(Client),
    /// Behind a lock: the client keeps connections to the sentinels.
    Sentinel(Mutex<SentinelClient>),
    Cluster(ClusterClient),
}

impl Dialer {
    /// A dialer for a URL. Connects to nothing yet.
    ///
    /// # Errors
    /// [`RedisSetupError`] if the URL, a file or the settings cannot be used.
    pub(super) fn new(url: &str, settings: &RedisSettings) -> Result<Self, RedisSetupError> {
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(
            socket2::TcpKeepalive::new()
                .with_time(KEEPALIVE_AFTER)
                .with_interval(KEEPALIVE_EVERY),
        );
        let address = Address::parse(url, settings, &tcp)?;
        if address.uses_tls() {
            // An error means that the process has a provider already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        if settings.redis_mode == RedisMode::Single && address.nodes.len() > 1 {
            return Err(RedisSetupError::SeveralNodes);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.redis_connect_timeout))
            .set_response_timeout(Some(settings.redis_command_timeout))
            .set_pipeline_buffer_size(PIPELINE_BUFFER);
        let mut dialer = Self {
            address,
            settings: settings.clone(),
            tcp,
            config,
            topology: OnceCell::new(),
        };
        // Report what cannot work at start-up, not at first use.
        for node in &dialer.address.nodes {
            dialer
                .client(node.clone())
                .map_err(RedisSetupError::Client)?;
        }
        if settings.redis_mode != RedisMode::Auto {
            let topology = dialer.topology(settings.redis_mode);
            let topology = topology.map_err(RedisSetupError::Client)?;
            dialer.topology = OnceCell::new_with(Some(topology));
        }
        Ok(dialer)
    }

    /// Makes a connection.
    pub(super) async fn dial(&self) -> RedisResult<RedisConnection> {
        let topology = self
            .topology
            .get_or_try_init(|| async { self.topology(self.detect_mode().await?) })
            .await?;
        match topology {
            Topology::Single(client) => Ok(RedisConnection::Node(self.open(client).await?)),
            Topology::Sentinel(sentinels) => {
                let master = sentinels.lock().await.async_get_client().await?;
                Ok(RedisConnection::Node(self.open(&master).await?))
            }
            Topology::Cluster(cluster) => Ok(RedisConnection::Cluster(
                cluster.get_async_connection().await?,
            )),
        }
    }

    async fn open(&self, client: &Client) -> RedisResult<MultiplexedConnection> {
        client
            .get_multiplexed_async_connection_with_config(&self.config)
            .await
    }

    /// The mode of the first node that answers.
    async fn detect_mode(&self) -> RedisResult<RedisMode> {
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

    /// Asks a node for its mode: first without credentials and database, which
    /// are the master's. Sentinels have credentials of their own, or none, and
    /// no databases.
    pub(super) async fn mode_of(&self, node: &ConnectionInfo) -> RedisResult<RedisMode> {
        let anonymous = RedisConnectionInfo::default();
        let mut attempts = vec![anonymous.clone(), node.redis_settings().clone().set_db(0)];
        if let Some(password) = &self.settings.redis_sentinel_password {
            let as_sentinel = anonymous.set_password(password.expose());
            attempts.push(match &self.settings.redis_sentinel_username {
                Some(username) => as_sentinel.set_username(username),
                None => as_sentinel,
            });
        }
        let mut last = None;
        for credentials in attempts {
            match self
                .hello(node.clone().set_redis_settings(credentials))
                .await
            {
                Ok(mode) => return Ok(mode),
                // Not reachable: other credentials would not help.
                Err(error) if error.is_io_error() => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_nodes))
    }

    async fn hello(&self, node: ConnectionInfo) -> RedisResult<RedisMode> {
        let mut connection = self.open(&self.client(node)?).await?;
        let reply: HashMap<String, Value> = cmd("HELLO").query_async(&mut connection).await?;
        Ok(match reply.get("mode") {
            Some(Value::BulkString(mode)) if mode == b"sentinel" => RedisMode::Sentinel,
            Some(Value::BulkString(mode)) if mode == b"cluster" => RedisMode::Cluster,
            _ => RedisMode::Single,
        })
    }

    fn client(&self, node: ConnectionInfo) -> RedisResult<Client> {
        match &self.address.certificates {
            Some(certificates) => Client::build_with_tls(node, certificates.clone()),
            None => Client::open(node),
        }
    }

    fn topology(&self, mode: RedisMode) -> RedisResult<Topology> {
        let nodes = &self.address.nodes;
        match mode {
            RedisMode::Auto | RedisMode::Single if nodes.len() > 1 => Err((
                ErrorKind::InvalidClientConfig,
                "REDIS_URL names several nodes, and they are neither sentinels nor a cluster",
            )
                .into()),
            RedisMode::Auto | RedisMode::Single => {
                Ok(Topology::Single(self.client(self.first()?.clone())?))
            }
            RedisMode::Sentinel => Ok(Topology::Sentinel(Mutex::new(self.sentinels()?))),
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
                Ok(Topology::Cluster(builder.build()?))
            }
        }
    }

    fn first(&self) -> RedisResult<&ConnectionInfo> {
        self.address.nodes.first().ok_or_else(no_nodes)
    }

    /// A client of the sentinels. The URL's credentials and database are the
    /// master's; the sentinels have settings of their own.
    fn sentinels(&self) -> RedisResult<SentinelClient> {
        let master = self.first()?.redis_settings();
        let addresses = self.address.nodes.iter().map(|node| node.addr().clone());
        let mut builder = SentinelClientBuilder::new(
            addresses,
            &self.settings.redis_sentinel_master,
            SentinelServerType::Master,
        )?
        .set_client_to_redis_tcp_settings(self.tcp.clone())
        .set_client_to_sentinel_tcp_settings(self.tcp.clone())
        .set_client_to_redis_db(master.db());
        if let Some(username) = master.username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = master.password() {
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
