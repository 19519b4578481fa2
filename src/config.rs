//! Settings: flags and environment variables from one definition, checked when
//! parsed. An empty flag or variable counts as unset. Secrets are never printed.

mod commands;
mod eval_flags;
mod help;
mod list_flags;
mod retired;
mod unknown;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use crate::{
    adapters::{qdrant::QdrantSettings, redis::RedisSettings},
    api::limits::Limits,
    edge::{settings::ServerSettings, tls::TlsSettings},
    http::{console::ConsoleSettings, webhook::WebhookSettings},
    parsers::{
        Secret, at_least_one, parse_address, parse_days, parse_delay, parse_duration, parse_flag,
        parse_share, user_bytes, whole_number,
    },
    telemetry::LogFormat,
};

pub use commands::{
    AssociationsCommand, AssociationsRebuildFlags, CatalogCommand, CatalogImportFlags,
    CatalogIndexFlags, Command, DoctorFlags, EventsCommand, EventsImportFlags, ExplainFlags,
    HealthcheckFlags, IndexKind, KeysCommand, NewKeyFlags, RankingCommand,
};
pub use eval_flags::{EvalFlags, ReplayFlags, SeenFlag, Threshold, TuneFlags};
pub use list_flags::{
    BasisFlag, ListFlags, PopularFlags, RecommendFlags, SeenPolicyFlag, SimilarFlags, WindowFlag,
};
pub use retired::retired_variables;
use unknown::unknown;

/// An online recommender service: it takes users' events and returns ranked, explained
/// lists, over gRPC.
#[derive(Debug, Parser)]
#[command(name = "recsys", version, max_term_width = 100)]
pub struct Cli {
    /// The command; `serve` if there is none.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// All settings except those in the ranking file.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Address of the gRPC API
    #[arg(long, global = true, env = "RECSYS_LISTEN_ADDR", value_name = "ADDR",
          value_parser = parse_address, default_value = "127.0.0.1:50051")]
    pub listen_addr: SocketAddr,
    /// Address of metrics, probes and health, in plaintext; unset = none
    #[arg(long, global = true, env = "RECSYS_ADMIN_ADDR", value_name = "ADDR",
          value_parser = parse_address)]
    pub admin_addr: Option<SocketAddr>,
    /// Ranking file (TOML): weights, thresholds and tables
    #[arg(long, global = true, env = "RECSYS_RANKING_PATH", value_name = "FILE")]
    pub ranking_path: Option<PathBuf>,
    /// Tenants file (TOML): callers' keys, roles and quotas; unset = no key needed
    #[arg(long, global = true, env = "RECSYS_TENANTS_PATH", value_name = "FILE")]
    pub tenants_path: Option<PathBuf>,
    /// Key file that signs ids of lists, so that events are attributed to placements and
    /// variants: one key, or two, of 64 hexadecimal digits; unset = no attribution
    #[arg(
        long,
        global = true,
        env = "RECSYS_REQUEST_ID_KEY_FILE",
        value_name = "FILE"
    )]
    pub request_id_key_file: Option<PathBuf>,
    /// Listen on an address that other machines reach, without a tenants file
    #[arg(long, global = true, env = "RECSYS_INSECURE_ALLOW_UNAUTHENTICATED",
          value_parser = parse_flag)]
    pub insecure_allow_unauthenticated: bool,
    /// Log filter: error, warn, info, debug, or per module [default: info; error for
    /// other commands than serve]
    #[arg(long, global = true, env = "RECSYS_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// Format of log lines: text, json, or auto: text at a terminal, otherwise json
    #[arg(
        long,
        global = true,
        env = "RECSYS_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub log_format: LogFormat,
    /// OpenTelemetry collector that takes traces over gRPC, such as http://host:4317;
    /// unset = no traces. The SDK's other OTEL_* variables apply
    #[arg(
        long,
        global = true,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_endpoint: Option<Secret>,
    /// Limits on requests: NAME=VALUE, several separated by commas
    #[arg(long, global = true, env = "RECSYS_LIMITS", value_name = "LIMITS",
          default_value_t = Limits::default())]
    pub limits: Limits,

    /// Redis for the users' state; unset = in memory
    #[arg(
        long,
        global = true,
        env = "REDIS_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "User state"
    )]
    pub redis_url: Option<Secret>,
    /// Days for which events count
    #[arg(long = "event-window-days", global = true, env = "EVENT_WINDOW_DAYS", value_name = "DAYS",
          value_parser = parse_days, default_value = "30", help_heading = "User state")]
    pub event_window: Duration,
    /// Newest events kept per user
    #[arg(long, global = true, env = "MAX_EVENTS_PER_USER", value_name = "N",
          value_parser = at_least_one, default_value = "5000", help_heading = "User state")]
    pub max_events_per_user: usize,
    /// Largest size of a user's stored events, in bytes, at least 65536; the oldest are
    /// removed
    #[arg(long, global = true, env = "MAX_USER_BYTES", value_name = "BYTES",
          value_parser = user_bytes, default_value = "4194304", help_heading = "User state")]
    pub max_user_bytes: usize,
    /// Days for which a model is kept after it was built
    #[arg(long = "model-ttl-days", global = true, env = "MODEL_TTL_DAYS", value_name = "DAYS",
          value_parser = parse_days, default_value = "7", help_heading = "User state")]
    pub model_ttl: Duration,
    /// Age at which a model is rebuilt even without new events
    #[arg(long, global = true, env = "MODEL_MAX_AGE", value_name = "DURATION",
          value_parser = parse_duration, default_value = "1h", help_heading = "User state")]
    pub model_max_age: Duration,
    /// Time between two saves of a user's model, behind the acknowledgement of events;
    /// 0 = save it before
    #[arg(long, global = true, env = "MODEL_SAVE_INTERVAL", value_name = "DURATION",
          value_parser = parse_delay, default_value = "1s", help_heading = "User state")]
    pub model_save_interval: Duration,
    /// How often rows of neighbors are refreshed, and the largest age of cached ones
    #[arg(long, global = true, env = "ASSOCIATIONS_INTERVAL", value_name = "DURATION",
          value_parser = parse_duration, default_value = "30s", help_heading = "User state")]
    pub associations_interval: Duration,
    /// Share of a core that refreshing them may take
    #[arg(long, global = true, env = "ASSOCIATIONS_CPU", value_name = "SHARE",
          value_parser = parse_share, default_value = "0.1", help_heading = "User state")]
    pub associations_cpu: f64,
    /// Processes that share the users' state
    #[arg(long, global = true, env = "ASSOCIATIONS_REPLICAS", value_name = "N",
          value_parser = at_least_one, default_value = "1", help_heading = "User state")]
    pub associations_replicas: usize,
    /// Memory limit of cached rows of neighbors, in bytes
    #[arg(long, global = true, env = "ASSOCIATIONS_CACHE_MAX_BYTES", value_name = "BYTES",
          value_parser = whole_number::<u64>, default_value_t = 64 << 20,
          help_heading = "User state")]
    pub associations_cache_max_bytes: u64,
    /// Memory limit of the users' state without Redis, in bytes
    #[arg(long, global = true, env = "EMBEDDED_STATE_MAX_BYTES", value_name = "BYTES",
          value_parser = whole_number::<usize>, default_value_t = 512 << 20, help_heading = "User state")]
    pub embedded_state_max_bytes: usize,

    /// Qdrant for the items, such as http://host:6333; unset = in memory
    #[arg(
        long,
        global = true,
        env = "QDRANT_API_URL",
        value_name = "URL",
        hide_env_values = true,
        help_heading = "Catalogue"
    )]
    pub qdrant_api_url: Option<Secret>,
    /// Catalogue file to load without Qdrant: JSON Lines, JSON, CSV or TSV, also gzipped;
    /// unset = a sample
    #[arg(
        long,
        global = true,
        env = "CATALOG_PATH",
        value_name = "FILE",
        help_heading = "Catalogue"
    )]
    pub catalog_path: Option<PathBuf>,
    /// Columns of the catalogue file, such as id=artikel,tags=gruppe; or a file of such
    /// lines
    #[arg(
        long,
        global = true,
        env = "CATALOG_PATH_MAP",
        value_name = "FIELD=COLUMN",
        help_heading = "Catalogue"
    )]
    pub catalog_path_map: Option<String>,
    /// Memory limit of the items of all tenants without Qdrant, in bytes
    #[arg(long, global = true, env = "EMBEDDED_CATALOG_MAX_BYTES", value_name = "BYTES",
          value_parser = whole_number::<usize>, default_value_t = 1 << 30, help_heading = "Catalogue")]
    pub embedded_catalog_max_bytes: usize,
    /// Newest seen items that a search excludes itself; the rest are removed from its
    /// result
    #[arg(
        long,
        global = true,
        env = "MAX_EXCLUDED_IDS",
        value_name = "N",
        value_parser = whole_number::<usize>,
        default_value_t = 2_000,
        help_heading = "Catalogue"
    )]
    pub max_excluded_ids: usize,

    /// Connections to Qdrant.
    #[command(flatten)]
    pub qdrant: QdrantSettings,
    /// Connections to Redis.
    #[command(flatten)]
    pub redis: RedisSettings,
    /// The server.
    #[command(flatten)]
    pub server: ServerSettings,
    /// The console.
    #[command(flatten)]
    pub console: ConsoleSettings,
    /// The webhook.
    #[command(flatten)]
    pub webhook: WebhookSettings,
    /// TLS of the API's port.
    #[command(flatten)]
    pub tls: TlsSettings,
}

impl Cli {
    /// Parses the command line and the environment.
    ///
    /// # Errors
    /// clap's error, which prints as help, version or a message.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        is_empty: impl Fn(&str) -> bool,
    ) -> Result<Self, clap::Error> {
        let command = help::reduced(without_empty_variables(Self::command(), &is_empty));
        let mut matches = command.try_get_matches_from(without_empty_flags(arguments))?;
        Self::from_arg_matches_mut(&mut matches)
    }

    /// The filter of log lines.
    #[must_use]
    pub fn log_filter(&self) -> &str {
        let default = match self.command {
            Some(Command::Serve) | None => "info",
            // These print what the log would say.
            Some(
                Command::Quickstart { .. }
                | Command::Healthcheck(_)
                | Command::Doctor(_)
                | Command::Catalog { .. }
                | Command::Events { .. }
                | Command::Associations { .. }
                | Command::Recommend(_)
                | Command::Similar(_)
                | Command::Popular(_)
                | Command::Eval(_)
                | Command::Tune(_)
                | Command::Ranking { .. }
                | Command::Explain(_)
                | Command::Keys { .. }
                | Command::Settings,
            ) => "error",
        };
        self.settings.log.as_deref().unwrap_or(default)
    }
}

impl Settings {
    /// Where health is served in plaintext: the API's port, or with TLS the admin
    /// port, if there is one.
    #[must_use]
    pub fn health_address(&self) -> Option<SocketAddr> {
        match self.tls.tls_cert_file {
            None => Some(self.listen_addr),
            Some(_) => self.admin_addr,
        }
    }
}

/// The help that lists all settings.
#[must_use]
pub fn all_settings() -> String {
    let mut root = Cli::command();
    root.build();
    let settings = root.find_subcommand_mut("settings");
    settings.map_or_else(String::new, |command| command.render_help().to_string())
}

/// Whether a variable of the environment is set to an empty text.
#[must_use]
pub fn is_empty_variable(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}

/// Whether a variable of the environment is set, and not to an empty text.
#[must_use]
pub fn is_set_variable(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// The names of the environment's variables that are not empty.
fn variable_names() -> Vec<String> {
    std::env::vars_os()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect()
}

/// The variables of the environment that no setting has, each with the setting whose
/// name is nearest; `None` if there are none. Variables that do not begin with
/// `RECSYS_` count only if they are one edit away from a setting that is not set.
#[must_use]
pub fn unknown_variables() -> Option<String> {
    unknown(&Cli::command(), variable_names().iter().map(String::as_str))
}

/// The command and its subcommands, without the variables that are empty.
fn without_empty_variables(
    command: clap::Command,
    is_empty: &dyn Fn(&str) -> bool,
) -> clap::Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|below| below.get_name().to_owned())
        .collect();
    let command = command.mut_args(|argument| {
        let variable = argument.get_env().and_then(|name| name.to_str());
        if variable.is_some_and(is_empty) {
            argument.env(None::<&'static str>)
        } else {
            argument
        }
    });
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |below| without_empty_variables(below, is_empty))
    })
}

/// The arguments without `--flag=` and `--flag ""`.
fn without_empty_flags(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let is_flag = |argument: &OsString| argument.as_encoded_bytes().starts_with(b"--");
    let mut kept: Vec<OsString> = Vec::new();
    for argument in arguments {
        if is_flag(&argument) && argument.as_encoded_bytes().ends_with(b"=") {
            continue;
        }
        if argument.is_empty() && kept.last().is_some_and(is_flag) {
            kept.pop();
            continue;
        }
        kept.push(argument);
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory as _;

    use super::{
        Cli, Command, QdrantSettings, RedisSettings, ServerSettings, retired_variables, unknown,
        without_empty_flags,
    };

    fn read(arguments: &[&str]) -> Result<Cli, clap::Error> {
        let arguments = ["recsys"].iter().chain(arguments).map(Into::into);
        Cli::read(arguments, |_| false)
    }

    #[test]
    fn the_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_command() {
        for arguments in [
            ["--listen-addr", "127.0.0.1:1", "quickstart", "--exit"],
            ["quickstart", "--exit", "--listen-addr", "127.0.0.1:1"],
        ] {
            let cli = read(&arguments).unwrap();
            assert_eq!(cli.settings.listen_addr.port(), 1);
            assert!(matches!(
                cli.command,
                Some(Command::Quickstart { exit: true })
            ));
        }
        assert!(read(&[]).unwrap().command.is_none());
    }

    #[test]
    fn the_defaults_of_each_group_are_those_of_the_command_line() {
        let settings = read(&[]).unwrap().settings;
        let redis = format!("{:?}", settings.redis);
        assert_eq!(redis, format!("{:?}", RedisSettings::default()));
        let qdrant = format!("{:?}", settings.qdrant);
        assert_eq!(qdrant, format!("{:?}", QdrantSettings::default()));
        let server = format!("{:?}", settings.server);
        assert_eq!(server, format!("{:?}", ServerSettings::default()));
    }

    #[test]
    fn an_empty_flag_is_unset() {
        let empty = ["--redis-url", "", "--qdrant-api-url=", "--catalog-path", ""];
        let settings = read(&empty).unwrap().settings;
        assert!(settings.redis_url.is_none() && settings.qdrant_api_url.is_none());
        assert!(settings.catalog_path.is_none());
        let kept = without_empty_flags(["recsys", "", "--a", "b", ""].map(OsString::from));
        assert_eq!(kept, ["recsys", "", "--a", "b", ""]);
    }

    #[test]
    fn secrets_are_not_in_debug_output() {
        let cli = read(&["--redis-url", "redis://:hunter2@h"]).unwrap();
        assert!(!format!("{cli:?}").contains("hunter2"));
    }

    #[test]
    fn retired_variables_are_named_with_their_replacement() {
        assert_eq!(retired_variables(|_| false), None);
        let set = ["RECSYS_MAX_LIMIT", "QDRANT_CONNECTIONS", "PATH"];
        let text = retired_variables(|name| set.contains(&name)).unwrap();
        let expected = "QDRANT_CONNECTIONS (its value is fixed now), \
                        RECSYS_MAX_LIMIT (RECSYS_LIMITS=limit=N)";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_misspelt_variable_is_named_with_the_nearest_setting() {
        let set = [
            "RECSYS_RANKNG_PATH",
            "RECSYS_COLOUR",
            "REDIS_ULR",
            "CATALOG_PAHT",
            "PATH",
        ];
        assert_eq!(
            unknown(&Cli::command(), set).unwrap(),
            "CATALOG_PAHT (did you mean CATALOG_PATH?), RECSYS_COLOUR, RECSYS_RANKNG_PATH (did \
             you mean RECSYS_RANKING_PATH?), REDIS_ULR (did you mean REDIS_URL?)"
        );
    }

    #[test]
    fn settings_and_variables_of_other_programs_are_not_named() {
        for name in [
            "RECSYS_RANKING_PATH",
            "RECSYS_KEY",
            "RECSYS_MAX_LIMIT",
            "RECSYS_SERVICE_HOST",
            "RECSYS_SERVICE_PORT_GRPC",
            "RECSYS_PORT_50051_TCP_ADDR",
            "REDIS_HOST",
            "HOME",
        ] {
            assert_eq!(unknown(&Cli::command(), [name]), None, "{name}");
        }
        assert_eq!(unknown(&Cli::command(), ["REDIS_URL", "REDIS_URI"]), None);
    }
}
