//! What is started here, and ended with it: Redis, a server of Qdrant's
//! protocol in this process, and the program.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    settings::{Sabotage, Settings},
    support::{qdrant::QdrantServer, redis::RedisServer},
};

pub const COLLECTION: &str = "items";
/// Memory for buffers that the server knows: so little that it is full, and
/// stays so, after the first minutes.
const BUFFER_CACHE_BYTES: u64 = 8 << 20;
const START_WITHIN: Duration = Duration::from_secs(60);
/// Its own limit is 10 s.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// In the order in which it is ended.
pub struct Rig {
    pub server: Mutex<Server>,
    pub redis: Mutex<RedisServer>,
    pub redis_url: String,
    pub qdrant: QdrantServer,
}

impl Rig {
    /// Redis and Qdrant are there before the server is.
    pub fn new(settings: &Settings, redis: RedisServer, qdrant: QdrantServer) -> Self {
        let redis_url = redis.url();
        Self {
            server: Mutex::new(Server::start(settings, &redis_url, &qdrant.url())),
            redis: Mutex::new(redis),
            redis_url,
            qdrant,
        }
    }

    /// Lets Redis take so many bytes; "0" = any number.
    pub fn limit_redis(&self, bytes: &str) {
        let redis = self.redis.lock().unwrap();
        redis.cli(&["CONFIG", "SET", "maxmemory", bytes]);
    }
}

/// The program; killed when dropped.
pub struct Server {
    child: Child,
    pub address: String,
    admin: String,
    log: PathBuf,
}

impl Server {
    fn start(settings: &Settings, redis_url: &str, qdrant_url: &str) -> Self {
        std::fs::create_dir_all(&settings.out).expect("a directory for the log");
        let log = settings.out.join("recsys.log");
        let cache = match settings.sabotage {
            Some(Sabotage::Grow) => 8 << 30,
            _ => BUFFER_CACHE_BYTES,
        };
        let child = Command::new(&settings.binary)
            .arg("serve")
            .env_clear()
            .env("RECSYS_LOG_FORMAT", "text")
            .env("RECSYS_LISTEN_ADDR", "127.0.0.1:0")
            .env("RECSYS_ADMIN_ADDR", "127.0.0.1:0")
            .env("REDIS_URL", redis_url)
            .env("QDRANT_API_URL", qdrant_url)
            .env("COLLECTION_NAME", COLLECTION)
            .env("BUFFER_CACHE_MAX_BYTES", cache.to_string())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("the program to soak");
        let mut server = Self {
            child,
            address: String::new(),
            admin: String::new(),
            log,
        };
        server.admin = server.told("serving metrics and health address=");
        server.address = server.told("serving gRPC address=");
        server
    }

    /// Waits until the log tells an address.
    fn told(&self, what: &str) -> String {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            let log = self.logged();
            let mut lines = log
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            if let Some((_, told)) = lines.find_map(|line| line.split_once(what)) {
                let address = told.split_whitespace().next();
                return address.expect("an address").to_owned();
            }
            assert!(
                Instant::now() < deadline,
                "the server does not start:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Seconds of processor time that it took so far; 0 if nobody tells.
    pub fn cpu_seconds(&self) -> f64 {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let stat = stat.unwrap_or_default();
        // The name, in brackets, may hold anything. User and system time are
        // the 12th and 13th fields after it.
        let fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let ticks: f64 = fields
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<f64>().ok())
            .sum();
        ticks / TICKS_PER_SECOND
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    pub fn crash(&mut self) {
        let _ = self.child.kill();
    }

    /// Asks it to stop as an operator would; `None` if it does not in time.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        let pid = self.pid().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let deadline = Instant::now() + STOP_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    pub fn logged(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What it measured, in Prometheus's text format; empty if it does not say.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        let _ = TcpStream::connect(&self.admin).and_then(|mut wire| {
            wire.set_read_timeout(Some(Duration::from_secs(10)))?;
            wire.write_all(b"GET /metrics HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n")?;
            wire.read_to_string(&mut text)
        });
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
