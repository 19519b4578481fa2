//! Traces, sent to a collector in OpenTelemetry's protocol over gRPC.
//!
//! Spans wait in a bounded queue, and a thread of its own sends them: a
//! collector that is down or hangs costs spans and nothing else.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::Uri;
use opentelemetry::{
    Context, KeyValue,
    trace::{SpanKind, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    resource::TelemetryResourceDetector,
    trace::{
        IdGenerator as _, RandomIdGenerator, Sampler, SamplingDecision, SdkTracerProvider,
        ShouldSample as _, SpanData, SpanExporter as Exporter,
    },
};
use percent_encoding::percent_decode_str;
use tonic::{
    metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue},
    transport::{ClientTlsConfig, Endpoint},
};
use tracing::{Subscriber, info, level_filters::LevelFilter, warn};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use super::{Sampling, TraceSettings};
use crate::{parsers::Secret, telemetry::spans};

/// Longest that the last spans are waited for when the process stops.
const LAST_EXPORT: Duration = Duration::from_secs(1);
const SCOPE: &str = "recsys";

/// Traces cannot be sent as configured. Never holds a URL or a header, which
/// may carry secrets.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The URL is none of a collector.
    #[error(
        "OTEL_EXPORTER_OTLP_ENDPOINT is not understood; give http://host:port or https://host:port"
    )]
    Endpoint,
    /// The headers are none.
    #[error("OTEL_EXPORTER_OTLP_HEADERS is not understood; give KEY=VALUE, several separated by ,")]
    Headers,
    /// The attributes are none.
    #[error("OTEL_RESOURCE_ATTRIBUTES is not understood; give KEY=VALUE, several separated by ,")]
    Attributes,
    /// The connection cannot be set up.
    #[error("traces cannot be sent")]
    Transport(#[from] tonic::transport::Error),
    /// The exporter cannot be set up.
    #[error("traces cannot be exported")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// What sends traces.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// As the settings say; `None` if they name no collector.
    pub(super) fn start(settings: &TraceSettings) -> Result<Option<Self>, TraceError> {
        let Some(destination) = Destination::read(settings)? else {
            return Ok(None);
        };
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_channel(destination.endpoint.connect_lazy())
            .with_metadata(destination.metadata)
            .with_timeout(settings.otel_exporter_otlp_timeout)
            .build()?;
        let exporter = Telling {
            exporter,
            failing: AtomicBool::new(false),
        };
        // Whether a call is traced was decided before its first span.
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(destination.resource)
            .with_batch_exporter(exporter)
            .build();
        spans::start(decision(settings));
        Ok(Some(Self(provider)))
    }

    /// What makes OpenTelemetry's spans of those of the program.
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

    /// Sends what is left, for a short time at most.
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

/// Whether traces go to a collector, and could be sent as the settings say.
/// Nothing is sent.
///
/// # Errors
/// [`TraceError`] if they could not.
pub fn check(settings: &TraceSettings) -> Result<bool, TraceError> {
    Ok(Destination::read(settings)?.is_some())
}

/// Where traces go, and what goes with them.
struct Destination {
    endpoint: Endpoint,
    metadata: MetadataMap,
    resource: Resource,
}

impl Destination {
    fn read(settings: &TraceSettings) -> Result<Option<Self>, TraceError> {
        let Some(url) = &settings.otel_exporter_otlp_endpoint else {
            return Ok(None);
        };
        Ok(Some(Self {
            endpoint: endpoint(url, settings.otel_exporter_otlp_timeout)?,
            metadata: metadata(settings.otel_exporter_otlp_headers.as_ref())?,
            resource: resource(settings)?,
        }))
    }
}

fn endpoint(url: &Secret, timeout: Duration) -> Result<Endpoint, TraceError> {
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
    let mut endpoint = Endpoint::from(uri)
        .connect_timeout(timeout)
        .timeout(timeout);
    if tls {
        // An error says that the process has its provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
    }
    Ok(endpoint)
}

/// `KEY=VALUE,...`, values with `%` escapes.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim);
    parts
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let key = key.trim();
            (!key.is_empty()).then(|| (key.to_owned(), value.into_owned()))
        })
        .collect()
}

fn metadata(headers: Option<&Secret>) -> Result<MetadataMap, TraceError> {
    let mut metadata = MetadataMap::new();
    let text = headers.map(Secret::expose).unwrap_or_default();
    for (key, value) in pairs(text).ok_or(TraceError::Headers)? {
        let key: MetadataKey<Ascii> = key
            .to_ascii_lowercase()
            .parse()
            .map_err(|_| TraceError::Headers)?;
        let mut value: MetadataValue<Ascii> = value.parse().map_err(|_| TraceError::Headers)?;
        value.set_sensitive(true);
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn resource(settings: &TraceSettings) -> Result<Resource, TraceError> {
    let text = settings.otel_resource_attributes.as_deref();
    let attributes = pairs(text.unwrap_or_default()).ok_or(TraceError::Attributes)?;
    let own = [
        KeyValue::new("service.name", "recsys"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let name = settings.otel_service_name.clone();
    // What comes later counts.
    Ok(Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(own)
        .with_attributes(
            attributes
                .into_iter()
                .map(|(key, value)| KeyValue::new(key, value)),
        )
        .with_attributes(name.map(|name| KeyValue::new("service.name", name)))
        .build())
}

/// Whether a call is traced, by its caller's trace.
fn decision(settings: &TraceSettings) -> impl Fn(&Context) -> bool + use<> {
    let share = Sampler::TraceIdRatioBased(settings.otel_traces_sampler_arg);
    let by_parent = |otherwise| Sampler::ParentBased(Box::new(otherwise));
    let sampler = match settings.otel_traces_sampler {
        Sampling::ParentOrAll => by_parent(Sampler::AlwaysOn),
        Sampling::ParentOrNone => by_parent(Sampler::AlwaysOff),
        Sampling::ParentOrShare => by_parent(share),
        Sampling::All => Sampler::AlwaysOn,
        Sampling::None => Sampler::AlwaysOff,
        Sampling::Share => share,
    };
    let ids = RandomIdGenerator::default();
    move |parent| {
        use opentelemetry::trace::TraceContextExt as _;
        let of_parent = parent.span().span_context().trace_id();
        let id = if parent.has_active_span() {
            of_parent
        } else {
            ids.new_trace_id()
        };
        let sampled = sampler.should_sample(Some(parent), id, "", &SpanKind::Server, &[], &[]);
        sampled.decision == SamplingDecision::RecordAndSample
    }
}

/// Says so when spans can no longer be sent, and when they can again.
struct Telling<E> {
    exporter: E,
    failing: AtomicBool,
}

impl<E> fmt::Debug for Telling<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telling")
    }
}

impl<E: Exporter> Exporter for Telling<E> {
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
    use super::{endpoint, metadata, pairs};
    use crate::parsers::Secret;

    fn secret(text: &str) -> Secret {
        Secret::from(text.to_owned())
    }

    #[test]
    fn pairs_are_read_as_opentelemetry_writes_them() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(pairs(""), Some(vec![]));
        assert_eq!(
            pairs("a=1, b = x%2Cy%3D%20z ,c=d=e,"),
            Some(vec![pair("a", "1"), pair("b", "x,y= z"), pair("c", "d=e")])
        );
        for wrong in ["a", "=1", "a=1,b", "a=%ff"] {
            assert_eq!(pairs(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn headers_that_cannot_be_sent_are_refused() {
        let sent = metadata(Some(&secret("Authorization=Bearer%20x"))).unwrap();
        assert_eq!(sent.get("authorization").unwrap(), "Bearer x");
        assert!(!format!("{sent:?}").contains("Bearer"));
        for wrong in ["a b=1", "a=%0a", "x-bin=1"] {
            assert!(metadata(Some(&secret(wrong))).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_endpoint_is_a_url_without_a_password() {
        let timeout = std::time::Duration::from_secs(1);
        for good in ["http://h:4317", " https://h", "http://[::1]:1/"] {
            assert!(endpoint(&secret(good), timeout).is_ok(), "{good}");
        }
        for wrong in ["h:4317", "", "grpc://h", "http://u:p@h", "http://"] {
            assert!(endpoint(&secret(wrong), timeout).is_err(), "{wrong}");
        }
    }
}
