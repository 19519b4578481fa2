//! The log line of each call, its request id, and the log filter.

use std::io::BufRead as _;

use recsys::proto::{self, recommender_service_client::RecommenderServiceClient};
use serde_json::Value;
use tonic::{Code, Request, transport::Channel};

use crate::support::{
    http::send,
    program::{Served, recsys},
    server::{connect, liked},
    tenants::Tenants,
    until,
    watched::Watched,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

const INGEST: &str = "recsys.v1.RecommenderService/IngestEvent";

const RECOMMEND: &str = "recsys.v1.RecommenderService/Recommend";

/// The program with JSON logs, which it writes unless a terminal is attached.
fn in_json(settings: &[(&str, &str)]) -> Served {
    let mut command = recsys(&["serve"]);
    command.env_remove("RECSYS_LOG_FORMAT");
    Served::start(command.envs(settings.iter().copied()))
}

/// The next call line. All lines before it must be JSON, too.
fn next_call(served: &mut Served) -> Value {
    loop {
        let mut line = String::new();
        assert!(
            served.log.read_line(&mut line).unwrap() > 0,
            "the program ended"
        );
        let line: Value = serde_json::from_str(&line).expect(&line);
        if line["message"] == "call" {
            return line;
        }
    }
}

async fn client(served: &Served) -> RecommenderServiceClient<Channel> {
    RecommenderServiceClient::new(connect(served.address.parse().unwrap()).await)
}

fn ingest(user: &str) -> Request<proto::IngestEventRequest> {
    Request::new(proto::IngestEventRequest {
        event: Some(liked(user, "2001")),
    })
}

fn recommend() -> Request<proto::RecommendRequest> {
    Request::new(proto::RecommendRequest {
        user_id: "u".into(),
        ..Default::default()
    })
}

fn with<T>(mut request: Request<T>, header: &'static str, value: &str) -> Request<T> {
    let value = value.parse().unwrap();
    request.metadata_mut().insert(header, value);
    request
}

fn request_id(metadata: &tonic::metadata::MetadataMap) -> String {
    let id = metadata.get("x-request-id").unwrap();
    id.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_call_logs_one_line_with_the_request_id_of_its_reply() {
    let mut served = in_json(&[("RECSYS_LOG_OK_CALLS", "1")]);
    let mut client = client(&served).await;
    let request = with(ingest("zaphod42"), "x-request-id", "chosen-1");
    let parent = format!("00-{TRACE}-b7ad6b7169203331-00");
    let reply = client
        .ingest_event(with(request, "traceparent", &parent))
        .await
        .unwrap();
    assert_eq!(request_id(reply.metadata()), "chosen-1");
    let line = next_call(&mut served);
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["method"], INGEST);
    assert_eq!(line["code"], "OK");
    assert_eq!(line["request_id"], "chosen-1");
    assert_eq!(line["trace_id"], TRACE);
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    assert!(
        line.get("tenant").is_none() && line.get("suppressed").is_none(),
        "{line}"
    );
    assert!(!line.to_string().contains("zaphod42"), "{line}");

    let refused = with(ingest(""), "x-request-id", "not sane");
    let refused = client.ingest_event(refused).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let id = request_id(refused.metadata());
    assert_eq!(id.len(), 36, "{id}");
    let line = next_call(&mut served);
    assert_eq!(line["code"], "INVALID_ARGUMENT");
    assert_eq!(line["request_id"], id.as_str());
    assert!(line.get("trace_id").is_none(), "{line}");

    let mut unknown = tonic::client::Grpc::new(connect(served.address.parse().unwrap()).await);
    unknown.ready().await.unwrap();
    let codec: tonic_prost::ProstCodec<(), ()> = tonic_prost::ProstCodec::default();
    let path = "/nobody.v1.Service/Method".parse().unwrap();
    let refused = unknown
        .unary(Request::new(()), path, codec)
        .await
        .unwrap_err();
    let line = next_call(&mut served);
    assert_eq!(line["request_id"], request_id(refused.metadata()).as_str());
    assert_eq!(line["method"], "_OTHER");
}

#[tokio::test]
async fn calls_with_json_log_the_line_of_their_method() {
    let mut served = in_json(&[("RECSYS_LOG_OK_CALLS", "1")]);
    let address = served.address.parse().unwrap();
    let json = ("content-type", "application/json");
    let chosen = ("x-request-id", "chosen-1");
    let body = r#"{"userId":"zaphod42"}"#;
    let path = format!("/{RECOMMEND}");
    for (headers, body, code) in [
        (&[json, chosen][..], body, "OK"),
        (&[json, chosen], "{", "INVALID_ARGUMENT"),
        (&[chosen], body, "UNIMPLEMENTED"),
    ] {
        let reply = send(address, "POST", &path, headers, body.as_bytes()).await;
        assert_eq!(reply.header("x-request-id"), Some("chosen-1"));
        let line = next_call(&mut served);
        assert_eq!(
            (&line["method"], &line["code"]),
            (&RECOMMEND.into(), &code.into())
        );
        assert_eq!(line["request_id"], "chosen-1");
        assert!(!line.to_string().contains("zaphod42"), "{line}");
    }
}

#[tokio::test]
async fn a_list_takes_the_request_id_of_its_call_unless_the_client_chose_it() {
    let mut served = in_json(&[("RECSYS_LOG_OK_CALLS", "1")]);
    let mut client = client(&served).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let reply = client.recommend(recommend()).await.unwrap();
        let id = request_id(reply.metadata());
        assert_eq!(reply.get_ref().request_id, id);
        let line = next_call(&mut served);
        assert_eq!(
            (&line["request_id"], &line["method"]),
            (&id.clone().into(), &RECOMMEND.into())
        );
        seen.push(id);
        let chosen = with(recommend(), "x-request-id", "again");
        let reply = client.recommend(chosen).await.unwrap();
        assert_eq!(request_id(reply.metadata()), "again");
        assert_eq!(next_call(&mut served)["request_id"], "again");
        seen.push(reply.into_inner().request_id);
    }
    for id in &seen {
        assert_eq!(id.len(), 36, "{seen:?}");
        assert_eq!(
            seen.iter().filter(|other| *other == id).count(),
            1,
            "{seen:?}"
        );
    }
}

#[tokio::test]
async fn the_call_line_names_the_tenant() {
    let mut tenants = Tenants::new(&["shop"]);
    let key = tenants.key("shop", &["ingest"]);
    tenants.write();
    let mut served = in_json(&[
        ("RECSYS_LOG_OK_CALLS", "1"),
        ("RECSYS_TENANTS_PATH", &tenants.path()),
    ]);
    let mut client = client(&served).await;
    client
        .ingest_event(with(ingest("u"), "x-api-key", &key))
        .await
        .unwrap();
    let line = next_call(&mut served);
    assert_eq!(
        (&line["tenant"], &line["code"]),
        (&"shop".into(), &"OK".into())
    );
    let refused = client.ingest_event(ingest("u")).await.unwrap_err();
    assert_eq!(request_id(refused.metadata()).len(), 36);
    let line = next_call(&mut served);
    assert_eq!(line["code"], "UNAUTHENTICATED");
    assert!(line.get("tenant").is_none(), "{line}");
}

#[tokio::test]
async fn successful_calls_can_be_omitted_and_repeated_failures_are_counted() {
    let mut served = in_json(&[("RECSYS_LOG_OK_CALLS", "0")]);
    let mut client = client(&served).await;
    let mut lines = 0;
    let mut suppressed = 0;
    // All calls but those of the last seconds are logged or counted.
    while suppressed == 0 {
        for _ in 0..50 {
            client.ingest_event(ingest("u")).await.unwrap();
            client.ingest_event(ingest("")).await.unwrap_err();
        }
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        client.ingest_event(ingest("")).await.unwrap_err();
        loop {
            let line = next_call(&mut served);
            assert_eq!(line["code"], "INVALID_ARGUMENT", "{line}");
            lines += 1;
            suppressed = line["suppressed"].as_u64().unwrap_or_default();
            if suppressed > 0 || lines % 51 == 0 {
                break;
            }
        }
    }
    assert!(suppressed <= 50, "{suppressed}");
}

#[tokio::test]
async fn the_log_filter_is_shown_and_changed_at_runtime() {
    let mut watched = Watched::set(&[("RECSYS_LOG", "info")]).await;
    let ok = "HTTP/1.1 200 OK".to_owned();
    assert_eq!(watched.get("/log"), (ok.clone(), "info\n".into()));
    let changed = watched.http("PUT", "/log", "warn,recsys=debug");
    assert_eq!(changed, (ok.clone(), "warn,recsys=debug\n".into()));
    assert_eq!(watched.get("/log").1, "warn,recsys=debug\n");
    watched.get("/livez");
    let client = watched.channel.clone();
    let mut health = tonic_health::pb::health_client::HealthClient::new(client);
    health
        .check(tonic_health::pb::HealthCheckRequest::default())
        .await
        .unwrap();
    watched.served.logged("call of a watcher");

    for (path, body, expected) in [
        ("/log", "recsys=loud", "no filter"),
        ("/log", "deubg", "\"deubg\" is neither a level"),
        ("/log", "info,deubg", "\"deubg\" is neither a level"),
        ("/log", "", "give a filter"),
        ("/log?for=ever", "debug", "for: give a number with a unit"),
        ("/log?forever", "debug", "of queries only"),
    ] {
        let (status, reply) = watched.http("PUT", path, body);
        assert_eq!(status, "HTTP/1.1 400 Bad Request", "{path} {body}");
        assert!(reply.contains(expected), "{reply}");
    }
    assert_eq!(watched.get("/log").1, "warn,recsys=debug\n");
    let (status, _) = watched.http("PUT", "/log", &"x".repeat(5_000));
    assert_eq!(status, "HTTP/1.1 413 Payload Too Large");

    // For a time, after which the filter before the first such change is restored.
    let (status, reply) = watched.http("PUT", "/log?for=1h", "debug");
    assert_eq!(
        (status, reply.contains("then warn,recsys=debug")),
        (ok, true),
        "{reply}"
    );
    watched.http("PUT", "/log?for=200ms", "error");
    until("the filter is restored", async || {
        watched.get("/log").1 == "warn,recsys=debug\n"
    })
    .await;
    watched.served.logged("log filter restored");
    // A permanent change is not reverted.
    watched.http("PUT", "/log?for=300ms", "error");
    watched.http("PUT", "/log", "info");
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(watched.get("/log").1, "info\n");
}
