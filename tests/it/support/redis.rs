//! Real Redis servers on free ports of the loopback.
//!
//! `REDIS_SERVER` names another binary to test with, such as valkey-server.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use recsys::{
    adapters::redis::{
        EventBufferOptions, ModelStoreOptions, RedisAssociationStore, RedisEventBuffer,
        RedisModelStore, RedisPool, RedisSettings,
    },
    domain::ranking_config::RankingConfig,
    edge::settings::ServerSettings,
    engine::{Engine, EngineSettings, Ports},
};
use tempfile::TempDir;

use super::{
    DAY, MemoryWorld, WINDOW,
    items::half_circle,
    server::{NOW, TestServer},
};

/// A redis-server process with an append-only file; killed when dropped.
pub struct RedisServer {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

impl RedisServer {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With further arguments, such as `["--maxmemory", "2mb"]`.
    pub fn with(more: &[&str]) -> Self {
        let port = free_port();
        Self::listening(port, port, more)
    }

    /// Starts it with `--port plain`, and waits until `port` accepts connections.
    fn listening(plain: u16, port: u16, more: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let mut arguments: Vec<String> = [
            "--port",
            &plain.to_string(),
            "--bind",
            "127.0.0.1",
            "--dir",
            directory.path().to_str().unwrap(),
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ]
        .map(str::to_owned)
        .into();
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let child = spawn(Command::new(binary()).args(&arguments), port);
        Self {
            child,
            port,
            arguments,
            directory,
        }
    }

    /// With TLS only, and these further arguments.
    pub fn over_tls(more: &[&str]) -> Self {
        let port = free_port();
        let text = port.to_string();
        Self::listening(0, port, &[&["--tls-port", &text][..], more].concat())
    }

    /// A sentinel of a master, with its own directory and configuration file.
    pub fn sentinel(master: &Self, name: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let port = free_port();
        let file = directory.path().join("sentinel.conf");
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\n\
             sentinel monitor {name} 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds {name} 1000\n\
             sentinel failover-timeout {name} 5000\n",
            directory.path().display(),
            master.port
        );
        std::fs::write(&file, config).unwrap();
        let arguments = vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()];
        let child = spawn(Command::new(binary()).args(&arguments), port);
        Self {
            child,
            port,
            arguments,
            directory,
        }
    }

    /// Restarts it so that it ends with this process in any case: statics are never
    /// dropped.
    fn tied_to_this_process(mut self) -> Self {
        self.kill();
        // The shell reads until this process closes the pipe.
        let script = r#"server=$1; shift; "$server" "$@" & server=$!; cat >/dev/null; kill "$server"; wait; rm -rf "$0""#;
        self.child = spawn(
            Command::new("sh")
                .args(["-c", script])
                .arg(self.directory.path())
                .arg(binary())
                .args(&self.arguments)
                .stdin(Stdio::piped()),
            self.port,
        );
        self
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub fn pool(&self) -> RedisPool {
        pool(&self.url(), RedisSettings::default())
    }

    /// Runs a command, and returns the output of redis-cli.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .expect("redis-cli comes with redis-server");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The event ids in a buffer, one for each copy, by time.
    pub fn event_ids(&self, key: &str) -> Vec<String> {
        // Without the marker of an erasure, at score 0.
        let members = self.cli(&["-c", "ZRANGEBYSCORE", key, "(0", "+inf"]);
        let id = |member: &str| {
            let member: serde_json::Value = serde_json::from_str(member).unwrap();
            member["event_id"].as_str().unwrap().to_owned()
        };
        members.lines().map(id).collect()
    }

    /// How many events a buffer has, without the marker of an erasure.
    pub fn events(&self, key: &str) -> usize {
        let count = self.cli(&["-c", "ZCOUNT", key, "(0", "+inf"]);
        count.parse().unwrap()
    }

    /// How often a command was called since `CONFIG RESETSTAT`.
    pub fn calls(&self, command: &str) -> usize {
        self.cli(&["INFO", "commandstats"])
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")))
            .and_then(|rest| rest.split(',').next())
            .map_or(0, |count| count.parse().unwrap())
    }

    /// How many commands it ran since `CONFIG RESETSTAT`, those of scripts included.
    pub fn commands(&self) -> usize {
        let stats = self.cli(&["INFO", "commandstats"]);
        let calls = |line: &str| -> usize {
            let (_, rest) = line.split_once(":calls=").unwrap();
            rest.split(',').next().unwrap().parse().unwrap()
        };
        stats
            .lines()
            .filter(|line| line.starts_with("cmdstat_") && !line.contains("config"))
            .map(calls)
            .sum()
    }

    /// Waits until the output of a command meets a condition.
    pub fn until(&self, arguments: &[&str], holds: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let output = self.cli(arguments);
            if holds(&output) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{arguments:?} stays at {output:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The id of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Suspends it, with its connections left open.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Starts it again on the same port and files.
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// With further arguments, for this run only.
    pub fn restart_with(&mut self, more: &[&str]) {
        let mut command = Command::new(binary());
        let command = command.args(&self.arguments).args(more);
        self.child = spawn(command, self.port);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Redis Cluster of three masters.
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With further arguments for each node.
    pub fn with(more: &[&str]) -> Self {
        let nodes: Vec<RedisServer> = (0..3)
            .map(|_| {
                let bus = free_port().to_string();
                let clustered = [
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus,
                    "--cluster-node-timeout",
                    "2000",
                ];
                RedisServer::with(&[&clustered[..], more].concat())
            })
            .collect();
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create"]);
        command.args(nodes.iter().map(RedisServer::address));
        let created = command.arg("--cluster-yes").output().unwrap();
        assert!(created.status.success(), "{created:?}");
        for node in &nodes {
            node.until(&["CLUSTER", "INFO"], |info| {
                info.contains("cluster_state:ok")
            });
        }
        Self { nodes }
    }

    pub fn url(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(RedisServer::address).collect();
        format!("redis://{}", nodes.join(","))
    }

    pub fn pool(&self) -> RedisPool {
        pool(&self.url(), RedisSettings::default())
    }
}

/// A pool with time-outs that a slow machine does not reach.
pub fn pool(url: &str, settings: RedisSettings) -> RedisPool {
    let settings = RedisSettings {
        redis_connect_timeout: Duration::from_secs(20),
        redis_command_timeout: Duration::from_secs(20),
        redis_wait_timeout: Duration::from_secs(20),
        ..settings
    };
    RedisPool::new(url, &settings).unwrap()
}

/// Event buffers of one process.
pub fn event_buffer(
    pool: &RedisPool,
    prefix: &str,
    window: Duration,
    max_events: usize,
) -> RedisEventBuffer {
    let options = EventBufferOptions {
        key_prefix: prefix.to_owned(),
        window,
        max_events,
        max_user_bytes: 4 << 20,
        max_answers: 100,
        cache_max_bytes: 64 << 20,
    };
    RedisEventBuffer::new(pool.clone(), options)
}

/// User models of one process, which live for seven days.
pub fn model_store(pool: &RedisPool, prefix: &str) -> RedisModelStore {
    let options = ModelStoreOptions {
        key_prefix: prefix.to_owned(),
        ttl: 7 * DAY,
        cache_max_bytes: 64 << 20,
    };
    RedisModelStore::new(pool.clone(), options)
}

/// Associations of one process.
pub fn association_store(pool: &RedisPool, prefix: &str) -> RedisAssociationStore {
    RedisAssociationStore::new(pool.clone(), prefix, WINDOW)
}

/// Ports with the users' state in Redis, and the items and randomness of a world.
pub fn ports(pool: &RedisPool, prefix: &str, world: &MemoryWorld) -> Ports {
    Ports {
        events: Arc::new(event_buffer(pool, prefix, WINDOW, 5_000)),
        models: Arc::new(model_store(pool, prefix)),
        associations: Arc::new(association_store(pool, prefix)),
        ..world.ports.clone()
    }
}

/// An engine that saves models before it acknowledges events.
pub fn engine(ports: Ports) -> Engine {
    engine_saving_after(ports, Duration::ZERO)
}

pub fn engine_saving_after(ports: Ports, model_save_interval: Duration) -> Engine {
    let settings = EngineSettings {
        model_save_interval,
        ..EngineSettings::default()
    };
    Engine::new(ports, RankingConfig::default(), settings)
}

/// A server over a Redis, with a catalogue in memory, that saves models before it
/// acknowledges events.
pub async fn instance(pool: &RedisPool, prefix: &str) -> TestServer {
    instance_saving_after(pool, prefix, Duration::ZERO).await
}

/// One that keeps no associations.
pub async fn instance_without_associations(pool: &RedisPool) -> TestServer {
    let mut config = RankingConfig::default();
    config.associations.enabled = false;
    let world = MemoryWorld::new(NOW, &config, half_circle(30));
    let engine = Engine::new(ports(pool, "", &world), config, EngineSettings::default());
    TestServer::serving(world, engine, ServerSettings::default()).await
}

/// One that saves models this long after the acknowledgement.
pub async fn instance_saving_after(
    pool: &RedisPool,
    prefix: &str,
    interval: Duration,
) -> TestServer {
    let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(30));
    let engine = engine_saving_after(ports(pool, prefix, &world), interval);
    TestServer::serving(world, engine, ServerSettings::default()).await
}

fn binary() -> String {
    std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn spawn(command: &mut Command, port: u16) -> Child {
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server 7 must be installed: ./scripts/test.sh installs it");
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            Instant::now() < deadline,
            "redis-server does not listen on port {port}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// One server for all tests that need only their own keys.
pub fn shared() -> &'static RedisServer {
    static SHARED: OnceLock<RedisServer> = OnceLock::new();
    SHARED.get_or_init(|| RedisServer::start().tied_to_this_process())
}

/// One cluster for all such tests.
pub fn shared_cluster() -> &'static RedisCluster {
    static SHARED: OnceLock<RedisCluster> = OnceLock::new();
    SHARED.get_or_init(|| {
        let mut cluster = RedisCluster::start();
        cluster.nodes = cluster
            .nodes
            .into_iter()
            .map(RedisServer::tied_to_this_process)
            .collect();
        for node in &cluster.nodes {
            node.until(&["CLUSTER", "INFO"], |info| {
                info.contains("cluster_state:ok")
            });
        }
        cluster
    })
}

/// A key prefix that no other test uses.
pub fn own_prefix() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("t{}:", NEXT.fetch_add(1, Ordering::Relaxed))
}
