//! What can be set of a run.

use std::path::PathBuf;

/// Soaks a recsys server: mixed load and faults for a long time, over a real
/// Redis and a server of Qdrant's protocol, all started here; then checks that
/// nothing that was acknowledged is lost, double or wrong, and that neither
/// memory nor latency climbs. Exit code 0 if all checks pass, 1 if not.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "soak.sh")]
pub struct Settings {
    /// Minutes of load
    #[arg(long, value_name = "N", default_value_t = 20.0, value_parser = minutes)]
    pub minutes: f64,
    /// Chooses calls and faults; unset = at random, and printed
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Calls a second, in all
    #[arg(long, value_name = "R", default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub rate: u32,
    /// The program to soak
    #[arg(long, env = "SOAK_BINARY", value_name = "FILE", default_value = env!("CARGO_BIN_EXE_recsys"))]
    pub binary: PathBuf,
    /// Where the report and the server's log go
    #[arg(long, value_name = "DIRECTORY", default_value = "target/soak")]
    pub out: PathBuf,
    /// Does this damage, to show that a check finds it: the run must fail
    #[arg(long, value_enum, value_name = "DAMAGE")]
    pub sabotage: Option<Sabotage>,
    /// What `cargo bench` tells all that it runs: there is nothing to do
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// Damage done on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// Takes an acknowledged event out of Redis at the end
    LoseEvent,
    /// Stores an event a second time, with other bytes, at the end
    DoubleEvent,
    /// Brings an event of a deleted user back at the end
    ReviveEvent,
    /// Changes a number in a stored model at the end
    TamperModel,
    /// Changes items behind the server's back at the end
    TamperItem,
    /// Fills Redis for a moment, and calls it calm
    HideFault,
    /// Makes Qdrant slower in the last third, and calls it calm
    SlowDown,
    /// Lets the server remember without bound, and feeds it large events in
    /// the last third
    Grow,
    /// Kills the server at the end
    Crash,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (1.0..=10_000.0).contains(&minutes) => Ok(minutes),
        _ => Err("give 1 to 10000 minutes".to_owned()),
    }
}
