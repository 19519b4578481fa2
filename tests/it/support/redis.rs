//! Real Redis servers of the tests' own, on free ports of the loopback.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use recsys::adapters::redis::{RedisPool, RedisSettings};
use tempfile::TempDir;

/// A redis-server process with an append-only file; killed when dropped.
pub struct RedisServer {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    _directory: TempDir,
}

impl RedisServer {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With further arguments, such as `["--maxmemory", "2mb"]`.
    pub fn with(more: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let port = free_port();
        let mut arguments: Vec<String> = [
            "--port",
            &port.to_string(),
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
        let child = spawn(Command::new("redis-server").args(&arguments), port);
        Self {
            child,
            port,
            arguments,
            _directory: directory,
        }
    }

    /// One that ends when this process does, however that is: values that live
    /// as long as the process are never dropped.
    fn tied_to_this_process() -> Self {
        let mut server = Self::start();
        server.kill();
        // The shell reads until the pipe from here closes.
        let script =
            r#"redis-server "$@" & server=$!; cat >/dev/null; kill "$server"; wait; rm -rf "$0""#;
        let directory = server._directory.path().to_owned();
        server.child = spawn(
            Command::new("sh")
                .args(["-c", script])
                .arg(directory)
                .args(&server.arguments)
                .stdin(Stdio::piped()),
            server.port,
        );
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn pool(&self) -> RedisPool {
        // What is tested here must not depend on the machine's speed.
        let settings = RedisSettings {
            redis_command_timeout: Duration::from_secs(20),
            redis_wait_timeout: Duration::from_secs(20),
            ..RedisSettings::default()
        };
        RedisPool::new(&self.url(), &settings).unwrap()
    }

    /// Runs a command and gives its output, as redis-cli would.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .expect("redis-cli comes with redis-server");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port and files.
    pub fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        self.child = spawn(command.args(&self.arguments), self.port);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
        .expect("redis-server 7 must be installed: run ./scripts/test.sh, which sees to it");
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

/// One server for all tests that only need keys of their own.
pub fn shared() -> &'static RedisServer {
    static SHARED: OnceLock<RedisServer> = OnceLock::new();
    SHARED.get_or_init(RedisServer::tied_to_this_process)
}

/// A prefix that no other test has.
pub fn own_prefix() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("t{}:", NEXT.fetch_add(1, Ordering::Relaxed))
}
