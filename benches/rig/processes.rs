//! What is started here, and ended with it.

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

const READY_WITHIN: Duration = Duration::from_secs(60);
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time that a process took so far.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may hold anything. User and system time are the
    // 12th and 13th fields after it.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / TICKS_PER_SECOND
}

/// Memory that is resident, in MB (10^6 bytes); 0 if nobody tells.
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
pub struct Server {
    child: Child,
    pub address: String,
    /// From its start until it said that it is ready.
    pub ready_after: Duration,
}

impl Server {
    /// With these settings and no others; its log goes to a file.
    pub async fn start(settings: &[(&str, &str)], log: &Path) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = recsys(&["serve", "--listen-addr", &address]);
        command
            .envs(settings.iter().copied())
            .stderr(File::create(log).expect("a file for the log"))
            .stdout(Stdio::null());
        let begun = Instant::now();
        let mut server = Self {
            child: command.spawn().expect("the program"),
            address,
            ready_after: Duration::ZERO,
        };
        while !server.is_ready().await {
            assert!(begun.elapsed() < READY_WITHIN, "never ready");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.ready_after = begun.elapsed();
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

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program as another process, which tells its address in its first line.
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
        let told = child.stdout.take().expect("what it tells");
        BufReader::new(told)
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
