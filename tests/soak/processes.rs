//! The server under test: its process, its log, its metrics and its memory.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{SoakSettings, checks::SoakCheck, items::COLLECTION};

/// So small that the cache of buffers is full after the first minutes.
const BUFFER_CACHE_BYTES: u64 = 8 << 20;
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The server's own limit is 10 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The program; killed when dropped.
pub struct ServerProcess {
    child: Child,
    pub address: String,
    admin: String,
    log: PathBuf,
}

impl ServerProcess {
    pub fn start(settings: &SoakSettings, redis_url: &str, qdrant_url: &str) -> Self {
        std::fs::create_dir_all(&settings.out).expect("a directory for the log");
        let log = settings.out.join("recsys.log");
        let child = Command::new(&settings.binary)
            .arg("serve")
            .env_clear()
            .env("RECSYS_LOG_FORMAT", "text")
            .env("RECSYS_LISTEN_ADDR", "127.0.0.1:0")
            .env("RECSYS_ADMIN_ADDR", "127.0.0.1:0")
            .env("REDIS_URL", redis_url)
            .env("QDRANT_API_URL", qdrant_url)
            .env("COLLECTION_NAME", COLLECTION)
            .env("BUFFER_CACHE_MAX_BYTES", BUFFER_CACHE_BYTES.to_string())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("the program to run");
        let mut server = Self {
            child,
            address: String::new(),
            admin: String::new(),
            log,
        };
        server.admin = server.logged_address("serving metrics and health address=");
        server.address = server.logged_address("serving gRPC address=");
        server
    }

    /// Waits until the log has an address.
    fn logged_address(&self, prefix: &str) -> String {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let log = self.log();
            let mut lines = log
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            if let Some((_, rest)) = lines.find_map(|line| line.split_once(prefix)) {
                let address = rest.split_whitespace().next();
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

    /// Processor time used so far.
    pub fn cpu_seconds(&self) -> f64 {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let stat = stat.unwrap_or_default();
        // The fields after the name in brackets; user and system time are the 12th and
        // 13th of them.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks
            .filter_map(|field| field.parse::<f64>().ok())
            .sum::<f64>()
            / TICKS_PER_SECOND
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Stops it as an operator would; `None` if it does not end in time.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        let pid = self.pid().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its metrics in Prometheus's text format; empty if it does not answer.
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        let _ = TcpStream::connect(&self.admin).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n")?;
            stream.read_to_string(&mut text)
        });
        text
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// By how much the last third of a run may exceed the middle third. The first third
/// fills caches, arenas and stacks; from then on the load is even, so that growth is a
/// leak. 10 MiB is what an allocator varies by under faults: in 20 minutes the check
/// finds a leak of 25 KB/s, 170 bytes a call.
const MAX_GROWTH_MIB: f64 = 10.0;
const MAX_GROWTH_SHARE: f64 = 0.10;

/// Resident MiB, once a second.
#[derive(Default)]
pub struct Memory(Mutex<Vec<f64>>);

impl Memory {
    pub async fn watch(&self, pid: u32, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.0.lock().unwrap().extend(resident_mib(pid));
        }
    }

    pub fn latest_mib(&self) -> f64 {
        self.0.lock().unwrap().last().copied().unwrap_or_default()
    }

    pub fn check(&self) -> SoakCheck {
        let mut check = SoakCheck::new("memory does not climb");
        let samples = self.0.lock().unwrap();
        let third = samples.len() / 3;
        if third < 59 {
            check.figure("not judged: it takes three minutes");
            return check;
        }
        let thirds: Vec<f64> = samples.chunks(third).take(3).map(median).collect();
        let (middle, last) = (thirds[1], thirds[2]);
        if last > middle * (1.0 + MAX_GROWTH_SHARE) && last > middle + MAX_GROWTH_MIB {
            check.problem(format!(
                "last third {last:.1} MiB, middle third {middle:.1} MiB"
            ));
        }
        let peak = samples.iter().copied().fold(0.0, f64::max);
        check.figure(format!(
            "resident at the start {:.1} MiB, peak {peak:.1}; medians of the thirds {:.1}, {middle:.1}, {last:.1}",
            samples[0], thirds[0]
        ));
        check
    }
}

pub fn resident_mib(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}

fn median(samples: &[f64]) -> f64 {
    let mut values = samples.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
