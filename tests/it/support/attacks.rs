//! Clients that try to exhaust the memory of a server, each in another way.

use std::net::SocketAddr;

use bytes::Bytes;
use recsys::proto::{
    BatchIngestEventsRequest, GetItemsRequest, InteractionEvent, Item, Tag, UpsertItemsRequest,
    catalog_service_client::CatalogServiceClient,
    recommender_service_client::RecommenderServiceClient,
};
use tokio::task::JoinSet;
use tonic::{Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request::MessageRequest,
};

use super::{
    http::{gzip, send},
    raw_http2,
    server::{connect, liked},
    tenants::with_headers,
};

/// Calls a method with a request of this many empty elements in field 1. A message of the
/// method's type would take as much memory here as it may take in the server.
pub async fn send_empty(
    channel: Channel,
    path: &str,
    key: &str,
    elements: usize,
) -> Result<(), Status> {
    let message = GetItemsRequest {
        content_ids: vec![String::new(); elements],
    };
    let mut client = tonic::client::Grpc::new(channel).max_encoding_message_size(usize::MAX);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let codec: ProstCodec<GetItemsRequest, ()> = ProstCodec::default();
    let request = with_headers(&[("x-api-key", key)], message);
    let path = path.parse().expect("a path");
    client.unary(request, path, codec).await.map(|_| ())
}

/// A client that tries to exhaust a server.
pub struct Attacker {
    pub address: SocketAddr,
    pub webhook: SocketAddr,
    /// A key with the roles ingest, serve and catalog.
    pub key: String,
}

/// The attacks, in the order in which they are tried.
pub const ATTACKS: [&str; 11] = [
    "tiny events",
    "wide events",
    "tiny items",
    "tiny ids",
    "large replies",
    "JSON of tiny values",
    "compressed JSON",
    "replies as JSON",
    "compressed deliveries",
    "unread reflection",
    "watches",
];

impl Attacker {
    /// Tries one of [`ATTACKS`], and calls `observe` while it lasts.
    pub async fn attack(&self, attack: &str, observe: impl Fn()) {
        match attack {
            "tiny events" => self.tiny_events().await,
            "wide events" => self.wide_events().await,
            "tiny items" => self.tiny_items().await,
            "tiny ids" => self.tiny_ids().await,
            "large replies" => self.large_replies().await,
            "JSON of tiny values" => self.tiny_json(false).await,
            "compressed JSON" => self.tiny_json(true).await,
            "replies as JSON" => self.replies_as_json().await,
            "compressed deliveries" => self.compressed_deliveries().await,
            "unread reflection" => return self.unread_reflection(observe).await,
            "watches" => return self.watches(observe).await,
            _ => panic!("no attack is named {attack}"),
        }
        observe();
    }

    /// Sends a request on as many connections at once. Its result does not matter.
    async fn at_once<F>(&self, connections: usize, call: impl Fn(Channel, String) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut calls = JoinSet::new();
        for _ in 0..connections {
            let channel = connect(self.address).await;
            calls.spawn(call(channel, self.key.clone()));
        }
        calls.join_all().await;
    }

    async fn tiny_events(&self) {
        self.at_once(6, async |channel, key| {
            let path = "/recsys.v1.RecommenderService/BatchIngestEvents";
            assert!(send_empty(channel, path, &key, 1 << 20).await.is_err());
        })
        .await;
    }

    async fn wide_events(&self) {
        self.at_once(6, async |channel, key| {
            let event = InteractionEvent {
                impressions: vec![String::new(); 512 << 10],
                ..liked("u", "2001")
            };
            let events = vec![event];
            let request = with_headers(&[("x-api-key", &key)], BatchIngestEventsRequest { events });
            let mut client = RecommenderServiceClient::new(channel);
            let _ = client.batch_ingest_events(request).await;
        })
        .await;
    }

    async fn tiny_items(&self) {
        self.at_once(3, async |channel, key| {
            let path = "/recsys.v1.CatalogService/UpsertItems";
            assert!(send_empty(channel, path, &key, 2 << 20).await.is_err());
        })
        .await;
    }

    async fn tiny_ids(&self) {
        self.at_once(6, async |channel, key| {
            let path = "/recsys.v1.CatalogService/GetItems";
            assert!(send_empty(channel, path, &key, 1 << 20).await.is_err());
        })
        .await;
    }

    async fn large_replies(&self) {
        let ids: Vec<String> = (0..50).map(|index| format!("large{index}")).collect();
        for id in &ids {
            let items = vec![Item {
                content_id: id.clone(),
                text: "x".repeat(250 << 10),
                ..Item::default()
            }];
            let request = with_headers(&[("x-api-key", &self.key)], UpsertItemsRequest { items });
            let mut client = CatalogServiceClient::new(connect(self.address).await);
            client.upsert_items(request).await.unwrap();
        }
        self.at_once(12, |channel, key| {
            let content_ids = ids.clone();
            async move {
                let request = with_headers(&[("x-api-key", &key)], GetItemsRequest { content_ids });
                let client = CatalogServiceClient::new(channel);
                let _ = client
                    .max_decoding_message_size(usize::MAX)
                    .get_items(request)
                    .await;
            }
        })
        .await;
    }

    /// Sends calls with JSON of many tiny values at once.
    async fn tiny_json(&self, packed: bool) {
        let recommender = "/recsys.v1.RecommenderService";
        let mut calls = JoinSet::new();
        for (path, start, element, end) in [
            (
                format!("{recommender}/BatchIngestEvents"),
                "{\"events\":[",
                "{},",
                "{}]}",
            ),
            (
                format!("{recommender}/Recommend"),
                "{\"excludeIds\":[",
                "\"\",",
                "\"\"]}",
            ),
            (
                format!("{recommender}/IngestEvent"),
                "{\"event\":{\"surveyAnswers\":{\"a\":[",
                "[],",
                "1]}}}",
            ),
            (
                "/recsys.v1.CatalogService/UpsertItems".to_owned(),
                "{\"items\":[",
                "{},",
                "{}]}",
            ),
        ] {
            let body = format!("{start}{}{end}", element.repeat((3 << 20) / element.len()));
            for _ in 0..3 {
                let (address, key, path) = (self.address, self.key.clone(), path.clone());
                let body = if packed {
                    gzip(body.as_bytes())
                } else {
                    body.clone().into()
                };
                calls.spawn(async move {
                    let encoding = if packed { "gzip" } else { "identity" };
                    let headers = [
                        ("content-type", "application/json"),
                        ("content-encoding", encoding),
                        ("x-api-key", key.as_str()),
                    ];
                    let reply = send(address, "POST", &path, &headers, &body).await;
                    assert_ne!(reply.status, 200, "{path}");
                });
            }
        }
        calls.join_all().await;
    }

    /// Reads items of many tags as JSON.
    async fn replies_as_json(&self) {
        let ids: Vec<String> = (0..500).map(|index| format!("tagged{index}")).collect();
        let tags: Vec<Tag> = (0..200)
            .map(|index| Tag {
                label: index.to_string(),
                ..Tag::default()
            })
            .collect();
        for ids in ids.chunks(100) {
            let items = ids.iter().map(|id| Item {
                content_id: id.clone(),
                tags: tags.clone(),
                ..Item::default()
            });
            let items = items.collect();
            let request = with_headers(&[("x-api-key", &self.key)], UpsertItemsRequest { items });
            let mut client = CatalogServiceClient::new(connect(self.address).await);
            client.upsert_items(request).await.unwrap();
        }
        let body = serde_json::json!({"contentIds": ids}).to_string();
        let headers = [
            ("content-type", "application/json"),
            ("x-api-key", self.key.as_str()),
        ];
        let path = "/recsys.v1.CatalogService/GetItems";
        let send = || send(self.address, "POST", path, &headers, body.as_bytes());
        tokio::join!(send(), send(), send(), send());
    }

    async fn compressed_deliveries(&self) {
        let wide = format!("{{\"messageId\":\"1\",\"a\":[{}0]}}", "[],".repeat(19_000));
        let body = gzip(format!("[{}{wide}]", format!("{wide},").repeat(60)).as_bytes());
        let headers = [
            ("content-type", "application/json"),
            ("content-encoding", "gzip"),
            ("x-api-key", self.key.as_str()),
        ];
        let path = "/v1/webhooks/rudderstack";
        let send = || send(self.webhook, "POST", path, &headers, &body);
        tokio::join!(send(), send(), send(), send());
    }

    /// Replies of reflection that are never read.
    async fn unread_reflection(&self, observe: impl Fn()) {
        let symbol = "recsys.v1.RecommenderService".to_owned();
        let request = raw_http2::frame(&ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::FileContainingSymbol(symbol)),
        });
        let requests = Bytes::from(request.repeat(10));
        let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let mut held = Vec::new();
        for _ in 0..20 {
            let (mut client, ended) = raw_http2::connect(self.address, 0).await;
            for _ in 0..50 {
                let Ok(ready) = client.clone().ready().await else {
                    break;
                };
                client = ready;
                let Ok((reply, mut body)) = raw_http2::try_start_at(&mut client, path) else {
                    break;
                };
                let _ = body.send_data(requests.clone(), false);
                held.push((reply, body));
            }
            drop(ended);
        }
        observe();
    }

    async fn watches(&self, observe: impl Fn()) {
        let mut held = Vec::new();
        for _ in 0..100 {
            let mut health = HealthClient::new(connect(self.address).await);
            let request = HealthCheckRequest {
                service: String::new(),
            };
            if let Ok(watch) = health.watch(request).await {
                held.push((health, watch));
            }
        }
        observe();
    }
}
