//! Settings: flags and environment from one definition, checked when parsed.
//! An empty variable counts as unset. Secrets are never printed.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{
    ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser as _},
};

use crate::{
    adapters::{qdrant::QdrantSettings, redis::RedisSettings},
    api::limits::Limits,
    domain::ids::TenantId,
    edge::{settings::ServerSettings, tenants::Role, tls::TlsSettings},
    http::webhook::WebhookSettings,
    parsers::{Secret, at_least_one, parse_address, parse_days, parse_duration},
    telemetry::{LogFormat, TraceSettings},
};

fn parse_tenant(text: &str) -> Result<TenantId, String> {
    TenantId::parse(text).map_err(|error| error.to_string())
}

/// An online recommender service: send it over gRPC what users do, ask it what
/// each should see next, and why.
#[derive(Debug, Parser)]
#[command(name = "recsys", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How.
    #[command(flatten)]
    pub settings: Settings,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serve the gRPC API (the default)
    Serve,
    /// Show the main job on embedded stores: a visitor's day, what is learned
    /// of it, and a ranked, explained list; then keep serving
    Quickstart {
        /// End after the tour
        #[arg(long)]
        exit: bool,
    },
    /// Keep the catalogue in Qdrant
    Catalog {
        /// What to do with it.
        #[command(subcommand)]
        command: CatalogCommand,
    },
    /// Send events that happened elsewhere
    Events {
        /// What to do with them.
        #[command(subcommand)]
        command: EventsCommand,
    },
    /// Make keys for callers
    Keys {
        /// What to do.
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Check what is configured, and say what to do: settings, Redis, Qdrant,
    /// tenants and keys, TLS, the ranking file. Changes nothing. Exit code 0 if
    /// all is well, 1 if something fails, 2 if `serve` would refuse the settings
    Doctor {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Take warnings for failures
        #[arg(long)]
        strict: bool,
        /// Longest that the checks of one store may take
        #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "6s")]
        timeout: Duration,
    },
    /// Ask a running server for its health; exit code 0 if it is SERVING
    Healthcheck {
        /// Health name: readiness, liveness, or a service's full name
        #[arg(long, default_value = crate::api::health::READINESS)]
        service: String,
        /// Longest to wait for the answer
        #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "2s")]
        timeout: Duration,
    },
}

/// What to do with keys.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key: prints it, this once, and what to add to the tenants file
    New {
        /// Whose key
        #[arg(value_parser = parse_tenant)]
        tenant: TenantId,
        /// What it may do: ingest, serve, read-profile, catalog, erase, admin;
        /// may be given several times
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
    },
}

/// What to do with events.
#[derive(Clone, Debug, Subcommand)]
pub enum EventsCommand {
    /// Send the events of a file (JSON Lines, one event a line, each with its
    /// time) to a running server, such as for a backfill. Broken off, the same
    /// command goes on where it was. Exit code 3 if lines were refused
    Import(EventsImport),
}

/// What to import, and where to.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsImport {
    /// The file
    pub file: PathBuf,
    /// The server, such as `https://recsys.example:50051`; unset = this machine's,
    /// on RECSYS_LISTEN_ADDR
    #[arg(long, env = "RECSYS_SERVER_URL", value_name = "URL")]
    pub to: Option<String>,
    /// A key with the role ingest, if the server asks for one
    #[arg(long, env = "RECSYS_KEY", value_name = "KEY", hide_env_values = true)]
    pub key: Option<Secret>,
    /// Certificates (PEM) of who vouches for the server; unset = the system's
    #[arg(long, env = "RECSYS_SERVER_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Events in one batch
    #[arg(long, value_name = "N", default_value_t = 500,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000))]
    pub batch: usize,
    /// Begin anew, even if an earlier run was broken off
    #[arg(long)]
    pub restart: bool,
    /// Only check the lines
    #[arg(long)]
    pub dry_run: bool,
}

/// What to do with the catalogue.
#[derive(Clone, Debug, Subcommand)]
pub enum CatalogCommand {
    /// Write the items of a file (JSON Lines, one item a line) into Qdrant: makes
    /// the collection and its indexes if need be; items that are there already
    /// are not written again. Exit code 3 if lines were refused
    Import {
        /// The file
        file: PathBuf,
        /// Only check it
        #[arg(long)]
        dry_run: bool,
    },
}

/// The command, and those below it, without the variables that are empty.
fn without_empty(command: clap::Command, is_empty: &dyn Fn(&str) -> bool) -> clap::Command {
    let below: Vec<String> = command
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
    below.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |below| without_empty(below, is_empty))
    })
}

/// All that can be set, apart from the ranking file.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Address to serve the gRPC API on
    #[arg(
        long,
        global = true,
        env = "RECSYS_LISTEN_ADDR",
        value_name = "ADDR",
        value_parser = parse_address,
        default_value = "127.0.0.1:50051"
    )]
    pub listen_addr: SocketAddr,
    /// Address for metrics, probes and health in plaintext; unset = none
    #[arg(
        long,
        global = true,
        env = "RECSYS_ADMIN_ADDR",
        value_name = "ADDR",
        value_parser = parse_address
    )]
    pub admin_addr: Option<SocketAddr>,
    /// Ranking file (TOML): every weight, threshold and table
    #[arg(long, global = true, env = "RECSYS_RANKING_PATH", value_name = "FILE")]
    pub ranking_path: Option<PathBuf>,
    /// Tenants file (TOML): who may call, with which key; unset = everyone who
    /// reaches the address
    #[arg(long, global = true, env = "RECSYS_TENANTS_PATH", value_name = "FILE",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub tenants_path: Option<PathBuf>,
    /// Listen on an address that other machines reach, without a tenants file
    #[arg(
        long,
        global = true,
        env = "RECSYS_INSECURE_ALLOW_UNAUTHENTICATED",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub insecure_allow_unauthenticated: bool,
    /// Which log lines to write: error, warn, info, debug, or per module
    /// [default: info; for quickstart error]
    #[arg(long, global = true, env = "RECSYS_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How to write them
    #[arg(
        long,
        global = true,
        env = "RECSYS_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "auto"
    )]
    pub log_format: LogFormat,

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
    /// Newest events kept of a user
    #[arg(long, global = true, env = "MAX_EVENTS_PER_USER", value_name = "N",
          value_parser = at_least_one, default_value = "5000", help_heading = "User state")]
    pub max_events_per_user: usize,
    /// Days for which a model is kept after it was built
    #[arg(long = "model-ttl-days", global = true, env = "MODEL_TTL_DAYS", value_name = "DAYS",
          value_parser = parse_days, default_value = "7", help_heading = "User state")]
    pub model_ttl: Duration,
    /// Age at which a model is rebuilt even without new events
    #[arg(long, global = true, env = "MODEL_MAX_AGE", value_name = "DURATION",
          value_parser = parse_duration, default_value = "1h", help_heading = "User state")]
    pub model_max_age: Duration,
    /// Most memory that users' state may take without Redis, in bytes
    #[arg(long, global = true, env = "EMBEDDED_STATE_MAX_BYTES", value_name = "BYTES",
          default_value_t = 512 << 20, help_heading = "User state")]
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
    /// Catalogue (JSON Lines) to fill the memory with; unset = a sample
    #[arg(
        long,
        global = true,
        env = "CATALOG_PATH",
        value_name = "FILE",
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        help_heading = "Catalogue"
    )]
    pub catalog_path: Option<PathBuf>,
    /// Newest seen items that a search leaves out itself
    #[arg(
        long,
        global = true,
        env = "MAX_EXCLUDED_IDS",
        value_name = "N",
        default_value_t = 2_000,
        help_heading = "Catalogue"
    )]
    pub max_excluded_ids: usize,
    /// Most memory that items may take without Qdrant, in bytes
    #[arg(long, global = true, env = "EMBEDDED_CATALOG_MAX_BYTES", value_name = "BYTES",
          default_value_t = 1 << 30, help_heading = "Catalogue")]
    pub embedded_catalog_max_bytes: usize,

    /// How to talk to Qdrant.
    #[command(flatten)]
    pub qdrant: QdrantSettings,
    /// How to talk to Redis.
    #[command(flatten)]
    pub redis: RedisSettings,
    /// The server.
    #[command(flatten)]
    pub server: ServerSettings,
    /// Where deliveries come in.
    #[command(flatten)]
    pub webhook: WebhookSettings,
    /// How the API's port is secured.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// What clients may send.
    #[command(flatten)]
    pub limits: Limits,
    /// Where traces go.
    #[command(flatten)]
    pub traces: TraceSettings,
}

impl Cli {
    /// Which log lines to write.
    #[must_use]
    pub fn log_filter(&self) -> &str {
        let default = match self.command {
            // The tour says itself what the log would.
            Some(
                Command::Quickstart { .. }
                | Command::Healthcheck { .. }
                | Command::Doctor { .. }
                | Command::Catalog { .. }
                | Command::Events { .. }
                | Command::Keys { .. },
            ) => "error",
            Some(Command::Serve) | None => "info",
        };
        self.settings.log.as_deref().unwrap_or(default)
    }

    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// clap's error, which prints as help, version or a message.
    pub fn read(
        arguments: impl IntoIterator<Item = OsString>,
        is_empty: impl Fn(&str) -> bool,
    ) -> Result<Self, clap::Error> {
        let command = without_empty(Self::command(), &is_empty);
        let mut matches: ArgMatches = command.try_get_matches_from(arguments)?;
        let mut cli = Self::from_arg_matches_mut(&mut matches)?;
        let settings = &mut cli.settings;
        let redis = &mut settings.redis;
        for secret in [
            &mut settings.redis_url,
            &mut settings.qdrant_api_url,
            &mut settings.qdrant.qdrant_api_key,
            &mut redis.redis_sentinel_password,
            &mut settings.webhook.webhook_secret,
            &mut settings.traces.otel_exporter_otlp_endpoint,
            &mut settings.traces.otel_exporter_otlp_headers,
        ] {
            secret.take_if(|secret| secret.expose().is_empty());
        }
        for path in [
            &mut settings.ranking_path,
            &mut settings.tenants_path,
            &mut settings.catalog_path,
            &mut settings.qdrant.qdrant_tls_ca_file,
            &mut redis.redis_tls_ca_file,
            &mut redis.redis_tls_cert_file,
            &mut redis.redis_tls_key_file,
            &mut settings.tls.tls_cert_file,
            &mut settings.tls.tls_key_file,
            &mut settings.tls.tls_client_ca_file,
        ] {
            path.take_if(|path| path.as_os_str().is_empty());
        }
        for name in [
            &mut redis.redis_sentinel_username,
            &mut settings.tls.tls_client_names,
            &mut settings.traces.otel_service_name,
            &mut settings.traces.otel_resource_attributes,
        ] {
            name.take_if(|name| name.is_empty());
        }
        Ok(cli)
    }
}

impl Settings {
    /// Where health is told in plaintext: the API's port, or, if that has TLS,
    /// the admin port, if there is one.
    #[must_use]
    pub fn health_address(&self) -> Option<SocketAddr> {
        match self.tls.tls_cert_file {
            None => Some(self.listen_addr),
            Some(_) => self.admin_addr,
        }
    }
}

/// Whether a variable of the environment is set to nothing.
#[must_use]
pub fn is_empty_variable(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::{Cli, Command, Limits, QdrantSettings, RedisSettings, ServerSettings};

    fn read(arguments: &[&str]) -> Result<Cli, clap::Error> {
        let arguments = ["recsys"].iter().chain(arguments).map(Into::into);
        Cli::read(arguments, |_| false)
    }

    #[test]
    fn the_definition_is_sound() {
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
    fn what_tests_take_for_defaults_is_what_the_command_line_does() {
        let settings = read(&[]).unwrap().settings;
        let pairs = [
            (
                format!("{:?}", settings.limits),
                format!("{:?}", Limits::default()),
            ),
            (
                format!("{:?}", settings.server),
                format!("{:?}", ServerSettings::default()),
            ),
            (
                format!("{:?}", settings.redis),
                format!("{:?}", RedisSettings::default()),
            ),
            (
                format!("{:?}", settings.qdrant),
                format!("{:?}", QdrantSettings::default()),
            ),
        ];
        for (read, default) in pairs {
            assert_eq!(read, default);
        }
    }

    #[test]
    fn an_empty_flag_is_unset() {
        let empty = ["--redis-url", "", "--qdrant-api-url=", "--catalog-path", ""];
        let settings = read(&empty).unwrap().settings;
        assert!(settings.redis_url.is_none() && settings.qdrant_api_url.is_none());
        assert!(settings.catalog_path.is_none());
    }

    #[test]
    fn secrets_are_not_in_debug_output() {
        let cli = read(&["--redis-url", "redis://:hunter2@h"]).unwrap();
        assert!(!format!("{cli:?}").contains("hunter2"));
    }
}
