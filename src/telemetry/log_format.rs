//! What can be set of logs and traces.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::ValueEnum;

use crate::parsers::{Secret, parse_milliseconds, parse_share};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// As text at a terminal, otherwise as JSON
    #[default]
    Auto,
    /// As text
    Text,
    /// As JSON
    Json,
}

impl LogFormat {
    /// Whether lines are JSON.
    #[must_use]
    pub fn is_json(self) -> bool {
        match self {
            Self::Auto => !io::stderr().is_terminal(),
            Self::Text => false,
            Self::Json => true,
        }
    }
}

/// Which calls are traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Sampling {
    /// Those whose caller traces its own, and all whose caller says nothing
    #[value(name = "parentbased_always_on")]
    ParentOrAll,
    /// Those whose caller traces its own
    #[value(name = "parentbased_always_off")]
    ParentOrNone,
    /// Those whose caller traces its own, and a share of those whose caller
    /// says nothing
    #[value(name = "parentbased_traceidratio")]
    ParentOrShare,
    /// All
    #[value(name = "always_on")]
    All,
    /// None
    #[value(name = "always_off")]
    None,
    /// A share
    #[value(name = "traceidratio")]
    Share,
}

/// Where traces go, and of which calls. The variables are those of
/// OpenTelemetry.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Traces")]
pub struct TraceSettings {
    /// Collector that takes traces over gRPC (OTLP), such as http://host:4317;
    /// unset = no traces
    #[arg(
        long,
        global = true,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "URL",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_endpoint: Option<Secret>,
    /// What to send to it as metadata: KEY=VALUE, several separated by commas
    #[arg(
        long,
        global = true,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        value_name = "PAIRS",
        hide_env_values = true
    )]
    pub otel_exporter_otlp_headers: Option<Secret>,
    /// Longest wait for it, in milliseconds
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_TIMEOUT", value_name = "MILLISECONDS",
          value_parser = parse_milliseconds, default_value = "10000")]
    pub otel_exporter_otlp_timeout: Duration,
    /// Name of this service in traces [default: recsys]
    #[arg(long, global = true, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub otel_service_name: Option<String>,
    /// What else traces say of this service: KEY=VALUE, several separated by
    /// commas
    #[arg(
        long,
        global = true,
        env = "OTEL_RESOURCE_ATTRIBUTES",
        value_name = "PAIRS"
    )]
    pub otel_resource_attributes: Option<String>,
    /// Which calls are traced
    #[arg(
        long,
        global = true,
        env = "OTEL_TRACES_SAMPLER",
        value_name = "SAMPLER",
        default_value = "parentbased_traceidratio"
    )]
    pub otel_traces_sampler: Sampling,
    /// The share of calls, from 0 to 1, for those samplers that take one
    #[arg(long, global = true, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "SHARE",
          value_parser = parse_share, default_value = "0.01")]
    pub otel_traces_sampler_arg: f64,
}
