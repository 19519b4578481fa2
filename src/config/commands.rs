//! The commands and their flags.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::{
    eval_flags::{EvalFlags, TuneFlags},
    list_flags::{PopularFlags, RecommendFlags, SimilarFlags},
};
use crate::{
    api::health::READINESS,
    domain::ids::TenantId,
    edge::tenants::Role,
    parsers::{Secret, event_type, parse_duration, up_to},
};

/// A command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serve the gRPC API (the default)
    Serve,
    /// Play a visitor's day on in-memory stores, print what was learned and a ranked,
    /// explained list; then keep serving
    Quickstart {
        /// Exit after the tour
        #[arg(long)]
        exit: bool,
    },
    /// Manage the catalogue in Qdrant
    Catalog {
        /// What to do with the catalogue.
        #[command(subcommand)]
        command: CatalogCommand,
    },
    /// Send events from a file
    Events {
        /// What to do with events.
        #[command(subcommand)]
        command: EventsCommand,
    },
    /// Manage what is stored of other users' behavior
    Associations {
        /// What to do with associations.
        #[command(subcommand)]
        command: AssociationsCommand,
    },
    /// Print what a running server recommends to a user, with the reasons
    Recommend(RecommendFlags),
    /// Print the items that a running server lists as similar to one, with the reasons
    Similar(SimilarFlags),
    /// Print the popular items of a running server
    Popular(PopularFlags),
    /// Measure ranking files on a log of events; exit code 4 if --fail-below is not met
    Eval(Box<EvalFlags>),
    /// Search for better weights on a log of events, and write a ranking file
    Tune(Box<TuneFlags>),
    /// Show how lists are ranked
    Ranking {
        /// What to do with the ranking file.
        #[command(subcommand)]
        command: RankingCommand,
    },
    /// Show how a user's events become likes and dislikes; changes nothing
    Explain(ExplainFlags),
    /// Make keys for callers
    Keys {
        /// What to do with keys.
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Check settings, stores, files and addresses, and print how to fix each problem;
    /// changes nothing. Exit code 0 = no failures, 1 = failures, 2 = `serve` would
    /// refuse to start
    Doctor(DoctorFlags),
    /// Check the health of a running server; exit code 0 if it is SERVING
    Healthcheck(HealthcheckFlags),
    /// List all settings, with their flags, variables and defaults
    Settings,
}

/// Commands of the catalogue.
#[derive(Clone, Debug, Subcommand)]
pub enum CatalogCommand {
    /// Write the items of a file (JSON Lines, a JSON array, CSV or TSV, also gzipped) to
    /// Qdrant; creates the collection and its indexes, and skips unchanged items. Exit
    /// code 3 if lines were refused
    Import(CatalogImportFlags),
    /// Make an index of an attribute in Qdrant, for `where` and boosts
    Index(CatalogIndexFlags),
}

/// Flags of `catalog index`.
#[derive(Clone, Debug, Args)]
pub struct CatalogIndexFlags {
    /// The attribute, such as price or stock.nl
    pub field: String,
    /// The type of its values
    pub kind: IndexKind,
}

/// The type of an index of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IndexKind {
    /// Texts, compared as a whole.
    Keyword,
    /// Whole numbers.
    Integer,
    /// Numbers.
    Float,
    /// True and false.
    Bool,
    /// Times.
    Datetime,
}

/// Flags of `catalog import`.
#[derive(Clone, Debug, Args)]
pub struct CatalogImportFlags {
    /// The file; - = standard input
    pub file: PathBuf,
    /// Which column is which field, such as id=sku; may be repeated
    #[arg(long, value_name = "FIELD=COLUMN")]
    pub map: Vec<String>,
    /// Only check the file; needs no Qdrant
    #[arg(long)]
    pub dry_run: bool,
}

/// Commands of events.
#[derive(Clone, Debug, Subcommand)]
pub enum EventsCommand {
    /// Send the events of a file (JSON Lines, a JSON array, CSV or TSV, also gzipped;
    /// each with its time) to a running server. If interrupted, run the same command
    /// again to resume. Exit code 3 if lines were refused, or all events are older than
    /// the server's window
    Import(EventsImportFlags),
}

/// Flags of `events import`.
#[derive(Clone, Debug, Args)]
pub struct EventsImportFlags {
    /// The file; - = standard input
    pub file: PathBuf,
    /// Which column is which field, such as content_id=movieId; may be repeated
    #[arg(long, value_name = "FIELD=COLUMN")]
    pub map: Vec<String>,
    /// Type of events that name none, such as purchase; unset = rating if there is one,
    /// else view
    #[arg(long, value_name = "TYPE", value_parser = event_type)]
    pub event_type: Option<String>,
    /// The server, such as `https://recsys.example:50051`; unset = RECSYS_LISTEN_ADDR on
    /// this machine
    #[arg(long, env = "RECSYS_SERVER_URL", value_name = "URL")]
    pub to: Option<String>,
    /// A key with the role ingest, if the server requires keys
    #[arg(long, env = "RECSYS_KEY", value_name = "KEY", hide_env_values = true)]
    pub key: Option<Secret>,
    /// CA bundle (PEM) that verifies the server; unset = the system's
    #[arg(long, env = "RECSYS_SERVER_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Events per batch
    #[arg(long, value_name = "N", default_value_t = 500,
          value_parser = up_to::<1_000>)]
    pub batch: usize,
    /// Start from the first line, even if an earlier run was interrupted
    #[arg(long)]
    pub restart: bool,
    /// First erase the users whose events the file has, such as after an import with a
    /// wrong mapping; needs a key with the role erase. Asks before it erases
    #[arg(long, conflicts_with = "dry_run")]
    pub replace: bool,
    /// Erase without asking
    #[arg(long, requires = "replace")]
    pub yes: bool,
    /// Only check the lines
    #[arg(long)]
    pub dry_run: bool,
}

/// Commands of associations.
#[derive(Clone, Debug, Subcommand)]
pub enum AssociationsCommand {
    /// Make interest lists, audiences, rows of neighbors and popularity from the events in
    /// Redis, while servers run or not. If interrupted, run the same command again to
    /// resume
    Rebuild(AssociationsRebuildFlags),
}

/// Flags of `associations rebuild`.
#[derive(Clone, Debug, Args)]
pub struct AssociationsRebuildFlags {
    /// The tenant, if there is a tenants file
    #[arg(long, value_parser = parse_tenant)]
    pub tenant: Option<TenantId>,
    /// Where the progress is saved, for a run that resumes
    #[arg(
        long,
        value_name = "FILE",
        default_value = "associations-rebuild.progress"
    )]
    pub progress: PathBuf,
    /// Start with the first user, even if an earlier run was interrupted
    #[arg(long)]
    pub restart: bool,
}

/// Commands of the ranking file.
#[derive(Clone, Debug, Subcommand)]
pub enum RankingCommand {
    /// Print every key with its value and what it does, as a ranking file
    Show {
        /// The ranking file; unset = RECSYS_RANKING_PATH, without it the defaults
        file: Option<PathBuf>,
    },
}

/// Flags of `explain`.
#[derive(Clone, Debug, Args)]
pub struct ExplainFlags {
    /// The user's id
    pub user: String,
    /// The user's tenant, if there is a tenants file
    #[arg(long, value_parser = parse_tenant)]
    pub tenant: Option<TenantId>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Commands of keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key; prints it once, and its entry for the tenants file
    New(NewKeyFlags),
}

/// Flags of `keys new`.
#[derive(Clone, Debug, Args)]
pub struct NewKeyFlags {
    /// The key's tenant
    #[arg(value_parser = parse_tenant)]
    pub tenant: TenantId,
    /// What the key may do: ingest, serve, read-profile, catalog, erase, merge, admin; may be
    /// repeated
    #[arg(long = "role", value_name = "ROLE", required = true)]
    pub roles: Vec<Role>,
}

/// Flags of `doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorFlags {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Treat warnings as failures
    #[arg(long)]
    pub strict: bool,
    /// Timeout for the checks of one store
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "6s")]
    pub timeout: Duration,
}

/// Flags of `healthcheck`.
#[derive(Clone, Debug, Args)]
pub struct HealthcheckFlags {
    /// Health name: readiness, liveness, or a service's full name
    #[arg(long, default_value = READINESS)]
    pub service: String,
    /// Timeout for the reply
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "2s")]
    pub timeout: Duration,
}

fn parse_tenant(text: &str) -> Result<TenantId, String> {
    TenantId::parse(text).map_err(|error| error.to_string())
}
