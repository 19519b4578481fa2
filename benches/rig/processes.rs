//! The processes that are started, and killed when dropped.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::support::{program::recsys, redis::free_port};

const READY_TIMEOUT: Duration = Duration::from_secs(60);
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that a process used so far.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The fields after the name in brackets; user and system time are the 12th and
    // 13th of them.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / TICKS_PER_SECOND
}

/// Share of a processor below which a process counts as idle: health checks.
const IDLE_SHARE: f64 = 0.03;

/// Waits until these processes are idle for a second: what they do behind their replies
/// is done.
pub async fn until_idle(pids: &[u32]) {
    let used = || pids.iter().map(|pid| cpu_seconds(*pid)).collect::<Vec<_>>();
    let span = Duration::from_secs(1);
    let mut before = used();
    loop {
        tokio::time::sleep(span).await;
        let after = used();
        let is_idle = |(before, after): (&f64, &f64)| after - before < IDLE_SHARE;
        if before.iter().zip(&after).all(is_idle) {
            return;
        }
        before = after;
    }
}

/// Resident memory in MB (10^6 bytes); 0 if it is unknown.
pub fn resident_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| {
            line.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<f64>()
                .ok()
        })
        .map_or(0.0, |kib| kib * 1_024.0 / 1e6)
}

/// The server under load; killed when dropped.
pub struct BenchServer {
    child: Child,
    pub address: String,
    /// From its start until it was ready.
    pub ready_after: Duration,
}

impl BenchServer {
    /// Starts it with these settings alone; its log goes to a file.
    pub async fn start(settings: &[(&str, &str)], log: &Path) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = recsys(&["serve", "--listen-addr", &address]);
        command
            .envs(settings.iter().copied())
            .stderr(File::create(log).expect("a file for the log"))
            .stdout(Stdio::null());
        let started = Instant::now();
        let mut server = Self {
            child: command.spawn().expect("the program"),
            address,
            ready_after: Duration::ZERO,
        };
        while !server.is_ready().await {
            assert!(started.elapsed() < READY_TIMEOUT, "never ready");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.ready_after = started.elapsed();
        server
    }

    async fn is_ready(&self) -> bool {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
        let Ok(channel) = endpoint.expect("an address").connect().await else {
            return false;
        };
        let request = HealthCheckRequest {
            service: "readiness".to_owned(),
        };
        let reply = HealthClient::new(channel).check(request).await;
        reply.is_ok_and(|reply| reply.get_ref().status() == ServingStatus::Serving)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for BenchServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program as another process, which prints its address in its first line.
pub struct Helper {
    child: Child,
    pub address: String,
}

impl Helper {
    pub fn start(arguments: &[&str]) -> Self {
        let own = std::env::current_exe().expect("a path of this program");
        let mut child = Command::new(own)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program again");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("its address");
        Self {
            child,
            address: line.trim().to_owned(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
