//! Measures the server and the floor, a minimal server, in one run. `scripts/bench.sh`
//! builds and runs it; `docs/operate/performance.md` explains its output.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a benchmark, which panics where it cannot go on"
)]

mod behind;
mod driver;
mod fill;
mod floor;
mod loads;
mod processes;
mod qdrant;
#[path = "../../tests/soak/random.rs"]
#[expect(dead_code, reason = "most of it is for the soak")]
mod random;
mod recall;
mod refresh;
mod report;
mod runs;
mod scale;
#[path = "../../tests/it/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "most of it is for the integration tests"
)]
mod support;
mod wire;

use std::{net::TcpListener, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser as _;

use self::{floor::Floor, support::qdrant::QdrantServer};

/// Measures every RPC, and a minimal server of the same shape, over a real Redis, which is
/// started here, and a Qdrant: the one that is named, or a stand-in of its protocol, which
/// costs less than it. Exits with 0 if every target is met,
/// and with 1 otherwise.
#[derive(Debug, clap::Parser)]
#[command(name = "bench.sh")]
pub struct BenchSettings {
    /// Seconds of each load
    #[arg(long, value_name = "N", default_value_t = 4.0)]
    pub seconds: f64,
    /// How often all loads run; the median of the ratios counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: usize,
    /// Only loads whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
    /// The URL of the gRPC port of a real Qdrant, which the loads that need one then use.
    /// It must be on this machine, for the same processors; collections that begin with
    /// recsys-bench are replaced
    #[arg(long, value_name = "URL")]
    pub qdrant: Option<String>,
    /// Measures how cost grows with users and items instead; takes minutes. With --qdrant,
    /// how it grows with items in Qdrant
    #[arg(long)]
    pub scale: bool,
    /// Measures what an event costs behind its acknowledgement instead
    #[arg(long, conflicts_with = "scale")]
    pub behind: bool,
    /// Measures how rows of neighbors keep up with events instead: at least 60 seconds are
    /// two intervals
    #[arg(long, conflicts_with = "scale", conflicts_with = "behind")]
    pub refresh: bool,
    /// With --scale --qdrant: numbers of items. A million takes half an hour, 4 GB of
    /// disk for their file, and 3 GB of memory in Qdrant
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "10000,100000"
    )]
    pub items: Vec<usize>,
    /// With --scale --qdrant: does not import, but takes the items of an earlier run that
    /// ended before it measured them
    #[arg(long, requires = "qdrant")]
    pub reuse: bool,
    /// Where the report is written, as JSON
    #[arg(long, value_name = "FILE", default_value = "target/bench/report.json")]
    pub out: PathBuf,
    /// `cargo bench` passes it
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    helper: Option<HelperCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum HelperCommand {
    /// Serves the floor
    #[command(hide = true)]
    Floor {
        redis_url: String,
        qdrant_url: String,
    },
    /// Serves Qdrant's protocol, without collections
    #[command(hide = true)]
    Qdrant,
}

impl BenchSettings {
    fn span(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let settings = BenchSettings::parse();
    match &settings.helper {
        Some(HelperCommand::Floor {
            redis_url,
            qdrant_url,
        }) => serve_floor(redis_url, qdrant_url).await,
        Some(HelperCommand::Qdrant) => serve_qdrant().await,
        None if settings.bench => eprintln!("run scripts/bench.sh instead"),
        None if settings.behind => behind::all(&settings).await,
        None if settings.refresh => refresh::all(&settings).await,
        None if settings.scale => match &settings.qdrant {
            None => scale::all(&settings).await,
            Some(url) => scale::in_qdrant(&settings, url).await,
        },
        None => return runs::all(&settings).await,
    }
    ExitCode::SUCCESS
}

async fn serve_floor(redis_url: &str, qdrant_url: &str) {
    let floor = Floor::new(redis_url, Some(qdrant_url)).await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a listener");
    println!("{}", listener.local_addr().expect("an address"));
    floor.serve(listener).await;
}

async fn serve_qdrant() {
    let qdrant = QdrantServer::start().await;
    println!("{}", qdrant.url());
    std::future::pending::<()>().await;
}
