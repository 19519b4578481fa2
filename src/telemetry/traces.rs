//! Traces, exported to a collector in the OpenTelemetry protocol over gRPC. All
//! variables of OpenTelemetry except the endpoint are read by its SDK.
//!
//! Spans wait in a bounded queue and are sent by a thread of their own: a collector
//! that is down or hangs costs spans and nothing else.

use std::{
    env, fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::Uri;
use opentelemetry::{
    Context, Key, KeyValue,
    trace::{SpanKind, TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    resource::{
        EnvResourceDetector, ResourceDetector as _, SdkProvidedResourceDetector,
        TelemetryResourceDetector,
    },
    trace::{
        Config, IdGenerator as _, RandomIdGenerator, Sampler, SamplingDecision, SdkTracerProvider,
        ShouldSample, SpanData, SpanExporter as Exporter,
    },
};
use tonic::transport::{ClientTlsConfig, Endpoint};
use tracing::{Subscriber, info, level_filters::LevelFilter, warn};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::{
    parsers::{Secret, parse_share},
    telemetry::spans,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the export of the last spans at shutdown.
const LAST_EXPORT: Duration = Duration::from_secs(1);
const SCOPE: &str = "recsys";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
/// The share of calls that are traced if no variable says otherwise.
const DEFAULT_SHARE: f64 = 0.01;

/// Traces cannot be exported as configured. Never holds a URL or a header, which may
/// carry secrets.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The URL is invalid.
    #[error(
        "OTEL_EXPORTER_OTLP_ENDPOINT is not understood; give http://host:port or https://host:port"
    )]
    Endpoint,
    /// The sampler's share is invalid.
    #[error("OTEL_TRACES_SAMPLER_ARG: {0}")]
    Share(String),
    /// The connection cannot be set up.
    #[error("traces cannot be sent")]
    Transport(#[from] tonic::transport::Error),
    /// The exporter cannot be set up.
    #[error("traces cannot be exported")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Checks the URL of a collector and the sampler. Nothing is sent.
///
/// # Errors
/// [`TraceError`] if one of them is refused.
pub fn check(collector: &Secret) -> Result<(), TraceError> {
    sampler()?;
    endpoint(collector).map(|_| ())
}

/// The export of spans.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Exports to the collector at a URL from now on.
    pub(super) fn start(collector: &Secret) -> Result<Self, TraceError> {
        let sampler = sampler()?;
        // A channel of our own: the SDK's would put the URL into its errors.
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_channel(endpoint(collector)?.connect_lazy())
            .build()?;
        let exporter = LoggedExporter {
            exporter,
            failing: AtomicBool::new(false),
        };
        // Spans are opened only for calls that are sampled already.
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource())
            .with_batch_exporter(exporter)
            .build();
        spans::start(move |parent| is_sampled(&*sampler, parent));
        Ok(Self(provider))
    }

    /// Turns the program's spans into OpenTelemetry's.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SCOPE))
            .with_level(false)
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(spans::TARGET, LevelFilter::INFO))
    }

    /// Exports the remaining spans, within a short time.
    pub async fn stop(self) {
        let sent = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(LAST_EXPORT));
        let failed = match tokio::time::timeout(2 * LAST_EXPORT, sent).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        warn!(error = failed, "the last traces were not sent");
    }
}

fn endpoint(url: &Secret) -> Result<Endpoint, TraceError> {
    let uri: Uri = url
        .expose()
        .trim()
        .parse()
        .map_err(|_| TraceError::Endpoint)?;
    let authority = uri.authority().ok_or(TraceError::Endpoint)?;
    if authority.as_str().contains('@') {
        return Err(TraceError::Endpoint);
    }
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(TraceError::Endpoint),
    };
    let mut endpoint = Endpoint::from(uri).connect_timeout(CONNECT_TIMEOUT);
    if tls {
        // Fails if the process has its provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
    }
    Ok(endpoint)
}

/// `recsys` and its version, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES name
/// others; and their further attributes.
fn resource() -> Resource {
    let name = SdkProvidedResourceDetector.detect();
    let name = name.get(&Key::from_static_str("service.name"));
    let name = name.map(|name| name.to_string()).unwrap_or_default();
    let name = match name.strip_prefix("unknown_service") {
        Some(_) => SCOPE.to_owned(),
        None => name,
    };
    // Of two values of one attribute, the later one counts.
    Resource::builder_empty()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()))
        .with_service_name(name)
        .build()
}

/// The sampler that the SDK reads from its variables; if they name none, calls of
/// traced callers and a share of the others.
fn sampler() -> Result<Box<dyn ShouldSample>, TraceError> {
    let given = |name| env::var(name).ok().filter(|value| !value.is_empty());
    if given(SAMPLER).is_some() {
        return Ok(Config::default().sampler);
    }
    let share = match given(SAMPLER_ARG) {
        Some(share) => parse_share(&share).map_err(TraceError::Share)?,
        None => DEFAULT_SHARE,
    };
    let by_share = Box::new(Sampler::TraceIdRatioBased(share));
    Ok(Box::new(Sampler::ParentBased(by_share)))
}

/// Whether a call with this parent is traced.
fn is_sampled(sampler: &dyn ShouldSample, parent: &Context) -> bool {
    let trace_id = if parent.has_active_span() {
        parent.span().span_context().trace_id()
    } else {
        RandomIdGenerator::default().new_trace_id()
    };
    let sampled = sampler.should_sample(Some(parent), trace_id, "", &SpanKind::Server, &[], &[]);
    sampled.decision == SamplingDecision::RecordAndSample
}

/// Logs when exports begin to fail, and when they succeed again.
struct LoggedExporter<E> {
    exporter: E,
    failing: AtomicBool,
}

impl<E> fmt::Debug for LoggedExporter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoggedExporter")
    }
}

impl<E: Exporter> Exporter for LoggedExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        let failing = sent.is_err();
        let was_failing = self.failing.swap(failing, Ordering::Relaxed);
        match &sent {
            Err(error) if !was_failing => {
                warn!(
                    error = error as &dyn std::error::Error,
                    "traces are not sent: their collector does not take them"
                );
            }
            Ok(()) if was_failing => info!("traces are sent again"),
            Ok(()) | Err(_) => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> Result<(), OTelSdkError> {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::endpoint;
    use crate::parsers::Secret;

    #[test]
    fn the_endpoint_is_a_url_without_a_password() {
        let endpoint = |url: &str| endpoint(&Secret::from(url.to_owned()));
        for good in ["http://h:4317", " https://h", "http://[::1]:1/"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for wrong in ["h:4317", "", "grpc://h", "http://u:p@h", "http://"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
