//! Flags of `eval` and `tune`.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};

use crate::{
    domain::time::Timestamp,
    parsers::{at_least_one, event_type, parse_days, parse_share, up_to, whole_number},
};

/// Most items in a list.
const MAX_K: usize = 100;

fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_iso8601(text)
        .ok_or_else(|| "give a time such as 2026-11-29T18:39:52Z or 2026-11-29".to_owned())
}

/// The log that is replayed, and which lists are made of it.
#[derive(Clone, Debug, Args)]
pub struct ReplayFlags {
    /// Events: JSON Lines, JSON, CSV or TSV, also gzipped; - = stdin
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// Items, in the same forms; unset = the events' items, without content
    #[arg(long, value_name = "FILE")]
    pub catalog: Option<PathBuf>,
    /// Events to learn from, without lists
    #[arg(long, value_name = "FILE")]
    pub train: Option<PathBuf>,
    /// Columns of events, such as content_id=movieId,rating=stars; or a
    /// file of such lines; numbers = positions, without a header
    #[arg(long, value_name = "FIELD=COLUMN")]
    pub map: Vec<String>,
    /// Type of events that name none; unset = rating if there is one, else view
    #[arg(long, value_name = "TYPE", value_parser = event_type)]
    pub event_type: Option<String>,
    /// Columns of the catalogue, in the same way
    #[arg(long, value_name = "FIELD=COLUMN")]
    pub catalog_map: Vec<String>,
    /// Items in a list
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = up_to::<MAX_K>)]
    pub k: usize,
    /// Items that the user has seen: hide or allow
    #[arg(
        long,
        value_name = "HOW",
        default_value = "hide",
        hide_possible_values = true
    )]
    pub seen: SeenFlag,
    /// Leave a user's N latest items out of lists
    #[arg(long, value_name = "N", value_parser = whole_number::<usize>, default_value_t = 0)]
    pub exclude_last: usize,
    /// Make lists from the N-th event on, from 1
    #[arg(long, value_name = "N", value_parser = at_least_one, group = "first list")]
    pub from_event: Option<usize>,
    /// Make lists from a time on
    #[arg(long, value_name = "TIME", value_parser = parse_time, group = "first list")]
    pub from: Option<Timestamp>,
    /// Make lists after this share of the events
    #[arg(long, value_name = "SHARE", value_parser = parse_share, group = "first list")]
    pub warmup: Option<f64>,
    /// Make lists only for users with N or more earlier events
    #[arg(long, value_name = "N", value_parser = whole_number::<usize>, default_value_t = 0)]
    pub min_history: usize,
    /// Days for which events count; unset = all of the log
    #[arg(long, value_name = "DAYS", value_parser = parse_days)]
    pub window_days: Option<std::time::Duration>,
    /// Seed of everything that is random
    #[arg(long, value_name = "N", value_parser = whole_number::<u64>, default_value_t = 0)]
    pub seed: u64,
    /// Parallel replays; unset = one per processor
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub threads: Option<usize>,
}

/// What becomes of items that a user has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SeenFlag {
    /// They are in no list.
    Hide,
    /// They may be in lists.
    Allow,
}

/// Flags of `eval`.
#[derive(Clone, Debug, Args)]
pub struct EvalFlags {
    /// The log.
    #[command(flatten)]
    pub replay: ReplayFlags,
    /// Ranking file; may be repeated; unset = RECSYS_RANKING_PATH
    #[arg(long, value_name = "FILE")]
    pub ranking: Vec<PathBuf>,
    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a report as an HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write every list with its target as JSON Lines
    #[arg(long, value_name = "FILE")]
    pub lists: Option<PathBuf>,
    /// Lowest value of a measure, such as HR@10=0.2; may be repeated
    #[arg(long, value_name = "METRIC=VALUE")]
    pub fail_below: Vec<Threshold>,
    /// Add latencies to the JSON, which then differs between runs
    #[arg(long)]
    pub timings: bool,
}

/// Flags of `tune`.
#[derive(Clone, Debug, Args)]
pub struct TuneFlags {
    /// The log.
    #[command(flatten)]
    pub replay: ReplayFlags,
    /// Ranking file to start from; unset = RECSYS_RANKING_PATH
    #[arg(long, value_name = "FILE")]
    pub ranking: Option<PathBuf>,
    /// Ranking files to try
    #[arg(long, value_name = "N", value_parser = at_least_one, default_value = "40")]
    pub trials: usize,
    /// Share of the events, at the end, to measure the result on
    #[arg(long, value_name = "SHARE", value_parser = parse_share, default_value = "0.3")]
    pub held_out: f64,
    /// Where to write the best ranking file; must not exist
    #[arg(long, value_name = "FILE", default_value = "tuned.toml")]
    pub out: PathBuf,
    /// Write the measurement as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the measurement as an HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// The least value that a measure must have.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// The measure, such as `HR@10`.
    pub measure: String,
    /// Its least value.
    pub least: f64,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair = text.split_once('=');
        let (measure, least) = pair.ok_or("give METRIC=VALUE, such as HR@10=0.2")?;
        let least = least
            .trim()
            .parse()
            .ok()
            .filter(|least: &f64| least.is_finite());
        Ok(Self {
            measure: measure.trim().to_owned(),
            least: least.ok_or("the value must be a number, such as 0.2")?,
        })
    }
}
