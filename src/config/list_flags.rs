//! The flags of the commands that print lists of a running server.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::parsers::Secret;

/// Flags of `recommend`.
#[derive(Clone, Debug, Args)]
pub struct RecommendFlags {
    /// The user; without it, the list is for the items of --context or for nobody
    pub user: Option<String>,
    /// An item at hand, such as of this session or of a basket, the latest last; may be
    /// repeated
    #[arg(long, value_name = "ITEM")]
    pub context: Vec<String>,
    /// Whether the list may have an exploration item; unset = as the ranking file says
    #[arg(long, hide_possible_values = true, value_name = "true|false")]
    pub exploration: Option<bool>,
    /// What all lists have.
    #[command(flatten)]
    pub list: ListFlags,
}

/// Flags of `similar`.
#[derive(Clone, Debug, Args)]
pub struct SimilarFlags {
    /// The item
    pub item: String,
    /// What makes items similar
    #[arg(long, value_enum, default_value_t = BasisFlag::Best, hide_possible_values = true,
          value_name = "best|behavior|content")]
    pub basis: BasisFlag,
    /// The user whose items the list hides
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// What all lists have.
    #[command(flatten)]
    pub list: ListFlags,
}

/// Flags of `popular`.
#[derive(Clone, Debug, Args)]
pub struct PopularFlags {
    /// The time over which popularity is measured
    #[arg(long, value_enum, default_value_t = WindowFlag::Popular, hide_possible_values = true,
          value_name = "popular|trending")]
    pub window: WindowFlag,
    /// The user whose items the list hides
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// What all lists have.
    #[command(flatten)]
    pub list: ListFlags,
}

/// What makes items similar.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum BasisFlag {
    /// Behavior and content
    Best,
    /// That the same users chose them
    Behavior,
    /// Vectors and tags
    Content,
}

/// The time over which popularity is measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum WindowFlag {
    /// Half-life of 7 days
    Popular,
    /// Half-life of 1 day
    Trending,
}

/// Which of the user's items a list hides.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SeenPolicyFlag {
    /// What was viewed or disliked
    Hide,
    /// What is done or disliked
    HideDone,
    /// What was disliked
    Allow,
}

/// What all commands for lists have.
#[derive(Clone, Debug, Args)]
pub struct ListFlags {
    /// Number of items; 0 = the server's default
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub limit: u32,
    /// Only items with this label
    #[arg(long, value_name = "LABEL")]
    pub filter: Option<String>,
    /// Only items with this tag; may be repeated
    #[arg(long, value_name = "FACET:LABEL")]
    pub must: Vec<String>,
    /// No item with this tag; may be repeated
    #[arg(long, value_name = "FACET:LABEL")]
    pub must_not: Vec<String>,
    /// Only items with at least one of these tags; may be repeated
    #[arg(long, value_name = "FACET:LABEL")]
    pub any_of: Vec<String>,
    /// Only items that meet a filter, such as "price < 20 AND in_stock = true"
    #[arg(long, value_name = "FILTER", allow_hyphen_values = true)]
    pub r#where: Option<String>,
    /// Nearer items score higher, such as 52.37,4.89
    #[arg(long, value_name = "LATITUDE,LONGITUDE", allow_hyphen_values = true)]
    pub near: Option<String>,
    /// Only items within this distance of --near
    #[arg(
        long,
        value_name = "METERS",
        requires = "near",
        allow_hyphen_values = true
    )]
    pub radius_meters: Option<f64>,
    /// Only items of this type; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// An item that must not be in the list; may be repeated
    #[arg(long, value_name = "ITEM")]
    pub exclude: Vec<String>,
    /// Which of the user's items the list hides
    #[arg(long, value_enum, default_value_t = SeenPolicyFlag::Hide, hide_possible_values = true,
          value_name = "hide|hide-done|allow")]
    pub seen: SeenPolicyFlag,
    /// Adds to the scores of items that meet a filter, such as "0.5: price < 20"; may be
    /// repeated
    #[arg(long, value_name = "WEIGHT:FILTER", allow_hyphen_values = true)]
    pub boost: Vec<String>,
    /// Makes the list reproducible
    #[arg(long, value_name = "N")]
    pub seed: Option<u32>,
    /// Where the list is shown: a placement of the ranking file
    #[arg(long, value_name = "NAME")]
    pub placement: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// The server, such as `https://recsys.example:50051`; unset = RECSYS_LISTEN_ADDR on
    /// this machine
    #[arg(long, env = "RECSYS_SERVER_URL", value_name = "URL")]
    pub to: Option<String>,
    /// A key with the role serve, if the server requires keys
    #[arg(long, env = "RECSYS_KEY", value_name = "KEY", hide_env_values = true)]
    pub key: Option<Secret>,
    /// CA bundle (PEM) that verifies the server; unset = the system's
    #[arg(long, env = "RECSYS_SERVER_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}
