//! The program under observation: its metrics, probes and health.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use recsys::{proto, telemetry::meters};
use tonic::{Code, transport::Channel};

use super::{
    program::{Served, recsys},
    redis::RedisServer,
    server::connect,
};

/// The program with an admin port, and clients of both ports.
pub struct Watched {
    pub served: Served,
    pub admin: String,
    pub channel: Channel,
}

impl Watched {
    pub async fn start(redis: &RedisServer) -> Self {
        Self::with(redis, &[]).await
    }

    pub async fn with(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let url = redis.url();
        Self::set(&[&[("REDIS_URL", url.as_str())], settings].concat()).await
    }

    /// Models are saved before the acknowledgement unless the settings say otherwise.
    pub async fn set(settings: &[(&str, &str)]) -> Self {
        let mut served = Served::start(
            recsys(&["serve", "--admin-addr", "127.0.0.1:0"])
                .env("MODEL_SAVE_INTERVAL", "0")
                .envs(settings.iter().copied()),
        );
        let admin = served.admin_address();
        let channel = connect(served.address.parse().unwrap()).await;
        Self {
            served,
            admin,
            channel,
        }
    }

    pub fn client(&self) -> proto::recommender_service_client::RecommenderServiceClient<Channel> {
        proto::recommender_service_client::RecommenderServiceClient::new(self.channel.clone())
    }

    pub async fn ingest(&self, event: proto::InteractionEvent) -> Result<(), Code> {
        let request = proto::IngestEventRequest { event: Some(event) };
        let result = self.client().ingest_event(request).await;
        result.map(|_| ()).map_err(|status| status.code())
    }

    pub async fn signals(&self, user: &str) -> Result<(), Code> {
        let request = proto::GetUserSignalsRequest {
            user_id: user.to_owned(),
            include_vectors: false,
        };
        let result = self.client().get_user_signals(request).await;
        result.map(|_| ()).map_err(|status| status.code())
    }

    /// Status line and body.
    pub fn get(&self, path: &str) -> (String, String) {
        self.http("GET", path, "")
    }

    pub fn http(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let status = head.lines().next().unwrap();
        (status.to_owned(), body.to_owned())
    }

    /// The value of a series, or 0 if there is none. The labels may have any order.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (_, body) = self.get("/metrics");
        body.lines()
            .filter(|line| {
                let end = line.strip_prefix(name).and_then(|rest| rest.chars().next());
                end == Some('{') || (labels.is_empty() && end == Some(' '))
            })
            .find(|line| {
                labels
                    .iter()
                    .all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
            })
            .map_or(0.0, |line| {
                line.rsplit_once(' ').unwrap().1.parse().unwrap()
            })
    }

    pub fn calls(&self, method: &str, code: &str) -> f64 {
        let labels = [("rpc_method", method), ("rpc_response_status_code", code)];
        self.value(&format!("{}_count", meters::RPC_DURATION), &labels)
    }

    pub fn redis(&self, operation: &str, error_type: &str) -> f64 {
        let labels = [
            ("db_system_name", "redis"),
            ("db_operation_name", operation),
            ("error_type", error_type),
        ];
        self.value(&format!("{}_count", meters::STORE_DURATION), &labels)
    }

    pub fn events(&self, outcome: &str) -> f64 {
        self.value(meters::EVENTS, &[("outcome", outcome)])
    }

    pub fn reads(&self, source: &str) -> f64 {
        self.value(meters::MODEL_READS, &[("source", source)])
    }
}
