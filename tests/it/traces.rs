//! Traces, as a collector receives them.

use std::{
    collections::HashMap,
    io::BufRead as _,
    net::TcpListener,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind},
};
use recsys::proto::{self, recommender_service_client::RecommenderServiceClient};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server, server::TcpIncoming},
};

use crate::support::{
    program::{Served, recsys},
    redis::RedisServer,
    server::{connect, liked, named},
    tenants::Tenants,
};

const SAMPLED: &str = "0af7651916cd43dd8448eb211c80319c";
const UNSAMPLED: &str = "1bf7651916cd43dd8448eb211c80319d";
const PARENT: &str = "b7ad6b7169203331";

/// Records what it receives.
#[derive(Clone, Default)]
struct Collector {
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    tokens: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let token = request.metadata().get("x-token").unwrap();
        self.tokens
            .lock()
            .unwrap()
            .push(token.to_str().unwrap().to_owned());
        self.received.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = TraceServiceServer::new(collector.clone());
        let server = Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        (collector, url)
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        received
            .iter()
            .flat_map(|request| &request.resource_spans)
            .flat_map(|resource| &resource.scope_spans)
            .flat_map(|scope| scope.spans.clone())
            .collect()
    }

    fn resource(&self) -> HashMap<String, String> {
        let received = self.received.lock().unwrap();
        let resource = received[0].resource_spans[0].resource.as_ref().unwrap();
        texts(&resource.attributes)
    }
}

fn texts(attributes: &[KeyValue]) -> HashMap<String, String> {
    attributes
        .iter()
        .filter_map(|attribute| {
            let Value::StringValue(text) = attribute.value.as_ref()?.value.as_ref()? else {
                return None;
            };
            Some((attribute.key.clone(), text.clone()))
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn traced<T>(message: T, trace: &str, flags: &str, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{trace}-{PARENT}-{flags}").parse().unwrap();
    request.metadata_mut().insert("traceparent", parent);
    request
        .metadata_mut()
        .insert("x-request-id", id.parse().unwrap());
    request
}

fn event(id: &str) -> proto::IngestEventRequest {
    proto::IngestEventRequest {
        event: Some(named(id, liked("zaphod42", "2001"))),
    }
}

fn of_zaphod() -> proto::RecommendRequest {
    proto::RecommendRequest {
        user_id: "zaphod42".into(),
        ..Default::default()
    }
}

async fn client(served: &Served) -> RecommenderServiceClient<Channel> {
    RecommenderServiceClient::new(connect(served.address.parse().unwrap()).await)
}

fn stop(served: &mut Served) {
    served.signal("-INT");
    assert!(served.child.wait().unwrap().success());
}

#[tokio::test]
async fn a_collector_receives_the_spans_of_sampled_calls_and_of_no_others() {
    let redis = RedisServer::start();
    let (collector, url) = Collector::start().await;
    let mut served = Served::start(
        recsys(&["serve"])
            .env("REDIS_URL", redis.url())
            .env("MODEL_SAVE_INTERVAL", "0")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
            .env("OTEL_EXPORTER_OTLP_HEADERS", "X-Token=a%20b")
            .env("OTEL_SERVICE_NAME", "shop-window")
            .env(
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=test,service.name=x",
            )
            .env("OTEL_TRACES_SAMPLER_ARG", "0"),
    );
    let mut client = client(&served).await;
    client
        .ingest_event(traced(event("1"), SAMPLED, "01", "call-1"))
        .await
        .unwrap();
    client
        .recommend(traced(of_zaphod(), SAMPLED, "01", "call-2"))
        .await
        .unwrap();
    client
        .ingest_event(traced(event("2"), UNSAMPLED, "00", "call-3"))
        .await
        .unwrap();
    // A caller without a trace is in the share, which is 0.
    client.ingest_event(event("3")).await.unwrap();
    // The remaining spans are sent at shutdown.
    let stopped = tokio::task::spawn_blocking(move || stop(&mut served));
    stopped.await.unwrap();

    let spans = collector.spans();
    for span in &spans {
        assert_eq!(hex(&span.trace_id), SAMPLED, "{span:?}");
        let shown = format!("{} {:?} {:?}", span.name, span.attributes, span.events);
        for text in ["zaphod42", "2001", "evt:", "umodel"] {
            assert!(!shown.contains(text), "{text} in {shown}");
        }
    }
    let named =
        |name: &str| -> Vec<&Span> { spans.iter().filter(|span| span.name == name).collect() };
    let mut calls = Vec::new();
    for (method, id) in [("IngestEvent", "call-1"), ("Recommend", "call-2")] {
        let method = format!("recsys.v1.RecommenderService/{method}");
        let [call] = named(&method)[..] else {
            panic!("{method}: {spans:?}");
        };
        assert_eq!(hex(&call.parent_span_id), PARENT);
        assert_eq!(call.kind(), SpanKind::Server);
        let attributes = texts(&call.attributes);
        for (key, value) in [
            ("rpc.system.name", "grpc"),
            ("rpc.method", &method),
            ("rpc.response.status_code", "OK"),
            ("recsys.request_id", id),
        ] {
            assert_eq!(
                attributes.get(key).map(String::as_str),
                Some(value),
                "{key}"
            );
        }
        calls.push(call);
    }
    // All other spans are descendants of these two.
    let by_id: HashMap<&[u8], &Span> = spans
        .iter()
        .map(|span| (span.span_id.as_slice(), span))
        .collect();
    let call_of = |span: &Span| {
        let mut at = span.clone();
        while let Some(above) = by_id.get(at.parent_span_id.as_slice()) {
            at = (*above).clone();
        }
        at.name
    };
    let steps = |call: &Span| -> Vec<String> {
        let under = spans.iter().filter(|span| call_of(span) == call.name);
        under.map(|span| span.name.clone()).collect()
    };
    for (call, wanted) in calls.iter().zip([
        &["ingest", "append", "refresh", "save"][..],
        &["user model", "load", "candidates", "rank"],
    ]) {
        let steps = steps(call);
        for step in wanted {
            assert!(steps.iter().any(|name| name == step), "{step} in {steps:?}");
        }
    }
    assert_eq!(steps(calls[0]).len() + steps(calls[1]).len(), spans.len());
    let [append] = named("append")[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(append.kind(), SpanKind::Client);
    let attributes = texts(&append.attributes);
    assert_eq!(attributes["db.system.name"], "redis");
    assert_eq!(attributes["db.operation.name"], "append");

    let resource = collector.resource();
    assert_eq!(resource["service.name"], "shop-window");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["deployment.environment.name"], "test");
    assert_eq!(collector.tokens.lock().unwrap()[0], "a b");
}

#[tokio::test]
async fn an_unknown_caller_cannot_have_a_call_traced() {
    let (collector, url) = Collector::start().await;
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["ingest"]);
    let mut served = tenants.serve(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-token=t"),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
    ]);
    let mut client = client(&served).await;
    let without_key = traced(event("1"), UNSAMPLED, "01", "call-1");
    assert!(client.ingest_event(without_key).await.is_err());
    let mut wrong_key = traced(event("2"), UNSAMPLED, "01", "call-2");
    let wrong = format!("{key}0").parse().unwrap();
    wrong_key.metadata_mut().insert("x-api-key", wrong);
    assert!(client.ingest_event(wrong_key).await.is_err());
    let mut known = traced(event("3"), SAMPLED, "01", "call-3");
    known
        .metadata_mut()
        .insert("x-api-key", key.parse().unwrap());
    client.ingest_event(known).await.unwrap();
    let stopped = tokio::task::spawn_blocking(move || stop(&mut served));
    stopped.await.unwrap();
    let spans = collector.spans();
    assert!(!spans.is_empty());
    for span in &spans {
        assert_eq!(hex(&span.trace_id), SAMPLED, "{span:?}");
    }
}

#[tokio::test]
async fn failures_are_marked_and_callers_without_a_trace_are_sampled() {
    let mut redis = RedisServer::start();
    let (collector, url) = Collector::start().await;
    let mut served = Served::start(
        recsys(&["serve"])
            .env("REDIS_URL", redis.url())
            .env("MODEL_SAVE_INTERVAL", "0")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=t")
            .env("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
    );
    let mut client = client(&served).await;
    let batch = proto::BatchIngestEventsRequest {
        events: ["a", "b", "c"].map(|user| liked(user, "2001")).into(),
    };
    client.batch_ingest_events(batch).await.unwrap();
    redis.kill();
    client.ingest_event(event("1")).await.unwrap_err();
    let stopped = tokio::task::spawn_blocking(move || stop(&mut served));
    stopped.await.unwrap();

    let spans = collector.spans();
    let named =
        |name: &str| -> Vec<&Span> { spans.iter().filter(|span| span.name == name).collect() };
    let traces = |name: &str| -> Vec<String> {
        named(name).iter().map(|span| hex(&span.trace_id)).collect()
    };
    let batch = traces("recsys.v1.RecommenderService/BatchIngestEvents");
    assert_eq!(batch.len(), 1);
    assert_eq!(traces("refresh"), vec![batch[0].clone(); 3]);
    let [call] = named("recsys.v1.RecommenderService/IngestEvent")[..] else {
        panic!("{spans:?}");
    };
    assert!(call.parent_span_id.is_empty() || call.parent_span_id.iter().all(|byte| *byte == 0));
    let attributes = texts(&call.attributes);
    assert_eq!(attributes["error.type"], "UNAVAILABLE");
    assert_eq!(attributes["recsys.request_id"].len(), 36);
    let failed = |span: &Span| span.status.as_ref().is_some_and(|status| status.code == 2);
    assert!(failed(call), "{call:?}");
    let append = named("append");
    let append = append
        .iter()
        .find(|span| span.trace_id == call.trace_id)
        .unwrap();
    assert!(failed(append));
    assert_eq!(texts(&append.attributes)["error.type"], "unavailable");
    assert!(!batch.contains(&hex(&call.trace_id)));
}

#[tokio::test]
async fn a_collector_that_hangs_delays_neither_calls_nor_shutdown() {
    // The system accepts connections, and no one answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut served = Served::start(
        recsys(&["serve"])
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://{}", silent.local_addr().unwrap()),
            )
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
            .env("OTEL_BSP_MAX_QUEUE_SIZE", "8")
            .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
            .env("OTEL_TRACES_SAMPLER", "always_on"),
    );
    let mut client = client(&served).await;
    for number in 0..200 {
        client
            .ingest_event(event(&number.to_string()))
            .await
            .unwrap();
    }
    served.signal("-INT");
    let ended = tokio::task::spawn_blocking(move || {
        let status = served.child.wait().unwrap();
        let mut log = String::new();
        while served.log.read_line(&mut log).unwrap() > 0 {}
        (status.success(), log)
    });
    let ended = tokio::time::timeout(std::time::Duration::from_secs(120), ended);
    let (success, log) = ended.await.expect("the shutdown is delayed").unwrap();
    assert!(
        success && log.contains("the last traces were not sent"),
        "{log}"
    );
}

#[tokio::test]
async fn a_collector_that_is_down_is_logged_once() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut served = Served::start(
        recsys(&["serve"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{closed}"))
            .env("OTEL_BSP_SCHEDULE_DELAY", "20")
            .env("OTEL_TRACES_SAMPLER", "always_on"),
    );
    let mut client = client(&served).await;
    let warning = "traces are not sent";
    client.ingest_event(event("1")).await.unwrap();
    served.logged(warning);
    for number in 0..50 {
        client
            .ingest_event(event(&number.to_string()))
            .await
            .unwrap();
    }
    let ended = tokio::task::spawn_blocking(move || {
        stop(&mut served);
        let mut log = served.seen.clone();
        while served.log.read_line(&mut log).unwrap() > 0 {}
        log
    });
    let log = ended.await.unwrap();
    assert_eq!(log.matches(warning).count(), 1, "{log}");
}

#[test]
fn an_invalid_endpoint_or_share_is_refused_with_its_variable() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
    ] {
        let output = recsys(&["serve", "--listen-addr", "127.0.0.1:0"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
            .env(name, value)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(name), "{error}");
    }
}
